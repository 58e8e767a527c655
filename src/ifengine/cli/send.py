"""``ifengine send``: messages over MLLP, and what was answered."""

import asyncio
import itertools
import ssl
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ifengine.cli.failure import CommandError, ExitCode, usage
from ifengine.cli.message_files import FileMessage, messages_of, read_messages
from ifengine.cli.mllp_sender import (
    NO_ANSWER,
    SILENT,
    UNREACHABLE,
    Answered,
    Sender,
    Target,
    send_everything,
)
from ifengine.cli.options import Duration, Place, Rate, find_file, seconds_of, site_options
from ifengine.cli.output import output_option, plural, print_json, print_line, printable
from ifengine.cli.site import load
from ifengine.clock import SystemClock

POSITIVE = frozenset({"AA", "CA"})


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--to", "to", required=True, metavar="HOST:PORT|CONNECTION",
              help="An address, or a listening connection of the site.")  # fmt: skip
@click.option("--rate", type=Rate(), help="At most so many a second; default as fast as answered.")
@click.option("--count", type=click.IntRange(min=1),
              help="Send this many in all, going around the files.")  # fmt: skip
@click.option("--expect", metavar="CODE", help="The answer that counts as right; default AA or CA.")
@click.option("--timeout", type=Duration(), default="30s", show_default=True,
              help="How long to wait for each answer.")  # fmt: skip
@click.option("--tls", "ca", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              metavar="CA", help="Connect with TLS and trust the certificates in this file.")  # fmt: skip
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Our own certificate, where the receiver asks for one.")  # fmt: skip
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The key of our certificate.")  # fmt: skip
@output_option("text", "json")
@site_options
def send(
    files: tuple[str, ...],
    to: str,
    rate: float | None,
    count: int | None,
    expect: str | None,
    timeout: float | str,
    ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    place: Place,
    output: str,
) -> int:
    """Send messages over MLLP and read the answers.

    A FILE may hold several messages; - is standard input. The next message leaves when the one
    before is answered or its time is up. Ends with 5 when any answer is not the expected one.
    """
    expected = _expected(expect)
    messages = _read(files, place)
    target = _target(to, place, _tls(ca, tls_cert, tls_key))
    sender = Sender(
        target,
        clock=SystemClock(),
        timeout_seconds=seconds_of(timeout) if isinstance(timeout, str) else timeout,
        wants_application=expect is not None and expect.upper().startswith("A"),
    )
    answers: list[Answered] = []

    def told(answered: Answered) -> None:
        answers.append(answered)
        if output == "text":
            print_line(_line(answered))
        if answered.code == UNREACHABLE and len(answers) == 1:
            raise CommandError(
                f"{target.host}:{target.port}: {sender.problem}",
                code=ExitCode.SOME_FAILED,
                hint="nothing was sent; is the receiver running, and is this its port?",
            )

    try:
        asyncio.run(send_everything(sender, _taken(messages, count), rate=rate, told=told))
    except (KeyboardInterrupt, CommandError):
        _conclude(answers, expected, output)
        raise
    return _conclude(answers, expected, output)


def _expected(expect: str | None) -> frozenset[str]:
    if expect is None:
        return POSITIVE
    codes = frozenset(code.strip().upper() for code in expect.split(","))
    unknown = codes - {"AA", "AE", "AR", "CA", "CE", "CR"}
    if unknown:
        raise usage("--expect takes codes of MSA-1", "AA AE AR CA CE CR, several with commas")
    return codes


def _read(files: Sequence[str], place: Place) -> list[FileMessage]:
    messages: list[FileMessage] = []
    for name in files:
        if name == "-":
            messages += messages_of(sys.stdin.buffer.read(), "standard input")
        else:
            messages += read_messages(find_file(place, name), name)
    return messages


def _taken(messages: Sequence[FileMessage], count: int | None) -> Iterator[FileMessage]:
    if count is None:
        return iter(messages)
    return itertools.islice(itertools.cycle(messages), count)


def _tls(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if ca is None:
        if cert or key:
            raise usage("--tls-cert and --tls-key go with --tls CA")
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError):
        raise usage("the files of --tls hold no usable certificate or key") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _target(to: str, place: Place, tls: ssl.SSLContext | None) -> Target:
    host, colon, port = to.rpartition(":")
    if colon:
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise usage(f"--to {to}: the port is a number from 1 to 65535")
        return Target(host.strip("[]") or "127.0.0.1", int(port), tls)
    site = load(place)
    listener = site.listeners.get(to)
    if listener is None:
        hint = "it listens on " + (", ".join(sorted(site.listeners)) or "nothing")
        if to in site.senders:
            raise usage(f"{to} is where the engine sends to, not where it listens", hint)
        raise usage(f"the site has no connection {to}", hint)
    if listener.tls is not None and tls is None:
        raise usage(f"{to} takes TLS only", "add --tls CA, the file with the authority to trust")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(listener.host, listener.host)  # noqa: S104
    return Target(host, listener.port, tls)


def _name(answered: Answered) -> tuple[str, str]:
    header = answered.header
    kind = "^".join(
        part.decode("latin-1") for part in (header.message_code, header.trigger_event) if part
    )
    return kind or "(no type)", header.control_id.decode("utf-8", "replace") or "(no id)"


def _line(answered: Answered) -> str:
    kind, control_id = _name(answered)
    size = len(answered.message.content)
    took = f"{answered.seconds * 1000:.1f} ms"
    result = f"{'-' if answered.code in NO_ANSWER else '←'} {answered.code}"
    if answered.code not in NO_ANSWER:
        result += f" {control_id}"
    return printable(f"→ {kind} {control_id}  {size} bytes      {result}  {took}")


def _conclude(answers: Sequence[Answered], expected: frozenset[str], output: str) -> int:
    """Print the end and return the exit code."""
    acked = Counter(a.code for a in answers if a.code not in NO_ANSWER)
    # a message whose MSH-15 and MSH-16 ask for silence is rightly not answered
    failed = sum(a.code not in expected and a.code != SILENT for a in answers)
    sent = sum(a.sent for a in answers)
    if output == "json":
        messages: list[dict[str, Any]] = [
            {
                "control_id": a.header.control_id.decode("utf-8", "replace"),
                "code": a.code,
                "milliseconds": round(a.seconds * 1000, 3),
            }
            for a in answers
        ]
        print_json(
            {
                "sent": sent,
                "acked": dict(sorted(acked.items())),
                "failed": failed,
                "messages": messages,
            }
        )
    else:
        others = Counter(a.code for a in answers if a.code in NO_ANSWER)
        parts = [f"{number:,} {code}" for code, number in sorted({**acked, **others}.items())]
        print_line(", ".join([f"{sent:,} sent", *parts]))
        if failed:
            click.echo(f"{plural(failed, 'message')} not answered as expected", err=True)
    return ExitCode.SOME_FAILED if failed else ExitCode.DONE
