"""What steps remember, over the store: what is committed, and on top of it what is on its way there.

Used on the event loop: a look-up is one point query on a connection of its own, or none where the
key was written a moment ago. Each query sees the newest commit and holds nothing open afterwards,
so that the log can be moved at any time.
"""

import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeVar

from ifengine.errors import SealError
from ifengine.store.base import Batch, Reader, StateRow
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.transforms.memory import Change, Key, Remembered, Scratch, Space

T = TypeVar("T")

_LENGTH = struct.Struct(">I")
_SURROGATES = "surrogatepass"  # undecodable bytes of a message must be a key like any other


class _Written(NamedTuple):
    """A change that is not known to be committed. The number tells it from a later one."""

    number: int
    remembered: Remembered | None


class Memories:
    """The memory of steps of one engine. Satisfies ``transforms.memory.Lookup``.

    Absence is not cached: most keys are asked for once, and a cache would have to hear of every
    write to stay true.
    """

    def __init__(self, ring: KeyRing, reader: Reader) -> None:
        """Remember over a reader that nobody else uses; the caller closes it."""
        self._ring = ring
        self._reader = reader
        self._written: dict[bytes, _Written] = {}  # by tag
        self._number = 0

    def __repr__(self) -> str:
        return f"<Memories, {len(self._written)} on their way>"

    def tag(self, space: Space, key: Key) -> bytes:
        """Return under what a key stands in the store: 16 bytes, equal for equal space and key."""
        return self._ring.tag("state", b"%d" % space, _packed(key))

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        """Return what is remembered under a key, run out or not.

        Raises:
            SealError: what stands there was changed or moved.
        """
        packed = _packed(key)
        tag = self._ring.tag("state", b"%d" % space, packed)
        written = self._written.get(tag)
        if written is not None:
            return written.remembered
        row = self._reader.state(space, tag)
        return None if row is None else self._opened(row, packed)

    def open(self, row: StateRow) -> tuple[Key, Remembered]:
        """Return the key and the value of a row, for those who list a space.

        Raises:
            SealError: it was changed or moved.
        """
        content = self._content(row)
        key: list[str] = []
        at = _LENGTH.size
        for _ in range(_LENGTH.unpack_from(content)[0]):
            end = at + _LENGTH.size + _LENGTH.unpack_from(content, at)[0]
            key.append(content[at + _LENGTH.size : end].decode("utf-8", _SURROGATES))
            at = end
        return tuple(key), _remembered(row, content[at:])

    def look(self, find: Callable[[Reader], T]) -> T:
        """Return what a few point queries find in the newest commit. For rare occasions: the loop waits."""
        return find(self._reader)

    def scratch(
        self, message: int, now_us: int, *, at_us: int = 0, is_replay: bool = False
    ) -> Scratch:
        """Return what one message sees and leaves; ``now_us`` is its time of receipt, steady.

        ``at_us`` is what the wall clock showed then, for people; 0: the same.
        """
        return Scratch(message, now_us, self, is_replay, at_us)

    def write(self, batch: Batch, changes: Iterable[Change]) -> None:
        """Add changes to a batch that is on its way to the store. From now on every look-up sees them.

        Raises:
            SealError: no data key was made in this process, or it is used up.
        """
        written: list[tuple[bytes, int]] = []
        for space, key, remembered in changes:
            packed = _packed(key)
            tag = self._ring.tag("state", b"%d" % space, packed)
            if remembered is None:
                batch.states.append((int(space), tag))
            else:
                batch.states.append(self._sealed(space, tag, packed, remembered))
            self._number += 1
            self._written[tag] = _Written(self._number, remembered)
            written.append((tag, self._number))
        if written:
            batch.done.append(partial(self._committed, written))

    def forget_ended(self, batch: Batch, found: Iterable[tuple[int, bytes]], before_us: int) -> int:
        """Add the removal of what ran out before a time; return of how many.

        What was found may have been renewed since: each is looked at again.
        """
        count = 0
        for space, tag in found:
            if tag in self._written:
                continue
            row = self._reader.state(space, tag)
            if row is not None and 0 < row.until_us < before_us:
                batch.states.append((space, tag))
                count += 1
        return count

    # --- inside -------------------------------------------------------------------------------

    def _committed(self, written: list[tuple[bytes, int]]) -> None:
        for tag, number in written:
            found = self._written.get(tag)
            if found is not None and found.number == number:
                del self._written[tag]

    def _sealed(self, space: Space, tag: bytes, packed: bytes, remembered: Remembered) -> StateRow:
        value, message, at_us, until_us = remembered
        content = packed + value.encode("utf-8", _SURROGATES)
        sealed = self._ring.seal(BlobKind.STATE, space, _place(tag), content)
        return StateRow(int(space), tag, message, at_us, until_us, sealed)

    def _opened(self, row: StateRow, packed: bytes) -> Remembered:
        content = self._content(row)
        # the seal binds half of the tag; the key inside binds the rest
        if not content.startswith(packed):
            raise SealError(f"state of space {row.space}: does not belong to its key")
        return _remembered(row, content[len(packed) :])

    def _content(self, row: StateRow) -> bytes:
        return self._ring.open(BlobKind.STATE, row.space, _place(row.key), row.sealed)


def _place(tag: bytes) -> int:
    return int.from_bytes(tag[:8], "big")


def _packed(key: Key) -> bytes:
    """Return a key as bytes that no other key begins with: how many parts, each with its length."""
    parts = [_LENGTH.pack(len(key))]
    for part in key:
        text = part.encode("utf-8", _SURROGATES)
        parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


def _remembered(row: StateRow, value: bytes) -> Remembered:
    return Remembered(value.decode("utf-8", _SURROGATES), row.inbox_id, row.at_us, row.until_us)
