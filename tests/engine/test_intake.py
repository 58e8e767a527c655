"""What a sender is told, and what is kept of it."""

import asyncio

import apsw
import pytest

from engine.support import (
    Receiver,
    Running,
    Sender,
    Site,
    adt,
    code,
    metric,
    running,
    sender,
    until,
)


async def records(engine: Running, state: str) -> list[tuple[str | None, str]]:
    rows = await engine.ask("messages.list", state=state, limit=100)
    return [(row["control_id"], row["reason"]) for row in rows]


async def test_a_retransmission_is_acknowledged_again_and_delivered_once(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        his.writer.write(b"\x0b" + adt("M1") + b"\x1c\r")
        first = await his.answer()
        his.writer.write(b"\x0b" + adt("M1") + b"\x1c\r")
        second = await his.answer()
        assert code(first) == code(second) == "AA"
        assert first.split(b"|")[9] == second.split(b"|")[9]  # the stored answer, MSH-10 and all
        await until(lambda: lab.ids == ["M1"])
        assert await records(engine, "dropped") == [("M1", "duplicate")]
        await asyncio.sleep(0.1)
        assert lab.ids == ["M1"]


async def test_other_content_under_the_same_id_is_a_message_of_its_own(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        for patient in ("1", "2", "1"):
            assert await his.send(adt("M1", patient=patient)) == "AA"
        await until(lambda: len(lab.received) == 3)
        text = (await engine.ask("metrics"))["text"]
        assert metric(text, "ifengine_control_id_reused_total", channel="adt") == 2


async def test_a_charge_that_comes_twice_is_tagged_and_goes_twice(
    site: Site, lab: Receiver
) -> None:
    charge = adt("D1", event="P03", message_type="DFT")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(charge) == "AA"
        assert await his.send(charge) == "AA"
        await until(lambda: len(lab.received) == 2)
        text = (await engine.ask("metrics"))["text"]
        assert metric(text, "ifengine_duplicates_total", channel="adt") == 1


async def test_reuse_can_be_sent_to_the_dead_letters(site: Site, lab: Receiver) -> None:
    site.head = "order_by: patient\ndedupe: {on_reuse: dead_letter}"
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", patient="1"))
        await his.send(adt("M1", patient="2"))
        await until(lambda: has_group(engine, "control id (MSH-10) reused with other content"))
        assert lab.ids == ["M1"]


async def has_group(engine: Running, reason: str) -> bool:
    return [g["reason"] for g in await engine.letters()] == [reason]


@pytest.mark.parametrize(
    ("msh", "expected", "reason"),
    [
        ("|T|2.5.1", "AR", "processing id not accepted"),
        ("|T|2.5.1|||AL|NE", "CR", "processing id not accepted"),
        ("||2.5.1", "AA", ""),  # empty counts as P
    ],
)
async def test_the_processing_id_decides_before_anything_is_processed(
    site: Site, lab: Receiver, msh: str, expected: str, reason: str
) -> None:
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1", msh=msh)) == expected
        found = await records(engine, "rejected")
        assert found == ([("M1", reason)] if reason else [])


async def test_a_type_no_channel_takes_is_kept_unrouted_or_refused_by_setting(
    site: Site, lab: Receiver
) -> None:
    site.head = "order_by: patient\ntypes: [ADT^A01, ADT^A08]\nignore_types: {identity: test}"
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1", event="A03")) == "AA"
        assert [r[0] for r in await records(engine, "unrouted")] == ["M1"]
    site.listen = ", unknown_types: reject"
    async with running(site) as engine, sender(site) as his:
        his.writer.write(b"\x0b" + adt("M2", event="A03") + b"\x1c\r")
        event = await his.answer()
        assert code(event) == "AR"
        assert b"MSH^1^9^1^2|201" in event
        his.writer.write(b"\x0b" + adt("M3", event="R01", message_type="ORU") + b"\x1c\r")
        kind = await his.answer()
        assert b"MSH^1^9^1^1|200" in kind
    assert lab.received == []


async def test_a_message_without_a_control_id_is_refused_and_kept(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("")) == "AE"
        assert await records(engine, "rejected") == [(None, "no_control_id")]


async def test_an_acknowledgment_is_kept_and_never_answered(site: Site, lab: Receiver) -> None:
    stray = b"MSH|^~\\&|X|X|IE|RIVER|20260105101500||ACK|K1|P|2.5.1\rMSA|AA|Q9\r"
    async with running(site) as engine, sender(site) as his:
        his.writer.write(b"\x0b" + stray + b"\x1c\r")
        assert await his.is_silent()
        assert await records(engine, "dropped") == [("K1", "acknowledgment")]
        assert lab.received == []


async def test_a_broken_frame_is_kept_and_never_acknowledged(site: Site, lab: Receiver) -> None:
    async with running(site) as engine:
        async with sender(site) as his:
            assert await his.send(adt("M1")) == "AA"
            his.writer.write(b"\x0b" + adt("M2")[:60] + b"\x0b" + adt("M3") + b"\x1c\r")
            assert await his.is_silent(0.5)
        await until(lambda: lab.ids == ["M1"])
        faults = await records(engine, "rejected")
        assert [reason for _, reason in faults] == ["start_block_inside_frame"]
        rows = await engine.ask("messages.list", state="rejected")
        shown = await engine.ask(
            "messages.show", id=rows[0]["id"], phi=True, reason="looking for the lost end"
        )
        assert shown["size"] > 100


async def test_pipelined_frames_are_answered_in_order(site: Site, lab: Receiver) -> None:
    frames = b"".join(b"\x0b" + adt(f"M{n:03}", patient=str(n)) + b"\x1c\r" for n in range(200))
    async with running(site), sender(site) as his:
        his.writer.write(frames)
        answers = [await his.answer() for _ in range(200)]
    assert [a.split(b"|AA|" if b"|AA|" in a else b"|")[-1][:4] for a in answers] == [
        b"M%03d" % n for n in range(200)
    ] or [a.split(b"MSA|AA|")[1][:4] for a in answers] == [b"M%03d" % n for n in range(200)]


async def test_historical_modes_are_held_for_a_person_and_go_on_replay(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1", msh="|P^A|2.5.1")) == "AA"
        await until(lambda: held(engine))
        await his.send(adt("M2", patient="other"))
        await until(lambda: lab.ids == ["M2"])
        await engine.stop()
    site.head += "\naccept_mode: [A]"
    async with running(site), sender(site) as his:
        assert await his.send(adt("M3", msh="|P^A|2.5.1", patient="third")) == "AA"
        await until(lambda: lab.ids == ["M2", "M3"])


async def test_a_connection_may_take_historical_modes_for_all_its_channels(
    site: Site, lab: Receiver
) -> None:
    site.listen = ", accept_mode: [I]"
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1", msh="|P^A|2.5.1")) == "AA"
        await until(lambda: held(engine))
        assert await his.send(adt("M2", msh="|P^I|2.5.1", patient="other")) == "AA"
        await until(lambda: lab.ids == ["M2"])


async def held(engine: Running) -> bool:
    return (await engine.states()).get("M1") == {"lab": "held"}


async def test_below_the_disk_reserve_nothing_is_read_and_intake_resumes_by_itself(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    real = os.statvfs
    free = {"blocks": 10**9}

    class Room:
        def __init__(self, path: object) -> None:
            self.f_frsize = real(str(path)).f_frsize

        @property
        def f_bavail(self) -> int:
            return free["blocks"]

    async with running(site) as engine, sender(site) as his:
        lab.answer = lambda c: None  # M1 is still to be delivered when the disk fills
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])
        monkeypatch.setattr("ifengine.engine.watch.os.statvfs", Room)
        free["blocks"] = 1
        await until(lambda: paused(engine), 5.0)
        his.writer.write(b"\x0b" + adt("M2") + b"\x1c\r")
        assert await his.is_silent(0.5)
        lab.answer = lambda c: b"MSH|^~\\&|R\rMSA|AA|" + c.split(b"|")[9] + b"\r"
        lab.send_unasked(b"MSH|^~\\&|R|R|H|H|||ACK|1|P|2.5\rMSA|AA|M1\r")
        await until(lambda: sent(engine, "M1"))  # delivery goes on
        free["blocks"] = 10**9
        assert code(await his.answer()) == "AA"
        await until(lambda: lab.ids == ["M1", "M2"])


async def paused(engine: Running) -> bool:
    text = (await engine.ask("metrics"))["text"]
    return metric(text, "ifengine_intake_paused", reason="disk") == 1


async def sent(engine: Running, control: str) -> bool:
    return (await engine.states()).get(control) == {"lab": "sent"}


async def test_a_commit_that_fails_is_answered_with_nothing_and_stops_the_engine(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ifengine.errors import StorageFailedError
    from ifengine.store.sqlite import SqliteStore

    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        submit = SqliteStore.submit

        def failing(self: SqliteStore, batch: object, finished: object) -> None:
            if batch.inbox:  # type: ignore[attr-defined]
                finished(StorageFailedError("commit failed: SQLITE_IOERR_FSYNC"))  # type: ignore[operator]
            else:
                submit(self, batch, finished)  # type: ignore[arg-type]

        monkeypatch.setattr(SqliteStore, "submit", failing)
        his.writer.write(b"\x0b" + adt("M2") + b"\x1c\r")
        async with asyncio.timeout(5):
            assert await his.reader.read(100) == b""  # closed without an answer
            assert await engine.task == 75
    assert "SQLITE_IOERR_FSYNC" in capsys.readouterr().err


async def connected(site: Site) -> Sender:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    return Sender(reader, writer)


async def test_a_fault_of_ours_in_a_step_costs_its_message_only(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifengine.routes.channel import Channel

    process = Channel.process

    def breaking(self: Channel, message: object, context: object, **more: object) -> object:
        if context.message_id == "2":  # type: ignore[attr-defined]
            raise IndexError("SECRET VALUE")
        return process(self, message, context, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Channel, "process", breaking)
    async with running(site) as engine, sender(site) as his:
        for number in (1, 2, 3):
            assert await his.send(adt(f"M{number}", patient=str(number))) == "AA"
        await until(lambda: lab.ids == ["M1", "M3"])
        await until(lambda: has_group(engine, "unforeseen IndexError in the steps"))


async def test_broken_bookkeeping_stops_the_engine_and_loses_nothing(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ifengine.routes.delivery import Outbox

    with monkeypatch.context() as patched:
        patched.setattr(Outbox, "feed", lambda self, entries: [][1])
        async with running(site) as engine, sender(site) as his:
            assert await his.send(adt("M1")) == "AA"
            async with asyncio.timeout(10):
                assert await engine.task == 1
    assert "unforeseen IndexError" in capsys.readouterr().err
    async with running(site):
        await until(lambda: lab.ids == ["M1"])


async def test_a_frame_that_meets_a_fault_of_ours_is_kept_and_nothing_behind_it_is_taken(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender repeats it and what follows: in order, on another connection (ADR 0013)."""
    from ifengine.routes.gates import Gates

    decide, faults = Gates.decide, [b"M2"]

    def breaking(self: Gates, header: object) -> object:
        if faults == [header.control_id]:  # type: ignore[attr-defined]
            faults.clear()
            raise ZeroDivisionError
        return decide(self, header)  # type: ignore[arg-type]

    monkeypatch.setattr(Gates, "decide", breaking)
    async with running(site) as engine:
        async with sender(site) as his:
            his.writer.write(b"".join(b"\x0b" + adt(f"M{n}") + b"\x1c\r" for n in (1, 2, 3)))
            assert control_id_answered(await his.answer()) == "M1"  # what came before is answered
            assert await his.reader.read() == b""  # then it is closed: no answer to M2 and M3
        assert await records(engine, "rejected") == [("M2", "unforeseen fault")]
        async with sender(site) as his:
            assert [await his.send(adt(f"M{n}")) for n in (2, 3)] == ["AA", "AA"]
        await until(lambda: lab.ids == ["M1", "M2", "M3"])


async def test_a_batch_that_meets_a_fault_of_ours_is_taken_whole_or_not_at_all(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifengine.store.sealing import KeyRing

    seal, faults = KeyRing.seal, [b"B2"]

    def breaking(self: KeyRing, kind: object, number: int, part: int, content: bytes) -> bytes:
        if faults and content.startswith(b"MSH") and faults[0] in content:
            faults.clear()
            raise OSError(5, "no entropy")
        return seal(self, kind, number, part, content)  # type: ignore[arg-type]

    monkeypatch.setattr(KeyRing, "seal", breaking)
    site.head = "order_by: patient\nunbatch: {check_counts: yes}"
    whole = b"BHS|^~\\&|HIS|RIVER\r" + adt("B1") + adt("B2") + b"BTS|2\r"
    async with running(site) as engine:
        async with sender(site) as his:
            his.writer.write(b"\x0b" + whole + b"\x1c\r")
            assert await his.reader.read() == b""
        assert lab.ids == []
        async with sender(site) as his:
            his.writer.write(b"\x0b" + whole + b"\x1c\r")
            assert b"MSA|AA|B2" in await his.answer()
        await until(lambda: lab.ids == ["B1", "B2"])
        assert [reason for _, reason in await records(engine, "rejected")] == ["unforeseen fault"]


def control_id_answered(answer: bytes) -> str:
    return answer.split(b"MSA|")[1].split(b"\r")[0].split(b"|")[1].decode()


async def has_record(engine: Running, record: tuple[str | None, str]) -> bool:
    return await records(engine, "rejected") == [record]


async def test_of_a_frame_that_is_too_long_only_the_beginning_is_kept(site: Site) -> None:
    """Who sends such frames all day may not fill the disk with them."""
    site.listen = ", max_message: 1MiB"
    async with running(site) as engine:
        async with sender(site) as his:
            his.writer.write(b"\x0b" + adt("M1") + b"x" * 2_000_000)
            assert await his.reader.read() == b""
        await until(lambda: has_record(engine, (None, "too_large")))
        await engine.stop()
    connection = apsw.Connection(str(site.folder / "var" / "store" / "store.db"))
    assert list(connection.execute("SELECT size FROM inbox")) == [(64 * 1024,)]
    connection.close()
