"""Writes what is counted into docs/guarantees.md: trials, figures of long campaigns, seeded bugs.

``python docs/guarantees.py`` writes the page anew from docs/guarantees.json. With a file that a
campaign wrote (``IFENGINE_CAMPAIGN_FILE``) it takes up its rows first, each in the place of the one
of the same name; ``--all`` drops the rows that are not in the file. A row that failed is refused.
"""

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import apsw

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from campaigns import Tried, bound  # noqa: E402 - stands in tests
from seeded.bugs import BUGS  # noqa: E402 - stands in tests
from seeded.what import Bug  # noqa: E402 - stands in tests

PAGE = ROOT / "docs" / "guarantees.md"
FIGURES = ROOT / "docs" / "guarantees.json"
SEEDED = "seeded bug: "
_PART = re.compile(r"<!-- (figures|bugs) (G\d+) -->\n(?:.*\n)*?<!-- end -->\n")
_COUNTS = re.compile(r"\d[\d,]*(, long\s+)\d[\d,]*(\s+\(`(IFENGINE_\w+)`\))")
_CALLS = re.compile(r'trials\(\s*([\d_]+),\s*([\d_]+),\s*"(IFENGINE_\w+)"')
_WORDS = 160  # of what was found: figures and the seed, on one line


@dataclass(frozen=True)
class Figure:
    """One row of a campaign, with when and where it was."""

    promise: str
    what: str
    trials: int
    failures: int
    found: str
    date: str
    machine: str


def machine() -> str:
    """Say what a campaign ran on."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}"
    )


def read(path: Path = FIGURES) -> list[Figure]:
    """Return the figures that stand in the repository."""
    if not path.exists():
        return []
    return [Figure(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def taken_up(
    before: Iterable[Figure], rows: Iterable[Mapping[str, object]], date: str, where: str
) -> list[Figure]:
    """Return all figures with the rows of a campaign among them.

    Raises:
        ValueError: a row failed: such figures are no proof.
    """
    tried = [Tried(**row) for row in rows]  # type: ignore[arg-type]
    failed = [row.what for row in tried if row.failures]
    if failed:
        raise ValueError(f"failed: {'; '.join(failed)}")
    found = {(one.promise, one.what): one for one in before}
    for row in tried:
        found[row.promise, row.what] = Figure(**asdict(row), date=date, machine=where)
    return sorted(found.values(), key=lambda one: (int(one.promise[1:]), one.what))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', ' ') for cell in line)} |\n" for line in lines)


def figures_of(promise: str, figures: Iterable[Figure]) -> str:
    """Return the table of what long campaigns tried."""
    rows = [
        (
            one.what,
            f"{one.trials:,}",
            bound(Tried(one.promise, one.what, one.trials, one.failures, one.found)),
            one.date,
            one.found[:_WORDS],
        )
        for one in figures
        if one.promise == promise and not one.what.startswith(SEEDED)
    ]
    if not rows:
        return "No long campaign has been written down yet.\n"
    head = ("Tried", "Trials, none failed", "Fails at most", "On", "With")
    return _table(head, rows)


def bugs_of(promise: str, bugs: Iterable[Bug], figures: Iterable[Figure]) -> str:
    """Return the table of seeded bugs, and how soon each was caught."""
    caught = {one.what.removeprefix(SEEDED): one for one in figures}
    rows = []
    for bug in bugs:
        if bug.promise == promise:
            last = caught.get(bug.name)
            when = "" if last is None else f"{last.found}, {last.date}"
            tests = ", ".join(f"`{test.rpartition('::')[2]}`" for test in bug.caught_by)
            rows.append((f"`{bug.name}`", bug.breaks, tests, when))
    return _table(("Seeded bug", "What it breaks", "Caught by", "Caught"), rows)


def trials_of_tests() -> dict[str, tuple[int, int]]:
    """Return how often each campaign tries, short and long, as its test says, by variable."""
    found: dict[str, tuple[int, int]] = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for short, long, variable in _CALLS.findall(file.read_text(encoding="utf-8")):
            numbers = int(short), int(long)
            found[variable] = max(found.get(variable, numbers), numbers, key=lambda both: both[1])
    return found


def written(page: str, figures: Sequence[Figure], bugs: Sequence[Bug] = BUGS) -> str:
    """Return the page with every counted part written anew."""

    def part(found: re.Match[str]) -> str:
        kind, promise = found[1], found[2]
        if kind == "figures":
            text = figures_of(promise, figures)
        else:
            text = bugs_of(promise, bugs, figures)
        return f"<!-- {kind} {promise} -->\n{text}<!-- end -->\n"

    counted = trials_of_tests()

    def count(found: re.Match[str]) -> str:
        short, long = counted[found[3]]
        return f"{short:,}{found[1]}{long:,}{found[2]}"

    page = _COUNTS.sub(count, _PART.sub(part, page))
    where = sorted({one.machine for one in figures})
    return re.sub(
        r"<!-- machines -->\n(?:.*\n)*?<!-- end -->\n",
        f"<!-- machines -->\n{'; '.join(where) or 'None yet.'}\n<!-- end -->\n",
        page,
    )


def main() -> int:
    """Take up figures where a file is named, and write the page."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("file", nargs="?", type=Path)
    asked.add_argument("--all", action="store_true", help="drop what the file does not name")
    said = asked.parse_args()
    figures = read()
    if said.file is not None:
        rows = json.loads(said.file.read_text(encoding="utf-8"))
        today = time.strftime("%Y-%m-%d", time.gmtime())
        try:
            figures = taken_up([] if said.all else figures, rows, today, machine())
        except ValueError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        text = json.dumps([asdict(one) for one in figures], indent=1, ensure_ascii=False)
        FIGURES.write_text(text + "\n", encoding="utf-8")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
