"""An engine under attack: memory stays bounded, and who behaves is served as before (G9).

One process attacks in every way of ``attackers``; the sender and the receivers of the crash tests go on
beside it and are judged as there. ``IFENGINE_FLAPS`` sets how often a connection is opened and dropped
(300, in a campaign 10,000), ``IFENGINE_SIEGE_SECONDS`` how long it takes at least (4, 240),
``IFENGINE_SEED`` repeats a run.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.request import urlopen

import pytest
import trustme

from campaigns import Ledger, seed, trials
from crash.campaign import TESTS, Peers
from crash.messages import make
from crash.serving import Site, free_ports, wait_until

FLAPS = trials(300, 10_000, "IFENGINE_FLAPS")
SECONDS = trials(4, 240, "IFENGINE_SIEGE_SECONDS")
SEED = seed()
MIB = 1024 * 1024
LONGEST, UNFINISHED = 2 * MIB, 24 * MIB
SLOW, STUCK, PARKED_BYTES = 512, 32, 300_000
RATE = 100.0
LONGEST_ANSWER_SECONDS = 15.0  # no promise: so generous that only a standstill is longer
FEED = (
    f", unknown_types: reject, max_message: {LONGEST // MIB}MiB, max_unfinished: {UNFINISHED // MIB}MiB"
    ", max_connections: 1024, max_connections_per_address: 128, frame_timeout: 2s"
)
# security.md: what is held of unfinished messages, by connection, and of messages on their way
BOUND = UNFINISHED + 16 * MIB + 2 * 16 * MIB + 2 * 16 * MIB + STUCK * 4 * PARKED_BYTES
BOUND_A_CONNECTION = 300 * 1024
ONE_MESSAGE = 10 * LONGEST


def besieged(peers: Peers, stuck_port: int) -> None:
    """Add to the site: limits, a listener with TLS, and receivers that never read."""
    site = peers.site
    ca = trustme.CA()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(site.folder / "walled.pem")
    )
    site.ports["side"], site.ports["walled"] = free_ports(2)
    file = site.folder / "ifengine.yaml"
    lines = []
    for line in file.read_text().splitlines():
        if line.startswith("  feed:"):
            line = line.removesuffix("}") + FEED + "}"
        if line == "connections:":
            lines.append("tls: {walls: {cert: walled.pem, key: walled.pem}}")
        lines.append(line)
    listens = f"{{listen: mllp, host: 127.0.0.1, port: {site.ports['side']}, plaintext: test}}"
    lines.append(f"  side: {listens}")
    lines.append(
        f"  walled: {{listen: mllp, host: 127.0.0.1, port: {site.ports['walled']}, tls: walls}}"
    )
    to = []
    for n in range(STUCK):
        lines.append(
            f"  stuck{n:02}: {{send: mllp, host: 127.0.0.1, port: {stuck_port}, plaintext: test, "
            "ack_timeout: 2s}"
        )
        to.append(f"  stuck{n:02}: {{connection: stuck{n:02}, retry: {{in_doubt: never}}}}")
    file.write_text("\n".join(lines) + "\n")
    head = "ifengine: 1\nchannel: stuck\nfrom: [side, walled]\norder_by: patient\n"
    ignore = "types: [ADT^A08]\nignore_types: {identity: no merges here}\nto:\n"
    (site.folder / "channels" / "stuck.yaml").write_text(head + ignore + "\n".join(to) + "\n")


@dataclass
class Size:
    """What the process held at most while it was looked at, and what it holds now."""

    pid: int
    most_bytes: int = 0
    most_files: int = 0
    worst_lag: float = 0.0
    looks: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def look(self) -> None:
        while not self._stop.wait(0.05):
            self.most_bytes = max(self.most_bytes, self.bytes())
            self.most_files = max(self.most_files, self.files())
            self.looks += 1


@contextmanager
def watched(pid: int) -> Iterator[Size]:
    size = Size(pid)
    thread = threading.Thread(target=size.look, daemon=True)
    thread.start()
    try:
        yield size
    finally:
        size._stop.set()
        thread.join()


@contextmanager
def attack(site: Site, stuck_port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Let the attackers at it while the block runs."""
    given = {
        "feed": site.ports["feed"], "walled": site.ports["walled"], "metrics": site.metrics_port,
        "stuck": stuck_port, "longest": LONGEST, "slow": SLOW, "flaps": FLAPS, "seed": SEED,
        "admin": site.folder / "var" / "admin.sock", "log": log,
    }  # fmt: skip
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "chaos.attackers", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def send_to_stuck(site: Site) -> None:
    """Give the receivers that never read something to be sent."""
    with socket.create_connection(("127.0.0.1", site.ports["side"]), timeout=30) as his:
        for number in range(4):
            content = make(9, 5 * number + 1).content.replace(b"^MERCY^MR", b"^MERCY^MR", 1)
            his.sendall(b"\x0b" + content + b"NTE|1||" + b"x" * PARKED_BYTES + b"\r\x1c\r")
            assert b"MSA|AA" in his.recv(4096)


