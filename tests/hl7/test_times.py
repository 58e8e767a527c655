"""HL7 times: what is one, what it covers, and when two can be told apart."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.times import check_format, compare_times, format_time, parse_time


@pytest.mark.parametrize(
    "text",
    ["1980", "198002", "19800229", "1980022923", "198002292359", "20260105101500.1234+0100",
     "20260105-0500", "99991231", "9999"],
)  # fmt: skip
def test_a_time_of_any_precision_is_one(text: str) -> None:
    assert parse_time(text) is not None


@pytest.mark.parametrize(
    "text",
    ["", "198", "0012", "19801301", "19810229", "1980021525", "2026-01-05", "20260105 ", "٢٠٢٦",
     "20260105101500.", "202601051015001", "00010101+1400", "20260105+9900x"],
)  # fmt: skip
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_time(text) is None


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("1979", "19800215", -1),
        ("1980", "19800215", None),
        ("19800215", "19800215", 0),
        ("198003", "198002", 1),
        ("20260105101500+0100", "20260105091500+0000", 0),
        ("20260105101500+0100", "20260105101500", None),
        ("20260105101500+0100", "20260107", -1),
        ("99991231", "20260105+0100", 1),
        ("20260105101500", "20260105101500.5", None),
        ("20260105101501", "20260105101500.5", 1),
    ],
)
def test_times_compare_only_where_their_precision_allows(
    left: str, right: str, expected: int | None
) -> None:
    one, other = parse_time(left), parse_time(right)
    assert one is not None
    assert other is not None
    assert compare_times(one, other) == expected
    assert compare_times(other, one) == (None if expected is None else -expected)


FIRST, LAST = datetime.fromisoformat("1800-01-01"), datetime.fromisoformat("2190-01-01")


@given(
    st.datetimes(FIRST, LAST),
    st.sampled_from([4, 6, 8, 10, 12, 14]),
)
def test_a_cut_time_is_never_told_apart_from_the_whole(moment: datetime, length: int) -> None:
    whole = parse_time(moment.strftime("%Y%m%d%H%M%S"))
    part = parse_time(moment.strftime("%Y%m%d%H%M%S")[:length])
    assert whole is not None
    assert part is not None
    assert compare_times(whole, part) == (0 if length == 14 else None)


@pytest.mark.parametrize(
    ("text", "form", "shown"),
    [
        ("19800215", "DD.MM.YYYY", "15.02.1980"),
        ("19800215", "YYYY-MM-DD HH:mm", "1980-02-15"),
        ("198002", "YYYYMMDDHHmmss", "198002"),
        ("1980", "DD.MM.YYYY", None),
        ("20260105101530.12", "HH:mm:ss.SSS", "10:15:30.120"),
        ("20260105101530+0100", "YYYYMMDDHHmmssZZ", "20260105101530+0100"),
    ],
)
def test_a_format_keeps_the_precision_that_is_there(
    text: str, form: str, shown: str | None
) -> None:
    time = parse_time(text)
    assert time is not None
    assert format_time(time, form) == shown


def test_a_format_without_parts_or_with_one_twice_is_wrong() -> None:
    assert check_format("YYYYMMDD") is None
    assert check_format("dd.mm") is None
    assert check_format("hello")
    assert check_format("YYYYYYYY")


@pytest.mark.parametrize(
    "text",
    ["99991231235959", "9999123123", "999912312359", "99991231-0500", "99991231235959-0500",
     "99991231235959+0000", "99991231235959.9999"],
)  # fmt: skip
def test_the_last_moment_of_the_calendar_says_no_end_however_it_is_written(text: str) -> None:
    last, now = (
        parse_time(text),
        parse_time("20260105101500+0100" if "00" in text else "2026010510"),
    )
    assert last is not None
    assert now is not None
    assert compare_times(last, now) == 1
    assert compare_times(now, last) == -1
    assert compare_times(last, last) == 0
