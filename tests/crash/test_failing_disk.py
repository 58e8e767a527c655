"""One sync in a hundred fails, under load, for as long as it takes: each death is followed by a start.

``IFENGINE_FAILING_SYNCS`` sets how many deaths (3, in a campaign 100), ``IFENGINE_SEED`` repeats a run.
After half of them all that no sync made durable is taken away, as a kernel may do after a sync that
failed; see tests/crash/power.py. Half of those left a store that must be believed, half one that must not.
"""

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from crash.campaign import Peers, unsettled
from crash.power import Power, build_shim
from crash.serving import wait_until
from crash.test_full_disk import Answers, metric
from crash.watching import whole_balance

DEATHS = trials(3, 100, "IFENGINE_FAILING_SYNCS")
SEED = seed()
ONE_SYNC_IN = 100
STORAGE_FAILED, REFUSED = 75, 1  # the latter: the sync that failed was one of the start


def start_or_end(peers: Peers) -> int | None:
    """Start; return the exit code where the disk failed already then, None once it is ready."""
    site = peers.site
    site.spawn()
    process = site.process
    assert process is not None
    deadline = time.monotonic() + 60
    while process.poll() is None:
        if b"\nready\n" in site.log.read_bytes()[site.logged :]:
            return None
        assert time.monotonic() < deadline, "neither ready nor gone"
        time.sleep(0.02)
    return process.returncode


def goes_on(peers: Peers) -> bool:
    """Start it once more where the last failing sync ended it after it was ready."""
    process = peers.site.process
    if process is not None and process.poll() is not None:
        peers.site.start()
    return True


@pytest.mark.crash
@pytest.mark.slow
def test_syncs_that_fail_at_random_stop_the_engine_each_time_and_lose_nothing(
    tmp_path: Path, ledger: Ledger
) -> None:
    lot = random.Random(SEED)
    ends: Counter[str] = Counter()
    done: Counter[str] = Counter()
    shim = build_shim(tmp_path)
    with Peers(tmp_path, seed=SEED, faults=0.5, rate=300.0, give_up=0.2) as peers:
        site, answers = peers.site, Answers(peers.folder / "sender")
        database, uneven = site.folder / "var" / "store" / "store.db", 0
        marker = site.folder / "var" / "store.suspect"
        power = Power(site, tmp_path, shim)
        site.start()
        peers.start_sending()
        wait_until("load", lambda: answers.count >= 50)
        for _ in range(DEATHS):
            assert site.process is not None
            power.switch("fail-some", on=True, value=str(ONE_SYNC_IN))
            code = site.process.wait(120)
            while code is not None:
                ends["at work" if code == STORAGE_FAILED else "at the start"] += 1
                assert code in (STORAGE_FAILED, REFUSED), site.log.read_text()[-3000:]
                assert code != STORAGE_FAILED or marker.exists()
                if lot.random() < 0.5:
                    done += power.lose(lot, all_of_it=True)
                failing = lot.random() < 0.3
                power.switch("fail-some", on=failing, value=str(ONE_SYNC_IN))
                code = start_or_end(peers)
            # a disk that goes on failing may have marked the store again since it was ready
            assert failing or not marker.exists()
            # no watch that stays: taking writes back cuts the index under its feet
            uneven += not whole_balance(database).is_even
            time.sleep(lot.uniform(0.0, 0.3))
        power.switch("fail-some", on=False)
        before = answers.count
        wait_until("it goes on", lambda: goes_on(peers) and answers.count >= before + 50)
        assert metric(site, "ifengine_store_suspect") == 1
        peers.stop_sending()
        peers.wait_until_quiet()
        verdict, sendings, records = peers.judge()
        deaths = sum(ends.values())
        ledger.record(
            "G8", f"one sync in {ONE_SYNC_IN} fails, and a start after each death",
            trials=deaths, failures=int(not verdict.is_clean()),
            found=f"{', '.join(f'{n} {w}' for w, n in sorted(ends.items()))}; "
            f"{done['writes lost']:,} writes lost with them; {len(sendings.accepted):,} "
            f"acknowledged; {verdict.summary()}; IFENGINE_SEED={SEED}",
        )  # fmt: skip
        ledger.record(
            "G11", "the balance at each start after a failed sync",
            trials=DEATHS, failures=uneven, found=f"IFENGINE_SEED={SEED}",
        )  # fmt: skip
        assert not uneven
        assert verdict.is_clean(), f"{verdict.summary()}; {Counter(r['state'] for r in records)}"
        assert not unsettled(records), unsettled(records)
        assert site.stop() == 0
