"""``ifengine channels``."""

import click

from ifengine.cli.daemon import ask
from ifengine.cli.main import SuggestingGroup
from ifengine.cli.options import Place, site_options
from ifengine.cli.output import (
    Column,
    Row,
    count,
    field,
    output_option,
    print_json,
    print_line,
    print_rows,
    short_duration,
)
from ifengine.clock import MICROSECONDS, SystemClock


@click.group(cls=SuggestingGroup)
def channels() -> None:
    """List, pause and resume channels."""


def _ago(key: str) -> "Column":
    heading = {"last_received": "LAST MESSAGE", "oldest": "OLDEST"}[key]

    def cell(row: Row) -> str:
        text = row.get(key)
        if not text:
            return "-"
        from datetime import datetime

        at = datetime.fromisoformat(str(text)).timestamp()
        return short_duration(max(0.0, SystemClock().now_us() / MICROSECONDS - at))

    return Column(heading, cell, right=True)


COLUMNS = (
    Column("CHANNEL", field("name")),
    Column("STATE", field("state")),
    _ago("last_received"),
    Column("IN/1H", count("received_last_hour"), right=True),
    Column("WAITING", count("waiting"), right=True),
    _ago("oldest"),
    Column("PARKED", count("parked"), right=True),
    Column("HELD", count("held"), right=True),
    Column("DEAD", count("dead"), right=True),
    Column("NOTE", field("note", "")),
)


@channels.command("list")
@output_option()
@site_options
def list_channels(place: Place, output: str) -> None:
    """Show every channel: its state, what came, what waits and what is dead."""
    rows = ask(place, "channels.list")
    print_rows(rows, COLUMNS, output, name="name", empty="the site has no channel")


@channels.command()
@click.argument("name")
@click.option("--reason", default="no reason given", show_default=True,
              help="Why; kept in the audit and shown in the list.")  # fmt: skip
@output_option("text", "json")
@site_options
def pause(place: Place, name: str, reason: str, output: str) -> None:
    """Stop the steps and deliveries of a channel. Messages are still received and kept."""
    _changed(ask(place, "channels.pause", name=name, reason=reason), output)


@channels.command()
@click.argument("name")
@output_option("text", "json")
@site_options
def resume(place: Place, name: str, output: str) -> None:
    """Let a paused channel go on with what waits."""
    _changed(ask(place, "channels.resume", name=name), output)


def _changed(answer: Row, output: str) -> None:
    if output == "json":
        print_json(answer)
    else:
        print_line(f"{answer['name']} {answer['state']}")
