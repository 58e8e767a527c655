"""What a balance reads of a memory store."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice

from ifengine.store.base import (
    CursorKind,
    OutboxRow,
    PlanRow,
    PurgedRow,
    TallyDelivery,
    TallyInbox,
    TallyPlace,
)
from ifengine.store.memory_contents import Contents


class MemoryTally:
    """Satisfies ``store.tally.TallyRecords``."""

    def __init__(self, contents: Contents) -> None:
        self._kept = contents

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Keep the writer out."""
        with self._kept.lock:
            yield

    def inbox(self, after: int, limit: int) -> Sequence[TallyInbox]:
        """Return frames after an id."""
        with self._kept.lock:
            return [
                TallyInbox(row.inbox_id, row.received_us, row.listener, row.channel, row.kind)
                for row in islice(self._kept.inbox.after(after), limit)
            ]

    def newest(self) -> int:
        """Return the highest id in the inbox."""
        with self._kept.lock:
            return max(self._kept.inbox.rows, default=0)

    def plans(self, inbox_id: int) -> Sequence[PlanRow]:
        """Return every run over a message, oldest first."""
        with self._kept.lock:
            runs = self._kept.plans.get(inbox_id, {})
            return [runs[run] for run in sorted(runs)]

    def first_plans(self, first: int, last: int) -> Sequence[PlanRow]:
        """Return the plans of run 0 over a range of messages."""
        with self._kept.lock:
            plans = self._kept.plans
            ids = sorted(i for i in plans if first <= i <= last)
            return [plans[i][0] for i in ids if 0 in plans[i]]

    def outboxes(self) -> Mapping[int, int]:
        """Return every outbox that holds a delivery or has a cursor, with its highest seq."""
        with self._kept.lock:
            found = {n: 0 for kind, n in self._kept.cursors if kind is CursorKind.OUTBOX}
            shelves = self._kept.outbox.items()
            found.update((n, shelf.numbers[-1]) for n, shelf in shelves if shelf.numbers)
            return found

    def deliveries(self, outbox: int, after: int, limit: int) -> Sequence[TallyDelivery]:
        """Return deliveries after a seq."""
        with self._kept.lock:
            shelf = self._kept.outbox.get(outbox)
            found = () if shelf is None else islice(shelf.after(after), limit)
            return [_delivery(row) for row in found]

    def delivery(self, outbox: int, seq: int) -> TallyDelivery | None:
        """Return one delivery."""
        with self._kept.lock:
            shelf = self._kept.outbox.get(outbox)
            row = None if shelf is None else shelf.rows.get(seq)
            return None if row is None else _delivery(row)

    def places(self, outbox: int, after: int, through: int, limit: int) -> Sequence[TallyPlace]:
        """Return deliveries of a range and how each stands."""
        rows = self.deliveries(outbox, after, limit)
        return [self.place(outbox, row.seq) for row in rows if row.seq <= through]

    def place(self, outbox: int, seq: int) -> TallyPlace:
        """Return one place and how it stands."""
        kept = self._kept
        with kept.lock:
            row = self.delivery(outbox, seq)
            ends = kept.outcomes.get(outbox)
            end = None if ends is None else ends.rows.get(seq)
            trouble = kept.exceptions.get((outbox, seq))
            return TallyPlace(
                outbox,
                seq,
                0 if row is None else row.inbox_id,
                0 if row is None else row.destination,
                None if end is None else end.fate,
                0 if end is None else end.superseded_by,
                None if trouble is None else trouble.state,
            )

    def ended_after(self, outbox: int, seq: int) -> Sequence[TallyPlace]:
        """Return every outcome after a seq."""
        with self._kept.lock:
            ends = self._kept.outcomes.get(outbox)
            return [] if ends is None else [self.place(outbox, e.seq) for e in ends.after(seq)]

    def stuck(self) -> Sequence[TallyPlace]:
        """Return every exception."""
        with self._kept.lock:
            return [self.place(*place) for place in sorted(self._kept.exceptions)]

    def parked(self) -> Sequence[tuple[int, bool]]:
        """Return every parked message, and whether a later run has decided about it."""
        with self._kept.lock:
            ids = sorted(inbox_id for _, inbox_id in self._kept.parked)
            return [(i, any(self._kept.plans.get(i, {}))) for i in ids]

    def cursors(self) -> Mapping[tuple[CursorKind, int], int]:
        """Return every cursor."""
        with self._kept.lock:
            return dict(self._kept.cursors)

    def purged(self) -> Sequence[PurgedRow]:
        """Return the ends of what was purged."""
        with self._kept.lock:
            found = sorted(self._kept.purged.items())
            return [PurgedRow(*key, units) for key, units in found]

    def purged_through(self) -> tuple[int, Mapping[int, int]]:
        """Return the highest numbers that were purged."""
        with self._kept.lock:
            return self._kept.purged_inbox, dict(self._kept.purged_outbox)

    def setting(self, key: str) -> str | None:
        """Return a setting."""
        with self._kept.lock:
            return self._kept.settings.get(key)


def _delivery(row: OutboxRow) -> TallyDelivery:
    return TallyDelivery(
        row.outbox, row.seq, row.inbox_id, row.run, row.destination, row.origin_seq
    )
