"""Bytes that flip, and files that are cut: found at the start or where they are read, or harmless.

``IFENGINE_CORRUPTIONS`` sets how often (300, in a campaign 5,000), ``IFENGINE_SEED`` repeats a run.
Each time a copy of a store is damaged, opened and read whole; all rows of all tables are compared.
tests/engine/test_corruption.py does so with whole engines.
"""

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import apsw
import pytest

from campaigns import Ledger, seed, trials
from ifengine.errors import DamagedPageError, StorageFailedError, StoreRefusedError
from ifengine.store import sqlite_checksums, sqlite_schema
from ifengine.store.base import Batch
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_checksums import checked_vfs
from ifengine.store.sqlite_damage import read_failure
from ifengine.store.sqlite_mark import MARK
from ifengine.store.sqlite_schema import PAGE_BYTES, open_reader
from store.builders import commit, entry
from store.test_power_loss import ahead, batch, content, in_pieces

TRIALS = trials(300, 5_000, "IFENGINE_CORRUPTIONS")
SEED = seed()
BATCHES = 60
LOG_HEADER = 32
SEALED = (
    "inbox",
    "copy",
    "config_content",
    "state",
    "giant_piece",
)  # tables whose last column is sealed

Rows = dict[str, list[tuple[Any, ...]]]


def write(store: SqliteStore, number: int) -> None:
    """Commit a batch, and what it needs to be there."""
    for pieces in ahead(number):
        commit(store, pieces)
    commit(store, in_pieces(batch(number)))


def rows_of_all_tables(folder: Path) -> Rows:
    """Return everything a store holds, but for the notes about its own starts and stops."""
    connection = open_reader(folder / "store.db")
    try:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {
            str(name): sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)
            for (name,) in names
            if name != "meta"
        }
    finally:
        connection.close()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose last stop was orderly: everything is in the database."""
    folder = tmp_path_factory.mktemp("stopped") / "store"
    store = SqliteStore(folder)
    for number in range(1, BATCHES + 1):
        write(store, number)
    store.close()
    assert (folder / "store.db-wal").stat().st_size == 0
    return folder


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a killed writer leaves: part of its rows is in the log only."""
    made = tmp_path_factory.mktemp("crashed")
    with pytest.MonkeyPatch.context() as patch:
        # however long the copy takes: a store at rest moves its log, and cuts it
        patch.setattr("ifengine.store.sqlite._IDLE_SECONDS", 3600.0)
        store = SqliteStore(made / "store")
        for number in range(1, BATCHES + 1):
            write(store, number)
            if number == BATCHES // 2:
                store.close()
                store = SqliteStore(made / "store")
        folder = made / "copy"
        shutil.copytree(made / "store", folder, ignore=shutil.ignore_patterns("*-shm"))
        store.close()
    assert (folder / "store.db-wal").stat().st_size > 500_000
    return folder


def damage(folder: Path, rnd: random.Random) -> str:
    """Flip a bit, overwrite a stretch or cut a file; return what was done."""
    path = folder / rnd.choice(("store.db", "store.db-wal"))
    if not path.stat().st_size:
        path = folder / "store.db"
    disk = bytearray(path.read_bytes())
    # one in five hits a place that everything hangs on: the head of the file, the last bytes
    at = rnd.choice((rnd.randrange(100), len(disk) - 1 - rnd.randrange(9000)))
    if rnd.random() < 0.8:
        at = rnd.randrange(len(disk))
    what = rnd.choice(("flip", "flip", "flip", "stretch", "zeros", "cut"))
    if what == "flip":
        disk[at] ^= 1 << rnd.randrange(8)
    elif what == "cut":
        del disk[at:]
    else:
        length = min(rnd.choice((1, 16, 512, 4096)), len(disk) - at)
        filler = bytes(length) if what == "zeros" else rnd.randbytes(length)
        disk[at : at + length] = filler
    path.write_bytes(disk)
    return f"{what} at {at} of {path.name}"


def without_sealed(rows: Rows) -> Rows:
    return {
        name: [row[:-1] for row in found] if name in SEALED else found
        for name, found in rows.items()
    }


