"""Reckoning with HL7 times: local text is not shifted, and what is not said is not made up."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.date_math import Span, add_span, age_of, days_until, parse_span, weekday_of
from ifengine.hl7.quantities import Quantity, quantity_text

NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


def shown(quantity: Quantity | None) -> str | None:
    return None if quantity is None else quantity_text(quantity)


@pytest.mark.parametrize(
    ("born", "age"),
    [
        ("19800215", "45"), ("19800105", "46"), ("19800106", "45"), ("20260105", "0"),
        ("1980", "45-46"), ("198001", "45-46"), ("198002", "45"), ("2026", "0"), ("20260106", None),
        ("2027", None), ("19800105235959", "46"), ("", None), ('""', None), ("19801301", None),
        ("19000101", "126"), ("19800106000000+1500", "46"), ("20260106003000+1500", "0"),
    ],
)  # fmt: skip
def test_an_age_counts_full_years_and_says_what_it_does_not_know(
    born: str, age: str | None
) -> None:
    assert shown(age_of(born, NOW)) == age


def test_who_was_born_on_a_leap_day_is_older_on_the_first_of_march() -> None:
    for day, age in ((28, "20"), (1, "21")):
        now = datetime(2025, 2 if day == 28 else 3, day, tzinfo=UTC)
        assert shown(age_of("20040229", now)) == age


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("20260105", "0"), ("20260105235959", "0"), ("20260106", "1"), ("20260104", "-1"),
        ("20250105", "-365"), ("202601", "-4-26"), ("20260105233000-1200", "1"),
        ("20260104233000-1200", "0"), ("x", None),
    ],
)  # fmt: skip
def test_days_until_counts_the_midnights_between(text: str, days: str | None) -> None:
    assert shown(days_until(text, NOW)) == days


@pytest.mark.parametrize(
    ("text", "day"),
    [("20260105", "mon"), ("20260104235959+0100", "sun"), ("202601", None), ("20260230", None)],
)
def test_the_day_of_the_week_is_that_of_the_text(text: str, day: str | None) -> None:
    assert weekday_of(text) == day


@pytest.mark.parametrize(
    ("text", "span", "moved"),
    [
        ("20260105", "1d", "20260106"), ("20260101", "-1d", "20251231"), ("20240228", "1d", "20240229"),
        ("2026010510", "2h", "2026010512"), ("202601052330", "45m", "202601060015"),
        ("20260105235959", "1s", "20260106000000"), ("20260105235959.1234+0100", "1s", "20260106000000.1234+0100"),
        ("20260329013000", "1h", "20260329023000"), ("20240229", "1y", "20250228"), ("1980", "1y", "1981"),
        ("198002", "-1y", "197902"), ("20260105", "+3d", "20260108"),
        ("20260105", "2h", None), ("202601", "1d", None), ("2026010510", "5m", None),
        ("202601051000", "1s", None), ("99991231", "1d", None), ("10000101", "-1d", None),
        ("x", "1d", None), ('""', "1d", None),
    ],
)  # fmt: skip
def test_a_duration_is_added_where_the_time_says_the_part_that_changes(
    text: str, span: str, moved: str | None
) -> None:
    read = parse_span(span)
    assert read is not None
    assert add_span(text, read) == moved


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2 h", "1.5h", "2w", "2ms", "--1d", "1d2h", "9999999d"]
)
def test_what_is_no_duration_is_none(text: str) -> None:
    assert parse_span(text) is None


@given(st.dates(date(1700, 1, 1), date(2200, 1, 1)), st.integers(-40_000, 40_000))
def test_adding_days_agrees_with_counting_them(day: date, days: int) -> None:
    moved = add_span(f"{day:%Y%m%d}", Span(days, "d"))
    assert moved == f"{day + timedelta(days=days):%Y%m%d}"
    now = datetime(day.year, day.month, day.day, 23, 59, tzinfo=UTC)
    assert shown(days_until(moved, now)) == str(days)


@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)), st.integers(-(10**6), 10**6))  # noqa: DTZ001
def test_what_was_added_and_taken_away_is_as_it_was(at: datetime, seconds: int) -> None:
    for precision, unit in ((8, "d"), (10, "h"), (12, "m"), (14, "s")):
        text = f"{at:%Y%m%d%H%M%S}"[:precision]
        there = add_span(text, Span(seconds // 30, unit))
        assert there is not None
        assert add_span(there, Span(-(seconds // 30), unit)) == text


@given(st.text(alphabet="0123456789.+-", max_size=20))
def test_any_text_is_reckoned_with_or_refused(text: str) -> None:
    age_of(text, NOW)
    days_until(text, NOW)
    weekday_of(text)
    for unit in "ydhms":
        moved = add_span(text, Span(-999_999, unit))
        assert moved is None or len(moved) == len(text)
