"""What one transaction writes. The caller begins it, commits it, and abandons it on any error."""

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from ifengine.failpoints import fp
from ifengine.store.audit import EMPTY, HEAD_SETTING, AuditMac, Head, head_text, link
from ifengine.store.base import (
    Batch,
    Fate,
    GiantOf,
    GuardVerdict,
    InboxKind,
    NewAudit,
    NewInboxEntry,
)
from ifengine.store.guard import Claim, first_claim, judge, may_claim
from ifengine.store.sqlite_giants import Giants
from ifengine.store.sqlite_rows import FATES, INBOX_KINDS, High, plan_columns, plan_row
from ifengine.store.tally import PurgedMessage, purged_ends

_Delivery = tuple[int, int, int]  # inbox id, outbox, seq

PURGE_CHUNK = 500
GUARD_SWEEP_ROWS = 4 * PURGE_CHUNK  # more than a chunk can have claimed, so that the sweep gains

_DATA_KEY = "INSERT INTO data_key VALUES (?, ?, ?, ?, ?)"
_NAME = "INSERT INTO name VALUES (?, ?, ?)"
_CONFIG_VERSION = "INSERT INTO config_version VALUES (?, ?, ?)"
_CLAIM = "INSERT INTO guard VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_HELD = "SELECT inbox_id, digest, contents, at_us, until_us FROM guard WHERE key = ?"
_RECLAIM = (
    "UPDATE guard SET inbox_id = ?, digest = ?, contents = ?, at_us = ?, until_us = ? WHERE key = ?"
)
_INBOX = "INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PLAN = "INSERT INTO plan VALUES (?, ?, ?, ?, ?, ?)"
_COPY = "INSERT INTO copy VALUES (?, ?)"
_OUTBOX = "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_EXCEPTION = (
    "INSERT OR REPLACE INTO exception VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_REMOVE_EXCEPTION = "DELETE FROM exception WHERE outbox = ? AND seq = ?"
_ATTEMPT = "INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_OUTCOME = "INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CURSOR = (
    "INSERT INTO cursor VALUES (?, ?, ?)"
    " ON CONFLICT (kind, number) DO UPDATE SET position = excluded.position"
)
_TAG = "INSERT OR IGNORE INTO tag VALUES (?, ?)"
_TAG_BY_MESSAGE = "INSERT OR IGNORE INTO tag_by_message VALUES (?, ?)"
_PUT_STATE = "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?)"
_REMOVE_STATE = "DELETE FROM state WHERE space = ? AND key = ?"
_PUT_PARKED = "INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REMOVE_PARKED = "DELETE FROM parked WHERE channel = ? AND inbox_id = ?"
_RELEASE = "DELETE FROM guard WHERE key = ? AND inbox_id = ?"
_CONFIG_CONTENT = "INSERT INTO config_content VALUES (?, ?)"
_SETTING = (
    "INSERT INTO setting VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
_AUDIT = "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_HIGH = (
    "INSERT INTO high VALUES (?, ?, ?)"
    " ON CONFLICT (kind, number) DO UPDATE SET value = max(value, excluded.value)"
)
_PURGED = (
    "INSERT INTO purged VALUES (?, ?, ?, ?) ON CONFLICT (channel, destination, fate)"
    " DO UPDATE SET units = units + excluded.units"
)


