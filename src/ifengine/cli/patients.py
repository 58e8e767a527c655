"""``ifengine patients``: the cross reference of who is one patient, and a person's part in it."""

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ifengine.cli.daemon import ask, given_reason
from ifengine.cli.failure import refused, usage
from ifengine.cli.main import SuggestingGroup
from ifengine.cli.options import Place, offline_option, secret_value, site_options
from ifengine.cli.output import (
    Column,
    Row,
    field,
    moment,
    on_terminal,
    output_option,
    plural,
    print_json,
    print_line,
    print_rows,
)

SCREEN = 20  # lines of a long list

NUMBER_HELP = """

NUMBER is -: the number is asked for, or read from standard input, so that it stands in no list
of processes. Write it bare, or whole: NUMBER^^^AUTHORITY^TYPE.
"""


@click.group(cls=SuggestingGroup)
def patients() -> None:
    """Show who became whom; resolve contradictions; take a merge back."""


def number_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add NUMBER, which must be ``-``."""
    command.__doc__ = inspect.cleandoc(command.__doc__ or "") + NUMBER_HELP
    return click.argument("number", metavar="NUMBER")(command)


def _phi_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--reason", help="Why it is looked at.")(command)
    return click.option("--phi", is_flag=True, help="Show values; needs --reason, and is audited.")(
        command
    )


@patients.command()
@number_argument
@_phi_options
@offline_option
@output_option("text", "json")
@site_options
def show(
    place: Place, number: str, phi: bool, reason: str | None, offline: bool, output: str
) -> None:
    """Show what became of a patient's number: its survivor, and what was merged into it."""
    why = given_reason(phi, reason)
    asked = secret_value(number, "NUMBER")
    found: Sequence[Row] = ask(
        place, "patients.show", offline=offline, number=asked, phi=phi or None, reason=why
    )
    if output == "json":
        print_json(found)
        return
    for one in found:
        _print_patient(one)


def _print_patient(one: Row) -> None:
    print_line(f"{one['identifier']}  {'retired' if one.get('retired') else 'in use'}")
    for link in one.get("chain") or ():
        print_line(f"  became    {link['to']}  by message {link['by']}  {link['at']}")
    into = one.get("merged_into_it") or ()
    if into:
        print_line(f"  took in   {', '.join(into)}")
    if one.get("frozen"):
        print_line(f"  FROZEN    {one['frozen']}: ifengine patients resolve -")
    for place, value in (one.get("known") or {}).items():
        print_line(f"  {place:<9} {value}")


COLUMNS = (
    Column("IDENTIFIER", field("identifier")),
    Column("SINCE", moment("at")),
    Column("MESSAGE", field("by")),
    Column("WHY", field("why")),
)


@patients.command("list")
@click.option("--frozen", is_flag=True, help="Those that wait for a person.")
@_phi_options
@offline_option
@output_option("table", "json", "jsonl", "csv")
@site_options
def list_frozen(
    place: Place, frozen: bool, phi: bool, reason: str | None, offline: bool, output: str
) -> None:
    """List the numbers of which merges or registrations contradict each other."""
    if not frozen:
        raise usage("patients list needs --frozen", "all patients are never listed")
    why = given_reason(phi, reason)
    rows: Sequence[Row] = ask(
        place, "patients.list", offline=offline, frozen=True, phi=phi or None, reason=why
    )
    print_rows(rows, COLUMNS, output, name="by", empty="no number is frozen")


def _needed(reason: str | None, word: str) -> str:
    text = (reason or "").strip()
    if not text:
        raise usage(f"patients {word} needs --reason TEXT", "it is kept in the audit")
    return text


@patients.command()
@number_argument
@click.option("--reason", help="Why; required, kept in the audit.")
@output_option("text", "json")
@site_options
def resolve(place: Place, number: str, reason: str | None, output: str) -> None:
    """Lift a freeze, once it is clear who the patient is.

    Messages that were held stay held until they are replayed.
    """
    why = _needed(reason, "resolve")
    report: Row = ask(place, "patients.resolve", number=secret_value(number, "NUMBER"), reason=why)
    if output == "json":
        print_json(report)
        return
    print_line(f"resolved; it was frozen because {report['was']}")
    click.echo("next: ifengine messages list --state held, then dlq replay ID", err=True)


