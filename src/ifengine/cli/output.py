"""Data on standard output, in the form asked for; talk goes to standard error elsewhere."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import click

from ifengine.clock import MICROSECONDS, SystemClock

Command = TypeVar("Command", bound=Callable[..., Any])
Row = Mapping[str, Any]

FORMS = ("table", "json", "jsonl", "csv", "name")

# What a terminal would obey instead of showing: C0, DEL, C1, and marks that turn text around.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Column(NamedTuple):
    """One column of a table: its heading and how a row fills it."""

    heading: str
    cell: Callable[[Row], str]
    right: bool = False


def output_option(*forms: str) -> Callable[[Command], Command]:
    """Add ``-o FORM``; the first form is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(forms or FORMS), default=(forms or FORMS)[0],
        show_default=True, help="The form of the answer; json is one document.",
    )  # fmt: skip


def printable(text: str) -> str:
    """Return text in which nothing can move a terminal's cursor or hide what follows."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def print_line(text: str = "") -> None:
    """Write one line of data."""
    click.echo(printable(text))


def print_json(document: object) -> None:
    """Write one JSON document."""
    # ASCII only: no character of a peer reaches the terminal, and any locale can read it
    click.echo(json.dumps(document, indent=2))


def print_rows(
    rows: Sequence[Row], columns: Sequence[Column], output: str, *, name: str, empty: str
) -> None:
    """Write a list in the form asked for.

    Args:
        rows: objects as they stand in the JSON form.
        columns: those of the table.
        output: one of FORMS.
        name: the key that is printed alone by ``-o name``.
        empty: what is said on standard error when there is nothing to show as a table.
    """
    match output:
        case "json":
            print_json(list(rows))
        case "jsonl":
            for row in rows:
                click.echo(json.dumps(row))
        case "csv":
            click.echo(_csv(rows, columns), nl=False)
        case "name":
            for row in rows:
                print_line(str(row[name]))
        case _:
            if rows:
                print_table(rows, columns)
            else:
                click.echo(empty, err=True)


def print_table(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Write columns as wide as their widest cell, the last one as long as it is."""
    cells = [[column.heading for column in columns]]
    cells += [[printable(column.cell(row)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        padded = (
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def _csv(rows: Iterable[Row], columns: Sequence[Column]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.heading.lower().replace(" ", "_") for column in columns])
    for row in rows:
        writer.writerow([printable(column.cell(row)) for column in columns])
    return text.getvalue()


def field(key: str, absent: str = "-") -> Callable[[Row], str]:
    """Return a cell that shows one key of the row, and ``absent`` for null and empty text."""

    def cell(row: Row) -> str:
        value = row.get(key)
        return absent if value is None or value == "" else str(value)

    return cell


def count(key: str) -> Callable[[Row], str]:
    """Return a cell that shows a number with its thousands apart."""
    return lambda row: f"{row.get(key) or 0:,}"


def moment(key: str) -> Callable[[Row], str]:
    """Return a cell that shows an RFC 3339 time: the time of day, with the date when not today."""

    def cell(row: Row) -> str:
        return short_time(row.get(key))

    return cell


def short_time(text: str | None) -> str:
    """Return ``11:41:07`` for a time of today (UTC), ``2026-11-20 11:41:07`` for another day."""
    if not text:
        return "-"
    from datetime import UTC, datetime

    today = datetime.fromtimestamp(SystemClock().now_us() / MICROSECONDS, UTC).date().isoformat()
    day, _, rest = text.partition("T")
    return rest[:8] if day == today else f"{day} {rest[:8]}"


def short_duration(seconds: float | None) -> str:
    """Return ``4 s``, ``3 m``, ``26 h`` or ``3 d``; ``-`` for none."""
    if seconds is None:
        return "-"
    for size, unit in ((172_800, "d"), (7_200, "h"), (120, "m")):
        if seconds >= size:
            return f"{int(seconds // {'d': 86_400, 'h': 3_600, 'm': 60}[unit])} {unit}"
    return f"{int(seconds)} s"


def on_terminal() -> bool:
    """Return whether a person can be asked: standard input and standard error are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def plural(number: int, word: str) -> str:
    """Return ``1 message`` or ``3 messages``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
