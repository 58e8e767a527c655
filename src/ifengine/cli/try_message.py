"""``ifengine try``: what a channel makes of one message."""

import base64
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ifengine.cli.daemon import ask, given_reason
from ifengine.cli.failure import CommandError, ExitCode, usage
from ifengine.cli.main import nearest
from ifengine.cli.message_files import messages_of, read_messages
from ifengine.cli.options import Place, find_file, site_options
from ifengine.cli.output import output_option, print_json, print_line
from ifengine.cli.site import load
from ifengine.clock import SystemClock

if TYPE_CHECKING:
    from ifengine.cli.try_run import Result, Tried
    from ifengine.routes.config.models import ChannelConfig, SiteConfig
    from ifengine.transforms.trace import Change

NARROW, WIDE = 12, 46


@click.command("try")
@click.argument("channel")
@click.argument("source", metavar="FILE|-|MESSAGE-ID")
@click.option("--to", "to", metavar="DEST", help="This destination alone.")
@click.option("--steps", is_flag=True, help="Show every step, those that did nothing included.")
@click.option("--phi", is_flag=True, help="For a MESSAGE-ID: use its values; needs --reason.")
@click.option("--reason", help="Why the values of a stored message are used; audited.")
@output_option("text", "json")
@site_options
def try_message(
    channel: str,
    source: str,
    to: str | None,
    steps: bool,
    phi: bool,
    reason: str | None,
    place: Place,
    output: str,
) -> int:
    """Show what a channel makes of one message. Nothing is sent or stored.

    The message is a file, looked for as given and then below channels/ and channels/samples/;
    - is standard input; a number is a message of the running engine, with --phi and --reason. Ends
    with 1 when the message would be refused or become a dead letter.
    """
    from ifengine.cli.try_run import try_channel

    site = load(place)
    config = _channel(site, channel)
    if to is not None and to not in {d.name for d in config.destinations}:
        names = ", ".join(d.name for d in config.destinations)
        raise usage(f"{channel} has no destination {to}", f"it has {names}")
    content, message_id = _message(place, source, phi, reason)
    result = try_channel(
        site, config, content, at_us=SystemClock().now_us(), message_id=message_id, only=to
    )
    if output == "json":
        print_json(_as_json(result))
    else:
        _print(result, steps)
        if _uses_memory(config):
            print_line("nothing is remembered here: every fact, key and merge counts as new")
    failed = not result.gate.accepted or any(t.state == "dead_letter" for t in result.destinations)
    return ExitCode.PROBLEMS if failed else ExitCode.DONE


def _channel(site: "SiteConfig", name: str) -> "ChannelConfig":
    for config in site.channels:
        if config.name == name:
            return config
    known = [config.name for config in site.channels]
    raise usage(f"the site has no channel {name}", nearest(name, known) or ", ".join(known))


def _uses_memory(config: "ChannelConfig") -> bool:
    """Whether what the channel decides depends on messages before this one."""
    if config.dedupe is not None:
        return True
    all_steps = [config.steps, *(d.steps for d in config.destinations)]
    used = [step.uses for steps in all_steps for step in steps.all()]
    return any(u.remembers or u.waits or u.merges or u.resolves for u in used)


def _message(place: Place, source: str, phi: bool, reason: str | None) -> tuple[bytes, str]:
    """Return one message and its id."""
    if source == "-":
        found = messages_of(sys.stdin.buffer.read(), "standard input")
    elif source.isascii() and source.isdigit() and not Path(source).exists():
        return _stored(place, source, phi, reason), source
    else:
        found = read_messages(find_file(place, source), source)
    if len(found) > 1:
        click.echo(f"{source} holds {len(found)} messages; this is the first", err=True)
    return found[0].content, "try"


