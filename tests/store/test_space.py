"""A full disk: what was begun waits for room, nothing of it is told before, and nothing is lost.

``IFENGINE_FULL_POINTS`` sets how far apart the writes are at which the disk fills (7, in a campaign 1:
each write). The disk stays full for some tries, or until the ballast is given up.
"""

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from campaigns import Ledger, trials
from ifengine.errors import DiskFullError, StorageFailedError, StoreFullError, StoreRefusedError
from ifengine.store import space as space_module
from ifengine.store.base import Batch
from ifengine.store.space import BALLAST, Space, is_no_room, is_no_room_to_open
from ifengine.store.sqlite import SqliteStore
from store.builders import commit, entry
from store.journal import Journal
from store.test_power_loss import batch, faults_of_memory, rows_of

STEP = trials(7, 1, "IFENGINE_FULL_POINTS")
MIB = 1 << 20


# --- the ballast ----------------------------------------------------------------------------------


def test_the_ballast_holds_real_room_and_gives_it_up(tmp_path: Path) -> None:
    space = Space(tmp_path)
    space.wanted_bytes = 4 * MIB
    assert space.missing_bytes == 4 * MIB
    assert space.make()
    state = (tmp_path / BALLAST).stat()
    assert state.st_blocks * 512 >= 4 * MIB  # allocated, not only promised
    assert state.st_mode & 0o777 == 0o600
    assert space.missing_bytes == 0
    assert space.release() == 4 * MIB
    assert not (tmp_path / BALLAST).exists()
    assert space.release() == 0


def test_a_ballast_of_another_size_is_brought_to_its_size(tmp_path: Path) -> None:
    space = Space(tmp_path)
    for wanted in (2 * MIB, 5 * MIB, MIB, 0):
        space.wanted_bytes = wanted
        assert space.make()
        assert space.ballast_bytes == wanted
        assert space.missing_bytes == 0


