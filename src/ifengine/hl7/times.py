"""HL7 times as intervals: a value covers all it does not say, so that 1980 is the whole year.

Source: HL7 v2.9.1 2A.2.21 (DTM): YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ].
"""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_TIME = re.compile(
    r"(?P<Y>\d{4})(?:(?P<M>\d\d)(?:(?P<D>\d\d)(?:(?P<h>\d\d)(?:(?P<m>\d\d)(?:(?P<s>\d\d)"
    r"(?:\.(?P<f>\d{1,6}))?)?)?)?)?)?(?P<zone>[+-]\d{4})?",
    re.ASCII,
)
# two clocks on earth differ by no more: without a zone on one side nothing closer is certain
_ZONES_APART = timedelta(hours=26)
_FIRST_YEAR = 1000  # 0012 is a number with zeros in front
_NEVER = datetime.max.replace(tzinfo=UTC)  # 99991231 says "no end"
_TOKENS = re.compile(r"YYYY|MM|DD|HH|mm|ss|SSS|ZZ|.", re.DOTALL)
_RANK = {"YYYY": 1, "MM": 2, "DD": 3, "HH": 4, "mm": 5, "ss": 6, "SSS": 7, "ZZ": 8}


class Hl7Time(NamedTuple):
    """A valid time. ``parts`` are year to microsecond as far as written, ``zone`` as written."""

    parts: tuple[int, ...]
    start: datetime
    end: datetime
    zone: str


def parse_time(text: str) -> Hl7Time | None:
    """Return a time, None where the text is none (a month 13 included)."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    parts = [int(match[key]) for key in "YMDhms" if match[key] is not None]
    if match["f"] is not None:
        parts.append(int(match["f"].ljust(6, "0")))
    zone = match["zone"] or ""
    if parts[0] < _FIRST_YEAR:
        return None
    try:
        start = datetime(*[*parts, 1, 1][: max(len(parts), 3)], tzinfo=UTC)  # type: ignore[arg-type,misc]
        end = _end(start, len(parts))
        if zone:
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
            offset = -offset if zone[0] == "-" else offset
            start, end = _shifted(start, -offset), _shifted(end, -offset)
    except (ValueError, OverflowError):
        return None
    return Hl7Time(tuple(parts), start, end, zone)


def _end(start: datetime, precision: int) -> datetime:
    if start.year == _NEVER.year and precision < 4:
        return _NEVER
    if precision == 1:
        return start.replace(year=start.year + 1)
    if precision == 2:
        return (start.replace(day=28) + timedelta(days=4)).replace(day=1)
    step = {3: timedelta(days=1), 4: timedelta(hours=1), 5: timedelta(minutes=1)}
    wide = step.get(precision, timedelta(seconds=1) if precision == 6 else timedelta())
    return _shifted(start, wide)


def _shifted(moment: datetime, by: timedelta) -> datetime:
    """Return a moment moved; what would leave the calendar says "no end", as 99991231235959 does."""
    try:
        return moment if moment == _NEVER else moment + by
    except OverflowError:
        return _NEVER


def compare_times(left: Hl7Time, right: Hl7Time) -> int | None:
    """Return -1, 0 or 1; None where the two cannot be told apart for certain.

    Source: safety-rules.md 26: partial dates beyond common precision are false both ways.
    """
    if bool(left.zone) != bool(right.zone):
        if right.start - left.end >= _ZONES_APART:
            return -1
        return 1 if left.start - right.end >= _ZONES_APART else None
    if len(left.parts) == len(right.parts) and left.start == right.start:
        return 0
    if left.end <= right.start:
        return -1
    return 1 if right.end <= left.start else None


def check_format(form: str) -> str | None:
    """Return what is wrong with a date format, None where it is right."""
    tokens = [token for token in _TOKENS.findall(form) if token in _RANK]
    if not tokens:
        return "a date format is made of YYYY MM DD HH mm ss SSS ZZ"
    if len(set(tokens)) != len(tokens):
        return "a date format names each part once"
    return None


def format_time(time: Hl7Time, form: str) -> str | None:
    """Return the time in this form, cut where its precision ends.

    None where a part is asked for that the value does not say and that is not at the end.
    """
    pieces: list[str] = []
    cut = False
    for token in _TOKENS.findall(form):
        rank = _RANK.get(token)
        if rank is None:
            if not cut:
                pieces.append(token)
        elif rank == 8:
            pieces.append(time.zone)
        elif rank > len(time.parts):
            cut = True
        elif cut:
            return None
        else:
            pieces.append(_part(time, rank))
    if not cut:
        return "".join(pieces)
    # what separates a part from one that is not there goes with it
    while pieces and not pieces[-1][-1:].isalnum():
        pieces.pop()
    return "".join(pieces)


def _part(time: Hl7Time, rank: int) -> str:
    value = time.parts[rank - 1]
    if rank == 1:
        return f"{value:04}"
    return f"{value // 1000:03}" if rank == 7 else f"{value:02}"


def now_text(at: datetime) -> str:
    """Return an aware UTC time as HL7 writes it, to the second, with its zone."""
    return at.strftime("%Y%m%d%H%M%S") + "+0000"
