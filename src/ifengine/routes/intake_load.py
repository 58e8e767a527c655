"""How much came in lately, and how much of it is not on disk yet. Pure."""

from collections.abc import Callable

from ifengine.pieces import GIANT_BYTES
from ifengine.routes.giants import GiantQueue

MOST_PENDING_BYTES = 16 * 1024 * 1024
MOST_PENDING_MESSAGES = 10_000


class LastHour:
    """How many came in the last 60 minutes, by the minute."""

    __slots__ = ("_counts", "_minute")

    def __init__(self) -> None:
        self._counts = [0] * 60
        self._minute = 0

    def add(self, now: float) -> None:
        """Count one, ``now`` on the monotonic clock."""
        minute = int(now // 60)
        if minute != self._minute:
            self._move(minute)
        self._counts[self._minute % 60] += 1

    def total(self, now: float) -> int:
        """Return the sum of the last 60 minutes."""
        self._move(int(now // 60))
        return sum(self._counts)

    def _move(self, minute: int) -> None:
        for passed in range(self._minute + 1, min(minute, self._minute + 60) + 1):
            self._counts[passed % 60] = 0
        self._minute = max(minute, self._minute)


class IntakeLoad:
    """Bytes and messages received but not yet on disk, over all listeners; pauses reading at a bound."""

    def __init__(self, changed: Callable[[bool], None]) -> None:
        self.pending_bytes = 0
        self.pending_messages = 0
        self.giants = GiantQueue()
        self._changed = changed
        self._paused = False

    def add(self, size: int) -> None:
        """Count a frame that waits for its commit."""
        self.pending_bytes += size
        self.pending_messages += 1
        if not self._paused and (
            self.pending_bytes > MOST_PENDING_BYTES or self.pending_messages > MOST_PENDING_MESSAGES
        ):
            self._paused = True
            self._changed(True)

    @staticmethod
    def weight(content: bytes) -> int:
        """Return what a message counts here: a giant waits in its own queue, and holds up no other."""
        return 0 if len(content) >= GIANT_BYTES else len(content)

    def remove(self, size: int, count: int) -> None:
        """Count frames that are on disk."""
        self.pending_bytes -= size
        self.pending_messages -= count
        if (
            self._paused
            and self.pending_bytes < MOST_PENDING_BYTES // 2
            and self.pending_messages < MOST_PENDING_MESSAGES // 2
        ):
            self._paused = False
            self._changed(False)
