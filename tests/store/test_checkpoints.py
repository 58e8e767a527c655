"""The log is moved into the database while commits go on. See ADR 0030."""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from ifengine.errors import DiskFullError, StorageFailedError
from ifengine.store import sqlite_log, sqlite_mover
from ifengine.store.base import Batch
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_log import Log
from ifengine.store.sqlite_mark import MARK
from ifengine.store.sqlite_mover import Mover
from ifengine.store.sqlite_schema import PAGE_BYTES
from store.builders import commit, entry
from store.journal import Journal

FRAME_BYTES = PAGE_BYTES + 24
LONG = 60.0  # seconds; nothing here takes so long unless it is wrong
LARGE = bytes(20_000)  # some three pages
MOVER, WRITER = "store-mover", "store-writer"


@pytest.fixture(autouse=True)
def short_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a round begin after fifty pages, and the writer wait for none."""
    monkeypatch.setattr(sqlite_log, "WAL_PAGES", 50)
    monkeypatch.setattr(sqlite_log, "REST_PAGES", 8)
    monkeypatch.setattr(sqlite_log, "RETRY_PAGES", 25)
    monkeypatch.setattr(sqlite_log, "MOST_PAGES", 1_000_000)


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let the writer wait for the mover from so many pages on."""
    monkeypatch.setattr(sqlite_log, "MOST_PAGES", 1000)
    return 1000


class Gate:
    """Where a thread is held up until it is let go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def hold(self) -> None:
        """Stand still here."""
        self.reached.set()
        assert self.open.wait(LONG)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


class Site:
    """A store whose calls to the disk a test looks at, or holds up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before: Callable[[str, str], None] = lambda kind, file: None
        SqliteStore(folder).close()
        self.journal = Journal(folder, lambda kind, file: self.before(kind, file))
        self.store = SqliteStore(folder, vfs=self.journal.vfs)
        self.number = 0

    def commit(self, count: int = 1) -> None:
        """Commit so many messages, one after the other."""
        for _ in range(count):
            self.number += 1
            commit(self.store, Batch(inbox=[entry(self.number, sealed=LARGE)]))

    def commit_until(self, happened: Callable[[], bool]) -> None:
        """Commit until something has happened; 2,000 messages at most."""
        for _ in range(2000):
            if happened():
                return
            self.commit()
        pytest.fail("it never happened")

    @property
    def log_pages(self) -> int:
        """How long the file of the log is."""
        return (self.folder / "store.db-wal").stat().st_size // FRAME_BYTES

    def check(self) -> None:
        """Close, and find every message again."""
        self.store.close()
        again = SqliteStore(self.folder)
        reader = again.reader()
        found = reader._connection.execute("SELECT count(*), max(inbox_id) FROM inbox").fetchone()
        assert reader.integrity() == []
        reader.close()
        again.close()
        assert found == (self.number, self.number)


@pytest.fixture
def site(tmp_path: Path, gate: Gate) -> Iterator[Site]:
    site = Site(tmp_path / "store")
    yield site
    gate.open.set()
    site.store.close()
    site.journal.close()


def in_mover() -> bool:
    return threading.current_thread().name == MOVER


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


