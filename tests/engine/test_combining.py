"""Several messages into one, in a running engine: counted, timed out, killed, replayed, merged."""

import random
from contextlib import suppress
from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from engine.support import (
    Receiver,
    Running,
    Site,
    ack,
    adt,
    control_id,
    running,
    sender,
    until,
)
from ifengine.admin.client import CallError
from ifengine.routes.parked_messages import ParkedMessages
from ifengine.routes.parking import ParkedMessage
from ifengine.routes.pipeline import Pipeline
from ifengine.routes.retention import Keep, find_expired, find_left_over

COMBINE = (
    "types: [ORU^*]\norder_by: patient\n"
    "combine: {by: OBX, key: OBR-3, until: OBR-25 = F, count: 3, up_to: UP_TO, then: THEN}\n"
)
LATE = "steps:\n  - {when: $waited_out = yes, set: {MSH-8: LATE}}\n"


def head(up_to: str = "30m", then: str = "deliver", steps: str = LATE) -> str:
    return COMBINE.replace("UP_TO", up_to).replace("THEN", then) + steps


@pytest.fixture
def site(site: Site) -> Site:
    site.head = head()
    site.options["lab"] = "retry: {first: 50ms, max: 100ms, jitter: 0}"
    return site


def oru(control: str, order: str, *, status: str = "P", patient: str = "700") -> bytes:
    content = adt(control, patient=patient, event="R01", message_type="ORU")
    obr = "|".join(("OBR", "1", "", order, "K", *([""] * 20), status))
    return content + f"{obr}\rOBX|1|ST|K||{control}||||||F\r".encode()


def brought(content: bytes) -> list[str]:
    """Return which messages' results a message has, in their order; set ids must count."""
    lines = [line.split("|") for line in content.decode().split("\r") if line.startswith("OBX")]
    assert [line[1] for line in lines] == [str(n) for n in range(1, len(lines) + 1)]
    return [line[5] for line in lines]


async def at(engine: Running, control: str, state: str, destination: str = "lab") -> None:
    async def is_so() -> bool:
        return (await engine.states()).get(control, {}).get(destination) == state

    await until(is_so, seconds=30)


async def id_of(engine: Running, control: str) -> str:
    return str((await engine.row(control))["id"])


def pipeline(engine: Running, name: str = "adt") -> Pipeline:
    found = engine.engine._built.pipelines.values()
    return next(one for one in found if one.channel.name == name)


