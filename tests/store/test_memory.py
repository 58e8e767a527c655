from collections.abc import Callable

import pytest

from ifengine.errors import StorageFailedError
from ifengine.store.base import Batch, Store
from ifengine.store.memory import MemoryStore
from store.builders import commit, entry
from store.contract import StoreContract


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def reopen() -> Callable[[Store], Store]:
    def again(store: Store) -> Store:
        assert isinstance(store, MemoryStore)
        store.close()
        return store.reopened()

    return again


class TestMemoryStore(StoreContract):
    pass


class TestMemoryStoreWithLatency(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore(latency_seconds=0.0001)


@pytest.mark.parametrize("switch", ["disk_full", "fail_next_commit"])
def test_a_switched_fault_fails_the_commit_and_all_later_ones(switch: str) -> None:
    store = MemoryStore()
    commit(store, Batch(inbox=[entry(1)]))
    setattr(store, switch, True)
    for i in (2, 3):
        with pytest.raises(StorageFailedError):
            commit(store, Batch(inbox=[entry(i)]))
        setattr(store, switch, False)
    assert [row.inbox_id for row in store.reader().inbox_range(0, 9)] == [1]
