"""What one look at the store holds in memory is bounded in bytes, and leaves nothing out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ifengine.routes import outbox_loading, retention
from ifengine.routes.indexer import next_tags
from ifengine.store import pages
from ifengine.store.base import Batch, Reader, Store
from ifengine.store.keys import FileKek
from ifengine.store.memory import MemoryStore
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.store.sqlite import SqliteStore
from store.builders import commit, delivery, entry, trouble

DOCUMENT = 5000
COUNT = 30


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = SqliteStore(tmp_path / "store") if request.param == "sqlite" else MemoryStore()
    yield made
    made.close()


@pytest.fixture
def ring(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyRing:
    """Put documents into the store, where a page takes four of them."""
    ring = KeyRing(store.store_id, [], FileKek.init_file(tmp_path / "kek"))
    batch = Batch()
    batch.data_keys.extend(ring.start_keys(1, 0))
    for number in range(1, COUNT + 1):
        sealed = ring.seal(BlobKind.INBOX, number, 0, bytes(DOCUMENT))
        batch.inbox.append(entry(number, sealed=sealed))
        batch.outbox.append(delivery(1, number, number))
    commit(store, batch)
    for module in (pages, outbox_loading):
        monkeypatch.setattr(module, "MOST_PAGE_BYTES", 4 * DOCUMENT)
    return ring


@pytest.mark.usefixtures("ring")
def test_a_page_of_documents_ends_by_its_bytes_and_the_next_goes_on_behind_it(store: Store) -> None:
    reader = store.reader()
    for look in (
        lambda after: reader.inbox_range(after, 100),
        lambda after: reader.inbox_after(1, after, 100, scan_to=COUNT),
    ):
        found: list[int] = []
        while rows := look(found[-1] if found else 0):
            assert len(rows) <= 4
            found += [row.inbox_id for row in rows]
        assert found == list(range(1, COUNT + 1))


@pytest.mark.usefixtures("ring")
def test_a_document_larger_than_a_page_is_a_page(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_PAGE_BYTES", 10)
    assert [row.inbox_id for row in store.reader().inbox_range(3, 100)] == [4]


def test_deliveries_of_documents_are_loaded_a_few_at_a_time(store: Store, ring: KeyRing) -> None:
    after, found = 0, []
    while True:
        last, page = outbox_loading.load_page(store.reader(), ring, 1, after, 250, set())
        if last == after:
            break
        assert len(page) <= 4
        found += [loaded.entry.seq for loaded in page]
        after = last
    assert found == list(range(1, COUNT + 1))


def test_the_search_index_is_made_of_a_few_documents_at_a_time(store: Store, ring: KeyRing) -> None:
    after, _ = next_tags(store.reader(), ring)
    assert after == 4


class Contents:
    """A reader that fails where content is asked for."""

    def __init__(self, reader: Reader) -> None:
        self.exceptions, self.outbox_entry = reader.exceptions, reader.outbox_entry
        self.plans, self.parked_message = reader.plans, reader.parked_message
        self.outcome, self.tally = reader.outcome, reader.tally


def test_neither_retention_nor_what_is_stuck_reads_content(store: Store, ring: KeyRing) -> None:
    batch = Batch()
    batch.exceptions += [trouble(1, number) for number in range(1, COUNT + 1)]
    commit(store, batch)
    reader = Contents(store.reader())
    stuck = outbox_loading.load_stuck(reader, 1, COUNT)  # type: ignore[arg-type]
    assert [one.entry.received_us for one in stuck] == [n * 1_000_000 for n in range(1, COUNT + 1)]
    keep = retention.Keep(1, 1)
    found = retention.find_expired(reader, 0, COUNT, 10**15, keep)  # type: ignore[arg-type]
    assert found.inbox_ids == ()


def test_retention_gives_way_where_nothing_may_go(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 5)
    monkeypatch.setattr(retention, "MOST_PAGES_A_PASS", 2)
    commit(store, Batch(inbox=[entry(number) for number in range(1, COUNT + 1)]))
    after, passes = 0, 0
    while True:
        found = retention.find_expired(
            store.reader(), after, COUNT + 1, 10**15, retention.Keep(1, 1)
        )
        assert found.inbox_ids == ()  # their steps have not run
        passes += 1
        if not found.next_after:
            break
        assert found.next_after - after <= 10
        after = found.next_after
    assert passes == 4
