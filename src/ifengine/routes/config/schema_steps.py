"""The part of the channel's schema that is about steps: one object that holds every verb.

What a verb takes is asked of the verb's own reader: it is given a text, a list and a map, and what
it asks for is written down. A schema cannot fall behind the steps that way.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NoReturn

from ifengine.transforms.base import Steps
from ifengine.transforms.reading import Context, Known
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text
from ifengine.transforms.step_row import StepRow
from ifengine.transforms.table_of_steps import STEPS

Schema = dict[str, Any]

# editors read 2.3 as a number and `null` as nothing where the loader keeps text
SAYS: Final[Mapping[str, Any]] = {"type": ["string", "number", "boolean"]}
NULLABLE: Final[Mapping[str, Any]] = {"type": ["string", "number", "boolean", "null"]}
_STEPS: Final[Mapping[str, Any]] = {"$ref": "#/definitions/steps"}
_FLAG: Final[Mapping[str, Any]] = {"type": ["boolean", "string"], "examples": ["yes", "no"]}

_EVERYWHERE: Final[Mapping[str, str]] = {
    "when": "The step runs only where this condition holds.\n\nExample: when: PV1-2 in [I, E]",
    "name": "A name for lists of steps and for what went wrong: small letters, digits and -.",
}
_BESIDE: Final[Mapping[str, str]] = {
    "create": "Adds the segment where it is not there.",
    "on_update": "Writes on updates too (A08, A31, SIU^S14, order control XO).",
    "do": "The steps that run for each segment. Inside, the segment's name means this one.",
    "otherwise": "The steps that run where no branch holds.",
}
# what a parameter means; `verb.name` where a verb means something of its own
PARAMETERS: Final[Mapping[str, str]] = {
    "after": "Behind which segment.",
    "alternate": "What becomes of another code in components 4 to 6: replace, or 7-9.",
    "as": "How the function gets the message.",
    "at": "The place it works on.",
    "bad": "What happens to a value that cannot be read.",
    "by": "The field whose value decides.",
    "code": "AE or AR.",
    "column": "The result column; absent: the one called as the target.",
    "decimals": "How many digits stand behind the point.",
    "differ": "What a difference does: hold (default), or pass.",
    "empty": "What an empty value becomes; absent: it stays empty.",
    "fact": "The name of the fact; one under `facts:` of the site is shared by all channels.",
    "fields": "Field number to text.",
    "file": "The file, from channels/.",
    "find": "The text that is looked for.",
    "fold": "Which of two equal local times is meant: first, or second.",
    "for": "How long it is remembered: 90d.",
    "free_text": "Notes and free text: remove (default), or keep.",
    "format": "The form it is written in.",
    "from": "Where the value is read.",
    "function": "The function's name.",
    "in": "Where it is changed; every occurrence.",
    "keep": "What stays.",
    "keep_old_in": "Where the retired identifier is kept, as one more repetition.",
    "key": "The value that tells one from another.",
    "keys": "Key column to path, where a table has several.",
    "leave": "What stands in the message then.",
    "level": "lenient: structure and required segments. standard: also required fields, repetition "
    "and data types. strict: also lengths and table values.",
    "missing": "What a value without a row does: dead_letter, keep, or the text that stands for it.",
    "name": "Its name.",
    "never_wait": "A condition: such messages pass at once.",
    "newer": "The time that tells newer from older.",
    "null": 'What HL7 null ("") becomes; absent: it stays.',
    "on": "The text between the parts.",
    "offset": "What becomes of +zzzz: keep, drop, or add.",
    "on_fail": "nak: the sender is told while it waits. dead_letter: a person looks. warn: counted.",
    "once": "When it counts as seen: planned (default), or delivered.",
    "order": "Statuses from the lowest to the highest.",
    "parts": "Component number to text.",
    "pattern": "The pattern; what its brackets match is numbered from 1.",
    "per": "The segment that begins a group: once for each.",
    "profile": "The profile's name.",
    "regex": "The pattern that is looked for.",
    "retire": "Where the retired identifiers stand.",
    "same": "Fields that must agree with what is known of the survivor.",
    "save_to": "The store's name under `documents:` of the site.",
    "segment": "The segment's name.",
    "side": "On which side it is filled: left (default), or right.",
    "source": "NTE-2, source of comment.",
    "stale": "What happens to what is older: hold (default), drop, or pass.",
    "status": "Where the status stands.",
    "structure": "The message structure of MSH-9.3, as ORU_R01.",
    "table": "The table's name: channels/tables/NAME.csv or NAME.json.",
    "text": "The text.",
    "then": "What happens then.",
    "time": "The time for which a table with validity is asked.",
    "timeout": "How long it may take: 500ms.",
    "times": "The factor it is multiplied by.",
    "to": "Where the result is written.",
    "type": "The comment's type.",
    "types": "Which kinds of document: pdf, jpeg …; absent: every kind.",
    "under": "The segment it stands under.",
    "unit": "Where the unit stands, or the unit.",
    "unknown_keep": "A survivor that was never seen: create it, or hold the message.",
    "up_to": "How long at most: 30m, 2h.",
    "value": "The value.",
    "version": "The HL7 version, as 2.5.1.",
    "where": "A condition; `.5` is component 5 of this repetition.",
    "width": "To how many digits it is filled with zeros.",
    "with": "What takes its place.",
    "date.from": "The form of the date that comes in.",
    "date.to": "The form it is written in.",
    "deidentify.keep": "Paths that stay although the profile would remove them.",
    "deidentify.key": "The secret that pseudonyms are made with, as ${secret:NAME}.",
    "extract.missing": "What happens where the pattern does not match.",
    "extract.to": "Bracket number to path.",
    "extract_document.name": "The file's name; occurrence and type are added.",
    "join.with": "The text between the parts.",
    "latest_only.key": "What makes two reports the same one.",
    "merge_patient.keep": "Where the surviving identifiers stand.",
    "note.at": "Behind the notes that are there (last), or before them (first).",
    "pad.to": "How many characters it has then.",
    "pad.with": "The character it is filled with.",
    "remember.value": "Name to path: what is remembered with the fact.",
    "split.to": "Paths, one for each part.",
    "timezone.from": "The zone the time is in, as Europe/Berlin.",
    "timezone.to": "The zone it is written in.",
    "use.with": "Values for the snippet's parameters.",
}
# parameters whose value is a list of steps
_HOLD_STEPS: Final = frozenset({"do", "otherwise"})


def one_or_more(each: Mapping[str, Any], *, least: int = 1) -> Schema:
    """Return the schema of one value or a list of them."""
    several: Schema = {"type": "array", "items": dict(each)}
    if least:
        several["minItems"] = least
    return {"anyOf": [dict(each), several]}


@cache
def steps_definitions() -> Schema:
    """Return the definitions ``steps`` and ``step``."""
    step: Schema = {
        "type": "object",
        "properties": _properties(),
        "additionalProperties": False,
        "minProperties": 1,
        "defaultSnippets": [
            {
                "label": "for_each … do",
                "description": "Steps that run once per segment.",
                "body": {"for_each": "${1:OBX}", "do": [{"${2:trim}": "${3:OBX-5}"}]},
            },
            {
                "label": "choose … otherwise",
                "description": "The first branch that holds, else the last one.",
                "body": {
                    "choose": [{"when": "${1:PV1-2 = I}", "do": [{"${2:clear}": "${3:PV1-18}"}]}],
                    "otherwise": [{"${4:fail}": "${5:nobody knows this class}"}],
                },
            },
        ],
    }
    items = {"type": "array", "items": {"$ref": "#/definitions/step"}}
    return {"steps": {"anyOf": [items, {"type": "null"}]}, "step": step}


def describe_step(row: StepRow) -> str:
    """Return what a hover says about a verb: its meaning, what it takes, an example."""
    meaning = row.meaning[:1].upper() + row.meaning[1:]
    beside = f" Beside it: {', '.join(row.beside)}." if row.beside else ""
    return f"{meaning}.\n\nTakes {row.parameters}.{beside}\n\nExample: - {row.example}"


def takes(row: StepRow) -> Schema:
    """Return the schema of what a verb takes, as its own reader asks for it."""
    if row.verb == "choose":
        return {"type": "array", "items": _branch(), "minItems": 1}
    shapes: list[Schema] = []
    # a path is never read as anything but text, and `true` is not offered for it
    is_path = row.parameters.startswith(("PATH", "A ->"))
    if _asked(row, Text("x", _AT)).accepted:
        shapes.append({"type": "string"} if is_path else dict(NULLABLE))
    if _asked(row, Items((Text("x", _BELOW),), _AT)).accepted:
        each = {"type": "string"} if is_path else dict(SAYS)
        shapes.append({"type": "array", "items": each, "minItems": 1})
    asked = _asked(row, Entries((), _AT))
    if asked.named is not None:
        shapes.append(_named_parameters(row, *asked.named))
    elif asked.is_open:
        shapes.append({"type": "object", "additionalProperties": dict(NULLABLE)})
    elif asked.accepted:
        shapes.append({"type": "object"})
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes} if shapes else {}


def _properties() -> Schema:
    properties: Schema = {}
    for row in STEPS:
        properties[row.verb] = {"description": describe_step(row), **takes(row)}
    for name, meaning in _EVERYWHERE.items():
        properties[name] = {"description": meaning, **SAYS}
    over = properties.setdefault("for_each", {**SAYS, "description": ""})
    over["description"] = (
        "Once per segment: with `do`, several steps; beside a verb, that one.\n\n"
        "Example: - {for_each: OBX, do: [{trim: OBX-5}]}"
    )
    for row in STEPS:
        for name in row.beside:
            holds = _STEPS if name in _HOLD_STEPS else _FLAG
            properties.setdefault(
                name, {"description": _BESIDE.get(name, f"Beside {row.verb}."), **holds}
            )
    return properties


def _branch() -> Schema:
    return {
        "type": "object",
        "properties": {
            "when": {"description": _EVERYWHERE["when"], **SAYS},
            "do": {"description": "The steps of this branch.", **_STEPS},
        },
        "required": ["when", "do"],
        "additionalProperties": False,
    }


def _named_parameters(row: StepRow, required: tuple[str, ...], allowed: tuple[str, ...]) -> Schema:
    listed = dict(re.findall(r"(\w+): ([\w-]+(?: [\w-]+)+)(?=[,;]|$)", row.parameters))
    properties: Schema = {}
    for name in allowed:
        known = PARAMETERS.get(f"{row.verb}.{name}") or PARAMETERS.get(name)
        about: Schema = {"description": known or f"{row.verb}: {row.parameters}."}
        if name in _HOLD_STEPS:
            about |= _STEPS
        elif name in listed:
            about["examples"] = listed[name].split()  # offered; the loader knows all of them
        properties[name] = about
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return schema


# --- asking a verb's reader --------------------------------------------------------------------

_AT: Final = Position("", 1, 1)
_BELOW: Final = Position("", 2, 1)


class _Answer:
    """What a reader made of one node: accepted, or asked for names, or for a map of any keys."""

    def __init__(self) -> None:
        self.accepted = False
        self.is_open = False
        self.named: tuple[tuple[str, ...], tuple[str, ...]] | None = None


class _AskedError(Exception):
    """The reader asks for a map."""

    def __init__(
        self, node: Node, named: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    ) -> None:
        super().__init__()
        self.node = node
        self.named = named


class _Asking(Context):
    """A context that stops where a reader asks for a map, and tells what it asked for."""

    __slots__ = ()

    def parameters(
        self, node: Node, *, required: Any, optional: Any = (), example: str
    ) -> NoReturn:
        required = tuple(required)
        raise _AskedError(node, (required, (*required, *optional)))

    def pairs(self, node: Node, example: str) -> NoReturn:
        raise _AskedError(node)


def _asked(row: StepRow, node: Node) -> _Answer:
    problems, answer = Problems(), _Answer()
    context = _Asking(
        problems=problems,
        known=Known(tables={}),
        verb=row.verb,
        at=_BELOW,
        number="1",
        compile_list=lambda steps, inside, number: Steps(),
    )
    try:
        row.build(node, context)
    except _AskedError as asked:
        if isinstance(node, Entries) and asked.node is node:
            answer.named = asked.named
            answer.is_open = asked.named is None
        return answer
    answer.accepted = not any(
        found.code == "E104" and found.position == _AT for found in problems.found
    )
    return answer
