"""One engine under load that fails at named points, again and again: the driver of the matrix.

A run arms one or more points, starts ``ifengine serve``, waits until each has said that it acts, and
looks at how the process goes on or ends. The load never pauses; one judgment ends a group of runs.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from campaigns import is_campaign
from crash.campaign import Peers
from crash.serving import Site, wait_until
from ifengine.failpoints import VARIABLE

FIRES_WITHIN_SECONDS = 40.0
ENDS_WITHIN_SECONDS = 15.0
STOPPED_STATES = ("T", "t")
SAID = re.compile(rb"^failpoint ([a-z_.]+) ([a-z]+)$", re.MULTILINE)
GOES_ON: int | None = None
STORAGE_FAILED, UNFORESEEN = 75, 1
KILLED = -signal.SIGKILL

# how the process ends when a point raises an error of the system; ADR 0013 says why. What meets
# one while it reads from a peer loses that peer's connection, and nothing else
ENDS: dict[str, int | None] = {
    "intake.accept": GOES_ON,
    "intake.mid_frame": GOES_ON,
    "intake.frame_done": GOES_ON,
    "intake.parsed": GOES_ON,
    "intake.sealed": GOES_ON,
    "intake.msg_inserted": STORAGE_FAILED,
    "intake.pre_commit": STORAGE_FAILED,
    "intake.post_commit_pre_ack": UNFORESEEN,
    "intake.mid_ack": GOES_ON,
    "intake.post_ack": GOES_ON,
    "process.claimed": UNFORESEEN,
    "process.transformed": GOES_ON,
    "process.fanout_inserted": STORAGE_FAILED,
    "process.pre_commit": STORAGE_FAILED,
    "process.post_commit": UNFORESEEN,
    "deliver.connected": GOES_ON,
    "deliver.mid_write": GOES_ON,
    "deliver.written": GOES_ON,
    "deliver.ack_read": GOES_ON,
    "deliver.ack_checked": GOES_ON,
    "deliver.pre_commit": STORAGE_FAILED,
    "deliver.post_commit": UNFORESEEN,
    "dead.pre_move": STORAGE_FAILED,
    "dead.post_move": STORAGE_FAILED,
    "parking.pre_commit": STORAGE_FAILED,
    "memory.pre_commit": STORAGE_FAILED,
    "merge.pre_commit": STORAGE_FAILED,
    "store.post_commit": STORAGE_FAILED,
    "store.move_before": STORAGE_FAILED,
    "store.move_after": STORAGE_FAILED,
    "store.ckpt_before": STORAGE_FAILED,
    "store.ckpt_after": STORAGE_FAILED,
    "store.purge_mid": STORAGE_FAILED,
    "audit.appended": STORAGE_FAILED,
    "audit.sign_before": STORAGE_FAILED,
    "keys.dek_minted": UNFORESEEN,
    "keys.dek_committed": UNFORESEEN,
}

# how often a point may be passed before it acts; where it is not named here: 30
PASSED_AT_MOST = {"intake.accept": 3, "intake.mid_frame": 3, "deliver.connected": 3}
ONCE_A_START = ("keys.dek_minted", "keys.dek_committed")
AT_THE_STOP = ("store.move_before", "store.move_after", "store.ckpt_before", "store.ckpt_after")


class Run(NamedTuple):
    """What is armed together in one process, and how it is to end.

    ``provoke`` is called once the engine is ready and all but the last point acted: for a point
    that plain messages do not reach.
    """

    armed: tuple[str, ...]  # NAME=ACTION...
    end: int | None
    provoke: "Callable[[Failing], None] | None" = None
    may_end: int | None = None  # the other way to end
    within: float = FIRES_WITHIN_SECONDS

    @property
    def plan(self) -> str:
        """Return the text of the variable."""
        return ";".join(self.armed)

    @property
    def names(self) -> set[str]:
        """Return the points."""
        return {one.partition("=")[0] for one in self.armed}


def at(name: str, lot: Random) -> str:
    """Return at which passing a point acts."""
    most = 1 if name in ONCE_A_START or name in AT_THE_STOP else PASSED_AT_MOST.get(name, 30)
    return f"@{lot.randint(1, most)}"


def kill(name: str, lot: Random) -> Run:
    """Return a run that ends by SIGKILL at a point."""
    return Run((f"{name}=kill{at(name, lot)}",), KILLED, ask_to_stop(name))


def error(name: str, lot: Random) -> Run:
    """Return a run in which a point raises."""
    kind = lot.choice(("EIO", "ENOSPC", "timeout"))
    armed = (f"{name}=error:{kind}{at(name, lot)}",)
    # the last checkpoint stands behind the last commit: nothing is promised any more
    return Run(armed, ENDS[name], ask_to_stop(name), 0 if name in AT_THE_STOP else None)


def some_of(runs: list[Run], lot: Random, few: int) -> list[Run]:
    """Return the runs in an order of the lot: in a campaign all, else a few."""
    return lot.sample(runs, len(runs) if is_campaign("IFENGINE_FAILPOINT_REPEATS") else few)


def ask_to_stop(name: str) -> "Callable[[Failing], None] | None":
    """Return how to reach a point that stands where the engine stops."""
    return Failing.ask_to_stop if name in AT_THE_STOP else None


def together(names: list[str], action: str, lot: Random) -> Run:
    """Return one run with many points that the process survives, each at a time of its own."""
    return Run(tuple(f"{name}={action}{at(name, lot)}" for name in names), GOES_ON)


def said(site: Site) -> list[tuple[str, str]]:
    """Return what acted in the present process, in order."""
    with site.log.open("rb") as log:
        log.seek(site.logged)
        return [(name.decode(), action.decode()) for name, action in SAID.findall(log.read())]


def tail(site: Site) -> str:
    """Return the end of what the process said, for a failure."""
    return site.log.read_bytes()[-1500:].decode(errors="replace")


def state_of(process: subprocess.Popen[bytes]) -> str:
    """Return the state letter that Linux gives to a process; empty when it is gone."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


