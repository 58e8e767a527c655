"""The crash matrix: kill, error, delay and stop at every named point under load, judged from outside.

The short form kills once at each of twelve points of intake and delivery; `make crash` does all.
``IFENGINE_FAILPOINT_REPEATS`` sets how often (5 in a campaign), ``IFENGINE_SEED`` repeats a run.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from campaigns import Ledger, repeated, seed, trials
from crash.campaign import ORDERED_BY, Peers, unsettled
from crash.failing import (
    AT_THE_STOP,
    ENDS,
    GOES_ON,
    Failing,
    Run,
    error,
    kill,
    stop_and_kill,
    tail,
    together,
)
from ifengine.failpoints import POINTS

REPEATS = trials(0, 5, "IFENGINE_FAILPOINT_REPEATS")
TAKEN_IN = trials(2, 40, "IFENGINE_TAKEN_IN")
SEED = seed()

SHORT = (
    "intake.frame_done", "intake.sealed", "intake.msg_inserted", "intake.pre_commit",
    "intake.post_commit_pre_ack", "intake.mid_ack", "intake.post_ack",
    "deliver.connected", "deliver.mid_write", "deliver.written", "deliver.ack_checked",
    "deliver.pre_commit",
)  # fmt: skip
# reached by plain messages, a start and a stop; the others are reached by what their test does
UNDER_LOAD = tuple(
    name
    for name in POINTS
    if name.startswith(("intake.", "process.", "deliver.", "keys.", "audit.", "store."))
    and name != "store.purge_mid"
    and not name.startswith(("store.upgrade_", "store.giant_"))
)
# a dead letter, and an attempt that an error ended, hold their key back, not their connection
BY_KEY = {"east": "key", "west": "key"}

Act = Callable[[Failing], None]


def run_group(
    folder: Path, acts: Sequence[Act], number: int, ordered_by: Mapping[str, str] = ORDERED_BY
) -> tuple[str, str, int]:
    """Fail as the acts say under one load; return what is wrong, the figures, how much acted."""
    with Peers(folder, seed=number, faults=0.5, rate=400.0, give_up=0.2) as peers:
        failing = Failing(peers, random.Random(number))
        with peers.watch_balance() as watch:
            peers.start_sending()
            for act in acts:
                act(failing)
            failing.disarm()
            told = judge(failing, ordered_by)
        watch.assert_even()
        return *told, len(failing.fired)


def judge(failing: Failing, ordered_by: Mapping[str, str]) -> tuple[str, str]:
    """Let everything drain, and compare; return what is wrong and the figures."""
    peers, site = failing.peers, failing.site
    peers.stop_sending()
    peers.wait_until_quiet()
    verdict, sendings, records = peers.judge(ordered_by)
    figures = f"{len(sendings.sent)} sent, {len(sendings.accepted)} acknowledged"
    wrong = [] if verdict.is_clean() else [verdict.summary()]
    left = unsettled(records)
    if left:
        wrong.append(f"not settled: {dict(left)}")
    if sendings.refused:
        wrong.append(f"refused: {sorted(sendings.refused)[:5]}")
    if site.command("audit", "verify").returncode != 0:
        wrong.append("the audit chain does not hold")
    if site.stop() != 0:
        wrong.append("no ordered stop")
    return "; ".join(wrong), figures


def in_one_process(names: Sequence[str], action: str, lot: random.Random) -> Act:
    return lambda failing: failing.run(together(list(names), action, lot))


def once(run: Run) -> Act:
    return lambda failing: failing.run(run)


def everything_under_load(lot: random.Random) -> list[Act]:
    """Every point with every action once, in an order of the lot."""
    alive = [name for name in UNDER_LOAD if name not in AT_THE_STOP]
    ending = [name for name in UNDER_LOAD if ENDS[name] is not GOES_ON]
    # there an error makes a dead letter, which waits for a person
    surviving = [name for name in alive if ENDS[name] is GOES_ON and name != "process.transformed"]
    acts = [once(kill(name, lot)) for name in UNDER_LOAD]
    acts += [once(error(name, lot)) for name in ending]
    lot.shuffle(alive)
    half = len(alive) // 2
    for names in (alive[:half], alive[half:]):
        acts.append(in_one_process(names, "delay:0.15", lot))
        acts.append(in_one_process(names, "stop", lot))
    acts.append(in_one_process(surviving, f"error:{lot.choice(('EIO', 'ENOSPC', 'timeout'))}", lot))
    acts += [
        lambda failing, name=name: stop_and_kill(failing, name) for name in lot.sample(alive, 3)
    ]
    lot.shuffle(acts)
    return acts


def singly(folder: Path, acts: Sequence[Act], number: int) -> list[int]:
    """Repeat each act of a group that failed by itself; return which fail alone."""
    alone = []
    for at, act in enumerate(acts):
        one = folder / f"alone-{at}"
        one.mkdir()
        if run_group(one, [act], number, BY_KEY)[0]:
            alone.append(at)
    return alone


@pytest.mark.crash
def test_a_kill_at_each_of_twelve_points_loses_and_reorders_nothing(
    tmp_path: Path, ledger: Ledger
) -> None:
    lot = random.Random(SEED)
    names = list(SHORT)
    lot.shuffle(names)
    wrong, figures, acted = run_group(tmp_path, [once(kill(n, lot)) for n in names], SEED)
    ledger.record(
        "G1", "kills at named points of intake and delivery", trials=acted,
        failures=1 if wrong else 0, found=f"{figures}; IFENGINE_SEED={SEED}",
    )  # fmt: skip
    assert not wrong, f"IFENGINE_SEED={SEED}: {wrong}"
    assert acted == len(SHORT)


@pytest.mark.crash
def test_an_error_while_a_frame_is_taken_in_reorders_nothing(
    tmp_path: Path, ledger: Ledger
) -> None:
    """Nothing behind it is taken: its sender repeats both, in order (ADR 0013)."""
    lot = random.Random(SEED)
    names = ["intake.frame_done", "intake.parsed", "intake.sealed"]
    # each of them several times in one process: it goes on, and only the connection ends
    acts = [in_one_process(names * 5, "error:EIO", lot) for _ in range(TAKEN_IN)]
    wrong, figures, acted = run_group(tmp_path, acts, SEED)
    ledger.record(
        "G3", "errors of the system while a frame is taken in", trials=acted,
        failures=1 if wrong else 0, found=f"{figures}; IFENGINE_SEED={SEED}",
    )  # fmt: skip
    assert not wrong, f"IFENGINE_SEED={SEED}: {wrong}"
    assert acted >= TAKEN_IN * len(names)


@pytest.mark.crash
@pytest.mark.parametrize("name", ["intake.post_commit_pre_ack", "process.claimed"])
def test_after_a_fault_of_ours_the_engine_ends_soon_and_the_next_start_trusts_nothing(
    tmp_path: Path, name: str
) -> None:
    with Peers(tmp_path, seed=SEED, faults=0.0, rate=200.0, give_up=0.0) as peers:
        failing = Failing(peers, random.Random(SEED))
        peers.start_sending()
        # a sender waits for an answer that never comes: that is not waited out. And what the fault
        # lost sight of is planned at the next start: nothing after it was, meanwhile
        failing.run(Run((f"{name}=error:EIO@20",), ENDS[name]))
        failing.disarm()
        assert "the last run ended without a stop" in tail(peers.site)
        wrong, _ = judge(failing, ORDERED_BY)
        assert not wrong, wrong


@pytest.mark.crash
@pytest.mark.slow
@repeated(REPEATS)
def test_nothing_is_lost_whatever_happens_at_any_point_under_load(
    tmp_path: Path, ledger: Ledger, repeat: int
) -> None:
    number = SEED + repeat
    acts = everything_under_load(random.Random(number))
    group = tmp_path / "group"
    group.mkdir()
    wrong, figures, acted = run_group(group, acts, number, BY_KEY)
    for promise in ("G1", "G8"):
        ledger.record(
            promise, "kill, error, delay and stop at named points under load", trials=acted,
            failures=1 if wrong else 0, found=f"{figures}; IFENGINE_SEED={number}",
        )  # fmt: skip
    assert not wrong, f"IFENGINE_SEED={number}: {wrong}; alone: {singly(tmp_path, acts, number)}"
    assert acted >= 3 * len(UNDER_LOAD)
