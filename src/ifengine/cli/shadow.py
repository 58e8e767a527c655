"""``ifengine shadow``: what a changed configuration would do to the messages that already came."""

from pathlib import Path
from typing import Any

import click

from ifengine.admin.client import call
from ifengine.cli.failure import ExitCode, usage
from ifengine.cli.options import Place, When, site_options
from ifengine.cli.output import output_option, plural, print_json, print_line
from ifengine.cli.site import SITE_FILE, admin_socket

MOST_BYTES = 3 * 1024 * 1024  # of all files together: they go to the engine in one request
TIMEOUT_SECONDS = 1800.0
_FOLDERS = (
    ("env", (".yaml",)),
    ("channels", (".yaml",)),
    ("channels/tables", (".csv", ".json")),
    ("channels/profiles", (".yaml",)),
    ("channels/python", (".py",)),
    ("channels/snippets", (".yaml",)),
)


@click.command()
@click.option("--channel", required=True, help="Whose messages.")
@click.option("--since", type=When(), default="24h", show_default=True,
              help="From this time on: 24h ago, or RFC 3339.")  # fmt: skip
@click.option("--until", type=When(), help="Up to this time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True,
              help="The newest so many.")  # fmt: skip
@click.option("--against", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
              help="Files of the candidate; default the site's own directory.")  # fmt: skip
@click.option("--fail-on-difference", is_flag=True, help="End with 1 when anything differs.")
@output_option("text", "json")
@site_options
def shadow(
    place: Place, channel: str, since: int, until: int | None, limit: int,
    against: Path | None, fail_on_difference: bool, output: str,
) -> int:  # fmt: skip
    """Run stored messages through a candidate configuration and compare with what was planned.

    Nothing is sent or written. The files are read here and compiled in the running engine; what
    comes back are paths, steps and counts, never a value. Parked messages are compared up to
    where they wait.
    """
    answer: Any = call(
        admin_socket(place), "shadow", timeout_seconds=TIMEOUT_SECONDS, channel=channel,
        since_us=since, until_us=until, limit=limit, env=place.env,
        files=candidate_files(against or place.directory),
    )  # fmt: skip
    if output == "json":
        print_json(answer)
    else:
        _print(answer)
    return ExitCode.PROBLEMS if fail_on_difference and answer["different"] else ExitCode.DONE


def candidate_files(directory: Path) -> list[str]:
    """Return names and texts in turn; of samples the names alone: messages stay where they are."""
    if not (directory / SITE_FILE).is_file():
        raise usage(f"{directory}: there is no {SITE_FILE} here", "name the candidate's directory")
    found = [SITE_FILE, _text(directory / SITE_FILE)]
    for folder, endings in _FOLDERS:
        for path in sorted((directory / folder).glob("*")):
            if path.suffix in endings and path.is_file() and not path.name.startswith("."):
                found += [f"{folder}/{path.name}", _text(path)]
    for path in sorted((directory / "channels" / "samples").glob("*.hl7")):
        found += [f"channels/samples/{path.name}", ""]
    size = sum(len(text.encode("utf-8", "surrogateescape")) for text in found)
    if size > MOST_BYTES:
        raise usage(
            f"{directory}: the configuration has {size} bytes, more than the {MOST_BYTES} that a "
            "candidate may have",
            "shadow compares channels with small tables",
        )
    return found


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _print(answer: Any) -> None:
    for row in answer["rules"]:
        ids = ", ".join(row["examples"])
        place = f"{row['kind']} {row['path']}".rstrip()
        count = plural(row["messages"], "message")
        print_line(f"{row['destination']:<14} {place:<28} {row['step']:<36} {count} ({ids})")
    for why, count in answer["left_out"].items():
        print_line(f"not compared: {plural(count, 'message')}, {why}")
    print_line(
        f"{plural(answer['compared'], 'message')} compared: "
        f"{answer['same']} the same, {answer['different']} different; nothing was sent or written"
    )
