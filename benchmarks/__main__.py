"""``python -m benchmarks``: every figure beside its own no-disk run and the disk's sync rate.

python -m benchmarks            medians of three, writes benchmarks/results.md
python -m benchmarks --quick    one run each, prints only
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import channels, machine, peers
from benchmarks.serving import Engine, NotServingError, command, serving

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "var" / "bench"
TEMPLATE = ROOT / "benchmarks" / "adt_a01.hl7"
SETTLE_SECONDS = 60.0
# the channels of the site in this repository, and a sample that runs most of the steps of each
SAMPLES = {
    "adt-fanout": "adt_a01",
    "lab-results": "oru_r01",
    "radiology-orders": "orm_o01",
    "identity-and-waiting": "adt_a40",
}


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    connections: int
    window: int = 1
    deliver: bool = False
    lanes: int = 1
    delay_ms: int = 0
    target: str = ""  # of performance.md 13, for generator and sink in C


CASES = (
    Case("receive, 1 connection", 1, target="2,500/s"),
    Case("receive, 16 connections", 16, target="12,000/s"),
    Case("receive, 64 connections", 64, target="20,000/s"),
    Case("receive, 16 connections, window 16", 16, 16, target="40,000/s"),
    Case("full path, 1 lane, 0 ms receiver", 16, deliver=True, target="7,000/s"),
    Case("full path, 16 lanes, 0 ms receiver", 16, deliver=True, lanes=16),
    Case("full path, 1 lane, 1 ms receiver", 16, deliver=True, delay_ms=1),
    Case("full path, 16 lanes, 1 ms receiver", 16, deliver=True, lanes=16, delay_ms=1,
         target="6,000/s"),
)  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """What one run showed."""

    received: float  # acknowledged per second
    delivered: float  # at the sink, between the first and the last; 0 without delivery
    p50_ms: float
    p99_ms: float
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
    """The sink as a child process."""

    def __init__(self, words: list[str], delay_ms: int) -> None:
        self.process = subprocess.Popen(
            [*words, "--port", "0", "--delay-ms", str(delay_ms)],
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

    def wait_for(self, messages: int) -> dict[str, float]:
        """Wait until so many messages have arrived."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            counts = self.counts()
            if counts["messages"] >= messages:
                return counts
            time.sleep(0.1)
        raise NotServingError(f"only {counts['messages']} of {messages} arrived at the sink")


@contextmanager
def sinking(words: list[str], delay_ms: int) -> Iterator[Sink]:
    """Run a sink until the block ends."""
    sink = Sink(words, delay_ms)
    try:
        yield sink
    finally:
        sink.process.terminate()
        sink.process.communicate()


