"""SIGKILL at random moments under load: nothing acknowledged is lost, nothing overtakes.

``IFENGINE_KILLS`` sets how often (60, in a campaign 1,000), ``IFENGINE_SEED`` repeats a run. Faults put into the engine by
hand, each caught within 25 kills: no mark on what was in the settle window, a delivery skipped at the
start, no order between deliveries of a key, no retransmission guard, the answer before the commit.
"""

import random
import time
from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from crash.campaign import Peers, unsettled
from crash.serving import RESTART_LIMIT_SECONDS

KILLS = trials(60, 1000, "IFENGINE_KILLS")
SEED = seed()
WINDOW = 32  # deliveries a lane may have unsettled at a crash (guarantees.md G4, batched)
LANES = {"east": 4, "west": 1}


@pytest.mark.crash
@pytest.mark.slow
def test_nothing_acknowledged_is_lost_or_reordered_by_kills_at_random_moments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ledger: Ledger
) -> None:
    lot = random.Random(SEED)
    restarts = []
    with capsys.disabled():
        print(f"\n{KILLS} kills, IFENGINE_SEED={SEED}")
    with (
        Peers(tmp_path, seed=SEED, faults=1.0, rate=400.0, give_up=0.2) as peers,
        peers.watch_balance() as watch,
    ):
        site = peers.site
        site.start()
        peers.start_sending()
        for _ in range(KILLS):
            # some kills hit a process that has not recovered yet
            if lot.random() < 0.15:
                time.sleep(lot.uniform(0.0, 0.5))
            else:
                time.sleep(lot.uniform(0.02, 0.5))
            site.kill()
            if lot.random() < 0.15:
                site.spawn()
                time.sleep(lot.uniform(0.05, 0.8))
                site.kill()
            restarts.append(site.start())
        peers.stop_sending()
        peers.wait_until_quiet()
        verdict, sendings, records = peers.judge()
        ledger.record(
            "G1", "kills at random moments under load", trials=KILLS,
            failures=0 if verdict.is_clean() else 1,
            found=f"{len(sendings.sent)} sent, {len(sendings.accepted)} acknowledged, "
            f"{sendings.sent_again} sent again; {verdict.summary()}; "
            f"slowest restart {max(restarts):.1f} s; IFENGINE_SEED={SEED}",
        )  # fmt: skip
        watch.stop()
        ledger.record(
            "G11", "the balance every 100 ms while the engine is killed under load",
            trials=watch.evaluations, failures=len(watch.violations),
            found=f"{watch.figures()}; IFENGINE_SEED={SEED}",
        )  # fmt: skip
        watch.assert_even()
        assert verdict.is_clean(), verdict.summary()
        assert not sendings.refused
        assert not unsettled(records), unsettled(records)
        assert len(sendings.accepted) > KILLS * 20, "too little load to mean anything"
        closed = sum(one.answer == "none" for log in peers.read()[1].values() for one in log)
        kills = KILLS * 1.3
        for name, lanes in LANES.items():
            most = kills * WINDOW * lanes + closed
            assert verdict.duplicates[name] <= most
        assert max(restarts) < RESTART_LIMIT_SECONDS
        assert site.stop() == 0
