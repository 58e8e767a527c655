"""What receivers answer beside yes and no: known already, too many failures, enhanced mode."""

from engine.support import Receiver, Site, ack, adt, running, sender, shown, until

QUICK = "retry: {first: 50ms, factor: 1, max: 50ms, jitter: 0, refused: 3, in_doubt: 3}"


def known_already(content: bytes) -> bytes:
    return ack(content, "AE").replace(b"MSA|AE|M1", b"MSA|AE|M1|order already filed")


async def test_a_receiver_that_says_in_its_own_words_that_it_has_a_message_has_accepted_it(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = QUICK + "\nack_timeout: 200ms\nduplicate_answer: /already filed/"
    lab.answer = lambda c: None if len(lab.received) == 1 else known_already(c)
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: sent(engine, "M1"))
        assert lab.ids == ["M1", "M1"]
        assert (await engine.row("M1"))["destinations"][0]["reason"] == "accepted_as_duplicate"


async def sent(engine, control: str) -> bool:  # type: ignore[no-untyped-def]
    return (await engine.states()).get(control) == {"lab": "sent"}


async def dead_count(engine) -> int:  # type: ignore[no-untyped-def]
    return sum(group["count"] for group in await engine.letters())


async def test_the_same_words_about_a_message_that_was_never_sent_before_are_a_refusal(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = QUICK + "\nduplicate_answer: /already filed/"
    lab.answer = known_already
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: is_dead(engine, "M1"))


async def is_dead(engine, control: str) -> bool:  # type: ignore[no-untyped-def]
    return (await engine.states()).get(control) == {"lab": "dead_letter"}


async def test_failures_in_a_row_stop_the_queue_and_the_rest_waits_for_a_person(
    site: Site, lab: Receiver
) -> None:
    site.head = ""
    site.options["lab"] = "stop_after: 3"
    lab.answer = lambda c: ack(c, "AA" if c.split(b"|")[9] == b"M3" else "AE")
    async with running(site) as engine, sender(site) as his:
        for number in range(1, 9):
            await his.send(adt(f"M{number}"))
        # M3 was taken: the three in a row are M4, M5, M6
        await until(lambda: lab.ids == [f"M{n}" for n in range(1, 7)])
        await until(lambda: is_dead(engine, "M6"))
        assert (await engine.states())["M7"] == {"lab": "queued"}
        lab.answer = ack
        found = await engine.ask("doctor")
        assert "to-lab stopped" in shown(found)
        await engine.ask("channels.resume", name="adt")
        await until(lambda: sent(engine, "M8"))


async def test_acks_accept_asks_the_receiver_for_the_accept_acknowledgment_alone(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "acks: accept"
    lab.answer = lambda c: ack(c, "CA")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: sent(engine, "M1"))
        assert lab.received == [adt("M1").replace(b"|P|2.5.1\r", b"|P|2.5.1|||AL|NE\r")]


async def test_acks_original_asks_for_none_of_the_enhanced_mode(site: Site, lab: Receiver) -> None:
    site.options["lab"] = "acks: original"
    async with running(site) as engine, sender(site) as his:
        # success is to be answered with nothing: the sender of this one waits for no answer
        his.writer.write(b"\x0b" + adt("M1", msh="|P|2.5.1|||NE|NE") + b"\x1c\r")
        await until(lambda: sent(engine, "M1"))
        assert lab.received[0].split(b"\r")[0].rstrip(b"|").endswith(b"|P|2.5.1")


async def test_a_reload_neither_forgets_the_failures_nor_keeps_the_old_words(
    site: Site, lab: Receiver
) -> None:
    site.head = ""
    site.options["lab"] = "stop_after: 3"
    lab.answer = lambda c: ack(c, "AE")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await his.send(adt("M2"))
        await until(lambda: is_dead(engine, "M2"))
        site.options["lab"] = "stop_after: 3\nacks: accept"
        site.write()
        assert (await engine.ask("config.reload"))["done"] is True
        await his.send(adt("M3"))
        await until(lambda: is_dead(engine, "M3"))
        assert lab.received[2].endswith(adt("M3")[-20:])
        assert b"|AL|NE" in lab.received[2]
        await his.send(adt("M4"))
        assert "to-lab stopped" in shown(await engine.ask("doctor"))

        async def is_queued() -> bool:
            return (await engine.states())["M4"] == {"lab": "queued"}

        await until(is_queued)  # it is answered before it is planned
