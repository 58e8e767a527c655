"""What is left of one field, repetition by repetition, by the rule of ``deidentify_fields.SAFE``.

A rule builds what stays from nothing: a part that it does not name, or whose text does not have the
form it asks for, is not in the result.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ifengine.hl7.charset import find_codec
from ifengine.hl7.message import NULL, Message
from ifengine.transforms.deidentify_fields import (
    AGE_CODES,
    FEW_PEOPLE,
    OLDEST,
    UNITED_STATES,
    UNITS_A_YEAR,
    Rule,
)
from ifengine.transforms.deidentify_names import Kind, Names, Parts

# component, subcomponent (None: the whole component), text
Piece = tuple[int, int | None, str]

_NUMBER = re.compile(r"[+-]?[0-9]{1,7}(?:\.[0-9]{1,6})?")
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_COMPARED = re.compile(r"(?:[<>]=?|=|<>)?\s?" + _NUMBER.pattern)
_RANGE = re.compile(rf"(?:[<>]=?|=)?\s?{_NUMBER.pattern}(?:\s?(?:-|to|:)\s?{_NUMBER.pattern})?")
_COMPARATOR = re.compile(r"[<>]=?|=|<>")
_SEPARATOR = re.compile(r"[-+/.:]")
_SUB_ID = re.compile(r"[0-9A-Za-z.]{1,8}")
_WORD = re.compile(r"[0-9A-Za-z<>*+_./:-]{1,12}")
_SHORT = (_WORD, _SUB_ID)  # with few digits in a row: no number of a person
_CODE = re.compile(r"[0-9A-Za-z][0-9A-Za-z<>*+_./:%-]{0,29}")
_SYSTEM = re.compile(r"[0-9A-Za-z._-]{1,40}")
_UNIT = re.compile(r"[0-9A-Za-zµμ%/.*^\[\]{}()'\"_°-]{1,24}")
_TIME_OF_DAY = re.compile(r"[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,4})?)?)?(?:[+-][0-9]{4})?")
_LONG_NUMBER = re.compile(r"[0-9]{5}")
_STATE = re.compile(r"[A-Za-z]{2,3}")
_COUNTRY = re.compile(r"[A-Za-z]{2,3}|[0-9]{3}")
_ZIP = re.compile(r"([0-9]{3})(?:[0-9]{2}(?:-?[0-9]{4})?)?")
_MOST_TEXT = 80
# what nobody writes into the name of a test: a date, a telephone or social security number, a mail
# address, a web address
_TELLING = re.compile(
    r"[0-9]{7}|[0-9]{3}[-. )]{1,2}[0-9]{2,4}[-. ][0-9]{4}|[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}|@|://"
)
_AGE = re.compile(r"\bage\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Repetition:
    """One repetition of a field."""

    message: Message
    segment: int
    field: int
    number: int

    def text(self, component: int, subcomponent: int | None = 1) -> str:
        """Return a part as text; by default the first leaf of a component."""
        return self.message.text(self.segment, self.field, self.number, component, subcomponent)

    def leaves(self, component: int) -> Parts:
        """Return the first three subcomponents: an HD, or an EI without its type."""
        return tuple(self.text(component, s) for s in (1, 2, 3))

    def beside(self, field: int, component: int = 1) -> str:
        """Return the first leaf of another field of the segment."""
        return self.message.text(self.segment, field, 1, component, 1)


Treat = Callable[[Repetition, Names], Iterator[Piece]]


def _plain(text: str) -> str:
    return "" if text == NULL else text.strip()


def _fits(form: re.Pattern[str], text: str) -> bool:
    return text == NULL or form.fullmatch(text) is not None


def _one(form: re.Pattern[str], *components: int) -> Treat:
    def treat(given: Repetition, names: Names) -> Iterator[Piece]:
        for component in components:
            text = given.text(component)
            if _fits(form, text) and not (form in _SHORT and _LONG_NUMBER.search(text)):
                yield component, None, text

    return treat


def _coded(form: re.Pattern[str]) -> Treat:
    """Code, text and system twice: components 1 to 3 and 4 to 6; 7 and 8 are versions.

    The text counts only beside a code: alone it is free text. Original text (9) never stays.
    """

    def treat(given: Repetition, names: Names) -> Iterator[Piece]:
        for first in (1, 4):
            code, text, system = (given.text(first + n) for n in (0, 1, 2))
            if not code or not _fits(form, code) or _looks_telling(code, form):
                continue
            yield first, None, code
            if text and len(text) <= _MOST_TEXT and not _TELLING.search(text):
                yield first + 1, None, text
            if _fits(_SYSTEM, system):
                yield first + 2, None, system
        for component in (7, 8):
            version = given.text(component)
            if _fits(_WORD, version) and not _LONG_NUMBER.search(version):
                yield component, None, version

    return treat


_NUMBERED_PERSON = re.compile(r"[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{3}-[0-9]{3}-[0-9]{4}")


def _looks_telling(code: str, form: re.Pattern[str]) -> bool:
    return form is _CODE and _NUMBERED_PERSON.fullmatch(code) is not None


def _quantity(given: Repetition, names: Names) -> Iterator[Piece]:
    if _fits(_NUMBER, given.text(1)):
        yield 1, None, given.text(1)
        if _fits(_UNIT, given.text(2)):
            yield 2, 1, given.text(2)


def _charset(given: Repetition, names: Names) -> Iterator[Piece]:
    if find_codec(given.text(1)) is not None:
        yield 1, None, given.text(1)


def _dates(*components: int) -> Treat:
    def treat(given: Repetition, names: Names) -> Iterator[Piece]:
        for component in components:
            text = given.text(component)
            yield component, None, text if text == NULL else names.day(text.strip())

    return treat


# --- identifiers --------------------------------------------------------------------------------


def patient_of(given: Repetition) -> Parts | None:
    """Return what tells one CX from another: number, authority, type; None where it is empty."""
    number = _plain(given.text(1))
    return (number, *given.leaves(4), given.text(5)) if number else None


def _site(names: Names, leaves: Parts) -> str:
    name = _plain(leaves[0]) or _plain(leaves[1])
    return names.name(Kind.SITE, (name,)) if name else ""


def _extended(kind: Kind) -> Treat:
    """CX: the number, the authority as a site, the type of identifier."""

    def treat(given: Repetition, names: Names) -> Iterator[Piece]:
        parts = patient_of(given)
        if parts is None:
            return
        yield 1, None, names.name(kind, parts)
        yield 4, 1, _site(names, given.leaves(4))
        if _fits(_WORD, given.text(5)):
            yield 5, None, given.text(5)

    return treat


def _entity(kind: Kind) -> Treat:
    """EI: the number and its namespace."""

    def treat(given: Repetition, names: Names) -> Iterator[Piece]:
        number = _plain(given.text(1))
        if number:
            space = (given.text(2), given.text(3), "")
            yield 1, None, names.name(kind, (number, *space[:2]))
            yield 2, None, _site(names, space)

    return treat


def _entities(kind: Kind) -> Treat:
    """EIP: two EI as components, of which each part is a subcomponent."""

    def treat(given: Repetition, names: Names) -> Iterator[Piece]:
        for component in (1, 2):
            number, *space = given.leaves(component)
            number = _plain(number)
            if number:
                yield component, 1, names.name(kind, (number, *space))
                yield component, 2, _site(names, (*space, ""))

    return treat


def _facility(given: Repetition, names: Names) -> Iterator[Piece]:
    yield 1, None, _site(names, (given.text(1), given.text(2)))


def _control(given: Repetition, names: Names) -> Iterator[Piece]:
    number = _plain(given.text(1))
    if number:
        yield 1, None, names.name(Kind.CONTROL, (number,))


def _address(given: Repetition, names: Names) -> Iterator[Piece]:
    """XAD: state, ZIP code and country. A postal code of another country is dropped whole."""
    country = given.text(6).strip()
    if _fits(_STATE, given.text(4)):
        yield 4, None, given.text(4)
    found = _ZIP.fullmatch(given.text(5).strip())
    if found is not None and country.upper() in UNITED_STATES:
        yield 5, None, "000" if found[1] in FEW_PEOPLE else found[1]
    if _COUNTRY.fullmatch(country):
        yield 6, None, country


# --- values -------------------------------------------------------------------------------------


def _value(given: Repetition, names: Names) -> Iterator[Piece]:
    """OBX-5 by OBX-2. A type that is not here is dropped: free text, names, numbers, documents."""
    treat = _BY_TYPE.get(given.beside(2))
    if treat is None:
        return
    if names.safe_harbor and treat not in _DATE_TYPES and _tells_age(given):
        yield from _age(given, list(treat(given, names)))
        return
    yield from treat(given, names)


def _structured(given: Repetition, names: Names) -> Iterator[Piece]:
    for component, form in ((1, _COMPARATOR), (2, _NUMBER), (3, _SEPARATOR), (4, _NUMBER)):
        if _fits(form, given.text(component)):
            yield component, None, given.text(component)


def _clock(given: Repetition, names: Names) -> Iterator[Piece]:
    # a time of day is an element of a date: safe harbor has no place for it
    if not names.safe_harbor and _fits(_TIME_OF_DAY, given.text(1)):
        yield 1, None, given.text(1)


def _tells_age(given: Repetition) -> bool:
    for component in (1, 4):
        if given.beside(3, component) in AGE_CODES:
            return True
    return any(_AGE.search(given.beside(3, component)) for component in (1, 2, 4, 5))


def _age(given: Repetition, pieces: list[Piece]) -> Iterator[Piece]:
    """Ages over 89 years are one group: a number above becomes 90 years, anything else is dropped."""
    unit = UNITS_A_YEAR.get(given.beside(6).strip().lower())
    if unit is None:
        return
    oldest = OLDEST * unit
    if not any(float(n) >= oldest for _, _, text in pieces for n in _DIGITS.findall(text)):
        yield from pieces
    elif given.beside(2) == "NM":
        yield 1, None, f"{oldest:.0f}"


_DAY, _DAYS = _dates(1), _dates(1, 2)
_DATE_TYPES = (_DAY, _DAYS)  # a date of birth is an age too, and its year has its own rule
_BY_TYPE: Final[Mapping[str, Treat]] = {
    "NM": _one(_NUMBER, 1),
    "SN": _structured,
    "ST": _one(_COMPARED, 1),
    "CE": _coded(_CODE),
    "CWE": _coded(_CODE),
    "CNE": _coded(_CODE),
    "IS": _one(_WORD, 1),
    "ID": _one(_WORD, 1),
    "CQ": _quantity,
    "DT": _DAY,
    "TS": _DAY,
    "DTM": _DAY,
    "DR": _DAYS,
    "TM": _clock,
}

TREATMENTS: Final[Mapping[Rule, Treat]] = {
    Rule.NUMBER: _one(_NUMBER, 1),
    Rule.SUB_ID: _one(_SUB_ID, 1),
    Rule.WORD: _one(_WORD, 1),
    Rule.WORDS: _one(_WORD, 1, 2),
    Rule.TYPE: _one(_WORD, 1, 2, 3),
    Rule.CODED: _coded(_CODE),
    Rule.UNIT: _coded(_UNIT),
    Rule.QUANTITY: _quantity,
    Rule.RANGE: _one(_RANGE, 1),
    Rule.CHARSET: _charset,
    Rule.DATE: _DAY,
    Rule.PERIOD: _DAYS,
    Rule.PATIENT: _extended(Kind.PATIENT),
    Rule.VISIT: _extended(Kind.VISIT),
    Rule.ORDER: _entity(Kind.ORDER),
    Rule.ORDERS: _entities(Kind.ORDER),
    Rule.SPECIMEN: _entities(Kind.SPECIMEN),
    Rule.CONTROL: _control,
    Rule.SITE: _facility,
    Rule.ADDRESS: _address,
    Rule.VALUE: _value,
}
FREE_TEXT_TYPES: Final = frozenset({"ST", "TX", "FT"})  # OBX-5 that `free_text: keep` keeps
