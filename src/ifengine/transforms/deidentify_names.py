"""Pseudonyms and dates of the two profiles of ``deidentify``.

``safe-harbor`` derives nothing from the data: a pseudonym is random and remembered, so that the same
identifier has the same one and, once the memory is gone, nothing leads back (164.514(c)). Dates are
cut to the year. ``pseudonym`` derives both from a key: HMAC-SHA-256, and for each patient one shift
of dates by whole weeks, which keeps weekdays and every interval of that patient.
"""

import hmac
from collections.abc import Callable
from datetime import date, timedelta
from enum import StrEnum
from typing import Final, Protocol

from ifengine.clock import as_datetime
from ifengine.hl7.times import parse_time
from ifengine.transforms.base import StepScope
from ifengine.transforms.deidentify_fields import OLDEST
from ifengine.transforms.memory import Space

# no vowel and no digit: a pseudonym is never a word, a number, a date or part of one
LETTERS: Final = "bcdfghjklmnpqrstvwxz"
LENGTH: Final = 20  # 86 bits, and it fits into MSH-10 of every version
MOST_WEEKS: Final = 104
_NUMBER_BYTES = 16
_YEAR_US = int(365.25 * 86_400 * 1_000_000)
_DAY_DIGITS = 8
_NO_END = 9999


class Kind(StrEnum):
    """What a pseudonym stands for: the same text of two kinds has two."""

    PATIENT = "patient"
    VISIT = "visit"
    ORDER = "order"
    SPECIMEN = "specimen"
    SITE = "site"
    CONTROL = "control"


# Numbers of orders and visits are used again after a while, and one row for each would pile up;
# control ids are told once.
_LASTS_US = {Kind.VISIT: 2 * _YEAR_US, Kind.ORDER: 2 * _YEAR_US, Kind.SPECIMEN: 2 * _YEAR_US}

Parts = tuple[str, ...]


class Names(Protocol):
    """What a profile makes of identifiers and dates, for one message."""

    safe_harbor: bool

    def about(self, patient: Parts | None) -> None:
        """Say whose dates follow; None: nobody is known."""
        ...

    def name(self, kind: Kind, parts: Parts) -> str:
        """Return the pseudonym of an identifier."""
        ...

    def day(self, text: str) -> str:
        """Return what may be told of a date; empty where nothing may, or where it is none."""
        ...


def spelled(raw: bytes) -> str:
    """Return 16 bytes as twenty letters."""
    number = int.from_bytes(raw[:_NUMBER_BYTES], "big")
    letters = []
    for _ in range(LENGTH):
        number, digit = divmod(number, len(LETTERS))
        letters.append(LETTERS[digit])
    return "".join(letters)


class RandomNames:
    """``safe-harbor``."""

    safe_harbor = True

    def __init__(self, scope: StepScope) -> None:
        self._scope = scope
        self._oldest_year = as_datetime(scope.now_us).year - OLDEST
        self._made: dict[
            tuple[Kind, Parts], str
        ] = {}  # a replay remembers nothing, but within itself

    def about(self, patient: Parts | None) -> None:
        """Years are the same for everybody."""

    def name(self, kind: Kind, parts: Parts) -> str:
        """Return the remembered pseudonym, or a new one."""
        place = (kind, parts)
        known = self._made.get(place)
        if known is None:
            known = self._made[place] = self._remembered(kind, parts)
        return known

    def _remembered(self, kind: Kind, parts: Parts) -> str:
        scope = self._scope
        fresh = spelled(scope.random_bytes(_NUMBER_BYTES))
        if kind is Kind.CONTROL:
            return fresh
        key = (kind.value, *parts)
        lasts_us = _LASTS_US.get(kind, 0)
        found = scope.memory.get(Space.PSEUDONYM, key)
        known = fresh if found is None else found.value
        if found is None or (lasts_us and found.until_us - scope.memory.now_us < lasts_us // 2):
            until_us = scope.memory.now_us + lasts_us if lasts_us else 0
            scope.memory.put(Space.PSEUDONYM, key, known, until_us=until_us)
        return known

    def day(self, text: str) -> str:
        """Return the year. One that tells of more than 89 years of age is the last that does not."""
        time = parse_time(text)
        if time is None:
            return ""
        return f"{max(time.parts[0], self._oldest_year):04}"


class KeyedNames:
    """``pseudonym``."""

    safe_harbor = False

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._shift: timedelta | None = None

    def about(self, patient: Parts | None) -> None:
        """Shift dates as this patient's are shifted; nobody's are cut to the year."""
        if patient is None:
            self._shift = None
            return
        number = int.from_bytes(self._digest("weeks", patient)[:8], "big")
        self._shift = timedelta(weeks=1 + number % MOST_WEEKS)

    def name(self, kind: Kind, parts: Parts) -> str:
        """Return the pseudonym that the key gives."""
        return spelled(self._digest(kind.value, parts))

    def _digest(self, purpose: str, parts: Parts) -> bytes:
        encoded = [part.encode("utf-8", "surrogatepass") for part in (purpose, *parts)]
        # each part carries its length, so that none can run into the next
        text = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
        return hmac.digest(self._key, text, "sha256")

    def day(self, text: str) -> str:
        """Return the date moved back by the patient's weeks, as precise as it was."""
        time = parse_time(text)
        if time is None:
            return ""
        year = time.parts[0]
        if self._shift is None or year == _NO_END:
            return f"{year:04}"
        written = min(3, len(time.parts))
        try:
            moved = date(*[*time.parts[:written], 1, 1][:3]) - self._shift
        except OverflowError:
            return ""
        shown = f"{moved.year:04}{moved.month:02}{moved.day:02}"
        digits = (4, 6, _DAY_DIGITS)[written - 1]
        return shown[:digits] + text[digits:]


MakeNames = Callable[[StepScope], Names]
