"""Finding messages: by what is cheap to look at first, and never in one long read.

Three ways in: the blind indexes (control id, patient), what is not settled yet, the inbox from
its newest entry back. Each gives inbox ids, newest first; the rest of the filters follow.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from ifengine.admin.records import Look, MessageRecord
from ifengine.admin.request import Params, usage
from ifengine.admin.runtime import Runtime
from ifengine.routes.indexer import control_tag, patient_tag, tags_of
from ifengine.store.base import (
    CursorKind,
    Fate,
    InboxFilter,
    InboxKind,
    InboxRow,
    NameKind,
    Reader,
)

PAGE = 200
MOST_TAGGED = 100_000
_SCAN_ROWS = 500
_OUTBOX_ROWS = 2000

STATES = {fate.name.lower(): fate for fate in Fate}
_BY_EXCEPTION = frozenset({Fate.RETRYING, Fate.IN_DOUBT, Fate.HELD, Fate.DEAD_LETTER})
_OPEN = _BY_EXCEPTION | {Fate.RECEIVED, Fate.QUEUED}
_KINDS: dict[Fate, tuple[InboxKind, ...]] = {
    Fate.REJECTED: (InboxKind.REJECTED, InboxKind.MESSAGE),
    Fate.UNROUTED: (InboxKind.UNROUTED, InboxKind.MESSAGE),
    Fate.DROPPED: (InboxKind.DUPLICATE, InboxKind.ACKNOWLEDGMENT, InboxKind.MESSAGE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages are meant. Empty values admit everything."""

    channel: str = ""
    destination: str = ""
    states: frozenset[Fate] = frozenset()
    since_us: int = 0
    until_us: int = 0
    before_id: int = 0
    type: str = ""
    control_id: str = field(default="", repr=False)
    patient: str = field(default="", repr=False)

    def kinds(self) -> tuple[InboxKind, ...]:
        """Return the kinds of inbox rows that can have one of the states, empty for all."""
        if not self.states:
            return ()
        wanted = {kind for state in self.states for kind in _KINDS.get(state, (InboxKind.MESSAGE,))}
        return tuple(sorted(wanted))

    def admits_row(self, row: InboxRow, channel: int) -> bool:
        """Return whether what the row alone says fits."""
        return (
            (not self.channel or row.channel == channel)
            and (not self.since_us or row.received_us >= self.since_us)
            and (not self.until_us or row.received_us < self.until_us)
            and (not self.before_id or row.inbox_id < self.before_id)
            and (not self.states or row.kind in self.kinds())
        )

    def admits(self, record: MessageRecord) -> bool:
        """Return whether type and state fit; with a destination, the state is the one there."""
        if self.type and not _type_fits(self.type, record.type):
            return False
        states = {record.fate}
        if self.destination:
            states = {d.state.fate for d in record.destinations if d.name == self.destination}
        return bool(states & self.states) if self.states else bool(states)


def read_filter(params: Params) -> MessageFilter:
    """Return the filter a request asks for."""
    states = params.texts("state")
    unknown = [state for state in states if state not in STATES]
    if unknown:
        raise usage("state: is not a state", f"states are {' '.join(STATES)}")
    return MessageFilter(
        channel=params.text("channel"),
        destination=params.text("dest"),
        states=frozenset(STATES[state] for state in states),
        since_us=params.moment("since_us"),
        until_us=params.moment("until_us"),
        before_id=params.number("before"),
        type=params.text("type"),
        control_id=params.text("control_id"),
        patient=params.text("patient"),
    )


def _type_fits(pattern: str, found: str | None) -> bool:
    if found is None:
        return False
    code, _, event = pattern.partition("^")
    has_code, _, has_event = found.partition("^")
    return code in ("*", has_code) and (event in ("", "*") or event == has_event)


async def matching(
    runtime: Runtime, look: Look, where: MessageFilter
) -> AsyncIterator[MessageRecord]:
    """Yield the messages a filter admits, newest first, read page by page."""
    channel = runtime.names.number(NameKind.CHANNEL, where.channel) if where.channel else 0
    if where.channel and not channel:
        return
    pages = _by_ids if _narrows(where) else _newest
    async for rows in pages(runtime, look, where, channel):

        def records(reader: Reader, rows: Sequence[InboxRow] = rows) -> list[MessageRecord]:
            return [look.record(reader, row) for row in rows]

        for record in await runtime.read(records):
            if where.admits(record):
                yield record


