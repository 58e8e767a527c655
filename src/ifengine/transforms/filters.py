"""The filters of placeholders: one function each. All leave empty and ``""`` alone."""

import hashlib
import re
from collections.abc import Callable

from ifengine.clock import as_datetime
from ifengine.hl7.condition_checks import first_leaf
from ifengine.hl7.date_math import add_span, age_of, days_until, parse_span, weekday_of
from ifengine.hl7.quantities import Quantity, quantity_of, quantity_text
from ifengine.hl7.times import check_format, format_time, parse_time
from ifengine.transforms.base import ReasonError, StepScope

Filter = Callable[[str, StepScope], str]

# a single letter before an apostrophe is a word of its own: O'Brien, but don't
_WORD = re.compile(r"[^\W\d_](?=['\u2019][^\W\d_]{2})|[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def title_case(text: str) -> str:
    """Return every word with a capital and small letters: ``Anna-Maria O'Brien``."""
    return _WORD.sub(lambda match: match[0][0].upper() + match[0][1:].lower(), text)


def look_up(table: str, column: int, text: str, scope: StepScope) -> str:
    """Return one result of a single-key table.

    Raises:
        ReasonError: there is no row; the safe form does not name the value.
    """
    found = scope.table(table).lookup((text,))
    if found is None:
        raise ReasonError(f"{table} has no entry", f'{table} has no entry for "{text}"')
    return found[column]


def _upper() -> Filter:
    return lambda text, scope: text.upper()


def _lower() -> Filter:
    return lambda text, scope: text.lower()


def _title() -> Filter:
    return lambda text, scope: title_case(text)


def _trim() -> Filter:
    return lambda text, scope: text.strip()


def _digits() -> Filter:
    return lambda text, scope: "".join(c for c in text if "0" <= c <= "9")


def _sha256() -> Filter:
    return lambda text, scope: hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _left(n: str) -> Filter:
    count = _count(n)
    return lambda text, scope: text[:count]


def _right(n: str) -> Filter:
    count = _count(n)
    return lambda text, scope: text[-count:]


def _pad(n: str, character: str) -> Filter:
    count = _count(n)
    if len(character) != 1:
        raise ValueError("pads with one character")
    return lambda text, scope: text.rjust(count, character)


def _date(form: str) -> Filter:
    wrong = check_format(form)
    if wrong:
        raise ValueError(wrong)

    def reformat(text: str, scope: StepScope) -> str:
        time = parse_time(text)
        shown = None if time is None else format_time(time, form)
        if shown is None:
            rule = "is not a date" if time is None else "does not have every part of the format"
            raise ReasonError(f"a value {rule} (date filter)")
        return shown

    return reformat


def _table(name: str) -> Filter:
    return lambda text, scope: look_up(name, scope.table(name).column("to") or 0, text, scope)


def _default(value: str) -> Filter:
    return lambda text, scope: text or value


def _age() -> Filter:
    return _one_number("age", lambda text, scope: age_of(text, as_datetime(scope.now_us)))


def _days_until() -> Filter:
    return _one_number(
        "days_until", lambda text, scope: days_until(text, as_datetime(scope.now_us))
    )


def _one_number(name: str, measure: Callable[[str, StepScope], Quantity | None]) -> Filter:
    def count(text: str, scope: StepScope) -> str:
        found = measure(first_leaf(text), scope)
        if found is None or not found.is_exact:
            rule = "is not a date for this" if found is None else "does not say the day"
            raise ReasonError(f"a value {rule} ({name} filter)")
        return quantity_text(found)

    return count


def _weekday() -> Filter:
    def day(text: str, scope: StepScope) -> str:
        found = weekday_of(first_leaf(text))
        if found is None:
            raise ReasonError("a value is not a date with a day (weekday filter)")
        return found

    return day


def _add(written: str) -> Filter:
    span = parse_span(written)
    if span is None:
        raise ValueError("takes a duration such as 2h or -1d: s m h d y")

    def add(text: str, scope: StepScope) -> str:
        moved = add_span(first_leaf(text), span)
        if moved is None:
            raise ReasonError(f"a value is not a date to which {written} can be added (add filter)")
        return moved

    return add


def _number_of() -> Filter:
    def number(text: str, scope: StepScope) -> str:
        found = quantity_of(text)
        if found is None:
            raise ReasonError("a value is not a number (number_of)")
        return quantity_text(found)

    return number


def _count(n: str) -> int:
    if not n.isdecimal() or not 1 <= int(n[:6]) <= 10_000:
        raise ValueError("takes a number from 1 to 10000")
    return int(n)


# name -> (how many arguments, maker). A maker raises ValueError with what is wrong.
FILTERS: dict[str, tuple[int, Callable[..., Filter]]] = {
    "upper": (0, _upper),
    "lower": (0, _lower),
    "title": (0, _title),
    "trim": (0, _trim),
    "digits": (0, _digits),
    "left": (1, _left),
    "right": (1, _right),
    "pad": (2, _pad),
    "default": (1, _default),
    "date": (1, _date),
    "table": (1, _table),
    "sha256": (0, _sha256),
    "age": (0, _age),
    "days_until": (0, _days_until),
    "weekday": (0, _weekday),
    "add": (1, _add),
    "number_of": (0, _number_of),
}
# the only one that has something to say about nothing
ON_EMPTY = frozenset({"default"})
