"""Any history of answers, silences, resets, stops and crashes, seen from outside."""

import os
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.support import Receiver, Running, Site, ack, adt, control_id, running, sender, until
from ifengine.errors import StorageFailedError

QUICK = "retry: {first: 20ms, factor: 1, max: 20ms, jitter: 0, refused: 2, in_doubt: never}"
RULES = QUICK + "\nack_timeout: 120ms"


@dataclass
class Moody:
    """Decides by lot how a receiver answers, and remembers to whom it said yes."""

    lot: random.Random
    calm: bool = False
    accepted: list[str] = field(default_factory=list)

    def __call__(self, content: bytes) -> bytes | None:
        control = control_id(content)
        mood = (
            "yes"
            if self.calm
            else self.lot.choices(["yes", "no", "later", "nothing", "another's"], [75, 6, 7, 7, 5])[
                0
            ]
        )
        match mood:
            case "yes":
                self.accepted.append(control)
                return ack(content)
            case "no":
                return ack(content, "AE")
            case "later":
                return ack(content, "AR")
            case "nothing":
                return None
            case _:
                return ack(content, answering="OTHER")


async def send_all(site: Site, messages: list[tuple[str, str]]) -> None:
    async with sender(site) as his:
        for control, patient in messages:
            assert await his.send(adt(control, patient=patient)) == "AA"


async def crash(engine: Running) -> None:
    """End as a power cut would: not even what the end itself would write reaches the disk."""
    engine.engine.watch._parts.group.error = StorageFailedError("the power is gone")
    await engine.kill()


FINAL = {"sent", "dead_letter", "held"}


async def is_quiet(engine: Running, count: int) -> bool:
    states = await engine.states()
    if len(states) < count or not all(set(s.values()) <= FINAL for s in states.values()):
        return False
    # what is held waits behind a dead letter
    held = [s for d in states.values() for s in d.values() if s == "held"]
    return not held or bool(await engine.letters())


def assert_order(arrived: list[str], patients: dict[str, str]) -> None:
    """First deliveries of one patient follow the order in which they were acknowledged."""
    first = list(dict.fromkeys(arrived))
    for patient in set(patients.values()):
        mine = [control for control in first if patients[control] == patient]
        assert mine == sorted(mine)


@pytest.mark.parametrize("seed", [1, 7, 20_261_121])
async def test_any_history_leaves_every_acknowledged_message_in_one_state_and_in_order(
    tmp_path: Path, seed: int
) -> None:
    lot = random.Random(seed)
    receivers = {"lab": Receiver(), "ward": Receiver()}
    moods = {name: Moody(random.Random(seed + at)) for at, name in enumerate(receivers)}
    for name, receiver in receivers.items():
        receiver.answer = moods[name]
        await receiver.start()
    site = Site(tmp_path / "site", receivers)
    site.options = {"lab": RULES + "\nlanes: 3", "ward": RULES + "\norder: skip_dead"}
    messages = [(f"M{n:03}", str(lot.randrange(6))) for n in range(60)]
    patients = dict(messages)
    parts = [messages[:20], messages[20:40], messages[40:]]
    for at, part in enumerate(parts):
        async with running(site, grace_seconds=1.0) as engine:
            await send_all(site, part)
            if at < 2:
                await until(lambda: len(receivers["lab"].received) > at * 15 + lot.randrange(10))  # noqa: B023
                if lot.random() < 0.6:
                    await crash(engine)
                else:
                    assert await engine.stop() == 0
                continue
            await until(lambda: is_quiet(engine, len(messages)), 30.0)
            await check(engine, messages, receivers, moods, patients)
            for mood in moods.values():
                mood.calm = True
            await replay_until_none_is_left(engine)
            await until(lambda: all_sent(engine, len(messages)), 20.0)
            for name, mood in moods.items():
                assert set(mood.accepted) == set(patients), name
            assert (await engine.ask("audit.verify"))["ok"] is True
    assert_order(receivers["lab"].ids, patients)
    for receiver in receivers.values():
        await receiver.stop()


async def check(
    engine: Running,
    messages: list[tuple[str, str]],
    receivers: dict[str, Receiver],
    moods: dict[str, Moody],
    patients: dict[str, str],
) -> None:
    rows: list[dict[str, Any]] = await engine.ask("messages.list", limit=1000)
    assert sorted(row["control_id"] for row in rows) == [control for control, _ in messages]
    for row in rows:
        control = row["control_id"]
        names = [d["name"] for d in row["destinations"]]
        assert sorted(names) == ["lab", "ward"]  # one state at each
        for destination in row["destinations"]:
            yes = moods[destination["name"]].accepted.count(control)
            match destination["state"]:
                case "sent":
                    assert yes >= 1
                case "held":
                    assert control not in receivers[destination["name"]].ids
            assert yes <= 1 or destination["possible_duplicate"], (control, destination)
    for receiver in receivers.values():
        assert_order(receiver.ids, patients)


