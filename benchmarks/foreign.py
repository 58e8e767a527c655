"""Receivers of others, where they are installed: asked directly, and behind the engine.

None of them stores anything before it answers; what they show is what a rate is worth without that.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, WORK, Case, Programs, offer
from benchmarks.serving import NotServingError, Site, free_ports, serving

SERVERS = Path(__file__).resolve().parent / "servers"
NPM = ROOT / ".venv" / "npm" / "node_modules"
START_SECONDS = 20.0
QUEUE = "ifengine_queue_messages"
DIRECT = Case("direct")
BEHIND = Case("behind", deliver=True, lanes=16)


@dataclass(frozen=True)
class Server:
    """One receiver: how it is begun, the port left out."""

    name: str
    words: tuple[str, ...]


def installed() -> tuple[list[Server], list[str]]:
    """Return the receivers that can be begun here, and the names of those that cannot."""
    found = [Server("`hl7.mllp` (Python)", (sys.executable, str(SERVERS / "hl7_mllp.py")))]
    absent = []
    node = shutil.which("node")
    for package in ("node-hl7-server", "simple-hl7"):
        if node is not None and (NPM / package / "package.json").is_file():
            script = SERVERS / f"{package.replace('-', '_')}.cjs"
            found.append(Server(f"`{package}` (Node.js)", (node, str(script))))
        else:
            absent.append(package)
    return found, absent


@contextmanager
def begun(server: Server) -> Iterator[int]:
    """Run a receiver until the block ends; yields its port."""
    port = free_ports(1)[0]
    process = subprocess.Popen(
        [*server.words, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NODE_PATH": str(NPM)},
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise NotServingError(f"{server.name} does not listen") from None
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def _behind(programs: Programs, port: int, seconds: float) -> float:
    """Return what the engine delivers to a receiver in a second, drain included."""
    site = Site(WORK / "site", (port,), lanes=BEHIND.lanes)
    with serving(site) as engine:
        offer(programs, engine.port, BEHIND, ["--seconds", "0.3"], "W")
        _drained(engine.metric)
        started = time.monotonic()
        sent = offer(programs, engine.port, BEHIND, ["--seconds", str(seconds)], "M")["sent"]
        _drained(engine.metric)
        return float(sent) / (time.monotonic() - started)


def _drained(metric: object) -> None:
    deadline = time.monotonic() + 60
    while metric(QUEUE):  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise NotServingError("the queue does not drain")
        time.sleep(0.05)


def ask(programs: Programs, port: int, bounds: list[str]) -> dict[str, Any]:
    """Send to a receiver; unlike the engine it may answer twice or not at all: that is counted."""
    done = subprocess.run(
        [*programs.load, "--port", str(port), "--template", str(programs.template(DIRECT.message)),
         "--connections", str(DIRECT.connections), *bounds],
        stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def page(programs: Programs, seconds: float) -> str:
    """Measure all; return the table."""
    servers, absent = installed()
    lines = [
        "| receiver | asked directly by 16 connections/s | ACK p50 ms | ACK p99 ms"
        " | answers to nothing | open at the end | behind the engine, 16 lanes/s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows = [("the sink of these measurements", None), *((one.name, one) for one in servers)]
    for name, server in rows:
        with begun(server or Server(name, (*programs.sink, "--port"))) as port:
            result = ask(programs, port, ["--seconds", str(seconds)])
            behind = _behind(programs, port, seconds)
        lines.append(
            f"| {name} | {result['rate']:,.0f} | {result['p50_ms']:.2f} | {result['p99_ms']:.2f}"
            f" | {result['unmatched']:,} | {result['unanswered']:,} | {behind:,.0f} |"
        )
        print(lines[-1], flush=True)
    lines += ["", "None of them stores a message before it answers; the engine does."]
    if absent:
        lines.append(f"Not installed here (`make test-deps`): {', '.join(absent)}.")
    return "\n".join(lines)
