"""Reckoning with HL7 times: ages, days until, days of the week, adding a duration.

A time without zone is local text: nothing is shifted, and it is held against ``now`` as it stands. One
with a zone is held against ``now`` in that zone.
"""

import calendar
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from ifengine.hl7.quantities import Quantity
from ifengine.hl7.times import Hl7Time, parse_time

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 3  # how many parts of a time are written when its day is
_SPAN = re.compile(r"([+-]?[0-9]{1,6})([smhdy])")
_NEEDED = {"y": 1, "d": 3, "h": 4, "m": 5, "s": 6}  # parts that a time must have for this unit
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_FIRST_YEAR = 1000  # an earlier one is not read as a time again


class Span(NamedTuple):
    """A duration to add: ``2h``, ``-1d``; years count by the calendar."""

    amount: int
    unit: str


def parse_span(text: str) -> Span | None:
    """Return a duration, None where the text is none."""
    match = _SPAN.fullmatch(text)
    return None if match is None else Span(int(match[1]), match[2])


def age_of(text: str, now: datetime) -> Quantity | None:
    """Return an age in full years; a birth date without day may give two.

    None where the text is no date, or one that is still to come. ``now`` is aware.
    """
    time = parse_time(text)
    if time is None:
        return None
    today = _today(time, now)
    first, last = _days(time)
    oldest = _years(first, today)
    if oldest < 0:
        return None
    return Quantity(Decimal(max(_years(last, today), 0)), Decimal(oldest))


def days_until(text: str, now: datetime) -> Quantity | None:
    """Return how many days it is until a date, below zero where it is past; None for no date."""
    time = parse_time(text)
    if time is None:
        return None
    today = _today(time, now)
    first, last = _days(time)
    return Quantity(Decimal((first - today).days), Decimal((last - today).days))


def weekday_of(text: str) -> str | None:
    """Return the day of the week, ``mon`` to ``sun``; None where the text names no day."""
    time = parse_time(text)
    if time is None or len(time.parts) < _DAY:
        return None
    return WEEKDAYS[date(*time.parts[:_DAY]).weekday()]


def add_span(text: str, span: Span) -> str | None:
    """Return the time that much later, as precise as it was, fraction and zone as written.

    None where the text is no time, does not say the part that changes, or would leave the calendar.
    """
    time = parse_time(text)
    if time is None or len(time.parts) < _NEEDED[span.unit]:
        return None
    try:
        moved = _moved(time, span)
    except (ValueError, OverflowError):
        return None
    if moved.year < _FIRST_YEAR:
        return None
    digits = 2 + 2 * min(len(time.parts), 6)
    whole = f"{moved.year:04}{moved:%m%d%H%M%S}"
    return whole[:digits] + text[digits:]


def _moved(time: Hl7Time, span: Span) -> datetime:
    parts = [*time.parts[:6], 1, 1][: max(len(time.parts[:6]), 3)]
    start = datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001 - local text, never compared
    if span.unit != "y":
        return start + timedelta(seconds=span.amount * _SECONDS[span.unit])
    year = start.year + span.amount
    if not 1 <= year <= 9999:
        raise ValueError("outside the calendar")
    last = calendar.monthrange(year, start.month)[1]
    return start.replace(year=year, day=min(start.day, last))


def _today(time: Hl7Time, now: datetime) -> date:
    if not time.zone:
        return now.date()
    offset = timedelta(hours=int(time.zone[1:3]), minutes=int(time.zone[3:5]))
    return (now - offset if time.zone[0] == "-" else now + offset).date()


def _days(time: Hl7Time) -> tuple[date, date]:
    """Return the first and the last day that a time may mean."""
    year, *rest = time.parts[:_DAY]
    if len(rest) == 2:
        day = date(year, *rest)
        return day, day
    if len(rest) == 1:
        return date(year, rest[0], 1), date(year, rest[0], calendar.monthrange(year, rest[0])[1])
    return date(year, 1, 1), date(year, 12, 31)


def _years(born: date, today: date) -> int:
    before = (today.month, today.day) < (born.month, born.day)
    return today.year - born.year - before
