"""A wall clock that people, NTP and hypervisors set: nothing may hang on it."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from campaigns import Ledger, seed, trials
from simulation.site import Written
from simulation.world import Options, Outcome, Simulation

STARTS = (
    "2026-03-29T00:58:00+00:00",  # an hour is left out in Europe
    "2026-10-25T00:58:00+00:00",  # an hour comes twice
    "2028-02-28T23:58:00+00:00",  # before a leap day
    "2027-12-31T23:58:00+00:00",
    "1970-01-02T00:00:00+00:00",  # a machine without a battery
)


def options(number: int) -> Options:
    """Twelve virtual minutes of load, so that the purge runs twice, with retries and parked messages."""
    return replace(
        Options.of(number),
        connections=2,
        messages=30,
        merges=0.05,
        gap_seconds=11.0,
        safety_seconds=720.0,
        storage_fails=0.0,
        crashes=0.0,
        stops=0.0,
        cuts=1.0,
        silences=0.3,
        slow_lines=0.3,
        outages=1.0,
        moods=3.0,
        pauses=0.5,
        reloads=0.3,
        replays=1.0,
        repeats=4.0,
        jumps=1.5,
        start=STARTS[number % len(STARTS)],
    )


def busy(number: int) -> Options:
    """Half a minute in which channels are paused while messages come and the clock is set."""
    return replace(
        options(number),
        pauses=20.0,
        jumps=40.0,
        gap_seconds=0.3,
        safety_seconds=30.0,
        cuts=0.0,
        moods=0.0,
    )


@pytest.mark.chaos
@pytest.mark.parametrize("made", [options, busy], ids=["load", "paused"])
def test_a_clock_that_jumps_loses_repeats_reorders_forgets_and_holds_nothing(
    made: Callable[[int], Options], simulated: Written, ledger: Ledger
) -> None:
    wanted, first = trials(60, 500, "IFENGINE_JUMPS"), seed()
    one_seed = "IFENGINE_SEED" in os.environ
    happened: Counter[str] = Counter()
    failed: list[Outcome] = []
    number = first
    while happened["jump"] < wanted:
        outcome = Simulation(made(number), simulated).run()
        happened.update(outcome.happened)
        if outcome.wrong:
            failed.append(outcome)
        number += 1
        if one_seed:
            break
    ledger.record(
        "G12",
        f"the wall clock set by up to ten years: {made.__name__}",
        trials=happened["jump"],
        failures=len(failed),
        found=f"seeds {first} to {number - 1}; {happened['accepted']:,} messages, "
        f"{happened['repeat']:,} repeats",
    )
    assert not failed, "\n\n".join(one.summary() for one in failed[:3])
