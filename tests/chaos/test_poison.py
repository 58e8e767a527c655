"""Ten channels, one of which is fed poison of six kinds: the others do not notice (G7).

``IFENGINE_POISON_ROUNDS`` sets how often all six are fed (1, in a campaign 20), ``IFENGINE_SEED``
repeats a run. The neighbours send and receive in a process of their own.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from campaigns import Ledger, seed, trials
from chaos.test_hostile import p99
from crash.campaign import TESTS
from crash.serving import Site, wait_until
from crash.watching import watch_balance

ROUNDS = trials(1, 20, "IFENGINE_POISON_ROUNDS")
SEED = seed()
NEIGHBOURS = 9
RATE = 20.0
CALM_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 15.0  # generous: only a standstill of everybody is longer
MOVES_ON_SECONDS = 30.0  # what its policy allows (0.5 s for a step, 3 refusals) and a slow machine
MIB = 1024 * 1024

PYTHON = """\
import time


def transform(msg, ctx):
    what = msg.segment("ZZZ")["1"]
    if what == "burn":
        while True:
            pass
    if what == "hang":
        time.sleep(3600)
    if what == "raise":
        raise ValueError(what)
"""
CHANNEL = """\
ifengine: 1
channel: c{n}
from: in{n}
types: [ADT^A08]
ignore_types: {{identity: no merges here}}
{steps}to:
  d{n}: {{connection: out{n}, retry: {{first: 50ms, max: 200ms, refused: 3}}, order: skip_dead}}
"""
STEPS = """\
steps:
  - choose:
      - when: ZZZ-1 in [raise, burn, hang]
        do: [{python: {file: poison.py, function: transform, timeout: 500ms}}]
  - upper: PID-5.1
"""


def poison(kind: str, number: int) -> bytes:
    """Return a message that does harm of a kind; ``good`` does none."""
    more = {
        # parts of parts of parts, many of each
        "bomb": b"ZZY|" + (b"a&b^c~" * 20 + b"|") * 8_000 + b"\r" + b"NTE|1||x\r" * 20_000,
        "huge": b"ZZY|" + b"x" * (50 * MIB) + b"\r",
    }.get(kind, b"")
    return (
        b"MSH|^~\\&|HIS|MERCY|IE|MERCY|20260105101500||ADT^A08|%s-%04d|P|2.5.1\r"
        b"EVN|A08|20260105101500\rPID|1||7^^^MERCY^MR||Poison^Test||19700101|F\rZZZ|%s\r"
        % (kind.encode(), number, kind.encode())
    ) + more


KINDS = ("refused", "bomb", "raise", "burn", "huge", "hang")


class Fed:
    """The receiver of the poisoned channel: it refuses one kind for ever."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        buffer = bytearray()
        with peer, contextlib.suppress(ConnectionError):
            while data := peer.recv(1 << 20):
                buffer += data
                if not buffer.endswith(b"\x1c\r"):
                    continue
                control = bytes(buffer[:200]).split(b"|")[9]
                buffer.clear()
                self.ids.append(control.decode())
                code = b"AE" if control.startswith(b"refused") else b"AA"
                head = b"MSH|^~\\&|R|R|HIS|MERCY|20260105101501||ACK|R%s|P|2.5.1\r" % control
                peer.sendall(b"\x0b" + head + b"MSA|%s|%s\r" % (code, control) + b"\x1c\r")

    def close(self) -> None:
        self._server.close()


def feed(site: Site, kind: str, number: int) -> None:
    """Send one; it is stored, whatever it is, and so answered AA."""
    with socket.create_connection(("127.0.0.1", site.ports["in9"]), timeout=60) as his:
        his.sendall(b"\x0b" + poison(kind, number) + b"\x1c\r")
        assert b"MSA|AA" in his.recv(4096)


def account_of(log: Path) -> Any:
    return json.loads(log.read_text())


def waits(account: Any, name: str, begun: float, ended: float) -> list[float]:
    """Return how long answers or arrivals took of what was sent between two moments."""
    return sorted(
        at - sent
        for one in account
        for sent, at in zip(one["sent"], one[name], strict=False)
        if begun <= sent < ended
    )


