"""Times, durations and quantities, against Python's own."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from fuzz.draw import Draw
from ifengine.hl7.date_math import add_span, age_of, days_until, parse_span, weekday_of
from ifengine.hl7.quantities import (
    compare_quantities,
    quantity_of,
    quantity_text,
    read_number,
)
from ifengine.hl7.times import check_format, compare_times, format_time, parse_time

NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
_FORMS = ("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S")


def times(data: bytes) -> None:
    """A time is what Python's calendar says it is; reckoning with it agrees with Python's."""
    draw = Draw(data)
    kind = draw.byte() % 4
    if kind == 0:
        _any_time(draw)
        return
    day = datetime(1000, 1, 1, tzinfo=UTC) + timedelta(seconds=draw.number(284_012_000_000))
    if kind == 1:
        day = NOW + timedelta(seconds=draw.number(60_000) - 30_000)
    form = draw.choice(_FORMS)
    text = f"{day.year:04}" + day.strftime(form[2:])
    cut = datetime.strptime(text, form)  # noqa: DTZ007 - local text, as a time without zone is
    zone = draw.choice(("", "", "+0000", "-0500", "+1345"))
    time = parse_time(text + zone)
    assert time is not None
    shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:])) if zone else timedelta()
    try:
        assert time.start.replace(tzinfo=None) == cut + (shift if zone[:1] == "-" else -shift)
    except OverflowError:
        assert time.end.year == 9999
        return
    assert time.start < time.end or cut.year == 9999
    assert weekday_of(text) == cut.strftime("%a").lower()
    amount = draw.number(2000) - 1000
    unit = draw.choice("dhms")
    span = parse_span(f"{amount}{unit}")
    assert span is not None
    moved = add_span(text, span)
    seconds = {"d": 86_400, "h": 3600, "m": 60, "s": 1}[unit]
    # a unit that the text does not say cannot be added to it
    if len(text) >= {"d": 8, "h": 10, "m": 12, "s": 14}[unit]:
        try:
            expected = cut + timedelta(seconds=amount * seconds)
        except OverflowError:
            assert moved is None
            return
        if expected.year >= 1000:
            assert moved == f"{expected.year:04}" + expected.strftime(form[2:])
        else:
            assert moved is None
    else:
        assert moved is None
    if not zone:
        until = days_until(text, NOW)
        assert until is not None
        assert until.low == (cut.date() - NOW.date()).days
        age = age_of(text, NOW)
        if cut.date() <= NOW.date():
            birthday = (NOW.month, NOW.day) >= (cut.month, cut.day)
            assert age is not None
            assert age.low == age.high == NOW.year - cut.year - (not birthday)
        else:
            assert age is None
    other = parse_time(f"{NOW:%Y%m%d%H%M%S}" + zone)
    assert other is not None
    order = compare_times(time, other)
    back = compare_times(other, time)
    assert (order is None) == (back is None)
    assert order is None or back == -order
    if form == _FORMS[2] and zone in ("", "+0000"):
        assert order == (cut > NOW.replace(tzinfo=None)) - (cut < NOW.replace(tzinfo=None))


def _any_time(draw: Draw) -> None:
    text = draw.text(20, "0123456789+-.") if draw.flag() else draw.text(20)
    time = parse_time(text)
    age_of(text, NOW)
    days_until(text, NOW)
    weekday_of(text)
    for span in ("1y", "-1d", "999999h", "-999999y"):
        found = parse_span(span)
        assert found is not None
        moved = add_span(text, found)
        assert moved is None or parse_time(moved) is not None, (text, moved)
    form = draw.choice(("YYYYMMDD", "MM/DD/YYYY", "DD.MM.YYYY HH:mm", "YYYY-MM-DDTHH:mm:ssZZ"))
    assert check_format(form) is None
    if time is None:
        return
    assert re.fullmatch(r"[0-9]{4,14}(\.[0-9]+)?([+-][0-9]{4})?", text, re.ASCII)
    format_time(time, form)
    assert compare_times(time, time) == 0


def quantities(data: bytes) -> None:
    """A number is the decimal it says; comparing never says what an interval leaves open."""
    draw = Draw(data)
    alphabet = "0123456789.,-+<>= ^"
    texts = [draw.text(10, alphabet) if draw.flag() else _number(draw) for _ in range(2)]
    for text in texts:
        number = read_number(text)
        if number is not None:
            assert number == Decimal(text.replace(",", "."))
        elif "," not in text and re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text):
            raise AssertionError("a plain number was not read")
        try:
            Decimal(text)
        except InvalidOperation:
            assert number is None or "," in text
    left, right = (quantity_of(text) for text in texts)
    if left is None or right is None:
        return
    for quantity in (left, right):
        assert quantity.low is None or quantity.high is None or quantity.low <= quantity.high
        again = quantity_of(quantity_text(quantity))
        assert again == quantity or "-" in quantity_text(quantity), quantity_text(quantity)
    answers = {
        sign: compare_quantities(left, sign, right) for sign in ("=", "<", ">", "<=", ">=", "!=")
    }
    mirrored = {sign: compare_quantities(right, sign, left) for sign in answers}
    assert answers["<"] == mirrored[">"]
    assert answers[">"] == mirrored["<"]
    assert answers["="] == mirrored["="]
    assert sum(answers[sign] is True for sign in ("<", "=", ">")) <= 1
    if left.is_exact and right.is_exact:
        a, b = left.low, right.low
        assert a is not None
        assert b is not None
        assert [answers[s] for s in ("=", "<", ">", "<=", ">=", "!=")] == [
            a == b, a < b, a > b, a <= b, a >= b, a != b
        ]  # fmt: skip
    _inside(draw, left, right, answers)


def _number(draw: Draw) -> str:
    sign = draw.choice(("", "", "<", ">", "<=", ">=", "-"))
    return sign + str(draw.number(300)) + draw.choice(("", ".5", ",5", ".50", "-400"))


def _inside(draw: Draw, left: object, right: object, answers: dict[str, bool | None]) -> None:
    """Whatever numbers two intervals stand for, what was answered holds of them."""
    from ifengine.hl7.quantities import Quantity

    assert isinstance(left, Quantity)
    assert isinstance(right, Quantity)
    for a in _members(left):
        for b in _members(right):
            for sign, holds in (("<", a < b), (">", a > b), ("=", a == b)):
                assert answers[sign] is None or answers[sign] == holds, (sign, a, b)


def _members(quantity: object) -> list[Decimal]:
    from ifengine.hl7.quantities import Quantity

    assert isinstance(quantity, Quantity)
    low = quantity.low if quantity.low is not None else (quantity.high or Decimal(0)) - 1000
    high = quantity.high if quantity.high is not None else low + 2000
    step = Decimal("0.001")
    ends = [low + step if quantity.low_open else low, high - step if quantity.high_open else high]
    return [*ends, (ends[0] + ends[1]) / 2] if ends[0] <= ends[1] else []
