"""The crash matrix for what people do: dead letters, replays, reloads. Under load, judged from outside.

``IFENGINE_FAILPOINT_REPEATS`` sets how often (3 in a campaign), ``IFENGINE_SEED`` repeats a run.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from campaigns import Ledger, repeated, seed, trials
from crash.campaign import Peers
from crash.failing import ENDS, GOES_ON, KILLED, UNFORESEEN, Failing, Run, some_of
from crash.messages import CHANNEL
from crash.serving import wait_until
from crash.test_failpoints import BY_KEY, judge

REPEATS = trials(1, 3, "IFENGINE_FAILPOINT_REPEATS")
FEW = 2  # runs in `make test`
SEED = seed()
DEAD = ("dead.pre_move", "dead.post_move")
REPLAY = ("replay.authz", "replay.audited", "replay.enqueued")
RELOAD = ("reload.prepared", "reload.version_committed", "reload.standing", "reload.switched")
# before anything was written or changed the request ends; after, the engine (routes/whole.py)
ENDS_OF_ACTS: dict[str, int | None] = {
    "replay.authz": GOES_ON,
    "replay.audited": UNFORESEEN,
    "replay.enqueued": UNFORESEEN,
    "reload.prepared": GOES_ON,
    "reload.version_committed": GOES_ON,
    "reload.standing": UNFORESEEN,
    "reload.switched": UNFORESEEN,
}


def actions(name: str, end: int | None) -> list[tuple[str, int | None]]:
    return [
        (f"{name}=kill", KILLED), (f"{name}=error:EIO", end),
        (f"{name}=delay:0.3", GOES_ON), (f"{name}=stop", GOES_ON),
    ]  # fmt: skip


def dead_letters(failing: Failing) -> list[str]:
    groups = failing.site.json("dlq", "list")
    return [str(one) for group in groups for one in group["messages"]]


def replay_one(failing: Failing) -> None:
    """Begin to send a dead letter again; the answer may never come."""
    wait_until("there is a dead letter", lambda: dead_letters(failing))
    letter = failing.lot.choice(dead_letters(failing))
    failing.command("dlq", "replay", letter, "--reason", "matrix", "--yes")


def replay_all(failing: Failing) -> None:
    """Send all dead letters again, one after the other, until there is none."""
    deadline = time.monotonic() + 60
    while letters := dead_letters(failing):
        assert time.monotonic() < deadline, f"dead letters stay: {letters[:5]}"
        for letter in letters:
            failing.site.command("dlq", "replay", letter, "--reason", "matrix", "--yes")


def reload_changed(failing: Failing) -> None:
    """Change how many lanes there are, which rebuilds an outbox, and reload."""
    file = failing.site.folder / "channels" / "crossing.yaml"
    lanes = 3 if "lanes: 4" in file.read_text() else 4
    file.write_text(CHANNEL.replace("lanes: 4", f"lanes: {lanes}"))
    failing.command("reload", "--reason", "matrix")


def run_acts(
    folder: Path, number: int, runs: list[Run], after: Callable[[Failing], None]
) -> tuple[str, str, int]:
    """Fail as the runs say under one load; return what is wrong, the figures, how much acted."""
    with Peers(folder, seed=number, faults=0.5, rate=300.0, give_up=0.2) as peers:
        failing = Failing(peers, random.Random(number))
        with peers.watch_balance() as watch:
            peers.start_sending()
            for run in runs:
                failing.run(run)
            failing.disarm()
            after(failing)
            told = judge(failing, BY_KEY)
        watch.assert_even()
        return *told, len(failing.fired)


def a_dead_letter(lot: random.Random) -> str:
    return f"process.transformed=error:EIO@{lot.randint(1, 20)}"


@pytest.mark.crash
@pytest.mark.slow
@repeated(REPEATS)
def test_dead_letters_and_replays_survive_whatever_happens_at_their_points(
    tmp_path: Path, ledger: Ledger, repeat: int
) -> None:
    number = SEED + repeat
    lot = random.Random(number)
    runs = [
        Run((a_dead_letter(lot), armed), end)
        for name in DEAD
        for armed, end in actions(name, ENDS[name])
    ]
    runs += [
        Run((a_dead_letter(lot), armed), end, replay_one)
        for name in REPLAY
        for armed, end in actions(name, ENDS_OF_ACTS[name])
    ]
    runs = some_of(runs, lot, FEW)
    wrong, figures, acted = run_acts(tmp_path, number, runs, replay_all)
    ledger.record(
        "G1", "kill, error, delay and stop at the points of dead letters and replays",
        trials=acted, failures=1 if wrong else 0, found=f"{figures}; IFENGINE_SEED={number}",
    )  # fmt: skip
    assert not wrong, f"IFENGINE_SEED={number}: {wrong}"
    assert acted >= 2 * len(runs)


@pytest.mark.crash
@pytest.mark.slow
@repeated(REPEATS)
def test_a_reload_survives_whatever_happens_at_its_points(
    tmp_path: Path, ledger: Ledger, repeat: int
) -> None:
    number = SEED + repeat
    lot = random.Random(number)
    runs = [
        Run((armed,), end, reload_changed)
        for name in RELOAD
        for armed, end in actions(name, ENDS_OF_ACTS[name])
    ]
    runs = some_of(runs, lot, FEW)
    wrong, figures, acted = run_acts(tmp_path, number, runs, lambda failing: None)
    ledger.record(
        "G17", "kill, error, delay and stop at the points of a reload",
        trials=acted, failures=1 if wrong else 0, found=f"{figures}; IFENGINE_SEED={number}",
    )  # fmt: skip
    assert not wrong, f"IFENGINE_SEED={number}: {wrong}"
    assert acted == len(runs)
