"""What becomes of a message on its way to a receiver, seen from outside."""

import asyncio

from engine.support import Receiver, Site, ack, adt, running, sender, until

QUICK = "retry: {first: 50ms, factor: 1, max: 50ms, jitter: 0, refused: 3, in_doubt: 3}"


async def test_an_acknowledged_message_arrives_byte_for_byte(site: Site, lab: Receiver) -> None:
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])
        assert lab.received == [adt("M1")]
        await until(lambda: engine_sent(engine, "M1"))


async def engine_sent(engine, control: str) -> bool:  # type: ignore[no-untyped-def]
    return (await engine.states()).get(control) == {"lab": "sent"}


async def test_a_refused_message_holds_its_patient_until_it_is_replayed(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda c: ack(c, "AE" if b"M1" in c else "AA")
    async with running(site) as engine, sender(site) as his:
        for control, patient in (("M1", "700"), ("M2", "700"), ("M3", "701")):
            assert await his.send(adt(control, patient=patient)) == "AA"
        await until(lambda: lab.ids == ["M1", "M3"])
        await until(lambda: has_letters(engine))
        states = await engine.states()
        assert states["M1"] == {"lab": "dead_letter"}
        assert states["M2"] == {"lab": "held"}
        groups = await engine.letters()
        assert [(g["count"], g["channel"], g["destination"]) for g in groups] == [(1, "adt", "lab")]
        lab.answer = ack
        report = await engine.ask("dlq.replay", ids=groups[0]["messages"], reason="ward open")
        assert report["going"] == 1
        await until(lambda: lab.ids == ["M1", "M3", "M1", "M2"])
        await until(lambda: engine_sent(engine, "M2"))
        assert (await engine.states())["M1"] == {"lab": "sent"}
        assert await engine.letters() == []


async def test_a_discarded_dead_letter_lets_its_patient_go_on(site: Site, lab: Receiver) -> None:
    lab.answer = lambda c: ack(c, "AE" if b"M1" in c else "AA")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await his.send(adt("M2"))
        await until(lambda: lab.ids == ["M1"])
        await until(lambda: has_letters(engine))
        group = (await engine.letters())[0]
        await engine.ask("dlq.discard", ids=group["messages"], reason="test system")
        await until(lambda: lab.ids == ["M1", "M2"])
        assert (await engine.states())["M1"] == {"lab": "discarded"}


async def has_letters(engine) -> bool:  # type: ignore[no-untyped-def]
    return bool(await engine.letters())


async def test_a_rejected_message_is_tried_again_and_dead_letters_after_its_limit(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = QUICK
    lab.answer = lambda c: ack(c, "AR")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: has_letters(engine))
        assert lab.ids == ["M1"] * 3
        row = await engine.row("M1")
        assert row["destinations"][0]["attempts"] == 3
        assert row["destinations"][0]["possible_duplicate"] is False


async def test_a_timeout_closes_the_connection_and_sends_the_same_bytes_again_marked(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = QUICK + "\nack_timeout: 200ms"
    lab.answer = lambda c: None if len(lab.received) == 1 else ack(c)
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: engine_sent(engine, "M1"))
        assert lab.received == [adt("M1"), adt("M1")]
        assert lab.connections == 2
        destination = (await engine.row("M1"))["destinations"][0]
        assert destination["possible_duplicate"] is True
        assert destination["attempts"] == 2


async def test_an_answer_to_another_message_is_never_credited(site: Site, lab: Receiver) -> None:
    site.options["lab"] = QUICK + "\nack_timeout: 300ms"
    lab.answer = lambda c: ack(c, answering="SOMEBODY") if len(lab.received) == 1 else ack(c)
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: engine_sent(engine, "M1"))
        assert lab.ids == ["M1", "M1"]
        assert lab.connections == 2
        assert (await engine.row("M1"))["destinations"][0]["possible_duplicate"] is True


