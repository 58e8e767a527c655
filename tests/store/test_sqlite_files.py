import os
from pathlib import Path

import pytest

from ifengine.errors import StoreRefusedError
from ifengine.store.base import Batch
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_files import WriterLock
from store.builders import commit, entry


def modes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


def test_files_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "store"
    old = os.umask(0)
    try:
        store = SqliteStore(folder)
        commit(store, Batch(inbox=[entry(1)]))
    finally:
        os.umask(old)
    found = modes(folder)
    assert found.keys() == {
        "store.db", "store.db-wal", "store.db-shm", "store.lock", "store.mark"
    }  # fmt: skip
    assert set(found.values()) == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    store.close()


def test_an_open_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    SqliteStore(folder).close()
    folder.chmod(0o755)
    (folder / "store.db").chmod(0o644)
    SqliteStore(folder).close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert set(modes(folder).values()) == {0o600}


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRefusedError, match="file"):
        SqliteStore(tmp_path / "file" / "store")


def test_the_lock_names_its_holder_and_needs_no_hand_afterwards(tmp_path: Path) -> None:
    (tmp_path / "store.lock").write_text("999999999\n")  # left by a process that was killed
    lock = WriterLock(tmp_path)
    with pytest.raises(StoreRefusedError, match=f"process {os.getpid()}$") as caught:
        WriterLock(tmp_path)
    assert caught.value.hint
    lock.release()
    lock.release()
    WriterLock(tmp_path).release()