class SqliteWriter:
    """The statements of a transaction, over the one writing connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        cursor = connection.cursor()
        self._run = cursor.execute
        self._run_many = cursor.executemany
        # read to the end: a statement left half read would hold a snapshot of the store open
        newest: list[Any] = self._run(
            "SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1"
        ).fetchall()
        self.head = Head(*newest[0]) if newest else EMPTY
        self.mac: AuditMac | None = None
        self.giants = Giants(connection)
        # giants that this transaction leaves without an owner; whoever runs it takes them
        self.gone: list[int] = []
        self._swept_to = b""  # where the sweep over the guard's rows goes on

    # --- one batch ----------------------------------------------------------------------------

    def apply(self, batch: Batch) -> Head:
        """Write a batch, in the order of its fields; return the audit head it leads to."""
        self.gone += batch.lost_giants
        self._many(_DATA_KEY, batch.data_keys)
        if batch.pieces:
            self.giants.put(batch.pieces)
        self._many(_NAME, batch.names)
        self._many(_CONFIG_VERSION, batch.config_versions)
        if batch.inbox:
            self._apply_inbox(batch.inbox)
            fp("intake.msg_inserted")
        self._many(_PLAN, [plan_columns(plan) for plan in batch.plans])
        self._many(_COPY, batch.copies)
        if batch.copy_giants:
            self.giants.bind(GiantOf.COPY, batch.copy_giants.items())
        if batch.outbox:
            self._run_many(_OUTBOX, batch.outbox)
            fp("process.fanout_inserted")
        self._each(_PUT_EXCEPTION, _REMOVE_EXCEPTION, batch.exceptions)
        self._many(_ATTEMPT, batch.attempts)
        self._many(_OUTCOME, batch.outcomes)
        self._many(_CURSOR, [(*place, position) for place, position in batch.cursors.items()])
        if batch.tags:
            self._many(_TAG, batch.tags)
            self._many(_TAG_BY_MESSAGE, [(inbox_id, tag) for tag, inbox_id in batch.tags])
        self._each(_PUT_STATE, _REMOVE_STATE, batch.states)
        self._each(_PUT_PARKED, _REMOVE_PARKED, batch.parked)
        self._many(_RELEASE, batch.released)
        self._many(_CONFIG_CONTENT, batch.config_contents)
        self._many(_SETTING, list(batch.settings.items()))
        return self._apply_audits(batch.audits) if batch.audits else self.head

    def _each(self, put: str, remove: str, changes: Iterable[tuple[Any, ...]]) -> None:
        # in the given order: a removal and a new row of one place may stand in one batch
        for change in changes:
            self._run(remove if len(change) == 2 else put, change)

    def _many(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._run_many(statement, rows)

    def _apply_inbox(self, entries: Sequence[NewInboxEntry]) -> None:
        columns, giants = [], []
        for entry in entries:
            if may_claim(entry):
                self._resolve(entry)
            kind, sealed = entry.kind, entry.sealed
            if entry.verdict is GuardVerdict.DUPLICATE:
                kind, sealed = InboxKind.DUPLICATE, b""
                self.gone += [entry.giant] if entry.giant else []
            elif entry.giant:
                giants.append((entry.inbox_id, entry.giant))
            columns.append(
                (
                    entry.inbox_id,
                    entry.received_us,
                    entry.listener,
                    entry.channel,
                    kind,
                    entry.size,
                    entry.peer,
                    entry.reason,
                    entry.origin,
                    entry.verdict,
                    sealed,
                )
            )
        self._run_many(_INBOX, columns)
        if giants:
            self.giants.bind(GiantOf.INBOX, giants)

    def _resolve(self, entry: NewInboxEntry) -> None:
        # most ids are new: one statement claims them, and only the others are looked at
        key = entry.guard_key
        self._run(_CLAIM, (key, *first_claim(entry)))
        if self._connection.changes():
            return
        held: list[Any] = self._run(_HELD, (key,)).fetchall()
        claim = judge(entry, Claim(*held[0]))
        if claim is not None:
            self._run(_RECLAIM, (*claim, key))

    def _apply_audits(self, records: Sequence[NewAudit]) -> Head:
        head = self.head
        rows = []
        for record in records:
            row = link(head, record)
            head = Head(row.seq, row.digest)
            rows.append(row)
        self._run_many(_AUDIT, rows)
        fp("audit.sign_before")
        self._run(_SETTING, (HEAD_SETTING, head_text(head, self.mac)))
        fp("audit.appended")
        return head

    # --- purge --------------------------------------------------------------------------------

    def purge(self, inbox_ids: Sequence[int], ended_us: int | None = None) -> None:
        """Remove at most ``PURGE_CHUNK`` messages and all that belongs to them.

        The pieces of giants stay, and are ``gone``: they are nobody's now.
        """
        newest_us = 0
        deliveries: list[_Delivery] = []
        found: list[tuple[int]] = []
        messages: list[PurgedMessage] = []
        for inbox_id in inbox_ids:
            inbox: list[Any] = self._run(
                "SELECT received_us, channel, kind FROM inbox WHERE inbox_id = ?", (inbox_id,)
            ).fetchall()
            if not inbox:
                continue
            received_us, channel, kind = inbox[0]
            found.append((inbox_id,))
            newest_us = max(newest_us, received_us)
            rows = self._run("SELECT * FROM plan WHERE inbox_id = ? ORDER BY run", (inbox_id,))
            plans = [plan_row(row) for row in rows.fetchall()]
            messages.append(PurgedMessage(channel, INBOX_KINDS[kind], plans))
            for plan in plans:
                deliveries += [(inbox_id, f.outbox, f.seq) for f in plan.fates if f.outbox]
        if not found:
            return
        ends = purged_ends(messages, self._standing)
        self._run_many(_PURGED, [(*place, units) for place, units in ends.items()])
        self._purge_deliveries(deliveries)
        fp("store.purge_mid")
        for (inbox_id,) in found:
            tags = self._run("SELECT tag FROM tag_by_message WHERE inbox_id = ?", (inbox_id,))
            self._run_many(
                "DELETE FROM tag WHERE tag = ? AND inbox_id = ?",
                [(tag, inbox_id) for (tag,) in tags.fetchall()],
            )
        self._run_many("DELETE FROM tag_by_message WHERE inbox_id = ?", found)
        self._run_many("DELETE FROM parked WHERE inbox_id = ?", found)
        self._run_many("DELETE FROM plan WHERE inbox_id = ?", found)
        self._run_many("DELETE FROM inbox WHERE inbox_id = ?", found)
        self.gone += self.giants.leave(GiantOf.INBOX, (row[0] for row in found))
        self._run(_HIGH, (High.INBOX, 0, max(found)[0]))
        self._sweep_guard(newest_us if ended_us is None else ended_us)

    def _standing(self, outbox: int, seq: int) -> tuple[Fate | None, int, int]:
        rows: list[Any] = self._run(
            "SELECT e.fate, coalesce(e.superseded_by, 0), o.origin_seq FROM outbox o"
            " LEFT JOIN outcome e USING (outbox, seq) WHERE o.outbox = ? AND o.seq = ?",
            (outbox, seq),
        ).fetchall()
        if not rows:
            return None, 0, 0
        fate, superseded_by, origin = rows[0]
        return None if fate is None else FATES[fate], superseded_by, origin

    def _purge_deliveries(self, deliveries: list[_Delivery]) -> None:
        run, many = self._run, self._run_many
        copies: set[tuple[int]] = set()
        high: dict[int, int] = {}
        seen: set[tuple[int, int]] = set()
        while deliveries:
            inbox_id, outbox, seq = deliveries.pop()
            place = outbox, seq
            if place in seen:
                continue
            rows: list[Any] = run(
                "SELECT inbox_id, copy_id FROM outbox WHERE outbox = ? AND seq = ?", place
            ).fetchall()
            if rows and rows[0][0] != inbox_id:
                continue  # its replay went to another outbox: this number is somebody else's here
            seen.add(place)
            high[outbox] = max(high.get(outbox, 0), seq)
            if rows and rows[0][1]:
                copies.add((rows[0][1],))
            # a replay of the same bytes has no plan of its own
            later = run("SELECT superseded_by FROM outcome WHERE outbox = ? AND seq = ?", place).get
            if later:
                deliveries.append((inbox_id, outbox, later))
        places = sorted(seen)
        many("DELETE FROM outbox WHERE outbox = ? AND seq = ?", places)
        many("DELETE FROM outcome WHERE outbox = ? AND seq = ?", places)
        many("DELETE FROM attempt WHERE outbox = ? AND seq = ?", places)
        many(_REMOVE_EXCEPTION, places)
        many("DELETE FROM copy WHERE copy_id = ?", sorted(copies))
        self.gone += self.giants.leave(GiantOf.COPY, (row[0] for row in sorted(copies)))
        many(_HIGH, [(High.OUTBOX, outbox, seq) for outbox, seq in sorted(high.items())])
        if copies:
            run(_HIGH, (High.COPY, 0, max(copies)[0]))

    def _sweep_guard(self, ended_us: int) -> None:
        """Forget claims whose window ended before a time; the caller knows which clock to ask."""
        keys: list[Any] = self._run(
            "SELECT key, until_us FROM guard WHERE key > ? ORDER BY key LIMIT ?",
            (self._swept_to, GUARD_SWEEP_ROWS),
        ).fetchall()
        self._swept_to = keys[-1][0] if len(keys) == GUARD_SWEEP_ROWS else b""
        gone = [(key,) for key, until_us in keys if until_us < ended_us]
        self._run_many("DELETE FROM guard WHERE key = ?", gone)
