"""One site with the example channel's steps, and ``ifengine serve`` on it as a child process."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 20.0
STOP_SECONDS = 30.0

SITE = """\
ifengine: 1
site: bench
environment: test
store: {{path: var/store, reserve: 64MiB}}
keys: {{kek: "file:var/keys/kek"}}
listen: {{admin: "unix:var/admin.sock", metrics: 127.0.0.1:{metrics}}}
identity: {{patient: {{path: PID-3, type: MR, authority: [MERCY]}}}}
connections:
  feed: {{listen: mllp, host: 127.0.0.1, port: {listen}, max_connections: 512, max_connections_per_address: 512, plaintext: loopback measurement}}
  lab: {{send: mllp, host: 127.0.0.1, port: {send}, plaintext: loopback measurement}}
"""

CHANNEL = """\
ifengine: 1
channel: measured
about: The steps of the example channel, one destination.
from: feed
types: [ADT^A01, ADT^A02, ADT^A03, ADT^A04, ADT^A08, ADT^A11, ADT^A13]
accept: MSH-11 = P
ignore_types: {{identity: not part of this measurement}}
order_by: patient
steps:
  - require:
      PID-3(where .5 = MR).1: no medical record number
      PV1-2: no patient class
  - trim: [PID-5.1, PID-5.2]
  - upper: [PID-5.1, PID-5.2]
  - lookup: {{table: sex, from: PID-8, missing: U}}
  - keep_repetitions: {{in: PID-3, where: ".5 in [MR, PI]"}}
  - clear: PID-19
to:
  lab:
    enabled: {enabled}
    connection: lab
    lanes: {lanes}
    accept: PV1-2 in [I, E, O]
    steps:
      - set: {{MSH-5: LIS, MSH-6: LAB}}
      - lookup: {{table: ward, from: PV1-3.1, missing: dead_letter}}
      - keep_segments: [MSH, EVN, PID, PV1, AL1]
    retry: {{first: 5s, max: 2m}}
"""

TABLES = {
    "sex": "from,to\n1,F\n2,M\nF,F\nM,M\nX,O\nUNK,U\n",
    "ward": "from,to\n4WEST,W4\nICU,IC1\nED,ER\n",
}


class NotServingError(Exception):
    """The engine did not do what the measurement needs."""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def command(*words: str) -> list[str]:
    """Return the command line of the engine in this interpreter."""
    return [sys.executable, "-m", "ifengine", *words]


@dataclass(frozen=True)
class Engine:
    """A serving engine."""

    pid: int
    port: int
    metrics_port: int

    def metric(self, name: str) -> float:
        """Return the sum of a family's samples; 0 where there is none."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for value in found)


def write_site(folder: Path, *, send_port: int, lanes: int, deliver: bool) -> tuple[int, int]:
    """Write the site; return the ports of the listener and of the metrics."""
    shutil.rmtree(folder, ignore_errors=True)
    tables = folder / "channels" / "tables"
    tables.mkdir(parents=True)
    listen, metrics = free_ports(2)
    (folder / "ifengine.yaml").write_text(
        SITE.format(listen=listen, metrics=metrics, send=send_port)
    )
    enabled = "yes" if deliver else "no"
    (folder / "channels" / "measured.yaml").write_text(CHANNEL.format(lanes=lanes, enabled=enabled))
    for name, text in TABLES.items():
        (tables / f"{name}.csv").write_text(text)
    return listen, metrics


def wait_for_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the line ``ready`` on the engine's standard error."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if re.search(r"^ready\b", text, re.MULTILINE):
            return
        if process.poll() is not None:
            raise NotServingError(f"serve ended with {process.returncode}:\n{text[-2000:]}")
        time.sleep(0.02)
    raise NotServingError(f"serve was not ready in {READY_SECONDS:.0f} s; see {log}")


@contextmanager
def serving(
    folder: Path, *, send_port: int, lanes: int, deliver: bool, memory: bool
) -> Iterator[Engine]:
    """Serve a fresh site until the block ends."""
    listen, metrics = write_site(folder, send_port=send_port, lanes=lanes, deliver=deliver)
    site = ["--site", str(folder)]
    subprocess.run(command("keys", "init", *site), check=True, capture_output=True)
    environment = {**os.environ, "IFENGINE_STORE": "memory" if memory else "sqlite"}
    log = folder / "serve.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command("serve", *site), stderr=stderr, stdout=stderr, env=environment
        )
        try:
            wait_for_ready(process, log)
            yield Engine(process.pid, listen, metrics)
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            if process.poll() is None:
                process.kill()
                process.wait()
