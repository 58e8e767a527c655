"""``ifengine parked``: messages that wait for a fact, and a person's part in it."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from ifengine.cli.daemon import ask, given_reason
from ifengine.cli.failure import ExitCode, usage
from ifengine.cli.main import SuggestingGroup
from ifengine.cli.options import Place, offline_option, site_options
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
)


@click.group(cls=SuggestingGroup)
def parked() -> None:
    """List and show messages that wait for a fact; let them go."""


COLUMNS = (
    Column("ID", field("id")),
    Column("CHANNEL", field("channel")),
    Column("TYPE", field("type")),
    Column("FACT", field("fact")),
    Column("SINCE", moment("since")),
    Column("UNTIL", moment("until")),
    Column("STEP", field("step")),
)


@parked.command("list")
@click.option("--channel", help="Of this channel.")
@click.option("--fact", help="That wait for this fact.")
@click.option("--limit", type=click.IntRange(1, 2000), default=100, show_default=True,
              help="At most so many, next to end first.")  # fmt: skip
@offline_option
@output_option()
@site_options
def list_parked(
    place: Place, channel: str | None, fact: str | None, limit: int, offline: bool, output: str
) -> None:
    """List messages that wait for a fact. The one whose time ends next is the first."""
    rows: Sequence[Row] = ask(
        place, "parked.list", offline=offline, channel=channel, fact=fact, limit=limit
    )
    print_rows(rows, COLUMNS, output, name="id", empty="nothing is parked")


@parked.command()
@click.argument("message_id", metavar="ID")
@click.option("--phi", is_flag=True, help="Show what it waits for; needs --reason, is audited.")
@click.option("--reason", help="Why it is looked at.")
@offline_option
@output_option("text", "json")
@site_options
def show(
    place: Place, message_id: str, phi: bool, reason: str | None, offline: bool, output: str
) -> None:
    """Show one parked message: which fact it waits for, at which step, and until when."""
    why = given_reason(phi, reason)
    answer: Row = ask(
        place, "parked.show", offline=offline, id=message_id, phi=phi or None, reason=why
    )
    if output == "json":
        print_json(answer)
        return
    print_line(f"{answer['id']}  {answer.get('type') or '(no type)'}  {answer['state']}")
    for wait in answer["waits"]:
        print_line(f"  channel  {wait['channel']}, {wait['step']}")
        print_line(f"  fact     {wait['fact']}")
        if wait.get("detail"):
            print_line(f"  why      {wait['detail']}")
        print_line(f"  since    {wait['since']}")
        print_line(f"  until    {wait['until']}")


def _acting(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        site_options,
        output_option("text", "json"),
        click.option("--reason", help="Why; required, kept in the audit."),
        click.argument("message_ids", metavar="ID...", nargs=-1, required=True),
    ):
        command = option(command)
    return command


@parked.command()
@_acting
def release(
    place: Place, message_ids: tuple[str, ...], reason: str | None, output: str
) -> int | None:
    """Let messages go on now: they wait for nothing more, whatever `then` of the step says.

    They start over from the start of their channel, with $waited_out.
    """
    return _let_go(place, "release", message_ids, reason, output)


@parked.command()
@_acting
def expire(
    place: Place, message_ids: tuple[str, ...], reason: str | None, output: str
) -> int | None:
    """Let messages start over as if their time were over: `then` of the step decides."""
    return _let_go(place, "expire", message_ids, reason, output)


def _let_go(
    place: Place, verb: str, message_ids: Sequence[str], reason: str | None, output: str
) -> int | None:
    text = (reason or "").strip()
    if not text:
        raise usage(f"parked {verb} needs --reason TEXT", "it is kept in the audit")
    answer: Row = ask(place, f"parked.{verb}", ids=list(message_ids), reason=text)
    if output == "json":
        print_json(answer)
    else:
        print_line(f"{plural(len(answer['going']), 'message')} on the way")
        for message_id in answer["gone"]:
            print_line(f"{message_id}  not parked")
    return ExitCode.SOME_FAILED if answer["gone"] else None