class Failing:
    """Runs one after the other on one site under load."""

    def __init__(self, peers: Peers, lot: Random) -> None:
        self.peers = peers
        self.site = peers.site
        self.lot = lot
        self.commands: list[subprocess.Popen[bytes]] = []
        self.stood_still = 0
        self.fired: list[str] = []  # NAME ACTION, in the order in which they acted

    def run(self, run: Run) -> None:
        """Start armed, and see every point act and the process end or go on as it should."""
        site = self.site
        site.environ[VARIABLE] = run.plan
        site.spawn()
        assert site.process is not None
        provoke = run.provoke
        first = {one.partition("=")[0] for one in run.armed[:-1]}
        deadline = time.monotonic() + run.within
        while True:
            acted = said(site)
            self.let_go_on()
            if run.names <= {name for name, _ in acted}:
                break
            if provoke is not None and self.is_ready() and first <= {name for name, _ in acted}:
                provoke(self)
                provoke = None
            assert time.monotonic() < deadline, f"did not act: {run.plan}: {acted} {tail(site)}"
            gone = site.process.poll()
            assert gone is None or run.end is not None, (
                f"ended with {gone}: {run.plan} {tail(site)}"
            )
            assert gone is None or said(site), f"ended with {gone}: {run.plan} {tail(site)}"
            time.sleep(0.01)
        self.fired += [f"{name} {action}" for name, action in acted]
        if run.end is None:
            self.end_alive(run)
        else:
            code = self.ended(run)
            ends = (run.end, run.may_end)
            assert code in ends, f"{run.plan}: exit {code}, not {run.end}: {tail(site)}"
        for command in self.commands:
            command.communicate(timeout=FIRES_WITHIN_SECONDS)
        self.commands.clear()

    def ended(self, run: Run) -> int:
        """Return how the process ended; it must do so soon, a fault is no reason to linger."""
        process = self.site.process
        assert process is not None
        try:
            return process.wait(ENDS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end: {run.plan}: {tail(self.site)}") from None

    def ask_to_stop(self) -> None:
        """SIGTERM after a moment."""
        time.sleep(self.lot.uniform(0.0, 0.3))
        if self.site.process is not None:
            self.site.process.send_signal(signal.SIGTERM)

    def command(self, *words: str) -> None:
        """Run a command of the engine beside it: it may never get an answer."""
        self.commands.append(
            subprocess.Popen(
                [sys.executable, "-m", "ifengine", *words, "--site", str(self.site.folder)],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.site.environ,
            )
        )  # fmt: skip

    def is_ready(self) -> bool:
        """Whether the process says so."""
        with self.site.log.open("rb") as log:
            log.seek(self.site.logged)
            return b"\nready\n" in log.read()

    def let_go_on(self) -> None:
        """Continue the process after a while, if it stands still."""
        process = self.site.process
        assert process is not None
        if state_of(process) in STOPPED_STATES:
            time.sleep(self.lot.uniform(0.02, 0.4))
            process.send_signal(signal.SIGCONT)
            self.stood_still += 1

    def is_up(self) -> bool:
        """Whether it is ready, helped on where it stopped after the last look."""
        self.let_go_on()
        return self.site.is_ready()

    def end_alive(self, run: Run) -> None:
        """The process went on: it must be ready and take messages, and stop in order, or be killed."""
        process = self.site.process
        assert process is not None
        stops = any("=stop" in one for one in run.armed)
        wait_until("serve is ready", self.is_up)
        for _ in range(self.lot.randint(2, 10)):
            time.sleep(0.04)
            self.let_go_on()
        assert self.stood_still or not stops, f"never stood still: {run.plan}"
        assert process.poll() is None, f"ended: {run.plan}: {tail(self.site)}"
        if self.lot.random() < 0.5:
            self.site.kill()
        else:
            assert self.site.stop() == 0, f"{run.plan}: {tail(self.site)}"

    def disarm(self) -> None:
        """Start as usual."""
        self.site.environ.pop(VARIABLE, None)
        self.site.start()


def stop_and_kill(failing: Failing, name: str) -> None:
    """Stop at a point, and kill what stands still: the sender and the receivers saw it hang."""
    site = failing.site
    site.environ[VARIABLE] = f"{name}=stop{at(name, failing.lot)}"
    site.spawn()
    process = site.process
    assert process is not None
    wait_until(f"{name} acts", lambda: said(site), FIRES_WITHIN_SECONDS)
    wait_until("the process stands still", lambda: state_of(process) in STOPPED_STATES)
    time.sleep(failing.lot.uniform(0.02, 0.4))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    failing.fired.append(f"{name} stop")