@patients.command("merge")
@number_argument
@click.argument("survivor", metavar="SURVIVOR")
@click.option("--reason", help="Why; required, kept in the audit.")
@output_option("text", "json")
@site_options
def add_merge(place: Place, number: str, survivor: str, reason: str | None, output: str) -> None:
    """Write into the cross reference that NUMBER became SURVIVOR. No receiver is told.

    For a merge that no message could write: one that was held, or that fails on every replay.
    """
    why = _needed(reason, "merge")
    report: Row = ask(
        place,
        "patients.merge",
        number=secret_value(number, "NUMBER"),
        survivor=secret_value(survivor, "SURVIVOR"),
        reason=why,
    )
    if output == "json":
        print_json(report)
    else:
        print_line("merged" if report["merged"] else "known already; nothing was done")


@patients.command()
@number_argument
@click.option("--reason", help="Why; required, kept in the audit.")
@click.option("--dry-run", is_flag=True, help="List what would be concerned, do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--list", "list_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Where the list of messages goes; default unmerge-MESSAGE.tsv.")  # fmt: skip
@output_option("text", "json")
@site_options
def unmerge(
    place: Place,
    number: str,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    list_file: Path | None,
    output: str,
) -> None:
    """Take back the merge that retired NUMBER, and list every message sent under its survivor.

    The list has one line for each message and destination: what a person must look at there, and
    may replay. It holds no patient data.
    """
    why = None if dry_run else _needed(reason, "unmerge")
    if not dry_run and not yes and not on_terminal():
        raise refused("nobody is there to confirm; nothing was done", "add --yes")
    asked = secret_value(number, "NUMBER")
    preview: Row = ask(place, "patients.unmerge", number=asked, dry_run=True)
    if output == "text":
        _tell(preview, err=not dry_run)
    report = preview
    if not dry_run:
        if not yes:
            answer = click.prompt(
                "Type the word unmerge to go on", default="", show_default=False, err=True
            )
            if str(answer).strip() != "unmerge":
                raise refused("not confirmed; nothing was done")
        path = list_file or Path(f"unmerge-{preview['by']}.tsv")
        # on disk before the link goes: afterwards nothing says any more what it had rewritten
        _write_list(path, preview["messages"])
        report = ask(place, "patients.unmerge", number=asked, reason=why, dry_run=False)
        if len(report["messages"]) != len(preview["messages"]):
            _write_list(path, report["messages"], again=True)
        report = {**report, "list": str(path)}
        if output == "text":
            print_line(f"unmerged; {plural(len(report['messages']), 'line')} in {path}")
    if output == "json":
        print_json(report)


def _tell(preview: Row, *, err: bool) -> None:
    click.echo(f"retired by message {preview['by']} at {preview['at']}", err=err)
    messages: Sequence[Row] = preview["messages"]
    count = len({row["id"] for row in messages})
    click.echo(f"{plural(count, 'message')} went through this merge", err=err)
    for row in messages[:SCREEN]:
        click.echo(
            f"  {row['id']}  {row['channel']}  {row['destination']}  {row['state']}", err=err
        )
    if len(messages) > SCREEN:
        click.echo(f"  and {len(messages) - SCREEN} more", err=err)


def _write_list(path: Path, messages: Sequence[Row], *, again: bool = False) -> None:
    """Write message, channel, destination and state; a file that is there is not replaced."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if again else os.O_EXCL)
    try:
        file = os.open(path, flags, 0o600)
    except FileExistsError:
        raise usage(f"{path}: is there already", "--list another file") from None
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write("id\tchannel\tdestination\tstate\n")
        for row in messages:
            out.write(f"{row['id']}\t{row['channel']}\t{row['destination']}\t{row['state']}\n")
        out.flush()
        os.fsync(out.fileno())
