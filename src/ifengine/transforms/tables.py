"""Code tables: key columns, then result columns, read from CSV and looked up by one or more keys."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.hl7.times import parse_time
from ifengine.transforms.source import Position, Problems
from ifengine.transforms.table_rules import (
    ANY,
    EVERYWHEN,
    Period,
    Row,
    check_rows,
    is_factor,
    period_of,
)

VALID_FROM, VALID_TO = "valid_from", "valid_to"
_VALIDITY = (VALID_FROM, VALID_TO)
_FACTOR = "factor"


class _Held(NamedTuple):
    """The results of one row and when they hold."""

    period: Period
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table. ``*`` in a key column fits every value and is tried after the exact rows.

    The key columns are those before ``to``; the first one where no column is called that. In a
    table with a column ``factor`` all before that are keys.
    """

    name: str
    keys: tuple[str, ...]
    results: tuple[str, ...]
    rows: Mapping[tuple[str, ...], tuple[str, ...]] = field(repr=False)
    # rows that hold for a time only, under their keys; such a table is asked with `at`
    timed: Mapping[tuple[str, ...], tuple[_Held, ...]] = field(repr=False, default_factory=dict)
    # a result column that repeats the first key (`unmapped` of a map: the code as it came)
    echoes: int | None = None
    # keys that are said to have no row: those with * do not answer for them
    nothing: frozenset[tuple[str, ...]] = field(repr=False, default=frozenset())
    _open: tuple[tuple[bool, ...], ...] = field(repr=False, default=())
    _first_keys: frozenset[str] = field(repr=False, default=frozenset())

    @classmethod
    def of(
        cls,
        name: str,
        keys: Sequence[str],
        results: Sequence[str],
        rows: Iterable[tuple[Sequence[str], Sequence[str]]],
        *,
        echoes: int | None = None,
    ) -> "Table":
        """Make a table of rows (keys, results) that always hold."""
        held = [Row(tuple(key), tuple(result), EVERYWHEN, 0) for key, result in rows]
        return cls.of_rows(name, keys, results, held, timed=False, echoes=echoes)

    @classmethod
    def of_rows(
        cls,
        name: str,
        keys: Sequence[str],
        results: Sequence[str],
        rows: Sequence[Row],
        *,
        timed: bool,
        echoes: int | None = None,
        nothing: frozenset[tuple[str, ...]] = frozenset(),
    ) -> "Table":
        """Make a table of rows; of a timed one each holds in its period only."""
        plain: dict[tuple[str, ...], tuple[str, ...]] = {}
        held: dict[tuple[str, ...], tuple[_Held, ...]] = {}
        for row in rows:
            plain[row.keys] = row.results
            if timed:
                held[row.keys] = (*held.get(row.keys, ()), _Held(row.period, row.results))
        open_ = {tuple(cell == ANY for cell in key) for key in plain if ANY in key}
        # the row that leaves least open is the nearest
        masks = tuple(sorted(open_, key=lambda mask: (sum(mask), mask)))
        known = frozenset(key[0] for key in plain if key[0] != ANY)
        return cls(name, tuple(keys), tuple(results), plain, held, echoes, nothing, masks, known)

    def contains(self, value: str) -> bool:
        """Whether a row names this value in the first key column; ``*`` rows do not count."""
        return value in self._first_keys

    def lookup(self, keys: Sequence[str], at: str = "") -> tuple[str, ...] | None:
        """Return the results of the row for these keys, None where there is none.

        ``at`` is an HL7 time; a table with validity answers for that time only. What it does not
        say for certain (no time, a month where the table changes within it) is no row. Its zone
        does not count: a table's days are those of the clock on the wall.
        """
        key = tuple(keys)
        if self.timed:
            return self._held_at(key, _span(at))
        found = self.rows.get(key)
        if found is not None or not self._open or key in self.nothing:
            return found
        for pattern in self._patterns(key):
            found = self.rows.get(pattern)
            if found is not None:
                return self._echoed(found, key)
        return None

    def _patterns(self, key: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for mask in self._open:
            yield tuple(ANY if is_open else cell for is_open, cell in zip(mask, key, strict=True))

    def _held_at(self, key: tuple[str, ...], span: Period | None) -> tuple[str, ...] | None:
        for pattern in (key, *self._patterns(key)):
            for period, results in self.timed.get(pattern, ()):
                if period == EVERYWHEN or (span is not None and period.covers(span)):
                    return self._echoed(results, key)
        return None

    def _echoed(self, found: tuple[str, ...], key: tuple[str, ...]) -> tuple[str, ...]:
        place = self.echoes
        if place is None or found[place] != ANY:
            return found
        return (*found[:place], key[0], *found[place + 1 :])

    def column(self, name: str) -> int | None:
        """Return the number of a result column from 0, None where there is none."""
        return self.results.index(name) if name in self.results else None

    def cells(self, column: int) -> frozenset[str]:
        """Return what stands in a result column, in any row."""
        held = [results[column] for rows in self.timed.values() for _, results in rows]
        return frozenset([*held, *(results[column] for results in self.rows.values())])


def _span(at: str) -> Period | None:
    """Return all that a time may mean, None where it is no time."""
    sign = max(at.rfind("+"), at.rfind("-"))
    time = parse_time(at[:sign] if sign > 0 else at)
    return None if time is None else Period(time.start, time.end)


def read_csv(name: str, text: str, file: str, problems: Problems) -> Table:
    """Read a table; every mistake is added to ``problems`` at its line.

    A line that begins with ``#`` is a comment. Blanks around a cell do not count. ``valid_from``
    and ``valid_to`` may be columns: the first and the last day on which a row holds.

    Returns:
        The table, as far as it could be read.
    """
    before = len(problems.found)
    lines = list(_lines(text, file, problems))
    if not lines:
        problems.error("E401", Position(file, 1, 1), "the table has no header", "from,to")
        return Table.of(name, ("from",), ("to",), ())
    (header_line, header), *body = lines
    own = [column for column in header if column not in _VALIDITY]
    timed = len(own) < len(header)
    _check_header(header, own, Position(file, header_line, 1), problems)
    split = _first_result(own)
    rows: list[Row] = []
    for line, cells in body:
        at = Position(file, line, 1)
        if len(cells) != len(header):
            problems.error(
                "E402", at, f"this row has {len(cells)} cells, the header has {len(header)}"
            )
            continue
        named = dict(zip(header, cells, strict=True))
        period = period_of(named.get(VALID_FROM, ""), named.get(VALID_TO, ""), at, problems)
        if own[split:][:1] == [_FACTOR] and not is_factor(named, at, problems):
            continue
        values = [named[column] for column in own] if timed else cells
        if period is not None:
            rows.append(Row(tuple(values[:split]), tuple(values[split:]), period, line))
    rows = check_rows(rows, file, problems)
    if not rows and len(problems.found) == before:
        problems.warning("W401", Position(file, header_line, 1), "the table has no rows")
    return Table.of_rows(name, own[:split], own[split:], rows, timed=timed)


def _first_result(columns: Sequence[str]) -> int:
    """Return how many columns are keys."""
    for name in (_FACTOR, "to"):
        if name in columns[1:]:
            return columns.index(name)
    return 1


def _lines(text: str, file: str, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip() or line.startswith("#"):
            continue
        try:
            cells = next(csv.reader([line], strict=True))
        except csv.Error:
            problems.error(
                "E404", Position(file, number, 1), "this row is not CSV", "close the quotes"
            )
            continue
        cells = [cell.strip() for cell in cells]
        if any(not cell.isprintable() for cell in cells):
            problems.error("E404", Position(file, number, 1), "a cell holds a control character")
            continue
        yield number, cells


def _check_header(header: list[str], own: list[str], at: Position, problems: Problems) -> None:
    if len(own) < 2:
        problems.error("E401", at, "a table has at least two columns", "from,to")
    for number, name in enumerate(header):
        if not name:
            problems.error("E401", at, f"column {number + 1} has no name")
        elif name in header[:number]:
            problems.error("E401", at, f'column "{name}" is there twice')
