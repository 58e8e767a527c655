"""How often a campaign tries, and the table of what was tried that ends `make crash` and `make chaos`.

A test under `make test` runs the short number of trials; a campaign sets ``IFENGINE_CAMPAIGN=long``;
a variable of its own sets any number by hand.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Tried:
    """One line of the table: which promise, what was done to it, how often, how often it broke."""

    promise: str  # G1 to G17
    what: str
    trials: int
    failures: int
    found: str  # figures of the run, and the seed that repeats it


def trials(short: int, long: int, variable: str) -> int:
    """Return how often to try."""
    said = os.environ.get(variable)
    if said:
        return int(said)
    return long if os.environ.get("IFENGINE_CAMPAIGN") == "long" else short


def repeated(times: int) -> pytest.MarkDecorator:
    """Mark a test that takes ``repeat``: it runs so often. With 0 it is left out, and not skipped."""
    left_out = pytest.param(0, marks=pytest.mark.campaign_only)
    return pytest.mark.parametrize("repeat", range(times) if times else [left_out])


def is_campaign(variable: str) -> bool:
    """Return whether a campaign runs, or the person set this number by hand."""
    return bool(os.environ.get(variable)) or os.environ.get("IFENGINE_CAMPAIGN") == "long"


def seed(variable: str = "IFENGINE_SEED") -> int:
    """Return the seed that the person gave to repeat a run, or a new one."""
    return int(os.environ.get(variable, "0")) or int.from_bytes(os.urandom(3), "big") + 1


def bound(tried: Tried) -> str:
    """Say what clean trials prove, with 95 % confidence: the rule of three."""
    if tried.failures or not tried.trials:
        return "-"
    return f"< {3 / tried.trials:.3%}" if tried.trials >= 3 else "-"


def table(rows: Iterable[Tried]) -> list[str]:
    """Return the lines of the table, by promise."""
    cells = [("promise", "what", "trials", "failures", "fails at most", "found")]
    cells += [
        (t.promise, t.what, f"{t.trials:,}", f"{t.failures:,}", bound(t), t.found)
        for t in sorted(rows, key=lambda t: (int(t.promise[1:]), t.what))
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


class Ledger:
    """What the campaigns of one test run tried."""

    def __init__(self) -> None:
        self.rows: list[Tried] = []

    def record(
        self, promise: str, what: str, *, trials: int, failures: int = 0, found: str = ""
    ) -> None:
        """Write one line; call it before the assertion, so that a failure stands in the table too."""
        self.rows.append(Tried(promise, what, trials, failures, found))


def save(rows: Sequence[Tried], path: Path) -> None:
    """Write the rows for the page of guarantees."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
