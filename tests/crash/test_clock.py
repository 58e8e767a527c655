"""The wall clock of a real process is set while it runs, is killed and starts again, by up to ten years.

The engine runs under libfaketime, whose offset stands in a file that this test writes anew; the monotonic
clock and the age of the boot stay true, as they do when a person sets the clock. Sender and receivers
have clocks of their own. ``IFENGINE_CLOCKS`` sets how often the clock is set (16, in a campaign 500).
"""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from campaigns import Ledger, seed, trials
from crash.campaign import Peers, unsettled
from crash.serving import Site, wait_until
from requirements import require

JUMPS = trials(16, 500, "IFENGINE_CLOCKS")
SEED = seed()
EVERY_SECONDS = 0.35  # between settings, on average
KILL_EVERY = 8  # settings
DAY = 86_400
OFFSETS = (0, 1, -1, 3600, -3600, DAY, -DAY, 40 * DAY, -40 * DAY, 3650 * DAY, -3650 * DAY)


def clock_of(site: Site) -> Any:
    done = site.command("clock", "show", "-o", "json")
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


@pytest.mark.chaos
@pytest.mark.slow
def test_a_real_process_whose_clock_is_set_loses_repeats_reorders_and_purges_nothing(
    tmp_path: Path, ledger: Ledger
) -> None:
    library = faked()
    offset = tmp_path / "offset"
    lot = random.Random(SEED)

    def set_clock(seconds: int) -> None:
        fresh = tmp_path / "offset.new"
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(offset)

    set_clock(0)
    environ = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with (
        Peers(tmp_path, seed=SEED, faults=1.0, rate=300.0, give_up=0.5, environ=environ) as peers,
        peers.watch_balance() as watch,
    ):
        site = peers.site
        site.start()
        peers.start_sending()
        for number in range(1, JUMPS + 1):
            time.sleep(lot.uniform(0.0, 2 * EVERY_SECONDS))
            dies = number % KILL_EVERY == 0
            if dies:
                site.kill()  # and the clock is set while nothing runs
            set_clock(lot.choice(OFFSETS) + lot.randint(-5, 5))
            if dies:
                site.start()
        set_clock(3650 * DAY)
        wait_until("the clock is doubted", lambda: not clock_of(site)["believed"], 60.0)
        assert clock_of(site)["times_set"] > 0
        set_clock(0)
        wait_until("the clock is believed again", lambda: clock_of(site)["believed"], 60.0)
        peers.stop_sending()
        peers.wait_until_quiet()
        verdict, sendings, records = peers.judge()
        watch.stop()
        purged = len(sendings.accepted) - len({r["control_id"] for r in records})
        ledger.record(
            "G12", "the wall clock of a real process set by up to ten years, kills between",
            trials=JUMPS, failures=0 if verdict.is_clean() and purged <= 0 else 1,
            found=f"{len(sendings.accepted)} acknowledged, {JUMPS // KILL_EVERY} kills; "
            f"{verdict.summary()}; {watch.figures()}; IFENGINE_SEED={SEED}",
        )  # fmt: skip
        watch.assert_even()
        assert verdict.is_clean(), verdict.summary()
        assert purged <= 0
        assert not sendings.refused
        assert not unsettled(records), unsettled(records)
        assert len(sendings.accepted) > JUMPS, "too little load to mean anything"
        assert site.stop() == 0


def faked() -> Path:
    """Return the library behind ``faketime``, which Debian keeps beside no other."""
    require("program:faketime")
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "faketime is here without its library"
    return found[0]
