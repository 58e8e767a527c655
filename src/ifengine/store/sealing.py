"""Sealing of content: AES-256-GCM under data keys, which a key-encryption key wraps. Pure.

Sealed form, version 1, 34 bytes longer than the plaintext::

    version 1 | algorithm 1 | key id 4 | nonce 12 | ciphertext | tag 16

Of a megabyte and more the body has a key of its own, and that key is what is sealed here: see
``store/giants.py``. Its body may lie in pieces elsewhere (ADR 0035); what is left here is its head.

The associated data is header | store id | kind | a | b, so that no sealed value opens in another
row, column or store. Nonce = 4 random bytes of this key and process + an 8-byte counter: unique
because a data key seals in the process that made it and in no other.
"""

import hashlib
import itertools
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ifengine.errors import SealError, unchained
from ifengine.pieces import GIANT_BYTES
from ifengine.store.base import DataKeyRow
from ifengine.store.giants import SEALED_KEY_BYTES, Enclosed, disclose, enclose

VERSION = 1
ALGORITHM_DATA_KEY = 1  # sealed by the data key itself
ALGORITHM_OWN_KEY = 3  # sealed by a key in front of it; 2 is kept free for keys in rows (ADR 0007)
HEADER_BYTES = 18
OVERHEAD_BYTES = HEADER_BYTES + 16
_GIANT_HEAD_BYTES = HEADER_BYTES + SEALED_KEY_BYTES
KEY_BYTES = 32
_BLOCK_BYTES = 64  # of SHA-256: a key is as long as half a block
TAG_BYTES = 16
MOST_SEALS_PER_KEY = 2**28
KEY_AGE_US = 24 * 3600 * 1_000_000
_LAST_SEAL = 2**30  # past this a key refuses; the engine has changed it long before

CONTENT = "content"
INDEX = "index"

_PLACE = struct.Struct(">BQQ").pack
_KEY_ID = struct.Struct(">I")
_LENGTH = struct.Struct(">I").pack
_WRAP_CONTEXT = struct.Struct(">I").pack


class BlobKind(IntEnum):
    """Which column a sealed value stands in; part of its associated data."""

    INBOX = 1
    COPY = 2
    DETAIL = 3
    AUDIT = 4
    ATTEMPT = 5
    CONFIG = 6
    STATE = 7  # of numbers (space, first 8 bytes of the key)
    PARKED = 8  # (channel, inbox id)
    DOCUMENT = 9  # two numbers made of store and file name


