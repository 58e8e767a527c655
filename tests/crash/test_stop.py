"""SIGTERM under load: exit 0, nothing lost, nothing in doubt, nothing delivered twice."""

import random
import time
from pathlib import Path

import pytest

from crash.campaign import Peers, unsettled

STOPS = 10
SEED = 20_261_121


@pytest.mark.crash
@pytest.mark.slow
def test_a_stop_under_load_loses_nothing_and_leaves_nothing_in_doubt(tmp_path: Path) -> None:
    lot = random.Random(SEED)
    with Peers(tmp_path, seed=SEED, faults=0.0, rate=600.0, give_up=0.0) as peers:
        site = peers.site
        site.start()
        peers.start_sending()
        for _ in range(STOPS):
            time.sleep(lot.uniform(0.1, 0.6))
            assert site.stop() == 0
            site.start()
        peers.stop_sending()
        peers.wait_until_quiet()
        verdict, sendings, records = peers.judge()
        assert verdict.is_clean(), verdict.summary()
        assert not verdict.duplicates, "a clean stop needs no repetition"
        marked = [
            record["id"]
            for record in records
            if any(one["possible_duplicate"] for one in record["destinations"])
        ]
        assert not marked, f"in doubt although stopped in order: {marked[:5]}"
        assert not unsettled(records)
        assert not sendings.refused
        assert set(sendings.sent) == sendings.accepted
        assert len(sendings.accepted) > STOPS * 30
        assert site.stop() == 0


@pytest.mark.crash
def test_a_stop_while_a_receiver_does_not_answer_still_ends_and_says_so(tmp_path: Path) -> None:
    with Peers(tmp_path, seed=1, faults=0.0, rate=200.0, give_up=0.0) as peers:
        site = peers.site
        peers.receiver.kill()  # nobody listens: everything stays queued
        peers.receiver.wait()
        site.start()
        peers.start_sending()
        time.sleep(1.0)
        peers.stop_sending()
        assert site.stop() == 0
        site.start()
        peers.receiver = peers.start_receiving()
        peers.wait_until_quiet()
        verdict, sendings, _ = peers.judge()
        assert verdict.is_clean(), verdict.summary()
        assert not verdict.duplicates
        assert len(sendings.accepted) > 50
        assert site.stop() == 0
