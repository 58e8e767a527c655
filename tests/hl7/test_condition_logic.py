"""What is said of conditions without a message must be so of every message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.hl7.condition import parse_condition
from ifengine.hl7.condition_logic import Choice, Clause, clauses_of, covers, never_hold
from ifengine.hl7.message import Message


def clauses(text: str) -> tuple[Clause, ...]:
    found = clauses_of(parse_condition(text))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "text",
    [
        "PV1-2 = I and PV1-2 = O",
        "PV1-2 in [I, E] and not PV1-2 in [E, I]",
        "PV1-2 = I and (PV1-2 = O or PV1-2 = E)",
        "PV1-2 = I and PV1-2 not in [I, E]",
        "any OBX-8 = HH and not any OBX-8 = HH",
        "not (PV1-2 = I or PV1-2 != I)",
    ],
)
def test_a_contradiction_never_holds(text: str) -> None:
    assert never_hold(clauses(text))


@pytest.mark.parametrize(
    "text",
    [
        "PV1-2 = I and PV1-3 = O",
        "any OBX-8 = HH and any OBX-8 = LL",
        "PV1-2 != I and PV1-2 != O",
        "PID-3(where .5 = MR).1 = A and PID-3(where .5 = PI).1 = B",
        "OBX[1]-5 > 7 and OBX[1]-5 < 3",  # not understood, and so not called one
    ],
)
def test_what_may_hold_is_not_called_a_contradiction(text: str) -> None:
    assert not never_hold(clauses(text))


@pytest.mark.parametrize(
    ("earlier", "later", "is_covered"),
    [
        ("PV1-2 in [I, E]", "PV1-2 = I", True),
        ("PV1-2 = I", "PV1-2 in [I, E]", False),
        ("PV1-2 = I", "PV1-2 = I and PID-8 = F", True),
        ("PV1-2 = I and PID-8 = F", "PV1-2 = I", False),
        ("PV1-2 = I or PID-8 = F", "PID-8 = F", True),
        ("PV1-2 != O", "PV1-2 = I", True),
        ("PV1-2 not in [O]", "PV1-2 not in [O, E]", True),
        ("PV1-2 not in [O, E]", "PV1-2 not in [O]", False),
        ("any OBX-8 = HH", "any OBX-8 = HH and PV1-2 = I", True),
        ("any OBX-8 = HH", "all OBX-8 = HH", False),
        ("$msg.type = ADT", "$msg.type = ADT", True),
    ],
)
def test_a_condition_covers_what_asks_for_more(earlier: str, later: str, is_covered: bool) -> None:
    assert covers(clauses(earlier), clauses(later)) == is_covered


def test_a_condition_with_very_many_alternatives_is_not_looked_into() -> None:
    text = " and ".join(f"(PID-{n} = A or PID-{n} = B)" for n in range(1, 12))
    assert clauses_of(parse_condition(text)) is None


_TEXTS = st.sampled_from("ABC")
_TESTS = st.builds(
    lambda path, word, texts: f"{path} {word} [{', '.join(sorted(texts))}]",
    st.sampled_from(["PV1-2", "PID-8", "any OBX-8"]),
    st.sampled_from(["in", "not in"]),
    st.sets(_TEXTS, min_size=1),
)
_CONDITIONS = st.recursive(
    _TESTS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=5,
)
_MESSAGES = [
    Message.parse(f"MSH|^~\\&|\rPID{'|' * 8}{b}\rPV1||{a}\rOBX{'|' * 8}{c}\r".encode())
    for a in ("", "A", "B", "C", "D")
    for b in ("", "A", "B", "C")
    for c in ("", "A", "B", "C")
]


class Around:
    segment = None
    now_us = None

    def __init__(self, message: Message) -> None:
        self.message = message
        self.variables: dict[str, str] = {}

    def table(self, name: str) -> object:
        raise LookupError(name)


@given(_CONDITIONS, _CONDITIONS)
def test_what_is_certain_is_so_of_every_message(first: str, second: str) -> None:
    one, two = parse_condition(first), parse_condition(second)
    mine, theirs = clauses_of(one), clauses_of(two)
    if mine is None or theirs is None:
        return
    answers = [(one.holds(Around(m)), two.holds(Around(m))) for m in _MESSAGES]
    if never_hold(mine, theirs):
        assert not any(a and b for a, b in answers)
    if never_hold(mine):
        assert not any(a for a, _ in answers)
    if covers(mine, theirs):
        assert all(a for a, b in answers if b)


@given(st.sets(_TEXTS), st.booleans(), st.sets(_TEXTS), st.booleans(), st.sampled_from("ABCD"))
def test_choices_are_sets(mine, negated, theirs, refused, text) -> None:
    one, two = Choice(frozenset(mine), negated), Choice(frozenset(theirs), refused)
    assert one.both(two).admits(text) == (one.admits(text) and two.admits(text))
    if one.within(two) and one.admits(text):
        assert two.admits(text)
