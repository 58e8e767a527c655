"""How long the loop stood still. Pure."""

KEPT_SECONDS = 60.0


class LoopLag:
    """The longest stand of the last minute, so that who looks four times a minute misses none."""

    __slots__ = ("_before", "_since", "_worst")

    def __init__(self, now: float) -> None:
        self._before = 0.0
        self._worst = 0.0
        self._since = now

    def note(self, seconds: float, now: float) -> None:
        """Note how late a timer was, ``now`` on the monotonic clock."""
        if now - self._since >= KEPT_SECONDS:
            self._before, self._worst, self._since = self._worst, 0.0, now
        self._worst = max(self._worst, seconds)

    @property
    def seconds(self) -> float:
        """The longest of the last one to two minutes."""
        return max(self._before, self._worst)
