"""What a channel has not planned and finds in the store: after a start, and when memory was full."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from ifengine.routes.counting import MESSAGES
from ifengine.routes.parked_messages import ParkedMessages
from ifengine.routes.parts import Parts
from ifengine.routes.received import Received, opened
from ifengine.store.base import CursorKind, Reader
from ifengine.store.pages import is_full

PAGE = 250


class Catching(ABC):
    """The part of a pipeline that reads the store, in windows, until all of it is in memory."""

    number: int
    unplanned: int
    is_counted: bool
    recovered: bool
    advanced: Callable[[], None] | None
    _parts: Parts
    _parked: ParkedMessages
    _head: int
    _through: int
    _skipped: int
    _uncommitted: int
    _refilling: bool

    @abstractmethod
    def _take(self, message: Received) -> None: ...

    @abstractmethod
    def _soon(self) -> None: ...

    async def recover(self, head: int) -> None:
        """Take up the work after the channel's cursor; ``head`` is the newest message stored."""
        number = self.number

        def look(reader: Reader) -> tuple[int, int, int]:
            cursor = reader.cursor(CursorKind.CHANNEL, number)
            counted = min(head, cursor + MESSAGES)
            return cursor, counted, reader.inbox_count(number, cursor, counted)

        cursor, counted, self.unplanned = await self._parts.read(look)
        await self._parked.recover()
        self._head = head
        self._through = cursor if self.unplanned else counted
        self._skipped = cursor
        if self.unplanned:
            await self._refill()
        if counted < head:
            self.is_counted = False
            self._parts.spawn(self._count_on(counted, head))
        self.recovered = True
        self._has_advanced()

    async def _count_on(self, counted: int, head: int) -> None:
        """Count what has no plan behind the first window, and pass by what is not this channel's."""
        number, parts = self.number, self._parts
        while counted < head and not parts.stopping:
            first, through = counted, min(head, counted + MESSAGES)

            def look(reader: Reader, first: int = first, through: int = through) -> int:
                return reader.inbox_count(number, first, through)

            found = await parts.read(look)
            self.unplanned += found
            counted = through
            if not found and self._through == first:
                self._through = through
                self._has_advanced()
            self._soon()
        self.is_counted = counted >= head

    def _has_advanced(self) -> None:
        if self.advanced is not None:
            self.advanced()

    def skip_to(self, newest: int) -> None:
        """Let the next start begin behind messages of other channels.

        ``newest`` is the newest message that any channel was fed. Without this the start after a
        quiet year would look at every message of the year. Not called amid the news of a commit.
        """
        idle = not (self.unplanned or self._uncommitted or self._refilling)
        passed = self._through >= self._head and self.is_counted and self.recovered
        if idle and passed and newest - self._skipped >= MESSAGES // 2:
            self._skipped = newest
            self._parts.group.batch.cursors[CursorKind.CHANNEL, self.number] = newest
            self._parts.group.lazily()

    async def _refill(self) -> None:
        """Read the next page of the channel's messages from the store."""
        self._refilling = True
        try:
            number, after, head, ring = self.number, self._through, self._head, self._parts.ring
            scan_to = min(head, after + MESSAGES)  # most may be other channels'

            def look(reader: Reader) -> tuple[list[Received], bool]:
                rows = reader.inbox_after(number, after, PAGE, scan_to=scan_to)
                is_all = len(rows) < PAGE and not is_full(rows)
                return [opened(ring, row) for row in rows], is_all

            page, is_all = await self._parts.read(look)
            for message in page:
                self._take(message)
            if is_all:
                self._through = max(self._through, scan_to)
            if not page:
                self._has_advanced()
        finally:
            self._refilling = False
        self._soon()
