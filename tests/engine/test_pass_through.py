"""`ack: {when: delivered}`: the sender hears what the destination answered, and a no is nowhere."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.support import (
    END,
    START,
    Receiver,
    Sender,
    Site,
    ack,
    adt,
    code,
    running,
    sender,
    until,
)
from ifengine.admin.client import CallError

ACK = "ack: {when: delivered, from: lab, timeout: 2s%s}\norder_by: patient"
LAB = "ack_timeout: 1500ms"


@pytest.fixture
async def ward() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def site(tmp_path: Path, lab: Receiver) -> Site:
    return Site(tmp_path / "site", {"lab": lab}, head=ACK % "", options={"lab": LAB})


def hold(receiver: Receiver) -> asyncio.Event:
    """Let a receiver answer nothing before the event is set."""
    free = asyncio.Event()

    async def wait_and_answer(writer: asyncio.StreamWriter, content: bytes) -> None:
        await free.wait()
        reply = ack(content)
        writer.write(START + reply + END)

    tasks: list[asyncio.Task[None]] = []

    def answer(content: bytes) -> None:
        writer = receiver._writers[-1]
        tasks.append(asyncio.get_running_loop().create_task(wait_and_answer(writer, content)))

    receiver.answer = answer
    return free


async def ask(his: Sender, content: bytes) -> bytes:
    his.writer.write(START + content + END)
    return await his.answer()


async def states_of(engine, control: str) -> dict[str, str] | None:  # type: ignore[no-untyped-def]
    return (await engine.states()).get(control)


async def comes_to(engine, control: str, state: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    async def holds() -> bool:
        return await states_of(engine, control) == state

    await until(holds)


# --- yes and no ---------------------------------------------------------------------------------


async def test_the_destinations_yes_is_the_senders_yes_with_its_text(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda c: ack(c).replace(b"MSA|AA|M1", b"MSA|AA|M1|filed as 77")
    async with running(site) as engine, sender(site) as his:
        answer = await ask(his, adt("M1", msh="|P|2.4"))
        assert b"MSA|AA|M1|filed as 77\r" in answer
        assert answer.startswith(b"MSH|^~\\&|IE|RIVER|HIS|RIVER|")
        assert lab.received == [adt("M1", msh="|P|2.4")]
        await comes_to(engine, "M1", {"lab": "sent"})


async def test_nothing_is_answered_before_the_destination_has(site: Site, lab: Receiver) -> None:
    free = hold(lab)
    async with running(site), sender(site) as his:
        his.writer.write(START + adt("M1") + END)
        await until(lambda: lab.ids == ["M1"])
        assert await his.is_silent(0.1)
        free.set()
        assert code(await his.answer()) == "AA"


@pytest.mark.parametrize("refusal", ["AE", "AR", "CE", "CR"])
async def test_a_no_is_passed_back_and_the_message_is_nowhere(
    site: Site, lab: Receiver, refusal: str
) -> None:
    lab.answer = lambda c: ack(c, refusal, error="101" if refusal[1] == "E" else "207")
    async with running(site) as engine, sender(site) as his:
        answer = await ask(his, adt("M1"))
        assert code(answer) == "A" + refusal[1]
        number = b"101" if refusal[1] == "E" else b"207"
        assert b"ERR||PID^1^3|" + number + b"^text^HL70357|E" in answer
        assert await states_of(engine, "M1") == {"lab": "rejected"}
        assert await engine.letters() == []
        lab.answer = ack
        assert await his.send(adt("M2")) == "AA"
    assert lab.ids == ["M1", "M2"]


async def test_err_3_says_what_kind_of_no_it_is(site: Site, lab: Receiver) -> None:
    lab.answer = lambda c: ack(c, "AR", error="101")
    async with running(site), sender(site) as his:
        assert await his.send(adt("M1")) == "AE"


async def test_a_refused_message_is_tried_anew_when_it_comes_again_with_its_lineage(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda c: ack(c, "AR" if len(lab.received) == 1 else "AA")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AR"
        assert await his.send(adt("M1")) == "AA"
        assert lab.ids == ["M1", "M1"]
        rows = await engine.ask("messages.list", limit=10)
        newest, first = rows
        assert [row["destinations"][0]["state"] for row in rows] == ["sent", "rejected"]
        assert newest["origin"] == first["id"]


async def test_a_repetition_of_what_was_accepted_gets_the_first_answer_and_goes_nowhere(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda c: ack(c).replace(b"MSA|AA|M1", b"MSA|AA|M1|filed as 77")
    async with running(site), sender(site) as his:
        first = await ask(his, adt("M1", msh="|P|2.4"))
        lab.answer = lambda c: ack(c, "AE")
        again = await ask(his, adt("M1", msh="|P|2.4"))
        assert again.split(b"MSA")[1] == first.split(b"MSA")[1]
        assert b"filed as 77" in again
        assert lab.ids == ["M1"]


async def test_a_repetition_while_the_first_runs_joins_it(site: Site, lab: Receiver) -> None:
    free = hold(lab)
    async with running(site), sender(site) as his, sender(site) as other:
        his.writer.write(START + adt("M1") + END)
        await until(lambda: lab.ids == ["M1"])
        other.writer.write(START + adt("M1") + END)
        assert await other.is_silent(0.1)
        free.set()
        assert [code(await his.answer()), code(await other.answer())] == ["AA", "AA"]
        assert lab.ids == ["M1"]


async def test_the_whole_answer_goes_back_with_the_senders_own_id(
    site: Site, lab: Receiver
) -> None:
    site.head = ACK % ", answer: whole" + "\nsteps:\n  - set: {MSH-10: X9}"
    lab.answer = lambda c: ack(c) + b"QAK|1|OK\r"
    async with running(site), sender(site) as his:
        answer = await ask(his, adt("M1"))
        assert b"MSA|AA|M1\r" in answer
        assert answer.endswith(b"QAK|1|OK\r")
        assert answer.startswith(b"MSH|^~\\&|R|R|HIS|RIVER|")


# --- no answer ------------------------------------------------------------------------------------


async def test_nobody_there_is_ar_207_and_the_message_is_rejected(
    site: Site, lab: Receiver
) -> None:
    await lab.stop()
    async with running(site) as engine, sender(site) as his:
        answer = await ask(his, adt("M1"))
        assert code(answer) == "AR"
        assert b"|207^" in answer
        assert await states_of(engine, "M1") == {"lab": "rejected"}
        await lab.start()
        assert await his.send(adt("M2")) == "AA"
    assert lab.ids == ["M2"]


async def test_silence_is_ar_and_in_doubt_and_the_same_bytes_go_again_when_the_sender_does(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "ack_timeout: 300ms"
    # what the steps write differs with every run: the same delivery must go, not a new one
    site.head = ACK % "" + "\nsteps:\n  - set: {EVN-2: '${msg.id}'}"
    lab.answer = lambda c: None
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AR"
        assert await states_of(engine, "M1") == {"lab": "in_doubt"}
        await asyncio.sleep(0.5)
        assert len(lab.received) == 1
        lab.answer = ack
        assert await his.send(adt("M1")) == "AA"
        assert lab.received[0] == lab.received[1]
        await comes_to(engine, "M1", {"lab": "sent"})
        assert await his.send(adt("M1")) == "AA"
        assert len(lab.received) == 2


async def test_what_is_in_doubt_holds_nothing_and_may_be_refused_when_it_comes_again(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "ack_timeout: 300ms"
    lab.answer = lambda c: None if b"M1" in c else ack(c)
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AR"
        assert await his.send(adt("M2")) == "AA"
        lab.answer = lambda c: ack(c, "AE")
        assert await his.send(adt("M1")) == "AE"
        assert lab.ids == ["M1", "M2", "M1"]
        rows = await engine.ask("messages.list", limit=10)
        first = next(r for r in rows if r["control_id"] == "M1" and r["destinations"])
        assert first["destinations"][0]["state"] == "rejected"


async def test_a_known_key_on_the_second_try_is_a_yes(site: Site, lab: Receiver) -> None:
    site.options["lab"] = "ack_timeout: 300ms"
    lab.answer = lambda c: None if len(lab.received) == 1 else ack(c, "AE", error="205")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AR"
        assert await his.send(adt("M1")) == "AA"
        await comes_to(engine, "M1", {"lab": "sent"})


async def test_an_answer_after_the_senders_time_is_kept_for_its_next_try(
    site: Site, lab: Receiver
) -> None:
    # the second waits behind the first, so that its own attempt outlasts its sender
    site.head = (ACK % "").replace("2s", "900ms")
    site.options["lab"] = "ack_timeout: 800ms"
    lab.delay_seconds = 0.6
    async with running(site) as engine, sender(site) as his, sender(site) as other:
        his.writer.write(START + adt("M1") + END)
        await until(lambda: lab.ids == ["M1"])
        other.writer.write(START + adt("M2") + END)
        assert code(await his.answer()) == "AA"
        assert code(await other.answer()) == "AR"
        assert (await states_of(engine, "M2")) == {"lab": "in_doubt"}
        await comes_to(engine, "M2", {"lab": "sent"})
        assert await other.send(adt("M2")) == "AA"
        assert lab.ids == ["M1", "M2"]


async def test_what_waits_too_long_in_the_queue_is_rejected_and_never_sent(
    site: Site, lab: Receiver
) -> None:
    site.head = (ACK % "").replace("2s", "700ms")
    site.options["lab"] = "ack_timeout: 650ms"
    lab.answer = lambda c: None if b"M1" in c else ack(c)
    async with running(site) as engine, sender(site) as his, sender(site) as other:
        his.writer.write(START + adt("M1") + END)
        await until(lambda: lab.ids == ["M1"])
        await engine.ask("channels.pause", name="adt", reason="test")
        other.writer.write(START + adt("M2") + END)
        assert code(await his.answer()) == "AR"
        assert code(await other.answer()) == "AR"
        await engine.ask("channels.resume", name="adt")
        await comes_to(engine, "M2", {"lab": "rejected"})
        assert await other.send(adt("M2")) == "AA"
        assert lab.ids == ["M1", "M2"]


async def test_else_none_says_nothing_and_closes(site: Site, lab: Receiver) -> None:
    site.head = ACK % ", else: none"
    await lab.stop()
    async with running(site) as engine, sender(site) as his:
        his.writer.write(START + adt("M1") + END)
        async with asyncio.timeout(5):
            assert await his.reader.read() == b""
        assert await states_of(engine, "M1") == {"lab": "rejected"}


async def test_garbage_is_no_answer(site: Site, lab: Receiver) -> None:
    site.options["lab"] = "ack_timeout: 300ms"
    lab.answer = lambda c: b"hello"
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AR"
        assert await states_of(engine, "M1") == {"lab": "in_doubt"}


# --- steps and other fates ------------------------------------------------------------------------


async def test_steps_that_refuse_answer_the_sender_and_send_nothing(
    site: Site, lab: Receiver
) -> None:
    site.head = ACK % "" + (
        "\nsteps:\n  - require: {PV1-2: no patient class}\n"
        "  - when: PV1-2 = X\n    reject: {code: AR, text: 'class ${PV1-2} is not taken'}"
    )
    async with running(site) as engine, sender(site) as his:
        answer = await ask(his, adt("M1"))
        assert code(answer) == "AE"
        assert b"no patient class" in answer
        answer = await ask(his, adt("M2", extra="PV1|1|X\r"))
        assert code(answer) == "AR"
        assert b"class X is not taken" in answer
        assert await his.send(adt("M3", extra="PV1|1|I\r")) == "AA"
        assert lab.ids == ["M3"]
        assert await states_of(engine, "M1") == {"lab": "rejected"}


@pytest.mark.parametrize(("not_sent", "others"), [("AA", "sent"), ("AR", "rejected")])
async def test_a_message_that_the_destination_does_not_take_is_answered_as_was_said(
    site: Site, lab: Receiver, ward: Receiver, not_sent: str, others: str
) -> None:
    site.receivers["ward"] = ward
    site.head = ACK % f", not_sent: {not_sent}"
    site.options["lab"] = LAB + "\naccept: PID-8 = F"
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == not_sent
        await comes_to(engine, "M1", {"lab": "filtered", "ward": others})
        assert lab.ids == []
        assert ward.ids == (["M1"] if others == "sent" else [])


async def test_the_other_destinations_wait_for_the_yes_and_get_nothing_after_a_no(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    free = hold(lab)
    async with running(site) as engine, sender(site) as his:
        his.writer.write(START + adt("M1") + END)
        await until(lambda: lab.ids == ["M1"])
        await asyncio.sleep(0.1)
        assert ward.ids == []
        free.set()
        assert code(await his.answer()) == "AA"
        await until(lambda: ward.ids == ["M1"])
        lab.answer = lambda c: ack(c, "AE")
        assert await his.send(adt("M2")) == "AE"
        lab.answer = ack
        assert await his.send(adt("M3")) == "AA"
        await until(lambda: ward.ids == ["M1", "M3"])
        assert await states_of(engine, "M2") == {"lab": "rejected", "ward": "rejected"}


async def test_the_others_go_once_what_was_in_doubt_was_taken(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    site.options["lab"] = "ack_timeout: 300ms"
    lab.answer = lambda c: None if len(lab.received) == 1 else ack(c)
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AR"
        assert await states_of(engine, "M1") == {"lab": "in_doubt", "ward": "held"}
        assert await his.send(adt("M2")) == "AA"
        await until(lambda: ward.ids == ["M2"])
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: ward.ids == ["M2", "M1"])
        await comes_to(engine, "M1", {"lab": "sent", "ward": "sent"})


async def test_a_slow_other_destination_keeps_nobody_waiting(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    free = hold(ward)
    async with running(site), sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        assert await his.send(adt("M2")) == "AA"
        free.set()
        await until(lambda: ward.ids == ["M1", "M2"])


async def test_a_double_click_gets_the_first_answer_and_a_refused_one_is_tried_again(
    site: Site, lab: Receiver
) -> None:
    site.head = ACK % "" + "\ndedupe: {key: PID-3, window: 10m, on_repeat: reack_same}"
    lab.answer = lambda c: ack(c, "AR") if b"M1" in c else ack(c).replace(b"|AA|M2", b"|AA|M2|77")
    async with running(site), sender(site) as his:
        assert await his.send(adt("M1", msh="|P|2.4")) == "AR"
        assert await his.send(adt("M2", msh="|P|2.4")) == "AA"
        answer = await ask(his, adt("M3", msh="|P|2.4"))
        assert b"MSA|AA|M3|77\r" in answer
        assert lab.ids == ["M1", "M2"]


# --- people ---------------------------------------------------------------------------------------


async def test_what_a_sender_was_refused_is_offered_to_nobody_unless_it_is_said(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    lab.answer = lambda c: ack(c, "AE")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AE"
        lab.answer = ack
        message = (await engine.row("M1"))["id"]
        assert await engine.letters() == []
        with pytest.raises(CallError):
            await engine.ask("dlq.replay", ids=[message], reason="by phone")
        asked = {"ids": [message], "sender_was_refused": True, "as": "stored"}
        preview = await engine.ask("dlq.replay", **asked, dry_run=True)
        assert (preview["asked"], preview["going"]) == (2, 2)
        # who names them as any other letters does not send them either
        plain = await engine.ask("dlq.replay", letters=preview["letters"], reason="all of them")
        assert (plain["going"], plain["gone"]) == (0, 2)
        report = await engine.ask("dlq.replay", **asked, reason="the ward asked by phone")
        assert report["going"] == 2
        await comes_to(engine, "M1", {"lab": "sent", "ward": "sent"})
        assert lab.received[0] == lab.received[1]
        again = await engine.ask("dlq.replay", letters=preview["letters"], sender_was_refused=True,
                                 reason="once more")  # fmt: skip
        assert (again["going"], again["gone"]) == (0, 2)


async def test_a_list_of_held_messages_leaves_out_what_waits_for_its_sender(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    site.options["lab"] = "ack_timeout: 300ms"
    lab.answer = lambda c: None
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AR"
        message = (await engine.row("M1"))["id"]
        with pytest.raises(CallError):
            await engine.ask("dlq.replay", ids=[message], reason="by phone")
        await engine.ask("dlq.replay", ids=[message], sender_was_refused=True, reason="by phone")
        await until(lambda: ward.ids == ["M1"])
        lab.answer = ack
        # what a person has sent does not go a second time with the sender's own repetition
        assert await his.send(adt("M1")) == "AA"
        await comes_to(engine, "M1", {"lab": "sent", "ward": "sent"})
        assert ward.ids == ["M1"]


async def test_a_dead_letter_of_another_destination_ends_with_the_no(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    site.options["ward"] = "steps:\n  - fail: not yet\n"
    lab.answer = lambda c: ack(c, "AE")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AE"
        assert await states_of(engine, "M1") == {"lab": "rejected", "ward": "rejected"}
        assert await engine.letters() == []


# --- connections ----------------------------------------------------------------------------------


async def test_answers_leave_a_connection_in_the_order_of_its_messages(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = LAB + "\nlanes: 4"
    lab.answer = lambda c: ack(c, "AE") if b"M3" in c else ack(c)
    async with running(site), sender(site) as his:
        frames = [adt(f"M{n}", patient=str(n), event="A01") for n in range(1, 9)]
        his.writer.write(b"".join(START + frame + END for frame in frames))
        answers = [await his.answer() for _ in frames]
        assert [a.split(b"MSA|")[1][:5] for a in answers] == [
            b"A%s|M%d" % (b"E" if n == 3 else b"A", n) for n in range(1, 9)
        ]


async def test_enhanced_mode_gets_ca_at_once_and_the_outcome_later(
    site: Site, lab: Receiver
) -> None:
    free = hold(lab)
    async with running(site), sender(site) as his:
        his.writer.write(START + adt("M1", msh="|P|2.5.1|||AL|AL") + END)
        assert code(await his.answer()) == "CA"
        await until(lambda: lab.ids == ["M1"])
        his.writer.write(START + adt("M2", patient="701", msh="|P|2.5.1|||AL|AL") + END)
        assert code(await his.answer()) == "CA"
        assert await his.is_silent(0.1)
        free.set()
        assert [code(await his.answer()) for _ in range(2)] == ["AA", "AA"]


async def test_a_sender_that_wants_no_outcome_is_not_waited_for(site: Site, lab: Receiver) -> None:
    lab.answer = lambda c: ack(c, "AE")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1", msh="|P|2.5.1|||AL|NE")) == "CA"
        await comes_to(engine, "M1", {"lab": "dead_letter"})


async def test_a_sender_that_went_away_cancels_nothing_and_hears_it_when_it_comes_again(
    site: Site, lab: Receiver
) -> None:
    free = hold(lab)
    async with running(site) as engine:
        async with sender(site) as his:
            his.writer.write(START + adt("M1") + END)
            await until(lambda: lab.ids == ["M1"])
        free.set()
        await comes_to(engine, "M1", {"lab": "sent"})
        async with sender(site) as his:
            assert await his.send(adt("M1")) == "AA"
        assert lab.ids == ["M1"]


# --- over a restart -------------------------------------------------------------------------------


async def test_an_engine_that_ends_meanwhile_leaves_it_in_doubt_until_the_sender_comes_again(
    site: Site, lab: Receiver
) -> None:
    hold(lab)
    async with running(site) as engine, sender(site) as his:
        his.writer.write(START + adt("M1") + END)
        await until(lambda: lab.ids == ["M1"])
        await engine.kill()
    lab.answer = ack
    async with running(site) as engine, sender(site) as his:
        assert await states_of(engine, "M1") == {"lab": "in_doubt"}
        assert await his.send(adt("M1")) == "AA"
        assert lab.ids == ["M1", "M1"]
        await comes_to(engine, "M1", {"lab": "sent"})


async def test_what_is_in_doubt_stays_so_over_a_restart_and_goes_when_the_sender_sends_again(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    site.options["lab"] = "ack_timeout: 300ms"
    lab.answer = lambda c: None
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AR"
        await engine.kill()
    lab.answer = ack
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M2")) == "AA"
        assert await states_of(engine, "M1") == {"lab": "in_doubt", "ward": "held"}
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: ward.ids == ["M2", "M1"])
    assert lab.ids == ["M1", "M2", "M1"]


async def test_a_no_is_nowhere_after_a_crash_either(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    lab.answer = lambda c: ack(c, "AE")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AE"
        await engine.kill()
    lab.answer = ack
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M2")) == "AA"
        await until(lambda: ward.ids == ["M2"])
        assert await states_of(engine, "M1") == {"lab": "rejected", "ward": "rejected"}
    assert lab.ids == ["M1", "M2"]


async def test_a_reload_lets_who_waits_hear_its_answer_and_who_comes_go_by_the_new_rule(
    site: Site, lab: Receiver
) -> None:
    free = hold(lab)
    async with running(site) as engine, sender(site) as his, sender(site) as hers:
        waiting = asyncio.create_task(his.send(adt("M1")))
        await until(lambda: lab.ids == ["M1"])
        site.head = "order_by: patient"  # from now on stored is enough
        site.write()
        assert (await engine.ask("config.reload"))["done"] is True
        assert await hers.send(adt("M2", patient="701")) == "AA"
        assert not waiting.done()
        free.set()
        assert await waiting == "AA"
        await until(lambda: lab.ids == ["M1", "M2"])
        site.head = ACK % ""
        site.write()
        assert (await engine.ask("config.reload"))["done"] is True
        lab.answer = lambda content: ack(content, "AE")
        assert await his.send(adt("M3")) == "AE"
        await comes_to(engine, "M3", {"lab": "rejected"})
