"""Code tables: key columns, then result columns, read from CSV and looked up by one or more keys."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ifengine.transforms.source import Position, Problems

ANY = "*"


@dataclass(frozen=True, slots=True)
class Table:
    """A table. ``*`` in a key column fits every value and is tried after the exact rows.

    The key columns are those before ``to``; the first one where no column is called that.
    """

    name: str
    keys: tuple[str, ...]
    results: tuple[str, ...]
    rows: Mapping[tuple[str, ...], tuple[str, ...]] = field(repr=False)
    _open_rows: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = field(repr=False, default=())
    _first_keys: frozenset[str] = field(repr=False, default=frozenset())

    @classmethod
    def of(
        cls,
        name: str,
        keys: Sequence[str],
        results: Sequence[str],
        rows: Iterable[tuple[Sequence[str], Sequence[str]]],
    ) -> "Table":
        """Make a table of rows (keys, results)."""
        exact: dict[tuple[str, ...], tuple[str, ...]] = {}
        wide: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        for key, result in rows:
            if ANY in key:
                wide.append((tuple(key), tuple(result)))
            else:
                exact[tuple(key)] = tuple(result)
        # the row that leaves least open is the nearest; the order of the file decides the rest
        wide.sort(key=lambda row: row[0].count(ANY))
        known = frozenset(key[0] for key in [*exact, *(row[0] for row in wide)] if key[0] != ANY)
        return cls(name, tuple(keys), tuple(results), exact, tuple(wide), known)

    def contains(self, value: str) -> bool:
        """Whether a row names this value in the first key column; ``*`` rows do not count."""
        return value in self._first_keys

    def lookup(self, keys: Sequence[str]) -> tuple[str, ...] | None:
        """Return the results of the row for these keys, None where there is none."""
        key = tuple(keys)
        found = self.rows.get(key)
        if found is not None or not self._open_rows:
            return found
        for pattern, result in self._open_rows:
            if all(wanted in (ANY, given) for wanted, given in zip(pattern, key, strict=True)):
                return result
        return None

    def column(self, name: str) -> int | None:
        """Return the number of a result column from 0, None where there is none."""
        return self.results.index(name) if name in self.results else None


def read_csv(name: str, text: str, file: str, problems: Problems) -> Table:
    """Read a table; every mistake is added to ``problems`` at its line.

    A line that begins with ``#`` is a comment. Blanks around a cell do not count.

    Returns:
        The table, as far as it could be read.
    """
    before = len(problems.found)
    lines = list(_lines(text, file, problems))
    if not lines:
        problems.error("E401", Position(file, 1, 1), "the table has no header", "from,to")
        return Table.of(name, ("from",), ("to",), ())
    (header_line, header), *body = lines
    _check_header(header, Position(file, header_line, 1), problems)
    split = header.index("to") if "to" in header[1:] else 1
    seen: dict[tuple[str, ...], int] = {}
    rows: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    for line, cells in body:
        at = Position(file, line, 1)
        if len(cells) != len(header):
            problems.error(
                "E402", at, f"this row has {len(cells)} cells, the header has {len(header)}"
            )
            continue
        key = tuple(cells[:split])
        if key in seen:
            problems.error(
                "E403", at, "two rows have the same keys", f"the first is on line {seen[key]}"
            )
            continue
        seen[key] = line
        rows.append((key, tuple(cells[split:])))
    if not rows and len(problems.found) == before:
        problems.warning("W401", Position(file, header_line, 1), "the table has no rows")
    return Table.of(name, header[:split], header[split:], rows)


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


def _check_header(header: list[str], at: Position, problems: Problems) -> None:
    if len(header) < 2:
        problems.error("E401", at, "a table has at least two columns", "from,to")
    for number, name in enumerate(header):
        if not name:
            problems.error("E401", at, f"column {number + 1} has no name")
        elif name in header[:number]:
            problems.error("E401", at, f'column "{name}" is there twice')
