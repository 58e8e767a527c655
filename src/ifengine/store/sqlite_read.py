"""Reading a SQLite store. One statement a method: each sees one state of the store."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

from ifengine.errors import DamagedPageError
from ifengine.store import sqlite_rows as rows
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
from ifengine.store.pages import page_of
from ifengine.store.sealing import is_head
from ifengine.store.sqlite_damage import READ_ERRORS, read_failure, reads
from ifengine.store.sqlite_giants import joined
from ifengine.store.sqlite_schema import open_reader
from ifengine.store.sqlite_tally import SqliteTally

_END = 2**63 - 1
_INBOX_AFTER = (
    "SELECT {} FROM inbox WHERE channel = ?1 AND inbox_id > ?2 AND inbox_id <= ?3"
    " AND kind = ?4 ORDER BY inbox_id LIMIT ?5"
)
_INBOX = "SELECT * FROM inbox WHERE inbox_id = ?"
_INBOX_HEAD = (  # sealed content, which may be on pages of its own, is the last column
    "SELECT inbox_id, received_us, listener, channel, kind, size, peer, reason, origin, verdict"
    " FROM inbox WHERE inbox_id = ?"
)


@reads
class SqliteReader:
    """A read-only connection. Satisfies ``store.base.Reader``; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_reader(path)
        self._run = self._connection.execute
        self._look = self._connection.cursor().execute

    def inbox(self, inbox_id: int) -> InboxRow | None:
        """Return one frame."""
        return self._inbox(inbox_id)

    def _inbox(self, inbox_id: int) -> InboxRow | None:
        for found in self._run(_INBOX, (inbox_id,)):
            return self._whole(found)  # within the loop: both statements see one state
        return None

    def _whole(self, columns: rows.Columns) -> InboxRow:
        """Return a row of table ``inbox``, of a giant with its body."""
        if is_head(columns[-1]):
            whole = joined(self._run, GiantOf.INBOX, columns[0], columns[-1])
            columns = (*columns[:-1], whole)
        return rows.inbox_row(columns)

    def inbox_after(
        self, channel: int, inbox_id: int, limit: int, *, scan_to: int
    ) -> Sequence[InboxRow]:
        """Return entries of kind MESSAGE of a channel with ``inbox_id < id <= scan_to``, sealed."""
        where = (channel, inbox_id, scan_to, InboxKind.MESSAGE, limit)
        try:
            return page_of(map(self._whole, self._run(_INBOX_AFTER.format("*"), where)))
        except READ_ERRORS:
            return self._each_after(where)

    def inbox_count(self, channel: int, after: int, through: int) -> int:
        """Return how many messages of a channel have an id with ``after < id <= through``."""
        return int(
            self._run(
                "SELECT count(*) FROM inbox"
                " WHERE inbox_id > ? AND inbox_id <= ? AND channel = ? AND kind = ?",
                (after, through, channel, InboxKind.MESSAGE),
            ).get
        )

    def _each_after(self, where: tuple[int, ...]) -> list[InboxRow]:
        """Read messages one by one: content that cannot be read is left out, not its message."""
        numbers: list[Any] = self._run(_INBOX_AFTER.format("inbox_id"), where).fetchall()
        return page_of(filter(None, (self._readable(row[0]) for row in numbers)))

    def _readable(self, number: int) -> InboxRow | None:
        """Return a message; without content where that cannot be read."""
        try:
            return self._inbox(number)
        except READ_ERRORS as error:
            if not isinstance(read_failure(error), DamagedPageError):
                raise
            head: Any = self._run(_INBOX_HEAD, (number,)).fetchone()
            return rows.inbox_row((*head, b""))

    def inbox_newest(self, where: InboxFilter, limit: int) -> Sequence[InboxRow]:
        """Return entries newest first, ``since_us <= received_us < until_us``, content included."""
        kinds = sum(1 << kind for kind in set(where.kinds))
        found = self._run(
            "SELECT * FROM inbox WHERE inbox_id < ?1 AND (?2 = 0 OR channel = ?2)"
            " AND received_us >= ?3 AND received_us < ?4 AND (?5 = 0 OR ((1 << kind) & ?5))"
            " ORDER BY inbox_id DESC LIMIT ?6",
            (
                where.before_id or _END,
                where.channel,
                where.since_us,
                where.until_us or _END,
                kinds,
                limit,
            ),
        )
        return [self._whole(row) for row in found]

    def inbox_range(self, after_id: int, limit: int) -> Sequence[InboxRow]:
        """Return entries of every kind and channel after an id, content included."""
        found = self._run(
            "SELECT * FROM inbox WHERE inbox_id > ? ORDER BY inbox_id LIMIT ?", (after_id, limit)
        )
        return page_of(map(self._whole, found))

    def plans(self, inbox_id: int) -> Sequence[PlanRow]:
        """Return every run over a message, oldest first."""
        found = self._run("SELECT * FROM plan WHERE inbox_id = ? ORDER BY run", (inbox_id,))
        return [rows.plan_row(row) for row in found]

    def outbox_after(self, outbox: int, seq: int, limit: int) -> Sequence[OutboxRow]:
        """Return deliveries after a seq."""
        found = self._run(
            "SELECT * FROM outbox WHERE outbox = ? AND seq > ? ORDER BY seq LIMIT ?",
            (outbox, seq, limit),
        )
        return [rows.outbox_row(row) for row in found]

    def outbox_entry(self, outbox: int, seq: int) -> OutboxRow | None:
        """Return one delivery."""
        found = self._run(
            "SELECT * FROM outbox WHERE outbox = ? AND seq = ?", (outbox, seq)
        ).fetchone()
        return None if found is None else rows.outbox_row(found)

    def outbox_head(self, outbox: int) -> int:
        """Return the highest seq an outbox ever had, purged ones included; 0 for none."""
        return int(
            self._run(
                "SELECT max((SELECT coalesce(max(seq), 0) FROM outbox WHERE outbox = ?1),"
                " coalesce((SELECT value FROM high WHERE kind = ?2 AND number = ?1), 0))",
                (outbox, rows.High.OUTBOX),
            ).get
        )

    def outbox_counts(self, outbox: int, after: int, through: int) -> Mapping[int, int]:
        """Return how many deliveries with ``after < seq <= through`` there are, by destination."""
        found = self._run(
            "SELECT destination, count(*) FROM outbox"
            " WHERE outbox = ? AND seq > ? AND seq <= ? GROUP BY destination",
            (outbox, after, through),
        )
        return {int(row[0]): int(row[1]) for row in found}

    def copy(self, copy_id: int) -> bytes | None:
        """Return what was sealed as sent, None when there is no such copy."""
        for (sealed,) in self._run("SELECT sealed FROM copy WHERE copy_id = ?", (copy_id,)):
            if is_head(sealed):
                return joined(self._run, GiantOf.COPY, copy_id, sealed)
            return bytes(sealed)
        return None

    def exceptions(self, outbox: int) -> Sequence[ExceptionRow]:
        """Return all exceptions of an outbox, by seq."""
        found = self._run("SELECT * FROM exception WHERE outbox = ? ORDER BY seq", (outbox,))
        return [rows.exception_row(row) for row in found]

    def exception(self, outbox: int, seq: int) -> ExceptionRow | None:
        """Return the exception of one delivery."""
        found = self._run(
            "SELECT * FROM exception WHERE outbox = ? AND seq = ?", (outbox, seq)
        ).fetchone()
        return None if found is None else rows.exception_row(found)

    def exceptions_in(self, state: ExceptionState, limit: int) -> Sequence[ExceptionRow]:
        """Return exceptions of all outboxes in one state, by (outbox, seq)."""
        found = self._run(
            "SELECT * FROM exception WHERE state = ? ORDER BY outbox, seq LIMIT ?", (state, limit)
        )
        return [rows.exception_row(row) for row in found]

    def outcome(self, outbox: int, seq: int) -> OutcomeRow | None:
        """Return how one delivery ended."""
        found = self._run(
            "SELECT * FROM outcome WHERE outbox = ? AND seq = ?", (outbox, seq)
        ).fetchone()
        return None if found is None else rows.outcome_row(found)

    def outcomes_after(self, outbox: int, seq: int) -> Sequence[OutcomeRow]:
        """Return all ends after a seq, by seq."""
        found = self._run(
            "SELECT * FROM outcome WHERE outbox = ? AND seq > ? ORDER BY seq", (outbox, seq)
        )
        return [rows.outcome_row(row) for row in found]

    def attempts(self, outbox: int, seq: int) -> Sequence[AttemptRow]:
        """Return the attempts of one delivery that were not accepted, oldest first."""
        found = self._run(
            "SELECT * FROM attempt WHERE outbox = ? AND seq = ? ORDER BY number, at_us",
            (outbox, seq),
        )
        return [AttemptRow(*row) for row in found]

    def newest_sent(self, outbox: int, destination: int, after_seq: int) -> dict[bytes, int]:
        """Return, per 8-byte order key, the highest inbox id sent there among seqs after one."""
        newest: dict[bytes, int] = {}
        found = self._run(
            "SELECT o.keys, o.inbox_id FROM outbox o JOIN outcome e USING (outbox, seq)"
            " WHERE o.outbox = ? AND o.seq > ? AND o.destination = ? AND e.fate = ?",
            (outbox, after_seq, destination, Fate.SENT),
        )
        for keys, inbox_id in found:
            for start in range(0, len(keys), 8):
                key = keys[start : start + 8]
                if newest.get(key, 0) < inbox_id:
                    newest[key] = inbox_id
        return newest

    def cursor(self, kind: CursorKind, number: int) -> int:
        """Return a cursor's position, 0 when it was never set."""
        found = self._run(
            "SELECT position FROM cursor WHERE kind = ? AND number = ?", (kind, number)
        ).get
        return 0 if found is None else int(found)

    def tagged(self, tag: bytes, limit: int) -> Sequence[int]:
        """Return inbox ids under a blind index tag, newest first."""
        found = self._run(
            "SELECT inbox_id FROM tag WHERE tag = ? ORDER BY inbox_id DESC LIMIT ?", (tag, limit)
        )
        return [row[0] for row in found]

    def audit_after(self, seq: int, limit: int) -> Sequence[AuditRow]:
        """Return audit records after a seq."""
        found = self._run("SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))
        return [AuditRow(*row) for row in found]

    def audit_of(self, inbox_id: int) -> Sequence[AuditRow]:
        """Return the audit records about one message, oldest first."""
        found = self._run(
            "SELECT * FROM audit WHERE inbox_id = ? AND inbox_id <> 0 ORDER BY seq", (inbox_id,)
        )
        return [AuditRow(*row) for row in found]

    def names(self) -> Sequence[tuple[int, NameKind, str]]:
        """Return all numbered names."""
        found = self._run("SELECT * FROM name ORDER BY number")
        return [rows.name_row(row) for row in found]

    def data_keys(self) -> Sequence[DataKeyRow]:
        """Return all wrapped data keys."""
        return [DataKeyRow(*row) for row in self._run("SELECT * FROM data_key ORDER BY key_id")]

    def config_versions(self) -> Sequence[ConfigVersionRow]:
        """Return all, oldest first."""
        found = self._run("SELECT * FROM config_version ORDER BY version")
        return [ConfigVersionRow(*row) for row in found]

    def config_content(self, version: int) -> bytes | None:
        """Return the sealed files of a configuration version."""
        found: bytes | None = self._run(
            "SELECT sealed FROM config_content WHERE version = ?", (version,)
        ).get
        return found

    def state(self, space: int, key: bytes) -> StateRow | None:
        """Return what is remembered under a key; used on the event loop, once a key of a message."""
        # the cursor is kept, and read to the end: it holds no snapshot between two calls
        found = self._look(
            "SELECT * FROM state WHERE space = ? AND key = ?", (space, key)
        ).fetchall()
        return StateRow._make(found[0]) if found else None

    def states(self, space: int, after: bytes, limit: int) -> Sequence[StateRow]:
        """Return what is remembered in one space, by key, after a key."""
        found = self._run(
            "SELECT * FROM state WHERE space = ? AND key > ? ORDER BY key LIMIT ?",
            (space, after, limit),
        )
        return [StateRow(*row) for row in found]

    def states_until(self, until_us: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return (space, key) of what ran out before a time, what ended first before the others."""
        found: list[Any] = self._run(
            "SELECT space, key FROM state WHERE until_us <> 0 AND until_us < ?"
            " ORDER BY until_us, space, key LIMIT ?",
            (until_us, limit),
        ).fetchall()
        return found

    def parked(self, channel: int) -> Sequence[ParkedRow]:
        """Return every parked message of a channel, by inbox id."""
        found = self._run("SELECT * FROM parked WHERE channel = ? ORDER BY inbox_id", (channel,))
        return [ParkedRow(*row) for row in found]

    def parked_message(self, inbox_id: int) -> Sequence[ParkedRow]:
        """Return where a message is parked, by channel."""
        found = self._run("SELECT * FROM parked WHERE inbox_id = ? ORDER BY channel", (inbox_id,))
        return [ParkedRow(*row) for row in found]

    def setting(self, key: str) -> str | None:
        """Return a setting, None when it was never set."""
        found: str | None = self._run("SELECT value FROM setting WHERE key = ?", (key,)).get
        return found

    def tally(self) -> SqliteTally:
        """Return what a balance reads."""
        return SqliteTally(self._connection)

    def counters(self) -> Counters:
        """Return the highest numbers ever used; purged ones count."""
        found: list[Any] = self._run(
            "SELECT max((SELECT coalesce(max(inbox_id), 0) FROM inbox),"
            " coalesce((SELECT value FROM high WHERE kind = ?1 AND number = 0), 0)),"
            " max((SELECT coalesce(max(copy_id), 0) FROM copy),"
            " coalesce((SELECT value FROM high WHERE kind = ?2 AND number = 0), 0)),"
            " (SELECT coalesce(max(key_id), 0) FROM data_key),"
            " (SELECT coalesce(max(number), 0) FROM name),"
            " (SELECT coalesce(max(version), 0) FROM config_version),"
            " max((SELECT coalesce(max(giant), 0) FROM giant),"
            " (SELECT coalesce(max(giant), 0) FROM giant_piece))",
            (rows.High.INBOX, rows.High.COPY),
        ).fetchall()
        return Counters(*found[0])

    def sizes(self) -> dict[str, int]:
        """Return bytes by part: messages (the whole file), wal."""
        pages = self._connection.pragma("page_count")
        wal = 0
        with contextlib.suppress(FileNotFoundError):
            wal = self._path.with_name(self._path.name + "-wal").stat().st_size
        return {"messages": pages * self._connection.pragma("page_size"), "wal": wal}

    def integrity(self) -> list[str]:
        """Return what a quick check finds wrong: tables and row numbers, never content."""
        try:
            found = [str(row[0]) for row in self._run("PRAGMA quick_check(20)")]
        except apsw.Error as error:
            return [f"quick_check stopped: {type(error).__name__}"]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
