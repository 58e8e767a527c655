"""``ifengine dlq``: the dead letters."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from ifengine.cli.daemon import ask, given_reason
from ifengine.cli.failure import ExitCode, refused, usage
from ifengine.cli.main import SuggestingGroup
from ifengine.cli.messages import filter_options
from ifengine.cli.options import Place, offline_option, site_options
from ifengine.cli.output import (
    Column,
    Row,
    count,
    field,
    moment,
    on_terminal,
    output_option,
    plural,
    print_json,
    print_line,
    print_rows,
)

SAMPLE = 5


# "\b" keeps click from wrapping the list
REPLAY_HELP = """Send dead letters again, behind what already waits for the same destination.

Four words that engines tend to fold into one:

\b
stored     send again exactly the bytes that were sent or meant to be sent
reprocess  run today's channel on what was received, and send what it makes
edited     a person changed the message; both versions are kept (not in this
           release: correct the cause, then reprocess)
older      held back, because the destination already has newer data for the
           same key; --allow-older sends it all the same

The original stays, and the new delivery names it. Ends with 5 when not every letter went.
"""


@click.group(cls=SuggestingGroup)
def dlq() -> None:
    """List, show, replay and discard dead letters."""


COLUMNS = (
    Column("GROUP", field("group"), right=True),
    Column("COUNT", count("count"), right=True),
    Column("CHANNEL", field("channel")),
    Column("DEST", field("destination")),
    Column("REASON", field("reason")),
    Column("HELD BEHIND", count("held_behind"), right=True),
    Column("MERGED SINCE", count("merged_since"), right=True),
    Column("FIRST", moment("first")),
    Column("LAST", moment("last")),
)


@dlq.command("list")
@click.option("--channel", help="Of this channel.")
@click.option("--dest", help="At this destination.")
@click.option("--state", type=click.Choice(["dead_letter", "discarded"]), default="dead_letter",
              show_default=True, help="Dead letters, or those that were discarded.")  # fmt: skip
@offline_option
@output_option()
@site_options
def list_groups(
    place: Place, channel: str | None, dest: str | None, state: str, offline: bool, output: str
) -> None:
    """List dead letters, grouped by where and why."""
    rows: Sequence[Row] = ask(
        place, "dlq.list", offline=offline, channel=channel, dest=dest, state=state
    )
    print_rows(rows, COLUMNS, output, name="group", empty="no dead letters")
    if rows and output == "table" and state == "dead_letter":
        first = rows[0]
        click.echo(
            f"next: ifengine dlq show {first['messages'][0]} · "
            f"ifengine dlq replay --group {first['group']} --dry-run",
            err=True,
        )


@dlq.command()
@click.argument("message_id", metavar="ID")
@click.option("--dest", help="At this destination alone.")
@click.option("--phi", is_flag=True, help="Show the full reason; needs --reason, and is audited.")
@click.option("--reason", help="Why it is looked at.")
@offline_option
@output_option("text", "json")
@site_options
def show(
    place: Place,
    message_id: str,
    dest: str | None,
    phi: bool,
    reason: str | None,
    offline: bool,
    output: str,
) -> None:
    """Show why one message is a dead letter: stage, step, reason, attempts."""
    why = given_reason(phi, reason)
    letters: Sequence[Row] = ask(
        place, "dlq.show", offline=offline, id=message_id, dest=dest, phi=phi or None, reason=why
    )
    if output == "json":
        print_json(letters)
        return
    for letter in letters:
        _print_letter(letter)


def _print_letter(letter: Row) -> None:
    print_line(f"{letter['id']}  {letter['channel']}  {letter['destination']}  {letter['state']}")
    rows = (
        ("since", letter.get("since")),
        ("stage", " ".join(str(letter[k]) for k in ("stage", "step") if letter.get(k))),
        ("reason", letter.get("reason")),
        ("in full", letter.get("detail")),
        ("answer", letter.get("code")),
        ("refused", letter.get("refusals")),
        ("in doubt", letter.get("in_doubt")),
        ("config", letter.get("config_version")),
        ("delivery", "possibly twice" if letter.get("possible_duplicate") else None),
        ("patient", "merged since: replay it as reprocess" if letter.get("merged_since") else None),
    )
    for name, value in rows:
        if value not in (None, "", 0):
            print_line(f"  {name:<9} {value}")
    for attempt in letter.get("attempts") or ():
        told = "  ".join(f"{k} {v}" for k, v in attempt.items() if v not in (None, "", False))
        print_line(f"  attempt   {told}")


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the ways to say which dead letters are meant, and how the act is confirmed."""
    options = (
        click.argument("ids", nargs=-1, metavar="[ID…]"),
        click.option(
            "--group", type=click.IntRange(min=1), help="The group of this number in dlq list."
        ),
        filter_options,
        click.option("--all", "every", is_flag=True, help="Every dead letter."),
        click.option(
            "--limit", type=click.IntRange(min=1), help="At most so many, the oldest first."
        ),
        click.option("--reason", help="Why; required, kept in the audit."),
        click.option("--dry-run", is_flag=True, help="Show what would be done, do nothing."),
        click.option("--yes", is_flag=True, help="Do not ask."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _selection(
    ids: tuple[str, ...], group: int | None, every: bool, limit: int | None, **filters: object
) -> dict[str, Any]:
    """Return the one selection the engine takes, or say what is missing."""
    given = {name: value for name, value in filters.items() if value is not None}
    ways = [bool(ids), group is not None, bool(given) or every]
    if sum(ways) == 0:
        raise usage(
            "which dead letters? Give ids, --group N, filters or --all", "ifengine dlq list"
        )
    if sum(ways) > 1:
        raise usage("ids, --group and filters exclude each other")
    chosen: dict[str, Any] = {"limit": limit}
    if ids:
        chosen["ids"] = list(ids)
    elif group is not None:
        chosen["group"] = group
    else:
        chosen |= given
        if every:
            chosen["all"] = True
    return chosen


def _confirmable(word: str, reason: str | None, dry_run: bool, yes: bool) -> str | None:
    """Return the reason; refuse before anything is asked of the engine."""
    text = (reason or "").strip() or None
    if dry_run:
        return text
    if text is None:
        raise usage(
            f"dlq {word} needs --reason TEXT",
            "it is kept in the audit; or look first with --dry-run",
        )
    if not yes and not on_terminal():
        raise refused(f"nobody is there to confirm the {word}; nothing was done", "add --yes")
    return text


def _confirm(word: str, yes: bool) -> None:
    if yes:
        return
    answer = click.prompt(
        f"Type the word {word} to go on", default="", show_default=False, err=True
    )
    if str(answer).strip() != word:
        raise refused("not confirmed; nothing was done")


@dlq.command(help=REPLAY_HELP)
@selection_options
@click.option("--as", "how", type=click.Choice(["stored", "reprocess"]), default="reprocess",
              show_default=True, help="Send the stored bytes, or run today's channel.")  # fmt: skip
@click.option("--allow-older", is_flag=True,
              help="Also those older than what the destination already has.")  # fmt: skip
@click.option("--sender-was-refused", is_flag=True,
              help="Messages, by id, whose sender was told no: it may have sent them elsewhere.")  # fmt: skip
@output_option("text", "json")
@site_options
def replay(
    place: Place,
    ids: tuple[str, ...],
    group: int | None,
    channel: str | None,
    dest: str | None,
    since: int | None,
    until: int | None,
    message_type: str | None,
    every: bool,
    limit: int | None,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    how: str,
    allow_older: bool,
    sender_was_refused: bool,
    output: str,
) -> int:
    """Send dead letters again; the help is REPLAY_HELP."""
    chosen = _selection(
        ids, group, every, limit,
        channel=channel, dest=dest, since_us=since, until_us=until, type=message_type,
    )  # fmt: skip
    why = _confirmable("replay", reason, dry_run, yes)
    options: dict[str, Any] = {"as": how, "allow_older": allow_older, "reason": why}
    if sender_was_refused:
        options["sender_was_refused"] = True
    preview: Row = ask(place, "dlq.replay", **chosen, **options, dry_run=True)
    talk = output == "json" and not dry_run
    if output == "text" or talk:
        _tell_preview(preview, err=not dry_run)
    if dry_run:
        if output == "json":
            print_json(preview)
        return ExitCode.DONE
    if not preview["letters"]:
        # nothing would be done: no question, and the answer says so
        report = preview
    else:
        _confirm("replay", yes)
        report = ask(place, "dlq.replay", letters=preview["letters"], **options, dry_run=False)
    if output == "json":
        print_json(report)
    else:
        _tell_replayed(report)
    return _replay_code(report)


_KEPT_BACK = ("older", "unordered", "identity", "merged", "gone", "failed_again")


def _number(report: Row, key: str) -> int:
    """Return a count that the engine gives as a number or as the list of what it counts."""
    value = report.get(key) or 0
    return len(value) if isinstance(value, list) else int(value)


def _replay_code(report: Row) -> int:
    kept_back = any(_number(report, key) for key in _KEPT_BACK)
    return ExitCode.SOME_FAILED if kept_back else ExitCode.DONE


def _tell_preview(preview: Row, *, err: bool) -> None:
    asked = _number(preview, "asked")
    how = (
        "exactly as stored"
        if preview.get("as") == "stored"
        else f"reprocessed with config {preview.get('config_version', '-')}"
    )
    click.echo(f"{plural(asked, 'dead letter')}, {how}", err=err)
    for key, text in (
        ("going", "go"),
        (
            "older",
            "are older than what the destination already has for the same key: held (--allow-older to send)",
        ),
        ("unordered", "have no key to compare by: not in a bulk replay without --allow-older"),
        ("identity", "are identity events: replay these one by one"),
        ("merged", "name a patient who was merged since: not as stored, use --as reprocess"),
        ("filtered", "are no longer sent there by the channel"),
        ("failed_again", "fail in their steps again"),
        ("gone", "are no dead letters any more"),
    ):
        number = _number(preview, key)
        if number or key == "going":
            click.echo(f"{number:>6,} {text}", err=err)
    _tell_sample(preview, err=err)


def _tell_sample(preview: Row, *, err: bool) -> None:
    for entry in (preview.get("sample") or ())[:SAMPLE]:
        if isinstance(entry, dict):
            told = "  ".join(str(value) for value in entry.values() if value not in (None, ""))
        else:
            told = str(entry)
        click.echo(f"       {told}", err=err)


def _tell_replayed(report: Row) -> None:
    going, asked = _number(report, "going"), _number(report, "asked")
    print_line(f"{going:,} of {plural(asked, 'dead letter')} replayed, behind what waits there")
    for key, text in (
        ("filtered", "no longer sent there by the channel"),
        ("older", "held back as older"),
        ("unordered", "not sent without a key to compare by"),
        ("identity", "identity events, to replay one by one"),
        ("merged", "of a patient who was merged since, to reprocess"),
        ("failed_again", "failed in their steps again"),
        ("gone", "no dead letters any more"),
    ):
        number = _number(report, key)
        if number:
            print_line(f"{number:,} {text}")


@dlq.command()
@selection_options
@output_option("text", "json")
@site_options
def discard(
    place: Place,
    ids: tuple[str, ...],
    group: int | None,
    channel: str | None,
    dest: str | None,
    since: int | None,
    until: int | None,
    message_type: str | None,
    every: bool,
    limit: int | None,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    output: str,
) -> int:
    """Settle dead letters as discarded. They stay listed, and what they held back goes on."""
    chosen = _selection(
        ids, group, every, limit,
        channel=channel, dest=dest, since_us=since, until_us=until, type=message_type,
    )  # fmt: skip
    why = _confirmable("discard", reason, dry_run, yes)
    preview: Row = ask(place, "dlq.discard", **chosen, reason=why, dry_run=True)
    if output == "text" or not dry_run:
        click.echo(
            f"{plural(_number(preview, 'asked'), 'dead letter')} to discard", err=not dry_run
        )
        _tell_sample(preview, err=not dry_run)
    if dry_run:
        if output == "json":
            print_json(preview)
        return ExitCode.DONE
    report = preview
    if preview["letters"]:
        _confirm("discard", yes)
        report = ask(place, "dlq.discard", letters=preview["letters"], reason=why, dry_run=False)
    if output == "json":
        print_json(report)
    else:
        done, asked = _number(report, "discarded"), _number(report, "asked")
        print_line(f"{done:,} of {plural(asked, 'dead letter')} discarded")
    return ExitCode.SOME_FAILED if _number(report, "gone") else ExitCode.DONE
