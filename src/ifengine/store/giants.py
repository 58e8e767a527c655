"""Sealing and opening of giants, piece by piece, in whatever thread: nobody else waits for it.

A giant has a key of its own, used once, so that its body is sealed before anybody knows where it
will stand. The data key then seals that key, 32 bytes, for one place::

    version 1 | algorithm 3 | data key id 4 | nonce 12 | sealed key 32 + 16 | body | tag 16
"""

import secrets
from io import BytesIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from ifengine.pieces import Bytes, let_others_go_on, pieces

KEY_BYTES = 32
TAG_BYTES = 16
SEALED_KEY_BYTES = KEY_BYTES + TAG_BYTES
_NONCE = bytes(12)  # the key is used once


class Enclosed:
    """A sealed body and the key that opens it. The key stays in memory until its place is known."""

    __slots__ = ("key", "sealed")

    def __init__(self, key: bytes, sealed: bytearray) -> None:
        self.key = key
        self.sealed = sealed  # begins with room for the head

    def __repr__(self) -> str:
        return f"Enclosed({len(self.sealed)} bytes)"


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
    return Enclosed(key, sealed)


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
