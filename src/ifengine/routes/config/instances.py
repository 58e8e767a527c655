"""`for:` of a channel file: one channel for each row of a table (ADR 0022).

``for: {site: table sites}`` makes ``NAME-KEY`` for every row, KEY being its first cell, and
``${site.COLUMN}`` in the file stands for that row's cell. Everything else is as if each channel had
been written by hand: names, connections, tests, metrics.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ifengine.routes.config.filled import shorten
from ifengine.routes.config.scalars import ScalarError, parse_name
from ifengine.transforms.site_files import fill
from ifengine.transforms.source import Entries, Node, Problems, Text
from ifengine.transforms.table_rules import ANY
from ifengine.transforms.tables import Table

MOST_INSTANCES = 500
_EXAMPLE = "for: {site: table sites}"


class Instance(NamedTuple):
    """One channel that a file makes: its name, and the file's nodes with its row filled in."""

    name: str
    file: str
    node: Entries


def instances(
    node: Entries, file: str, tables: Mapping[str, Table], problems: Problems
) -> list[Instance]:
    """Return the channels of one file: itself, or one for each row of the table it names."""
    stem = Path(file).stem
    said = node.get("for")
    if said is None:
        return [Instance(stem, file, node)]
    rest = Entries(tuple(entry for entry in node if entry[0].value != "for"), node.position)
    found = _table(said, tables, problems)
    if found is None:
        return []
    variable, table = found
    made = []
    for row in _rows(table, said, problems):
        key = next(iter(row.values()))
        try:
            name = f"{stem}-{parse_name(key.lower())}"
        except ScalarError as error:
            problems.error(
                "E265",
                said.position,
                f'a row of table "{table.name}" cannot name a channel: its key {error.message}',
                error.hint,
            )
            continue
        before = len(problems.found)
        filled = _filled(rest, variable, row, table.name, problems)
        if len(problems.found) == before:  # what is left empty would be a second mistake
            made.append(Instance(name, file, filled))
    return made


def table_of(node: Entries) -> str:
    """Return the name of the table that a channel file goes over; ``""`` where it does not."""
    said = node.get("for")
    written = said.entries[0][1] if isinstance(said, Entries) and said.entries else None
    return written.value.partition(" ")[2].strip() if isinstance(written, Text) else ""


def _table(said: Node, tables: Mapping[str, Table], problems: Problems) -> tuple[str, Table] | None:
    """Read ``{VARIABLE: table NAME}``."""
    if not isinstance(said, Entries) or len(said.entries) != 1:
        problems.error("E104", said.position, '"for" takes one name and its table', _EXAMPLE)
        return None
    variable, written = said.entries[0]
    try:
        parse_name(variable.value)
    except ScalarError as error:
        problems.error("E104", variable.position, f'"{shorten(variable.value)}" {error.message}')
        return None
    if variable.value in ("vars", "with", "env", "secret", "file"):
        problems.error(
            "E104", variable.position, f'"{variable.value}" means something else in ${{…}}'
        )
        return None
    word, _, name = written.value.partition(" ") if isinstance(written, Text) else ("", "", "")
    if word != "table" or not name.strip():
        problems.error("E104", written.position, '"for" goes over the rows of a table', _EXAMPLE)
        return None
    table = tables.get(name.strip())
    if table is None:
        near = difflib.get_close_matches(name.strip(), tables, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"put it into tables/{name.strip()}.csv"
        problems.error(
            "E301", written.position, f'there is no table "{shorten(name.strip())}"', hint
        )
        return None
    return variable.value, table


def _rows(table: Table, said: Node, problems: Problems) -> list[dict[str, str]]:
    """Return the rows as maps of column to cell, the key columns first."""
    columns = (*table.keys, *table.results)
    found = [dict(zip(columns, (*key, *row), strict=True)) for key, row in table.rows.items()]
    if len(found) > MOST_INSTANCES:
        problems.error(
            "E265",
            said.position,
            f'table "{table.name}" has {len(found)} rows: {MOST_INSTANCES} channels at the most',
        )
        return []
    names = [next(iter(row.values())).lower() for row in found]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled or any(ANY in row.values() for row in found):
        problems.error(
            "E265",
            said.position,
            f'the first column of table "{table.name}" must name every channel once',
        )
        return []
    return found


def _filled(
    node: Entries, variable: str, row: Mapping[str, str], table: str, problems: Problems
) -> Entries:
    def value_of(name: str, text: Text, offset: int) -> Text | None:
        if name in row:
            return Text(row[name], text.position, plain=False, literal=False)
        near = difflib.get_close_matches(name, row, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"there is {', '.join(row)}"
        message = f'table "{table}" has no column "{shorten(name)}"'
        problems.error("E265", text.at(offset), message, hint)
        return None

    filled = fill(node, variable, value_of, problems)
    return filled if isinstance(filled, Entries) else node