async def replay_until_none_is_left(engine: Running) -> None:
    while groups := await engine.letters():
        for group in groups:
            for number in group["messages"]:  # one by one: identity and age are a person's choice
                params = {"ids": [number], "dest": group["destination"], "allow_older": True}
                await engine.ask("dlq.replay", reason="calm again", **params)


async def all_sent(engine: Running, count: int) -> bool:
    states = await engine.states()
    if await engine.letters():
        await replay_until_none_is_left(engine)
    return len(states) == count and all(set(s.values()) == {"sent"} for s in states.values())


async def test_what_may_have_left_before_a_crash_is_marked_and_nothing_else(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "settle: strict\nretry: {first: 50ms, max: 50ms, jitter: 0}"
    lab.answer = lambda content: None
    async with running(site) as engine, sender(site) as his:
        for control in ("M1", "M2", "M3"):
            assert await his.send(adt(control)) == "AA"
        await until(lambda: lab.ids == ["M1"])
        await crash(engine)
    lab.answer = ack
    async with running(site) as engine:
        await until(lambda: lab.ids == ["M1", "M1", "M2", "M3"])
        await until(lambda: settled(engine, 3))
        rows = await engine.ask("messages.list")
        marked = {r["control_id"]: r["destinations"][0]["possible_duplicate"] for r in rows}
        assert marked == {"M1": True, "M2": False, "M3": False}


async def settled(engine: Running, count: int) -> bool:
    return list((await engine.states()).values()) == [{"lab": "sent"}] * count


async def test_a_stop_names_who_is_late_and_the_next_start_marks_what_may_have_arrived(
    site: Site, lab: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.answer = lambda content: None
    site.options["lab"] = "retry: {first: 300ms, max: 300ms, jitter: 0}"
    async with running(site, grace_seconds=0.4) as engine, sender(site) as his:
        for control in ("M1", "M2"):
            assert await his.send(adt(control)) == "AA"
        await until(lambda: lab.ids == ["M1"])
        os.kill(os.getpid(), signal.SIGTERM)
        assert await engine.task == 0
    assert "not finished in time: to-lab" in capsys.readouterr().err
    site.options["lab"] = "retry: {first: 50ms, max: 50ms, jitter: 0}"
    await lab.stop()
    async with running(site) as engine:
        destination = (await engine.row("M1"))["destinations"][0]
        assert (destination["state"], destination["possible_duplicate"]) == ("in_doubt", True)
        lab.answer = ack
        await lab.start()
        await until(lambda: lab.ids == ["M1", "M1", "M2"])
        await until(lambda: settled(engine, 2))
        rows = await engine.ask("messages.list")
        marked = {r["control_id"]: r["destinations"][0]["possible_duplicate"] for r in rows}
        assert marked == {"M1": True, "M2": False}  # the second never left before


async def test_a_stop_waits_for_an_answer_that_is_on_its_way(site: Site, lab: Receiver) -> None:
    lab.delay_seconds = 0.4
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])
        os.kill(os.getpid(), signal.SIGTERM)
        assert await engine.task == 0
    async with running(site) as engine:
        assert await engine.states() == {"M1": {"lab": "sent"}}
        assert (await engine.row("M1"))["destinations"][0]["possible_duplicate"] is False
    assert lab.ids == ["M1"]


async def test_a_refusal_that_stops_the_queue_waits_for_a_person_and_goes_on_in_order(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "on_nak: {AE: stop}"
    lab.answer = lambda c: ack(c, "AE" if len(lab.received) == 1 else "AA")
    async with running(site) as engine, sender(site) as his:
        for number in range(4):
            assert await his.send(adt(f"M{number}")) == "AA"
        await until(lambda: is_retrying(engine))
        assert lab.ids == ["M0"]
        assert await engine.letters() == []
        await engine.ask("channels.resume", name="adt")
        await until(lambda: lab.ids == ["M0", "M0", "M1", "M2", "M3"])


async def is_retrying(engine: Running) -> bool:
    return (await engine.states()).get("M0") == {"lab": "retrying"}
