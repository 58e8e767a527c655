"""Messages that come as one and go as several, in a running engine."""

import asyncio
import random
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
    metric,
    running,
    sender,
    until,
)
from ifengine.hl7.batch import split_batch
from ifengine.hl7.message import Message

SPLIT = """\
types: [ORU^*]
order_by: OBR[1]-3
split_message: {by: OBR}
"""


def report(control: str, *orders: str) -> bytes:
    content = adt(control, event="R01", message_type="ORU")
    return content + "".join(f"OBR|{i}||{o}|K\r" for i, o in enumerate(orders, 1)).encode()


def order_of(content: bytes) -> str:
    message = Message.parse(content)
    (at,) = message.indexes("OBR")
    return message.raw(at, 3).decode()


def orders(receiver: Receiver) -> list[str]:
    return [order_of(content) for content in receiver.received]


def refuse(*wanted: str) -> Any:
    return lambda content: ack(content, "AE" if order_of(content) in wanted else "AA")


async def test_one_message_of_several_reports_is_answered_once_and_goes_as_several(
    site: Site, lab: Receiver
) -> None:
    site.head = SPLIT
    async with running(site) as engine, sender(site) as his:
        assert await his.send(report("M1", "A", "B", "C")) == "AA"
        await until(lambda: orders(lab) == ["A", "B", "C"])
        assert len(set(lab.ids)) == 3
        assert await his.is_silent(0.1)
        assert await engine.letters() == []


async def test_a_part_that_is_refused_is_dead_alone_and_holds_only_its_own_key(
    site: Site, lab: Receiver
) -> None:
    site.head = SPLIT
    lab.answer = refuse("B")
    async with running(site) as engine, sender(site) as his:
        await his.send(report("M1", "A", "B", "C"))
        await his.send(report("M2", "B", "C"))
        await until(lambda: orders(lab) == ["A", "B", "C", "C"])

        async def is_dead() -> bool:  # its answer is written down a moment after it was given
            return bool(await engine.letters())

        await until(is_dead)
        (group,) = await engine.letters()
        assert group["count"] == 1
        lab.answer = ack
        await engine.ask("dlq.replay", ids=group["messages"], reason="open again")
        await until(lambda: orders(lab)[4:] == ["B", "B"])
        assert lab.ids[1] == lab.ids[4]  # the same bytes: the receiver can tell that it is a repeat


@pytest.mark.parametrize("how", ["stored", "reprocess"])
async def test_a_dead_part_is_taken_again_alone(site: Site, lab: Receiver, how: str) -> None:
    site.head = SPLIT
    lab.answer = refuse("A", "C")
    async with running(site) as engine, sender(site) as his:
        await his.send(report("M1", "A", "B", "C"))
        await until(lambda: orders(lab) == ["A", "B", "C"])

        async def both() -> bool:
            return [g["count"] for g in await engine.letters()] == [2]

        await until(both)
        (group,) = await engine.letters()
        # twice: what a replay leaves behind is still that part
        await again(engine, group, how)
        await until(lambda: orders(lab)[3:] == ["A", "C"])
        await until(both)
        (group,) = await engine.letters()
        lab.answer = ack
        await again(engine, group, how)
        await until(lambda: orders(lab)[5:] == ["A", "C"])
        assert len(set(lab.ids)) == 3


async def again(engine: Running, group: Any, how: str) -> None:
    await engine.ask("dlq.replay", **{"ids": group["messages"], "reason": "again", "as": how})


async def test_after_a_crash_every_part_arrives_under_the_id_it_had(
    site: Site, lab: Receiver
) -> None:
    site.head = SPLIT
    site.options["lab"] = "retry: {first: 50ms, max: 100ms, jitter: 0}"
    async with running(site) as engine, sender(site) as his:
        lab.answer = lambda content: None
        assert await his.send(report("M1", "A", "B", "C")) == "AA"
        await until(lambda: orders(lab) == ["A"])
        await engine.kill()
    before = lab.ids[0]
    lab.answer = ack
    lab.received.clear()
    async with running(site):
        await until(lambda: sorted(orders(lab)) == ["A", "B", "C"])
        assert before in lab.ids


# --- batches over MLLP ------------------------------------------------------------------------

UNBATCH = "order_by: patient\nunbatch: {check_counts: yes}\n"
BHS = rb"BHS|^~\&|HUB|RIVER|IE|RIVER|20260105||night||B77" + b"\r"


def batch(*messages: bytes, count: int | None = None) -> bytes:
    return BHS + b"".join(messages) + b"BTS|%d\r" % (len(messages) if count is None else count)


