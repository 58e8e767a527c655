import contextlib
import gzip
import hashlib
import shutil
from pathlib import Path

import apsw
import pytest

from ifengine.errors import StoreRefusedError
from ifengine.store import sqlite_schema
from ifengine.store.audit import verify
from ifengine.store.base import Batch, CursorKind, Fate, GuardVerdict
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_schema import check_library, migrate, migrations, open_writer
from store.builders import (
    act,
    commit,
    delivery,
    ended,
    entry,
    guarded,
    parked,
    plan,
    queued,
    state,
    trouble,
)
from store.journal import Journal

FIXTURES = Path(__file__).parents[1] / "fixtures" / "store"
# stores were made with these: what must change gets a number of its own
RELEASED = {
    1: "70f99d7b858c5648",
    2: "9d71d2dd74df5baf",
    3: "d931a18e8eabdd22",
    4: "292b7716f875ee48",
}


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


def test_a_migration_that_stores_were_made_with_is_not_edited() -> None:
    found = {
        number: hashlib.sha256(text.encode()).hexdigest()[:16] for number, text in migrations()
    }
    assert found == RELEASED


@pytest.fixture
def first_schema(tmp_path: Path) -> Path:
    """A store as the engine wrote it that knew schema 1 only: three messages and what they left."""
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "store.db").write_bytes(
        gzip.decompress((FIXTURES / "schema_0001.db.gz").read_bytes())
    )
    return folder


def test_a_store_of_the_first_schema_is_brought_to_the_newest_and_keeps_all(
    first_schema: Path,
) -> None:
    store = SqliteStore(first_schema)
    assert store.store_id.hex() == "f25336c8fd005afc1d9e5efab4df8aca"
    reader = store.reader()
    assert reader._connection.pragma("user_version") == migrations()[-1][0]
    assert [row.sealed for row in reader.inbox_range(0, 9)] == [b"sealed %d" % i for i in (1, 2, 3)]
    assert list(reader.outbox_after(2, 0, 9)) == [
        delivery(2, 1, 1, copy_id=4),
        delivery(2, 2, 2, ordered=False, keys=b""),
    ]
    assert [row.part for row in reader.outbox_after(2, 0, 9)] == [0, 0]
    assert list(reader.plans(1)) == [plan(1, queued(2, 1))]
    assert list(reader.exceptions(2)) == [trouble(2, 1)]
    assert reader.outcome(2, 2) == ended(2, 2, Fate.SENT)
    assert reader.copy(4) == b"as sent"
    assert reader.cursor(CursorKind.OUTBOX, 2) == 2
    assert list(reader.tagged(b"tag", 9)) == [1]
    assert reader.setting("a") == "1"
    assert [row.config_version for row in reader.plans(1)] == [3]
    assert reader.config_content(3) is None
    assert list(reader.states(1, b"", 9)) == []
    assert list(reader.parked(1)) == []
    assert reader.integrity() == []
    repeated = guarded(4, b"id", b"A")
    batch = Batch(
        inbox=[repeated],
        outbox=[delivery(2, 3, 4, part=2)],
        states=[state(1, b"a")],
        parked=[parked(1, 3)],
        config_contents=[(3, b"files")],
        audits=[act(2)],
    )
    commit(store, batch)
    assert repeated.verdict is GuardVerdict.DUPLICATE
    assert list(reader.states(1, b"", 9)) == batch.states
    assert list(reader.parked(1)) == batch.parked
    assert reader.outbox_entry(2, 3) == batch.outbox[0]
    assert reader.config_content(3) == b"files"
    assert verify(reader.audit_after(0, 9)) is None
    store.close()
    again = SqliteStore(first_schema)
    assert list(again.reader().states(1, b"", 9)) == batch.states
    again.close()


def test_a_first_schema_that_was_upgraded_is_as_one_that_was_made_new(
    first_schema: Path, tmp_path: Path
) -> None:
    def shape(folder: Path) -> dict[object, object]:
        SqliteStore(folder).close()
        connection = apsw.Connection(str(folder / "store.db"))
        found: dict[object, object] = {
            name: connection.execute(f"PRAGMA table_xinfo({name})").fetchall()
            for (name,) in connection.execute("SELECT name FROM sqlite_schema").fetchall()
        }
        connection.close()
        return found

    assert shape(first_schema) == shape(tmp_path / "new")


@pytest.mark.parametrize("kind", ["w", "s"])
def test_an_upgrade_that_fails_at_any_call_is_whole_or_not_at_all(
    first_schema: Path, tmp_path: Path, kind: str
) -> None:
    """The Nth write or sync fails, for N = 1, 2, ... until the upgrade passes."""
    failures = 0
    for nth in range(1, 400):
        folder = tmp_path / f"{kind}-{nth}"
        shutil.copytree(first_schema, folder)
        if not upgrade_fails(folder, kind, nth):
            break
        failures += 1
        store = SqliteStore(folder)
        reader = store.reader()
        assert [row.inbox_id for row in reader.inbox_range(0, 9)] == [1, 2, 3]
        assert reader.outbox_entry(2, 1) == delivery(2, 1, 1, copy_id=4)
        commit(store, Batch(states=[state(1, b"a")], outbox=[delivery(2, 3, 3, part=1)]))
        reader.close()
        store.close()
    else:
        pytest.fail("the upgrade never passed")
    assert failures >= 2


def upgrade_fails(folder: Path, kind: str, nth: int) -> bool:
    calls = 0

    def before(event: str, file: str) -> None:
        nonlocal calls
        calls += event == kind
        if event == kind and calls == nth:
            raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)

    journal = Journal(folder, before)
    with contextlib.suppress(StoreRefusedError):
        SqliteStore(folder, vfs=journal.vfs).close()
    reached = calls >= nth
    journal.close()
    return reached


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