def looked_at(folder: Path, expected: Rows) -> str:
    """Open a store and read all of it; return unaffected, what found it, or what was missed."""
    try:
        store = SqliteStore(folder)
    except StoreRefusedError:
        return "refused"
    try:
        found = rows_of_all_tables(folder)
    except (apsw.IOError, apsw.CorruptError) as error:
        return "stopped" if isinstance(read_failure(error), DamagedPageError) else str(error)
    finally:
        store.close()
    if found == expected:
        return "unaffected"
    if without_sealed(found) == without_sealed(expected):
        return "sealed"  # zeros for content on a page that is not there: it does not open
    return "MISSED in " + ", ".join(name for name in expected if found.get(name) != expected[name])


@pytest.mark.crash
def test_damaged_bytes_are_found_or_harmless(
    stopped: Path, crashed: Path, shelf: Path, ledger: Ledger
) -> None:
    rnd = random.Random(SEED)
    expected = {made: rows_of_copy(made, shelf / "whole") for made in (stopped, crashed)}
    ends: Counter[str] = Counter()
    missed = []
    for _ in range(TRIALS):
        made = rnd.choice((stopped, crashed))
        folder = shelf / "store"
        shutil.copytree(made, folder)
        done = damage(folder, rnd)
        end = looked_at(folder, expected[made])
        ends[end] += 1
        if end not in ("unaffected", "refused", "stopped", "sealed"):
            missed.append(f"{made.name}: {done}: {end}")
        shutil.rmtree(folder)
    shown = ", ".join(f"{end} {count:,}" for end, count in sorted(ends.items()))
    ledger.record(
        "G2", "bytes of database and log flipped, overwritten, cut: the store",
        trials=TRIALS, failures=len(missed), found=f"{shown}; IFENGINE_SEED={SEED}",
    )  # fmt: skip
    assert missed == []
    assert ends.keys() >= {"unaffected", "refused", "stopped"}


def rows_of_copy(made: Path, folder: Path) -> Rows:
    shutil.copytree(made, folder)
    SqliteStore(folder).close()
    found = rows_of_all_tables(folder)
    shutil.rmtree(folder)
    return found


# --- the log ----------------------------------------------------------------------------------------


