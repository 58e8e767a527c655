"""How a value of one data type is written in another version: one row a difference.

Source: HL7 v2.2 2.8.10.9 and v2.3 2.8.42 (TS), v2.5.1 2A.13 (CWE), v2.6 2A (CE and TS withdrawn),
v2.7.1 2A.14 (CWE for IS).
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from ifengine.hl7 import dictionary
from ifengine.transforms.base import ReasonError

_VERSIONS: Final = dictionary.versions()
# how many digits a degree of precision stands for, and the degree of a time cut there
_DIGITS: Final = {b"Y": 4, b"L": 6, b"D": 8, b"H": 10, b"M": 12, b"S": 14}
_TIME: Final = re.compile(rb"(\d{4,14})(\.\d+)?([+-]\d{4})?")
_ORIGINAL_TEXT = 9  # CWE-9
_CE = 6  # components of a CE
_NEVER = 1 << 30  # more components than any value has

_DAY: Final = 8  # digits
# the components of one repetition, encoded: there is always one
Parts = list[bytes]
Change = Callable[[Parts], Parts]


class Versions(NamedTuple):
    """From which version to which, both of ``dictionary.versions()``."""

    source: str
    target: str

    def goes_up_to(self, version: str) -> bool:
        """Whether this passes the version on the way up, or arrives at it."""
        return _rank(self.source) < _rank(version) <= _rank(self.target)

    def goes_below(self, version: str) -> bool:
        """Whether this leaves the version, or passes it, on the way down."""
        return _rank(self.target) < _rank(version) <= _rank(self.source)


def _rank(version: str) -> int:
    return _VERSIONS.index(version)


def _always(versions: Versions) -> bool:
    return True


class TypeDifference(NamedTuple):
    """One row: between these types, and these versions, a value changes so."""

    name: str
    old: frozenset[str]
    new: frozenset[str]
    change: Change
    applies: Callable[[Versions], bool] = _always
    lengths: frozenset[int] = frozenset()  # of times without parts that change too
    parts: int = 2  # a value with fewer components, and more than one, does not change


def _to_ce(parts: Parts) -> Parts:
    """Leave six components; the original text becomes the text where there is none."""
    if len(parts) >= _ORIGINAL_TEXT and not parts[1]:
        parts = [parts[0], parts[_ORIGINAL_TEXT - 1], *parts[2:]]
    return parts[:_CE]


def _to_code(parts: Parts) -> Parts:
    """Leave the code alone; what has no code stays as it is, nothing is lost."""
    return parts[:1] if parts[0] else parts


def _to_precision(parts: Parts) -> Parts:
    """Cut a time where its degree of precision says, and leave out the degree."""
    if len(parts) != 2 or parts[1] not in _DIGITS:
        return parts
    match, digits = _TIME.fullmatch(parts[0]), _DIGITS[parts[1]]
    if match is None or len(match[1]) < digits:
        return parts[:1]
    zone = match[3] or b"" if digits > _DAY else b""
    return [match[1][:digits] + zone]


def _filled(parts: Parts, fill: dict[int, tuple[bytes, bytes]]) -> Parts:
    """Fill up a time of so many digits and say how much of it is meant."""
    match = _TIME.fullmatch(parts[0])
    if match is None or match[2] or len(parts) > 1 or len(match[1]) not in fill:
        return parts
    more, degree = fill[len(match[1])]
    return [match[1] + more + (match[3] or b""), degree]


def _with_minutes(parts: Parts) -> Parts:
    return _filled(parts, {10: (b"00", b"H")})


def _with_day(parts: Parts) -> Parts:
    return _filled(parts, {4: (b"0101", b"Y"), 6: (b"01", b"L")})


def _to_day(parts: Parts) -> Parts:
    """Leave the day.

    Raises:
        ReasonError: there is none.
    """
    match = _TIME.fullmatch(_to_precision(parts)[0])
    if match is None:
        return parts
    if len(match[1]) < _DAY:
        raise ReasonError("a date without a day cannot be written in this version")
    return [match[1][:_DAY]]


_TIMES: Final = frozenset({"TS", "DTM"})
_NO_DAYS: Final = frozenset({4, 6, 10, 12, 14})
_CODED: Final = frozenset({"CWE", "CNE", "CE"})

TYPES: Final[tuple[TypeDifference, ...]] = (
    TypeDifference(
        "CWE to CE", frozenset({"CWE", "CNE"}), frozenset({"CE"}), _to_ce, parts=_CE + 1
    ),
    TypeDifference("CWE to IS", _CODED, frozenset({"IS", "ID"}), _to_code),
    TypeDifference("TS to DTM", frozenset({"TS"}), frozenset({"DTM"}), _to_precision),
    TypeDifference(
        "TS to TS of 2.3 and later",
        frozenset({"TS"}),
        frozenset({"TS"}),
        _to_precision,
        lambda versions: versions.goes_up_to("2.3"),
    ),
    TypeDifference(
        "TS with an hour only",
        _TIMES,
        frozenset({"TS"}),
        _with_minutes,
        lambda versions: versions.goes_below("2.5"),
        frozenset({10}),
        _NEVER,
    ),
    TypeDifference(
        "TS with a year or a month only",
        _TIMES,
        frozenset({"TS"}),
        _with_day,
        lambda versions: versions.goes_below("2.3"),
        frozenset({4, 6}),
        _NEVER,
    ),
    TypeDifference("TS to DT", _TIMES, frozenset({"DT"}), _to_day, lengths=_NO_DAYS),
)


class Plan(NamedTuple):
    """What happens to each repetition of a field, and which plain values are touched at all."""

    field: int
    changes: tuple[Change, ...]
    lengths: frozenset[int]  # of plain values that may change: times; empty: no plain one does
    delimiters: int  # that a value with components has at least where it may change


def plan_between(field: int, old: str, new: str, versions: Versions) -> Plan:
    """Return what to do to a value whose type is ``old`` there and ``new`` here."""
    rows = [row for row in TYPES if old in row.old and new in row.new and row.applies(versions)]
    lengths = frozenset(length for row in rows for length in row.lengths)
    fewest = min((row.parts for row in rows), default=_NEVER)
    return Plan(field, tuple(row.change for row in rows), lengths, fewest - 1)


@lru_cache(maxsize=8192)
def plans_for(versions: Versions, segment: str) -> tuple[Plan, ...]:
    """Return the fields of a segment that may change, in their order."""
    there = dictionary.segment(versions.source, segment)
    here = dictionary.segment(versions.target, segment)
    if there is None or here is None:
        return ()
    found = [
        plan_between(number, field.data_type, here.fields[number].data_type, versions)
        for number, field in sorted(there.fields.items())
        if number in here.fields
    ]
    return tuple(plan for plan in found if plan.changes)
