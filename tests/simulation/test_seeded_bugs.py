"""The simulation finds what it is there to find: engines with one fault each, and who catches them."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from campaigns import trials
from ifengine.engine.watch import Watch
from ifengine.mllp.client import MllpClient
from ifengine.routes.delivery import Outbox
from ifengine.routes.endpoints.mllp import MllpLane
from ifengine.routes.lanes import Entry, Schedule
from ifengine.routes.pipeline import Pipeline
from ifengine.routes.retry import Attempt, AttemptResult
from ifengine.routes.steady import Steady
from simulation.site import Written
from simulation.test_jumps import busy, options
from simulation.world import Options, Simulation

Seed = Callable[[pytest.MonkeyPatch], None]
BUDGET = 60  # seeds


def cursor_before_the_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Schedule, "low", lambda self: self.through)


def order_by_timestamp(patch: pytest.MonkeyPatch) -> None:
    run = Pipeline._run

    def sorted_run(self: Pipeline) -> None:
        self._queue = deque(sorted(self._queue, key=lambda one: one.received_us))
        run(self)

    patch.setattr(Pipeline, "_run", sorted_run)


def connection_kept_after_a_timeout(patch: pytest.MonkeyPatch) -> None:
    def give_up(self: MllpLane, label: str) -> None:
        parcel, self._parcel = self._parcel, None
        if parcel is not None:
            result = AttemptResult.IN_DOUBT if self._sent else AttemptResult.UNREACHABLE
            self._used.clear()
            self._end(Attempt(result, label))

    patch.setattr(MllpLane, "_give_up", give_up)


def connection_closed_and_not_cut_after_a_timeout(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MllpClient, "abort", MllpClient.close)


def lost_wake_up(patch: pytest.MonkeyPatch) -> None:
    def never(self: Outbox, entry: Entry, due: float) -> None:
        entry.due = due

    patch.setattr(Outbox, "_wake_at", never)


def marks_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outbox, "has_suspects", lambda self: False)


def purge_by_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    purge = Watch.purge

    async def by_wall(self: Watch) -> int:
        class Wall:
            is_doubtful = False
            now_us = self._parts.clock.now_us

            @staticmethod
            def of(inbox_id: int, received_us: int) -> int:
                return received_us

        steady, self._parts.steady = self._parts.steady, cast(Steady, Wall())
        try:
            return await purge(self)
        finally:
            self._parts.steady = steady

    patch.setattr(Watch, "purge", by_wall)


def guard_by_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Steady, "now_us", lambda self: self._clock.now_us())


def windows_by_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Steady, "of", lambda self, inbox_id, received_us: received_us)


def steady_over_a_stop_by_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Steady, "resume", lambda self, reader: None)


def parked_by_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    tick = Pipeline.tick

    def by_wall(self: Pipeline, now: float) -> None:
        tick(self, now - self._parts.steady.offset_us / 1e6)

    patch.setattr(Pipeline, "tick", by_wall)


def dying(number: int) -> Options:
    """Crashes and ordered stops while receivers are away."""
    made = Options.of(number)
    return replace(
        made, crashes=8.0, stops=8.0, outages=20.0, moods=20.0, jumps=0.0, safety_seconds=40.0
    )


def ending(number: int) -> Options:
    """Deaths and ordered stops while receivers misbehave, no disk that fails."""
    made = dying(number)
    return replace(
        made, crashes=12.0, stops=12.0, outages=10.0, moods=40.0, cuts=20.0, gap_seconds=0.5,
        storage_fails=0.0,
    )  # fmt: skip


def reset(number: int) -> Options:
    """Deaths and boots while repeats come and the clock is set."""
    return replace(Options.of(number), crashes=12.0, repeats=20.0, jumps=30.0, safety_seconds=40.0)


QUICK = [
    (order_by_timestamp, busy, 3, "order"),
    (purge_by_the_wall_clock, options, 3, "forgotten"),
    (windows_by_the_wall_clock, options, 1, "strayed"),
]
SLOW = [
    (cursor_before_the_answer, dying, 1, "not even"),
    (connection_kept_after_a_timeout, Options.of, 42, ""),
    (connection_closed_and_not_cut_after_a_timeout, Options.of, 45, "order"),
    (lost_wake_up, Options.of, 1, "stuck"),
    (marks_forgotten, ending, 24, "unmarked"),
    (guard_by_the_wall_clock, options, 1, "unmarked"),
    (parked_by_the_wall_clock, options, 3, "stuck"),
    (steady_over_a_stop_by_the_wall_clock, reset, 14, ""),
]


@pytest.mark.chaos
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize(
    ("bug", "made", "first", "word"),
    QUICK + SLOW * trials(0, 1, "IFENGINE_SIMULATED_BUGS"),
)
def test_the_simulation_catches(
    bug: Seed,
    made: Callable[[int], Options],
    first: int,
    word: str,
    simulated: Written,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bug(monkeypatch)
    for number in range(first, first + BUDGET):
        wrong = Simulation(made(number), simulated).run().wrong
        if any(text.startswith(word) for text in wrong):
            print(bug.__name__, "seed", number, wrong[:2])
            return
    pytest.fail(f"not caught within {BUDGET} seeds")