class KekProvider(Protocol):
    """Keeps the key-encryption key; the key itself need not leave it."""

    @property
    def kek_id(self) -> str:
        """Return the fingerprint of the key, 8 hex digits."""
        ...

    @property
    def where(self) -> str:
        """Return where the key is kept, for error texts."""
        ...

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return a data key encrypted and bound to ``context``."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the data key.

        Raises:
            SealError: another key or context wrapped it, or it was changed.
        """
        ...


def derive(key: bytes, purpose: str) -> bytes:
    """Return a 32-byte key for one purpose, HKDF-SHA-256 (RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(key)


class _ContentKey:
    """One data key in memory. Only the one made in this process, the current one, seals."""

    __slots__ = ("cipher", "counter", "headers", "nonce", "row", "used")

    def __init__(self, row: DataKeyRow, key: bytes) -> None:
        self.row = row
        self.cipher = AESGCM(key)
        self.nonce = secrets.token_bytes(4)
        self.headers = {
            algorithm: bytes((VERSION, algorithm)) + _KEY_ID.pack(row.key_id) + self.nonce
            for algorithm in (ALGORITHM_DATA_KEY, ALGORITHM_OWN_KEY)
        }
        self.counter: Iterator[int] = itertools.count(1)  # next() is atomic: threads may share it
        self.used = 0

    def __repr__(self) -> str:
        return f"_ContentKey(key_id={self.row.key_id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatus:
    """One data key as ``keys status`` shows it."""

    key_id: int
    purpose: str
    kek_id: str
    created_us: int
    seals: int  # in this process
    current: bool


class RingStatus(NamedTuple):
    """The key ring as ``keys status`` shows it."""

    kek_id: str
    kek_where: str
    keys: tuple[KeyStatus, ...]


class _Keyed:
    """HMAC-SHA-256 (RFC 2104) under one key, which is taken in once and not for every value."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def tag(self, value: bytes) -> bytes:
        """Return the first 16 bytes. Threads may share it: copies alone are changed."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(value)
        outer.update(inner.digest())
        return outer.digest()[:TAG_BYTES]


class KeyRing:
    """The data keys of one store, unwrapped, and what is derived from them."""

    def __init__(self, store_id: bytes, rows: Sequence[DataKeyRow], kek: KekProvider) -> None:
        """Unwrap all keys of a store.

        Raises:
            SealError: the key-encryption key is not the one that wrapped them.
        """
        self._store_id = store_id
        self._kek = kek
        self._content: dict[int, _ContentKey] = {}
        self._index: tuple[DataKeyRow, bytes] | None = None
        self._derived: dict[str, _Keyed] = {}
        self._current: _ContentKey | None = None
        for row in rows:
            self._admit(row, self._unwrap(row))

    def __repr__(self) -> str:
        return f"KeyRing(kek_id={self._kek.kek_id!r}, keys={len(self._content)})"

    # --- keys ---------------------------------------------------------------------------------

    def start_keys(self, next_key_id: int, at_us: int) -> list[DataKeyRow]:
        """Make the keys a process needs before it seals: a content key and, once, the index key.

        The caller commits the rows before or with the first content sealed under them.
        """
        rows = []
        if self._index is None:
            rows.append(self.new_index_key(next_key_id, at_us))
            next_key_id += 1
        rows.append(self.new_content_key(next_key_id, at_us))
        return rows

    def new_content_key(self, key_id: int, at_us: int) -> DataKeyRow:
        """Make the data key that seals from now on; the caller commits its row with the first use."""
        key = secrets.token_bytes(KEY_BYTES)
        row = self._wrap(key_id, CONTENT, key, at_us)
        self._admit(row, key)
        self._current = self._content[key_id]
        return row

    def new_index_key(self, key_id: int, at_us: int) -> DataKeyRow:
        """Make the key of tags, digests and MACs. Once in the life of a store."""
        if self._index is not None:
            raise SealError("the store has an index key already")
        key = secrets.token_bytes(KEY_BYTES)
        row = self._wrap(key_id, INDEX, key, at_us)
        self._admit(row, key)
        return row

    def needs_new_key(self, now_us: int) -> bool:
        """Return whether sealing should move to a new data key: none yet, too old, used too often."""
        current = self._current
        if current is None:
            return True
        return (
            current.used >= MOST_SEALS_PER_KEY or abs(now_us - current.row.created_us) >= KEY_AGE_US
        )

    def status(self) -> RingStatus:
        """Return which keys there are, without the keys."""
        rows = [(key.row, key.used, key is self._current) for key in self._content.values()]
        if self._index is not None:
            rows.append((self._index[0], 0, True))
        keys = tuple(
            KeyStatus(
                key_id=row.key_id,
                purpose=row.purpose,
                kek_id=row.kek_id,
                created_us=row.created_us,
                seals=used,
                current=current,
            )
            for row, used, current in sorted(rows, key=lambda entry: entry[0].key_id)
        )
        return RingStatus(self._kek.kek_id, self._kek.where, keys)

    def _context(self, key_id: int, purpose: str) -> bytes:
        parts = (b"ifengine key 1", self._store_id, _WRAP_CONTEXT(key_id), purpose.encode())
        kek = self._kek.kek_id.encode()
        return b"".join(_LENGTH(len(part)) + part for part in (*parts, kek))

    def _wrap(self, key_id: int, purpose: str, key: bytes, at_us: int) -> DataKeyRow:
        if key_id in self._content or (self._index and self._index[0].key_id == key_id):
            raise SealError(f"data key {key_id} exists already")
        wrapped = self._kek.wrap(key, self._context(key_id, purpose))
        return DataKeyRow(key_id, self._kek.kek_id, purpose, wrapped, at_us)

    def _unwrap(self, row: DataKeyRow) -> bytes:
        if row.kek_id != self._kek.kek_id:
            raise SealError(
                f"data key {row.key_id} was wrapped by key-encryption key {row.kek_id}; "
                f"{self._kek.where} holds {self._kek.kek_id}",
                hint="give the engine the key file this store was made with",
            )
        try:
            return self._kek.unwrap(row.wrapped, self._context(row.key_id, row.purpose))
        except SealError:
            raise unchained(
                SealError(
                    f"data key {row.key_id} does not open with key-encryption key {row.kek_id} "
                    f"of {self._kek.where}: its row was changed or comes from another store"
                )
            ) from None

    def _admit(self, row: DataKeyRow, key: bytes) -> None:
        if row.purpose == CONTENT:
            self._content[row.key_id] = _ContentKey(row, key)
        elif row.purpose == INDEX and self._index is None:
            self._index = (row, key)
        else:
            raise SealError(f"data key {row.key_id} has a purpose this engine does not know")

    # --- content ------------------------------------------------------------------------------

    def seal(self, kind: BlobKind, a: int, b: int, plaintext: bytes) -> bytes:
        """Encrypt content for one place: column ``kind`` of the row with numbers ``a``, ``b``.

        Raises:
            SealError: no data key was made in this process, or it is used up.
        """
        if len(plaintext) >= GIANT_BYTES:
            return bytes(self.place(kind, a, b, self.enclose(plaintext)))
        header, cipher = self._next_header(ALGORITHM_DATA_KEY)
        return header + cipher.encrypt(
            header[6:], plaintext, header + self._store_id + _PLACE(kind, a, b)
        )

    def enclose(self, *parts: bytes) -> Enclosed:
        """Encrypt what is large before its place is known. For any thread, and slow on purpose."""
        return enclose(self._store_id, _GIANT_HEAD_BYTES, *parts)

    def place(self, kind: BlobKind, a: int, b: int, body: Enclosed) -> bytearray:
        """Bind what ``enclose`` made to one place, once; return it sealed.

        Where its body was put away, that is its head.

        Raises:
            SealError: as ``seal``.
        """
        header, cipher = self._next_header(ALGORITHM_OWN_KEY)
        sealed = body.sealed
        body.is_placed = True
        sealed[:_GIANT_HEAD_BYTES] = header + cipher.encrypt(
            header[6:], body.key, header + self._store_id + _PLACE(kind, a, b)
        )
        return sealed

    def _next_header(self, algorithm: int) -> tuple[bytes, AESGCM]:
        """Return the header of the next sealed value, with a nonce that was never used, and its cipher."""
        current = self._current
        if current is None:
            raise SealError("no data key was made in this process")
        count = next(current.counter)
        if count > _LAST_SEAL:
            raise SealError(f"data key {current.row.key_id} is used up")
        current.used = count
        return current.headers[algorithm] + count.to_bytes(8, "big"), current.cipher

    def open(self, kind: BlobKind, a: int, b: int, sealed: bytes) -> bytes:
        """Decrypt what :meth:`seal` made for the same place.

        Raises:
            SealError: any byte, the place or the store is another, or the key is gone.
        """
        place = f"{kind.name.lower()} {a}" if b == 0 else f"{kind.name.lower()} {a}/{b}"
        if len(sealed) < OVERHEAD_BYTES:
            raise SealError(f"{place}: is not sealed content")
        header = bytes(sealed[:HEADER_BYTES])
        if header[0] != VERSION or header[1] not in (ALGORITHM_DATA_KEY, ALGORITHM_OWN_KEY):
            raise SealError(f"{place}: is sealed in a form this engine does not know")
        key_id = _KEY_ID.unpack_from(header, 2)[0]
        key = self._content.get(key_id)
        if key is None:
            raise SealError(f"{place}: data key {key_id} is not in the store")
        context = header + self._store_id + _PLACE(kind, a, b)
        try:
            if header[1] == ALGORITHM_DATA_KEY:
                return key.cipher.decrypt(header[6:], sealed[HEADER_BYTES:], context)
            head, body = sealed[HEADER_BYTES:_GIANT_HEAD_BYTES], memoryview(sealed)
            own_key = key.cipher.decrypt(header[6:], head, context)
            return disclose(own_key, self._store_id, body[_GIANT_HEAD_BYTES:])
        except InvalidTag:
            raise unchained(
                SealError(f"{place}: does not open with data key {key_id}; it was changed or moved")
            ) from None

    # --- keyed hashes -------------------------------------------------------------------------

    def tag(self, purpose: str, *parts: bytes) -> bytes:
        """Return the blind index entry of a value: 16 bytes, equal for equal parts.

        Every purpose has a key of its own; parts carry their length, so that none can shift.
        """
        keyed = self._derived.get(purpose) or self._derive(purpose)
        text = b""
        for part in parts:
            text += _LENGTH(len(part)) + part
        return keyed.tag(text)

    def digest(self, content: bytes) -> bytes:
        """Return the keyed digest of a message for the retransmission guard, 16 bytes."""
        return (self._derived.get("digest") or self._derive("digest")).tag(content)

    def audit_mac(self, seq: int, digest: bytes) -> bytes:
        """Return the proof that the audit log ended with this record, 16 bytes."""
        return self.tag("audit_head", seq.to_bytes(8, "big"), digest)

    def tagger(self, purpose: str) -> Callable[[bytes], bytes]:
        """Return ``tag`` of one value for one purpose, with the key looked up once."""
        keyed = self._derived.get(purpose) or self._derive(purpose)

        def one(value: bytes) -> bytes:
            return keyed.tag(_LENGTH(len(value)) + value)

        return one

    def _derive(self, purpose: str) -> _Keyed:
        if self._index is None:
            raise SealError("the store has no index key")
        keyed = _Keyed(derive(self._index[1], f"ifengine tag 1|{purpose}"))
        self._derived[purpose] = keyed
        return keyed


def is_head(sealed: bytes | bytearray) -> bool:
    """Return whether this is the head of a giant whose body lies in pieces."""
    return len(sealed) == _GIANT_HEAD_BYTES and sealed[1] == ALGORITHM_OWN_KEY


def fingerprint(key: bytes) -> str:
    """Return what names a key without revealing it: 8 hex digits."""
    return hashlib.sha256(derive(key, "ifengine kek id 1")).hexdigest()[:8]
