"""Whose repetition a message is: senders share no ids (safety-rules.md 6)."""

from engine.support import Receiver, Site, adt, metric, running, sender, until


def from_another(message: bytes) -> bytes:
    return message.replace(b"|HIS|RIVER|", b"|RIS|RIVER|", 1)


async def test_two_senders_may_use_the_same_control_id(site: Site, lab: Receiver) -> None:
    async with running(site) as engine, sender(site) as his, sender(site) as ris:
        assert await his.send(adt("M1")) == "AA"
        assert await ris.send(from_another(adt("M1"))) == "AA"
        # neither was the latest of the other: each is known again as a repetition of its own
        assert await his.send(adt("M1")) == "AA"
        assert await ris.send(from_another(adt("M1"))) == "AA"
        assert await his.send(adt("M2")) == "AA"
        await until(lambda: "M2" in lab.ids)
        assert lab.ids == ["M1", "M1", "M2"]
        text = (await engine.ask("metrics"))["text"]
        assert metric(text, "ifengine_control_id_reused_total", channel="adt") == 0


async def test_a_difference_in_any_byte_makes_a_message_of_its_own(
    site: Site, lab: Receiver
) -> None:
    """The last as the first: a result that was corrected there is never taken for a repetition."""
    message = adt("M1", extra="NTE|1||" + "a" * 3000 + "\r")
    other = message.replace(b"aaa\r", b"aab\r")
    assert len(other) == len(message)
    assert other != message
    async with running(site) as engine, sender(site) as his:
        assert await his.send(message) == "AA"
        assert await his.send(other) == "AA"
        assert await his.send(other) == "AA"
        assert await his.send(adt("M2")) == "AA"
        await until(lambda: "M2" in lab.ids)
        assert lab.received[:2] == [message, other]
        assert lab.ids == ["M1", "M1", "M2"]
        text = (await engine.ask("metrics"))["text"]
        assert metric(text, "ifengine_control_id_reused_total", channel="adt") == 1


async def test_only_a_listener_that_says_so_leaves_the_time_of_a_message_out(
    site: Site, lab: Receiver
) -> None:
    site.listen = ", ignore: [MSH-7]"
    message = adt("M1")
    later = message.replace(b"|20260105101500||ADT", b"|20260105101501||ADT")
    corrected = later.replace(b"Sample^Sam", b"Sample^Sue")
    assert len({message, later, corrected}) == 3
    async with running(site), sender(site) as his:
        for content in (message, later, corrected):
            assert await his.send(content) == "AA"
        assert await his.send(adt("M2")) == "AA"
        await until(lambda: "M2" in lab.ids)
        assert lab.received[:2] == [message, corrected]
        assert lab.ids == ["M1", "M1", "M2"]
