"""Messages that come as one and go as several, in a running engine."""

from typing import Any

import pytest

from engine.support import Receiver, Running, Site, ack, adt, running, sender, until
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
