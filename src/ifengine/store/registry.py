"""Which stores there are. The only module that knows a concrete one."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ifengine.store.base import Store
from ifengine.store.memory import MemoryStore
from ifengine.store.sqlite import SqliteStore

StoreKind = Literal["sqlite", "memory"]


def _memory(folder: Path) -> Store:
    return MemoryStore()


STORES: dict[StoreKind, Callable[[Path], Store]] = {
    "sqlite": SqliteStore,
    "memory": _memory,
}


def open_store(kind: StoreKind, directory: Path) -> Store:
    """Open a store, making it where there is none.

    Args:
        kind: ``sqlite``, or ``memory``, which forgets everything when it is closed.
        directory: the folder of the store.

    Raises:
        StoreRefusedError: it will not open.
    """
    return STORES[kind](directory)
