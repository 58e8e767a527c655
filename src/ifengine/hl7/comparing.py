"""How two values compare: as numbers, as HL7 times, else as text; and when they do not.

Source: channel-language.md "Conditions"; safety-rules.md 26: what cannot be compared is false both ways.
"""

import re
from decimal import Decimal
from typing import NamedTuple

from ifengine.hl7.times import Hl7Time, compare_times, parse_time

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})")
_SHORT_TIME = 6  # YYYYMM: shorter than a day, it looks like any number


def is_number(text: str) -> bool:
    """Whether this is a decimal number such as 7, -7.5 or .5."""
    return _NUMBER.fullmatch(text) is not None


class Value(NamedTuple):
    """A value ready to be compared. ``quoted`` and ``written`` say how a constant was given."""

    text: str
    number: Decimal | None
    time: Hl7Time | None
    quoted: bool = False
    written: bool = False


def value_of(text: str, *, quoted: bool = False, written: bool = False) -> Value:
    """Look at a value once."""
    first = text[:1]
    if not (first.isdecimal() or first in ("+", "-", ".")):
        return Value(text, None, None, quoted, written)
    number = Decimal(text) if is_number(text) else None
    return Value(text, number, parse_time(text), quoted, written)


def equal(left: Value, right: Value) -> bool | None:
    """Whether two values are the same; None where that cannot be said. Quoted is text as it is."""
    if left.text == right.text:
        return True
    if left.quoted or right.quoted:
        return False
    order = _order(left, right)
    if order is not None:
        return order == 0
    return None if _as_times(left, right) else False


def order_of(left: Value, right: Value) -> int | None:
    """Return -1, 0 or 1; None where the two have no order."""
    return _order(left, right)


def _order(left: Value, right: Value) -> int | None:
    times = _as_times(left, right)
    if times is not None:
        return compare_times(*times)
    if left.number is None or right.number is None:
        return None
    return (left.number > right.number) - (left.number < right.number)


def _as_times(left: Value, right: Value) -> tuple[Hl7Time, Hl7Time] | None:
    """Return both as times where they are meant so.

    Four or six digits are a year or a month only beside a longer time; a short number that was
    written into the channel is a number, so that ``OBX-5 > 2000`` stays a question of size.
    """
    if left.time is None or right.time is None:
        return None
    short = [value for value in (left, right) if len(value.text) <= _SHORT_TIME]
    if len(short) == 2 or any(value.written for value in short):
        return None
    return left.time, right.time
