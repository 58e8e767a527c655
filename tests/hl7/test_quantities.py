"""Values as numbers: what they say, what they leave open, and when two can be compared."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.quantities import (
    Quantity,
    bounded,
    compare_quantities,
    exactly,
    quantity_of,
    quantity_text,
    read_number,
)

SIGNS = ["=", "!=", "<", "<=", ">", ">="]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("7", "7"), ("-7.50", "-7.50"), ("+3", "3"), (".5", "0.5"), ("5.", "5"), (" 7 ", "7"),
        ("1,5", "1.5"), ("0,500", "0.500"), ("12,50", "12.50"), ("1500,25", "1500.25"),
        (">500", ">500"), ("> 500", ">500"), ("<=0,3", "<=0.3"), ("≥5", ">=5"), ("≤5", "<=5"), ("=5", "5"),
        ("10-20", "10-20"), ("3.5 - 5,0", "3.5-5.0"), ("5-5", "5"),
        ("<^5", "<5"), (">=^1,5", ">=1.5"), ("^7", "7"), ("=^7^", "7"), ("^10^-^20", "10-20"),
        ("120^mg", "120"), ("5^five^L", "5"), (">5^mg", ">5"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_the_number_it_says(value: str, read: str) -> None:
    quantity = quantity_of(value)
    assert quantity is not None
    assert quantity_text(quantity) == read
    assert quantity_of(quantity_text(quantity)) == quantity


@pytest.mark.parametrize(
    "value",
    [
        "", '""', "neg", "1,500", "-1,500", "1,234,567", "1.234,5", "1e3", "0x10", "7 mg", "١٢", "5%",
        "<>5", "<>^5", "^1^:^128", "^2^+", "^20^-^10", "<^10^-^20", "^^^", "<^", "<^<5", "^1^-^2^x",
        "text^5", "20-10", "+-5", "1..5", "9" * 41,
    ],
)  # fmt: skip
def test_what_says_no_number_for_certain_is_none(value: str) -> None:
    assert quantity_of(value) is None


@pytest.mark.parametrize(
    ("left", "right", "holds", "unknown"),
    [
        ("5", "7", ["!=", "<", "<="], []),
        ("5", "5.00", ["=", "<=", ">="], []),
        (">500", "400", ["!=", ">", ">="], []),
        (">500", "500", ["!=", ">", ">="], []),
        (">=500", "500", [">="], ["=", "!=", "<=", ">"]),
        (">500", "600", [], SIGNS),
        ("<5", ">5", ["!=", "<", "<="], []),
        ("<=5", ">=5", ["<="], ["=", "!=", "<", ">="]),
        ("10-20", "20", ["<="], ["=", "!=", "<", ">="]),
        ("10-20", "25-30", ["!=", "<", "<="], []),
        ("10-20", "15", [], SIGNS),
    ],
)
def test_a_comparison_holds_only_where_it_is_certain(
    left: str, right: str, holds: list[str], unknown: list[str]
) -> None:
    one, other = quantity_of(left), quantity_of(right)
    assert one is not None
    assert other is not None
    answers = {sign: compare_quantities(one, sign, other) for sign in SIGNS}
    assert [sign for sign in SIGNS if answers[sign] is True] == holds
    assert [sign for sign in SIGNS if answers[sign] is None] == unknown


NUMBERS = st.integers(-5, 5)


@st.composite
def quantities(draw: st.DrawFn) -> Quantity:
    first, second = sorted((draw(NUMBERS), draw(NUMBERS)))
    sign = draw(st.sampled_from(["", "<", "<=", ">", ">=", "-"]))
    return (
        Quantity(Decimal(first), Decimal(second)) if sign == "-" else bounded(sign, Decimal(first))
    )


def holds_for(quantity: Quantity, number: Decimal) -> bool:
    low, high = quantity.low, quantity.high
    above = low is None or (number > low if quantity.low_open else number >= low)
    return above and (high is None or (number < high if quantity.high_open else number <= high))


@given(quantities(), quantities(), st.sampled_from(SIGNS))
def test_an_answer_is_that_of_every_pair_of_numbers_meant(
    left: Quantity, right: Quantity, sign: str
) -> None:
    operators = {
        "=": Decimal.__eq__, "!=": Decimal.__ne__, "<": Decimal.__lt__, "<=": Decimal.__le__,
        ">": Decimal.__gt__, ">=": Decimal.__ge__,
    }  # fmt: skip
    candidates = [Decimal(n) / 4 for n in range(-30, 31)]
    pairs = [
        operators[sign](a, b)
        for a in candidates if holds_for(left, a)
        for b in candidates if holds_for(right, b)
    ]  # fmt: skip
    answer = compare_quantities(left, sign, right)
    assert answer == (None if len(set(pairs)) > 1 else pairs[0])


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=5
    )
)
def test_a_decimal_is_read_with_point_and_printed_without_exponent(number: Decimal) -> None:
    text = f"{number:f}"
    assert read_number(text) == number
    assert quantity_text(exactly(number)) == text
    assert read_number(text.replace(".", ",")) in (number, None)


@given(st.text(alphabet="0123456789.,<>=-+^ ≤x", max_size=12))
def test_any_text_is_a_quantity_or_none(text: str) -> None:
    quantity = quantity_of(text)
    if quantity is not None:
        assert quantity_of(quantity_text(quantity)) == quantity
