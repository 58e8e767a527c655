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
# what parameters of the same name have in common
PARAMETERS: Final[Mapping[str, str]] = {
    "after": "Behind which segment.",
    "at": "The place it works on.",
    "by": "The field whose value decides.",
    "column": "The result column; absent: the one called as the target.",
    "empty": "What an empty value becomes; absent: it stays empty.",
    "fact": "The name of the fact; one under `facts:` of the site is shared by all channels.",
    "fields": "Field number to text.",
    "find": "The text that is looked for.",
    "from": "Where the value is read.",
    "in": "Where it is changed; every occurrence.",
    "key": "The value that tells one from another.",
    "keys": "Key column to path, where a table has several.",
    "missing": "What a value without a row does: dead_letter, keep, or the text that stands for it.",
    "never_wait": "A condition: such messages pass at once.",
    "null": 'What HL7 null ("") becomes; absent: it stays.',
    "once": "When it counts as seen: planned (default), or delivered.",
    "per": "The segment that begins a group: once for each.",
    "regex": "The pattern that is looked for.",
    "segment": "The segment's name.",
    "table": "The table's name: channels/tables/NAME.csv or NAME.json.",
    "then": "What happens then.",
    "to": "Where the result is written.",
    "up_to": "How long at most: 30m, 2h.",
    "where": "A condition; `.5` is component 5 of this repetition.",
    "with": "What takes its place.",
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
    listed = dict(re.findall(r"(\w+): (\w+(?: \w+)+)(?=,|$)", row.parameters))
    properties: Schema = {}
    for name in allowed:
        about: Schema = {"description": PARAMETERS.get(name, f"{row.verb}: {row.parameters}.")}
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
