"""A store in memory with keys, for what reads sealed rows."""

from pathlib import Path

from ifengine.store.base import Batch
from ifengine.store.keys import FileKek
from ifengine.store.memory import MemoryStore
from ifengine.store.sealing import BlobKind, KeyRing
from store.builders import commit, entry


class Sealed:
    """A memory store, its key ring, and messages put into it."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        kek = FileKek.init_file(folder / "kek")
        self.ring = KeyRing(self.store.store_id, [], kek)
        batch = Batch()
        batch.data_keys.extend(self.ring.start_keys(1, 0))
        commit(self.store, batch)

    def put(self, number: int, content: bytes, **fields: object) -> None:
        batch = Batch()
        sealed = self.ring.seal(BlobKind.INBOX, number, 0, content)
        batch.inbox.append(entry(number, **{"sealed": sealed, **fields}))
        commit(self.store, batch)

    def commit(self, batch: Batch) -> None:
        commit(self.store, batch)
