"""A store in memory: for tests, for ``ifengine try``, and for benchmarks without a disk.

It keeps the whole contract except that nothing outlives :meth:`MemoryStore.close` of the last
holder. Batches are applied in the caller's thread, unless a latency is set.
"""

import queue
import secrets
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ifengine.errors import StorageFailedError
from ifengine.store.audit import EMPTY, HEAD_SETTING, AuditMac, Head, head_text, link
from ifengine.store.base import (
    Batch,
    ExceptionRow,
    Fate,
    GiantOf,
    GuardVerdict,
    InboxKind,
    InboxRow,
    NewInboxEntry,
    ParkedRow,
    StateRow,
)
from ifengine.store.guard import first_claim, judge, may_claim
from ifengine.store.memory_contents import Contents, Shelf
from ifengine.store.memory_read import MemoryReader
from ifengine.store.space import Space
from ifengine.store.tally import PurgedMessage, purged_ends

Finished = Callable[[BaseException | None], None]
Row = TypeVar("Row")


class MemoryStore:
    """Satisfies ``store.base.Store``. The public switches make it fail as a disk does."""

    def __init__(self, *, latency_seconds: float = 0.0) -> None:
        self.store_id = secrets.token_bytes(16)
        self.space = Space()
        self.commit_seconds = 0.0
        self.is_behind = False
        self.failing: Callable[[BaseException], None] = lambda error: None
        self.disk_full = False
        self.fail_next_commit = False
        self.latency_seconds = latency_seconds
        self._contents = Contents()
        self._head = EMPTY
        self._mac: AuditMac | None = None
        self._failure: StorageFailedError | None = None
        self._closed = False
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], Finished] | None] | None = None
        self._thread: threading.Thread | None = None

    # --- contract -----------------------------------------------------------------------------

    def submit(self, batch: Batch, finished: Finished) -> None:
        """Write a batch; see ``store.base.Store``."""
        self._do(lambda: self._apply(batch), finished)

    def purge(
        self, inbox_ids: Iterable[int], finished: Finished, ended_us: int | None = None
    ) -> None:
        """Remove messages with all that belongs to them."""
        ids = tuple(inbox_ids)
        self._do(lambda: self._purge(ids, ended_us), finished)

    def protect_audit(self, mac: AuditMac) -> None:
        """Prove the head of the audit log with this MAC from the next record on."""
        self._mac = mac

    def reader(self) -> MemoryReader:
        """Return a look at the contents."""
        return MemoryReader(self._contents)

    def checkpoint(self) -> None:
        """Do nothing: there is no log."""

    def close(self) -> None:
        """Refuse what comes later."""
        self._closed = True
        if self._jobs is not None and self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._jobs = None

    def reopened(self) -> "MemoryStore":
        """Return a store with the same contents, as after a restart of the process."""
        again = MemoryStore(latency_seconds=self.latency_seconds)
        again.store_id = self.store_id
        again._contents = self._contents
        self._contents.forget_orphans()
        again._head = self._head
        return again

    # --- writing ------------------------------------------------------------------------------

    def _do(self, write: Callable[[], None], finished: Finished) -> None:
        if self.latency_seconds and not self._closed:
            if self._jobs is None:
                self._jobs = queue.SimpleQueue()
                self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
                self._thread.start()
            self._jobs.put((write, finished))
        else:
            self._write(write, finished)

    def _work(self) -> None:
        jobs = self._jobs
        pause = threading.Event()
        while jobs is not None and (job := jobs.get()) is not None:
            pause.wait(self.latency_seconds)
            self._write(*job)

    def _write(self, write: Callable[[], None], finished: Finished) -> None:
        if self._closed and self._thread is not threading.current_thread():
            finished(StorageFailedError("the store is closed"))
            return
        if self._failure is None:
            if self.disk_full:
                self._failure = StorageFailedError("commit failed: SQLITE_FULL")
            elif self.fail_next_commit:
                self._failure = StorageFailedError("commit failed: SQLITE_IOERR_FSYNC")
            else:
                try:
                    with self._contents.lock:
                        write()
                except Exception as cause:  # noqa: BLE001 - as a database: any error ends it
                    self._failure = StorageFailedError(f"commit failed: {type(cause).__name__}")
        finished(self._failure)

    def _apply(self, batch: Batch) -> None:
        kept = self._contents
        _refuse_taken(kept, batch)
        self._apply_giants(batch)
        kept.data_keys.update((row.key_id, row) for row in batch.data_keys)
        kept.names.update((row[0], row) for row in batch.names)
        kept.config_versions.update((row.version, row) for row in batch.config_versions)
        for entry in batch.inbox:
            kept.inbox.put(entry.inbox_id, self._inbox_row(entry))
        for plan in batch.plans:
            kept.plans.setdefault(plan.inbox_id, {})[plan.run] = plan
        for copy_id, sealed in batch.copies:
            kept.copies.put(copy_id, bytes(sealed))
        for row in batch.outbox:
            _shelf(kept.outbox, row.outbox).put(row.seq, row)
        for change in batch.exceptions:
            if isinstance(change, ExceptionRow):
                kept.exceptions[change.outbox, change.seq] = change
            else:
                kept.exceptions.pop(change, None)
        for attempt in batch.attempts:
            kept.attempts.setdefault((attempt.outbox, attempt.seq), []).append(attempt)
        for outcome in batch.outcomes:
            _shelf(kept.outcomes, outcome.outbox).put(outcome.seq, outcome)
        kept.cursors.update(batch.cursors)
        for tag, inbox_id in batch.tags:
            kept.tags.setdefault(tag, set()).add(inbox_id)
            kept.tags_of.setdefault(inbox_id, set()).add(tag)
        self._apply_memory(batch)
        kept.settings.update(batch.settings)
        if batch.audits:
            for record in batch.audits:
                linked = link(self._head, record)
                kept.audits.append(linked)
                self._head = Head(linked.seq, linked.digest)
            kept.settings[HEAD_SETTING] = head_text(self._head, self._mac)

    def _apply_giants(self, batch: Batch) -> None:
        kept = self._contents
        for giant, n, body in batch.pieces:
            kept.pieces.setdefault(giant, {})[n] = bytes(body)
        for giant in batch.lost_giants:
            kept.pieces.pop(giant, None)
        for copy_id, giant in batch.copy_giants.items():
            kept.giants[GiantOf.COPY, copy_id] = giant

    def _apply_memory(self, batch: Batch) -> None:
        kept = self._contents
        for state in batch.states:
            if isinstance(state, StateRow):
                kept.states[state.space, state.key] = state
            else:
                kept.states.pop(state, None)
        for parked in batch.parked:
            if isinstance(parked, ParkedRow):
                kept.parked[parked.channel, parked.inbox_id] = parked
            else:
                kept.parked.pop(parked, None)
        for key, inbox_id in batch.released:
            claim = kept.guard.get(key)
            if claim is not None and claim.inbox_id == inbox_id:
                del kept.guard[key]
        kept.config_contents.update(batch.config_contents)

    def _inbox_row(self, entry: NewInboxEntry) -> InboxRow:
        guard = self._contents.guard
        key = entry.guard_key
        if key is not None and may_claim(entry):
            held = guard.get(key)
            claim = first_claim(entry) if held is None else judge(entry, held)
            if claim is not None:
                guard[key] = claim
        duplicate = entry.verdict is GuardVerdict.DUPLICATE
        if entry.giant and duplicate:
            self._contents.pieces.pop(entry.giant, None)
        elif entry.giant:
            self._contents.giants[GiantOf.INBOX, entry.inbox_id] = entry.giant
        return InboxRow(
            entry.inbox_id,
            entry.received_us,
            entry.listener,
            entry.channel,
            InboxKind.DUPLICATE if duplicate else entry.kind,
            entry.size,
            entry.peer,
            entry.reason,
            entry.origin,
            entry.verdict,
            b"" if duplicate else bytes(entry.sealed),
        )

    def _purge(self, inbox_ids: tuple[int, ...], ended_us: int | None) -> None:
        kept = self._contents
        newest_us = 0
        self._count_purged(inbox_ids)
        for inbox_id in inbox_ids:
            row = kept.inbox.remove(inbox_id)
            if row is None:
                continue
            newest_us = max(newest_us, row.received_us)
            kept.leave(GiantOf.INBOX, inbox_id)
            kept.purged_inbox = max(kept.purged_inbox, inbox_id)
            for plan in kept.plans.pop(inbox_id, {}).values():
                for fate in plan.fates:
                    self._purge_delivery(inbox_id, fate.outbox, fate.seq)
            for tag in kept.tags_of.pop(inbox_id, ()):
                kept.tags[tag].discard(inbox_id)
            for place in [place for place in kept.parked if place[1] == inbox_id]:
                del kept.parked[place]
        ended_us = newest_us if ended_us is None else ended_us
        for key in [key for key, claim in kept.guard.items() if claim.until_us < ended_us]:
            del kept.guard[key]

    def _count_purged(self, inbox_ids: tuple[int, ...]) -> None:
        """Keep how everything ended, by numbers."""
        kept = self._contents

        def standing(outbox: int, seq: int) -> tuple[Fate | None, int, int]:
            end = _shelf(kept.outcomes, outbox).rows.get(seq)
            row = _shelf(kept.outbox, outbox).rows.get(seq)
            origin = 0 if row is None else row.origin_seq
            return (None, 0, origin) if end is None else (end.fate, end.superseded_by, origin)

        messages = []
        for inbox_id in inbox_ids:
            row = kept.inbox.rows.get(inbox_id)
            if row is not None:
                runs = kept.plans.get(inbox_id, {})
                plans = [runs[run] for run in sorted(runs)]
                messages.append(PurgedMessage(row.channel, row.kind, plans))
        kept.purged.update(purged_ends(messages, standing))

    def _purge_delivery(self, inbox_id: int, outbox: int, seq: int) -> None:
        kept = self._contents
        while outbox and seq:
            found = _shelf(kept.outbox, outbox).rows.get(seq)
            if found is not None and found.inbox_id != inbox_id:
                return  # its replay went to another outbox: this number is somebody else's there
            kept.purged_outbox[outbox] = max(kept.purged_outbox.get(outbox, 0), seq)
            row = _shelf(kept.outbox, outbox).remove(seq)
            if row is not None:
                kept.copies.remove(row.copy_id)
                kept.leave(GiantOf.COPY, row.copy_id)
            kept.exceptions.pop((outbox, seq), None)
            kept.attempts.pop((outbox, seq), None)
            outcome = _shelf(kept.outcomes, outbox).remove(seq)
            seq = 0 if outcome is None else outcome.superseded_by