def _stored(place: Place, message_id: str, phi: bool, reason: str | None) -> bytes:
    if not phi:
        raise usage(
            f"message {message_id} is patient data of the running engine",
            "add --phi --reason TEXT; this is audited",
        )
    why = given_reason(phi, reason)
    answer = ask(place, "messages.show", id=message_id, phi=True, reason=why)
    encoded = answer.get("raw_base64")
    if encoded is None:
        raise CommandError(f"nothing is kept of the content of message {message_id}")
    return base64.b64decode(encoded)


# --- as people read it ----------------------------------------------------------------------------


def _print(result: "Result", steps: bool) -> None:
    word = "accepted" if result.gate.accepted else "not accepted"
    answer = ", then ".join(result.answers) or "none"
    print_line(f"{word + ': ' + result.gate.text:<45} answer to sender: {answer}")
    if steps:
        _print_steps(result)
    width = max((len(tried.name) for tried in result.destinations), default=0) + 2
    for tried in result.destinations:
        print_line(f"{tried.name:<{width}}{_fate(tried)}")
        for line in change_lines(tried.changes):
            print_line(f"  {line}")
    print_line("nothing was sent or stored")


def _fate(tried: "Tried") -> str:
    if tried.state == "sent":
        return f"would be sent to {tried.target}"
    where = f" at {tried.step}" if tried.step else ""
    reason = f": {tried.reason}" if tried.reason else ""
    word = {"dead_letter": "to the dead letters"}.get(tried.state, tried.state)
    return f"{word}{where}{reason}"


def change_lines(changes: Sequence["Change"]) -> Iterable[str]:
    """Yield one line a changed place; whole segments that one step removed share a line."""
    gone: dict[str, list[str]] = {}
    for change in changes:
        if change.kind == "-" and "-" not in change.path:
            gone.setdefault(", ".join(change.steps), []).append(change.path)
    for change in changes:
        steps = ", ".join(change.steps)
        if change.kind == "-" and "-" not in change.path:
            if steps in gone:
                yield _row("-", ", ".join(gone.pop(steps)), "", steps)
            continue
        match change.kind:
            case "-":
                values = _quoted(change.before)
            case "+":
                values = _quoted(change.after)
            case _:
                values = f"{_quoted(change.before):<11} -> {_quoted(change.after)}"
        yield _row(change.kind, change.path, values, steps)


def _row(sign: str, path: str, values: str, steps: str) -> str:
    first = f"{sign} {path:<{NARROW}} {values}" if values else f"{sign} {path}"
    return f"{first:<{NARROW + WIDE}} {steps}"


def _quoted(value: str) -> str:
    """Quote where the eye would miss blanks."""
    return f'"{value}"' if value != value.strip() else value


def _print_steps(result: "Result") -> None:
    for name, record in result.records:
        owner = f"{name} " if name else ""
        named = f" {record.name}" if record.name else ""
        did = "ran" if record.ran else 'skipped, "when" was false'
        if record.ran and not record.changes:
            did = "ran, changed nothing"
        print_line(f"  {owner}step {record.number} {record.verb}{named}, line {record.line}: {did}")
        for note in record.notes:
            print_line(f"      {note}")
        for line in change_lines([replace(change, steps=[]) for change in record.changes]):
            print_line(f"      {line.rstrip()}")


# --- as programs read it --------------------------------------------------------------------------


def _as_json(result: "Result") -> dict[str, object]:
    return {
        "accepted": result.gate.accepted,
        # MSA-1 of the answer, of the last one where two are due; null is silence
        "ack": result.answers[-1] if result.answers else None,
        "text": result.gate.text,
        "destinations": {
            tried.name: {
                "state": tried.state,
                "reason": tried.reason,
                "message": None if tried.content is None else _decoded(tried.content),
                "changes": [
                    {
                        "path": change.path,
                        "before": change.before,
                        "after": change.after,
                        "step": ", ".join(change.steps),
                    }
                    for change in tried.changes
                ],
            }
            for tried in result.destinations
        },
    }


def _decoded(content: bytes) -> str:
    """Return content as text; bytes that are no UTF-8 are shown as backslash, x and two digits."""
    return content.decode("utf-8", "backslashreplace")
