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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

READY_SECONDS = 120.0
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
"""

CONNECTION = """\
  {name}: {{send: mllp, host: 127.0.0.1, port: {port}, plaintext: loopback measurement}}
"""

DESTINATION = """\
  {name}:
    enabled: {enabled}
    connection: {name}
    lanes: {lanes}
    accept: PV1-2 in [I, E, O]
    steps:
      - set: {{MSH-5: LIS, MSH-6: LAB}}
      - lookup: {{table: ward, from: PV1-3.1, missing: dead_letter}}
      - keep_segments: [{segments}]
    retry: {{first: 5s, max: 2m}}
"""

SEGMENTS = "MSH, EVN, PID, PV1, AL1"
WITH_DOCUMENT = f"{SEGMENTS}, OBX"

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
    started: float  # wall clock, seconds: the process was begun
    ready_s: float  # from there to its line `ready`

    def metric(self, name: str) -> float:
        """Return the sum of a family's samples; 0 where there is none."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for value in found)


@dataclass(frozen=True)
class Site:
    """What one measured site has."""

    folder: Path
    send_ports: tuple[int, ...]  # one destination each
    lanes: int = 1
    deliver: bool = True
    with_document: bool = False  # OBX goes to the destinations as well
    ports: tuple[int, ...] = field(default_factory=lambda: tuple(free_ports(2)))

    @property
    def store(self) -> Path:
        """Return the folder of its store."""
        return self.folder / "var" / "store"


def write_site(site: Site) -> None:
    """Write the files of a site."""
    tables = site.folder / "channels" / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    listen, metrics = site.ports
    names = ["lab", *(f"lab{number}" for number in range(2, len(site.send_ports) + 1))]
    text = SITE.format(listen=listen, metrics=metrics)
    for name, port in zip(names, site.send_ports, strict=True):
        text += CONNECTION.format(name=name, port=port)
    (site.folder / "ifengine.yaml").write_text(text)
    text = CHANNEL.format()
    for name in names:
        text += DESTINATION.format(
            name=name,
            enabled="yes" if site.deliver else "no",
            lanes=site.lanes,
            segments=WITH_DOCUMENT if site.with_document else SEGMENTS,
        )
    (site.folder / "channels" / "measured.yaml").write_text(text)
    for name, rows in TABLES.items():
        (tables / f"{name}.csv").write_text(rows)


def wait_for_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the line ``ready`` on the engine's standard error."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if re.search(r"^ready\b", text, re.MULTILINE):
            return
        if process.poll() is not None:
            raise NotServingError(f"serve ended with {process.returncode}:\n{text[-2000:]}")
        time.sleep(0.005)
    raise NotServingError(f"serve was not ready in {READY_SECONDS:.0f} s; see {log}")


def fresh(site: Site) -> None:
    """Remove what an earlier run left in the folder, and make a key file."""
    shutil.rmtree(site.folder, ignore_errors=True)
    write_site(site)
    words = command("keys", "init", "--site", str(site.folder))
    subprocess.run(words, check=True, capture_output=True)


@contextmanager
def running(
    site: Site, *, memory: bool = False, extra: Mapping[str, str] | None = None
) -> Iterator[Engine]:
    """Serve a site as it lies there until the block ends; ``extra`` is added to the environment."""
    listen, metrics = site.ports
    store = "memory" if memory else "sqlite"
    environment = {**os.environ, "IFENGINE_STORE": store, **(extra or {})}
    log = site.folder / "serve.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command("serve", "--site", str(site.folder)),
            stderr=stderr, stdout=stderr, env=environment,
        )  # fmt: skip
        try:
            started = time.time()
            wait_for_ready(process, log)
            yield Engine(process.pid, listen, metrics, started, time.time() - started)
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def serving(
    site: Site, *, memory: bool = False, extra: Mapping[str, str] | None = None
) -> Iterator[Engine]:
    """Serve a fresh site until the block ends."""
    fresh(site)
    with running(site, memory=memory, extra=extra) as engine:
        yield engine
