"""Reading an outbox back from the store: what is stuck, what waits, and the bytes to send."""

from collections import Counter
from dataclasses import dataclass

from ifengine.errors import DamagedPageError, SealError, unchained
from ifengine.routes.counting import Uncounted
from ifengine.routes.lanes import Entry, EntryState
from ifengine.store.base import ExceptionRow, ExceptionState, OutboxRow, Reader
from ifengine.store.pages import MOST_PAGE_BYTES
from ifengine.store.sealing import BlobKind, KeyRing

KEY_BYTES = 8
ASIDE = "sender"  # stage of an exception that ends when the sender sends again

_STATES = {
    ExceptionState.RETRYING: EntryState.RETRYING,
    ExceptionState.IN_DOUBT: EntryState.IN_DOUBT,
    ExceptionState.BEHIND: EntryState.BEHIND,
    ExceptionState.HELD: EntryState.HELD,
    ExceptionState.DEAD_LETTER: EntryState.DEAD,
}


@dataclass(slots=True)
class Loaded:
    """One unsettled delivery from the store, and the state to enter it with."""

    entry: Entry
    state: EntryState
    due_us: int = 0
    is_aside: bool = False  # only its sender, or a person, sends it again: it holds nothing


def split_keys(row: OutboxRow) -> tuple[bytes, ...] | None:
    """Return the order keys of a row: None unordered, ``()`` without a key."""
    if not row.ordered:
        return None
    keys = row.keys
    return tuple(keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES))


def unseal_content(
    reader: Reader, ring: KeyRing, inbox_id: int, copy_id: int, *, with_name: bool = False
) -> bytes:
    """Return the bytes a delivery sends, or ``name NUL bytes`` for a file.

    Raises:
        SealError: they are gone or changed.
    """
    try:
        return _unsealed(reader, ring, inbox_id, copy_id, with_name)
    except DamagedPageError:
        raise unchained(SealError("the stored content cannot be read")) from None


def _unsealed(reader: Reader, ring: KeyRing, inbox_id: int, copy_id: int, with_name: bool) -> bytes:
    if copy_id:
        sealed = reader.copy(copy_id)
        if sealed is None:
            raise SealError("the stored copy is gone")
        return ring.open(BlobKind.COPY, copy_id, 0, sealed)
    if with_name:
        raise SealError("a file without a stored name")
    row = reader.inbox(inbox_id)
    if row is None or not row.sealed:
        raise SealError("the stored message is gone")
    return ring.open(BlobKind.INBOX, inbox_id, 0, row.sealed)


def load_stuck(reader: Reader, outbox: int, cursor: int) -> list[Loaded]:
    """Return exceptions whose place is at or before the cursor, in the order of their places.

    Those placed after it are met when the pages after the cursor are read.
    """
    found = []
    for row in reader.exceptions(outbox):
        delivery = reader.outbox_entry(outbox, row.seq)
        if delivery is not None and (delivery.place <= cursor or row.seq <= cursor):
            found.append(_loaded(reader, delivery, row, None))
    found.sort(key=lambda loaded: (loaded.entry.place, loaded.entry.seq))
    return found


def load_page(
    reader: Reader, ring: KeyRing, outbox: int, after: int, limit: int, files: set[int]
) -> tuple[int, list[Loaded]]:
    """Return the last seq read and the unsettled deliveries after a seq, with their content.

    Ends with the delivery that makes ``MOST_PAGE_BYTES``.
    """
    page: list[Loaded] = []
    size = 0
    for delivery in reader.outbox_after(outbox, after, limit):
        if size >= MOST_PAGE_BYTES:
            break
        after = delivery.seq
        if reader.outcome(outbox, delivery.seq) is not None:
            continue
        exception = reader.exception(outbox, delivery.seq)
        content = None
        if exception is None:
            try:
                content = unseal_content(
                    reader,
                    ring,
                    delivery.inbox_id,
                    delivery.copy_id,
                    with_name=delivery.destination in files,
                )
            except SealError:
                content = None  # it is asked for again when it is its turn, and dead-letters then
        size += len(content or b"")
        page.append(_loaded(reader, delivery, exception, content))
    return after, page


def _loaded(
    reader: Reader, delivery: OutboxRow, exception: ExceptionRow | None, content: bytes | None
) -> Loaded:
    try:  # its head only: a document stays where it is
        heads = reader.tally().inbox(delivery.inbox_id - 1, 1)
    except DamagedPageError:
        heads = ()  # whether its content can be sent is found in its turn
    received = heads[0] if heads and heads[0].inbox_id == delivery.inbox_id else None
    entry = Entry(
        seq=delivery.seq,
        place=delivery.place,
        inbox_id=delivery.inbox_id,
        run=delivery.run,
        channel=delivery.channel,
        destination=delivery.destination,
        copy_id=delivery.copy_id,
        keys=split_keys(delivery),
        at_us=delivery.at_us,
        received_us=received.received_us if received is not None else delivery.at_us,
        config_version=delivery.config_version,
        content=content,
    )
    if exception is None:
        return Loaded(entry, EntryState.WAITING)
    entry.refusals, entry.doubts = exception.refusals, exception.doubts
    entry.possible_duplicate = exception.possible_duplicate
    aside = exception.stage == ASIDE
    return Loaded(entry, _STATES[exception.state], exception.due_us, aside)


def load_one(reader: Reader, outbox: int, seq: int) -> Entry | None:
    """Return one unsettled delivery without its content; None where there is none."""
    delivery = reader.outbox_entry(outbox, seq)
    if delivery is None or reader.outcome(outbox, seq) is not None:
        return None
    return _loaded(reader, delivery, reader.exception(outbox, seq), None).entry


@dataclass(frozen=True, slots=True)
class Unsettled:
    """How many deliveries of a destination stand in a state; ``label`` is a dead letter's reason."""

    destination: int
    state: EntryState
    label: str
    count: int


def count_unsettled(
    reader: Reader, outbox: int, cursor: int, head: int
) -> tuple[list[Unsettled], Uncounted]:
    """Count what is not settled, and of what waits the first window; returns what is left to count.

    ``head`` is the highest seq; read once, at the start.
    """
    counts: Counter[tuple[int, EntryState, str]] = Counter()
    apart: dict[int, int] = {}
    for row in reader.exceptions(outbox):
        delivery = reader.outbox_entry(outbox, row.seq)
        if delivery is not None:
            apart[row.seq] = delivery.destination
            label = dead_label(row.stage, row.reason)
            counts[delivery.destination, _STATES[row.state], label] += 1
    for outcome in reader.outcomes_after(outbox, cursor):
        delivery = reader.outbox_entry(outbox, outcome.seq)
        if delivery is not None:
            apart[outcome.seq] = delivery.destination
    apart = {seq: destination for seq, destination in apart.items() if seq > cursor}
    waiting, left = Uncounted(outbox, cursor, head, apart).window(reader)
    for destination, count in waiting.items():
        counts[destination, EntryState.WAITING, ""] += count
    return [Unsettled(*key, count) for key, count in counts.items() if count], left


APPLICATION_REFUSED = "application refused"
_REASONS = (
    "answered AE", "answered AR", "answered CE", "answered CR", "no answer", "unreachable",
    APPLICATION_REFUSED,
)  # fmt: skip


def dead_label(stage: str, reason: str) -> str:
    """Return a dead letter's reason as a metric label, from a closed list."""
    if stage == "steps":
        return "steps"
    for known in _REASONS:
        if reason.startswith(known):
            return known.replace(" ", "_").lower()
    return "other"
