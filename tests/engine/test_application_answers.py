"""`application_ack`: what becomes of a message after its receiver said that it stored it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.support import (
    END,
    START,
    Receiver,
    Running,
    Sender,
    Site,
    ack,
    adt,
    code,
    free_port,
    metric,
    running,
    sender,
    until,
)
from engine.test_peers import crash
from ifengine.routes.application_waiting import MOST_OPEN
from ifengine.store.account import Account
from ifengine.store.base import Reader

ON_IN = "acks: accept+application\napplication_ack: {on: in, within: 1h}"
ON_SAME = "acks: accept+application\napplication_ack: {on: same, within: 1h}"
SOON = "retry: {first: 20ms, factor: 1, max: 20ms, jitter: 0, in_doubt: never}"
RESULTS = "ifengine_application_answers_total"


def stored(content: bytes) -> bytes:
    return ack(content, "CA")


def verdict(
    control: str, code: str, number: str = "1", *, asks: str = "", error: str = ""
) -> bytes:
    """An application acknowledgment: a message of its own, from the receiver."""
    text = (
        f"MSH|^~\\&|R|R|HIS|RIVER|20260105101501||ACK^A01^ACK|V{number}|P|2.5.1|||{asks}\r"
        f"MSA|{code}|{control}\r"
    )
    if error:
        text += f"ERR||PID^1^3|{error}^text^HL70357|E||||not ours\r"
    return text.encode()


@pytest.fixture
async def lab() -> AsyncIterator[Receiver]:
    receiver = Receiver(stored)
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def site(tmp_path: Path, lab: Receiver) -> Site:
    return Site(tmp_path / "site", {"lab": lab}, options={"lab": ON_IN})


async def application(engine: Running, control: str) -> Any:
    """Return what `messages show` says of the application acknowledgment, and the whole."""
    row = await engine.row(control)
    shown = await engine.ask("messages.show", id=row["id"])
    return shown["application"]


async def stage(engine: Running, control: str) -> str:
    found = await application(engine, control)
    return str(found[0]["state"]) if found else ""


async def tell(his: Sender, content: bytes) -> None:
    his.writer.write(START + content + END)


async def is_stage(engine: Running, control: str, wanted: str) -> bool:
    return await stage(engine, control) == wanted


async def is_sent(engine: Running, control: str) -> bool:
    return (await engine.states()).get(control) == {"lab": "sent"}


async def is_dead(engine: Running, control: str) -> bool:
    return (await engine.states()).get(control) == {"lab": "dead_letter"}


async def is_even(engine: Running) -> bool:
    """Whether every message is in exactly one state, by the records alone."""

    def look(reader: Reader) -> bool:
        records = reader.tally()
        account = Account()
        while (balance := account.look(records)) is None:
            pass
        return balance.is_even

    parts = engine.engine.watch._parts
    await parts.group.durable()
    return await parts.read(look)


async def counted(engine: Running, name: str, **labels: str) -> float:
    return metric((await engine.ask("metrics"))["text"], name, **labels)


async def test_a_yes_that_comes_later_is_noted_with_the_message_and_nothing_is_resent(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: is_stage(engine, "M1", "waiting"))
        header = lab.received[0].split(b"\r")[0].split(b"|")
        assert header[14:16] == [b"AL", b"AL"]
        await tell(his, verdict("M1", "AA"))
        await until(lambda: is_stage(engine, "M1", "accepted"))
        assert await engine.states() == {"M1": {"lab": "sent"}, "V1": {}}
        assert (await engine.row("V1"))["reason"] == "application accepted AA"
        assert await his.is_silent()  # it did not ask for an answer
        events = (await engine.ask("messages.trace", id=(await engine.row("M1"))["id"]))["events"]
        assert [e["result"] for e in events if e["event"] == "attempt"] == ["application_accepted"]
        assert await counted(engine, RESULTS, result="accepted", destination="lab") == 1
        assert lab.ids == ["M1"]
        assert await engine.letters() == []


async def test_an_application_acknowledgment_that_asks_for_it_is_answered_once_it_is_stored(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: is_sent(engine, "M1"))
        for number, wanted in (("1", "AA"), ("2", "AA"), ("3", "AE")):
            await tell(his, verdict("M1" if number < "3" else "X9", wanted, number, asks="AL"))
            answer = await his.answer()
            assert code(answer) == "CA"
            assert answer.split(b"MSA|CA|")[1].startswith(f"V{number}".encode())
        # an accept acknowledgment is never answered, whatever it asks for
        await tell(his, verdict("M1", "CA", "4", asks="AL"))
        await tell(his, verdict("M1", "AA", "5", asks="NE"))
        assert await his.is_silent()
        assert await stage(engine, "M1") == "accepted"
        assert await counted(engine, RESULTS) == 1


async def test_a_no_that_comes_later_is_a_dead_letter_that_holds_its_key_until_it_is_replayed(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        for control in ("M1", "M2"):
            assert await his.send(adt(control)) == "AA"
        await until(lambda: is_sent(engine, "M2"))
        await tell(his, verdict("M1", "AE", error="101"))
        await until(lambda: is_dead(engine, "M1"))
        (group,) = await engine.letters()
        assert group["reason"] == "application refused AE 101"
        row = await engine.row("M1")
        shown = await engine.ask("dlq.show", id=row["id"], phi=True, reason="test")
        assert "not ours" in str(shown)
        assert await is_even(engine)
        # later ones of the patient wait; others go
        assert await his.send(adt("M3")) == "AA"
        assert await his.send(adt("N1", patient="701")) == "AA"
        await until(lambda: is_sent(engine, "N1"))
        assert lab.ids == ["M1", "M2", "N1"]
        # M2 went to the same patient after M1: a person decides that the older one may follow
        report = await engine.ask("dlq.replay", ids=[row["id"]], reason="mended")
        assert report["older"], report
        await engine.ask("dlq.replay", ids=[row["id"]], reason="mended", allow_older=True)
        await until(lambda: lab.ids == ["M1", "M2", "N1", "M1", "M3"])
        await until(lambda: is_sent(engine, "M3"))
        assert await stage(engine, "M1") == "waiting"
        # the same bytes once more are the answer to the first attempt
        await tell(his, verdict("M1", "AE", error="101"))
        await tell(his, verdict("M1", "AA", "2"))
        await until(lambda: is_stage(engine, "M1", "accepted"))
        assert await engine.letters() == []
        assert await is_even(engine)


async def test_what_had_not_left_when_the_no_came_waits_behind_it_also_after_a_restart(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: is_sent(engine, "M1"))
        lab.delay_seconds = 1.0  # the one lane is busy, and the rest waits for it
        await his.send(adt("N0", patient="701"))
        await until(lambda: "N0" in lab.ids)
        for control, patient in (("M2", "700"), ("M3", "700"), ("N1", "702")):
            await his.send(adt(control, patient=patient))
        await tell(his, verdict("M1", "AR"))
        await until(lambda: is_dead(engine, "M1"))
        assert lab.ids == ["M1", "N0"]
        lab.delay_seconds = 0.0
        await until(lambda: is_sent(engine, "N1"))
        assert lab.ids == ["M1", "N0", "N1"]
        await until(lambda: are_held(engine, "M2", "M3"))
        assert await is_even(engine)
        await crash(engine)
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("N2", patient="701")) == "AA"
        await until(lambda: is_sent(engine, "N2"))
        assert not {"M2", "M3"} & set(lab.ids)
        row = await engine.row("M1")
        await engine.ask("dlq.discard", ids=[row["id"]], reason="known")
        await until(lambda: is_sent(engine, "M3"))
        assert [control for control in lab.ids if control in ("M2", "M3")] == ["M2", "M3"]


async def are_held(engine: Running, *controls: str) -> bool:
    states = await engine.states()
    return all(states[control] == {"lab": "held"} for control in controls)


async def test_answers_come_back_on_the_connection_that_delivers(site: Site, lab: Receiver) -> None:
    site.options["lab"] = ON_SAME
    async with running(site) as engine, sender(site) as his:
        for number in (1, 2, 3):
            await his.send(adt(f"M{number}", patient=f"70{number}"))
        await until(lambda: is_sent(engine, "M3"))
        before = len(lab.received)
        lab.send_unasked(verdict("M1", "AA", asks="AL"))
        lab.send_unasked(verdict("M2", "AE", "2", error="207"))
        await until(lambda: is_stage(engine, "M1", "accepted"))
        await until(lambda: is_dead(engine, "M2"))
        assert await stage(engine, "M3") == "waiting"
        # the one that asked for it was answered there
        await until(lambda: len(lab.received) == before + 1)
        assert b"MSA|CA|V1" in lab.received[-1]
        assert (await engine.row("V1"))["state"] == "dropped"
        assert lab.connections == 1


async def test_an_answer_ahead_of_the_accept_acknowledgment_is_not_lost(
    site: Site, lab: Receiver
) -> None:
    lab.delay_seconds = 0.5
    async with running(site) as engine, sender(site) as his:
        for number, said in enumerate(("AA", "AE")):
            control = f"M{number}"
            await his.send(adt(control, patient=control))
            await until(lambda: control in lab.ids)  # noqa: B023
            await tell(his, verdict(control, said, str(number)))
        await until(lambda: is_stage(engine, "M0", "accepted"))
        await until(lambda: is_dead(engine, "M1"))
        assert lab.ids == ["M0", "M1"]


async def test_an_early_answer_outlives_a_crash_and_an_old_one_is_not_taken_for_a_new_message(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = ON_IN + "\nack_timeout: 200ms\n" + SOON
    lab.answer = lambda content: None
    async with running(site) as engine, sender(site) as his:
        await tell(his, verdict("M2", "AE", "8"))
        await tell(his, verdict("M3", "AA", "9"))
        await his.send(adt("M1"))
        await until(lambda: "M1" in lab.ids)
        await tell(his, verdict("M1", "AE", "1", asks="AL"))
        assert code(await his.answer()) == "CA"
        await crash(engine)
    lab.answer = stored
    async with running(site) as engine, sender(site) as his:
        await until(lambda: is_dead(engine, "M1"))
        for control in ("M2", "M3"):
            await his.send(adt(control, patient=control))
            await until(lambda: is_stage(engine, control, "waiting"))  # noqa: B023


async def test_a_missing_answer_is_counted_shown_and_still_taken_when_it_comes(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = ON_IN.replace("1h", "1s")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: is_stage(engine, "M1", "missing"))
        assert await counted(engine, RESULTS, result="missing") == 1
        assert await counted(engine, "ifengine_application_answers_waiting") == 0
        assert await is_sent(engine, "M1")
        await tell(his, verdict("M1", "AE"))
        await until(lambda: is_dead(engine, "M1"))
        assert lab.ids == ["M1"]


async def test_a_crash_between_both_answers_loses_neither_the_no_nor_the_deadline(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "settle: strict\n" + ON_IN.replace("1h", "3s")
    async with running(site) as engine, sender(site) as his:
        for number in (1, 2):
            await his.send(adt(f"M{number}", patient=f"70{number}"))
        await until(lambda: is_stage(engine, "M2", "waiting"))
        await until(lambda: is_stage(engine, "M1", "waiting"))
        await crash(engine)
    async with running(site) as engine, sender(site) as his:
        await tell(his, verdict("M1", "AR"))
        await until(lambda: is_dead(engine, "M1"))
        await until(lambda: is_stage(engine, "M2", "missing"))
        assert lab.ids == ["M1", "M2"]
        await crash(engine)
    async with running(site) as engine:
        assert await is_dead(engine, "M1")
        assert await stage(engine, "M2") == "missing"
        assert len(await engine.letters()) == 1


async def test_two_messages_of_one_id_share_a_no_and_neither_gets_the_yes(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        for patient in ("700", "701"):
            await his.send(adt("M1", patient=patient))
        await until(lambda: len(lab.ids) == 2)
        await until(lambda: are_waiting(engine, 2))
        await tell(his, verdict("M1", "AA"))
        kind = {"kind": "application_ambiguous"}
        await until(lambda: has(engine, "ifengine_answers_ignored_total", 1, **kind))
        assert await counted(engine, RESULTS) == 0
        await tell(his, verdict("M1", "AE", "2"))
        await until(lambda: has(engine, RESULTS, 2, result="refused"))
        await until(lambda: letters_are(engine, 2))


async def are_waiting(engine: Running, count: int) -> bool:
    return await counted(engine, "ifengine_application_answers_waiting") == count


async def has(engine: Running, name: str, value: float, **labels: str) -> bool:
    return await counted(engine, name, **labels) == value


async def letters_are(engine: Running, count: int) -> bool:
    return sum(int(group["count"]) for group in await engine.letters()) == count


async def test_a_no_after_a_yes_counts_and_a_yes_after_a_no_leaves_it_to_a_person(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: is_sent(engine, "M1"))
        await tell(his, verdict("M1", "AA"))
        await until(lambda: is_stage(engine, "M1", "accepted"))
        await tell(his, verdict("M1", "AE", "2"))
        await until(lambda: is_dead(engine, "M1"))
        await tell(his, verdict("M1", "AA", "3", asks="AL"))
        await his.answer()
        assert await is_dead(engine, "M1")
        assert await letters_are(engine, 1)


async def test_one_answer_that_says_all_needs_no_second(site: Site, lab: Receiver) -> None:
    lab.answer = ack
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: is_stage(engine, "M1", "accepted"))
        assert await counted(engine, "ifengine_application_answers_waiting") == 0


async def test_answers_come_in_at_a_connection_that_no_channel_reads(
    tmp_path: Path, lab: Receiver
) -> None:
    port = free_port()
    more = f"}}\n  answers: {{listen: mllp, host: 127.0.0.1, port: {port}, plaintext: test"
    site = Site(tmp_path / "site", {"lab": lab}, listen=more)
    site.options["lab"] = ON_IN.replace("on: in", "on: answers")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: is_stage(engine, "M1", "waiting"))
        # an acknowledgment at another connection is nobody's
        await tell(his, verdict("M1", "AE"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        theirs = Sender(reader, writer)
        await tell(theirs, verdict("M1", "AA", "2", asks="AL"))
        assert code(await theirs.answer()) == "CA"
        await until(lambda: is_stage(engine, "M1", "accepted"))
        theirs.close()


async def test_a_reload_that_makes_a_queue_anew_loses_no_answer(site: Site, lab: Receiver) -> None:
    async with running(site) as engine, sender(site) as his:
        for number in range(20):
            await his.send(adt(f"M{number}", patient=f"{number}"))
        await until(lambda: are_waiting(engine, 20))

        async def refuse() -> None:
            for number in range(20):
                await tell(his, verdict(f"M{number}", "AE", str(number)))
                await asyncio.sleep(0.01)

        telling = asyncio.create_task(refuse())
        for lanes in (2, 3, 4):
            site.options["lab"] = f"{ON_IN}\nlanes: {lanes}"
            site.write()
            report = await engine.ask("config.reload", reason="more lanes")
            assert report["done"], report
        await telling
        await until(lambda: letters_are(engine, 20))
        await until(lambda: are_waiting(engine, 0))


SPLIT = """\
split_message: {by: OBR}
order_by: patient
types: [ORU^R01]
"""


async def test_of_a_message_that_was_split_only_the_part_that_was_refused_is_a_dead_letter(
    site: Site, lab: Receiver
) -> None:
    site.head = SPLIT.rstrip()
    site.options["lab"] = ON_IN + "\ncontrol_id: mint"
    groups = "".join(f"OBR|{n}|P{n}|F{n}|GLU\rOBX|1|NM|GLU||{n}\r" for n in (1, 2, 3))
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1", message_type="ORU", event="R01", extra=groups)) == "AA"
        await until(lambda: len(lab.ids) == 3)
        await until(lambda: are_waiting(engine, 3))
        await tell(his, verdict(lab.ids[1], "AE"))
        await tell(his, verdict(lab.ids[2], "AA", "2"))
        await until(lambda: has(engine, RESULTS, 1, result="accepted"))
        await until(lambda: is_dead(engine, "M1"))
        assert await letters_are(engine, 1)
        assert await is_even(engine)
        row = await engine.row("M1")
        await engine.ask("dlq.replay", ids=[row["id"]], reason="again", allow_older=True)
        await until(lambda: len(lab.ids) == 4)
        assert lab.ids[3] == lab.ids[1]
        await until(lambda: is_sent(engine, "M1"))
        assert await is_even(engine)


async def test_a_sender_whose_ids_are_all_alike_makes_no_more_than_a_hundred_wait(
    site: Site, lab: Receiver
) -> None:
    """The oldest counts as missing at once: what waits is written again with each that is added."""
    more = 7
    async with running(site) as engine, sender(site) as his:
        for number in range(MOST_OPEN + more):
            assert await his.send(adt("SAME", patient=f"{number}")) == "AA"
        await until(lambda: has(engine, RESULTS, more, result="missing"))
        await until(lambda: are_waiting(engine, MOST_OPEN))
        await tell(his, verdict("SAME", "AE"))
        await until(lambda: has(engine, RESULTS, MOST_OPEN, result="refused"))
        await until(lambda: are_waiting(engine, 0))
        await until(lambda: letters_are(engine, MOST_OPEN))
        assert await is_even(engine)