def _narrows(where: MessageFilter) -> bool:
    searched = bool(where.control_id or where.patient)
    return searched or (bool(where.states) and where.states <= _OPEN)


async def _newest(
    runtime: Runtime, look: Look, where: MessageFilter, channel: int
) -> AsyncIterator[Sequence[InboxRow]]:
    before = where.before_id
    while True:
        asked = InboxFilter(channel, where.since_us, where.until_us, before, where.kinds())
        rows = await runtime.read(lambda reader, asked=asked: reader.inbox_newest(asked, PAGE))  # type: ignore[misc]
        if rows:
            yield rows
        if len(rows) < PAGE:
            return
        before = rows[-1].inbox_id


async def _by_ids(
    runtime: Runtime, look: Look, where: MessageFilter, channel: int
) -> AsyncIterator[Sequence[InboxRow]]:
    if where.control_id or where.patient:
        ids = await _identified(runtime, look, where)
    else:
        ids = await runtime.read(lambda reader: _open_ids(reader, where.states))
    ordered = sorted(ids, reverse=True)
    for at in range(0, len(ordered), PAGE):
        page = ordered[at : at + PAGE]

        def rows(reader: Reader, page: list[int] = page) -> list[InboxRow]:
            found = (reader.inbox(inbox_id) for inbox_id in page)
            return [row for row in found if row is not None and where.admits_row(row, channel)]

        yield await runtime.read(rows)


# --- what is not settled ------------------------------------------------------------------------


def _open_ids(reader: Reader, states: frozenset[Fate]) -> set[int]:
    ids: set[int] = set()
    for number, kind, _ in reader.names():
        if kind is NameKind.OUTBOX:
            for row in reader.exceptions(number):
                entry = reader.outbox_entry(number, row.seq)
                if entry is not None:
                    ids.add(entry.inbox_id)
            if Fate.QUEUED in states:
                ids.update(_past_cursor(reader, number))
        elif kind is NameKind.CHANNEL and Fate.RECEIVED in states:
            ids.update(_unplanned(reader, number))
    return ids


def _past_cursor(reader: Reader, outbox: int) -> Iterator[int]:
    seq = reader.cursor(CursorKind.OUTBOX, outbox)
    while entries := reader.outbox_after(outbox, seq, _OUTBOX_ROWS):
        yield from (entry.inbox_id for entry in entries)
        seq = entries[-1].seq


def _unplanned(reader: Reader, channel: int) -> Iterator[int]:
    newest = reader.counters().inbox_id
    after = reader.cursor(CursorKind.CHANNEL, channel)
    while rows := reader.inbox_after(channel, after, _SCAN_ROWS, scan_to=newest):
        yield from (row.inbox_id for row in rows)
        after = rows[-1].inbox_id


# --- blind indexes --------------------------------------------------------------------------------


async def _identified(runtime: Runtime, look: Look, where: MessageFilter) -> set[int]:
    found: list[set[int]] = []
    ring = runtime.ring
    control_id = where.control_id.encode("utf-8", "surrogateescape")
    for wanted, tag in (
        (where.control_id, control_tag(ring, control_id)),
        (where.patient, patient_tag(ring, where.patient)),
    ):
        if wanted:
            ids = set(await runtime.read(lambda reader, tag=tag: reader.tagged(tag, MOST_TAGGED)))  # type: ignore[misc]
            found.append(ids | await _unindexed(runtime, look, tag))
    return set.intersection(*found)


async def _unindexed(runtime: Runtime, look: Look, tag: bytes) -> set[int]:
    """Return which of the newest messages, not yet in the index, would stand under a tag."""
    after = await runtime.read(lambda reader: reader.cursor(CursorKind.INDEXER, 0))
    found: set[int] = set()
    while True:

        def scan(reader: Reader, after: int = after) -> tuple[list[int], int]:
            rows = reader.inbox_range(after, _SCAN_ROWS)
            bodies = ((row.inbox_id, look.body(row)) for row in rows)
            ids = [i for i, body in bodies if body and tag in tags_of(runtime.ring, body)]
            return ids, rows[-1].inbox_id if rows else 0

        ids, last = await runtime.read(scan)
        found.update(ids)
        if not last:
            return found
        after = last
