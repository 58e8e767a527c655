"""Whether a value is of its data type: one question a primitive type, asked of encoded bytes.

Source: HL7 v2.8.2 chapter 2A; a null (``""``) and an empty value are never asked.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from ifengine.hl7 import dictionary
from ifengine.hl7.times import parse_time

Question = Callable[[bytes], bool]

_NUMBER: Final = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_TIME: Final = re.compile(
    rb"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,4})?)?)?(?:[+-][0-9]{4})?"
)
# most of them: to the day, minute or second, and a day that every month has
_USUAL_MOMENT: Final = re.compile(
    rb"[12][0-9]{3}(?:0[1-9]|1[0-2])(?:0[1-9]|1[0-9]|2[0-8])"
    rb"(?:(?:[01][0-9]|2[0-3])[0-5][0-9](?:[0-5][0-9])?)?"
)
_CODE: Final = re.compile(rb"[\x20-\x7e]+")  # displayable, ASCII
_COMPARATORS: Final = frozenset({b">", b"<", b">=", b"<=", b"=", b"<>"})
_SEPARATORS: Final = frozenset({b"-", b"+", b"/", b".", b":"})
_DATE_LENGTHS: Final = frozenset({4, 6, 8})


def _is_number(value: bytes) -> bool:
    return value.isdigit() or _NUMBER.fullmatch(value) is not None


def _is_sequence(value: bytes) -> bool:
    return value.isdigit()


def _is_moment(value: bytes) -> bool:
    if _USUAL_MOMENT.fullmatch(value) is not None:
        return True
    return value.isascii() and parse_time(value.decode()) is not None


def _is_date(value: bytes) -> bool:
    return len(value) in _DATE_LENGTHS and value.isdigit() and _is_moment(value)


def _is_time(value: bytes) -> bool:
    return _TIME.fullmatch(value) is not None


def _is_code(value: bytes) -> bool:
    return value.isalnum() or _CODE.fullmatch(value) is not None


PRIMITIVES: Final[Mapping[str, tuple[Question, str]]] = {
    "NM": (_is_number, "is not a number (NM)"),
    "SI": (_is_sequence, "is not a whole number (SI)"),
    "DT": (_is_date, "is not a date (DT)"),
    "TM": (_is_time, "is not a time of day (TM)"),
    "DTM": (_is_moment, "is not a date and time (DTM)"),
    "ID": (_is_code, "holds more than plain characters (ID)"),
}
# components that the tables of types do not tell: their type is a text there
_BY_COMPONENT: Final[Mapping[tuple[str, int], tuple[Question, str]]] = {
    ("TS", 1): (_is_moment, "is not a date and time (TS)"),
    ("SN", 1): (_COMPARATORS.__contains__, "is not a comparator (SN)"),
    ("SN", 3): (_SEPARATORS.__contains__, "is not a separator (SN)"),
}


_LONGEST_NAME: Final = 8


class Leaf(NamedTuple):
    """What a component, or a subcomponent of it, must be."""

    component: int
    subcomponent: int
    good: Question
    rule: str


def leaves(version: str, data_type: str) -> tuple[Leaf, ...]:
    """Return what is asked of a field of this type, in the order of its components."""
    return _leaves(version, data_type) if len(data_type) <= _LONGEST_NAME else ()


@lru_cache(maxsize=2048)  # OBX-2 names a type, and a peer writes there what it likes
def _leaves(version: str, data_type: str) -> tuple[Leaf, ...]:
    kind = dictionary.data_type(version, data_type)
    if kind is None:
        primitive = PRIMITIVES.get(data_type)
        return () if primitive is None else (Leaf(1, 1, *primitive),)
    found: list[Leaf] = []
    for number, part in kind.components.items():
        special = _BY_COMPONENT.get((data_type, number))
        if special is not None:
            found.append(Leaf(number, 1, *special))
            continue
        for inner in leaves(version, part.data_type) if part.data_type != data_type else ():
            if inner.subcomponent == 1:  # what would be deeper cannot be written
                found.append(Leaf(number, inner.component, inner.good, inner.rule))
    return tuple(found)
