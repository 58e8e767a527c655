"""results.md: one section a group. A run replaces the sections it measured and leaves the others."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import Case, Figures

HEAD = """\
# What the engine does here

Written by `python -m benchmarks`; figures of one machine, each section with its day and its load.
"""

HOW_TO_READ = """\
How to read it

- Every sender waits for its acknowledgment unless a window is named. Generator, engine and receivers
  share the cores; where nothing else is said there are 16 connections and messages of 1.3 KB.
- *receive*: MLLP in, sealed, committed, acknowledged. The channel's steps run too; its only
  destination is switched off, so nothing is delivered.
- *full path*: the same with an acknowledging receiver, `order_by: patient`. *delivered/s* counts
  from the first message sent to the last one at the receiver, drain included.
- *no disk* is the same path with the memory store (`IFENGINE_STORE=memory`), the *ratio* is
  with disk / no disk. *messages a sync* is the rate divided by the appends with fdatasync a second
  measured in the same run. *of its limit*: delivered/s over lanes / time of the receiver's answer,
  which no sender that waits for each answer can pass.
- *messages a commit* counts what was received against all group commits meanwhile; the commits
  that settle deliveries are among them.
- CPU and RSS are the engine process's own, from /proc; RSS at the end of the run. A machine that is
  busy elsewhere shows in CPU us/msg: compare that column first.
- Measured is the compiled form (`make compiled`, ADR 0034) where a line about the machine says so.
- What limits it: one thread and the interpreter's lock. The thread parses, seals, runs the steps, sends and
  matches answers; the thread that writes needs the lock for a part of its work, and the disk has room left.
- A checkpoint runs beside the commits, its last pages behind the answers of one; p99.9 is where it would show.
"""

COLUMNS = (
    "case", "received/s", "delivered/s", "no disk/s", "ratio to no disk", "messages a sync",
    "of its limit", "ACK p50 ms", "p99 ms", "p99.9 ms", "CPU us/msg", "messages a commit",
    "RSS MiB", "aim",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A case, with disk and without."""

    case: Case
    disk: Figures
    memory: Figures | None


def cells(row: Row, syncs: float) -> tuple[str, ...]:
    """Return one line of a table. ``syncs`` is the plain append rate of the same run."""
    case, disk, memory = row.case, row.disk, row.memory
    if case.slow_sync_us:
        syncs = 1 / (1 / syncs + case.slow_sync_us / 1e6)
    limit = case.most_delivered
    return (
        case.name, f"{disk.received:,.0f}",
        f"{disk.delivered:,.0f}" if case.deliver else "-",
        f"{memory.rate:,.0f}" if memory else "-",
        f"{disk.rate / memory.rate:.2f}" if memory else "-",
        f"{disk.rate / syncs:.2f}",
        f"{disk.delivered / limit:.2f}" if limit and case.deliver else "-",
        f"{disk.p50_ms:.2f}", f"{disk.p99_ms:.2f}", f"{disk.p999_ms:.2f}", f"{disk.cpu_us:.0f}",
        f"{disk.batch:.1f}", f"{disk.rss_mib:.0f}", case.target or "-",
    )  # fmt: skip


def table(rows: list[Row], syncs: float) -> str:
    """Return the figures as a Markdown table."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(cells(row, syncs) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sections(page: str) -> dict[str, str]:
    """Return what stands in each section of a page."""
    found = re.finditer(r"<!-- group (\w+) -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    return {one[1]: one[2] for one in found}


def assembled(found: Mapping[str, str], order: tuple[str, ...]) -> str:
    """Return the page of these sections."""
    parts = [HEAD]
    for name in order:
        if name in found:
            parts.append(f"<!-- group {name} -->\n{found[name]}\n<!-- end -->\n")
    return "\n".join([*parts, HOW_TO_READ])


def put(path: Path, new: Mapping[str, str], order: tuple[str, ...]) -> None:
    """Replace sections of a page that may not be there yet."""
    before = sections(path.read_text()) if path.exists() else {}
    path.write_text(assembled({**before, **new}, order))