# --- commits do not wait --------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["write", "sync of SQLite", "sync of the mover"])
def test_commits_are_told_while_the_disk_holds_up_what_is_moved(
    where: str, site: Site, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = sqlite_mover.sync

    def before(kind: str, file: str) -> None:
        if file == "store.db" and kind == where[0]:
            gate.hold()

    def held(file: int) -> None:
        gate.hold()
        sync(file)

    if where == "sync of the mover":
        monkeypatch.setattr(sqlite_mover, "sync", held)
    else:
        site.before = before
    if where == "sync of SQLite":
        site.commit()
        site.store.checkpoint()  # at rest the whole log is moved, and SQLite syncs the pages
        assert gate.reached.wait(LONG)
    else:
        site.commit_until(gate.reached.is_set)
    site.commit(40)
    assert site.store._log._mover.is_busy
    gate.open.set()
    site.check()


def test_the_writer_itself_moves_little_at_a_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = {MOVER: 0, WRITER: 0}
    rests: list[int] = []
    finish = Log._finish

    def before(kind: str, file: str) -> None:
        if file == "store.db" and kind == "w":
            moved[threading.current_thread().name] += 1

    def finishing(log: Log, done: int) -> None:
        rests.append(log.pages - done)
        finish(log, done)

    monkeypatch.setattr(Log, "_finish", finishing)
    site.before = before
    site.commit(600)
    site.check()
    assert max(rests) <= sqlite_log.REST_PAGES
    assert moved[WRITER] <= sum(rests)
    assert moved[MOVER] > 500


# --- the length of the log ------------------------------------------------------------------------


def test_the_log_starts_again_while_the_writer_never_rests(site: Site, bound: int) -> None:
    told = threading.Event()
    for number in range(1, 1001):
        last = (lambda error: told.set()) if number == 1000 else (lambda error: None)
        site.store.submit(Batch(inbox=[entry(number, sealed=LARGE)]), last)
    assert told.wait(LONG)
    site.number = 1000
    # some 4,000 pages were written
    assert site.log_pages <= bound + 10
    site.check()


def test_a_disk_too_slow_to_move_the_log_holds_the_writer_up_before_it_grows_without_bound(
    site: Site, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_log, "MOST_PAGES", 300)
    end = Mover.end

    def ending(mover: Mover) -> int:
        gate.open.set()  # the disk goes on when the writer waits for it, and not before
        return end(mover)

    monkeypatch.setattr(Mover, "end", ending)
    site.before = lambda kind, file: gate.hold() if file == "store.db" and in_mover() else None
    site.commit(150)
    assert gate.open.is_set()
    assert site.log_pages <= 300 + 10
    site.check()


def test_a_reader_that_stays_holds_the_log_up_and_nothing_else(site: Site, bound: int) -> None:
    site.commit(5)
    reader = site.store.reader()
    reader._connection.execute("BEGIN; SELECT count(*) FROM inbox")
    site.commit(400)
    assert site.log_pages > bound
    reader._connection.execute("END")
    site.commit_until(lambda: 0 < site.store._log.pages < 100)
    site.store.checkpoint()
    until(lambda: site.log_pages == 0)
    reader.close()
    site.check()


# --- the note about the log -----------------------------------------------------------------------


def test_the_log_does_not_start_again_before_the_writer_took_note(
    site: Site, gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All is in the database, nobody has said so, and a commit comes: what if it ends here?"""
    sync = sqlite_mover.sync

    def held(file: int) -> None:
        gate.hold()
        sync(file)

    monkeypatch.setattr(sqlite_mover, "sync", held)
    site.commit(3)
    site.store.checkpoint()
    assert gate.reached.wait(LONG)
    before = site.log_pages
    site.commit()
    assert site.log_pages > before
    copy = tmp_path / "copy"
    copy.mkdir()
    files = [str(site.folder / name) for name in ("store.db", "store.db-wal", MARK)]
    # by another process: closing these files here would drop the locks of SQLite
    subprocess.run(["cp", *files, str(copy)], check=True)
    gate.open.set()
    again = SqliteStore(copy)
    reader = again.reader()
    assert reader.counters().inbox_id == 4
    reader.close()
    again.close()


# --- failing and stopping -------------------------------------------------------------------------


@pytest.mark.parametrize("error", [5, 28], ids=["EIO", "ENOSPC"])
def test_a_failed_sync_of_what_was_moved_ends_the_store(
    error: int, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[BaseException] = []
    site.store.failing = told.append

    def failing(file: int) -> None:
        raise OSError(error, "no")

    site.commit()
    monkeypatch.setattr(sqlite_mover, "sync", failing)
    site.store.checkpoint()
    until(lambda: bool(told))
    with pytest.raises(StorageFailedError, match="SQLITE_IOERR_FSYNC") as caught:
        site.commit()
    assert not isinstance(caught.value, DiskFullError)
    site.store.close()
    site.number -= 1
    site.check()


@pytest.mark.parametrize("kind", ["w", "s"])
def test_a_page_that_cannot_be_moved_ends_the_store_before_the_next_commit(
    kind: str, site: Site
) -> None:
    told: list[BaseException] = []
    site.store.failing = told.append

    def before(event: str, file: str) -> None:
        if event == kind and file == "store.db" and in_mover():
            raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)

    site.commit(3)
    site.before = before
    site.store.checkpoint()
    until(lambda: site.store._log._mover.has_failed or bool(told))
    with pytest.raises(StorageFailedError, match="checkpoint failed: SQLITE_IOERR_WRITE"):
        site.commit()
    assert len(told) == 1
    site.before = lambda kind, file: None
    site.number -= 1
    site.check()


def test_after_a_failed_commit_the_mover_copies_no_further(site: Site, gate: Gate) -> None:
    pages: list[str] = []

    def before(kind: str, file: str) -> None:
        if file == "store.db" and kind == "w":
            pages.append(file)
            gate.hold()
        elif kind == "s" and gate.reached.is_set():
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    site.before = before
    with pytest.raises(StorageFailedError):
        site.commit_until(lambda: False)
    assert gate.reached.is_set()
    gate.open.set()
    site.store.close()
    assert len(pages) == 1
    site.before = lambda kind, file: None
    site.number -= 1  # in doubt
    again = SqliteStore(site.folder)
    reader = again.reader()
    assert reader.counters().inbox_id in (site.number, site.number + 1)
    reader.close()
    again.close()


def test_a_full_disk_holds_the_mover_up_and_gives_the_ballast(site: Site, bound: int) -> None:
    site.store.space.wanted_bytes = 1 << 20
    assert site.store.space.make()

    def before(kind: str, file: str) -> None:
        if kind == "w" and file == "store.db" and site.store.space.ballast_bytes:
            raise apsw.exception_for(apsw.SQLITE_FULL)

    site.before = before
    site.commit_until(lambda: site.store.space.released > 0)
    site.commit_until(lambda: 0 < site.store._log.pages < 50)
    site.check()


def test_a_stop_waits_for_the_round_under_way_and_loses_nothing(site: Site, gate: Gate) -> None:
    site.before = lambda kind, file: gate.hold() if file == "store.db" and in_mover() else None
    site.commit_until(gate.reached.is_set)
    closing = threading.Thread(target=site.store.close)
    closing.start()
    gate.open.set()
    closing.join(LONG)
    assert not closing.is_alive()
    assert MOVER not in {thread.name for thread in threading.enumerate()}
    assert site.log_pages == 0
    site.check()


def test_the_log_that_a_crash_left_is_noted_as_moved_before_it_is_cut(tmp_path: Path) -> None:
    """A start after a crash may commit nothing: what stands in the log is still known of."""
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ifengine.store.sqlite._IDLE_SECONDS", 3600.0)  # nothing is moved by itself
        store = SqliteStore(tmp_path / "store")
        commit(store, Batch(inbox=[entry(1)]))
        shutil.copytree(tmp_path / "store", first, ignore=shutil.ignore_patterns("*-shm"))
        store.close()
    log = first / "store.db-wal"
    assert log.stat().st_size > 0
    store = SqliteStore(first)
    store.checkpoint()
    deadline = time.monotonic() + LONG
    while log.stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    shutil.copytree(first, second, ignore=shutil.ignore_patterns("*-shm"))
    store.close()
    store = SqliteStore(second)
    reader = store.reader()
    assert reader.inbox(1) is not None
    reader.close()
    store.close()
