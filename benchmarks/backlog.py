"""A queue of a million: how soon a start delivers, how much memory it takes, what it costs the rest."""

import os
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.filling import Filler
from benchmarks.measuring import WORK, Case, Programs, Sink, offer, sinking
from benchmarks.serving import (
    Engine,
    NotServingError,
    Site,
    command,
    free_ports,
    fresh,
    running,
)

QUEUED = 1_000_000
STARTS = 3
QUEUE = "ifengine_queue_messages"
LIVE = Case("live", deliver=True)


@dataclass(frozen=True)
class Line:
    """One figure."""

    what: str
    value: str
    aim: str = "-"


def queued_wanted() -> int:
    """Return how many are to wait: ``IFENGINE_BENCH_QUEUED``, else a million."""
    return int(os.environ.get("IFENGINE_BENCH_QUEUED", QUEUED))


def _wait_for(engine: Engine, queued: float) -> float:
    """Wait until the gauge tells of so many; returns how long it took, in seconds."""
    started = time.monotonic()
    while engine.metric(QUEUE) < queued:
        if time.monotonic() - started > 120:
            raise NotServingError("the queue is not what it was filled with")
        time.sleep(0.02)
    return time.monotonic() - started


def _first_delivery(programs: Programs, site: Site, *, kill: bool = False) -> float:
    """Start once, with the receiver there; return seconds from the process's begin to a message."""
    with sinking(programs.sink, 0, site.send_ports[0]) as sink, running(site) as engine:
        counts = sink.wait_for(1)
        if kill:
            os.kill(engine.pid, 9)
        return counts["first"] - engine.started


def _prepare(programs: Programs, site: Site, count: int) -> float:
    """Let the engine receive and plan some, and repeat them; returns how long the filling took."""
    fresh(site)
    with running(site) as engine:
        offer(programs, engine.port, LIVE, ["--count", "500"], "F")
        _wait_for(engine, 500)
    started = time.monotonic()
    filler = Filler(site.store, site.folder / "var" / "keys" / "kek")
    try:
        filler.fill(count - 500)
    finally:
        filler.close()
    return time.monotonic() - started


def _live(programs: Programs, site: Site, sink: Sink, engine: Engine, seconds: float) -> list[Line]:
    """Receive at 16 connections while the backlog drains."""
    sink.wait_for(1000)
    before, began = sink.counts(), time.time()
    result = offer(programs, engine.port, LIVE, ["--seconds", str(seconds)], "L")
    after, took = sink.counts(), time.time() - began
    peak = machine.peak_rss_bytes(engine.pid) / 2**20
    delivered = (after["messages"] - before["messages"]) / took
    return [
        Line("received/s meanwhile, 16 connections", f"{result['rate']:,.0f}"),
        Line("ACK p50 / p99 / p99.9 ms meanwhile",
             " / ".join(f"{result[key]:.2f}" for key in ("p50_ms", "p99_ms", "p999_ms"))),
        Line("delivered/s meanwhile, one lane", f"{delivered:,.0f}"),
        Line("highest RSS of that run, MiB", f"{peak:.0f}", "150"),
    ]  # fmt: skip


def page(programs: Programs, seconds: float) -> str:
    """Fill, start, receive; return the table."""
    count = queued_wanted()
    site = Site(WORK / "backlog", tuple(free_ports(1)))
    small = Site(WORK / "small", tuple(free_ports(1)))
    _prepare(programs, small, 1000)
    baseline = sorted(_first_delivery(programs, small) for _ in range(STARTS))
    filled_s = _prepare(programs, site, count)
    size = sum(one.stat().st_size for one in Path(site.store).iterdir())
    lines = [Line("store, GiB", f"{size / 2**30:.2f}")]
    with running(site) as engine:  # nobody takes anything
        counted_s = _wait_for(engine, count)
        time.sleep(2)
        rss = machine.use_of(engine.pid).rss_bytes / 2**20
        lines += [
            Line("RSS with all of them queued, MiB", f"{rss:.0f}", "150"),
            Line("start to `ready`, s", f"{engine.ready_s:.2f}"),
            Line("from `ready` until all are counted, s", f"{counted_s:.2f}"),
        ]
    starts = sorted(_first_delivery(programs, site) for _ in range(STARTS))
    _first_delivery(programs, site, kill=True)
    lines += [
        Line(f"start to the first delivery, s, median of {STARTS}",
             f"{starts[STARTS // 2]:.2f}", "1"),
        Line("the same with 1,000 queued, s", f"{baseline[STARTS // 2]:.2f}"),
        Line("ratio of the two", f"{starts[STARTS // 2] / baseline[STARTS // 2]:.2f}"),
    ]  # fmt: skip
    after_kill = _first_delivery(programs, site)
    lines.append(Line("start to the first delivery after a SIGKILL, s", f"{after_kill:.2f}", "1"))
    with ExitStack() as stack:
        sink = stack.enter_context(sinking(programs.sink, 0, site.send_ports[0]))
        engine = stack.enter_context(running(site))
        lines += _live(programs, site, sink, engine, max(10.0, seconds))
    started = time.monotonic()
    tally = subprocess.run(
        command("tally", "--offline", "--site", str(site.folder)),
        stdout=subprocess.DEVNULL,
        check=False,
    )
    even = "even" if tally.returncode == 0 else f"NOT even (exit {tally.returncode})"
    lines.append(Line("`ifengine tally` afterwards, all messages, s",
                      f"{time.monotonic() - started:.0f}, {even}"))  # fmt: skip
    head = f"{count:,} messages queued for one destination (filled in {filled_s:.0f} s)"
    rows = [f"| {line.what} | {line.value} | {line.aim} |" for line in lines]
    text = "\n".join([f"| {head} | | aim |", "| --- | --- | --- |", *rows])
    print(text, flush=True)
    return text
