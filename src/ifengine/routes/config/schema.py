"""JSON Schemas (draft-07) of the channel and site files, for editors: completion, hover, squiggles.

They are made from the tables of keys and of steps, so that an editor knows what the loader knows.
Where a schema cannot say what the loader checks it is wider, never narrower: what an editor marks
is wrong. Keys and verbs of a later release are left out.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ifengine.routes.config.keys_answers import PatternKind
from ifengine.routes.config.keys_channel import CHANNEL
from ifengine.routes.config.keys_common import NAME, YES_NO
from ifengine.routes.config.keys_connection import LISTEN_CONNECTION, SEND_CONNECTION
from ifengine.routes.config.keys_destination import DESTINATION
from ifengine.routes.config.keys_site import SITE
from ifengine.routes.config.keys_tests import (
    ACKS,
    ANSWER,
    ANSWERS,
    CHANGED,
    DETAILS,
    LATER,
    STATES,
    STEP,
    TEST,
)
from ifengine.routes.config.kinds import (
    ConditionKind,
    FreeText,
    Kind,
    ListOf,
    MapOf,
    OneOf,
    OrWord,
    PathKind,
    Raw,
    Scalar,
    TemplateKind,
    TypeKind,
)
from ifengine.routes.config.scalars import NO, YES
from ifengine.routes.config.schema_steps import NULLABLE, SAYS, one_or_more, steps_definitions
from ifengine.routes.config.sections import Key, NamedSections, SectionKind, Status
from ifengine.routes.config.sources import FROM

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
CHANNEL_SCHEMA: Final = "channel.schema.json"
SITE_SCHEMA: Final = "site.schema.json"
FOLDER: Final = ".ifengine"

Schema = dict[str, Any]

_FILLED = r"\$\{"
_BOUNDS = re.compile(r"a number from ([0-9.]+) to ([0-9.]+)")
# what a text must look like; a value filled from outside is judged by the loader
_PATTERNS: Final[Mapping[str, str]] = {
    "a name": "^[a-z][a-z0-9-]{0,62}$",
    "a duration": r"^[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d|y)$",
    "a size": r"^[0-9]{1,9}(\.[0-9]{1,6})?(KiB|MiB|GiB)$",
    "a Unix socket": "^unix:.",
    "a time range": "^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$",
    "a message type": r"^(\*|[A-Z][A-Z0-9]{2})(\^(\*|[A-Z][A-Z0-9]{2}))?$",
}
_SNIPPETS: Final[Mapping[str, Schema]] = {
    "retry": {
        "label": "retry",
        "description": "Quick at first, then slower; three refusals make a dead letter.",
        "body": {"first": "${1:5s}", "max": "${2:5m}", "refused": "${3:3}"},
    },
}


def channel_schema() -> Schema:
    """Return the schema of ``channels/NAME.yaml``."""
    return {
        "$schema": DRAFT,
        **_Writer(filled=False).section(CHANNEL),
        "definitions": steps_definitions(),
    }


def site_schema() -> Schema:
    """Return the schema of ``ifengine.yaml``."""
    return {
        "$schema": DRAFT,
        **_Writer(filled=True).section(SITE),
    }


def schema_files() -> dict[str, Schema]:
    """Return both schemas by the name of their file below ``.ifengine/``."""
    return {CHANNEL_SCHEMA: channel_schema(), SITE_SCHEMA: site_schema()}


def modeline(depth: int, name: str) -> str:
    """Return the first line that tells an editor which schema a file follows.

    Args:
        depth: how many folders below the site's directory the file is.
        name: the schema's file name.
    """
    return f"# yaml-language-server: $schema={'../' * depth}{FOLDER}/{name}"


def describe_key(key: Key) -> str:
    """Return what a hover says about a key: its meaning, its default, an example."""
    parts = [key.meaning]
    if key.required:
        parts.append("Must be there.")
    elif key.default:
        parts.append(f"Default: {key.default}")
    if key.status is Status.NOTED:
        parts.append("No effect in this release.")
    if key.example:
        parts.append(f"Example: {key.name}: {key.example}")
    return "\n\n".join(parts)


class _Writer:
    """Writes kinds as schemas. ``filled``: values may be ``${env:…}`` and the like."""

    def __init__(self, *, filled: bool) -> None:
        self._filled = filled

    def section(self, rows: Iterable[Key]) -> Schema:
        """Return the schema of a map with the keys of a table."""
        rows = [row for row in rows if row.status is not Status.LATER]
        schema: Schema = {
            "type": "object",
            "properties": {row.name: self._key(row) for row in rows},
            "additionalProperties": False,
        }
        required = [row.name for row in rows if row.required]
        if required:
            schema["required"] = required
        return schema

    def _key(self, row: Key) -> Schema:
        schema = self._raw(row.name) if isinstance(row.kind, Raw) else self.kind(row.kind)
        schema = {"description": describe_key(row), **schema}
        if row.name in _SNIPPETS:
            schema["defaultSnippets"] = [_SNIPPETS[row.name]]
        return schema

    def kind(self, kind: Kind) -> Schema:
        """Return the schema of one kind of value; one that is not known here takes anything."""
        match kind:
            case Scalar():
                return self._scalar(kind)
            case FreeText():
                return dict(NULLABLE)
            case OneOf():
                return self._words(kind.words)
            case OrWord():
                return {"anyOf": [{"enum": [kind.word]}, self.kind(kind.other)]}
            case ListOf():
                return one_or_more(self.kind(kind.each), least=kind.least)
            case MapOf():
                return self._map(kind)
            case SectionKind():
                return self.section(kind.rows)
            case NamedSections():
                return self._named(self.section(kind.rows))
            case TypeKind():
                return self._pattern(_PATTERNS["a message type"], ["string"])
            case PathKind() | ConditionKind() | PatternKind():
                between = {"pattern": "^/.+/i?$"} if isinstance(kind, PatternKind) else {}
                return {"type": "string", **between}
            case TemplateKind():
                return dict(SAYS)
            case _:
                return {}

    def _scalar(self, kind: Scalar) -> Schema:
        if kind is YES_NO or kind.says == YES_NO.says:
            words = "|".join(_any_case(word) for word in sorted(YES | NO))
            return {
                **self._pattern(f"^({words})$", ["boolean", "string"]),
                "examples": ["yes", "no"],
            }
        bounds = _BOUNDS.fullmatch(kind.says)
        if bounds is not None:
            low, high = float(bounds[1]), float(bounds[2])
            return {
                **self._pattern(r"^[0-9]{1,9}(\.[0-9]{1,9})?$", ["number", "string"]),
                "minimum": low,
                "maximum": high,
            }
        if kind.says == "a port":
            return {
                **self._pattern("^[0-9]{1,5}$", ["integer", "string"]),
                "minimum": 0,
                "maximum": 65535,
            }
        if kind.says in _PATTERNS:
            return self._pattern(_PATTERNS[kind.says], ["string"])
        return dict(SAYS)

    def _pattern(self, pattern: str, types: list[str]) -> Schema:
        found = f"{pattern}|{_FILLED}" if self._filled else pattern
        return {"type": types if len(types) > 1 else types[0], "pattern": found}

    def _words(self, words: Sequence[str]) -> Schema:
        schema: Schema = {"enum": _as_an_editor_reads(words)}
        if not self._filled:
            return schema
        return {"anyOf": [schema, {"type": "string", "pattern": _FILLED}]}

    def _map(self, kind: MapOf) -> Schema:
        each = self.kind(kind.each)
        if isinstance(kind.names, OneOf):
            return {
                "type": "object",
                "properties": {
                    word: {"description": f"{word}: {kind.each.says}.", **each}
                    for word in kind.names.words
                },
                "additionalProperties": False,
            }
        return self._named(each) if kind.names is NAME else _open_map(each)

    def _named(self, each: Schema) -> Schema:
        return {**_open_map(each), "propertyNames": {"pattern": _PATTERNS["a name"]}}

    def _raw(self, name: str) -> Schema:
        """Return the schema of a part that the loader reads by a reader of its own."""
        write = self._own().get(name)
        return {} if write is None else write()

    def _own(self) -> Mapping[str, Callable[[], Schema]]:
        return {
            "steps": lambda: {"$ref": "#/definitions/steps"},
            "to": lambda: {**self._named(self.section(DESTINATION)), "minProperties": 1},
            "from": self._from,
            "order_by": _order_by,
            "connections": lambda: self._named(self._connection()),
            "tests": lambda: {"type": "array", "items": self.section(TEST)},
            "sequence": lambda: {"type": "array", "items": self.section(STEP)},
            "given": lambda: {"anyOf": [{"type": "string"}, self.section(CHANGED)]},
            "answer": self._answer,
            "first": lambda: _answer(ANSWERS),
            "application": lambda: _answer(LATER),
            "expect": self._expected,
            "state": lambda: {"enum": list(STATES)},
            "count": lambda: {"type": ["integer", "string"], "minimum": 0},
            **dict.fromkeys(
                ("for", "fact", "patients", "fhir", "file"), lambda: {"type": "object"}
            ),
        }

    def _from(self) -> Schema:
        name = self._pattern(_PATTERNS["a name"], ["string"])
        return {"anyOf": [*one_or_more(name)["anyOf"], self.section(FROM)]}

    def _answer(self) -> Schema:
        return _open_map({"anyOf": [*_answer(ANSWERS)["anyOf"], self.section(ANSWER)]})

    def _expected(self) -> Schema:
        fate = {"anyOf": [{"enum": list(STATES)}, self.section(DETAILS)]}
        return {
            "type": "object",
            "properties": {
                "ack": {"description": "What the sender is answered.", "enum": list(ACKS)},
                "ack_text": {"description": "Part of MSA-3 or of ERR-8.", **NULLABLE},
                "unmatched": {"description": "Messages that no destination accepts.", **fate},
            },
            "additionalProperties": {
                "description": "What became of the message at this destination.",
                **fate,
            },
        }

    def _connection(self) -> Schema:
        """Both directions in one object: it completes better than a choice of two shapes."""
        listen = {row.name: row for row in LISTEN_CONNECTION}
        schema = self.section((*LISTEN_CONNECTION, *SEND_CONNECTION))
        for row in SEND_CONNECTION:
            other = listen.get(row.name)
            if other is not None and other.meaning != row.meaning:
                schema["properties"][row.name]["description"] = (
                    f"Where it listens: {describe_key(other)}\n\n"
                    f"Where it sends: {describe_key(row)}"
                )
        schema["required"] = [
            row.name
            for row in SEND_CONNECTION
            if row.required and row.name in listen and listen[row.name].required
        ]
        return schema


def _order_by() -> Schema:
    paths = one_or_more({"type": "string"})["anyOf"]
    return {"anyOf": [{"enum": ["patient"]}, *paths]}


def _answer(words: Sequence[str]) -> Schema:
    return {"anyOf": [{"enum": list(words)}, {"type": "string", "pattern": "^MSH"}]}


def _open_map(each: Schema) -> Schema:
    return {"type": "object", "additionalProperties": each}


def _any_case(word: str) -> str:
    return "".join(f"[{sign.upper()}{sign}]" for sign in word)


def _as_an_editor_reads(words: Sequence[str]) -> list[str | int | float]:
    """Return words, and beside each that looks like a number the number: editors read 1.2 so."""
    found: list[str | int | float] = []
    for word in words:
        if re.fullmatch(r"[0-9]+", word):
            found.append(int(word))
        elif re.fullmatch(r"[0-9]+\.[0-9]+", word):
            found.append(float(word))
        found.append(word)
    return found
