"""Reading a memory store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice, takewhile
from typing import TypeVar

from ifengine.store.base import (
    AttemptRow,
    AuditRow,
    ConfigVersionRow,
    Counters,
    CursorKind,
    DataKeyRow,
    ExceptionRow,
    ExceptionState,
    Fate,
    GiantOf,
    InboxFilter,
    InboxKind,
    InboxRow,
    NameKind,
    OutboxRow,
    OutcomeRow,
    ParkedRow,
    PlanRow,
    StateRow,
)
from ifengine.store.memory_contents import Contents
from ifengine.store.memory_tally import MemoryTally
from ifengine.store.pages import page_of

_END = 2**63 - 1

T = TypeVar("T")


class MemoryReader:
    """Satisfies ``store.base.Reader``. Each method sees one state of the store."""

    def __init__(self, contents: Contents) -> None:
        self._kept = contents

    def inbox(self, inbox_id: int) -> InboxRow | None:
        """Return one frame."""
        with self._kept.lock:
            row = self._kept.inbox.rows.get(inbox_id)
            return None if row is None else self._whole(row)

    def _whole(self, row: InboxRow) -> InboxRow:
        """Return a row, of a giant with its body."""
        whole = self._kept.whole(GiantOf.INBOX, row.inbox_id, row.sealed)
        return row if whole is row.sealed else row._replace(sealed=whole)

    def inbox_after(
        self, channel: int, inbox_id: int, limit: int, *, scan_to: int
    ) -> Sequence[InboxRow]:
        """Return entries of kind MESSAGE of a channel with ``inbox_id < id <= scan_to``, sealed."""
        with self._kept.lock:
            rows = takewhile(lambda row: row.inbox_id <= scan_to, self._kept.inbox.after(inbox_id))
            fitting = (
                row for row in rows if row.channel == channel and row.kind is InboxKind.MESSAGE
            )
            return page_of(map(self._whole, islice(fitting, limit)))

    def inbox_count(self, channel: int, after: int, through: int) -> int:
        """Return how many messages of a channel have an id with ``after < id <= through``."""
        with self._kept.lock:
            rows = takewhile(lambda row: row.inbox_id <= through, self._kept.inbox.after(after))
            return sum(row.channel == channel and row.kind is InboxKind.MESSAGE for row in rows)

    def inbox_newest(self, where: InboxFilter, limit: int) -> Sequence[InboxRow]:
        """Return entries newest first, ``since_us <= received_us < until_us``, content included."""
        until_us = where.until_us or _END
        with self._kept.lock:
            fitting = (
                row
                for row in self._kept.inbox.newest(where.before_id or _END)
                if where.since_us <= row.received_us < until_us
                and where.channel in (0, row.channel)
                and (not where.kinds or row.kind in where.kinds)
            )
            return [self._whole(row) for row in islice(fitting, limit)]

    def inbox_range(self, after_id: int, limit: int) -> Sequence[InboxRow]:
        """Return entries of every kind and channel after an id, content included."""
        with self._kept.lock:
            return page_of(map(self._whole, islice(self._kept.inbox.after(after_id), limit)))

    def plans(self, inbox_id: int) -> Sequence[PlanRow]:
        """Return every run over a message, oldest first."""
        with self._kept.lock:
            runs = self._kept.plans.get(inbox_id, {})
            return [runs[run] for run in sorted(runs)]

    def outbox_after(self, outbox: int, seq: int, limit: int) -> Sequence[OutboxRow]:
        """Return deliveries after a seq."""
        with self._kept.lock:
            shelf = self._kept.outbox.get(outbox)
            return [] if shelf is None else list(islice(shelf.after(seq), limit))

    def outbox_entry(self, outbox: int, seq: int) -> OutboxRow | None:
        """Return one delivery."""
        with self._kept.lock:
            shelf = self._kept.outbox.get(outbox)
            return None if shelf is None else shelf.rows.get(seq)

    def outbox_head(self, outbox: int) -> int:
        """Return the highest seq an outbox ever had, purged ones included; 0 for none."""
        with self._kept.lock:
            shelf = self._kept.outbox.get(outbox)
            return 0 if shelf is None else shelf.highest

    def outbox_counts(self, outbox: int, after: int, through: int) -> Mapping[int, int]:
        """Return how many deliveries with ``after < seq <= through`` there are, by destination."""
        with self._kept.lock:
            shelf = self._kept.outbox.get(outbox)
            rows = () if shelf is None else shelf.after(after)
            return Counter(row.destination for row in takewhile(lambda r: r.seq <= through, rows))

    def copy(self, copy_id: int) -> bytes | None:
        """Return what was sealed as sent, None when there is no such copy."""
        with self._kept.lock:
            sealed = self._kept.copies.rows.get(copy_id)
            return None if sealed is None else self._kept.whole(GiantOf.COPY, copy_id, sealed)

    def exceptions(self, outbox: int) -> Sequence[ExceptionRow]:
        """Return all exceptions of an outbox, by seq."""
        with self._kept.lock:
            rows = [row for row in self._kept.exceptions.values() if row.outbox == outbox]
        return sorted(rows, key=_place)

    def exception(self, outbox: int, seq: int) -> ExceptionRow | None:
        """Return the exception of one delivery."""
        with self._kept.lock:
            return self._kept.exceptions.get((outbox, seq))

    def exceptions_in(self, state: ExceptionState, limit: int) -> Sequence[ExceptionRow]:
        """Return exceptions of all outboxes in one state, by (outbox, seq)."""
        with self._kept.lock:
            rows = [row for row in self._kept.exceptions.values() if row.state == state]
        return sorted(rows, key=_place)[:limit]

    def outcome(self, outbox: int, seq: int) -> OutcomeRow | None:
        """Return how one delivery ended."""
        with self._kept.lock:
            shelf = self._kept.outcomes.get(outbox)
            return None if shelf is None else shelf.rows.get(seq)

    def outcomes_after(self, outbox: int, seq: int) -> Sequence[OutcomeRow]:
        """Return all ends after a seq, by seq."""
        with self._kept.lock:
            shelf = self._kept.outcomes.get(outbox)
            return [] if shelf is None else list(shelf.after(seq))

    def attempts(self, outbox: int, seq: int) -> Sequence[AttemptRow]:
        """Return the attempts of one delivery that were not accepted, oldest first."""
        with self._kept.lock:
            rows = list(self._kept.attempts.get((outbox, seq), ()))
        return sorted(rows, key=lambda row: (row.number, row.at_us))

    def newest_sent(self, outbox: int, destination: int, after_seq: int) -> dict[bytes, int]:
        """Return, per 8-byte order key, the highest inbox id sent there among seqs after one."""
        newest: dict[bytes, int] = {}
        with self._kept.lock:
            shelf = self._kept.outbox.get(outbox)
            ends = self._kept.outcomes.get(outbox)
            if shelf is None or ends is None:
                return newest
            for row in shelf.after(after_seq):
                end = ends.rows.get(row.seq)
                if end is None or end.fate is not Fate.SENT or row.destination != destination:
                    continue
                for start in range(0, len(row.keys), 8):
                    key = row.keys[start : start + 8]
                    newest[key] = max(newest.get(key, 0), row.inbox_id)
        return newest

    def cursor(self, kind: CursorKind, number: int) -> int:
        """Return a cursor's position, 0 when it was never set."""
        with self._kept.lock:
            return self._kept.cursors.get((kind, number), 0)

    def tagged(self, tag: bytes, limit: int) -> Sequence[int]:
        """Return inbox ids under a blind index tag, newest first."""
        with self._kept.lock:
            return sorted(self._kept.tags.get(tag, ()), reverse=True)[:limit]

    def audit_after(self, seq: int, limit: int) -> Sequence[AuditRow]:
        """Return audit records after a seq."""
        with self._kept.lock:
            return self._kept.audits[seq : seq + limit]

    def audit_of(self, inbox_id: int) -> Sequence[AuditRow]:
        """Return the audit records about one message, oldest first."""
        with self._kept.lock:
            return [row for row in self._kept.audits if inbox_id and row.inbox_id == inbox_id]

    def names(self) -> Sequence[tuple[int, NameKind, str]]:
        """Return all numbered names."""
        return self._by_number(self._kept.names)

    def data_keys(self) -> Sequence[DataKeyRow]:
        """Return all wrapped data keys."""
        return self._by_number(self._kept.data_keys)

    def config_versions(self) -> Sequence[ConfigVersionRow]:
        """Return all, oldest first."""
        return self._by_number(self._kept.config_versions)

    def config_content(self, version: int) -> bytes | None:
        """Return the sealed files of a configuration version."""
        with self._kept.lock:
            return self._kept.config_contents.get(version)

    def state(self, space: int, key: bytes) -> StateRow | None:
        """Return what is remembered under a key."""
        with self._kept.lock:
            return self._kept.states.get((space, key))

    def states(self, space: int, after: bytes, limit: int) -> Sequence[StateRow]:
        """Return what is remembered in one space, by key, after a key."""
        with self._kept.lock:
            rows = [row for row in self._kept.states.values() if row.space == space]
        return sorted((row for row in rows if row.key > after), key=lambda row: row.key)[:limit]

    def states_until(self, until_us: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return (space, key) of what ran out before a time, what ended first before the others."""
        with self._kept.lock:
            rows = [row for row in self._kept.states.values() if 0 < row.until_us < until_us]
        ended = sorted((row.until_us, row.space, row.key) for row in rows)[:limit]
        return [(space, key) for _, space, key in ended]

    def parked(self, channel: int) -> Sequence[ParkedRow]:
        """Return every parked message of a channel, by inbox id."""
        with self._kept.lock:
            rows = [row for row in self._kept.parked.values() if row.channel == channel]
        return sorted(rows, key=lambda row: row.inbox_id)

    def parked_message(self, inbox_id: int) -> Sequence[ParkedRow]:
        """Return where a message is parked, by channel."""
        with self._kept.lock:
            rows = [row for row in self._kept.parked.values() if row.inbox_id == inbox_id]
        return sorted(rows, key=lambda row: row.channel)

    def setting(self, key: str) -> str | None:
        """Return a setting, None when it was never set."""
        with self._kept.lock:
            return self._kept.settings.get(key)

    def tally(self) -> MemoryTally:
        """Return what a balance reads."""
        return MemoryTally(self._kept)

    def counters(self) -> Counters:
        """Return the highest numbers ever used; purged ones count."""
        kept = self._kept
        with kept.lock:
            return Counters(
                kept.inbox.highest,
                kept.copies.highest,
                max(kept.data_keys, default=0),
                max(kept.names, default=0),
                max(kept.config_versions, default=0),
                max((*kept.pieces, *kept.giants.values()), default=0),
            )

    def sizes(self) -> dict[str, int]:
        """Return bytes by part: the sealed content; there is no log."""
        with self._kept.lock:
            sealed = sum(len(row.sealed) for row in self._kept.inbox.rows.values())
            copies = sum(len(copy) for copy in self._kept.copies.rows.values())
            pieces = sum(len(body) for kept in self._kept.pieces.values() for body in kept.values())
        return {"messages": sealed + copies + pieces, "wal": 0}

    def integrity(self) -> list[str]:
        """Return nothing: there is no medium to fail."""
        return []

    def close(self) -> None:
        """Do nothing."""

    def _by_number(self, rows: dict[int, T]) -> list[T]:
        with self._kept.lock:
            return [rows[number] for number in sorted(rows)]


def _place(row: ExceptionRow) -> tuple[int, int]:
    return (row.outbox, row.seq)
