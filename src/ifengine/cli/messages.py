"""``ifengine messages``."""

import base64
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from ifengine.cli.daemon import ask, given_reason
from ifengine.cli.failure import CommandError, usage
from ifengine.cli.main import SuggestingGroup
from ifengine.cli.options import Place, When, offline_option, secret_value, site_options
from ifengine.cli.output import (
    Column,
    Row,
    field,
    moment,
    output_option,
    plural,
    print_json,
    print_line,
    print_rows,
    short_time,
)

PAGE = 1000  # messages asked for at once

STATES = (
    "received", "queued", "retrying", "in_doubt", "parked", "held", "dead_letter", "rejected",
    "discarded", "dropped", "filtered", "unrouted", "expired", "sent",
)  # fmt: skip


@click.group(cls=SuggestingGroup)
def messages() -> None:
    """List, show and trace messages."""


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the filters that listings and bulk commands share."""
    options = (
        click.option("--channel", help="Of this channel."),
        click.option("--dest", help="At this destination."),
        click.option("--since", type=When(), help="Received since: 2h ago, or a time."),
        click.option("--until", type=When(), help="Received before: 2h ago, or a time."),
        click.option("--type", "message_type", metavar="ADT^A08", help="Of this message type."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _place_of(row: Row) -> str:
    """Return the destinations that are in the message's own, least settled state."""
    names = [d["name"] for d in row["destinations"] if d["state"] == row["state"]]
    return ", ".join(names) if 0 < len(names) < 4 else str(row.get("channel") or "-")


def _reason_of(row: Row) -> str:
    reasons = [d["reason"] for d in row["destinations"] if d["state"] == row["state"]]
    found = [str(reason) for reason in reasons if reason] or [str(row.get("reason") or "")]
    return found[0]


COLUMNS = (
    Column("ID", field("id")),
    Column("RECEIVED", moment("received_at")),
    Column("TYPE", field("type")),
    Column("CONTROL", field("control_id")),
    Column("PATIENT", field("patient")),
    Column("STATE", field("state")),
    Column("WHERE", _place_of),
    Column("REASON", _reason_of),
)


@messages.command("list")
@filter_options
@click.option("--state", "states", multiple=True, metavar="STATE",
              help="In this state; several times or with commas for several.")  # fmt: skip
@click.option(
    "--control-id", metavar="-", help="With this control id, asked for or read from standard input."
)
@click.option(
    "--patient", metavar="-", help="Of this patient, asked for or read from standard input."
)
@click.option("--before", type=int, metavar="ID", help="Older than this message, to page on.")
@click.option("--limit", type=click.IntRange(1, 10_000_000), default=100, show_default=True,
              help="At most so many, newest first.")  # fmt: skip
@offline_option
@output_option()
@site_options
def list_messages(
    place: Place,
    offline: bool,
    channel: str | None,
    dest: str | None,
    since: int | None,
    until: int | None,
    message_type: str | None,
    states: tuple[str, ...],
    control_id: str | None,
    patient: str | None,
    before: int | None,
    limit: int,
    output: str,
) -> None:
    """List messages, newest first. Names and numbers of patients are masked."""
    filters: dict[str, Any] = {
        "channel": channel,
        "dest": dest,
        "since_us": since,
        "until_us": until,
        "type": message_type,
        "state": known_states(states) or None,
        "control_id": secret_value(control_id, "--control-id"),
        "patient": secret_value(patient, "--patient"),
    }
    rows = _pages(place, offline, filters, before, limit)
    print_rows(rows, COLUMNS, output, name="id", empty="no message is like that")
    if output == "table" and len(rows) == limit:
        click.echo(f"there may be more: --before {rows[-1]['id']}", err=True)


def _pages(
    place: Place, offline: bool, filters: dict[str, Any], before: int | None, limit: int
) -> list[Row]:
    """Ask page by page; the engine answers a bounded number at a time."""
    rows: list[Row] = []
    while len(rows) < limit:
        wanted = min(PAGE, limit - len(rows))
        page: Sequence[Row] = ask(
            place, "messages.list", offline=offline, **filters, before=before, limit=wanted
        )
        rows += page
        if len(page) < wanted:
            break
        before = int(page[-1]["id"])
    return rows


def known_states(states: Iterable[str]) -> list[str]:
    """Return the states asked for, split at commas."""
    asked = [part.strip() for text in states for part in text.split(",") if part.strip()]
    for state in asked:
        if state not in STATES:
            raise usage("--state: there is no such state", "one of " + " ".join(STATES))
    return asked