def test_a_ballast_there_is_no_room_for_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(file: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    space = Space(tmp_path)
    space.wanted_bytes = MIB
    assert not space.make()
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_a_disk_always_has_room() -> None:
    space = Space()
    space.wanted_bytes = MIB
    assert space.make()
    assert (space.missing_bytes, space.ballast_bytes, space.release()) == (0, 0, 0)


def test_only_what_was_rolled_back_counts_as_no_room() -> None:
    assert is_no_room(OSError(errno.ENOSPC, ""))
    assert is_no_room(OSError(errno.EDQUOT, ""))
    assert is_no_room(apsw.exception_for(apsw.SQLITE_FULL))
    assert not is_no_room(OSError(errno.EIO, ""))
    # a sync that found no room comes as this: in doubt
    assert not is_no_room(apsw.exception_for(apsw.SQLITE_IOERR_FSYNC))
    assert is_no_room_to_open(apsw.exception_for(apsw.SQLITE_IOERR_SHMSIZE))
    assert not is_no_room_to_open(apsw.exception_for(apsw.SQLITE_IOERR_READ))


# --- commits --------------------------------------------------------------------------------------


class Disk:
    """Fills at the Nth write, and stays full for some tries or until its ballast is gone."""

    def __init__(self, folder: Path, nth: int, tries: int = 0) -> None:
        self.ballast = folder / BALLAST
        self.nth = nth
        self.tries = tries
        self.writes = 0
        self.refused = 0
        self.reached = False

    def before(self, kind: str, file: str) -> None:
        """Refuse a write; the next statement that writes finds the same."""
        self.writes += kind == "w"
        if kind != "w" or self.writes < self.nth:
            return
        self.reached = True
        is_full = self.ballast.exists() if not self.tries else self.refused < self.tries
        if is_full:
            self.refused += 1
            raise apsw.exception_for(apsw.SQLITE_FULL)


def work(store: SqliteStore) -> int:
    """Commit, with checkpoints between; return how many batches were acknowledged."""
    for number in range(1, 13):
        commit(store, batch(number))
        if number % 5 == 0:
            store.checkpoint()
    return 12


def check(folder: Path, acknowledged: int) -> None:
    """Each batch is there whole, in order, exactly once."""
    again = SqliteStore(folder)
    reader = again.reader()
    assert int(reader.setting("batch") or 0) == acknowledged
    expected = list(range(1, rows_of(acknowledged)[-1] + 1))
    assert [row.inbox_id for row in reader.inbox_range(0, 10_000)] == expected
    assert [row.seq for row in reader.outbox_after(2, 0, 10_000)] == expected
    assert faults_of_memory(reader, acknowledged, expected) == []
    assert reader.integrity() == []
    reader.close()
    again.close()


@pytest.mark.crash
@pytest.mark.parametrize("tries", [0, 1, 3])
def test_whichever_write_finds_no_room_the_transaction_waits_and_is_there_once(
    tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    """The disk fills at the Nth write, N = 1, 2, ... until the work no longer comes so far."""
    monkeypatch.setattr(space_module, "RETRY_SECONDS", 0.0)
    template = tmp_path / "template"
    SqliteStore(template).close()
    full = 0
    for nth in range(1, 8000, STEP):
        folder = tmp_path / f"{nth}"
        shutil.copytree(template, folder)
        (folder / BALLAST).write_bytes(bytes(4096))
        disk = Disk(folder, nth, tries)
        journal = Journal(folder, disk.before)
        try:
            store = SqliteStore(folder, vfs=journal.vfs)
        except StoreFullError:
            assert tries == 3, "the ballast was there to be opened with"
        else:
            acknowledged = work(store)
            assert not store.space.is_full
            store.close()
            check(folder, acknowledged)
        journal.close()
        shutil.rmtree(folder)
        if not disk.reached:
            break
        full += 1
    else:
        pytest.fail("the work never passed")
    ledger.record(
        "G8", f"no room at the Nth write, until {tries or 'the ballast is gone'}",
        trials=full,
    )  # fmt: skip
    assert full >= 20


def submitted(
    store: SqliteStore, made: Batch
) -> tuple[threading.Event, list[BaseException | None]]:
    told, errors = threading.Event(), []

    def finished(error: BaseException | None) -> None:
        errors.append(error)
        told.set()

    store.submit(made, finished)
    return told, errors


@pytest.fixture
def full(tmp_path: Path) -> tuple[SqliteStore, Callable[[bool], None]]:
    """A store, and a switch that fills its disk."""
    state = {"full": False}

    def before(kind: str, file: str) -> None:
        if kind == "w" and state["full"]:
            raise apsw.exception_for(apsw.SQLITE_FULL)

    folder = tmp_path / "store"
    SqliteStore(folder).close()
    store = SqliteStore(folder, vfs=Journal(folder, before).vfs)

    def switch(on: bool) -> None:
        state["full"] = on

    return store, switch


def test_nothing_is_told_of_a_commit_that_waits_and_those_behind_it_keep_their_order(
    full: tuple[SqliteStore, Callable[[bool], None]],
) -> None:
    store, fill = full
    fill(True)
    first = submitted(store, Batch(inbox=[entry(1)], settings={"at": "1"}))
    second = submitted(store, Batch(inbox=[entry(2)], settings={"at": "2"}))
    assert not first[0].wait(0.7)
    assert store.space.is_full
    assert not second[0].is_set()
    fill(False)
    assert first[0].wait(30)
    assert second[0].wait(30)
    assert first[1] == second[1] == [None]
    assert not store.space.is_full
    reader = store.reader()
    assert [row.inbox_id for row in reader.inbox_range(0, 9)] == [1, 2]
    assert reader.setting("at") == "2"
    reader.close()
    store.close()


def test_a_commit_that_waits_fails_when_the_engine_must_end_and_nothing_is_written_after(
    full: tuple[SqliteStore, Callable[[bool], None]],
) -> None:
    store, fill = full
    marked: list[BaseException] = []
    store.failing = marked.append
    fill(True)
    told, errors = submitted(store, Batch(inbox=[entry(1)]))
    assert not told.wait(0.3)
    store.space.give_up()
    assert told.wait(30)
    assert isinstance(errors[0], DiskFullError)
    assert [type(error) for error in marked] == [DiskFullError]
    fill(False)
    with pytest.raises(StorageFailedError):
        commit(store, Batch(inbox=[entry(2)]))
    store.close()


def test_a_log_that_cannot_be_moved_for_want_of_room_is_moved_later(tmp_path: Path) -> None:
    state = {"full": False}

    def before(kind: str, file: str) -> None:
        if kind == "w" and file == "store.db" and state["full"]:
            raise apsw.exception_for(apsw.SQLITE_FULL)

    folder = tmp_path / "store"
    SqliteStore(folder).close()
    journal = Journal(folder, before)
    store = SqliteStore(folder, vfs=journal.vfs)
    state["full"] = True
    for number in range(1, 6):
        commit(store, batch(number))
        store.checkpoint()
    assert store._log.pages
    state["full"] = False
    commit(store, batch(6))
    store.close()
    journal.close()
    assert (folder / "store.db-wal").stat().st_size == 0
    check(folder, 6)


def test_a_store_that_cannot_be_opened_for_want_of_room_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    SqliteStore(folder).close()

    def before(kind: str, file: str) -> None:
        if kind == "w":
            raise apsw.exception_for(apsw.SQLITE_FULL)

    journal = Journal(folder, before)
    (folder / BALLAST).write_bytes(bytes(4096))
    with pytest.raises(StoreFullError):
        SqliteStore(folder, vfs=journal.vfs)
    assert not (folder / BALLAST).exists()  # given up, in vain
    journal.close()
    with contextlib.suppress(StoreRefusedError):
        SqliteStore(folder).close()
