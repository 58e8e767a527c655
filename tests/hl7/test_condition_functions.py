"""Functions in conditions: numbers with what they leave open, ages, days."""

import pytest

from ifengine.errors import NotationError
from ifengine.hl7.condition import parse_condition
from transforms.written import ADT, ORU, scope_of

LAB = (
    ORU.replace(b"||13.1|||", b"||>500|mg|10-20|")
    .replace(b"||9.9|||", b"||<^5|||")
    .replace(b"||4|||", b"||1,5|||")
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("number_of(OBX[1]-5) > 400", True),
        ("number_of(OBX[1]-5) > 600", False),
        ("number_of(OBX[1]-5) <= 600", False),
        ("not number_of(OBX[1]-5) > 600", True),
        ("number_of(OBX[2]-5) < 5", True),
        ("number_of(OBX[3]-5) = 1.5", True),
        ("any number_of(OBX-5) < 2", True),
        ("all number_of(OBX-5) > 1", False),
        ("no number_of(OBX-5) > 1000", True),
        ("OBX[1]-5 > number_of(OBX[1]-7)", True),
        ("30 > number_of(OBX[1]-7)", True),
        ("number_of(OBX[1]-5) > number_of(OBX[1]-7)", True),
        ("number_of(OBX[1]-3) is number", False),
        ("number_of(OBX[1]-3) is not number", True),
        ("number_of(OBX[1]-5) is number", True),
        ("number_of(OBX[1]-3) != 3", False),
        ("number_of($limit) = 7", True),
        ("OBX(where number_of(OBX-5) < 2)-3.1 = 2823-3", True),
        ("number_of(OBX[9]-5) = 0 or number_of(OBX[9]-5) != 0", False),
    ],
)
def test_number_of_compares_what_a_result_says(text: str, holds: bool) -> None:
    scope = scope_of(LAB)
    scope.variables["limit"] = "7,0"
    condition = parse_condition(text)
    assert condition.holds(scope) is holds
    assert parse_condition(str(condition)).holds(scope) is holds
    assert str(parse_condition(str(condition))) == str(condition)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("age(PID-7) = 45", True),
        ("age(PID-7) < 18", False),
        ("age(PID-7) >= 18 and age(PID-7) <= 65", True),
        ("age(PID-30) < 18 or age(PID-30) >= 18", False),
        ("age(PID-5) != 3", False),
        ("days_until(EVN-2) = 0", True),
        ("days_until(PID-7) < 0", True),
        ("weekday(EVN-2) = mon", True),
        ("weekday(EVN-2) != mon", False),
        ("weekday(PID-7) in [thu, fri]", True),
        ("weekday(now) not in [sat, sun]", True),
        ("weekday(PID-5) != sun or weekday(PID-5) = sun", False),
        ("weekday(PID-5) not in [sun]", False),
        ("PID-3(where number_of(.1) > 80).5 = SS", True),
    ],
)
def test_ages_and_days_are_held_against_the_time_of_the_message(text: str, holds: bool) -> None:
    scope = scope_of(ADT)
    condition = parse_condition(text)
    assert condition.holds(scope) is holds
    assert str(parse_condition(str(condition))) == str(condition)


def test_a_birth_year_decides_only_what_it_can() -> None:
    scope = scope_of(ADT.replace(b"19800215", b"2008^Y"))
    answers = {text: parse_condition(text).holds(scope) for text in
               ("age(PID-7) >= 17", "age(PID-7) >= 18", "age(PID-7) < 18", "age(PID-7) < 19")}  # fmt: skip
    assert answers == {
        "age(PID-7) >= 17": True, "age(PID-7) >= 18": False,
        "age(PID-7) < 18": False, "age(PID-7) < 19": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("number_of(OBX[1]-5) > 600", "the two have no order that is certain"),
        ("number_of(OBX[1]-3) > 600", "there is no number"),
        ("OBX[1]-5 > number_of(OBX[1]-3)", "on the right there is no number"),
        ("age(PID-5) > 6", "there is no date of birth"),
        ("days_until(PID-5) > 6", "there is no date"),
        ("weekday(PID-5) = sun", "there is no date with a day"),
    ],
)
def test_a_comparison_without_an_answer_is_told(text: str, note: str) -> None:
    assert parse_condition(text).notes(scope_of(LAB)) == [f"{text}: {note}"]


def test_what_has_an_answer_is_not_noted() -> None:
    for text in (
        "number_of(OBX[1]-5) > 400",
        "number_of(OBX[1]-3) is number",
        "weekday(now) = sun",
    ):
        assert parse_condition(text).notes(scope_of(LAB)) == []


def test_functions_say_what_they_read() -> None:
    condition = parse_condition("age(PID-7) < 18 and 3 > number_of(OBX-5) and number_of($x) > 1")
    assert [path.text for path in condition.paths()] == ["PID-7", "OBX-5"]
    assert condition.variables() == ("x",)
    assert [p.text for p in parse_condition("any number_of(OBX-5) > 1").unsaid_paths()] == []
    assert [p.text for p in parse_condition("number_of(OBX-5) > 1").unsaid_paths()] == ["OBX-5"]


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("number_of(OBX-5 > 3", 0, "without its )"),
        ("number_of(5) > 3", 10, "takes a path"),
        ("age(PID-7) = old", 12, "compared with a number"),
        ('age(PID-7) = "1,500"', 12, "compared with a number"),
        ("age(PID-7) exists", 11, "did not expect"),
        ("age(PID-7)", 9, "did not expect"),
        ("age(PID) > 3", 8, "a segment only exists"),
        ("age() > 3", 4, "a value is missing"),
        ("weekday(now) = sunday", 15, "no day of the week"),
        ("weekday(now) > sun", 13, "did not expect"),
        ("weekday(PID-7) in [sun, x]", 17, "no day of the week"),
        ("weekday(PID-7) in table x", 17, "in a list"),
        ("PID-7 = weekday(now)", 7, "on the left"),
        ("any age($x) > 3", 0, "followed by a path"),
    ],
)
def test_a_mistake_in_a_function_is_shown_at_its_place(
    text: str, offset: int, message: str
) -> None:
    with pytest.raises(NotationError) as caught:
        parse_condition(text)
    assert message in caught.value.message
    assert caught.value.offset == offset
