import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from ifengine.errors import StorageFailedError, StoreRefusedError
from ifengine.store.base import Batch, Store
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_damage import failure_text
from store.builders import act, commit, entry, guarded, purge
from store.contract import StoreContract


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[Store], Store]:
    def again(store: Store) -> Store:
        store.close()
        return SqliteStore(tmp_path / "store")

    return again


class TestSqliteStore(StoreContract):
    pass


def test_every_commit_is_synced(store: SqliteStore) -> None:
    connection = store._connection
    assert connection.pragma("synchronous") == 2
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("wal_autocheckpoint") == 0
    assert connection.pragma("secure_delete") == 1
    assert connection.pragma("page_size") == 8192
    assert connection.pragma("cell_size_check") == 1
    assert not connection.pragma("mmap_size")


def test_a_reader_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(apsw.ReadOnlyError):
        store.reader()._connection.execute("DELETE FROM inbox")


def test_a_second_writer_is_refused_while_the_first_lives(
    store: SqliteStore, tmp_path: Path
) -> None:
    with pytest.raises(StoreRefusedError, match=str(os.getpid())):
        SqliteStore(tmp_path / "store")
    program = (
        "import sys; from pathlib import Path\n"
        "from ifengine.store.sqlite import SqliteStore\n"
        "from ifengine.errors import StoreRefusedError\n"
        "try: SqliteStore(Path(sys.argv[1]))\n"
        "except StoreRefusedError: sys.exit(7)\n"
    )
    other = subprocess.run([sys.executable, "-c", program, str(tmp_path / "store")])
    assert other.returncode == 7
    commit(store, Batch(inbox=[entry(1)]))
    store.close()
    SqliteStore(tmp_path / "store").close()


WRITER = """
import sys, threading; from pathlib import Path
sys.path.insert(0, sys.argv[2])
from ifengine.store.sqlite import SqliteStore
from ifengine.store.base import Batch
from store.builders import guarded, act
store = SqliteStore(Path(sys.argv[1]))
store.protect_audit(lambda seq, digest: digest[:16])
room = threading.Semaphore(32)
def finished(error, i):
    room.release()
    if error is None:
        sys.stdout.write(f"{i}\\n"); sys.stdout.flush()
i = store.reader().counters().inbox_id
while True:
    i += 1
    room.acquire()
    store.submit(Batch(inbox=[guarded(i, b"%d" % i, b"A")], audits=[act(i)]),
                 lambda error, i=i: finished(error, i))
    if i % 50 == 0: store.checkpoint()
"""


@pytest.mark.crash
def test_a_killed_writer_leaves_all_it_acknowledged_and_the_store_reopens_at_once(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "store"
    tests = Path(__file__).parents[1]
    acknowledged = 0
    for kill in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(tests)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert writer.stdout is not None
        for _ in range(60 + 45 * kill):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split(b"\n")[:-1]
        acknowledged = int(rest[-1]) if rest else acknowledged
        writer.wait()
        writer.stdout.close()
        store = SqliteStore(folder)
        ids = [row.inbox_id for row in store.reader().inbox_range(0, 1_000_000)]
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) >= acknowledged > 0
        assert store.reader().integrity() == []
        store.close()


def test_nobody_hears_of_a_commit_before_it_returned(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[object] = []
    told = threading.Event()

    def finished(error: BaseException | None) -> None:
        reader = store.reader()  # another connection sees committed rows only
        found.append(reader.inbox(1))
        reader.close()
        told.set()

    store.submit(Batch(inbox=[entry(1)]), finished)
    assert told.wait(30)
    assert found != [None]


def test_the_log_is_moved_and_cut_on_request_and_on_close(
    store: SqliteStore, tmp_path: Path
) -> None:
    log = tmp_path / "store" / "store.db-wal"
    commit(store, Batch(inbox=[entry(1, sealed=bytes(100_000))]))
    assert log.stat().st_size > 100_000
    store.checkpoint()
    store.close()
    assert not log.exists() or log.stat().st_size == 0


def test_a_reader_that_looks_on_does_not_stop_the_writer(store: SqliteStore) -> None:
    commit(store, Batch(inbox=[entry(i) for i in range(1, 101)]))
    connection = store.reader()._connection
    look = connection.execute("SELECT inbox_id FROM inbox ORDER BY inbox_id")
    next(look)  # a snapshot that stays open
    for i in range(101, 120):
        commit(store, Batch(inbox=[entry(i)]))
        store.checkpoint()
    assert len(list(look)) == 99, "the snapshot stays as it was"
    commit(store, Batch(inbox=[entry(120)]))
    assert store.reader().counters().inbox_id == 120


def test_a_callback_that_raises_ends_the_store(store: SqliteStore) -> None:
    def broken(error: BaseException | None) -> None:
        raise RuntimeError("the loop is closed")

    store.submit(Batch(inbox=[entry(1)]), broken)
    with pytest.raises(StorageFailedError, match="callback failed: RuntimeError"):
        commit(store, Batch(inbox=[entry(2)]))


def test_a_failure_names_the_code_of_sqlite_only(store: SqliteStore) -> None:
    commit(store, Batch(inbox=[entry(1, peer="CANARY")]))
    with pytest.raises(StorageFailedError) as caught:
        commit(store, Batch(inbox=[entry(1, peer="CANARY")]))
    assert str(caught.value) == "commit failed: SQLITE_CONSTRAINT_PRIMARYKEY"
    assert caught.value.__cause__ is None
    assert "CANARY" not in failure_text(ValueError("CANARY"))


def test_after_a_failure_no_transaction_stays_open(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(StorageFailedError):
        commit(store, Batch(inbox=[entry(1), entry(1)]))
    assert not store._connection.in_transaction
    other = apsw.Connection(str(tmp_path / "store" / "store.db"))
    other.execute("BEGIN IMMEDIATE; ROLLBACK")
    other.close()


def test_the_guard_forgets_ended_windows_as_messages_are_purged(store: SqliteStore) -> None:
    count = store._connection.execute
    commit(store, Batch(inbox=[guarded(i, b"%d" % i, b"A") for i in range(1, 3001)]))
    for start in range(1, 3001, 500):
        purge(store, *range(start, start + 500))
    left = count("SELECT count(*), min(until_us) FROM guard").fetchone()
    assert left is not None
    assert left[0] < 1200  # 100 s of window are 100 rows; the sweep is behind by some chunks
    commit(store, Batch(inbox=[guarded(4000, b"x", b"A")]))
    for _ in range(2):
        commit(store, Batch(inbox=[guarded(5000, b"y", b"A")]))
        purge(store, 5000)
    assert count("SELECT count(*) FROM guard").get == 1


def test_content_of_a_purged_message_is_not_in_the_files(
    store: SqliteStore, tmp_path: Path
) -> None:
    canary = b"CANARY-SEALED-CONTENT"
    commit(store, Batch(inbox=[entry(1, sealed=canary * 40), entry(2)]))
    store.checkpoint()
    purge(store, 1)
    store.close()
    for file in (tmp_path / "store").iterdir():
        assert canary not in file.read_bytes(), file.name


def test_a_checkpoint_is_possible_before_the_first_commit(
    store: SqliteStore, reopen: Callable[[Store], Store]
) -> None:
    commit(store, Batch(inbox=[entry(1)], audits=[act(1)]))
    again = reopen(store)
    again.checkpoint()
    commit(again, Batch(inbox=[entry(2)]))
    again.close()