async def exchange(his: Sender, content: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    """Send a frame; return the header of the answering batch and its (MSA-1, MSA-2)."""
    his.writer.write(START + content + END)
    answer = await his.answer()
    found = split_batch(answer)
    assert found.faults == ()
    return found.header, [acknowledged(message) for message in found.messages]


def acknowledged(content: bytes) -> tuple[str, str]:
    (line,) = [line for line in content.split(b"\r") if line.startswith(b"MSA")]
    fields = line.decode().split("|")
    return fields[1], fields[2]


async def test_a_batch_in_one_frame_is_answered_by_a_batch_that_refers_to_it(
    site: Site, lab: Receiver
) -> None:
    site.head = UNBATCH
    sent = [adt(f"M{n}", patient=str(n)) for n in range(20)]
    async with running(site), sender(site) as his:
        header, answers = await exchange(his, batch(*sent))
        assert answers == [("AA", f"M{n}") for n in range(20)]
        fields = header.split(b"|")
        assert fields[2:6] == [b"IE", b"RIVER", b"HUB", b"RIVER"]
        assert fields[11] == b"B77"
        await until(lambda: lab.received == sent)
        # the batch again: each message is known, and told so
        _, answers = await exchange(his, batch(*sent))
        assert answers == [("AA", f"M{n}") for n in range(20)]
        assert await his.send(adt("LAST")) == "AA"
        await until(lambda: lab.ids[20:] == ["LAST"])


async def test_a_bad_message_in_a_batch_is_refused_alone(site: Site, lab: Receiver) -> None:
    site.head = UNBATCH
    training = adt("M2", msh="|T|2.5.1")
    nameless = adt("", patient="8")
    async with running(site), sender(site) as his:
        _, answers = await exchange(his, batch(adt("M1"), training, nameless, adt("M3")))
        assert [code for code, _ in answers] == ["AA", "AR", "AE", "AA"]
        await until(lambda: lab.ids == ["M1", "M3"])


async def test_a_batch_whose_count_does_not_agree_is_refused_whole_and_kept(
    site: Site, lab: Receiver
) -> None:
    site.head = UNBATCH
    async with running(site) as engine, sender(site) as his:
        his.writer.write(START + batch(adt("M1"), adt("M2"), count=3) + END)
        answer = await his.answer()
        assert split_batch(answer).header.split(b"|")[11] == b"B77"
        assert acknowledged(answer)[0] == "AE"
        assert b"BTS-1 does not agree with the messages of its batch" in answer
        (row,) = await engine.ask("messages.list", limit=10)
        assert row["state"] == "rejected"
        assert await his.send(adt("M3")) == "AA"
        await until(lambda: lab.ids == ["M3"])
        assert await engine.letters() == []


async def test_an_empty_batch_is_legal_counted_and_answered_in_its_turn(
    site: Site, lab: Receiver
) -> None:
    site.head = UNBATCH
    async with running(site) as engine, sender(site) as his:
        his.writer.write(START + adt("M1") + END + START + batch() + END + START + adt("M2") + END)
        assert acknowledged(await his.answer()) == ("AA", "M1")
        empty = await his.answer()
        assert empty.endswith(b"\rBTS|0\r")
        assert acknowledged(await his.answer()) == ("AA", "M2")
        assert [row["control_id"] for row in await engine.ask("messages.list", limit=10)] == [
            "M2",
            "M1",
        ]


async def test_a_batch_for_a_channel_without_unbatch_is_refused_as_one(
    site: Site, lab: Receiver
) -> None:
    async with running(site), sender(site) as his:
        his.writer.write(START + batch(adt("M1"), adt("M2")) + END)
        answer = await his.answer()
        assert acknowledged(answer)[0] in ("AR", "AE")
        assert b"batches are not accepted here" in answer
        assert await his.send(adt("M3")) == "AA"
        await until(lambda: lab.ids == ["M3"])


async def test_a_crash_in_a_batch_loses_nothing_that_was_answered_and_takes_all_of_it_or_none(
    site: Site, lab: Receiver
) -> None:
    site.head = UNBATCH
    site.options["lab"] = "retry: {first: 50ms, max: 100ms, jitter: 0}"
    dice = random.Random(9)
    answered: set[str] = set()
    whole: list[set[str]] = []
    for number in range(6):
        names = [f"R{number}N{n}" for n in range(30)]
        whole.append(set(names))
        async with running(site) as engine, sender(site) as his:
            his.writer.write(START + batch(*(adt(name, patient=name[-1]) for name in names)) + END)
            if dice.random() < 0.5:
                _ = await his.answer()
                answered |= set(names)
            else:
                await asyncio.sleep(dice.random() * 0.02)
            await engine.kill()
    async with running(site) as engine:
        rows = await engine.ask("messages.list", limit=1000)
        stored = {row["control_id"] for row in rows}
        assert answered <= stored
        for names_of_one in whole:
            assert names_of_one <= stored or not names_of_one & stored
        assert len(rows) == len(stored)
        await until(lambda: set(lab.ids) == stored)


async def test_a_message_that_is_split_waits_as_a_whole_and_goes_on_after_a_crash(
    site: Site, lab: Receiver
) -> None:
    site.head = (
        "types: [ORU^*, ORM^*]\norder_by: OBR[1]-3\nsplit_message: {by: OBR}\nsteps:\n"
        "  - when: MSH-9.1 = ORM\n    remember: {fact: order, per: OBR, key: OBR-3}\n"
        "  - when: MSH-9.1 = ORU\n"
        "    wait_for: {fact: order, per: OBR, key: OBR-3, up_to: 30m}\n"
    )
    site.options["lab"] = "types: [ORU^*]"
    async with running(site) as engine, sender(site) as his:
        await his.send(order("O1", "A"))
        await his.send(report("M1", "A", "B"))
        await until(lambda: waits(engine))
        await engine.kill()
    assert lab.received == []
    async with running(site) as engine, sender(site) as his:
        assert await waits(engine)
        await his.send(order("O2", "B"))
        await until(lambda: orders(lab) == ["A", "B"])

        async def is_sent() -> bool:  # the outcome is on disk a moment after the receiver has it
            row = await engine.row("M1")
            return {d["state"] for d in row["destinations"]} == {"sent"}

        await until(is_sent)


async def waits(engine: Running) -> bool:
    row = await engine.row("M1")
    return [d["state"] for d in row["destinations"]] == ["parked"]


def order(control: str, *numbers: str) -> bytes:
    content = adt(control, event="O01", message_type="ORM")
    return content + "".join(f"ORC|NW\rOBR|1||{n}|K\r" for n in numbers).encode()


async def test_a_replay_sends_only_the_parts_that_its_destination_wants(
    site: Site, lab: Receiver
) -> None:
    site.head = "types: [ORU^*]"
    site.options["lab"] = "steps:\n  - require: {PV1-19: no visit}"
    async with running(site) as engine, sender(site) as his:
        await his.send(report("M1", "A", "B"))

        async def is_dead() -> bool:
            return (await engine.row("M1"))["state"] == "dead_letter"

        await until(is_dead)
        number = (await engine.row("M1"))["id"]
        # from now on its parts go alone, and not every part goes there
        site.head = "types: [ORU^*]\nsplit_message: {by: OBR}"
        site.options["lab"] = "accept: OBR[1]-3 = A"
        site.write()
        assert (await engine.ask("config.reload", skip_tests=True))["done"]
        report_of = await engine.ask(
            "dlq.replay", ids=[number], **{"as": "reprocess"}, reason="the rules are right now"
        )
        assert report_of["going"]

        async def is_sent() -> bool:
            tally = await engine.ask("tally")
            rows = {row["destination"]: row["states"] for row in tally["rows"]}
            return bool(rows["lab"] == {"sent": 1, "filtered": 1})

        await until(is_sent)
        assert orders(lab) == ["A"]
        assert len(lab.received) == 1


async def test_a_letter_that_comes_back_in_parts_leaves_the_count_of_dead_letters_once(
    site: Site, lab: Receiver
) -> None:
    site.head = "types: [ORU^*]"
    site.options["lab"] = "steps:\n  - require: {PV1-19: no visit}"
    async with running(site) as engine, sender(site) as his:
        await his.send(report("M1", "A", "B"))
        await his.send(report("M2", "C"))

        async def are_dead(count: float) -> bool:
            text = (await engine.ask("metrics"))["text"]
            return metric(text, "ifengine_dead_letters", channel="adt") == count

        await until(lambda: are_dead(2.0))
        number = (await engine.row("M1"))["id"]
        site.head = "types: [ORU^*]\nsplit_message: {by: OBR}"
        site.options["lab"] = "about: both of its parts"
        site.write()
        assert (await engine.ask("config.reload", skip_tests=True))["done"]
        await engine.ask("dlq.replay", ids=[number], **{"as": "reprocess"}, reason="right now")
        await until(lambda: sorted(orders(lab)) == ["A", "B"])
        await until(lambda: are_dead(1.0))  # the other one's
