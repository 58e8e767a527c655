"""After the storage failed: the marker, and a start that trusts only what the disk gives back."""

import contextlib
import os
import random
from pathlib import Path

import apsw
import pytest

from ifengine.errors import DiskFullError, StorageFailedError, StoreRefusedError
from ifengine.store import sqlite_schema
from ifengine.store.base import Batch
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_schema import PAGE_BYTES
from ifengine.store.suspect import Suspect, forget_cached
from store.builders import commit, entry
from store.journal import Journal
from store.test_power_loss import batch


def is_cached(path: Path) -> bool:
    """Whether the kernel would read the first page of a file without asking the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(file, [bytearray(4096)], 0, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False
    except OSError as error:
        pytest.skip(f"this file system does not say what is cached: {error.strerror}")
    finally:
        os.close(file)


def test_a_failing_sync_leaves_the_marker_and_a_full_disk_does_not(tmp_path: Path) -> None:
    state = {"fails": False}

    def before(kind: str, file: str) -> None:
        if kind == "s" and state["fails"]:
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    SqliteStore(tmp_path / "store").close()
    journal = Journal(tmp_path / "store", before)
    store = SqliteStore(tmp_path / "store", vfs=journal.vfs)
    suspect = Suspect(tmp_path / "run" / "store.suspect")
    store.failing = suspect.drop
    commit(store, Batch(inbox=[entry(1)]))
    assert not suspect.is_there
    state["fails"] = True
    with pytest.raises(StorageFailedError):
        commit(store, Batch(inbox=[entry(2)]))
    assert suspect.is_there  # before anybody heard of the failure
    assert suspect.path is not None
    assert "SQLITE_IOERR_FSYNC" in str(store._failure)
    assert suspect.path.stat().st_mode & 0o777 == 0o600
    store.close()
    journal.close()
    suspect.clear()
    assert not suspect.is_there
    suspect.drop(DiskFullError("full"))
    assert not suspect.is_there


def test_a_marker_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    suspect = Suspect(tmp_path / "file" / "store.suspect")
    suspect.drop(StorageFailedError("commit failed"))
    suspect.clear()
    assert not suspect.is_there
    nowhere = Suspect(None)
    nowhere.drop(StorageFailedError("commit failed"))
    nowhere.clear()
    assert not nowhere.is_there


def test_what_the_kernel_remembers_of_the_files_is_forgotten_before_they_are_read(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "store"
    store = SqliteStore(folder)
    commit(store, batch(1))
    store.close()
    database = folder / "store.db"
    database.read_bytes()
    assert is_cached(database)
    forget_cached(folder)
    assert not is_cached(database)
    forget_cached(tmp_path / "nothing")  # no files, no matter


def test_a_disk_that_still_fails_refuses_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SqliteStore(tmp_path / "store").close()

    def fails(file: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(StoreRefusedError, match="still does"):
        SqliteStore(tmp_path / "store", suspect=True)
    monkeypatch.undo()
    SqliteStore(tmp_path / "store", suspect=True).close()  # the lock was let go of


def test_a_suspect_store_is_looked_through_whatever_its_size_and_its_last_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    store = SqliteStore(folder)
    for number in range(1, 40):
        commit(store, batch(number))
    store.close()
    monkeypatch.setattr(sqlite_schema, "QUICK_CHECK_BYTES", 0)
    whole = (folder / "store.db").read_bytes()
    lot, refused, taken = random.Random(3), 0, 0
    for page in lot.sample(range(4, len(whole) // PAGE_BYTES), 12):
        damaged = bytearray(whole)
        damaged[page * PAGE_BYTES + lot.randrange(PAGE_BYTES)] ^= 1 << lot.randrange(8)
        (folder / "store.db").write_bytes(damaged)
        with contextlib.suppress(StoreRefusedError):
            SqliteStore(folder).close()
            taken += 1
        (folder / "store.db").write_bytes(damaged)
        with pytest.raises(StoreRefusedError):
            SqliteStore(folder, suspect=True)
        refused += 1
    assert refused == 12
    assert taken  # an ordinary start did not look everywhere
    (folder / "store.db").write_bytes(whole)
    store = SqliteStore(folder, suspect=True)
    reader = store.reader()
    assert reader.setting("batch") == "39"
    reader.close()
    store.close()
