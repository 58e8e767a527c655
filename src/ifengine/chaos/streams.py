"""Misbehaviours of the network: what happens to the bytes of one direction. Pure.

After the toxics of Toxiproxy: latency, bandwidth, slow_close, timeout, slicer, limit_data, reset_peer.
"""

from collections.abc import Callable, Collection

from ifengine.chaos.acts import Act, Amounts, End, Say, Wait

_TICK_SECONDS = 0.05  # how finely a bandwidth is kept


class Stream:
    """One direction of one connection.

    Args:
        toxics: what is wrong with it, by name.
        amounts: how much.
        draw: returns a number from 0 to 1, by lot.
    """

    def __init__(
        self, toxics: Collection[str], amounts: Amounts, draw: Callable[[], float]
    ) -> None:
        self._toxics = frozenset(toxics)
        self._amounts = amounts
        self._draw = draw
        self._left = amounts.limit_bytes

    def opened(self) -> list[Act]:
        """Return what happens by itself once the connection stands."""
        if "reset_peer" in self._toxics:
            return [Wait(self._delay()), End.RESET]
        if "timeout" in self._toxics:
            return [Wait(self._delay()), End.CLOSE]
        return []

    def passed(self, data: bytes) -> list[Act]:
        """Return what becomes of these bytes."""
        toxics = self._toxics
        if not toxics:
            return [Say(data)]
        if "timeout" in toxics:
            return []
        end: list[Act] = []
        if "limit_data" in toxics:
            if len(data) >= self._left:
                end = [End.CLOSE]
            data = data[: self._left]
            self._left -= len(data)
        acts: list[Act] = [Wait(self._delay())] if "latency" in toxics else []
        return [*acts, *self._pieces(data), *end]

    def closing(self) -> list[Act]:
        """Return what happens before the end of one side is passed on to the other."""
        return [Wait(self._delay())] if "slow_close" in self._toxics else []

    def _pieces(self, data: bytes) -> list[Act]:
        size, pause = len(data), 0.0
        if "bandwidth" in self._toxics:
            size = max(1, int(self._amounts.bytes_per_second * _TICK_SECONDS))
            pause = size / self._amounts.bytes_per_second
        if "slicer" in self._toxics:
            slices = min(size, self._amounts.slice_bytes)
            pause = pause * slices / size if pause and size else 0.001
            size = slices
        acts: list[Act] = []
        for start in range(0, len(data), size or 1):
            acts.append(Say(data[start : start + size]))
            if pause:
                acts.append(Wait(pause))
        return acts

    def _delay(self) -> float:
        return self._amounts.delay + self._amounts.jitter * self._draw()
