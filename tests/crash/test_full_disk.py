"""The disk of the store is filled by somebody else, under load, and freed: G8.

``IFENGINE_FILLS`` sets how often (5, in a campaign 200), ``IFENGINE_SEED`` repeats a run. Five ways: down
to below the reserve; down to the last byte; so, and whatever the engine gives up is taken too; down to
the last byte and a kill; the same, and the engine is to start on the full disk.
"""

import random
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from campaigns import Ledger, seed, trials
from crash.campaign import Peers, unsettled
from crash.serving import Site, wait_until
from crash.small_disk import SmallDisk

FILLS = trials(5, 200, "IFENGINE_FILLS")
SEED = seed()
MIB = 1 << 20
RESERVE, BALLAST = 4, 8
STORE = f"{{path: var/store, reserve: {RESERVE}MiB, ballast: {BALLAST}MiB}}"
WAYS = ("low", "full", "greedy", "kill", "start")
RESUMES_WITHIN_SECONDS = 10.0  # guarantees.md G8


class Answers:
    """How many positive answers the sender has, without reading its log anew each time."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._read = 0
        self._count = 0

    @property
    def count(self) -> int:
        """All so far."""
        if self.log.exists():
            with self.log.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0] + b"\n"
            self._read += len(whole) if whole != b"\n" else 0
            self._count += sum(
                line.startswith(b"A ") and line.endswith((b" AA", b" CA"))
                for line in whole.splitlines()
            )
        return self._count


def ready(site: Site) -> tuple[int, str]:
    """Return what ``/readyz`` says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{site.metrics_port}/readyz") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(site: Site, name: str) -> float:
    """Return one sample of the engine's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{site.metrics_port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
    raise AssertionError(f"no {name}")


def disk_of(peers: Peers, mebibytes: int) -> SmallDisk:
    return SmallDisk(peers.site.folder / "var" / "store", mebibytes)


def alive(site: Site) -> bool:
    """Whether the process goes on: a full disk is no reason to end."""
    assert site.process is not None
    code = site.process.poll()
    assert code is None, f"ended with {code}: {site.log.read_text()[-2000:]}"
    return True


def fill_once(
    way: str, peers: Peers, disk: SmallDisk, answers: Answers, lot: random.Random
) -> float:
    """Fill and free the disk once; return how many seconds after that messages were taken again."""
    site = peers.site
    if way == "greedy":
        disk.fill_greedily()
    else:
        disk.fill(leave=RESERVE * MIB // 2 if way == "low" else 0)
    time.sleep(lot.uniform(0.2, 2.0))
    if way in ("kill", "start"):
        site.kill()
        site.spawn()
    if way == "start":
        time.sleep(lot.uniform(0.2, 2.0))
    before, freed = answers.count, time.monotonic()
    disk.free()
    if way in ("kill", "start"):
        wait_until("it is ready", site.is_ready, 30.0)
    wait_until("messages are taken again", lambda: answers.count >= before + 30, 60.0)
    assert alive(site)
    return time.monotonic() - freed


@pytest.mark.crash
@pytest.mark.slow
def test_a_disk_that_is_filled_and_freed_loses_nothing_and_intake_resumes_by_itself(
    tmp_path: Path, ledger: Ledger
) -> None:
    lot = random.Random(SEED)
    ways: Counter[str] = Counter()
    resumed: dict[str, float] = {}
    with Peers(tmp_path, seed=SEED, faults=0.5, rate=80.0, give_up=0.2, store=STORE) as peers:
        site, answers = peers.site, Answers(peers.folder / "sender")
        with disk_of(peers, 64 + 3 * FILLS) as disk, peers.watch_balance() as watch:
            site.start()
            peers.start_sending()
            wait_until("load", lambda: answers.count >= 50)
            for number in range(FILLS):
                way = WAYS[number] if number < len(WAYS) else lot.choice(WAYS)
                took = fill_once(way, peers, disk, answers, lot)
                ways[way] += 1
                resumed[way] = max(resumed.get(way, 0.0), took)
                time.sleep(lot.uniform(0.0, 0.5))
            peers.stop_sending()
            peers.wait_until_quiet()
            verdict, sendings, records = peers.judge()
            watch.stop()
            slow = [way for way, took in resumed.items() if took > RESUMES_WITHIN_SECONDS]
            ledger.record(
                "G8", "a disk filled and freed under load", trials=FILLS,
                failures=int(not verdict.is_clean() or bool(slow)),
                found=f"{', '.join(f'{w} {n}' for w, n in sorted(ways.items()))}; "
                f"{len(sendings.accepted):,} acknowledged; {verdict.summary()}; "
                f"slowest to resume {max(resumed.values()):.1f} s; IFENGINE_SEED={SEED}",
            )  # fmt: skip
            ledger.record(
                "G11", "the balance every 100 ms while the disk is filled and freed",
                trials=watch.evaluations, failures=len(watch.violations),
                found=f"{watch.figures()}; IFENGINE_SEED={SEED}",
            )  # fmt: skip
            watch.assert_even()
            stuck = Counter(record["state"] for record in records)
            assert verdict.is_clean(), f"{verdict.summary()}; {stuck}; {site.log.read_text()}"
            assert not slow, resumed
            assert not sendings.refused
            assert not unsettled(records), unsettled(records)
            assert site.stop() == 0


@pytest.mark.crash
def test_on_a_full_disk_delivery_goes_on_and_everything_says_what_is_wrong(
    tmp_path: Path, ledger: Ledger
) -> None:
    with Peers(tmp_path, seed=SEED, faults=0.0, rate=100.0, give_up=0.0, store=STORE) as peers:
        site, answers = peers.site, Answers(peers.folder / "sender")
        with disk_of(peers, 64) as disk:
            site.start()
            wait_until("the ballast", lambda: metric(site, "ifengine_disk_ballast_bytes") > 0)
            paused = site.command("channels", "pause", "crossing", "--reason", "to have a backlog")
            assert paused.returncode == 0, paused.stderr
            peers.start_sending()
            wait_until("a backlog", lambda: answers.count >= 150)
            disk.fill()
            # at the last byte the next commit needs the ballast, and senders are no longer read
            wait_until("ballast", lambda: metric(site, "ifengine_disk_ballast_bytes") == 0)
            wait_until("not ready", lambda: ready(site)[0] == 503)
            assert "disk" in ready(site)[1]
            doctor = site.command("doctor", "--check", "disk")
            assert doctor.returncode == 1
            assert "the ballast was given up" in doctor.stdout
            resumed = site.command("channels", "resume", "crossing")
            assert resumed.returncode == 0, resumed.stderr
            stood = answers.count
            wait_until("all of it is delivered", lambda: delivered(peers) >= stood, 60.0)
            time.sleep(1.0)
            assert answers.count == stood, "senders were read from a full disk"
            assert alive(site)
            disk.free()
            freed = time.monotonic()
            wait_until("it takes messages", lambda: answers.count >= stood + 30, 60.0)
            took = time.monotonic() - freed
            wait_until("a new ballast", lambda: metric(site, "ifengine_disk_ballast_bytes") > 0)
            wait_until("ready", lambda: ready(site)[0] == 200)
            peers.stop_sending()
            peers.wait_until_quiet()
            verdict, _, _ = peers.judge()
            ledger.record(
                "G8", "a backlog is delivered while the disk is full to the last byte",
                trials=stood, failures=int(not verdict.is_clean()),
                found=f"{verdict.summary()}; taken again after {took:.1f} s; IFENGINE_SEED={SEED}",
            )  # fmt: skip
            assert took <= RESUMES_WITHIN_SECONDS
            assert verdict.is_clean(), verdict.summary()
            said = site.log.read_text() + doctor.stdout
            assert not [word for word in ("Person", "900-00", "Test") if word in said]
            assert site.stop() == 0


def delivered(peers: Peers) -> int:
    """How many messages each receiver has at least."""
    arrivals = peers.read()[1].values()
    return min(len({one.control_id for one in log}) for log in arrivals)
