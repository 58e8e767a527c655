"""A store with a long queue: what the engine itself would have written, put there in bulk.

The rows are made by the store's own interface from what the engine planned for real messages: each
is received again under a number of its own, sealed anew in its place. Only the search index is left
out, with its cursor set as if it had kept up.
"""

import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from ifengine.store.base import (
    Batch,
    Counters,
    CursorKind,
    InboxKind,
    InboxRow,
    NewInboxEntry,
    OutboxRow,
    PlanRow,
)
from ifengine.store.keys import FileKek
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.store.sqlite import SqliteStore

A_BATCH = 2000
MOST_PATTERNS = 500


@dataclass(frozen=True)
class Pattern:
    """One message that the engine received and planned, opened."""

    inbox: InboxRow
    content: bytes
    plan: PlanRow
    deliveries: tuple[tuple[OutboxRow, bytes], ...]


class Filler:
    """Repeats what is in a store until so many messages wait. The engine is not running."""

    def __init__(self, store_folder: Path, key_file: Path) -> None:
        self._store = SqliteStore(store_folder)
        self._reader = self._store.reader()
        self._ring = KeyRing(self._store.store_id, self._reader.data_keys(), FileKek(key_file))
        self._numbers: Counters = self._reader.counters()
        self._heads: dict[int, int] = {}  # by outbox

    def fill(self, count: int) -> None:
        """Add ``count`` messages, each waiting at every destination of its pattern."""
        patterns = self._patterns()
        for delivery, _ in (one for pattern in patterns for one in pattern.deliveries):
            self._heads[delivery.outbox] = self._reader.outbox_head(delivery.outbox)
        self._reader.close()
        now_us = time.time_ns() // 1000
        inbox_id, copy_id = self._numbers.inbox_id, self._numbers.copy_id
        waiting: Future[None] | None = None
        for first in range(0, count, A_BATCH):
            batch = Batch()
            if first == 0:
                key = self._ring.new_content_key(self._numbers.key_id + 1, now_us)
                batch.data_keys.append(key)
            for number in range(first, min(first + A_BATCH, count)):
                inbox_id += 1
                copy_id = self._repeat(
                    batch, patterns[number % len(patterns)], inbox_id, copy_id, now_us
                )
            batch.cursors[CursorKind.CHANNEL, patterns[0].plan.channel] = inbox_id
            batch.cursors[CursorKind.INDEXER, 0] = inbox_id
            if waiting is not None:
                waiting.result()
            waiting = self._submit(batch)
        if waiting is not None:
            waiting.result()

    def close(self) -> None:
        """Close the store in order."""
        self._store.close()

    def _patterns(self) -> list[Pattern]:
        found = []
        for row in self._reader.inbox_range(0, MOST_PATTERNS):
            plans = self._reader.plans(row.inbox_id)
            if row.kind is not InboxKind.MESSAGE or not plans:
                continue
            deliveries = []
            for fate in plans[0].fates:
                if not fate.outbox:
                    continue
                delivery = self._reader.outbox_entry(fate.outbox, fate.seq)
                assert delivery is not None
                sealed = self._reader.copy(delivery.copy_id) if delivery.copy_id else None
                copy = (
                    self._ring.open(BlobKind.COPY, delivery.copy_id, 0, sealed) if sealed else b""
                )
                deliveries.append((delivery, copy))
            content = self._ring.open(BlobKind.INBOX, row.inbox_id, 0, row.sealed)
            found.append(Pattern(row, content, plans[0], tuple(deliveries)))
        return found

    def _repeat(
        self, batch: Batch, pattern: Pattern, inbox_id: int, copy_id: int, now_us: int
    ) -> int:
        """Add the rows of one message; returns the last copy number in use."""
        seal, row = self._ring.seal, pattern.inbox
        batch.inbox.append(
            NewInboxEntry(
                inbox_id=inbox_id,
                received_us=now_us,
                listener=row.listener,
                channel=row.channel,
                kind=InboxKind.MESSAGE,
                size=row.size,
                peer=row.peer,
                sealed=seal(BlobKind.INBOX, inbox_id, 0, pattern.content),
            )
        )
        fates = {fate.destination: fate for fate in pattern.plan.fates}
        for delivery, copy in pattern.deliveries:
            seq = self._heads[delivery.outbox] = self._heads[delivery.outbox] + 1
            own = 0
            if delivery.copy_id:
                own = copy_id = copy_id + 1
                batch.copies.append((own, seal(BlobKind.COPY, own, 0, copy)))
            batch.outbox.append(
                delivery._replace(seq=seq, place=seq, inbox_id=inbox_id, copy_id=own, at_us=now_us)
            )
            fate = fates[delivery.destination]
            fates[delivery.destination] = fate._replace(seq=seq)
        batch.plans.append(
            pattern.plan._replace(inbox_id=inbox_id, at_us=now_us, fates=tuple(fates.values()))
        )
        return copy_id

    def _submit(self, batch: Batch) -> "Future[None]":
        future: Future[None] = Future()

        def finished(error: BaseException | None) -> None:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self._store.submit(batch, finished)
        return future