@pytest.mark.chaos
@pytest.mark.slow
def test_nine_channels_do_not_notice_what_the_tenth_is_fed(tmp_path: Path, ledger: Ledger) -> None:
    lot = random.Random(SEED)
    log, fed = tmp_path / "neighbours.json", Fed()
    neighbours = subprocess.Popen(
        [sys.executable, "-m", "chaos.neighbours", "--count", str(NEIGHBOURS),
         "--rate", str(RATE), "--log", str(log)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )  # fmt: skip
    assert neighbours.stdin is not None
    assert neighbours.stdout is not None
    ports = [*json.loads(neighbours.stdout.readline()), fed.port]
    numbers = range(NEIGHBOURS + 1)
    site = Site(
        tmp_path / "site",
        listen={f"in{n}": ", max_message: 64MiB" if n == NEIGHBOURS else "" for n in numbers},
        send={f"out{n}": port for n, port in enumerate(ports)},
        channels={
            f"c{n}": CHANNEL.format(n=n, steps=STEPS if n == NEIGHBOURS else "") for n in numbers
        },
    )
    (site.folder / "channels" / "python").mkdir()
    (site.folder / "channels" / "python" / "poison.py").write_text(PYTHON)
    try:
        site.start()
        listens = [site.ports[f"in{n}"] for n in range(NEIGHBOURS)]
        neighbours.stdin.write(json.dumps(listens) + "\n")
        neighbours.stdin.flush()
        with watch_balance(site.folder / "var" / "store" / "store.db") as watch:
            feed(site, "good", 0)
            wait_until("the first good one arrives", lambda: fed.ids == ["good-0000"])
            time.sleep(1.0)  # what starts is over
            calm = time.monotonic()
            time.sleep(CALM_SECONDS)
            begun, moved, moves = time.monotonic(), 0, []
            for number in range(1, ROUNDS + 1):
                for kind in lot.sample(KINDS, len(KINDS)):
                    fed_at = time.monotonic()
                    feed(site, kind, number)
                    moved += 1
                    good = f"good-{moved:04}"
                    feed(site, "good", moved)
                    wait_until(
                        f"{good} behind {kind}", lambda good=good: good in fed.ids, MOVES_ON_SECONDS
                    )
                    moves.append((kind, fed_at, time.monotonic()))
            ended = time.monotonic()
            neighbours.send_signal(signal.SIGTERM)
            assert neighbours.wait(90) == 0
        account = account_of(log)
        wrong = [text for one in account for text in one["wrong"]]
        wrong += [
            f"channel {n}: {len(one['sent'])} sent, {len(one['arrived'])} arrived"
            for n, one in enumerate(account)
            if len(one["sent"]) != len(one["arrived"])
        ]
        before = waits(account, "answered", calm, begun - 0.5)
        during = waits(account, "answered", begun, ended)
        arrived = waits(account, "arrived", begun, ended)
        worst = {
            kind: max(max(waits(account, "answered", a - 0.1, b)) for k, a, b in moves if k == kind)
            for kind in KINDS
        }
        slowest = max(moves, key=lambda move: move[2] - move[1])
        loss = 1 - (len(during) / (ended - begun)) / (len(before) / (begun - 0.5 - calm))
        if max(arrived) > LONGEST_WAIT_SECONDS:
            wrong.append(f"one arrived after {max(arrived):.1f} s")
        ledger.record(
            "G7", "poison of six kinds in one of ten channels", trials=moved, failures=len(wrong),
            found=f"{len(during)} messages of the others; throughput {-loss:+.1%}; p99 of an answer "
            f"{p99(before) * 1000:.0f} ms before, {p99(during) * 1000:.0f} during, median "
            f"{median(before) * 1000:.1f} and {median(during) * 1000:.1f}, longest "
            f"{max(during) * 1000:.0f} "
            f"({', '.join(f'{kind} {took * 1000:.0f}' for kind, took in worst.items())}); arrived after at most {max(arrived) * 1000:.0f} ms; the "
            f"poisoned lane moved on after at most {slowest[2] - slowest[1]:.1f} s ({slowest[0]}); "
            f"{watch.figures()}; IFENGINE_SEED={SEED}",
        )  # fmt: skip
        assert not wrong, f"IFENGINE_SEED={SEED}: {wrong[:5]}"
        letters = [one for group in site.json("dlq", "list") for one in group["messages"]]
        # AE, the exception, the loop and the hang wait for people; the others were merely large
        assert len(letters) == 4 * ROUNDS
        assert site.stop() == 0
        watch.assert_even()
    finally:
        fed.close()
        neighbours.kill()
        neighbours.communicate()
        site.close()
