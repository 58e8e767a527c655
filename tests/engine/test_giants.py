"""Messages of many megabytes: nobody else waits for them, and they are kept like any other (G7, G9)."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import apsw
import pytest

from engine.support import (
    END,
    START,
    Receiver,
    Sender,
    Site,
    adt,
    code,
    control_id,
    let_pass,
    running,
    sender,
    until,
)
from engine.test_isolation import RoomyReceiver
from ifengine.hl7 import message_view
from ifengine.mllp.giants import Giant
from ifengine.pieces import GIANT_BYTES
from ifengine.routes import giants
from ifengine.routes.intake import Intake
from ifengine.store.base import Batch
from ifengine.store.giants import STORED_BYTES
from ifengine.store.sealing import KeyRing
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_checksums import checked_vfs

PATIENCE = 60.0
LAB = """\
ifengine: 1
channel: lab
from: in
types: [ORU^R01]
order_by: patient
to:
  archive: {connection: to-archive}
"""
HEAD = "types: [ADT^A01]\nignore_types: {identity: no merges here}\norder_by: patient"
STEPS = "\nsteps:\n  - upper: PID-5.1"


def giant(control: str, size: int = 3 * GIANT_BYTES) -> bytes:
    line = b"ZZZ|" + b"x" * 999 + b"\r"
    return (
        adt(control, patient="1") + line * (size // len(line) + 1) + b"ZZY|" + b"y" * size + b"\r"
    )


def result(control: str) -> bytes:
    return adt(control, message_type="ORU", event="R01", patient="2")


class Gate:
    """Holds threads up until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = 0
        self.on_the_loop = 0

    def wait(self) -> None:
        self.reached += 1
        if threading.current_thread() is threading.main_thread():
            self.on_the_loop += 1  # nobody would be served meanwhile, not even who opens it
        else:
            assert self.open.wait(PATIENCE)


