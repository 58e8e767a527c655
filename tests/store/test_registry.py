from pathlib import Path

from ifengine.store.base import Batch
from ifengine.store.registry import STORES, open_store
from store.builders import commit, entry


def test_every_registered_store_opens_and_keeps_a_message(tmp_path: Path) -> None:
    for kind in STORES:
        store = open_store(kind, tmp_path / kind)
        commit(store, Batch(inbox=[entry(1)]))
        reader = store.reader()
        assert reader.inbox(1) is not None
        reader.close()
        store.close()
