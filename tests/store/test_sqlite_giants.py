"""Giants in a SQLite store: damage to their pieces, removal beside commits, what a kill leaves."""

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest

from ifengine.errors import DamagedPageError, SealError
from ifengine.pieces import GIANT_BYTES
from ifengine.store import giants as sealed_giants
from ifengine.store.base import Batch, GiantPiece
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_checksums import checked_vfs
from ifengine.store.sqlite_giants import SWEPT_PIECES, Giants
from ifengine.store.sqlite_log import LONG_PAGES, Log
from store.builders import commit, entry, purge
from store.giants import HEAD, PIECES, commit_pieces, pieces_left, pieces_of, whole
from store.test_sealing import FixedKek

CONTENT = {number: random.Random(number).randbytes(GIANT_BYTES + number) for number in (1, 2, 3)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def ring(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> KeyRing:
    """What seals; three giants are in the store, each in many pieces."""
    monkeypatch.setattr(sealed_giants, "STORED_BYTES", 100_000)
    ring = KeyRing(store.store_id, [], FixedKek())
    ring.start_keys(1, 0)
    for number, content in CONTENT.items():
        body = ring.enclose(content)
        for n, piece in enumerate(body.pieces()):
            commit(store, Batch(pieces=[GiantPiece(number, n, piece)]))
        body.put_away(number)
        head = bytes(ring.place(BlobKind.INBOX, number, 0, body))
        commit(store, Batch(inbox=[entry(number, sealed=head, giant=number)]))
    return ring


def opened(store: SqliteStore, ring: KeyRing, number: int) -> bytes:
    reader = store.reader()
    try:
        row = reader.inbox(number)
        assert row is not None
        return ring.open(BlobKind.INBOX, number, 0, row.sealed)
    finally:
        reader.close()


def edit(store: SqliteStore, statements: str) -> None:
    """Do to the stored rows what nobody may."""
    connection = apsw.Connection(str(store._path), vfs=checked_vfs())
    connection.set_busy_timeout(5000)
    connection.execute(statements)
    connection.close()


def test_a_giant_in_pieces_opens_to_what_was_sealed(store: SqliteStore, ring: KeyRing) -> None:
    assert len(pieces_left(store)) == 3
    for number, content in CONTENT.items():
        assert opened(store, ring, number) == content


@pytest.mark.parametrize(
    "done",
    [
        "DELETE FROM giant_piece WHERE giant = 2 AND n = 0",
        "DELETE FROM giant_piece WHERE giant = 2 AND n = 4",
        "DELETE FROM giant_piece WHERE giant = 2 AND n = (SELECT max(n) FROM giant_piece)",
        "DELETE FROM giant_piece WHERE giant = 2",
        "DELETE FROM giant WHERE giant = 2",
        "UPDATE giant_piece SET body = substr(body, 1, 99999) WHERE giant = 2 AND n = 3",
        "UPDATE giant_piece SET body = CAST(body || x'00' AS BLOB) WHERE giant = 2 AND n = 3",
        "UPDATE giant_piece SET body = CAST(x'0000000000000000' || substr(body, 9) AS BLOB)"
        " WHERE giant = 2 AND n = 5",
        "UPDATE giant_piece SET n = n + 1000 WHERE giant = 2 AND n = 2",
        "UPDATE giant_piece SET body = (SELECT body FROM giant_piece WHERE giant = 1 AND n = 2)"
        " WHERE giant = 2 AND n = 2",
        "UPDATE giant SET number = number + 1000; UPDATE giant SET number = "
        "CASE giant WHEN 2 THEN 3 WHEN 3 THEN 2 ELSE 1 END",
    ],
)
def test_pieces_that_are_missing_changed_or_anothers_do_not_open(
    store: SqliteStore, ring: KeyRing, done: str
) -> None:
    edit(store, done)
    with pytest.raises(SealError, match="does not open"):
        opened(store, ring, 2)
    assert opened(store, ring, 1) == CONTENT[1]


def test_a_head_in_another_place_does_not_open(store: SqliteStore, ring: KeyRing) -> None:
    edit(
        store,
        "UPDATE inbox SET sealed = (SELECT sealed FROM inbox WHERE inbox_id = 1) WHERE inbox_id = 2;"
        "DELETE FROM giant WHERE giant = 2; UPDATE giant SET number = 2 WHERE giant = 1",
    )
    with pytest.raises(SealError, match="does not open"):
        opened(store, ring, 2)


def test_a_giant_with_a_damaged_page_is_left_out_and_the_others_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    body = random.Random(7).randbytes(60_000)
    store = SqliteStore(folder)
    commit_pieces(store, 1, 3)
    for piece in pieces_of(2, body):
        commit(store, Batch(pieces=[piece]))
    for number in (1, 2, 3):
        commit(store, Batch(inbox=[entry(number, sealed=HEAD, giant=number)]))
    store.close()
    disk = bytearray((folder / "store.db").read_bytes())
    disk[disk.index(body[30_000:30_050])] ^= 1
    (folder / "store.db").write_bytes(disk)
    store = SqliteStore(folder)
    reader = store.reader()
    found = {row.inbox_id: row.sealed for row in reader.inbox_after(1, 0, 100, scan_to=99)}
    assert found == {1: whole(1), 2: b"", 3: whole(3)}
    with pytest.raises(DamagedPageError, match="SQLITE_IOERR_DATA"):
        reader.inbox(2)
    reader.close()
    store.close()


# --- removal ----------------------------------------------------------------------------------------


class Steps:
    """Holds the writer in the first step of a removal until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.count = 0
        real = Giants.remove_some

        def remove_some(giants: Giants, giant: int) -> bool:
            self.count += 1
            self.reached.set()
            assert self.go_on.wait(30)
            return real(giants, giant)

        monkeypatch.setattr(Giants, "remove_some", remove_some)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    made = Steps(monkeypatch)
    yield made
    made.go_on.set()


def large(store: SqliteStore, count: int) -> None:
    """Store one message whose body is in so many pieces."""
    pieces = [GiantPiece(1, n, b"%d" % n) for n in range(count)]
    for piece in pieces:
        commit(store, Batch(pieces=[piece]))
    commit(store, Batch(inbox=[entry(1, sealed=HEAD, giant=1)]))


def noting(told: list[str], what: str, all_told: threading.Event, last: str) -> Callable[..., None]:
    def finished(error: BaseException | None) -> None:
        told.append(what if error is None else f"{what} failed")
        if what == last:
            all_told.set()

    return finished


def test_others_commit_while_a_large_message_is_purged(tmp_path: Path, steps: Steps) -> None:
    store = SqliteStore(tmp_path / "store")
    large(store, 20)
    told: list[str] = []
    ended = threading.Event()
    store.purge([1], noting(told, "purge", ended, "purge"))
    assert steps.reached.wait(30)
    store.submit(Batch(inbox=[entry(2)]), noting(told, "batch", ended, "purge"))
    assert told == []
    steps.go_on.set()
    assert ended.wait(30)
    assert told == ["batch", "purge"]
    assert steps.count >= 20 // SWEPT_PIECES
    assert pieces_left(store) == set()
    store.close()


def test_a_removal_waits_while_a_long_log_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_behind = [False]
    monkeypatch.setattr(Log, "is_behind", property(lambda log: is_behind[0]))
    store = SqliteStore(tmp_path / "store")
    large(store, 20)
    is_behind[0] = True
    told: list[str] = []
    ended = threading.Event()
    store.purge([1], noting(told, "purge", ended, "purge"))
    for number in range(2, 7):
        commit(store, Batch(inbox=[entry(number)]))
    assert told == []
    assert pieces_left(store) == {1}
    is_behind[0] = False
    store.checkpoint()  # as the end of a round does, it wakes the writer
    assert ended.wait(30)
    assert pieces_left(store) == set()
    store.close()


@pytest.mark.parametrize(
    ("pages", "is_busy", "is_behind"),
    [(LONG_PAGES, True, True), (LONG_PAGES, False, False), (LONG_PAGES - 1, True, False)],
)
def test_a_log_is_behind_while_it_is_long_and_moved(
    pages: int, is_busy: bool, is_behind: bool
) -> None:
    log: Any = Log.__new__(Log)
    log.pages, log._mover = pages, SimpleNamespace(is_busy=is_busy)
    assert log.is_behind is is_behind  # where nobody moves it, nobody would end the waiting


def test_a_store_that_is_closed_while_it_removes_pieces_goes_on_at_its_next_start(
    tmp_path: Path, steps: Steps
) -> None:
    store = SqliteStore(tmp_path / "store")
    large(store, 20)
    told: list[str] = []
    ended = threading.Event()
    store.purge([1], noting(told, "purge", ended, "purge"))
    assert steps.reached.wait(30)
    closing = threading.Thread(target=store.close)
    closing.start()
    while not store._closed:
        pass
    steps.go_on.set()
    closing.join(30)
    assert not closing.is_alive()
    assert told == ["purge"]  # the message is gone: nobody can read the pieces that are left
    again = SqliteStore(tmp_path / "store")
    assert again.reader().inbox(1) is None
    purge(again)
    assert pieces_left(again) == set()
    again.close()


def test_a_killed_writer_leaves_pieces_that_the_next_start_removes(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store")
    commit_pieces(store, 1, 2)
    commit(store, Batch(inbox=[entry(1, sealed=HEAD, giant=1)]))
    shutil.copytree(tmp_path / "store", tmp_path / "killed", ignore=shutil.ignore_patterns("*-shm"))
    store.close()
    again = SqliteStore(tmp_path / "killed")
    assert again.reader().counters().giant in (1, 2)  # the numbers of those that go may come again
    purge(again)
    assert pieces_left(again) == {1}
    commit_pieces(again, 3)
    purge(again)
    assert pieces_left(again) == {1, 3}  # what is being written now is nobody's yet, and stays
    again.close()


def test_what_is_removed_of_a_giant_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = SqliteStore(folder)
    body = random.Random(9).randbytes(60_000)
    for piece in pieces_of(5, body):
        commit(store, Batch(pieces=[piece]))
    commit(store, Batch(inbox=[entry(1, sealed=HEAD, giant=5), entry(2)]))
    store.close()
    middles = [body[at : at + 40] for at in range(500, 60_000, 60_000 // PIECES // 2)]
    disk = (folder / "store.db").read_bytes()
    assert sum(one in disk for one in middles) >= PIECES
    store = SqliteStore(folder)
    purge(store, 1)
    store.close()
    disk = (folder / "store.db").read_bytes() + (folder / "store.db-wal").read_bytes()
    assert not any(one in disk for one in middles)
