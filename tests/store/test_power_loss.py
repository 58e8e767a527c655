"""Power cuts and failing disks, on the real store through a VFS. See tests/store/journal.py.

``IFENGINE_IMAGES=15000`` looks at more disks.
"""

import hashlib
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from ifengine.errors import StorageFailedError, StoreRefusedError
from ifengine.store.audit import verify_log
from ifengine.store.base import Batch, CursorKind, Fate, PlannedFate, Reader, StateRow, Store
from ifengine.store.sqlite import SqliteStore
from store.builders import (
    act,
    commit,
    delivery,
    ended,
    guarded,
    parked,
    plan,
    purge,
    queued,
    state,
    trouble,
)
from store.journal import Event, JournalVFS, images

IMAGES = int(os.environ.get("IFENGINE_IMAGES", "500"))
COMMITS = 120


def content(inbox_id: int) -> bytes:
    size = (20, 300, 1052, 9000)[inbox_id % 4]
    seed = hashlib.sha256(b"%d" % inbox_id).digest()
    return (seed * (size // 32 + 1))[:size]


def rows_of(number: int) -> range:
    """Inbox ids of batch ``number``, counted from 1: one to six rows."""
    before = sum(1 + i * 7 % 6 for i in range(1, number))
    return range(before + 1, before + 2 + number * 7 % 6)


WAITS = PlannedFate(6, Fate.PARKED, 0, 0, "waits")
KEPT_STATES = 9


def waits(inbox_id: int) -> bool:
    return inbox_id % 5 == 0


def remembered(inbox_id: int) -> StateRow:
    key = hashlib.sha256(b"state%d" % inbox_id).digest()[:16]
    return state(1, key, inbox_id=inbox_id, sealed=content(inbox_id))


def newest(number: int) -> StateRow:
    """The one state that every batch replaces."""
    return state(2, b"newest", inbox_id=number, sealed=content(number))


def batch(number: int) -> Batch:
    ids = rows_of(number)
    return Batch(
        inbox=[
            guarded(i, hashlib.sha256(b"key%d" % i).digest()[:16], b"A", sealed=content(i))
            for i in ids
        ],
        plans=[plan(i, queued(2, i), *([WAITS] if waits(i) else [])) for i in ids],
        copies=[(i, content(i)) for i in ids if i % 3 == 0],
        outbox=[delivery(2, i, i, copy_id=i if i % 3 == 0 else 0) for i in ids],
        exceptions=[trouble(2, ids[0]), (2, ids[0]), trouble(2, ids[-1])],
        outcomes=[ended(2, i) for i in ids],
        cursors={(CursorKind.OUTBOX, 2): ids[-1]},
        tags=[(hashlib.sha256(b"tag%d" % i).digest()[:16], i) for i in ids],
        states=[
            *(remembered(i) for i in ids),
            *((1, remembered(i - KEPT_STATES).key) for i in ids),
            newest(number),
        ],
        # one more channel waits for the last message only
        parked=[*(parked(1, i) for i in ids if waits(i)), (2, ids[0] - 1), parked(2, ids[-1])],
        config_contents=[(number, content(number))],
        settings={"batch": str(number)},
        audits=[act(number)],
    )


PURGED_AFTER = 60
PURGED = 40  # messages


def mac(seq: int, digest: bytes) -> bytes:
    return hashlib.sha256(b"key" + seq.to_bytes(8, "big") + digest).digest()[:16]


def run_workload(store: Store, log: list[Event]) -> None:
    """Commit batches; a checkpoint now and then, one purge, a reader that looks on for a while."""
    store.protect_audit(mac)
    reader = store.reader()
    look: Iterator[object] | None = None
    told = threading.Event()
    for number in range(1, COMMITS + 1):

        def finished(error: BaseException | None, number: int = number) -> None:
            if error is None:
                log.append(("ack", number))
            told.set()

        told.clear()
        store.submit(batch(number), finished)
        assert told.wait(30)
        if number % 17 == 0:
            store.checkpoint()
        if number == 70:
            # an open snapshot: checkpoints stop short, and the log cannot start again
            look = iter(reader._connection.execute("SELECT * FROM outbox"))  # type: ignore[attr-defined]
            next(look)
        if number == 90 and look is not None:
            list(look)
        if number == PURGED_AFTER:
            purge(store, *range(1, PURGED + 1))
    reader.close()


@pytest.fixture(scope="module")
def shelf() -> Iterator[Path]:
    """Where disks are built: in memory where there is such a place."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[Event]]:
    """A closed new store, and everything that was written and acknowledged after it."""
    return record(tmp_path_factory.mktemp("trace") / "store", "journal-trace")


def record(folder: Path, name: str) -> tuple[dict[str, bytes], list[Event]]:
    SqliteStore(folder).close()
    base = {"store.db": (folder / "store.db").read_bytes()}
    vfs = JournalVFS(name)
    store = SqliteStore(folder, vfs=name)
    run_workload(store, vfs.log)
    store.close()
    vfs.unregister()
    return base, list(vfs.log)


def chosen_cuts(log: list[Event], count: int, rnd: random.Random) -> list[int]:
    """Half of the cuts anywhere, half beside an acknowledgment or a sync: there it is decided."""
    near = [i for i, event in enumerate(log) if event[0] in ("ack", "s")]
    cuts = [rnd.randint(0, len(log)) for _ in range(count // 2)]
    aimed = [rnd.choice(near) + rnd.choice((0, 1)) for _ in range(count - count // 2)]
    return cuts + aimed


def faults_of(folder: Path, acknowledged: int) -> list[str]:
    """Open what a cut left, as the engine does, and say what is wrong with it."""
    try:
        store = SqliteStore(folder)
    except StoreRefusedError as error:
        return [f"refused: {error}"]
    reader = store.reader()
    faults = reader.integrity()
    last = int(reader.setting("batch") or 0)
    if last < acknowledged:
        faults.append(f"batch {acknowledged} was acknowledged, {last} is there")
    highest = rows_of(last)[-1] if last else 0
    found = {row.inbox_id: row.sealed for row in reader.inbox_range(0, 10_000)}
    first = min(found, default=1)
    if first not in (1, PURGED + 1) or (first > 1 and last < PURGED_AFTER):
        faults.append(f"the first message is {first}")
    expected = list(range(first, highest + 1))
    if list(found) != expected or any(found[i] != content(i) for i in expected):
        faults.append("messages are missing, half there or changed")
    if [row.seq for row in reader.outbox_after(2, 0, 10_000)] != expected:
        faults.append("deliveries do not fit the messages")
    if [row.seq for row in reader.outcomes_after(2, 0)] != expected:
        faults.append("outcomes do not fit the messages")
    if any(reader.copy(i) != content(i) for i in expected if i % 3 == 0):
        faults.append("copies are missing or changed")
    if reader.cursor(CursorKind.OUTBOX, 2) != highest or reader.outbox_head(2) != highest:
        faults.append("the cursor does not fit")
    faults += faults_of_memory(reader, last, expected)
    report = verify_log(reader, mac)
    if report.problem or report.records != last:
        faults.append(f"audit: {report}")
    reader.close()
    try:
        commit(store, batch(last + 1))
    except StorageFailedError as error:
        faults.append(f"cannot go on: {error}")
    store.close()
    return faults


def faults_of_memory(reader: Reader, last: int, expected: list[int]) -> list[str]:
    """Say where what is remembered and parked does not fit the last batch that is there."""
    faults = []
    highest = rows_of(last)[-1] if last else 0
    rows = [remembered(i) for i in range(max(1, highest - KEPT_STATES + 1), highest + 1)]
    if list(reader.states(1, b"", 1000)) != sorted(rows, key=lambda row: row.key):
        faults.append("what is remembered does not fit the messages")
    counted = [newest(last)] if last else []
    if list(reader.states(2, b"", 9)) != counted:
        faults.append("a state that is replaced is another batch's")
    if [row.inbox_id for row in reader.parked(1)] != [i for i in expected if waits(i)]:
        faults.append("parked messages do not fit the messages")
    if [row.inbox_id for row in reader.parked(2)] != ([highest] if last else []):
        faults.append("the newest parked message is another batch's")
    if any(reader.config_content(n) != content(n) for n in range(1, last + 1)):
        faults.append("configurations are missing")
    if reader.config_content(last + 1) is not None:
        faults.append("a configuration is there without its batch")
    return faults


def faulty_images(
    base: dict[str, bytes], log: list[Event], count: int, shelf: Path, seed: int
) -> list[str]:
    rnd = random.Random(seed)
    faults = []
    for cut, files, acknowledged in images(base, log, chosen_cuts(log, count, rnd), rnd):
        folder = shelf / "store"
        folder.mkdir()
        for name, disk in files.items():
            (folder / name).write_bytes(disk)
        found = faults_of(folder, acknowledged)
        if found:
            faults.append(f"seed {seed}, cut {cut} of {len(log)}: {'; '.join(found)}")
        shutil.rmtree(folder)
    return faults


def test_after_a_power_cut_all_that_was_acknowledged_is_there_and_nothing_is_half(
    trace: tuple[dict[str, bytes], list[Event]], shelf: Path
) -> None:
    base, log = trace
    kinds = {event[0] for event in log}
    assert kinds >= {"w", "s", "ack"}
    assert sum(event[0] == "ack" for event in log) == COMMITS
    assert any(event[:2] == ("w", "store.db") for event in log), "no checkpoint in the trace"
    seed = random.randrange(10**9)
    assert faulty_images(base, log, IMAGES, shelf, seed) == []


def test_the_images_find_an_acknowledgment_before_its_sync(
    trace: tuple[dict[str, bytes], list[Event]], shelf: Path
) -> None:
    """The test above can fail: move each acknowledgment before the sync it waited for."""
    base, log = trace
    early: list[Event] = []
    for event in log:
        if event[0] == "ack":
            at = next(i for i in range(len(early) - 1, -1, -1) if early[i][:2] == WAL_SYNC)
            early.insert(at, event)
        else:
            early.append(event)
    assert faulty_images(base, early, 200, shelf, seed=1) != []


def test_the_images_find_a_log_that_is_not_synced(
    trace: tuple[dict[str, bytes], list[Event]], shelf: Path
) -> None:
    base, log = trace
    unsynced = [event for event in log if event[:2] != WAL_SYNC]
    assert len(unsynced) < len(log)
    assert faulty_images(base, unsynced, 100, shelf, seed=1) != []


WAL_SYNC = ("s", "store.db-wal")


# --- failing calls ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["w", "s"])
@pytest.mark.parametrize("error", [apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_FULL])
def test_whichever_call_fails_nothing_is_acknowledged_that_is_not_there(
    kind: str, error: int, tmp_path: Path
) -> None:
    """The Nth write or sync fails, for N = 1, 2, ... until the whole work passes."""
    template = tmp_path / "template"
    SqliteStore(template).close()
    failures = 0
    step = 1 if kind == "s" else 7  # there are hundreds of writes
    for nth in [*range(1, 12), *range(12, 4000, step)]:
        folder = tmp_path / f"{nth}"
        shutil.copytree(template, folder)
        if not run_with_fault(folder, kind, error, nth):
            break
        failures += 1
        shutil.rmtree(folder)
    else:
        pytest.fail("the work never passed")
    assert failures >= 20


def run_with_fault(folder: Path, kind: str, code: int, nth: int) -> bool:
    """Run a short work with one failing call; return whether the call was reached."""
    calls = 0

    def before(event: str, file: str) -> None:
        nonlocal calls
        calls += event == kind
        if event == kind and calls == nth:
            raise apsw.exception_for(code)

    name = f"fault-{kind}-{code}-{nth}"
    vfs = JournalVFS(name, before)
    acknowledged = 0
    failed = False
    written: list[int] = []  # length of the journal when the failure was told, and at the end
    try:
        store = SqliteStore(folder, vfs=name)
    except StoreRefusedError:
        failed = True
    else:
        for number in range(1, 13):
            try:
                commit(store, batch(number))
            except StorageFailedError:
                failed = True
                written = written or [len(vfs.log)]
            else:
                assert not failed, "a store went on after a failure"
                acknowledged = number
            if number % 5 == 0:
                store.checkpoint()
        store.close()
        if written:
            assert len(vfs.log) == written[0], "written after a failure"
    vfs.unregister()
    again = SqliteStore(folder)
    reader = again.reader()
    last = int(reader.setting("batch") or 0)
    assert last >= acknowledged
    assert last in (acknowledged, acknowledged + 1)  # the failed one is in doubt, never half
    expected = list(range(1, rows_of(last)[-1] + 1)) if last else []
    assert [row.inbox_id for row in reader.inbox_range(0, 10_000)] == expected
    assert [row.seq for row in reader.outbox_after(2, 0, 10_000)] == expected
    assert faults_of_memory(reader, last, expected) == []
    assert reader.integrity() == []
    again.close()
    return calls >= nth
