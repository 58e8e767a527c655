import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ifengine.routes.endpoints.files import write_once
from ifengine.store import folders
from ifengine.store.folders import make_folder
from ifengine.store.keys import FileKek
from ifengine.store.sqlite import SqliteStore


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of what was synced, in order."""
    paths: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def open_store(base: Path) -> Path:
    SqliteStore(base / "var" / "deep" / "store").close()
    return base / "var" / "deep" / "store"


def make_key(base: Path) -> Path:
    FileKek.init_file(base / "var" / "keys" / "kek")
    return base / "var" / "keys"


def deliver_file(base: Path) -> Path:
    write_once(base / "out" / "today", "a.hl7", b"MSH|")
    return base / "out" / "today"


@pytest.mark.parametrize("make", [open_store, make_key, deliver_file])
def test_every_folder_that_is_made_is_entered_on_stable_storage(
    make: Callable[[Path], Path], tmp_path: Path, synced: list[str]
) -> None:
    base = tmp_path / "site"
    base.mkdir()
    folder = make(base)
    while folder != base:
        folder = folder.parent
        assert str(folder) in synced, f"{folder.relative_to(tmp_path)} may lose what is in it"
    assert folder == base


def test_the_entry_of_a_folder_that_is_there_is_synced_once(
    tmp_path: Path, synced: list[str]
) -> None:
    """A run before this one may have made it, and ended before its sync."""
    made = tmp_path / "made"
    made.mkdir()
    make_folder(made)
    assert synced == [str(tmp_path)]
    make_folder(made)
    assert synced == [str(tmp_path)]
    made.rmdir()
    make_folder(made)
    assert synced.count(str(tmp_path)) >= 2
    assert made in folders._settled
