"""``python -m benchmarks``: every figure beside its own no-disk run, its limit and the disk's sync rate.

python -m benchmarks                  the core table, medians of three; writes benchmarks/results.md
python -m benchmarks backlog disk     these groups; their sections of the page are replaced
python -m benchmarks full             every group (also IFENGINE_BENCH=full)
python -m benchmarks --quick ...      one short run each, prints only
"""

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version

from benchmarks import backlog, channels, foreign, machine, page, peers
from benchmarks.groups import EVERY_GROUP, GROUPS
from benchmarks.measuring import ROOT, WORK, Case, Figures, Programs, measure, median
from benchmarks.serving import command
from ifengine.form import FORM

RESULTS = ROOT / "benchmarks" / "results.md"
DEFAULT = ("core", "steps")
# the channels of the site in this repository, and a sample that runs most of the steps of each
SAMPLES = {
    "adt-fanout": "adt_a01",
    "lab-results": "oru_r01",
    "radiology-orders": "orm_o01",
    "identity-and-waiting": "adt_a40",
}
TITLES = {
    "backlog": "A long queue",
    "foreign": "Receivers of others",
    "steps": "What channels cost: steps only, in one process on one core",
}


class Run:
    """What all groups of one run share: programs, lengths, and what the machine was like."""

    def __init__(self, *, seconds: float, runs: int) -> None:
        WORK.mkdir(parents=True, exist_ok=True)
        compileall.compile_dir(ROOT / "src", quiet=1)  # as an installation has it
        self.seconds, self.runs = seconds, runs
        self.programs: Programs = peers.build(WORK)

    def facts(self, form: str = FORM) -> tuple[float, str]:
        """Return the sync rate now, and a line about the machine now."""
        syncs = machine.syncs_per_second(WORK, preallocated=False)
        preallocated = machine.syncs_per_second(WORK, preallocated=True)
        versions = ("ifengine", "apsw", "cryptography", "uvloop")
        return syncs, "; ".join(
            (
                datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                f"the {form} form",
                machine.describe(),
                ", ".join(f"{name} {version(name)}" for name in versions),
                f"generator and sink in {self.programs.kind}",
                f"fdatasync of 4 KiB appended {syncs:,.0f}/s, preallocated {preallocated:,.0f}/s",
                f"load average before {os.getloadavg()[0]:.2f}",
            )
        )

    def several(self, case: Case, *, memory: bool) -> Figures:
        """Return the middle one of the runs of a case."""
        return median(
            [measure(self.programs, case, self.seconds, memory) for _ in range(self.runs)]
        )

    def table(self, cases: tuple[Case, ...], syncs: float) -> str:
        """Measure the cases of a group."""
        rows = []
        for case in cases:
            if case.slow_sync_us and self.programs.slow is None:
                continue  # said in the section's head: no compiler
            disk = self.several(case, memory=False)
            memory = self.several(case, memory=True) if case.memory_too else None
            rows.append(page.Row(case, disk, memory))
            print(" | ".join(page.cells(rows[-1], syncs)), flush=True)
        return page.table(rows, syncs)

    def section(self, name: str) -> str:
        """Measure one group and return its section."""
        stolen, ticks = machine.steal_and_total()
        syncs, facts = self.facts("interpreted" if name == "interpreted" else FORM)
        print(f"\n{name}: {facts}", flush=True)
        if name in GROUPS:
            title, cases = GROUPS[name]
            body = self.table(cases, syncs)
        else:
            title = TITLES[name]
            body = self._other(name)
        stolen_after, ticks_after = machine.steal_and_total()
        steal = (stolen_after - stolen) / max(ticks_after - ticks, 1)
        how = "" if name == "steps" else f"; the middle of {self.runs}, {self.seconds:g} s each"
        return f"## {title}\n\n{body}\n\n{facts}; steal {steal:.2%}{how}."

    def _other(self, name: str) -> str:
        if name == "backlog":
            return backlog.page(self.programs, self.seconds)
        if name == "foreign":
            return foreign.page(self.programs, self.seconds)
        help_ms = help_milliseconds(3 * self.runs)
        return f"{channels.page(ROOT, SAMPLES)}\n- `ifengine --help`: {help_ms:.0f} ms"


def help_milliseconds(runs: int) -> float:
    """Return the median time of ``ifengine --help``."""

    def once() -> float:
        started = time.perf_counter()
        subprocess.run(command("--help"), check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - started) * 1000

    return statistics.median(once() for _ in range(runs))


def chosen(words: list[str]) -> tuple[str, ...]:
    """Return the groups asked for, in their order."""
    words = words or os.environ.get("IFENGINE_BENCH", "").split()
    if "full" in words:
        return EVERY_GROUP
    unknown = set(words) - set(EVERY_GROUP)
    if unknown:
        sys.exit(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(EVERY_GROUP)}")
    return tuple(name for name in EVERY_GROUP if name in (words or DEFAULT))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(EVERY_GROUP)}; or full")
    parser.add_argument("--quick", action="store_true", help="one short run each, print only")
    parser.add_argument("--seconds", type=float, help="length of one run")
    parser.add_argument("--runs", type=int, help="how many runs of each case; the middle counts")
    given = parser.parse_args()
    run = Run(
        seconds=given.seconds or (2.0 if given.quick else 4.0),
        runs=given.runs or (1 if given.quick else 3),
    )
    for name in chosen(given.groups):
        section = run.section(name)
        print(f"\n{section}\n", flush=True)
        if not given.quick:
            page.put(RESULTS, {name: section}, EVERY_GROUP)


if __name__ == "__main__":
    main()
