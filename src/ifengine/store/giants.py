"""Sealing and opening of giants, piece by piece, in whatever thread: nobody else waits for it.

A giant has a key of its own, used once, so that its body is sealed before anybody knows where it
will stand. The data key then seals that key, 32 bytes, for one place::

    version 1 | algorithm 3 | data key id 4 | nonce 12 | sealed key 32 + 16 | body | tag 16
"""

import secrets
from collections.abc import Iterator
from io import BytesIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from ifengine.pieces import Bytes, let_others_go_on, pieces

KEY_BYTES = 32
TAG_BYTES = 16
SEALED_KEY_BYTES = KEY_BYTES + TAG_BYTES
STORED_BYTES = 512 * 1024
"""Of a piece in the store: so much of a giant holds up a commit, a millisecond or two."""
_NONCE = bytes(12)  # the key is used once


class Enclosed:
    """A sealed body and the key that opens it. The key stays in memory until its place is known."""

    __slots__ = ("_head_bytes", "giant", "is_placed", "key", "sealed")

    def __init__(self, key: bytes, sealed: bytearray, head_bytes: int) -> None:
        self.key = key
        self.sealed = sealed  # begins with room for the head
        self.giant = 0  # the number of its pieces in the store; 0: the body is here
        self.is_placed = False
        self._head_bytes = head_bytes

    def __repr__(self) -> str:
        return f"Enclosed({len(self.sealed)} bytes)"

    def pieces(self) -> Iterator[memoryview]:
        """Yield the body in the pieces in which the store is to have it."""
        body = memoryview(self.sealed)[self._head_bytes :]
        for at in range(0, len(body), STORED_BYTES):
            yield body[at : at + STORED_BYTES]

    def put_away(self, giant: int) -> None:
        """Let go of the body: it is in the store, in pieces under this number."""
        self.giant = giant
        self.sealed = bytearray(self._head_bytes)


def enclose(store_id: bytes, head_bytes: int, *parts: Bytes) -> Enclosed:
    """Seal the bytes of all parts, one behind the other, under a new key. For any thread."""
    key = secrets.token_bytes(KEY_BYTES)
    cipher = Cipher(AES(key), GCM(_NONCE)).encryptor()
    cipher.authenticate_additional_data(store_id)
    sealed = bytearray(head_bytes)
    for piece in pieces(*parts):
        sealed += cipher.update(piece)
        let_others_go_on()
    cipher.finalize()
    sealed += cipher.tag
    return Enclosed(key, sealed, head_bytes)


def disclose(key: bytes, store_id: bytes, body: memoryview) -> bytes:
    """Undo ``enclose``; ``body`` begins behind the head. For any thread.

    Raises:
        InvalidTag: a byte of it is another.
    """
    if len(body) < TAG_BYTES:
        raise InvalidTag
    cipher = Cipher(AES(key), GCM(_NONCE, bytes(body[-TAG_BYTES:]))).decryptor()
    cipher.authenticate_additional_data(store_id)
    opened = BytesIO()
    for piece in pieces(body[:-TAG_BYTES]):
        opened.write(cipher.update(piece))
        let_others_go_on()
    cipher.finalize()  # nothing of it leaves before this
    return opened.getvalue()
