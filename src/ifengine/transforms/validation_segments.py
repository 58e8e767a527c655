"""Whether the fields of a segment keep to the dictionary: required, repeated, of their type, strict.

What is asked of a segment is worked out once for each version; a message only answers it.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from ifengine.hl7 import dictionary
from ifengine.hl7.ack import Hl7ErrorCode
from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.dictionary import VARIES, FieldDef, SegmentDef
from ifengine.hl7.message import Message
from ifengine.transforms.validation_types import PRIMITIVES, Leaf, leaves

_NULL: Final = b'""'
_TEXTS: Final = frozenset(
    {"ST", "TX", "FT", "IS", "GTS", "TN"}
)  # primitives that are asked nothing
_NO_TYPE: Final = "a type that the standard does not have"
_VALUE_TYPE: Final = {("OBX", 5): 2, ("MFE", 4): 5}  # which field says the type of the other
_CODED: Final = frozenset({"CE", "CNE", "CWE", "CF"})
_OPEN_FOR_LOCAL: Final = frozenset({"0003", "0076", "0354"})  # event, type, structure: Z is free
_PRIMITIVE_CODES: Final = frozenset({"ID", "IS"})


class Level(StrEnum):
    """How much ``validate`` asks: each level asks what the one before asks, and more."""

    LENIENT = "lenient"
    STANDARD = "standard"
    STRICT = "strict"


# a place in a segment: field, repetition, component, subcomponent; 0: the whole
Place = tuple[int, int, int, int]
Report = Callable[[Hl7ErrorCode, Place, str], None]
# whether the site's profile says more of this length, table or "required" than the dictionary does
Released = Callable[[str, str, int, int], bool]


class _FieldPlan(NamedTuple):
    number: int
    required: bool
    most: int  # repetitions; 0: without end
    leaves: tuple[Leaf, ...]
    type_from: int  # the field that says the type; 0: none


class _SegmentPlan(NamedTuple):
    definition: SegmentDef
    fields: tuple[_FieldPlan, ...]


@lru_cache(maxsize=4096)  # peers name segments as they like
def _plan(version: str, name: str) -> _SegmentPlan | None:
    found = dictionary.segment(version, name)
    if found is None:
        return None
    plans = []
    for part in found.fields.values():
        if (name == "MSH" and part.number <= 2) or part.withdrawn:
            continue
        asked = leaves(version, part.data_type)
        type_from = _VALUE_TYPE.get((name, part.number), 0) if part.data_type == VARIES else 0
        # a field that may repeat without end, and is a text, has nothing to be asked
        if part.required or part.repetitions or asked or type_from:
            plans.append(_FieldPlan(part.number, part.required, part.repetitions, asked, type_from))
    return _SegmentPlan(found, tuple(plans))


def check_segment(
    message: Message,
    at: tuple[str, int],
    version: str,
    level: Level,
    released: Released,
    report: Report,
) -> None:
    """Report what of a segment breaks the standard; a segment it does not have breaks nothing.

    ``at`` is its name and its position in the message.
    """
    name, position = at
    plan = _plan(version, name)
    if plan is None:
        return
    delimiters = message.delimiters
    repetition, code = delimiters.repetition, delimiters.repetition_code
    fields = message.fields(position)
    count = len(fields)
    structure = delimiters.component + repetition + delimiters.subcomponent
    for number, required, most, asked, type_from in plan.fields:
        value = fields[number] if number < count else b""
        if not value or (required and not value.strip(structure)):
            if required and not released(name, "required", number, 0):
                report(
                    Hl7ErrorCode.REQUIRED_FIELD_MISSING, (number, 0, 0, 0), "is required and empty"
                )
            continue
        repeats = code in value
        if repeats and most and value.count(repetition) >= most:
            rule = f"repeats more than {most} times" if most > 1 else "may not repeat"
            report(Hl7ErrorCode.DATA_TYPE, (number, 0, 0, 0), rule)
        if type_from:
            asked = leaves(version, message.text(position, type_from, 1, 1, 1))
        if not asked:
            continue
        for turn, one in enumerate(value.split(repetition) if repeats else (value,), 1):
            if one and one != _NULL:
                _check_leaves(one, turn, number, asked, delimiters, report)
    if level is Level.STRICT:
        _check_strictly(message, position, version, plan.definition, released, report)


def _check_leaves(
    value: bytes, count: int, number: int, asked: tuple[Leaf, ...], d: Delimiters, report: Report
) -> None:
    """Ask one repetition; what stands in parts that its type does not have is left alone."""
    if value.isalnum():  # no parts, and only the first component is there
        for component, subcomponent, good, rule in asked:
            if component > 1:
                return
            if subcomponent == 1 and not good(value):
                report(Hl7ErrorCode.DATA_TYPE, (number, count, 0, 0), rule)
        return
    parted, inner = d.component_code in value, d.subcomponent_code in value
    parts = value.split(d.component) if parted else [value]
    for component, subcomponent, good, rule in asked:
        if component > len(parts):
            return
        leaf = parts[component - 1]
        deep = inner and d.subcomponent_code in leaf
        if deep:
            pieces = leaf.split(d.subcomponent)
            leaf = pieces[subcomponent - 1] if subcomponent <= len(pieces) else b""
        elif subcomponent > 1:
            continue
        if leaf and leaf != _NULL and not good(leaf):
            at = (number, count, component if parted or deep else 0, subcomponent if deep else 0)
            report(Hl7ErrorCode.DATA_TYPE, at, rule)


# --- strict ---------------------------------------------------------------------------------


def _check_strictly(
    message: Message,
    position: int,
    version: str,
    definition: SegmentDef,
    released: Released,
    report: Report,
) -> None:
    name = definition.name
    for number in range(1, message.field_count(position) + 1):
        if (name == "MSH" and number <= 2) or not message.raw(position, number):
            continue
        part = definition.fields.get(number)
        if part is None or part.withdrawn:
            last = definition.last
            rule = f"is not used in {dictionary.nearest_version(version)}"
            if number > last:
                rule = f"{name} has {last} fields in {dictionary.nearest_version(version)}"
            report(Hl7ErrorCode.DATA_TYPE, (number, 0, 0, 0), rule)
            continue
        if part.data_type == VARIES:
            given = _VALUE_TYPE.get((name, number), 0)
            kind = message.text(position, given, 1, 1, 1) if given else ""
            part = part._replace(data_type=_safe_name(version, kind))
        for count in range(1, message.repetition_count(position, number) + 1):
            _check_repetition(message, position, version, (name, part, count), released, report)


def _safe_name(version: str, kind: str) -> str:
    """Return the name of a type that a message gives, as far as it is a name: it is content."""
    known = not kind or kind in _TEXTS or dictionary.data_type(version, kind) is not None
    return kind if known or kind in PRIMITIVES else _NO_TYPE


def _check_repetition(
    message: Message,
    position: int,
    version: str,
    at: tuple[str, FieldDef, int],
    released: Released,
    report: Report,
) -> None:
    name, part, count = at
    number = part.number
    value = message.raw(position, number, count)
    if not value or value == _NULL:
        return
    _check_length(message, (position, number, count, None), part, name, released, report)
    kind = dictionary.data_type(version, part.data_type)
    if kind is None:
        texts = {1: message.text(position, number, count, 1, 1)}
        if message.delimiters.component_code in value and part.data_type:
            report(Hl7ErrorCode.DATA_TYPE, (number, count, 0, 0), f"{part.data_type} has no parts")
        _check_code(version, name, part, (number, count, 0, 0), texts, released, report)
        return
    separator = message.delimiters.component
    there = value.count(separator) + 1 if separator else 1
    if there > max(kind.components):
        rule = f"{kind.name} has {max(kind.components)} components"
        report(Hl7ErrorCode.DATA_TYPE, (number, count, 0, 0), rule)
    texts = {c: message.text(position, number, count, c, 1) for c in range(1, there + 1)}
    _check_code(version, name, part, (number, count, 0, 0), texts, released, report)
    for c, inner in kind.components.items():
        text = texts.get(c, "")
        if not text and not message.raw(position, number, count, c):
            if inner.required and not released(name, "required", number, c):
                rule = f"is required and empty ({kind.name})"
                report(Hl7ErrorCode.REQUIRED_FIELD_MISSING, (number, count, c, 0), rule)
            continue
        _check_length(message, (position, number, count, c), inner, name, released, report)
        if dictionary.data_type(version, inner.data_type) is None:
            _check_code(version, name, inner, (number, count, c, 0), {1: text}, released, report)


def _check_length(
    message: Message,
    at: tuple[int, int, int, int | None],
    part: FieldDef,
    name: str,
    released: Released,
    report: Report,
) -> None:
    position, number, count, component = at
    if not part.length or len(message.raw(position, number, count, component)) <= part.length:
        return
    # bytes are never fewer than characters
    if len(message.text(position, number, count, component)) <= part.length:
        return
    if not released(name, "length", number, component or 0):
        rule = f"is longer than {part.length} characters"
        report(Hl7ErrorCode.DATA_TYPE, (number, count, component or 0, 0), rule)


def _check_code(
    version: str,
    name: str,
    part: FieldDef,
    at: Place,
    texts: dict[int, str],
    released: Released,
    report: Report,
) -> None:
    """Report a code that its table does not have; a coded element only where it claims that table."""
    if not part.table or part.data_type not in _CODED | _PRIMITIVE_CODES:
        return
    value = texts.get(1, "")
    if part.data_type in _CODED and texts.get(3, "") not in ("", f"HL7{part.table}"):
        return
    if not value or value == '""' or released(name, "table", at[0], at[2]):
        return
    if not in_table(version, part.table, value):
        report(Hl7ErrorCode.TABLE_VALUE_NOT_FOUND, at, f"is not in table {part.table}")


def in_table(version: str, number: str, value: str) -> bool:
    """Whether a table of the standard has a value; one whose values are not all known has any."""
    table = dictionary.table(version, number)
    if table is None or not table.complete or value in table.values:
        return True
    return value.startswith("Z") and number in _OPEN_FOR_LOCAL
