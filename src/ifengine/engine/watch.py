"""What the engine does by the clock: deadlines, disk, keys, search index, retention."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ifengine.engine.balancing import BalanceCheck
from ifengine.engine.building import Built
from ifengine.engine.lag import LoopLag
from ifengine.routes.indexer import next_tags
from ifengine.routes.parts import Parts
from ifengine.routes.retention import (
    SPARE_US,
    Found,
    Keep,
    find_ended,
    find_expired,
    find_left_over,
)
from ifengine.settings import Settings
from ifengine.store.base import CursorKind, NewAudit, Reader, Store
from ifengine.telemetry.events import KeyMade, Purged
from ifengine.telemetry.log import emit

TICK_SECONDS = 0.1
SECOND = 1.0
RETENTION_SECONDS = 600.0
BUSY_MESSAGES_A_SECOND = 200  # above this intake and delivery go before the search index
MARK_EVERY_SECONDS = 60.0


@dataclass(slots=True)
class Disk:
    """Space under the store. Below the reserve reading stops; delivery, which frees space, goes on."""

    free_bytes: int = 0
    reserve_bytes: int = 0
    ballast_bytes: int = 0  # held now
    missing_bytes: int = 0  # of the ballast: as much more must be free before senders are read
    low: bool = False
    full: bool = False  # a commit waits for room


class Watch:
    """The engine's timekeeper. One task, ten turns a second."""

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        store: Store,
        built: Built,
        pause_intake: Callable[[str, bool], None],
    ) -> None:
        self.disk = Disk(reserve_bytes=settings.site.reserve_bytes)
        self.lag = LoopLag(parts.clock.monotonic())
        self.settings = settings
        self._parts = parts
        self._store = store
        self._built = built
        self._pause_intake = pause_intake
        self.balance = BalanceCheck(parts)
        self._indexing = False
        self._purging = False
        self._purge_after = 0
        self._received_before = 0
        self._busy = False
        self._mark_at = 0.0
        parts.steady.jumped = parts.metrics.clock_set_total.inc
        self.tidy: Callable[[], None] = _nothing
        self.auto: Callable[[], None] = _nothing  # looks whether the files changed
        self.tell: Callable[[], None] = _nothing  # what the log is to say

    async def run(self) -> None:
        """Turn until the engine stops."""
        clock = self._parts.clock
        next_second = clock.monotonic()
        next_retention = clock.monotonic() + 60.0
        due = clock.monotonic() + TICK_SECONDS
        while not self._parts.stopping:
            await clock.sleep(TICK_SECONDS)
            now = clock.monotonic()
            self.lag.note(max(0.0, now - due), now)  # what a turn of its own took is in it
            due = now + TICK_SECONDS
            self.tick(now)
            if now >= next_second:
                next_second = now + SECOND
                self.each_second()
            if now >= next_retention:
                next_retention = now + RETENTION_SECONDS
                self._start_purge()

    def tick(self, now: float) -> None:
        """Look at the deadlines of every lane, of what is parked, of senders and answers that wait."""
        for pipeline in self._built.pipelines.values():
            pipeline.tick(now)
        for outbox in self._built.outboxes.values():
            outbox.tick(now)
        for senders in self._built.senders.values():
            senders.tick(now)
        if self._parts.answers is not None:
            self._parts.answers.tick(now)

    def each_second(self) -> None:
        """Look at the disk, the balance, the data key, the files of the site and the index."""
        self.look_at_disk()
        self._look_at_clock()
        self.balance.turn(self._parts.clock.monotonic())
        self.tidy()
        self.auto()
        self.tell()
        self._skip_quiet_channels()
        parts = self._parts
        now_us = parts.clock.now_us()
        if parts.ring.needs_new_key(now_us):
            parts.numbers.key_id += 1
            row = parts.ring.new_content_key(parts.numbers.key_id, now_us)
            parts.group.batch.data_keys.append(row)
            parts.group.batch.audits.append(
                NewAudit(now_us, "engine", "key_made", f"key {row.key_id}", 0, "done", b"")
            )
            parts.group.lazily()
            emit(KeyMade(key_id=row.key_id))
        received = sum(intake.received for intake in self._built.intakes.values())
        rate, self._received_before = received - self._received_before, received
        self._busy = rate >= BUSY_MESSAGES_A_SECOND
        if not self._indexing:
            self._indexing = True
            parts.spawn(self._index())

    def _look_at_clock(self) -> None:
        """Note where the wall clock was set; mark the time in the store even where nothing comes."""
        parts, now = self._parts, self._parts.clock.monotonic()
        parts.steady.look(parts.numbers.inbox_id + 1)
        doubt = parts.steady.doubt_us if parts.steady.is_doubtful else 0
        parts.metrics.clock_doubt_seconds.set(doubt / 1e6)
        if now >= self._mark_at:
            self._mark_at = now + MARK_EVERY_SECONDS
            parts.group.lazily()

    def look_at_disk(self) -> None:
        """Stop intake below the reserve, and start it again by itself; keep the ballast."""
        if self.settings.store_kind == "memory":
            return
        site, disk, space = self.settings.site, self.disk, self._store.space
        space.wanted_bytes = site.ballast
        state = os.statvfs(site.store_path)
        disk.free_bytes = state.f_bavail * state.f_frsize
        disk.ballast_bytes, disk.missing_bytes = space.ballast_bytes, space.missing_bytes
        disk.full = space.is_full
        # a little above the line before intake starts again, so that it does not flutter
        margin = disk.reserve_bytes // 50 if disk.low else 0
        # what the ballast gave up is for what is on its way out, not for new messages
        line = disk.reserve_bytes + disk.missing_bytes + margin
        low = disk.full or disk.free_bytes < line
        if low != disk.low:
            disk.low = low
            self._pause_intake("disk", low)
        if not low and disk.ballast_bytes != site.ballast and not self._making_ballast:
            self._making_ballast = True
            self._parts.spawn(self._make_ballast())

    async def _make_ballast(self) -> None:
        """Fill the ballast up; without room for it the next look stops the intake."""
        try:
            await self._parts.loop.run_in_executor(None, self._store.space.make)
        finally:
            self._making_ballast = False

    _making_ballast = False

    def _skip_quiet_channels(self) -> None:
        """Let the next start begin, in each channel without work, at what is newest now."""
        pipelines = self._built.pipelines.values()
        newest = max((pipeline.newest_fed for pipeline in pipelines), default=0)
        for pipeline in pipelines:
            pipeline.skip_to(newest)

    # --- search index -----------------------------------------------------------------------

    async def _index(self) -> None:
        """Fill the blind index up to the newest message, a page at a time.

        While much comes in, one page a second: a search reads the rest from the store itself.
        """
        parts = self._parts
        try:
            while not parts.stopping:
                after, tags = await parts.read(partial(_next_tags, parts))
                if after == self._indexed:
                    return
                self._indexed = after
                batch = parts.group.batch
                batch.tags.extend(tags)
                batch.cursors[CursorKind.INDEXER, 0] = after
                await parts.group.durable()
                if self._busy:
                    return
        finally:
            self._indexing = False

    _indexed = 0

    # --- retention --------------------------------------------------------------------------

    def _start_purge(self) -> None:
        if not self._purging and self._built.is_counted():  # what goes must be in no count to come
            self._purging = True
            self._parts.spawn(self._purge_once())

    async def _purge_once(self) -> None:
        try:
            await self.purge()
        finally:
            self._purging = False

    async def purge(self) -> int:
        """Forget what is settled and older than `keep`; returns how many messages.

        Ages are measured on the steady clock. Nothing is forgotten while the wall clock is more
        than a day from where it was believed, until a person says that it is right (G12).
        """
        parts, site = self._parts, self.settings.site
        now_us, came = parts.steady.now_us(), parts.steady.of
        if parts.steady.is_doubtful:
            return 0
        keep = Keep(
            int(site.keep_messages_seconds * 1e6), int(site.keep_dead_letters_seconds * 1e6)
        )
        total = 0
        while not parts.stopping:
            after, newest = self._purge_after, parts.numbers.inbox_id

            def look(reader: Reader, after: int = after, newest: int = newest) -> Found:
                return find_expired(reader, after, newest, now_us, keep, came)

            found = await parts.read(look)
            self._purge_after = found.next_after
            if found.inbox_ids:
                await self._remove(found.inbox_ids, now_us)
                total += len(found.inbox_ids)
            if not found.next_after:
                break
        if total:
            parts.group.batch.audits.append(
                NewAudit(
                    parts.clock.now_us(),
                    "engine",
                    "retention_purge",
                    f"{total} messages",
                    0,
                    "done",
                    b"",
                )
            )
            parts.group.lazily()
            emit(Purged(messages=total))
        await self._forget(now_us)
        return total

    async def _forget(self, now_us: int) -> None:
        """Forget what steps remembered and what has run out since."""
        parts, memories = self._parts, self._parts.memories
        before_us = now_us - int(self.settings.site.keep_messages_seconds * 1e6)
        left_over = await parts.read(lambda reader: find_left_over(reader, before_us))
        parts.group.batch.states.extend(left_over)
        while memories is not None and not parts.stopping:
            ended = await parts.read(lambda reader: find_ended(reader, now_us, parts.steady.of))
            gone = memories.forget_ended(parts.group.batch, ended.states, ended.before_us)
            await parts.group.durable()
            if ended.is_all or not gone:
                return

    async def _remove(self, inbox_ids: tuple[int, ...], now_us: int) -> None:
        loop = self._parts.loop
        done: asyncio.Future[None] = loop.create_future()

        def finished(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(_resolve, done, error)

        self._store.purge(inbox_ids, finished, now_us - SPARE_US)
        await done


def _nothing() -> None:
    return None


def _next_tags(parts: Parts, reader: Reader) -> tuple[int, list[tuple[bytes, int]]]:
    return next_tags(reader, parts.ring)


def _resolve(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
