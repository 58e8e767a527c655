"""What a balance reads of a SQLite store. One statement a method; a snapshot holds several."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import apsw

from ifengine.store import sqlite_rows as rows
from ifengine.store.base import (
    CursorKind,
    ExceptionState,
    PlanRow,
    PurgedRow,
    TallyDelivery,
    TallyInbox,
    TallyPlace,
)
from ifengine.store.sqlite_damage import reads

_DELIVERY = "SELECT outbox, seq, inbox_id, run, destination, origin_seq FROM outbox"
_PLACE = (
    "SELECT {p}.outbox, {p}.seq, coalesce(o.inbox_id, 0), coalesce(o.destination, 0), e.fate,"
    " coalesce(e.superseded_by, 0), x.state FROM "
)
_PLACES = (
    _PLACE.format(p="o")
    + "outbox o LEFT JOIN outcome e USING (outbox, seq) LEFT JOIN exception x USING (outbox, seq)"
    " WHERE o.outbox = ? AND o.seq > ? AND o.seq <= ? ORDER BY o.seq LIMIT ?"
)
_ENDED = (
    _PLACE.format(p="e")
    + "outcome e LEFT JOIN outbox o USING (outbox, seq) LEFT JOIN exception x USING (outbox, seq)"
    " WHERE e.outbox = ? AND e.seq > ? ORDER BY e.seq"
)
_STUCK = (
    _PLACE.format(p="x")
    + "exception x LEFT JOIN outbox o USING (outbox, seq) LEFT JOIN outcome e USING (outbox, seq)"
    " ORDER BY x.outbox, x.seq"
)


@reads
class SqliteTally:
    """Satisfies ``store.tally.TallyRecords`` over a read-only connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._run = connection.cursor().execute

    def _all(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        return self._run(statement, values).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let every method see one state of the store: that of the first that reads."""
        self._run("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:  # a page that cannot be read ends it
                self._run("COMMIT")

    def inbox(self, after: int, limit: int) -> Sequence[TallyInbox]:
        """Return frames after an id."""
        found = self._all(
            "SELECT inbox_id, received_us, listener, channel, kind FROM inbox"
            " WHERE inbox_id > ? ORDER BY inbox_id LIMIT ?",
            (after, limit),
        )
        return [TallyInbox(a, b, c, d, rows.INBOX_KINDS[kind]) for a, b, c, d, kind in found]

    def newest(self) -> int:
        """Return the highest id in the inbox."""
        found: int = self._run("SELECT coalesce(max(inbox_id), 0) FROM inbox").get
        return found

    def plans(self, inbox_id: int) -> Sequence[PlanRow]:
        """Return every run over a message, oldest first."""
        found = self._all("SELECT * FROM plan WHERE inbox_id = ? ORDER BY run", (inbox_id,))
        return [rows.plan_row(row) for row in found]

    def first_plans(self, first: int, last: int) -> Sequence[PlanRow]:
        """Return the plans of run 0 over a range of messages."""
        found = self._all(
            "SELECT * FROM plan WHERE inbox_id BETWEEN ? AND ? AND run = 0 ORDER BY inbox_id",
            (first, last),
        )
        return [rows.plan_row(row) for row in found]

    def outboxes(self) -> Mapping[int, int]:
        """Return every outbox that holds a delivery or has a cursor, with its highest seq."""
        found: dict[int, int] = dict(
            self._all("SELECT number, 0 FROM cursor WHERE kind = ?", (CursorKind.OUTBOX,))
        )
        number = -1
        # from outbox to outbox along the key: the rows between are not read
        while True:
            place = self._all(
                "SELECT outbox FROM outbox WHERE outbox > ? ORDER BY outbox LIMIT 1", (number,)
            )
            if not place:
                return found
            number = place[0][0]
            found[number] = self._run("SELECT max(seq) FROM outbox WHERE outbox = ?", (number,)).get

    def deliveries(self, outbox: int, after: int, limit: int) -> Sequence[TallyDelivery]:
        """Return deliveries after a seq."""
        found = self._all(
            f"{_DELIVERY} WHERE outbox = ? AND seq > ? ORDER BY seq LIMIT ?", (outbox, after, limit)
        )
        return [TallyDelivery(*row) for row in found]

    def delivery(self, outbox: int, seq: int) -> TallyDelivery | None:
        """Return one delivery."""
        found = self._all(f"{_DELIVERY} WHERE outbox = ? AND seq = ?", (outbox, seq))
        return TallyDelivery(*found[0]) if found else None

    def places(self, outbox: int, after: int, through: int, limit: int) -> Sequence[TallyPlace]:
        """Return deliveries of a range and how each stands."""
        return [_place(row) for row in self._all(_PLACES, (outbox, after, through, limit))]

    def place(self, outbox: int, seq: int) -> TallyPlace:
        """Return one place and how it stands."""
        found = self.places(outbox, seq - 1, seq, 1)
        return found[0] if found else TallyPlace(outbox, seq, 0, 0, None, 0, None)

    def ended_after(self, outbox: int, seq: int) -> Sequence[TallyPlace]:
        """Return every outcome after a seq."""
        return [_place(row) for row in self._all(_ENDED, (outbox, seq))]

    def stuck(self) -> Sequence[TallyPlace]:
        """Return every exception."""
        return [_place(row) for row in self._all(_STUCK)]

    def parked(self) -> Sequence[tuple[int, bool]]:
        """Return every parked message, and whether a later run has decided about it."""
        found = self._all(
            "SELECT inbox_id, EXISTS (SELECT 1 FROM plan p WHERE p.inbox_id = k.inbox_id"
            " AND p.run > 0) FROM parked k ORDER BY inbox_id"
        )
        return [(inbox_id, bool(decided)) for inbox_id, decided in found]

    def cursors(self) -> Mapping[tuple[CursorKind, int], int]:
        """Return every cursor."""
        found = self._all("SELECT kind, number, position FROM cursor")
        return {(CursorKind(kind), number): position for kind, number, position in found}

    def purged(self) -> Sequence[PurgedRow]:
        """Return the ends of what was purged."""
        found = self._all("SELECT * FROM purged ORDER BY channel, destination, fate")
        return [PurgedRow(row[0], row[1], rows.FATES[row[2]], row[3]) for row in found]

    def purged_through(self) -> tuple[int, Mapping[int, int]]:
        """Return the highest numbers that were purged."""
        high = self._all("SELECT kind, number, value FROM high")
        inbox = max((value for kind, _, value in high if kind == rows.High.INBOX), default=0)
        return inbox, {number: value for kind, number, value in high if kind == rows.High.OUTBOX}

    def setting(self, key: str) -> str | None:
        """Return a setting."""
        found: str | None = self._run("SELECT value FROM setting WHERE key = ?", (key,)).get
        return found


def _place(row: tuple[Any, ...]) -> TallyPlace:
    outbox, seq, inbox_id, destination, fate, superseded_by, state = row
    return TallyPlace(
        outbox,
        seq,
        inbox_id,
        destination,
        None if fate is None else rows.FATES[fate],
        superseded_by,
        None if state is None else ExceptionState(state),
    )
