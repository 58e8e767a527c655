"""What can come often is told at once the first time, and then as one sum a minute. Pure.

Times are seconds on a monotonic clock. Both go by counts that others keep: whoever counts pays
nothing for the log.
"""

QUIET_SECONDS = 60.0


class Tally:
    """A count that grows, and how much of it was told."""

    __slots__ = ("_not_before", "_told")

    def __init__(self) -> None:
        self._told = 0
        self._not_before = 0.0

    def due(self, now: float, count: int, *, last: bool = False) -> int:
        """Return how many more there are to tell now, 0 for none. ``last``: nothing is asked later.

        A count that is less than before began anew.
        """
        if count < self._told:
            self._told = 0
        more = count - self._told
        if not more or (now < self._not_before and not last):
            return 0
        self._told = count
        self._not_before = now + QUIET_SECONDS
        return more


class Swing:
    """A state that comes and goes. Its coming is told as a :class:`Tally`; its end follows at once."""

    __slots__ = ("_count", "_since", "_tally", "_times", "_told", "_took", "_was")

    def __init__(self) -> None:
        self._tally = Tally()
        self._told = False  # its coming, and not yet its end
        self._since: float | None = None
        self._took = 0.0
        self._count = 0
        self._times = 0
        self._was = False

    def look(
        self, now: float, is_on: bool, *, times: int | None = None, last: bool = False
    ) -> tuple[int, float | None]:
        """Return how often it came, 0 where that is not to be told, and how long it was on, if it ended.

        Args:
            now: when this is asked.
            is_on: whether it is on now.
            times: how often it came so far; None: it is seen by looking alone.
            last: nothing is asked later.
        """
        if times is None:
            self._count += is_on and not self._was
            times = self._count
        self._was = is_on
        if is_on and self._since is None:
            self._since = now
        elif not is_on and self._since is not None:
            self._took, self._since = now - self._since, None
        elif not is_on and times != self._times:
            self._took = 0.0  # it came and went between two looks
        self._times = times
        came = self._tally.due(now, times, last=last)
        self._told = self._told or came > 0
        if self._told and not is_on:
            self._told = False
            return came, self._took
        return came, None