async def test_messages_of_one_key_go_out_as_one_and_each_names_it(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as device:
        assert await device.send(oru("A1", "F1")) == "AA"
        await device.send(oru("B1", "F2", patient="800"))
        await device.send(oru("A2", "F1"))
        await at(engine, "A2", "parked")
        listed = await engine.ask("parked.list", fact="the rest")
        assert [(one["step"], one["channel"]) for one in listed] == [("combine", "adt")] * 3
        assert lab.received == []
        await device.send(oru("A3", "F1", status="F"))
        await at(engine, "A3", "sent")
        assert [brought(content) for content in lab.received] == [["A1", "A2", "A3"]]
        assert lab.ids == ["A3"]
        number = await id_of(engine, "A3")
        for control in ("A1", "A2"):
            row = await engine.row(control)
            assert row["destinations"][0]["state"] == "dropped"
            trace = await engine.ask("messages.trace", id=row["id"])
            plans = [event for event in trace["events"] if event["event"] == "planned"]
            assert [plan["run"] for plan in plans] == [0, 1]
            assert plans[1]["destinations"][0]["reason"] == f"combined into message {number}"
        # a retransmission of a part is known, and the next collection begins anew
        assert await device.send(oru("A2", "F1")) == "AA"
        await device.send(oru("A4", "F1"))
        await at(engine, "A4", "parked")
        assert len(pipeline(engine).parking) == 2
        assert len(lab.received) == 1


async def test_a_retransmission_is_not_counted_twice(site: Site, lab: Receiver) -> None:
    async with running(site) as engine, sender(site) as device:
        for control in ("A1", "A1", "A2", "A1", "A2"):
            await device.send(oru(control, "F1"))
        await until(lambda: len(pipeline(engine).parking) == 2)
        assert lab.received == []
        await device.send(oru("A3", "F1"))
        await at(engine, "A3", "sent")
        assert [brought(content) for content in lab.received] == [["A1", "A2", "A3"]]


async def test_a_collection_whose_time_is_over_goes_marked_as_it_is(
    site: Site, lab: Receiver
) -> None:
    site.head = head("600ms")
    async with running(site) as engine, sender(site) as device:
        await device.send(oru("A1", "F1"))
        await device.send(oru("A2", "F1"))
        await at(engine, "A2", "sent")
        await at(engine, "A1", "dropped")
    assert [brought(content) for content in lab.received] == [["A1", "A2"]]
    assert b"|LATE|ORU" in lab.received[0]


async def test_a_collection_that_ended_too_late_is_one_dead_letter_and_is_replayed_whole(
    site: Site, lab: Receiver
) -> None:
    site.head = head("600ms", "dead_letter")
    async with running(site) as engine, sender(site) as device:
        await device.send(oru("A1", "F1"))
        await device.send(oru("A2", "F1"))
        await at(engine, "A2", "dead_letter")
        await at(engine, "A1", "dropped")
        (group,) = await engine.letters()
        assert (group["count"], group["reason"]) == (1, "not whole within 600ms")
    async with running(site) as engine, sender(site) as device:
        # another collection waits under the same key: a replay has nothing to do with it
        await device.send(oru("A3", "F1"))
        number = await id_of(engine, "A2")
        done = await engine.ask("dlq.replay", ids=[number], reason="ticket 7")
        assert done["going"] == 1
        await at(engine, "A2", "sent")
        assert brought(lab.received[0]) == ["A1", "A2"]
        await at(engine, "A3", "dead_letter")


async def test_a_combined_message_whose_steps_fail_is_replayed_as_the_same_message(
    site: Site, lab: Receiver
) -> None:
    site.head = head(steps="steps:\n  - {when: PID-5.1 != NOBODY, fail: a code is missing}\n")
    async with running(site) as engine, sender(site) as device:
        for control in ("A1", "A2", "A3"):
            await device.send(oru(control, "F1"))
        await at(engine, "A3", "dead_letter")
        await at(engine, "A1", "dropped")
    site.head = head()
    async with running(site) as engine, sender(site):
        number = await id_of(engine, "A3")
        await engine.ask("dlq.replay", ids=[number], reason="mended")
        await at(engine, "A3", "sent")
    assert [brought(content) for content in lab.received] == [["A1", "A2", "A3"]]


async def test_a_refused_delivery_of_a_combined_message_is_sent_again_as_it_was(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda content: ack(content, "AE")
    async with running(site) as engine, sender(site) as device:
        for control in ("A1", "A2", "A3"):
            await device.send(oru(control, "F1"))
        await at(engine, "A3", "dead_letter")
        lab.answer = ack
        number = await id_of(engine, "A3")
        await engine.ask("dlq.replay", ids=[number], reason="mended", **{"as": "stored"})
        await at(engine, "A3", "sent")
    assert [brought(content) for content in lab.received] == [["A1", "A2", "A3"]] * 2


async def test_another_patient_under_the_key_is_never_put_together(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as device:
        await device.send(oru("A1", "F1"))
        await device.send(oru("X1", "F1", patient="701", status="F"))
        await at(engine, "X1", "dead_letter")
        (group,) = await engine.letters()
        assert group["reason"].startswith("PID-3 is not that of message ")
        await device.send(oru("A2", "F1", status="F"))
        await at(engine, "A2", "sent")
        assert [brought(content) for content in lab.received] == [["A1", "A2"]]
        number = await id_of(engine, "X1")
        done = await engine.ask("dlq.replay", ids=[number], reason="looked at")
        if not done["going"]:
            done = await engine.ask("dlq.replay", ids=[number], reason="so", allow_older=True)
        await at(engine, "X1", "sent")
        assert brought(lab.received[1]) == ["X1"]


async def test_a_person_lets_a_collection_go_by_any_of_its_messages(
    site: Site, lab: Receiver
) -> None:
    site.head = head(then="dead_letter")
    async with running(site) as engine, sender(site) as device:
        await device.send(oru("A1", "F1"))
        await device.send(oru("A2", "F1"))
        await at(engine, "A2", "parked")
        number = await id_of(engine, "A1")
        await engine.ask("parked.release", ids=[number], reason="no more will come")
        await at(engine, "A2", "sent")
        assert [brought(content) for content in lab.received] == [["A1", "A2"]]
        await device.send(oru("B1", "F2"))
        await at(engine, "B1", "parked")
        await engine.ask("parked.expire", ids=[await id_of(engine, "B1")], reason="given up")
        await at(engine, "B1", "dead_letter")


async def test_a_message_that_starts_over_while_its_collection_ends_is_decided_once(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as device:
        await device.send(oru("A1", "F1"))
        await device.send(oru("A2", "F1"))
        await at(engine, "A2", "parked")
        parked = pipeline(engine)._parked
        first, last = parked.parking.all_waiting()
        waiting = parked.parking.get(last)
        assert waiting is not None
        waiting.waited_out = True
        parked.start_over([last, first])  # the last one ends it, and the first one is on its way
        await at(engine, "A2", "sent")
        await device.send(oru("A3", "F2", status="F"))
        await at(engine, "A3", "sent")
        trace = await engine.ask("messages.trace", id=str(first))
        assert [e["run"] for e in trace["events"] if e["event"] == "planned"] == [0, 1]
        assert (await engine.states())["A1"] == {"lab": "dropped"}
        assert len(pipeline(engine).parking) == 0
    assert [brought(content) for content in lab.received] == [["A1", "A2"], ["A3"]]


async def test_the_time_of_a_collection_is_that_of_its_first_message_however_often_it_starts_over(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as device:
        for control in ("A1", "A2"):
            await device.send(oru(control, "F1"))
        await at(engine, "A2", "parked")
        parked = pipeline(engine)._parked
        ends = {one: message.until_us for one, message in parked.parking._messages.items()}
        assert len(set(ends.values())) == 1
        for _ in range(5):  # as at each start, each reload and each merge
            before = dict(parked.parking._messages)
            parked.start_over(parked.parking.all_waiting())
            await until_parked_anew(parked, before)
        now = {one: message.until_us for one, message in parked.parking._messages.items()}
        assert now == ends
    async with running(site) as engine:  # and after a stop
        parked = pipeline(engine)._parked
        await until_parked_anew(parked, {})
        assert {one: m.until_us for one, m in parked.parking._messages.items()} == ends
    assert lab.received == []


async def until_parked_anew(parked: ParkedMessages, before: dict[int, ParkedMessage]) -> None:
    """Wait until each message that started over waits again."""

    def is_so() -> bool:
        found = parked.parking._messages
        return all(not m.leaving and before.get(i) is not m for i, m in found.items())

    await until(is_so)


async def test_a_combined_message_may_wait_for_a_fact_and_is_the_same_afterwards(
    site: Site, lab: Receiver
) -> None:
    wait = "  - wait_for: {fact: go, per: OBR, key: OBR-3, up_to: 30m}\n"
    site.head = (
        head(steps="").replace("[ORU^*]", "[ORU^*, ORM^*]")
        + "steps:\n  - choose:\n      - when: MSH-9.1 = ORM\n"
        + "        do: [{remember: {fact: go, per: ORC, key: ORC-3}}]\n"
        + "    otherwise:\n    "
        + wait
    )
    order = adt("O1", event="O01", message_type="ORM") + b"ORC|NW||F1\r"
    async with running(site) as engine, sender(site) as device:
        for control in ("A1", "A2", "A3"):
            await device.send(oru(control, "F1"))
        await at(engine, "A1", "dropped")
        await at(engine, "A3", "parked")
        await device.send(oru("A4", "F1"))  # of the next collection, not of the one that waits
        await at(engine, "A4", "parked")
    async with running(site) as engine, sender(site) as device:
        await device.send(order)
        await at(engine, "A3", "sent")
        assert (await engine.states())["A4"] == {"lab": "parked"}
        combined = next(c for c in lab.received if b"|A3|" in c)
        assert brought(combined) == ["A1", "A2", "A3"]
        assert b"LATE" not in combined


async def test_what_is_in_a_combined_message_is_kept_as_long_as_that(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda content: ack(content, "AE")
    clock = 400 * 86_400 * 1_000_000
    async with running(site) as engine, sender(site) as device:
        for control in ("A1", "A2", "A3"):
            await device.send(oru(control, "F1"))
        await at(engine, "A3", "dead_letter")
        for n in range(3):
            await device.send(oru(f"Z{n}", "", patient=str(n)))  # without a key: alone
        keep = Keep(messages_us=1, dead_letters_us=1)
        now_us = engine.engine._clock.now_us() + clock
        parts = pipeline(engine)._parts
        reader, newest = parts.read, parts.numbers.inbox_id

        async def expired() -> tuple[int, ...]:
            found = await reader(lambda r: find_expired(r, 0, newest, now_us, keep))
            return found.inbox_ids

        numbers = {int(await id_of(engine, one)) for one in ("A1", "A2", "A3")}
        assert numbers.isdisjoint(await expired())
        assert await reader(lambda r: find_left_over(r, now_us)) == []
        lab.answer = ack
        named = [str(max(numbers))]
        await engine.ask("dlq.replay", ids=named, reason="mended", allow_older=True)
        await at(engine, "A3", "sent")
        assert max(numbers) in await expired()


async def test_other_rules_collect_what_waits_by_their_own_key(site: Site, lab: Receiver) -> None:
    async with running(site) as engine, sender(site) as device:
        await device.send(oru("A1", "F1"))
        await device.send(oru("A2", "F1"))
        await at(engine, "A2", "parked")
        site.head = head().replace("key: OBR-3", "key: OBR-4")
        site.write()
        await engine.ask("config.reload")
        await device.send(oru("A3", "F1", status="F"))
        await at(engine, "A3", "sent")
    assert sorted(c for content in lab.received for c in brought(content)) == ["A1", "A2", "A3"]


# --- against a plain model ------------------------------------------------------------------------


class Picky(Receiver):
    """Refuses some messages the first time it sees them."""

    def __init__(self, lab: Receiver, dice: random.Random) -> None:
        super().__init__(port=lab.port)
        self.refused: set[str] = set()
        self.dice = dice
        self.seen: set[str] = set()
        self.answer = self.judge

    def judge(self, content: bytes) -> bytes:
        control = control_id(content)
        if control not in self.seen and self.dice.random() < 0.25:
            self.refused.add(control)
        is_new = control not in self.seen
        self.seen.add(control)
        return ack(content, "AE" if is_new and control in self.refused else "AA")


async def arrive(
    site: Site, dice: random.Random, turn: int, model: dict[str, list[str]], ids: list[str]
) -> None:
    """Send some messages of three keys, repeat others, and end the engine as a crash would."""
    async with running(site) as engine, sender(site) as device:
        for n in range(dice.randint(1, 9)):
            order = dice.choice(["F1", "F2", "F3"])
            control = f"{order}.{turn}.{n}"
            assert await device.send(oru(control, order, patient=order)) == "AA"
            model.setdefault(order, []).append(control)
            ids.append(control)
            if dice.random() < 0.3:
                repeated = dice.choice(model[order])
                assert await device.send(oru(repeated, order, patient=order)) == "AA"
        for _ in range(dice.choice([0, 1, 5, 40])):
            await engine.ask("status")
        await engine.kill()


async def history(site: Site, lab: Receiver, number: int) -> list[str]:
    """Play one history; return what differs from the model: threes of one key, in order."""
    dice = random.Random(number)
    model: dict[str, list[str]] = {}
    ids: list[str] = []
    for turn in range(dice.randint(2, 4)):
        await arrive(site, dice, turn, model, ids)
    wanted = {
        tuple(whole[at : at + 3]) for whole in model.values() for at in range(0, len(whole) - 2, 3)
    }
    left = [one for whole in model.values() for one in whole[len(whole) // 3 * 3 :]]
    async with running(site) as engine:

        async def all_sent() -> bool:
            rows = await engine.ask("messages.list", limit=1000)
            first = {row["control_id"]: row for row in rows if row["destinations"]}  # no repetition
            now = {control: row["destinations"][0]["state"] for control, row in first.items()}
            for carrier in (group[-1] for group in wanted):
                if now.get(carrier) == "dead_letter":  # holds what comes behind it
                    named = [str(first[carrier]["id"])]
                    with suppress(CallError):  # it has gone since it was listed
                        await engine.ask(
                            "dlq.replay", ids=named, reason="campaign", allow_older=True
                        )
            return all(now.get(group[-1]) == "sent" for group in wanted)

        try:
            await until(all_sent, seconds=30)
        except TimeoutError:
            return [f"never sent: {await engine.states()} of {wanted}"]
        states: dict[str, list[str]] = {}
        for row in await engine.ask("messages.list", limit=1000):
            if row["destinations"]:  # a repetition has none
                states.setdefault(row["control_id"], []).append(row["destinations"][0]["state"])
        parked = len(pipeline(engine).parking)
    expected = {one: ["dropped"] for group in wanted for one in group[:-1]}
    expected.update({group[-1]: ["sent"] for group in wanted})
    expected.update({one: ["parked"] for one in left})
    found = {tuple(brought(content)) for content in lab.received}
    faults = [f"{one}: {states.get(one)}" for one in ids if states.get(one) != expected[one]]
    if found != wanted:
        faults.append(f"sent {sorted(found ^ wanted)}")
    if parked != len(left):
        faults.append(f"{parked} parked, not {len(left)}")
    return faults


@pytest.mark.crash
async def test_whatever_comes_in_and_whenever_it_ends_each_part_is_in_one_message(
    tmp_path: Path, ledger: Ledger
) -> None:
    """Random arrivals, repetitions, crashes, refusals and replays against a plain model."""
    count, first = trials(3, 60, "IFENGINE_COMBINES"), seed()
    faults: list[str] = []
    for number in range(first, first + count):
        lab = Picky(Receiver(), random.Random(number))
        await lab.start()
        site = Site(tmp_path / str(number), {"lab": lab}, head=head())
        site.options["lab"] = "retry: {first: 50ms, max: 100ms, jitter: 0}"
        try:
            faults += [f"{number}: {one}" for one in await history(site, lab, number)]
        finally:
            await lab.stop()
    ledger.record(
        "G1",
        "messages combined through crashes, repetitions and replays",
        trials=count,
        failures=len({one.partition(":")[0] for one in faults}),
        found=f"seed {first}",
    )
    assert faults == []