def _shelf(shelves: dict[int, Shelf[Row]], number: int) -> Shelf[Row]:
    shelf = shelves.get(number)
    if shelf is None:
        shelf = shelves[number] = Shelf()
    return shelf


def _refuse_taken(kept: Contents, batch: Batch) -> None:
    """Refuse a batch that writes a number twice, before any of it is applied."""
    groups: list[tuple[Iterable[Any], Callable[[Any], bool]]] = [
        ((row.key_id for row in batch.data_keys), kept.data_keys.__contains__),
        ((row[0] for row in batch.names), kept.names.__contains__),
        ((row.version for row in batch.config_versions), kept.config_versions.__contains__),
        ((version for version, _ in batch.config_contents), kept.config_contents.__contains__),
        ((entry.inbox_id for entry in batch.inbox), kept.inbox.rows.__contains__),
        (((p.inbox_id, p.run) for p in batch.plans), lambda k: k[1] in kept.plans.get(k[0], ())),
        ((copy_id for copy_id, _ in batch.copies), kept.copies.rows.__contains__),
        (((p.giant, p.n) for p in batch.pieces), lambda k: k[1] in kept.pieces.get(k[0], ())),
        (((r.outbox, r.seq) for r in batch.outbox), lambda k: _holds(kept.outbox, k)),
        (((r.outbox, r.seq) for r in batch.outcomes), lambda k: _holds(kept.outcomes, k)),
    ]
    for numbers, taken in groups:
        seen = set()
        for number in numbers:
            if number in seen or taken(number):
                raise ValueError("a number is used twice")
            seen.add(number)


def _holds(shelves: dict[int, Shelf[Row]], place: tuple[int, int]) -> bool:
    shelf = shelves.get(place[0])
    return shelf is not None and place[1] in shelf.rows
