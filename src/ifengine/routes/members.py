"""The messages of a collection, read from the store, and what a run of a channel is told beside them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.message import Message
from ifengine.routes.channel import MessageContext
from ifengine.routes.collecting import Collection, ContentsNeededError, Member
from ifengine.routes.combining import CombineError
from ifengine.routes.parked_messages import ParkedMessages
from ifengine.routes.parts import Parts
from ifengine.routes.received import Received, opened
from ifengine.store.base import GuardVerdict, Reader
from ifengine.store.sealing import KeyRing
from ifengine.transforms.memory import Key, Reply

MOST_BYTES = 64 * 1024 * 1024  # of all messages of one collection: they are in memory at once
_TOO_LARGE = f"the messages of one collection are larger than {MOST_BYTES // 1024**2} MB"

CharsetOf = Callable[[int], CharsetPolicy]  # by listener


def read_members(reader: Reader, ring: KeyRing, inbox_ids: Iterable[int]) -> dict[int, Received]:
    """Return messages by number. One that is gone has no content; too many bytes, a reason."""
    found: dict[int, Received] = {}
    size = 0
    for inbox_id in inbox_ids:
        row = reader.inbox(inbox_id)
        if row is None:
            continue
        size += row.size
        one = opened(ring, row)
        found[inbox_id] = (
            one if size <= MOST_BYTES else one._replace(content=None, reason=_TOO_LARGE)
        )
    return found


class ReadCollection(Collection):
    """A collection of which some messages were read. Without ``parked`` nothing waits: a replay."""

    def __init__(
        self,
        inbox_id: int,
        contents: Mapping[int, Received],
        charset_of: CharsetOf,
        parked: ParkedMessages | None = None,
    ) -> None:
        self._inbox_id = inbox_id
        self._contents = contents
        self._charset_of = charset_of
        self._parked = parked

    def under(self, key: Key) -> Sequence[Member]:
        """Return the others that wait under a key, oldest first."""
        if self._parked is None:
            return ()
        return [m for m in self._parked.members(key) if m.inbox_id != self._inbox_id]

    def messages(self, inbox_ids: Sequence[int]) -> Sequence[Message | None]:
        """Return messages as they were received.

        Raises:
            ContentsNeededError: they are not read yet.
            CombineError: they are too large together.
            MessageError: one of them cannot be read.
        """
        if not all(inbox_id in self._contents for inbox_id in inbox_ids):
            raise ContentsNeededError(inbox_ids)
        return [self._message(self._contents[inbox_id]) for inbox_id in inbox_ids]

    def _message(self, received: Received) -> Message | None:
        if received.reason == _TOO_LARGE:
            raise CombineError(_TOO_LARGE)
        if received.content is None:
            return None
        return Message.parse(received.content, charset=self._charset_of(received.listener))


async def read_for(parts: Parts, inbox_ids: Sequence[int]) -> dict[int, Received]:
    """Read messages of a collection; what is not kept any more is there without content."""
    ring = parts.ring
    found = await parts.read(lambda reader: read_members(reader, ring, inbox_ids))
    return {i: found[i] if i in found else _gone(i) for i in inbox_ids}


def _gone(inbox_id: int) -> Received:
    return Received(inbox_id, 0, None, GuardVerdict.NEW)


def context_of(
    parts: Parts,
    parked: ParkedMessages,
    received: Received,
    replies: Mapping[int, Reply],
    *,
    sender_waits: bool,
    collection: Collection,
) -> MessageContext:
    """Return what the steps may know of a message beside its content."""
    inbox_id, memories = received.inbox_id, parts.memories
    retired = parts.retired or None  # an empty crosswalk counts as none: nobody pays for it
    waits = parked.parking.get(inbox_id) if received.run else None
    at_us = received.received_us
    now_us = parts.steady.of(inbox_id, at_us)
    return MessageContext(
        str(inbox_id),
        at_us,
        None if memories is None else memories.scratch(inbox_id, now_us, at_us=at_us),
        replies,
        sender_waits=sender_waits,
        nobody_retired=retired is None and parts.retired is not None,
        waited_out=waits is not None and waits.waited_out,
        released=waits is not None and waits.released,
        waits_behind=partial(parked.is_ahead, inbox_id) if len(parked.parking) else _never,
        alike=None if retired is None else retired.alike,
        onward=None if retired is None else retired.onward,
        collection=collection,
    )


def _never(key: Key) -> bool:
    return False