@contextlib.contextmanager
def opened_in_the_end(gate: Gate) -> Iterator[Gate]:
    try:
        yield gate
    finally:
        gate.open.set()  # no thread is left behind, whatever failed


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A giant is read from its connection no further than to here."""
    real = Giant.content
    with opened_in_the_end(Gate()) as gate:

        def content(self: Giant) -> bytes:
            gate.wait()
            return real(self)

        monkeypatch.setattr(Giant, "content", content)
        yield gate


@contextlib.asynccontextmanager
async def receivers() -> AsyncIterator[dict[str, Receiver]]:
    made: dict[str, Receiver] = {"ward": RoomyReceiver(), "archive": RoomyReceiver()}
    for receiver in made.values():
        await receiver.start()
    try:
        yield made
    finally:
        for receiver in made.values():
            await receiver.stop()


def site_of(folder: Path, made: dict[str, Receiver], head: str = HEAD, **more: str) -> Site:
    """One channel for the ward; one beside it, from the same listener, for the archive."""
    return Site(
        folder / "site",
        made,
        head=head,
        options={"archive": "accept: MSH-10 = nobody"},
        channels={"lab": LAB},
        **more,
    )


async def test_while_a_giant_is_taken_in_others_are_answered_and_what_follows_it_waits(
    tmp_path: Path, taking: Gate
) -> None:
    large = giant("G1")
    async with receivers() as made:
        site = site_of(tmp_path, made)
        async with running(site), sender(site) as slow, sender(site) as quick:
            behind = adt("B1", patient="1")
            slow.writer.write(START + large + END + START + behind + END)
            await until(lambda: taking.reached == 1, PATIENCE)
            assert not taking.on_the_loop
            for number in range(20):
                assert await quick.send(result(f"R{number}")) == "AA"
            await until(lambda: len(made["archive"].ids) == 20, PATIENCE)
            assert await slow.is_silent()
            assert made["ward"].ids == []
            taking.open.set()
            for control in ("G1", "B1"):
                answer = await slow.answer(PATIENCE)
                assert (code(answer), answer.split(b"MSA|AA|")[1][:2]) == ("AA", control.encode())
            await until(lambda: len(made["ward"].ids) == 2, PATIENCE)
            assert made["ward"].received == [large, behind]


async def test_while_a_giant_is_sealed_for_its_destination_other_channels_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, gate = KeyRing.enclose, Gate()
    large = giant("G1")

    def enclose(self: KeyRing, *parts: bytes) -> object:
        if any(b"SAMPLE" in bytes(part[:300]) for part in parts):  # what the steps made of it
            gate.wait()
        return real(self, *parts)

    monkeypatch.setattr(KeyRing, "enclose", enclose)
    with opened_in_the_end(gate):
        async with receivers() as made:
            site = site_of(tmp_path, made, HEAD + STEPS)
            async with running(site), sender(site) as one:
                one.writer.write(START + large + END)
                assert code(await one.answer(PATIENCE)) == "AA"
                await until(lambda: gate.reached == 1, PATIENCE)
                assert not gate.on_the_loop
                assert await one.send(adt("B1", patient="1")) == "AA"
                for number in range(20):
                    assert await one.send(result(f"R{number}")) == "AA"
                await until(lambda: len(made["archive"].ids) == 20, PATIENCE)
                assert made["ward"].ids == []  # in its channel it is overtaken by nothing
                gate.open.set()
                await until(lambda: len(made["ward"].ids) == 2, PATIENCE)
                assert made["ward"].received[0] == large.replace(b"Sample", b"SAMPLE")
                assert made["ward"].ids == ["G1", "B1"]


@pytest.fixture
def joining(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """What the steps made of a giant is joined no further than to here."""
    real = message_view.ended
    with opened_in_the_end(Gate()) as gate:

        def ended(lines: list[bytes]) -> bytes:
            gate.wait()
            return real(lines)

        monkeypatch.setattr(message_view, "ended", ended)
        yield gate


async def test_while_what_was_made_of_a_giant_is_joined_other_channels_go_on(
    tmp_path: Path, joining: Gate
) -> None:
    large = giant("G1")
    async with receivers() as made:
        site = site_of(tmp_path, made, HEAD + STEPS)
        async with running(site), sender(site) as one:
            one.writer.write(START + large + END)
            assert code(await one.answer(PATIENCE)) == "AA"
            await until(lambda: joining.reached == 1, PATIENCE)
            assert not joining.on_the_loop
            assert await one.send(adt("B1", patient="1")) == "AA"
            for number in range(20):
                assert await one.send(result(f"R{number}")) == "AA"
            await until(lambda: len(made["archive"].ids) == 20, PATIENCE)
            assert made["ward"].ids == []  # in its channel it is overtaken by nothing
            joining.open.set()
            await until(lambda: len(made["ward"].ids) == 2, PATIENCE)
            assert made["ward"].received[0] == large.replace(b"Sample", b"SAMPLE")
            assert made["ward"].ids == ["G1", "B1"]
    assert joining.reached == 1  # the second run found what the first one asked for


async def test_what_two_destinations_make_of_a_giant_is_joined_for_each(
    tmp_path: Path, joining: Gate
) -> None:
    joining.open.set()
    large = giant("G1")
    async with receivers() as made:
        site = site_of(tmp_path, made, HEAD + STEPS)
        site.options["archive"] = "steps: [{set: {PID-5.2: OTHER}}]"
        async with running(site), sender(site) as one:
            one.writer.write(START + large + END)
            assert code(await one.answer(PATIENCE)) == "AA"
            await until(lambda: made["ward"].ids == made["archive"].ids == ["G1"], PATIENCE)
    changed = large.replace(b"Sample", b"SAMPLE")
    assert made["ward"].received == [changed]
    assert made["archive"].received == [changed.replace(b"^Sam|", b"^OTHER|")]
    assert joining.reached == 2
    assert not joining.on_the_loop


async def test_giants_come_in_a_few_at_a_time_and_those_that_wait_stay_with_their_connections(
    tmp_path: Path, taking: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giants, "MOST_GIANT_BYTES", 9 * GIANT_BYTES)  # there is room for one
    large = {f"G{n}": giant(f"G{n}") for n in range(4)}
    async with receivers() as made:
        site = site_of(tmp_path, made)
        async with running(site) as run, contextlib.AsyncExitStack() as stack:
            built = run.engine._pause.built
            assert built is not None
            (listener,) = built.listeners
            senders: dict[str, Sender] = {}
            for control, content in large.items():
                senders[control] = await stack.enter_async_context(sender(site))
                senders[control].writer.write(START + content + END)
            three = 3 * len(large["G0"])
            await until(lambda: listener.unfinished >= three and taking.reached == 1, PATIENCE)
            assert listener.pending == 1
            assert taking.reached == 1
            taking.open.set()
            for control in large:
                assert code(await senders[control].answer(PATIENCE)) == "AA"
            await until(lambda: len(made["ward"].ids) == 4, PATIENCE)
            assert {control_id(c): c for c in made["ward"].received} == large
            assert listener.unfinished == 0
            assert run.engine._intake_load.giants.held_bytes == 0


async def test_a_giant_whose_sender_goes_while_it_waits_holds_up_no_other(
    tmp_path: Path, taking: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giants, "MOST_GIANT_BYTES", 9 * GIANT_BYTES)
    async with receivers() as made:
        site = site_of(tmp_path, made)
        async with running(site) as run, sender(site) as first, sender(site) as last:
            built = run.engine._pause.built
            assert built is not None
            (listener,) = built.listeners
            first.writer.write(START + giant("G1") + END)
            await until(lambda: taking.reached == 1, PATIENCE)
            async with sender(site) as gone:
                gone.writer.write(START + giant("G2") + END)
                await until(lambda: listener.unfinished > 6 * GIANT_BYTES, PATIENCE)
                gone.writer.transport.abort()
            last.writer.write(START + giant("G3") + END)
            taking.open.set()
            for one in (first, last):
                assert code(await one.answer(PATIENCE)) == "AA"
            # what came whole may be kept, though nobody hears of it
            await until(lambda: {"G1", "G3"} <= set(made["ward"].ids), PATIENCE)
            await until(lambda: listener.unfinished == 0, PATIENCE)
            assert run.engine._intake_load.giants.held_bytes == 0


async def test_an_engine_that_is_killed_while_it_takes_a_giant_has_promised_nothing(
    tmp_path: Path, taking: Gate
) -> None:
    large = giant("G1")
    async with receivers() as made:
        site = site_of(tmp_path, made)
        async with running(site) as run, sender(site) as one:
            one.writer.write(START + large + END)
            await until(lambda: taking.reached == 1, PATIENCE)
            killed = asyncio.create_task(run.kill())
            taking.open.set()
            await killed
            with contextlib.suppress(ConnectionError):
                assert await one.reader.read() == b""
        async with running(site), sender(site) as one:
            one.writer.write(START + large + END)
            assert code(await one.answer(PATIENCE)) == "AA"
            await until(lambda: made["ward"].received == [large], PATIENCE)


@pytest.mark.parametrize("steps", ["", STEPS])
async def test_giants_that_wait_in_the_store_are_delivered_after_a_start(
    tmp_path: Path, steps: str
) -> None:
    large = giant("G1")
    async with receivers() as made:
        site = site_of(tmp_path, made, HEAD + steps)
        await made["ward"].stop()
        async with running(site), sender(site) as one:
            one.writer.write(START + large + END)
            assert code(await one.answer(PATIENCE)) == "AA"
            one.writer.write(START + large + END)  # again: it is the same, byte for byte
            assert code(await one.answer(PATIENCE)) == "AA"
        await made["ward"].start()
        async with running(site) as run:
            await until(lambda: len(made["ward"].ids) == 1, PATIENCE)
            assert len(await run.ask("messages.list", limit=10)) == 2  # and one was a repeat
    expected = large.replace(b"Sample", b"SAMPLE") if steps else large
    assert made["ward"].received == [expected]


# --- in the store: in pieces, each in a commit with what others wait for ----------------------------


def edit(site: Site, statements: str) -> list[tuple[int, ...]]:
    """Look into the store as it lies, or do to it what nobody may."""
    path = site.folder / "var" / "store" / "store.db"
    connection = apsw.Connection(str(path), vfs=checked_vfs())
    connection.set_busy_timeout(5000)
    try:
        return connection.execute(statements).fetchall()
    finally:
        connection.close()


IN_PIECES = "SELECT kind, number FROM giant ORDER BY kind, number"


async def test_no_commit_carries_more_of_giants_than_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried: list[int] = []
    real = SqliteStore.submit

    def submit(self: SqliteStore, batch: Batch, finished: Callable[..., None]) -> None:
        carried.append(
            sum(len(piece.body) for piece in batch.pieces)
            + sum(len(entry.sealed) for entry in batch.inbox)
            + sum(len(sealed) for _, sealed in batch.copies)
        )
        real(self, batch, finished)

    monkeypatch.setattr(SqliteStore, "submit", submit)
    large = {f"G{n}": giant(f"G{n}") for n in range(3)}
    async with receivers() as made:
        site = site_of(tmp_path, made, HEAD + STEPS)
        async with running(site), contextlib.AsyncExitStack() as stack:
            senders = [await stack.enter_async_context(sender(site)) for _ in large]
            for one, content in zip(senders, large.values(), strict=True):
                one.writer.write(START + content + END)
            for one in senders:
                assert code(await one.answer(PATIENCE)) == "AA"
            await until(lambda: len(made["ward"].ids) == 3, PATIENCE)
        assert edit(site, IN_PIECES) == [(kind, number) for kind in (1, 2) for number in (1, 2, 3)]
    assert max(carried) <= STORED_BYTES + 10_000  # and some small messages beside it
    assert sum(carried) > 2 * sum(len(content) for content in large.values())
    expected = {c: content.replace(b"Sample", b"SAMPLE") for c, content in large.items()}
    assert {control_id(c): c for c in made["ward"].received} == expected


async def test_others_are_answered_between_two_pieces_of_a_giant(tmp_path: Path) -> None:
    large = giant("G1")
    async with receivers() as made:
        site = site_of(tmp_path, made)
        async with running(site) as run, sender(site) as slow, sender(site) as quick:
            async with run.engine.watch._parts.one_piece:  # the next piece waits for its turn
                slow.writer.write(START + large + END)
                for number in range(20):
                    assert await quick.send(result(f"R{number}")) == "AA"
                assert await slow.is_silent()
            assert code(await slow.answer(PATIENCE)) == "AA"
            await until(lambda: made["ward"].received == [large], PATIENCE)


async def test_a_giant_waits_while_a_long_log_is_moved_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_behind = [True]
    monkeypatch.setattr(SqliteStore, "is_behind", property(lambda store: is_behind[0]))
    large = giant("G1")
    async with receivers() as made:
        site = site_of(tmp_path, made)
        async with running(site), sender(site) as slow, sender(site) as quick:
            slow.writer.write(START + large + END)
            for number in range(20):
                assert await quick.send(result(f"R{number}")) == "AA"
            assert await slow.is_silent()
            assert edit(site, "SELECT count(*) FROM giant_piece") == [(0,)]
            is_behind[0] = False
            assert code(await slow.answer(PATIENCE)) == "AA"
            await until(lambda: made["ward"].received == [large], PATIENCE)


async def test_pieces_of_a_giant_that_met_a_fault_of_ours_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = []

    def judge(self: Intake, *given: object) -> None:
        faults.append(given)
        raise RuntimeError("a fault of ours")

    async with receivers() as made:
        site = site_of(tmp_path, made)
        async with running(site), sender(site) as one:
            with monkeypatch.context() as patch:
                patch.setattr(Intake, "_judge", judge)
                one.writer.write(START + giant("G1") + END)
                await until(lambda: len(faults) == 1, PATIENCE)
                assert await one.reader.read() == b""  # no answer that could be wrong
            await until(lambda: edit(site, "SELECT count(*) FROM giant_piece") == [(0,)], PATIENCE)
            assert edit(site, "SELECT count(*) FROM inbox") == [(1,)]  # kept for people, whole


@pytest.mark.parametrize("steps", ["", STEPS])
async def test_a_giant_whose_piece_was_changed_is_never_sent(tmp_path: Path, steps: str) -> None:
    large = giant("G1")
    async with receivers() as made:
        site = site_of(tmp_path, made, HEAD + steps)
        await made["ward"].stop()
        async with running(site) as run, sender(site) as one:
            one.writer.write(START + large + END)
            assert code(await one.answer(PATIENCE)) == "AA"

            async def is_queued() -> bool:
                states = await run.states()
                return states["G1"].get("ward") in ("queued", "retrying")

            await until(is_queued, PATIENCE)
        edit(
            site,
            "UPDATE giant_piece SET body = CAST(x'0000000000000000' || substr(body, 9) AS BLOB)"
            " WHERE n = 2",
        )
        await made["ward"].start()
        async with running(site) as run, sender(site) as one:

            async def is_letter() -> bool:
                return bool(await run.letters())

            await until(is_letter, PATIENCE)
            assert await one.send(result("R1")) == "AA"
            await until(lambda: made["archive"].ids == ["R1"], PATIENCE)
    assert made["ward"].ids == []


async def test_a_purge_removes_giants_with_their_pieces(tmp_path: Path) -> None:
    async with receivers() as made:
        site = site_of(tmp_path, made, HEAD + STEPS)
        async with running(site) as run, sender(site) as one:
            one.writer.write(START + giant("G1") + END)
            assert code(await one.answer(PATIENCE)) == "AA"
            await until(lambda: made["ward"].ids == ["G1"], PATIENCE)
            assert await one.send(adt("B1", patient="1")) == "AA"  # the newest always stays
            await until(lambda: made["ward"].ids == ["G1", "B1"], PATIENCE)
            assert edit(site, IN_PIECES) == [(1, 1), (2, 1)]
            watch = run.engine.watch
            let_pass(watch._parts, days=4000)

            async def is_purged() -> bool:
                await watch.purge()
                return edit(site, IN_PIECES) == []

            await until(is_purged, PATIENCE)
            await until(lambda: edit(site, "SELECT count(*) FROM giant_piece") == [(0,)], PATIENCE)
