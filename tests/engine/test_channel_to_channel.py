"""One channel hands its messages to another of the same site."""

import random
from collections import Counter

import pytest

from engine.support import Receiver, Running, Site, adt, control_id, running, sender, until

FIRST = """\
ifengine: 1
channel: first
from: in
order_by: patient
steps:
  - set: {MSH-5: MIDDLE}
to:
  onward: {channel: second}
"""
SECOND = """\
ifengine: 1
channel: second
from: channels
types: [ADT^*]
order_by: patient
steps:
  - require: {PID-8: no sex}
to:
  ward:
    connection: to-ward
    retry: {first: 50ms, max: 100ms, jitter: 0}
"""


@pytest.fixture
def site(site: Site, ward: Receiver) -> Site:
    site.receivers["ward"] = ward
    site.channels = {"first": FIRST, "second": SECOND}
    # the site's usual channel takes what the two do not
    site.head = "types: [SIU^*]\norder_by: patient"
    site.channels["first"] = FIRST.replace("from: in\n", "from: in\ntypes: [ADT^*, ORM^*]\n")
    return site


async def rows(engine: Running, channel: str) -> list[dict[str, object]]:
    found = await engine.ask("messages.list", limit=1000, channel=channel)
    return list(reversed(found))


async def test_messages_go_through_both_channels_in_their_order(site: Site, ward: Receiver) -> None:
    sent = [adt(f"M{n}", patient=str(n % 3)) for n in range(30)]
    async with running(site) as engine, sender(site) as his:
        for content in sent:
            assert await his.send(content) == "AA"
        await until(lambda: len(ward.received) == 30)
        assert ward.received == [content.replace(b"|IE|", b"|MIDDLE|") for content in sent]
        first, second = await rows(engine, "first"), await rows(engine, "second")
        assert [row["control_id"] for row in first] == [row["control_id"] for row in second]
        shown = await engine.ask("messages.trace", id=second[0]["id"])
        assert f"first.onward {first[0]['id']}" in str(shown)
        assert await engine.letters() == []


async def test_what_the_other_channel_does_not_take_is_a_dead_letter_of_the_first(
    site: Site, ward: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", message_type="ORM", event="O01"))
        await his.send(adt("M2", patient="2"))
        await until(lambda: ward.ids == ["M2"])
        (group,) = await engine.letters()
        assert (group["channel"], group["reason"]) == (
            "first",
            "the channel does not take this type",
        )


async def test_what_fails_in_the_other_channel_is_a_dead_letter_there(
    site: Site, ward: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1").replace(b"|M\r", b"|\r"))
        await his.send(adt("M2", patient="2"))
        await until(lambda: ward.ids == ["M2"])
        (group,) = await engine.letters()
        assert (group["channel"], group["reason"]) == ("second", "no sex")


async def test_a_channel_may_listen_and_take_from_channels_and_keeps_their_order(
    site: Site, ward: Receiver
) -> None:
    # both sources of `second` write into one batch: what it plans is in the order of the store
    site.channels["first"] = FIRST.replace("from: in\n", "from: in\ntypes: [ORM^*]\n").replace(
        "MSH-5: MIDDLE", "MSH-9.1: ADT"
    )
    site.channels["second"] = SECOND.replace("channels", "[in, channels]")
    async with running(site) as engine, sender(site) as his:
        for n in range(60):
            his.writer.write(b"\x0b" + adt(f"A{n}", message_type="ORM", patient=str(n)) + b"\x1c\r")
            his.writer.write(b"\x0b" + adt(f"B{n}", patient=f"9{n}") + b"\x1c\r")
        for _ in range(120):
            await his.answer()
        await until(lambda: len(ward.received) == 120)
        order = [row["control_id"] for row in await rows(engine, "second")]
        assert ward.ids == order
        await engine.kill()
    ward.received.clear()
    async with running(site) as engine:
        await until(lambda: all_settled(engine))
        assert len(set(ward.ids)) == len(ward.ids)


async def all_settled(engine: Running) -> bool:
    return all(
        destination["state"] == "sent"
        for row in await engine.ask("messages.list", limit=1000)
        for destination in row["destinations"]
    )


async def test_a_crash_at_any_moment_loses_nothing_and_hands_over_everything_once(
    site: Site, ward: Receiver
) -> None:
    dice = random.Random(4)
    accepted: list[str] = []
    for round_number in range(5):
        async with running(site) as engine, sender(site) as his:
            for n in range(25):
                control = f"R{round_number}N{n}"
                if await his.send(adt(control, patient=str(n % 4))) == "AA":
                    accepted.append(control)
                if dice.random() < 0.06:
                    break
            await engine.kill()
    async with running(site) as engine:
        await until(lambda: all_settled(engine))
        second = [row["control_id"] for row in await rows(engine, "second")]
        # exactly once at the other channel, in the order in which the first one took them
        assert second == accepted
        assert set(ward.ids) == set(accepted)
        # at the receiver a repetition is possible after a crash, of what was under way then
        assert sum(Counter(ward.ids).values()) - len(accepted) <= 5
        assert [control_id(c) for c in ward.received if c.count(b"MIDDLE") != 1] == []
