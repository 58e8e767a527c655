"""Time as a parameter: wall clock for display and retention, monotonic clock for every deadline."""

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
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

    def since_boot(self) -> tuple[str, float]:
        """Return which run of the machine this is, "" where nobody knows, and its age in seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait this long on the monotonic clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        """Return the wall clock in microseconds since 1970, UTC."""
        return time.time_ns() // 1000

    # seconds on a clock that never jumps: asked several times a message, so without a call of ours
    monotonic = staticmethod(time.monotonic)

    def since_boot(self) -> tuple[str, float]:
        """Return the id of this boot of the kernel and its age; nobody can set either."""
        seconds = getattr(time, "CLOCK_BOOTTIME", None)
        return ("", 0.0) if seconds is None else (_boot_id(), time.clock_gettime(seconds))

    async def sleep(self, seconds: float) -> None:
        """Wait this long on the monotonic clock."""
        import asyncio  # who only asks for the time, as most commands do, does without it

        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when told, for tests and for ``ifengine try``."""

    def __init__(self, start_us: int = 1_767_607_200 * MICROSECONDS) -> None:
        self._now_us = start_us
        self._monotonic = 0.0
        self.boot = ""

    def now_us(self) -> int:
        """Return the set wall clock in microseconds since 1970, UTC."""
        return self._now_us

    def monotonic(self) -> float:
        """Return the seconds this clock was moved forward."""
        return self._monotonic

    def since_boot(self) -> tuple[str, float]:
        """Return the boot that was set, "" at first, and the seconds this clock was moved forward."""
        return self.boot, self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now_us += int(seconds * MICROSECONDS)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as a person or NTP may."""
        self._now_us += int(seconds * MICROSECONDS)

    async def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        import asyncio

        self.advance(seconds)
        await asyncio.sleep(0)


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def as_datetime(at_us: int) -> datetime:
    """Return an aware UTC datetime for microseconds since 1970."""
    return datetime.fromtimestamp(at_us / MICROSECONDS, UTC)


def rfc3339(at_us: int) -> str:
    """Return ``2026-11-21T11:41:07.120Z`` for microseconds since 1970."""
    text = as_datetime(at_us).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
