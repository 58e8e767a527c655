"""One case: a site, a generator, receivers, and what came of them."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine, messages
from benchmarks.serving import Engine, NotServingError, Site, serving

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "var" / "bench"
SETTLE_SECONDS = 120.0
COMMITS = "ifengine_store_commit_duration_seconds_count"


@dataclass(frozen=True)
class Case:
    """One line of a table."""

    name: str
    connections: int = 16
    window: int = 1
    deliver: bool = False
    lanes: int = 1
    delay_ms: int = 0
    destinations: int = 1
    message: str = "sample"
    slow_sync_us: int = 0
    memory_too: bool = True  # the same without a disk stands beside it
    interpreted: bool = False  # without the native code that the others run on, where there is any
    target: str = ""  # of performance.md 13, for generator and sink in C

    @property
    def most_delivered(self) -> float:
        """Return what one message a lane and round trip allows; 0 where the receiver is at once."""
        return self.lanes * 1000 / self.delay_ms if self.delay_ms else 0.0

    def burst(self, seconds: float) -> list[str]:
        """Return the options that bound the offer: what a slow receiver takes in that time."""
        words = ["--seconds", str(seconds)]
        if self.deliver and self.delay_ms:
            words += ["--count", str(int(self.most_delivered * seconds * 0.7))]
        return words


@dataclass(frozen=True)
class Figures:
    """What one run showed."""

    received: float  # acknowledged per second
    delivered: float  # at each sink, from the first message sent to the last; 0 without delivery
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us: float  # of the engine, per message, from the first message to the last delivery
    rss_mib: float
    batch: float  # messages received per group commit

    @property
    def rate(self) -> float:
        """Return the rate the case is about."""
        return self.delivered or self.received


def median(runs: list[Figures]) -> Figures:
    """Return the run in the middle by rate, whole: its columns belong together."""
    return sorted(runs, key=lambda one: one.rate)[(len(runs) - 1) // 2]


class Sink:
    """A receiver as a child process."""

    def __init__(self, words: list[str], delay_ms: int, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [*words, "--port", str(port), "--delay-ms", str(delay_ms)],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self.port = int(self.line()["port"])

    def line(self) -> dict[str, float]:
        """Read one JSON line."""
        assert self.process.stdout is not None
        found: dict[str, float] = json.loads(self.process.stdout.readline())
        return found

    def counts(self) -> dict[str, float]:
        """Ask for the counts so far."""
        self.process.send_signal(signal.SIGUSR1)
        return self.line()

    def wait_for(self, messages: float) -> dict[str, float]:
        """Wait until so many messages have arrived."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            counts = self.counts()
            if counts["messages"] >= messages:
                return counts
            if time.monotonic() > deadline:
                raise NotServingError(
                    f"only {counts['messages']} of {messages} arrived at the sink"
                )
            time.sleep(0.05)


@contextmanager
def sinking(words: list[str], delay_ms: int, port: int = 0) -> Iterator[Sink]:
    """Run a sink until the block ends."""
    sink = Sink(words, delay_ms, port)
    try:
        yield sink
    finally:
        sink.process.terminate()
        sink.process.communicate()


@dataclass(frozen=True)
class Programs:
    """The generator and the receiver, and the library that makes a disk slow (None: no compiler)."""

    load: list[str]
    sink: list[str]
    slow: Path | None
    kind: str
    templates: dict[str, Path] = field(default_factory=dict)

    def template(self, name: str) -> Path:
        """Return a template, made when it is first asked for."""
        if name not in self.templates:
            self.templates[name] = messages.template(name, WORK)
        return self.templates[name]

    def environment(self, case: Case) -> Mapping[str, str]:
        """Return what the engine's environment needs besides."""
        if case.interpreted:
            return {"PYTHONPATH": ""}
        if not case.slow_sync_us:
            return {}
        return {"LD_PRELOAD": str(self.slow), "SLOW_SYNC_US": str(case.slow_sync_us)}


def offer(
    programs: Programs, port: int, case: Case, bounds: list[str], prefix: str
) -> dict[str, Any]:
    """Send for so long; every answer must be AA and every message answered."""
    done = subprocess.run(
        [*programs.load, "--port", str(port), "--template", str(programs.template(case.message)),
         "--connections", str(case.connections), "--window", str(case.window),
         "--prefix", prefix, *bounds],
        stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    if set(result["codes"]) != {"AA"} or result["acked"] != result["sent"]:
        raise NotServingError(f"not every message was accepted: {done.stdout.strip()}")
    return result


def measure(programs: Programs, case: Case, seconds: float, memory: bool) -> Figures:
    """Run one case once, on a fresh site."""
    with ExitStack() as stack:
        sinks = [
            stack.enter_context(sinking(programs.sink, case.delay_ms))
            for _ in range(case.destinations)
        ]
        site = Site(
            WORK / "site",
            tuple(sink.port for sink in sinks),
            lanes=case.lanes,
            deliver=case.deliver,
            with_document=case.message == "5 MB",
        )
        extra = programs.environment(case)
        engine = stack.enter_context(serving(site, memory=memory, extra=extra))
        return _measured(programs, case, seconds, sinks, engine)


def _measured(
    programs: Programs, case: Case, seconds: float, sinks: list[Sink], engine: Engine
) -> Figures:
    # the first of everything is compiled, connected and cached before anything counts
    warm = offer(programs, engine.port, case, ["--seconds", "0.5", "--count", "500"], "W")
    before_sinks = [sink.wait_for(warm["sent"] * case.deliver)["messages"] for sink in sinks]
    commits = engine.metric(COMMITS)
    before = machine.use_of(engine.pid)
    started = time.time()
    result = offer(programs, engine.port, case, case.burst(seconds), "M")
    received_commits = engine.metric(COMMITS) - commits
    delivered = 0.0
    if case.deliver:
        ends = [sink.wait_for(warm["sent"] + result["sent"]) for sink in sinks]
        arrived = sum(e["messages"] - b for e, b in zip(ends, before_sinks, strict=True))
        delivered = arrived / len(sinks) / max(max(e["last"] for e in ends) - started, 1e-9)
    used = machine.use_of(engine.pid)
    return Figures(
        received=result["rate"], delivered=delivered,
        p50_ms=result["p50_ms"], p99_ms=result["p99_ms"], p999_ms=result["p999_ms"],
        cpu_us=(used.cpu_s - before.cpu_s) / result["sent"] * 1e6,
        rss_mib=used.rss_bytes / 2**20,
        batch=result["sent"] / received_commits if received_commits else 0.0,
    )  # fmt: skip
