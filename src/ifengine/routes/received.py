"""One committed message as a channel takes it up."""

from typing import NamedTuple

from ifengine.errors import SealError
from ifengine.hl7.header import Header
from ifengine.store.base import GuardVerdict, InboxRow
from ifengine.store.sealing import BlobKind, KeyRing


class Received(NamedTuple):
    """One committed message on its way to the steps. ``content`` None: it cannot be opened."""

    inbox_id: int
    received_us: int
    content: bytes | None
    verdict: GuardVerdict
    header: Header | None = None  # read at intake already; None: read from the store
    run: int = 0  # counts up when a parked message starts over
    listener: int = 0
    reason: str = ""  # why it can only be a dead letter, though nobody could be told

    def __repr__(self) -> str:
        return f"<Received {self.inbox_id}>"


def opened(ring: KeyRing, row: InboxRow) -> Received:
    """Return a message as the store has it."""
    try:
        content = ring.open(BlobKind.INBOX, row.inbox_id, 0, row.sealed)
    except SealError:
        content = None
    return Received(
        row.inbox_id,
        row.received_us,
        content,
        row.verdict,
        listener=row.listener,
        reason=row.reason,
    )
