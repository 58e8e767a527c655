"""Time as a parameter: wall clock for display and retention, monotonic clock for every deadline."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

MICROSECONDS = 1_000_000


class Clock(Protocol):
    """What the engine may ask of time."""

    def now_us(self) -> int:
        """Return the wall clock in microseconds since 1970, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait this long on the monotonic clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        """Return the wall clock in microseconds since 1970, UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait this long on the monotonic clock."""
        await asyncio.sleep(seconds)


class Steady:
    """The wall clock of the start, carried on by the monotonic one: whoever sets it moves nothing here.

    For spans that must not end because a clock was set, such as the window of the guard.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_us = clock.now_us()
        self._began = clock.monotonic()

    def now_us(self) -> int:
        """Return microseconds since 1970, UTC, as nobody has set the clock since the start."""
        return self._start_us + int((self._clock.monotonic() - self._began) * MICROSECONDS)


class ManualClock:
    """A clock that moves only when told, for tests and for ``ifengine try``."""

    def __init__(self, start_us: int = 1_767_607_200 * MICROSECONDS) -> None:
        self._now_us = start_us
        self._monotonic = 0.0

    def now_us(self) -> int:
        """Return the set wall clock in microseconds since 1970, UTC."""
        return self._now_us

    def monotonic(self) -> float:
        """Return the seconds this clock was moved forward."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now_us += int(seconds * MICROSECONDS)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as a person or NTP may."""
        self._now_us += int(seconds * MICROSECONDS)

    async def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.advance(seconds)
        await asyncio.sleep(0)


def as_datetime(at_us: int) -> datetime:
    """Return an aware UTC datetime for microseconds since 1970."""
    return datetime.fromtimestamp(at_us / MICROSECONDS, UTC)


def rfc3339(at_us: int) -> str:
    """Return ``2026-11-21T11:41:07.120Z`` for microseconds since 1970."""
    text = as_datetime(at_us).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
