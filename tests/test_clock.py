"""Time as a parameter."""

import time
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ifengine.clock import (
    MICROSECONDS,
    ManualClock,
    SystemClock,
    as_datetime,
    rfc3339,
)


def test_the_machines_wall_clock_is_in_microseconds_of_utc() -> None:
    before = time.time_ns() // 1000
    now = SystemClock().now_us()
    assert before <= now <= time.time_ns() // 1000


async def test_the_machines_sleep_passes_on_the_clock_that_never_jumps() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(5)
    assert (clock.now_us(), clock.monotonic()) == (5, 0.0)
    clock.advance(1.5)
    assert (clock.now_us(), clock.monotonic()) == (1_500_005, 1.5)


def test_a_jump_of_the_wall_clock_leaves_the_other_alone() -> None:
    clock = ManualClock(10 * MICROSECONDS)
    clock.jump(-3)
    assert (clock.now_us(), clock.monotonic()) == (7 * MICROSECONDS, 0.0)


async def test_a_manual_sleep_takes_no_time() -> None:
    clock = ManualClock()
    started = time.monotonic()
    await clock.sleep(3600)
    assert clock.monotonic() == 3600
    assert time.monotonic() - started < 1


def test_times_are_shown_in_utc_with_milliseconds() -> None:
    at_us = 1_767_607_200_120_999
    assert as_datetime(at_us) == datetime(2026, 1, 5, 10, 0, 0, 120_999, UTC)
    assert rfc3339(at_us) == "2026-01-05T10:00:00.120Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


@given(st.integers(0, 4_102_444_800))
def test_a_shown_time_reads_back_as_itself(seconds: int) -> None:
    shown = rfc3339(seconds * MICROSECONDS)
    assert datetime.fromisoformat(shown).timestamp() == seconds
    assert shown.endswith("Z")


def test_the_age_of_the_machine_is_told_with_the_boot_it_counts_from() -> None:
    clock = SystemClock()
    boot, seconds = clock.since_boot()
    again, later = clock.since_boot()
    assert boot == again
    assert later >= seconds
    if Path("/proc/sys/kernel/random/boot_id").exists():
        assert len(boot) == 36
        assert seconds > 0
