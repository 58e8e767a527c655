"""What can never happen is said; what may happen is not."""

import pytest

from ifengine.hl7.condition import parse_condition
from ifengine.transforms.reaching import Types, check_branches, check_condition, meet
from ifengine.transforms.source import Position, Problems, Text


def written(text: str, line: int = 1) -> Text:
    return Text(text, Position("x.yaml", line, 9))


@pytest.mark.parametrize(
    ("condition", "types", "may_hold"),
    [
        ("MSH-9.2 = A40", (("ADT", "A01"), ("ADT", "A40")), True),
        ("MSH-9.2 = A40", (("ADT", "A01"),), False),
        ("MSH-9.2 = A40", (("ADT", "*"),), True),
        ("MSH-9.2 = A40", (("*", "*"),), True),
        ("MSH-9.2 = A40", None, True),
        ("MSH-9.1 = ORU", (("ADT", "*"),), False),
        ("MSH-9.1 = ORU or PV1-2 = I", (("ADT", "*"),), True),
        ("MSH-9.1 = ADT and MSH-9.2 = R01", (("ADT", "A01"), ("ORU", "R01")), False),
        ("MSH-9.1 != ADT", (("ADT", "A01"),), False),
        ("not MSH-9.2 in [A01]", (("ADT", "A01"),), False),
        ("MSH-9.1 starts with OR", (("ADT", "A01"),), True),  # not understood: nothing is said
        ("PV1-2 = I and PV1-2 = O", None, False),
    ],
)
def test_a_condition_that_never_holds_is_said(
    condition: str, types: Types | None, may_hold: bool
) -> None:
    problems = Problems()
    text = written(condition)
    assert check_condition(parse_condition(condition), text, types, problems) == may_hold
    found = [(problem.code, problem.position) for problem in problems.found]
    assert found == ([] if may_hold else [("W251", text.position)])


@pytest.mark.parametrize(
    ("conditions", "unreached"),
    [
        (["PV1-2 = I", "PV1-2 = I"], [2]),
        (["PV1-2 in [I, E]", "PID-8 = F", "PV1-2 = E"], [3]),
        (["PV1-2 = I", "PV1-2 = I", "PV1-2 = I and PID-8 = F"], [2, 3]),
        (["PV1-2 = I and PID-8 = F", "PV1-2 = I"], []),
        (["any OBX-8 = HH", "any OBX-8 = LL"], []),
        (["PV1-2 = I and PV1-2 = O", "PV1-2 = I"], []),
    ],
)
def test_a_branch_behind_one_that_is_always_taken_is_said(
    conditions: list[str], unreached: list[int]
) -> None:
    problems = Problems()
    texts = [written(text, line) for line, text in enumerate(conditions, 1)]
    check_branches([(parse_condition(t.value), t) for t in texts], problems)
    assert [(p.code, p.position.line) for p in problems.found] == [("W250", n) for n in unreached]


def test_a_branch_that_could_not_be_read_says_nothing_of_the_others() -> None:
    problems = Problems()
    one = written("PV1-2 = I")
    check_branches([(None, None), (parse_condition(one.value), one)], problems)
    assert problems.found == []


@pytest.mark.parametrize(
    ("first", "second", "may"),
    [
        ("PV1-2 = I", "PV1-2 = O", False),
        ("PV1-2 = I", "PID-8 = F", True),
        ("PV1-2 in [I, E]", "PV1-2 = E and PID-8 = F", True),
    ],
)
def test_two_conditions_meet_or_not(first: str, second: str, may: bool) -> None:
    assert meet(parse_condition(first), parse_condition(second)) == may