def latencies(file: Path, begun: float, ended: float) -> list[float]:
    """Return how long the answers took that came between two moments, in order of their length."""
    found = []
    for line in file.read_text().splitlines():
        at, _, took = line.partition(" ")
        if took and begun <= float(at) <= ended:
            found.append(float(took))
    return sorted(found)


def p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98] if len(values) > 1 else 0.0


def metric(site: Site, name: str, *labels: str) -> float:
    with urlopen(f"http://127.0.0.1:{site.metrics_port}/metrics", timeout=30) as page:
        lines = page.read().decode().splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith(f"ifengine_{name}") and all(label in line for label in labels)
    )


def attacks(log: Path) -> Any:
    return json.loads(log.read_text()) if log.exists() else {"done": {}, "flaps_left": FLAPS}


@pytest.mark.chaos
@pytest.mark.slow
def test_an_engine_under_attack_stays_within_its_bounds_and_serves_who_behaves(
    tmp_path: Path, ledger: Ledger
) -> None:
    (stuck_port,) = free_ports(1)
    log, times = tmp_path / "attacks.json", tmp_path / "times"
    times.touch()
    with (
        Peers(tmp_path, seed=SEED, faults=0.0, rate=RATE, give_up=0.0) as peers,
        peers.watch_balance() as watch,
    ):
        besieged(peers, stuck_port)
        site = peers.site
        site.start()
        assert site.process is not None
        peers.sender = peers.run(
            "sender", "--port", str(site.ports["feed"]), "--log", str(peers.folder / "sender"),
            "--rate", str(RATE), "--give-up", "0", "--cut", "0", "--latency", str(times),
        )  # fmt: skip
        calm = time.monotonic()
        wait_until("there is a baseline", lambda: len(latencies(times, calm + 1, 1e18)) > 2 * RATE)
        with watched(site.process.pid) as size:
            base, files = size.bytes(), size.files()
            siege = time.monotonic()
            with attack(site, stuck_port, log):
                wait_until("attacks begin", lambda: attacks(log)["done"], 60)
                send_to_stuck(site)
                wait_until(
                    "the attacks are done",
                    lambda: attacks(log)["flaps_left"] <= 0 and time.monotonic() - siege > SECONDS,
                    SECONDS * 4 + 120,
                )
            over = time.monotonic()
            wait_until("files are closed", lambda: size.files() <= files + STUCK + 2, 60)
            left = size.files()
        done = attacks(log)
        shed = metric(site, "connection_failures_total", 'reason="memory"')
        timeouts = metric(site, "connection_failures_total", 'reason="timeout"')
        wait_until(
            "connections are gone",
            lambda: metric(site, "connections{", 'channel="crossing"', 'direction="in"') <= 6,
            60,
        )
        peers.stop_sending()
        peers.wait_until_quiet()
        verdict, sendings, _ = judged(peers)
        before, during = latencies(times, calm + 1, siege), latencies(times, siege, over)
        grown = size.most_bytes - base
        bound = BOUND + ONE_MESSAGE + BOUND_A_CONNECTION * done["most_open"]
        wrong = [
            what
            for what, is_wrong in {
                f"oracle: {verdict.summary()}": not verdict.is_clean(),
                f"not answered AA: {len(sendings.sent) - len(sendings.accepted)}":
                    sendings.sent.keys() != sendings.accepted,
                f"an answer took {max(during):.1f} s": max(during) > LONGEST_ANSWER_SECONDS,
                f"grew by {grown / MIB:.0f} MiB of {bound / MIB:.0f}": grown > bound,
                f"untrue: {done['untrue'][:3]}": done["untrue"],
                f"attackers broke: {done['broken'][:3]}": done["broken"],
            }.items()
            if is_wrong
        ]  # fmt: skip
        ledger.record(
            "G9", "attacks on a serving engine, in thirteen ways", trials=sum(done["done"].values()),
            failures=len(wrong),
            found=f"{done['most_open']} open at once, {FLAPS} flaps; memory {base / MIB:.0f} MiB, "
            f"+{grown / MIB:.0f} of {bound / MIB:.0f}; files {files}, at most {size.most_files}, "
            f"{left} after; {shed:.0f} shed, {timeouts:.0f} timed out; p99 "
            f"{p99(before) * 1000:.0f} ms before, {p99(during) * 1000:.0f} during "
            f"({p99(during) / max(p99(before), 1e-9):.1f} times), longest {max(during) * 1000:.0f}; "
            f"{watch.figures()}; IFENGINE_SEED={SEED}",
        )  # fmt: skip
        assert not wrong, f"IFENGINE_SEED={SEED}: {'; '.join(wrong)}"
        assert shed > 0, "the bound of unfinished messages was never met"
        assert timeouts > 0, "who does not read its answers was never closed"
        assert done["most_open"] > SLOW + 64
        site.process.send_signal(signal.SIGTERM)
        assert site.process.wait(60) == 0
    watch.assert_even()


def judged(peers: Peers) -> Any:
    """Judge by the records of the channel that is not attacked."""
    site, every = peers.site, peers.site.json

    def of_crossing(*words: str) -> Any:
        if words[:2] == ("messages", "list"):
            words = (*words, "--channel", "crossing")
        return every(*words)

    site.json = of_crossing  # type: ignore[method-assign]
    try:
        return peers.judge()
    finally:
        del site.json
