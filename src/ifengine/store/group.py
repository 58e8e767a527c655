"""Group commit: all that waits goes to the disk in one transaction, and nobody hears before it is there.

At most one batch is in flight. While it is written the next one fills: the commit itself makes the
batch (performance.md 8).

Linger: where the disk takes more than a millisecond, the answers of one commit and the messages that
follow them would fall into two halves that wait for each other's commit for ever. So the next batch
stays open for a twentieth of that time, half a millisecond at most (performance.md 9.4).
"""

import asyncio
from collections.abc import Callable
from functools import partial

from ifengine.clock import Clock
from ifengine.errors import StorageFailedError
from ifengine.store.base import Batch, Store

SLOW_SECONDS = 0.001  # a disk that takes less gains nothing by waiting
LINGER_SHARE = 0.05
MOST_LINGER_SECONDS = 0.0005
TURN_SECONDS = 0.0004  # uvloop counts in milliseconds: less than half of one is a turn of the loop
MOST_TURNS = 4  # a batch lingers no longer, whatever the clock says: one that stands holds nobody
LAZY_SECONDS = 0.005  # what nobody waits for may ride along with the next urgent commit this long


class GroupCommit:
    """The open batch, and its way to the store. Used on the event loop only."""

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        *,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.batch = Batch()
        self.before_commit: list[Callable[[Batch], None]] = []  # asked to add what is due
        self.commit_took: Callable[[float], None] = lambda seconds: None
        self._store = store
        self._loop = loop
        self._clock = clock
        self._failed = failed
        self._in_flight = False
        self._receives = False  # the batch in flight holds what was received
        self._scheduled = False
        self._urgent = False
        self._lazy: asyncio.TimerHandle | None = None
        self._open_until = 0.0
        self._turns = 0  # that the open batch has lingered
        self._waiters: list[asyncio.Future[None]] = []
        self.error: BaseException | None = None

    @property
    def receiving(self) -> bool:
        """Whether something received is not on stable storage yet: its sender waits."""
        return self._receives or bool(self.batch.inbox)

    @property
    def is_behind(self) -> bool:
        """Whether what is large should wait a moment before more of it is committed."""
        return self.error is None and self._store.is_behind

    def soon(self) -> None:
        """Commit the open batch at the end of this turn of the loop, or right after the one in flight."""
        self._urgent = True
        if not self._scheduled and not self._in_flight:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def lazily(self) -> None:
        """Commit within ``LAZY_SECONDS``; rides along with anything urgent before."""
        if self._lazy is None and not self._scheduled and not self._in_flight:
            self._lazy = self._loop.call_later(LAZY_SECONDS, self._flush)

    async def durable(self) -> None:
        """Return when everything added so far is on stable storage.

        Raises:
            StorageFailedError: it is not, and will not be.
        """
        if self.error is not None:
            raise self.error
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        self.batch.done.append(partial(_resolve, waiter))
        self.soon()
        await waiter

    async def write(self, fill: Callable[[Batch], None]) -> None:
        """Let ``fill`` add to the open batch, and wait until it is on stable storage."""
        fill(self.batch)
        await self.durable()

    def give_up(self) -> None:
        """Write nothing more: what the open batch holds may be half of an act.

        A batch in flight is whole, and ends as it would have.
        """
        if self.error is None:
            self._refuse(StorageFailedError("the engine met a fault of its own"))

    def _flush(self) -> None:
        self._scheduled = False
        if self._lazy is not None:
            self._lazy.cancel()
            self._lazy = None
        if self._in_flight or self.error is not None:
            return
        left = self._open_until - self._clock.monotonic()
        if left > 0 and self._turns < MOST_TURNS:
            self._scheduled = True
            self._turns += 1
            self._loop.call_later(min(left, TURN_SECONDS), self._flush)
            return
        self._turns = 0
        for add_due in self.before_commit:
            add_due(self.batch)
        if self.batch.is_empty():
            return
        batch, self.batch = self.batch, Batch()
        self._in_flight = True
        self._receives = bool(batch.inbox)
        self._urgent = False
        started = self._clock.monotonic()

        def finished(error: BaseException | None) -> None:
            self._loop.call_soon_threadsafe(self._finished, batch, error, started)

        self._store.submit(batch, finished)

    def _finished(self, batch: Batch, error: BaseException | None, started: float) -> None:
        self._in_flight = self._receives = False
        if error is not None:
            self._fail(error)
            return
        now = self._clock.monotonic()
        self.commit_took(now - started)
        self._open_until = now + linger(self._store.commit_seconds)
        for tell in batch.done:
            try:
                tell()
            except Exception as fault:  # noqa: BLE001 - the others must hear all the same
                self._loop.call_exception_handler({"message": "done callback", "exception": fault})
        self._waiters = [w for w in self._waiters if not w.done()]
        if self._urgent:
            self.soon()
        else:
            self.lazily()

    def _fail(self, error: BaseException) -> None:
        # nothing of the batch is acknowledged; whoever waits hears why; the engine stops
        self._refuse(error)
        self._failed(error)

    def _refuse(self, error: BaseException) -> None:
        self.error = error
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)


def linger(commit_seconds: float) -> float:
    """Return how long a batch stays open after a commit, by what commits took lately."""
    if commit_seconds < SLOW_SECONDS:
        return 0.0
    return min(commit_seconds * LINGER_SHARE, MOST_LINGER_SECONDS)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
