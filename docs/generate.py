"""Writes the pages of docs/reference from the tables the engine itself works by.

``python docs/generate.py`` writes them; tests/test_docs.py compares them with what stands there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import get_type_hints

import click

from ifengine.cli.main import COMMANDS, LazyGroup, cli
from ifengine.routes.config import (
    keys_answers,
    keys_channel,
    keys_common,
    keys_connection,
    keys_destination,
    keys_profile,
    keys_site,
    keys_tests,
)
from ifengine.routes.config.explain_codes import CODES
from ifengine.routes.config.explain_rules import RULES
from ifengine.routes.config.sections import Key, SectionKind, Status
from ifengine.telemetry.events import Event, every_event
from ifengine.telemetry.metrics import FAMILIES, PREFIX
from ifengine.transforms.table_of_steps import NOT_YET, STEPS

REFERENCE = Path(__file__).resolve().parent / "reference"
HEAD = "<!-- Written by docs/generate.py; change the table in the source, not this page. -->\n"

Table = tuple[str, str, Sequence[Key]]

_KEYS = next(key.kind for key in keys_site.SITE if key.name == "keys")
KEYS = _KEYS.rows if isinstance(_KEYS, SectionKind) else ()

CHANNEL_TABLES: tuple[Table, ...] = (
    ("A channel file", "`channels/NAME.yaml`", keys_channel.CHANNEL),
    ("dedupe", "Repeated messages, in `dedupe:`.", keys_channel.DEDUPE),
    ("ack", "Who answers the sender, in `ack:`.", keys_channel.ACK),
    ("unbatch", "Splitting batches, in `unbatch:`.", keys_channel.UNBATCH),
    ("split_message", "Splitting messages, in `split_message:`.", keys_channel.SPLIT_MESSAGE),
    ("combine", "Several messages into one, in `combine:`.", keys_channel.COMBINE),
    (
        "application_ack",
        "What becomes of a message after CA, in `application_ack:`.",
        keys_answers.APPLICATION,
    ),
    ("follow", "Following a visit, in `follow:`.", keys_destination.FOLLOW),
    ("fhir", "A FHIR server, in `fhir:`.", keys_destination.FHIR),
    ("mllp", "A connection of one destination, in `mllp:`.", keys_connection.INLINE_SEND),
    ("ignore_types", "In `ignore_types:`.", keys_channel.IGNORE_TYPES),
    ("expect", "In `expect:`.", keys_channel.EXPECT),
    ("A destination", "Each entry of `to:`.", keys_destination.DESTINATION),
    ("retry", "In `retry:` of a destination or of `defaults:`.", keys_common.RETRY),
    ("files", "In `files:` of a destination.", keys_destination.FILES),
    (
        "A test",
        "Each entry of `tests:`. A sequence holds steps with `given`, `after`, `answer`, `expect`.",
        keys_tests.TEST,
    ),
    ("given", "A sample with changes, in `given:` of a test.", keys_tests.CHANGED),
    (
        "answer",
        "What one destination replies, in `answer: {DESTINATION: …}`, or its first answer alone.",
        keys_tests.ANSWER,
    ),
    (
        "What is expected of a destination",
        "In `expect: {DESTINATION: …}`, or a state alone. `ack`, `ack_text` and `unmatched` stand "
        "beside the destinations.",
        keys_tests.DETAILS,
    ),
    ("file", "In `file:` of what is expected.", keys_tests.FILE_DETAILS),
    ("A profile", "`channels/profiles/NAME.yaml`, for `validate`.", keys_profile.PROFILE),
    ("rules", "Each entry of `rules:` of a profile.", keys_profile.RULES),
    ("A rule of a profile", "Each entry of `fields:`.", keys_profile.RULE),
    ("Tests beside a channel", "`channels/NAME_test.yaml`", keys_tests.BESIDE),
)

SITE_TABLES: tuple[Table, ...] = (
    ("The site file", "`ifengine.yaml`; `env/NAME.yaml` goes over it.", keys_site.SITE),
    ("listen", "In `listen:`.", keys_site.LISTEN),
    ("store", "In `store:`.", keys_site.STORE),
    ("keep", "In `keep:`.", keys_site.KEEP),
    ("keys", "In `keys:`.", KEYS),
    ("identity", "In `identity:`.", keys_site.IDENTITY),
    ("patient", "In `identity: {patient: …}`.", keys_site.PATIENT),
    ("facts", "Each entry of `facts:`.", keys_site.FACT),
    ("documents", "Each entry of `documents:`.", keys_site.DOCUMENTS),
    ("limits", "In `limits:`.", keys_connection.LIMITS),
    ("defaults", "In `defaults:`.", keys_site.DEFAULTS),
    ("A connection that listens", "In `connections:`.", keys_connection.LISTEN_CONNECTION),
    ("A connection that sends", "In `connections:`.", keys_connection.SEND_CONNECTION),
    ("tls", "Each entry of `tls:`.", keys_connection.TLS),
)


def cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def code(text: str) -> str:
    """Return text as code in a cell; nothing where there is none."""
    return f"`{cell(text)}`" if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def steps_page() -> str:
    """Return the page of the steps."""
    rows = [
        (
            f"`{row.verb}`",
            cell(row.parameters)
            + (f"; beside it: {', '.join(f'`{key}`' for key in row.beside)}" if row.beside else ""),
            cell(row.meaning) + (" (ends the steps)" if row.ends else ""),
            code(row.example),
        )
        for row in STEPS
    ]
    return (
        f"{HEAD}# Steps\n\nA step is a map with one verb. `when: CONDITION` may stand beside any of "
        "them. `[ ]` means: or a list of these.\n\n"
        + table(("verb", "takes", "does", "example"), rows)
        + "\nVerbs of the language that this release refuses (E190): "
        + ", ".join(f"`{verb}`" for verb in NOT_YET)
        + ".\n"
    )


def keys_page(title: str, tables: Sequence[Table]) -> str:
    """Return the page of some tables of keys."""
    parts = [f"{HEAD}# {title}\n"]
    for name, where, keys in tables:
        parts.append(f"\n## {name}\n\n{where}\n\n")
        rows = [
            (
                f"`{key.name}`",
                cell(key.kind.says),
                "required" if key.required else code(key.default),
                cell(key.meaning)
                + (" No effect in this release (W190)." if key.status is Status.NOTED else ""),
                code(key.example),
            )
            for key in keys
            if key.status is not Status.LATER
        ]
        parts.append(table(("key", "takes", "default", "means", "example"), rows))
        waiting = [f"`{key.name}`" for key in keys if key.status is Status.LATER]
        if waiting:
            parts.append(f"\nKeys that this release refuses (E190): {', '.join(waiting)}.\n")
    return "".join(parts)


def codes_page() -> str:
    """Return the page of the codes of `ifengine check`."""
    rows = [
        (name, cell(text)) for name, text in sorted(CODES.items(), key=lambda x: x[0][1:] + x[0])
    ]
    return (
        f"{HEAD}# What `ifengine check` can say\n\nE is an error: `serve` does not start. W is a "
        "warning: it does.\n\n"
        + table(("code", "meaning"), rows)
        + "\n## Which rule is held by which code\n\n"
        + table(("what is found", "codes"), [(cell(r.what), " ".join(r.codes)) for r in RULES])
    )


def metrics_page() -> str:
    """Return the page of the metrics."""
    rows = [
        (
            f"`{PREFIX}{family.name}`",
            family.kind,
            ", ".join(family.labels) or "-",
            cell(family.meaning),
        )
        for family in FAMILIES
    ]
    return (
        f"{HEAD}# Metrics\n\nLabels hold names of the configuration and words of closed lists, never "
        "text of a message. `process_*` and `python_gc_*` stand beside them.\n\n"
        + table(("name", "type", "labels", "meaning"), rows)
    )


def _fields(kind: type[Event]) -> str:
    hints = get_type_hints(kind)
    shown = []
    for field in fields(kind):
        words = hints[field.name]
        closed = isinstance(words, type) and issubclass(words, StrEnum)
        said = f" ({', '.join(words)})" if closed else ""
        shown.append(f"`{field.name}`{said}")
    return "; ".join(shown)


def log_page() -> str:
    """Return the page of the log: every event."""
    rows = [
        (
            f"`{name}`",
            kind.level.value,
            _fields(kind),
            cell(" ".join((kind.__doc__ or "").split())),
            cell(kind.advice),
        )
        for name, kind in every_event().items()
    ]
    return (
        f"{HEAD}# Log\n\nOne line of JSON an event on standard error, with `at` (UTC), `level` and "
        "`event` before the fields below; under systemd `journalctl -u ifengine`. Beside them stand "
        "the lines that a start and a stop show to people. The log is for connections, states and "
        "faults: what became of a message is in `ifengine messages`. Fields are numbers, words of "
        "closed lists, and names of the configuration, of users and of places in the program; never "
        "text of a message, nor the address of a peer. What comes often (a `count` or `times`) is "
        "told at once the first time and then summed up, one line a minute for each connection and "
        "reason.\n\n" + table(("event", "level", "fields", "when", "what to do"), rows)
    )


def _help(command: click.Command, words: str, parent: click.Context | None) -> list[str]:
    context = click.Context(
        command,
        info_name=words.rsplit(" ", 1)[-1],
        parent=parent,
        # the page must not depend on the terminal it is written from
        terminal_width=96,
        max_content_width=96,
        help_option_names=["-h", "--help"],
    )
    parts = [f"\n## {words}\n\n```text\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group) and not isinstance(command, LazyGroup):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                parts += _help(found, f"{words} {name}", context)
    return parts


def commands_page() -> str:
    """Return the page of the commands: their own help."""
    top = click.Context(cli, info_name="ifengine", terminal_width=96, max_content_width=96)
    parts = [
        f"{HEAD}# Commands\n\nExit codes: 0 done, 1 problems found, 2 wrong usage, 3 no engine runs, "
        "4 refused, 5 some of many failed, 75 the storage failed (`serve`), 130 interrupted.\n\n",
        table(
            ("command", "does"), [(f"`ifengine {row.name}`", cell(row.line)) for row in COMMANDS]
        ),
    ]
    for row in COMMANDS:
        command = cli.get_command(top, row.name)
        if command is not None:
            parts += _help(command, f"ifengine {row.name}", top)
    return "".join(parts)


def pages() -> dict[str, str]:
    """Return every page by its file name."""
    return {
        "steps.md": steps_page(),
        "channel-keys.md": keys_page("Keys of a channel file", CHANNEL_TABLES),
        "site-keys.md": keys_page("Keys of the site file", SITE_TABLES),
        "codes.md": codes_page(),
        "metrics.md": metrics_page(),
        "log.md": log_page(),
        "commands.md": commands_page(),
    }


if __name__ == "__main__":
    for file_name, text in pages().items():
        (REFERENCE / file_name).write_text(text, encoding="utf-8")
