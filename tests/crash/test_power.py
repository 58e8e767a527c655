"""Power cuts of the real engine on a real file system: what was acknowledged is there.

``IFENGINE_POWER_CUTS`` sets how often (4, in a campaign 200), ``IFENGINE_SEED`` repeats a run. The
process is killed, and the files go back to what the last syncs made of them: tests/crash/power.py.
"""

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from crash.campaign import Peers, unsettled
from crash.power import Power, build_shim, read_account
from crash.serving import wait_until
from crash.watching import described, whole_balance

CUTS = trials(4, 200, "IFENGINE_POWER_CUTS")
SEED = seed()
STORAGE_FAILED = 75


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


def assert_even(peers: Peers) -> None:
    """Strike the balance anew: what a cut takes away is not to be seen by one that looked before."""
    balance = whole_balance(peers.site.folder / "var" / "store" / "store.db")
    assert balance.is_even, described(balance)


def accepted(peers: Peers) -> int:
    """How many positive answers the sender has."""
    return len(peers.read()[0].accepted) if (peers.folder / "sender").exists() else 0


@pytest.mark.crash
@pytest.mark.slow
def test_power_cuts_under_load_lose_nothing_that_was_acknowledged(
    tmp_path: Path, shim: Path, ledger: Ledger
) -> None:
    lot = random.Random(SEED)
    lost: Counter[str] = Counter()
    with Peers(tmp_path, seed=SEED, faults=0.5, rate=300.0, give_up=0.2) as peers:
        site = peers.site
        power = Power(site, tmp_path, shim)
        site.start()
        peers.start_sending()
        for _ in range(CUTS):
            # what runs while a sync takes long must not answer for it
            power.switch("delay", on=lot.random() < 0.3, value="40")
            time.sleep(lot.uniform(0.05, 0.8))
            site.kill()
            lost += power.lose(lot)
            site.start()
            assert_even(peers)
        power.switch("delay", on=False)
        before = accepted(peers)
        wait_until("it goes on", lambda: accepted(peers) >= before + 50)
        peers.stop_sending()
        peers.wait_until_quiet()
        verdict, sendings, records = peers.judge()
        ledger.record(
            "G1", "power cuts of the whole engine, on a real file system",
            trials=CUTS, failures=0 if verdict.is_clean() else 1,
            found=f"{len(sendings.sent):,} sent, {len(sendings.accepted):,} acknowledged; "
            f"{lost['writes lost']:,} writes and {lost['entries lost']} entries lost, "
            f"{lost['writes kept']:,} unsynced ones kept; {verdict.summary()}; IFENGINE_SEED={SEED}",
        )  # fmt: skip
        assert_even(peers)
        assert verdict.is_clean(), verdict.summary()
        assert not sendings.refused
        assert not unsettled(records), unsettled(records)
        assert lost["writes lost"] > 0, "no cut took anything: it was no cut"
        assert site.stop() == 0


def begin_new_site(peers: Peers, power: Power) -> None:
    """Make everything below ``var`` under the account, and take the first answers."""
    var = peers.site.folder / "var"
    (var / "keys" / "kek").unlink()
    (var / "keys").rmdir()
    var.rmdir()
    assert peers.site.command("keys", "init").returncode == 0
    peers.site.start()
    peers.start_sending()
    wait_until("the first answers", lambda: accepted(peers) >= 5)
    peers.site.kill()
    made = {Path(record.path).name for record in read_account(power.log) if record.kind == "c"}
    assert made >= {"var", "keys", "kek", "store", "store.db", "store.db-wal", "store.mark"}


@pytest.mark.crash
def test_a_power_cut_right_after_the_first_answers_of_a_new_site_loses_nothing(
    tmp_path: Path, shim: Path, ledger: Ledger
) -> None:
    """Folders, key, database, log and note are all new: every entry must outlive the cut."""
    with Peers(tmp_path, seed=SEED, faults=0.0, rate=100.0, give_up=0.0) as peers:
        site = peers.site
        power = Power(site, tmp_path, shim)
        begin_new_site(peers, power)
        lost = power.lose(random.Random(SEED), all_of_it=True)
        site.start()
        before = accepted(peers)
        wait_until("it goes on", lambda: accepted(peers) >= before + 20)
        peers.stop_sending()
        peers.wait_until_quiet()
        verdict, sendings, _ = peers.judge()
        ledger.record(
            "G1", "power cut of a new site: every unsynced folder entry lost",
            trials=1, failures=0 if verdict.is_clean() else 1,
            found=f"{lost['entries lost']} entries lost; {len(sendings.accepted)} acknowledged",
        )  # fmt: skip
        assert verdict.is_clean(), verdict.summary()
        assert site.stop() == 0


@pytest.mark.crash
def test_a_new_site_whose_folders_are_not_synced_is_lost(tmp_path: Path, shim: Path) -> None:
    """The test above can fail."""
    with Peers(tmp_path, seed=SEED, faults=0.0, rate=100.0, give_up=0.0) as peers:
        power = Power(peers.site, tmp_path, shim)
        power.switch("lie-folders", on=True)
        begin_new_site(peers, power)
        power.lose(random.Random(SEED), all_of_it=True)
        with pytest.raises(AssertionError, match="there is no key-encryption key"):
            peers.site.start()


@pytest.mark.crash
@pytest.mark.parametrize("what", ["fail-sync", "fail-write"])
def test_a_failing_disk_stops_the_engine_and_nothing_in_doubt_was_answered(
    what: str, tmp_path: Path, shim: Path, ledger: Ledger
) -> None:
    lot = random.Random(SEED)
    with Peers(tmp_path, seed=SEED, faults=0.0, rate=300.0, give_up=0.0) as peers:
        site = peers.site
        power = Power(site, tmp_path, shim)
        site.start()
        peers.start_sending()
        wait_until("load", lambda: accepted(peers) >= 50)
        assert site.process is not None
        power.switch(what, on=True)
        assert site.process.wait(30) == STORAGE_FAILED
        assert "the storage failed" in site.log.read_text()
        answered = accepted(peers)
        power.switch(what, on=False)
        lost = power.lose(lot, all_of_it=True)  # what the failed sync left in the cache is gone
        assert accepted(peers) == answered
        site.start()
        wait_until("it goes on", lambda: accepted(peers) >= answered + 50)
        peers.stop_sending()
        peers.wait_until_quiet()
        verdict, sendings, _ = peers.judge()
        ledger.record(
            "G1", f"disk of the whole engine: {what.replace('-', 'ing ')}, then the cache is lost",
            trials=1, failures=0 if verdict.is_clean() else 1,
            found=f"{lost['writes lost']} writes lost; {len(sendings.accepted)} acknowledged",
        )  # fmt: skip
        assert verdict.is_clean(), verdict.summary()
        assert site.stop() == 0


@pytest.mark.crash
def test_a_drive_that_lies_about_its_syncs_is_found_out_by_the_same_account(
    tmp_path: Path, shim: Path
) -> None:
    """The tests above can fail: without syncs acknowledged messages are lost, and the account says so."""
    lot = random.Random(SEED)
    with Peers(tmp_path, seed=SEED, faults=0.0, rate=300.0, give_up=0.0) as peers:
        site = peers.site
        power = Power(site, tmp_path, shim)
        site.start()
        power.switch("lie", on=True)
        peers.start_sending()
        wait_until("load", lambda: accepted(peers) >= 100)
        site.kill()
        power.lose(lot, all_of_it=True)
        power.switch("lie", on=False)
        site.start()
        peers.stop_sending()
        with pytest.raises(AssertionError, match="acknowledged and not in the books"):
            peers.judge()
