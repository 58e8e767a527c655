"""``ifengine tally``: how many messages are in which state, per channel and destination."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from ifengine.admin.client import call
from ifengine.cli.failure import ExitCode
from ifengine.cli.options import Place, When, offline_option, site_options
from ifengine.cli.output import (
    Column,
    Row,
    count,
    field,
    output_option,
    plural,
    print_json,
    print_line,
    print_table,
)
from ifengine.cli.site import admin_socket
from ifengine.store.base import Fate

TIMEOUT_SECONDS = 600.0  # it reads every record there is


@click.command()
@click.option("--channel", help="Of this channel.")
@click.option("--since", type=When(), help="Messages received since: 2h ago, or a time.")
@click.option("--verify", is_flag=True, help="Name what is in no state or in two, by ids.")
@offline_option
@output_option("table", "json")
@site_options
def tally(
    place: Place, channel: str | None, since: int | None, verify: bool, offline: bool, output: str
) -> int:
    """Count every message by its state, per channel and destination, from the records.

    What is owed (messages accepted, times the destinations of their channel) is compared with how
    every delivery stands. The difference is the residue: 0, or the command ends with 1. What was
    purged counts with its end, unless --since leaves it out.
    """
    asked = {"channel": channel, "since_us": since, "verify": verify or None}
    answer: Any
    if offline:
        from ifengine.cli.offline import answer_offline

        answer = answer_offline(place, "tally", asked)
    else:
        answer = call(admin_socket(place), "tally", timeout_seconds=TIMEOUT_SECONDS, **asked)
    if output == "json":
        print_json(answer)
    else:
        _print(answer)
    return ExitCode.DONE if answer["even"] else ExitCode.PROBLEMS


def _print(answer: Row) -> None:
    rows: Sequence[Row] = answer["rows"]
    if rows:
        print_table(rows, _columns(rows))
    received = f" of messages received since {answer['since']}" if answer["since"] else ""
    if answer["even"]:
        print_line(f"even{received}: everything is in exactly one state, at {answer['at']}")
        return
    print_line(f"NOT EVEN{received}: {plural(answer['faults'], 'record')} in no state or in two,"
               f" at {answer['at']}")  # fmt: skip
    for fault in answer.get("named", ()):
        where = ".".join(part for part in (fault["channel"], fault["destination"]) if part)
        ids = [f"message {fault['id'] or '-'}", where, fault["letter"] and f"at {fault['letter']}"]
        print_line(f"  {', '.join(part for part in ids if part)}: {fault['what']}")


def _columns(rows: Sequence[Row]) -> list[Column]:
    """Return a column for each state that occurs, in the order of the list of states."""
    states = [
        fate.name.lower() for fate in Fate if any(fate.name.lower() in r["states"] for r in rows)
    ]
    return [
        Column("CHANNEL", field("channel")),
        Column("DESTINATION", field("destination")),
        Column("TOTAL", count("total"), right=True),
        *(Column(state.upper().replace("_", " "), _state(state), right=True) for state in states),
        Column("RESIDUE", count("residue"), right=True),
    ]


def _state(name: str) -> Callable[[Row], str]:
    return lambda row: f"{row['states'][name]:,}" if name in row["states"] else "-"