def in_log(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "store"
    shutil.copytree(folder, copy)
    return copy


@pytest.mark.parametrize("kept", [0, LOG_HEADER - 1, LOG_HEADER, 0.5, -1])
def test_a_log_that_was_cut_is_refused(kept: float, crashed: Path, tmp_path: Path) -> None:
    """SQLite alone takes what is left and says nothing."""
    folder = in_log(crashed, tmp_path)
    log = folder / "store.db-wal"
    disk = log.read_bytes()
    last = 2 * (24 + PAGE_BYTES)  # the last frame may be a repetition of the one before
    kept = len(disk) - last if kept == -1 else int(kept * len(disk)) if kept == 0.5 else int(kept)
    log.write_bytes(disk[:kept])
    with pytest.raises(StoreRefusedError, match="messages that were acknowledged are missing") as e:
        SqliteStore(folder)
    assert MARK in e.value.hint
    # a person may decide to go on with what is there
    (folder / MARK).unlink()
    SqliteStore(folder).close()
    SqliteStore(folder).close()


def test_a_log_that_is_gone_is_refused(crashed: Path, tmp_path: Path) -> None:
    folder = in_log(crashed, tmp_path)
    (folder / "store.db-wal").unlink()
    with pytest.raises(StoreRefusedError, match="messages that were acknowledged are missing"):
        SqliteStore(folder)


def test_an_older_log_in_the_place_of_the_present_one_is_refused(
    crashed: Path, tmp_path: Path
) -> None:
    folder = in_log(crashed, tmp_path)
    other = tmp_path / "other"
    store = SqliteStore(other)
    for number in range(1, BATCHES):
        write(store, number)
    shutil.copy(other / "store.db-wal", folder / "store.db-wal")
    store.close()
    with pytest.raises(StoreRefusedError, match="messages that were acknowledged are missing"):
        SqliteStore(folder)


@pytest.mark.parametrize("note", [b"", b"IFMK", bytes(24), b"\xff" * 24])
def test_a_note_that_does_not_read_stops_nothing(
    note: bytes, crashed: Path, tmp_path: Path
) -> None:
    folder = in_log(crashed, tmp_path)
    (folder / MARK).write_bytes(note)
    SqliteStore(folder).close()


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize("made", ["stopped", "crashed"])
def test_a_database_that_is_gone_or_empty_is_not_taken_for_a_new_one(
    made: str, gone: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = in_log(request.getfixturevalue(made), tmp_path)
    if gone:
        (folder / "store.db").unlink()
    else:
        (folder / "store.db").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StoreRefusedError, match="gone or empty") as refused:
            SqliteStore(folder)
        assert MARK in refused.value.hint


def test_an_orderly_stop_needs_no_log(stopped: Path, tmp_path: Path) -> None:
    folder = in_log(stopped, tmp_path)
    for _ in range(3):
        SqliteStore(folder).close()


# --- pages ------------------------------------------------------------------------------------------


def test_content_on_a_damaged_page_is_left_out_and_the_others_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    sealed = {number: random.Random(number).randbytes(40_000) for number in range(1, 6)}
    store = SqliteStore(folder)
    commit(store, Batch(inbox=[entry(number, sealed=sealed[number]) for number in sealed]))
    store.close()
    disk = bytearray((folder / "store.db").read_bytes())
    at = disk.index(sealed[3][20_000:20_050])  # on a page that holds nothing else
    disk[at] ^= 1
    (folder / "store.db").write_bytes(disk)
    store = SqliteStore(folder)
    reader = store.reader()
    found = {row.inbox_id: row.sealed for row in reader.inbox_after(1, 0, 100, scan_to=99)}
    assert found == {**sealed, 3: b""}
    with pytest.raises(DamagedPageError, match="SQLITE_IOERR_DATA"):
        reader.inbox(3)
    reader.close()
    store.close()


def raised(code: int) -> apsw.Error:
    error = apsw.exception_for(code)
    assert isinstance(error, apsw.Error)
    return error


def test_a_disk_that_fails_is_no_damaged_page() -> None:
    failed = read_failure(raised(apsw.SQLITE_IOERR_READ))
    assert isinstance(failed, StorageFailedError)
    assert not isinstance(failed, DamagedPageError)
    assert isinstance(read_failure(raised(apsw.SQLITE_CORRUPT)), DamagedPageError)


def test_a_database_that_lost_the_sign_of_its_checksums_is_refused(
    stopped: Path, tmp_path: Path
) -> None:
    folder = in_log(stopped, tmp_path)
    disk = bytearray((folder / "store.db").read_bytes())
    assert disk[20] == sqlite_checksums.RESERVED_BYTES
    disk[20] = 0
    (folder / "store.db").write_bytes(disk)
    with pytest.raises(StoreRefusedError, match=r"damaged|SQLITE_CORRUPT"):
        SqliteStore(folder)


def test_a_store_from_before_the_checksums_gets_them_at_its_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    for name in ("keep_checksums", "note_checksums", "require_checksums"):
        monkeypatch.setattr(sqlite_schema, name, lambda connection: False)
    store = SqliteStore(folder)
    commit(store, batch(1))
    store.close()
    monkeypatch.undo()
    assert (folder / "store.db").read_bytes()[20] == 0
    SqliteStore(folder).close()
    assert (folder / "store.db").read_bytes()[20] == sqlite_checksums.RESERVED_BYTES
    assert open_reader(folder / "store.db").open_vfs == checked_vfs()
    store = SqliteStore(folder)
    row = store.reader().inbox(1)
    assert row is not None
    assert row.sealed == content(1)
    store.close()


def test_a_first_page_that_a_cut_garbled_during_a_checkpoint_comes_back_from_the_log(
    crashed: Path, tmp_path: Path
) -> None:
    folder = in_log(crashed, tmp_path)
    disk = bytearray((folder / "store.db").read_bytes())
    disk[:512] = random.Random(1).randbytes(512)
    (folder / "store.db").write_bytes(disk)
    whole = tmp_path / "whole"
    shutil.copytree(crashed, whole)
    for each in (folder, whole):
        SqliteStore(each).close()
    assert rows_of_all_tables(folder) == rows_of_all_tables(whole)


def test_a_refused_store_is_left_as_it_was(crashed: Path, tmp_path: Path) -> None:
    """Closing it must not move what is left of the log into the database."""
    folder = in_log(crashed, tmp_path)
    log = folder / "store.db-wal"
    log.write_bytes(log.read_bytes()[:-300_000])
    before = {name: (folder / name).read_bytes() for name in ("store.db", "store.db-wal", MARK)}
    with pytest.raises(StoreRefusedError):
        SqliteStore(folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
