"""Dead and held deliveries as the store has them, and what their destination has, or gets, after them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.errors import EngineError
from ifengine.routes.outbox_loading import ASIDE, KEY_BYTES, unseal_content
from ifengine.routes.splitting import is_aside
from ifengine.store.base import CursorKind, ExceptionRow, ExceptionState, Fate, OutboxRow, Reader
from ifengine.store.sealing import BlobKind, KeyRing

PAGE = 2000
FOR_A_PERSON = frozenset({ExceptionState.DEAD_LETTER, ExceptionState.HELD})

Newest = Mapping[tuple[int, int], Mapping[bytes, int]]  # (outbox, destination) -> key -> inbox id


class Letter(NamedTuple):
    """Where a dead or held delivery lies."""

    outbox: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLetter:
    """One letter with all that a decision needs."""

    letter: Letter
    exception: ExceptionRow = field(repr=False)
    delivery: OutboxRow = field(repr=False)
    received_us: int
    content: bytes = field(repr=False)  # as received
    stored: bytes | None = field(repr=False)  # as it was to be sent; None: its steps failed
    runs: int
    was_refused: bool = False  # its sender was told no: nobody but a person sends it
    is_settled: bool = False  # ended so: it has an outcome, and no exception


class FoundLetters(NamedTuple):
    """The letters that are there, and what their destinations have newer, by key."""

    letters: Sequence[FoundLetter]
    sent: Newest  # accepted there
    leaving: Newest  # accepted there, or in its queue and about to leave


def find_letters(reader: Reader, ring: KeyRing, letters: Iterable[Letter]) -> FoundLetters:
    """Return what the store has of these letters; those that are settled by now are left out."""
    found = []
    first: dict[tuple[int, int], int] = {}
    for letter in dict.fromkeys(letters):
        item = _find(reader, ring, letter)
        if item is not None:
            found.append(item)
            where = (letter.outbox, item.delivery.destination)
            # one that was sent before it became a letter has its place there: others followed it
            began = min(item.delivery.place, letter.seq)
            first[where] = min(first.get(where, began), began)
    sent = {at: reader.newest_sent(at[0], at[1], seq) for at, seq in first.items()}
    leaving = {at: _leaving(reader, at, seq, sent[at]) for at, seq in first.items()}
    return FoundLetters(found, sent, leaving)


def _find(reader: Reader, ring: KeyRing, letter: Letter) -> FoundLetter | None:
    exception = reader.exception(letter.outbox, letter.seq)
    delivery = reader.outbox_entry(letter.outbox, letter.seq)
    settled = False
    if exception is None and delivery is not None:
        exception = _rejected(reader, delivery)
        settled = exception is not None
    if exception is None or delivery is None or exception.state not in FOR_A_PERSON:
        return None
    inbox = reader.inbox(delivery.inbox_id)
    if inbox is None:
        return None
    try:
        content = ring.open(BlobKind.INBOX, inbox.inbox_id, 0, inbox.sealed)
        stored = None
        # a part that was set aside was made by the steps before they held it
        if exception.stage != "steps" or is_aside(delivery.part):
            stored = unseal_content(reader, ring, delivery.inbox_id, delivery.copy_id)
    except EngineError:
        return None
    return FoundLetter(
        letter=letter,
        exception=exception,
        delivery=delivery,
        received_us=inbox.received_us,
        content=content,
        stored=stored,
        runs=max((p.run for p in reader.plans(delivery.inbox_id)), default=0),
        was_refused=settled or exception.stage == ASIDE,
        is_settled=settled,
    )


def _rejected(reader: Reader, delivery: OutboxRow) -> ExceptionRow | None:
    """Return a delivery whose sender was told no as if it were a dead letter; once."""
    outcome = reader.outcome(delivery.outbox, delivery.seq)
    if outcome is None or outcome.fate is not Fate.REJECTED:
        return None
    later = (plan for plan in reader.plans(delivery.inbox_id) if plan.run > delivery.run)
    if any(f.destination == delivery.destination for plan in later for f in plan.fates):
        return None  # it was sent again already
    return ExceptionRow(
        delivery.outbox,
        delivery.seq,
        ExceptionState.DEAD_LETTER,
        outcome.attempts,
        0,
        0,
        outcome.at_us,
        "delivery",
        "",
        outcome.reason,
        outcome.code,
        b"",
        delivery.config_version,
        outcome.possible_duplicate,
    )


def _leaving(
    reader: Reader, where: tuple[int, int], after_seq: int, sent: Mapping[bytes, int]
) -> Mapping[bytes, int]:
    """Return, per key, the newest message that was sent, or leaves before a replay that comes now."""
    outbox, destination = where
    newest = dict(sent)
    stuck = {row.seq: row.state for row in reader.exceptions(outbox)}
    cursor = reader.cursor(CursorKind.OUTBOX, outbox)
    behind_cursor = (reader.outbox_entry(outbox, seq) for seq in stuck if seq <= cursor)
    for row in (*behind_cursor, *_rows_after(reader, outbox, max(cursor, after_seq))):
        if row is None or row.seq <= after_seq or row.destination != destination:
            continue
        if stuck.get(row.seq) in FOR_A_PERSON:
            continue
        outcome = reader.outcome(outbox, row.seq)
        if outcome is not None and outcome.fate is not Fate.SENT:
            continue
        for at in range(0, len(row.keys), KEY_BYTES):
            key = row.keys[at : at + KEY_BYTES]
            newest[key] = max(newest.get(key, 0), row.inbox_id)
    return newest


def _rows_after(reader: Reader, outbox: int, seq: int) -> Iterable[OutboxRow]:
    while rows := reader.outbox_after(outbox, seq, PAGE):
        yield from rows
        seq = rows[-1].seq
