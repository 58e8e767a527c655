"""Power cuts and failing disks, on the real store through a VFS. See tests/store/journal.py.

``IFENGINE_IMAGES`` sets how many disks are looked at (500, in a campaign 15,000).
"""

import hashlib
import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import apsw
import pytest

from campaigns import Ledger, seed, trials
from ifengine.errors import StorageFailedError, StoreRefusedError
from ifengine.store import sqlite, sqlite_schema
from ifengine.store.audit import verify_log
from ifengine.store.base import Batch, CursorKind, Fate, PlannedFate, Reader, StateRow, Store
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_mark import MARK, LogMark
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
from store.giants import HEAD, pieces_left, pieces_of
from store.journal import Event, Image, Journal, chosen_cuts, damage_shown, images, journal_mark

IMAGES = trials(500, 15_000, "IFENGINE_IMAGES")
SEED = seed()
COMMITS = 120


COPIES = 100_000  # the giant of a copy has the number of its message and this


def content(inbox_id: int) -> bytes:
    size = (20, 300, 1052, 9000)[inbox_id % 4]
    seed = hashlib.sha256(b"%d" % inbox_id).digest()
    return (HEAD if is_giant(inbox_id) else b"") + (seed * (size // 32 + 1))[:size]


def is_giant(inbox_id: int) -> bool:
    return inbox_id % 8 == 3


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


def ahead(number: int) -> list[Batch]:
    """What is committed before a batch: the bodies of its giants, a piece in each."""
    giants = [i for i in rows_of(number) if is_giant(i)]
    bodies = [(i, i) for i in giants] + [(COPIES + i, i) for i in giants if i % 3 == 0]
    return [
        Batch(pieces=[piece])
        for giant, i in bodies
        for piece in pieces_of(giant, content(i)[len(HEAD) :])
    ]


def in_pieces(whole: Batch) -> Batch:
    """Return a batch whose giants have their bodies in what was committed before it."""
    for entry in whole.inbox:
        if is_giant(entry.inbox_id):
            entry.sealed, entry.giant = HEAD, entry.inbox_id
    whole.copies = [(i, HEAD if is_giant(i) else sealed) for i, sealed in whole.copies]
    whole.copy_giants = {i: COPIES + i for i, _ in whole.copies if is_giant(i)}
    return whole


PURGED_AFTER = 60
PURGED = 40  # messages


def mac(seq: int, digest: bytes) -> bytes:
    return hashlib.sha256(b"key" + seq.to_bytes(8, "big") + digest).digest()[:16]


def run_workload(store: Store, log: list[Event], commits: int = COMMITS) -> None:
    """Commit batches; a checkpoint now and then, one purge, a reader that looks on for a while."""
    store.protect_audit(mac)
    reader = store.reader()
    look: Iterator[object] | None = None
    told = threading.Event()
    for number in range(1, commits + 1):

        def finished(error: BaseException | None, number: int = number) -> None:
            if error is None:
                log.append(("ack", number))
            told.set()

        for pieces in ahead(number):
            commit(store, pieces)
        told.clear()
        store.submit(in_pieces(batch(number)), finished)
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


Trace = tuple[dict[str, bytes], list[Event]]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A closed new store, and everything that was written and acknowledged after it."""
    folder = tmp_path_factory.mktemp("trace") / "store"
    SqliteStore(folder).close()
    return record(folder)


@pytest.fixture(scope="module")
def young_trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A store from its first byte on: the database, its rollback journal, its first log."""
    folder = tmp_path_factory.mktemp("young") / "store"
    folder.mkdir()
    (folder / "store.db").touch(mode=0o600)  # the store syncs this entry before SQLite sees it
    return record(folder, 25)


def record(folder: Path, commits: int = COMMITS) -> Trace:
    base = files_of(folder)
    journal = Journal(folder)
    with pytest.MonkeyPatch.context() as patch:
        journal_mark(patch)
        store = SqliteStore(folder, vfs=journal.vfs)
        run_workload(store, journal.log, commits)
        store.close()
    journal.close()
    return base, list(journal.log)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a closed store whose content counts."""
    names = [name for name in ("store.db", MARK) if (folder / name).exists()]
    return {name: (folder / name).read_bytes() for name in names}


def faults_of(folder: Path, acknowledged: int) -> list[str]:
    """Open what a cut left, as the engine does, and say what is wrong with it."""
    try:
        store = SqliteStore(folder)
    except StoreRefusedError as error:
        return [f"refused: {error}"]
    try:
        return faults_inside(store, acknowledged)
    except StorageFailedError as error:
        return [str(error)]
    finally:
        store.close()


def faults_inside(store: SqliteStore, acknowledged: int) -> list[str]:
    """Compare what an opened store holds with what was acknowledged."""
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
        purge(store)  # it ends when the pieces of nobody are gone
        giants = {i for i in expected if is_giant(i)}
        if pieces_left(store) != giants | {COPIES + i for i in giants if i % 3 == 0}:
            faults.append("pieces of giants do not fit the messages")
        commit(store, batch(last + 1))
    except StorageFailedError as error:
        faults.append(f"cannot go on: {error}")
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
    trace: Trace,
    count: int,
    shelf: Path,
    seed: int,
    *,
    entries: bool = False,
) -> tuple[list[str], Counter[str]]:
    """Look at this many disks; return what is wrong with them, and what damage they had."""
    base, log = trace
    rnd = random.Random(seed)
    faults = []
    damage: Counter[str] = Counter()
    cuts = chosen_cuts(log, count, rnd, entries=entries)
    for image in images(base, log, cuts, rnd):
        damage.update(image.damage or ["whole"])
        found = faults_of_image(image, shelf)
        if found:
            faults.append(f"seed {seed}, cut {image.cut} of {len(log)}: {'; '.join(found)}")
    return faults, damage


def faults_of_image(image: Image, shelf: Path) -> list[str]:
    folder = shelf / "store"
    folder.mkdir()
    try:
        for name, disk in image.files.items():
            (folder / name).write_bytes(disk)
        return faults_of(folder, image.acknowledged)
    finally:
        shutil.rmtree(folder)


@pytest.mark.crash
def test_after_a_power_cut_all_that_was_acknowledged_is_there_and_nothing_is_half(
    trace: Trace, shelf: Path, ledger: Ledger
) -> None:
    _, log = trace
    assert sum(event[0] == "ack" for event in log) == COMMITS
    assert any(event[:2] == ("w", "store.db") for event in log), "no checkpoint in the trace"
    assert any(event[:2] == ("s", MARK) for event in log), "the note about the log is not in it"
    faults, damage = faulty_images(trace, IMAGES, shelf, SEED)
    ledger.record(
        "G1", "power cuts of the store: disks recovered and checked",
        trials=IMAGES, failures=len(faults),
        found=f"{len(log):,} events; {damage_shown(damage)}; IFENGINE_SEED={SEED}",
    )  # fmt: skip
    assert faults == []
    assert damage.keys() >= {"torn", "dropped", "garbled"}


@pytest.mark.crash
def test_a_power_cut_while_a_store_is_made_loses_nothing_that_was_acknowledged(
    young_trace: Trace, shelf: Path, ledger: Ledger
) -> None:
    _, log = young_trace
    assert {event[1] for event in log if event[0] == "c"} >= {"store.db-journal", "store.db-wal"}
    count = IMAGES // 5
    faults, damage = faulty_images(young_trace, count, shelf, SEED, entries=True)
    ledger.record(
        "G1", "power cuts while a store is made: folder entries lost or back again",
        trials=count, failures=len(faults),
        found=f"{damage_shown(damage)}; IFENGINE_SEED={SEED}",
    )  # fmt: skip
    assert faults == []
    assert damage.keys() >= {"unlisted", "undeleted"}


# --- the tests above can fail: what is wrong on purpose is found -----------------------------------


def too_early(log: list[Event]) -> list[Event]:
    """Move each acknowledgment before the sync it waited for."""
    early: list[Event] = []
    for event in log:
        if event[0] == "ack":
            at = next(i for i in range(len(early) - 1, -1, -1) if early[i][:2] == WAL_SYNC)
            early.insert(at, event)
        else:
            early.append(event)
    return early


def without(log: list[Event], file: str) -> list[Event]:
    """A drive that says yes to each sync of a file and does nothing."""
    return [event for event in log if event[:2] != ("s", file)]


def marks_ahead(log: list[Event]) -> list[Event]:
    """Note each commit before the sync of the log instead of after it."""
    ahead: list[Event] = []
    for event in log:
        if event[:2] == ("w", MARK) and ("s", "store.db-wal") in (e[:2] for e in ahead[-3:]):
            at = next(i for i in range(len(ahead) - 1, -1, -1) if ahead[i][:2] == WAL_SYNC)
            ahead.insert(at, event)
        else:
            ahead.append(event)
    return ahead


WAL_SYNC = ("s", "store.db-wal")


@pytest.mark.parametrize(
    "wrong",
    [
        too_early,
        marks_ahead,
        lambda log: without(log, "store.db-wal"),
        lambda log: without(log, "store.db"),
        lambda log: without(log, MARK),
    ],
    ids=["answer too early", "note too early", "log not synced", "pages not synced", "note not synced"],
)  # fmt: skip
def test_the_images_find_what_is_wrong_on_purpose(
    trace: Trace, shelf: Path, wrong: Callable[[list[Event]], list[Event]]
) -> None:
    base, log = trace
    worse = wrong(log)
    assert worse != log
    assert faulty_images((base, worse), 200, shelf, seed=1)[0] != []


@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
def test_the_images_find_a_store_that_syncs_too_little(
    level: str, tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    SqliteStore(folder).close()
    opened = sqlite_schema.open_writer

    def careless(path: Path, vfs: str | None, mark: LogMark | None = None) -> apsw.Connection:
        connection = opened(path, vfs, mark)
        connection.pragma("synchronous", level)
        return connection

    monkeypatch.setattr(sqlite, "open_writer", careless)
    weak = record(folder, 60)
    monkeypatch.undo()
    assert faulty_images(weak, 100, shelf, seed=1)[0] != []


# --- failing calls ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["w", "s"])
@pytest.mark.parametrize("error", [apsw.SQLITE_IOERR_FSYNC])  # SQLITE_FULL: test_space.py
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
    failed_commit = False  # not a move beside the commits: one under way is told all the same

    def before(event: str, file: str) -> None:
        nonlocal calls, failed_commit
        calls += event == kind
        if event == kind and calls == nth:
            failed_commit = threading.current_thread().name != "store-mover"
            raise apsw.exception_for(code)

    journal = Journal(folder, before)
    acknowledged = 0
    failed = False
    untrue: list[int] = []  # acknowledged though a call had failed: tried again, or passed over
    written: list[int] = []  # length of the journal when the failure was told, and at the end

    def answered(number: int, error: BaseException | None) -> None:
        if error is None and failed_commit:
            untrue.append(number)

    try:
        store = SqliteStore(folder, vfs=journal.vfs)
    except StoreRefusedError:
        failed = True
    else:
        for number in range(1, 13):
            try:
                commit(store, batch(number), told=partial(answered, number))
            except StorageFailedError:
                failed = True
                if store._log._mover.is_busy:  # it writes the page it is at, and no other
                    assert store._log._mover._done.wait(30)
                written = written or [len(journal.log)]
            else:
                assert not failed, "a store went on after a failure"
                acknowledged = number
            if number % 5 == 0:
                store.checkpoint()
        store.close()
        if written:
            assert len(journal.log) == written[0], "written after a failure"
    journal.close()
    assert untrue == []
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