async def test_a_repeated_answer_to_the_message_before_does_not_settle_the_next(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = QUICK + "\nack_timeout: 300ms"

    def answer(content: bytes) -> bytes | None:
        if b"|M1|" in content:
            return ack(content)
        if len(lab.received) == 2:
            lab.send_unasked(ack(adt("M1")))  # once more, while M2 is under way
            return None
        return ack(content)

    lab.answer = answer
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: lab.ids == ["M1"])
        await his.send(adt("M2"))
        await until(lambda: engine_sent(engine, "M2"))
        assert lab.ids == ["M1", "M2", "M2"]


async def test_two_messages_of_one_control_id_never_share_a_connection(
    site: Site, lab: Receiver
) -> None:
    async with running(site), sender(site) as his:
        assert await his.send(adt("SAME", patient="1")) == "AA"
        await until(lambda: len(lab.received) == 1)
        assert await his.send(adt("SAME", patient="2")) == "AA"
        await until(lambda: len(lab.received) == 2)
        assert lab.connections == 2


async def test_a_repeat_that_the_receiver_knows_counts_as_accepted(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = QUICK + "\nack_timeout: 200ms"
    lab.answer = lambda c: None if len(lab.received) == 1 else ack(c, "AE", error="205")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: engine_sent(engine, "M1"))
        assert (await engine.row("M1"))["destinations"][0]["reason"] == "accepted_as_duplicate"


async def test_in_doubt_may_wait_for_a_person(site: Site, lab: Receiver) -> None:
    site.options["lab"] = QUICK + "\nack_timeout: 200ms\non_in_doubt: hold"
    lab.answer = lambda c: None
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: is_state(engine, "M1", "held"))
        await asyncio.sleep(0.3)
        assert lab.ids == ["M1"]


async def is_state(engine, control: str, state: str) -> bool:  # type: ignore[no-untyped-def]
    return (await engine.states()).get(control, {}).get("lab") == state


async def test_a_receiver_that_is_away_costs_no_attempt_and_gets_all_in_order(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = QUICK
    await lab.stop()
    async with running(site) as engine, sender(site) as his:
        for number in range(20):
            await his.send(adt(f"M{number}", patient=str(number % 3)))
        await asyncio.sleep(0.5)
        assert set((await engine.states())["M0"].values()) == {"queued"}
        assert await engine.letters() == []
        await lab.start()
        await until(lambda: lab.ids == [f"M{number}" for number in range(20)])
        await until(lambda: engine_sent(engine, "M19"))
        assert (await engine.row("M0"))["destinations"][0]["attempts"] == 1


async def test_a_silent_receiver_does_not_delay_another(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    lab.answer = lambda c: None
    async with running(site, grace_seconds=0.5), sender(site) as his:
        for number in range(50):
            await his.send(adt(f"M{number}"))
        await until(lambda: len(ward.received) == 50, 5.0)
        assert len(lab.received) == 1


async def test_messages_that_ask_for_no_answer_are_settled_without_one(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "ack_timeout: 200ms"
    lab.answer = lambda c: None
    quiet = "|P|2.5.1|||NE|NE"
    async with running(site) as engine, sender(site) as his:
        his.writer.write(b"\x0b" + adt("M1", msh=quiet) + b"\x1c\r")
        assert await his.is_silent(0.5)
        await until(lambda: engine_sent(engine, "M1"))
        assert lab.ids == ["M1"]


async def test_lanes_keep_each_patient_in_order_and_a_merge_after_both(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "lanes: 8"
    lab.delay_seconds = 0.01
    async with running(site), sender(site) as his:
        for number in range(40):
            await his.send(adt(f"M{number:02}", patient=str(number % 4)))
        await his.send(adt("MERGE", patient="0", event="A40", extra="MRG|1^^^RIVER^MR\r"))
        for number in range(40, 60):
            await his.send(adt(f"M{number:02}", patient=str(number % 4)))
        await until(lambda: len(lab.received) == 61)
    order = lab.ids
    for patient in range(4):
        mine = [c for c in order if c != "MERGE" and int(c[1:]) % 4 == patient]
        assert mine == sorted(mine)
    merge = order.index("MERGE")
    for control in order:
        if control != "MERGE" and int(control[1:]) % 4 in (0, 1):
            assert (order.index(control) < merge) == (int(control[1:]) < 40)
