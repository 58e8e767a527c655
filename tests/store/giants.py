"""Giants for tests of a store: small, and sealed content only by their form."""

import hashlib
from typing import Any

from ifengine.store.base import Batch, GiantPiece, Store
from ifengine.store.memory import MemoryStore
from store.builders import commit

HEAD = b"\x01\x03" + bytes(64)
PIECES = 3


def body_of(giant: int, size: int = 20_000) -> bytes:
    """Return the body of a giant."""
    seed = hashlib.sha256(b"giant %d" % giant).digest()
    return (seed * (size // 32 + 1))[:size]


def whole(giant: int) -> bytes:
    """Return what a reader gives out."""
    return HEAD + body_of(giant)


def pieces_of(giant: int, body: bytes, count: int = PIECES) -> list[GiantPiece]:
    """Return a body in pieces."""
    size = -(-len(body) // count)
    return [GiantPiece(giant, n, body[n * size : (n + 1) * size]) for n in range(count)]


def commit_pieces(store: Store, *giants: int) -> None:
    """Write the pieces of giants, each in a batch of its own."""
    for giant in giants:
        for piece in pieces_of(giant, body_of(giant)):
            commit(store, Batch(pieces=[piece]))


def pieces_left(store: Store) -> set[int]:
    """Return the giants of which pieces are stored."""
    if isinstance(store, MemoryStore):
        return set(store._contents.pieces)
    reader: Any = store.reader()
    found = reader._connection.execute("SELECT DISTINCT giant FROM giant_piece").fetchall()
    reader.close()
    return {giant for (giant,) in found}