def offer(words: list[str], engine: Engine, case: Case, seconds: float, prefix: str) -> dict:
    """Send for so long; every answer must be AA and every message answered."""
    done = subprocess.run(
        [*words, "--port", str(engine.port), "--template", str(TEMPLATE),
         "--connections", str(case.connections), "--window", str(case.window),
         "--seconds", str(seconds), "--prefix", prefix],
        stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    result = json.loads(done.stdout)
    if set(result["codes"]) != {"AA"} or result["acked"] != result["sent"]:
        raise NotServingError(f"not every message was accepted: {done.stdout.strip()}")
    return result


def measure(programs: dict[str, list[str]], case: Case, seconds: float, memory: bool) -> Figures:
    """Run one case once, on a fresh site."""
    with (
        sinking(programs["sink"], case.delay_ms) as sink,
        serving(
            WORK / "site", send_port=sink.port, lanes=case.lanes, deliver=case.deliver,
            memory=memory,
        ) as engine,
    ):  # fmt: skip
        warm = offer(programs["load"], engine, case, 0.5, "W")
        if case.deliver:
            before_sink = sink.wait_for(warm["sent"])
        commits = engine.metric("ifengine_store_commit_duration_seconds_count")
        before = machine.use_of(engine.pid)
        # A 1 ms receiver behind one lane takes less than 1,000/s whatever is offered: a short
        # burst shows it, a long one only builds a backlog.
        burst = min(seconds, 1.0) if case.delay_ms and case.lanes == 1 else seconds
        started = time.time()
        result = offer(programs["load"], engine, case, burst, "M")
        received_commits = engine.metric("ifengine_store_commit_duration_seconds_count") - commits
        delivered = 0.0
        if case.deliver:
            counts = sink.wait_for(warm["sent"] + result["sent"])
            arrived = counts["messages"] - before_sink["messages"]
            delivered = arrived / max(counts["last"] - started, 1e-9)
        used = machine.use_of(engine.pid)
        return Figures(
            received=result["rate"], delivered=delivered,
            p50_ms=result["p50_ms"], p99_ms=result["p99_ms"],
            cpu_us=(used.cpu_s - before.cpu_s) / result["sent"] * 1e6,
            rss_mib=used.rss_bytes / 2**20,
            batch=result["sent"] / received_commits if received_commits else 0.0,
        )  # fmt: skip


def help_milliseconds(runs: int) -> float:
    """Return the median time of ``ifengine --help``."""

    def once() -> float:
        started = time.perf_counter()
        subprocess.run(command("--help"), check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - started) * 1000

    return statistics.median(once() for _ in range(runs))


@dataclass(frozen=True)
class Row:
    """A case, with disk and without."""

    case: Case
    disk: Figures
    memory: Figures


COLUMNS = (
    "case", "received/s", "delivered/s", "no disk/s", "ratio to no disk", "messages a sync",
    "ACK p50 ms", "ACK p99 ms", "CPU us/msg", "messages a commit", "RSS MiB", "aim",
)  # fmt: skip


def cells(row: Row, syncs: float) -> tuple[str, ...]:
    """Return one line of the table. ``syncs`` is the plain append rate of the same run."""
    disk, memory = row.disk, row.memory
    return (
        row.case.name, f"{disk.received:,.0f}",
        f"{disk.delivered:,.0f}" if row.case.deliver else "-",
        f"{memory.rate:,.0f}", f"{disk.rate / memory.rate:.2f}", f"{disk.rate / syncs:.2f}",
        f"{disk.p50_ms:.2f}", f"{disk.p99_ms:.2f}", f"{disk.cpu_us:.0f}",
        f"{disk.batch:.1f}", f"{disk.rss_mib:.0f}", row.case.target or "-",
    )  # fmt: skip


def table(rows: list[Row], syncs: float) -> str:
    """Return the figures as a Markdown table."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(cells(row, syncs) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(facts: dict[str, str], rows: list[Row], syncs: float, steps: str) -> str:
    """Return the whole page."""
    head = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return f"""# What the engine does here

Written by `python -m benchmarks`; figures of one machine on one day.

{head}

{table(rows, syncs)}

What the channels of this site cost, steps only, in one process on one core:

{steps}

How to read it

- Every sender waits for its acknowledgment unless a window is named. Generator, engine and sink
  share the cores.
- *receive*: MLLP in, sealed, committed, acknowledged. The channel's steps run too; its only
  destination is switched off, so nothing is delivered.
- *full path*: the same with one acknowledging destination, `order_by: patient`. *delivered/s*
  counts from the first message sent to the last one at the sink, drain included.
- *no disk* is the same path with the memory store (`IFENGINE_STORE=memory`), the *ratio* is
  with disk / no disk. *messages a sync* is the rate divided by the appends with fdatasync a
  second measured above.
- *messages a commit* counts what was received against all group commits meanwhile; the commits
  that settle deliveries are among them.
- CPU and RSS are the engine process's own, from /proc.
- What limits it: one Python thread. It parses, seals, runs the steps, sends and matches answers;
  the writing thread and the disk have room left (see the ratios). Intake with its answer costs
  about 50 us of processor a message, one delivery about 60; the steps stand in the table above. A machine that is busy elsewhere shows in CPU us/msg: compare that column first.
"""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short run each, print only")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--seconds", type=float, help="length of one run")
    given = parser.parse_args()
    runs = 1 if given.quick else 3
    seconds = given.seconds or (2.0 if given.quick else 4.0)
    WORK.mkdir(parents=True, exist_ok=True)
    programs, kind = peers.build(WORK)
    stolen, ticks = machine.steal_and_total()
    load_before = os.getloadavg()[0]
    syncs = machine.syncs_per_second(WORK, preallocated=False)
    preallocated = machine.syncs_per_second(WORK, preallocated=True)
    print(
        f"{syncs:,.0f} fdatasync/s of 4 KiB appended, {preallocated:,.0f} preallocated", flush=True
    )

    def several(case: Case, memory: bool) -> Figures:
        return median([measure(programs, case, seconds, memory) for _ in range(runs)])

    rows = []
    for case in CASES:
        if given.only in case.name:
            rows.append(Row(case, several(case, memory=False), several(case, memory=True)))
            print(" | ".join(cells(rows[-1], syncs)), flush=True)
    help_ms = help_milliseconds(3 * runs)
    stolen_after, ticks_after = machine.steal_and_total()
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine.describe(),
        "versions": ", ".join(
            f"{name} {version(name)}" for name in ("ifengine", "apsw", "cryptography", "uvloop")
        ),
        "generator and sink": kind,
        "runs": f"the middle of {runs}, {seconds:g} s each, after a warm-up of 0.5 s",
        "load average before": f"{load_before:.2f}",
        "steal": f"{(stolen_after - stolen) / max(ticks_after - ticks, 1):.2%}",
        "fdatasync of 4 KiB appended": f"{syncs:,.0f}/s",
        "fdatasync of 4 KiB in a preallocated file": f"{preallocated:,.0f}/s",
        "`ifengine --help`": f"{help_ms:.0f} ms",
    }
    page = report(facts, rows, syncs, channels.page(ROOT, SAMPLES))
    print(page)
    if not given.quick and not given.only:
        (ROOT / "benchmarks" / "results.md").write_text(page)


if __name__ == "__main__":
    main()