@messages.command()
@click.argument("message_id", metavar="ID")
@click.option("--dest", help="Also as sent to this destination alone.")
@click.option("--phi", is_flag=True, help="Show the values; needs --reason, and is audited.")
@click.option("--reason", help="Why the values are looked at.")
@click.option("--raw", is_flag=True, help="Print the bytes as they were received; needs --phi.")
@offline_option
@output_option("text", "json", "hl7")
@site_options
def show(
    place: Place,
    offline: bool,
    message_id: str,
    dest: str | None,
    phi: bool,
    reason: str | None,
    raw: bool,
    output: str,
) -> None:
    """Show one message as received and as sent; values are masked unless --phi is given."""
    as_bytes = raw or output == "hl7"
    if as_bytes and not phi:
        raise usage("the bytes of a message are patient data", "add --phi --reason TEXT")
    why = given_reason(phi, reason)
    answer: Row = ask(
        place, "messages.show", offline=offline, id=message_id, dest=dest, phi=phi, reason=why
    )
    if as_bytes:
        _print_bytes(answer)
    elif output == "json":
        print_json(answer)
    else:
        _print_message(answer)


def _print_bytes(answer: Row) -> None:
    encoded = answer.get("raw_base64")
    if encoded is None:
        raise CommandError("nothing is kept of this message's content")
    data = base64.b64decode(encoded)
    if sys.stdout.isatty():
        # a terminal wants line ends it knows, and must not obey what is inside
        for line in data.decode("utf-8", "replace").splitlines():
            print_line(line)
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _print_message(answer: Row) -> None:
    print_line("  ".join(_head(answer)))
    if not answer.get("readable", True):
        print_line("the content does not read as a message")
    print_segments(answer.get("segments") or ())
    for copy in answer.get("as_sent") or ():
        changed = "" if copy.get("changed", True) else ", as received"
        print_line(f"to {copy['destination']}, run {copy['run']}{changed}")
        if copy.get("changed", True):
            print_segments(copy.get("segments") or ())
    for place in answer["destinations"]:
        doubt = ", possibly twice" if place.get("possible_duplicate") else ""
        reason = f": {place['reason']}" if place.get("reason") else ""
        tries = plural(int(place.get("attempts") or 0), "attempt")
        print_line(f"{place['name']}  {place['state']}, {tries}{doubt}{reason}")
    for told in answer.get("application") or ():
        print_line(f"{told['destination']}  {_application(told)}")


def _application(told: Row) -> str:
    """Return what a receiver made of the message after it stored it."""
    if told["state"] == "waiting":
        return "application acknowledgment awaited"
    if told["state"] == "missing":
        return f"application acknowledgment missing since {told['at']}"
    return f"application {told['state']} ({told['code']}) at {told['at']}"


def _head(answer: Row) -> list[str]:
    parts = [
        str(answer.get("type") or "(no type)"),
        f"control {answer.get('control_id') or '-'}",
        str(answer.get("channel") or "(no channel)"),
        f"received {answer['received_at']}",
    ]
    if answer.get("size") is not None:
        parts.append(f"{answer['size']:,} bytes")
    parts.append(str(answer["state"]) + (f" ({answer['reason']})" if answer.get("reason") else ""))
    return parts


def print_segments(segments: Iterable[Mapping[str, Any]]) -> None:
    """Write each segment's name, then its valued fields."""
    for segment in segments:
        print_line(str(segment["segment"]))
        for found in segment["fields"]:
            number = str(found["path"]).rpartition("-")[2]
            print_line(f"{number:>4}  {found['value']}")


@messages.command()
@click.argument("message_id", metavar="ID")
@click.option("--phi", is_flag=True, help="Show full reasons; needs --reason, and is audited.")
@click.option("--reason", help="Why they are looked at.")
@offline_option
@output_option("text", "json")
@site_options
def trace(
    place: Place, message_id: str, offline: bool, phi: bool, reason: str | None, output: str
) -> None:
    """Show what happened to one message, in order."""
    why = given_reason(phi, reason)
    answer: Row = ask(
        place, "messages.trace", offline=offline, id=message_id, phi=phi or None, reason=why
    )
    if output == "json":
        print_json(answer)
        return
    print_line("  ".join(_head(answer)))
    for event in answer["events"]:
        print_line(trace_line(event))


def trace_line(event: Row) -> str:
    """Return one event: its time, its name, then what else is known of it."""
    rest = [
        f"{name.replace('_', ' ')} {_told(value)}"
        if not isinstance(value, bool)
        else name.replace("_", " ")
        for name, value in event.items()
        if name not in ("at", "event") and value not in (None, "", False, [], {})
    ]
    at = short_time(str(event["at"])) if event.get("at") else "-"
    return f"{at}  {event['event']:<12}  {'  '.join(rest)}".rstrip()


def _told(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        # of a destination: its name, its state and why
        return " ".join(_told(part) for part in value.values() if part not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(_told(part) for part in value)
    return str(value)
