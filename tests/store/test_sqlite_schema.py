import shutil
from pathlib import Path

import apsw
import pytest

from ifengine.errors import StoreRefusedError
from ifengine.store import sqlite_schema
from ifengine.store.base import Batch
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_schema import check_library, migrate, migrations, open_writer
from store.builders import commit, entry


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("3.40.1", False),
        ("3.44.5", False),
        ("3.44.6", True),
        ("3.45.0", False),
        ("3.50.6", False),
        ("3.50.7", True),
        ("3.51.2", False),
        ("3.51.3", True),
        ("3.52.0", True),
        ("4.0.0", True),
    ],
)
def test_a_sqlite_that_can_lose_commits_is_refused(version: str, safe: bool) -> None:
    if safe:
        check_library(version)
    else:
        with pytest.raises(StoreRefusedError, match=version):
            check_library(version)


def test_the_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def edit(folder: Path, statement: str) -> None:
    connection = apsw.Connection(str(folder / "store.db"))
    connection.execute(statement)
    connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = SqliteStore(tmp_path / "store")
    commit(store, Batch(inbox=[entry(i) for i in range(1, 200)]))
    store.close()
    return tmp_path / "store"


def test_a_newer_schema_is_refused(folder: Path) -> None:
    edit(folder, "PRAGMA user_version = 9999")
    with pytest.raises(StoreRefusedError, match="schema 9999"):
        SqliteStore(folder)


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    edit(folder, "CREATE TABLE other (a)")
    before = (folder / "store.db").read_bytes()
    with pytest.raises(StoreRefusedError, match="not a store"):
        SqliteStore(folder)
    assert (folder / "store.db").read_bytes() == before
    (folder / "store.db").write_bytes(b"MSH|CANARY" * 1000)
    with pytest.raises(StoreRefusedError, match="SQLITE_NOTADB") as caught:
        SqliteStore(folder)
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_empty_file_that_a_crash_left_becomes_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "store.db").touch()
    SqliteStore(folder).close()
    connection = apsw.Connection(str(folder / "store.db"))
    assert connection.pragma("page_size") == 8192
    connection.close()


@pytest.mark.parametrize("statement", ["DROP TABLE tag", "DELETE FROM meta WHERE key = 'store_id'"])
def test_a_store_with_missing_parts_is_refused(folder: Path, statement: str) -> None:
    edit(folder, statement)
    with pytest.raises(StoreRefusedError, match="damaged"):
        SqliteStore(folder)


def test_a_refused_store_gives_its_lock_back(folder: Path) -> None:
    edit(folder, "PRAGMA user_version = 9999")
    for _ in range(2):
        with pytest.raises(StoreRefusedError, match="schema"):
            SqliteStore(folder)


def test_damaged_pages_are_found_after_an_unclean_stop(folder: Path, tmp_path: Path) -> None:
    file = folder / "store.db"
    edit(folder, "UPDATE meta SET value = 0 WHERE key = 'clean'")
    content = bytearray(file.read_bytes())
    middle = len(content) // 8192 // 2 * 8192
    content[middle : middle + 4096] = bytes(4096)
    file.write_bytes(content)
    with pytest.raises(StoreRefusedError):
        SqliteStore(folder)


def test_an_orderly_stop_is_noted_and_a_crash_is_not(folder: Path, tmp_path: Path) -> None:
    def clean(path: Path) -> object:
        connection = apsw.Connection(str(path / "store.db"))
        found = connection.execute("SELECT value FROM meta WHERE key = 'clean'").get
        connection.close()
        return found

    assert clean(folder) == 1
    store = SqliteStore(folder)
    commit(store, Batch(inbox=[entry(500)]))
    shutil.copytree(folder, tmp_path / "crashed")
    assert clean(tmp_path / "crashed") == 0
    store.close()
    assert clean(folder) == 1


def test_a_migration_is_whole_or_not_at_all(folder: Path) -> None:
    connection = open_writer(folder / "store.db", None)
    steps = migrations()
    number = steps[-1][0] + 1
    broken = "CREATE TABLE extra (a); INSERT INTO nowhere VALUES (1);"
    with pytest.raises(apsw.SQLError):
        migrate(connection, [*steps, (number, broken)])
    assert connection.pragma("user_version") == number - 1
    assert not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'extra'").get
    migrate(connection, [*steps, (number, "CREATE TABLE extra (a);")])
    assert connection.pragma("user_version") == number
    assert connection.execute("SELECT count(*) FROM inbox").get == 199
    connection.close()
    with pytest.raises(StoreRefusedError, match=f"schema {number}"):
        SqliteStore(folder)


def test_a_pragma_that_does_not_take_effect_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_schema, "FULL", 3)  # what comes back is not what was asked for
    with pytest.raises(StoreRefusedError, match="synchronous"):
        SqliteStore(folder)
