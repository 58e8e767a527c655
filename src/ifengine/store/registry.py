"""Which stores there are. The only module that knows a concrete one."""

from pathlib import Path
from typing import Literal, Protocol

from ifengine.store.base import Store
from ifengine.store.memory import MemoryStore
from ifengine.store.sqlite import SqliteStore

StoreKind = Literal["sqlite", "memory"]


def _memory(folder: Path, *, suspect: bool = False) -> Store:
    return MemoryStore()


class _Opens(Protocol):
    def __call__(self, folder: Path, *, suspect: bool = False) -> Store: ...


STORES: dict[StoreKind, _Opens] = {
    "sqlite": SqliteStore,
    "memory": _memory,
}


def open_store(kind: StoreKind, directory: Path, *, suspect: bool = False) -> Store:
    """Open a store, making it where there is none.

    Args:
        kind: ``sqlite``, or ``memory``, which forgets everything when it is closed.
        directory: the folder of the store.
        suspect: the storage failed in the last run: read it from the disk and look it through.

    Raises:
        StoreRefusedError: it will not open.
    """
    return STORES[kind](directory, suspect=suspect)
