"""Whose turn it is to read on of a long message: all together read so much a turn of the loop.

A socket on a fast network gives as many megabytes as one asks for, and the loop asks on for as long as
there are any. What many send at once, in earnest or to do harm, would hold up every short message.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

LONG_BYTES = 64 * 1024
"""Of an unfinished message, from where its connection reads in turns."""
BYTES_A_TURN = 512 * 1024
"""Read of long messages before everybody else has a turn: a few tenths of a millisecond."""


class Reading(Protocol):
    """A connection that waits for its turn."""

    def read_on(self) -> None:
        """Read again."""
        ...


class ReadingTurns:
    """The turns of one listener's connections, first come first served."""

    __slots__ = ("_left", "_scheduled", "_soon", "_waiting")

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        """Begin; ``soon`` calls something in the loop's next turn."""
        self._soon = soon
        self._left = BYTES_A_TURN
        self._scheduled = False
        self._waiting: deque[tuple[Reading, int]] = deque()

    def may_go_on(self, connection: Reading, size: int) -> bool:
        """Count what was read of a long message; False: it must wait until ``read_on`` is called."""
        if not self._scheduled:
            self._scheduled = True
            self._soon(self._turn)
        self._left -= size
        if self._left > 0 and not self._waiting:
            return True
        self._waiting.append((connection, size))
        return False

    def _turn(self) -> None:
        self._left = BYTES_A_TURN
        expected = 0
        waiting = self._waiting
        while waiting and expected < BYTES_A_TURN:
            connection, size = waiting.popleft()
            expected += size  # as much as the last time, most likely
            connection.read_on()
        self._scheduled = bool(waiting)
        if waiting:
            self._soon(self._turn)
