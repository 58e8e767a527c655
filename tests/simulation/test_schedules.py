"""The whole engine under random schedules: first faults of all kinds, then everything must drain."""

import os
import time
from collections import Counter

import pytest

from campaigns import Ledger, seed, trials
from simulation.site import Written
from simulation.world import Outcome, simulate

MOST_SECONDS = 580.0  # of a long campaign; the table says how many seeds that were


def about(outcomes: list[Outcome], happened: Counter[str], first: int) -> str:
    return (
        f"seeds from {first}; {happened['accepted']:,} messages, {happened['kill']:,} kills, "
        f"{happened['storage failed']:,} failed disks, {happened['stop']:,} stops, "
        f"{happened['reload']:,} reloads, {happened['jump']:,} jumps; "
        f"longest drain {max((o.drained_seconds for o in outcomes), default=0):.0f} virtual s"
    )


@pytest.mark.chaos
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")  # of processes that were killed
def test_whatever_the_schedule_nothing_is_lost_or_overtaken_and_all_drains(
    simulated: Written, ledger: Ledger
) -> None:
    wanted = trials(40, 10_000, "IFENGINE_SCHEDULES")
    first = seed()
    if "IFENGINE_SEED" in os.environ:
        wanted = trials(1, 1, "IFENGINE_SCHEDULES")
    outcomes: list[Outcome] = []
    failed: list[Outcome] = []
    happened: Counter[str] = Counter()
    deadline = time.monotonic() + MOST_SECONDS
    for number in range(first, first + wanted):
        outcome = simulate(number, simulated)
        outcomes.append(outcome)
        happened.update(outcome.happened)
        if outcome.wrong:
            failed.append(outcome)
        if time.monotonic() > deadline:
            break
    stuck = sum(any(text.startswith("stuck") for text in one.wrong) for one in failed)
    figures = about(outcomes, happened, first)
    ledger.record(
        "G3",
        "random schedules with faults: order, loss, marks",
        trials=len(outcomes),
        failures=len(failed) - stuck,
        found=figures,
    )
    ledger.record(
        "G10",
        "the same schedules: all drains in 10 virtual minutes",
        trials=len(outcomes),
        failures=stuck,
        found=figures,
    )
    assert not failed, "\n\n".join(one.summary() for one in failed[:3])
    if len(outcomes) >= 50:  # a campaign in which nothing happened proves nothing
        for what in ("kill", "storage failed", "stop", "reload", "jump", "cut", "outage", "replay"):
            assert happened[what], what
