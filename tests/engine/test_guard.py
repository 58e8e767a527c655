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
