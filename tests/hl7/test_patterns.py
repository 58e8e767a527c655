"""Expressions agree with the standard library's on the subset, and take linear time."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.errors import NotationError
from ifengine.hl7.patterns import MAX_REPLACED, MAX_SUBJECT, Pattern

_ATOMS = st.sampled_from(
    ["a", "b", "1", ".", "[ab]", "[^a]", "[a-c1]", r"\d", r"\w", r"\S", r"\.", "-"]
)
EXPRESSIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds(
            "(?:{}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])
        ),
        st.builds("^{}".format, inner),
        st.builds("{}$".format, inner),
    ),
    max_leaves=6,
)
SUBJECTS = st.text(alphabet="abc1.- \n", max_size=8)


@given(EXPRESSIONS, SUBJECTS)
def test_a_search_finds_what_the_standard_library_finds(expression: str, subject: str) -> None:
    # "$" is the very end here: HL7 values have no final line break to forgive
    theirs = re.search(expression.replace("$", r"\Z"), subject, re.ASCII)
    assert Pattern(expression).search(subject) == (theirs is not None)


@given(EXPRESSIONS, SUBJECTS)
def test_spans_are_matches_in_order_and_cover_the_first(expression: str, subject: str) -> None:
    pattern = Pattern(expression)
    spans = pattern.spans(subject) or []
    ends = [end for span in spans for end in span]
    assert ends == sorted(ends)
    assert all(start < end for start, end in spans)
    theirs = re.finditer(expression.replace("$", r"\Z"), subject, re.ASCII)
    nonempty = [match.span() for match in theirs if match.end() > match.start()]
    if nonempty:
        # leftmost, and longest where theirs takes the first alternative
        assert spans[0][0] <= nonempty[0][0]
        assert spans[0] >= nonempty[0] or spans[0][0] < nonempty[0][0]


# every part of these takes a character: how a repeated nothing counts is nobody's agreement
GROUPED = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds("({})".format, inner),
        st.builds("(?:{}){}".format, inner, st.sampled_from(["+", "{2}", "{1,3}", "{2,}"])),
        st.builds("^{}".format, inner),
        st.builds("{}$".format, inner),
    ),
    max_leaves=6,
)


@given(GROUPED, st.sampled_from(["", "?", "*"]), SUBJECTS)
def test_groups_hold_what_they_hold_in_the_standard_library(
    expression: str, often: str, subject: str
) -> None:
    expression = f"({expression}){often}b?(.)?"
    theirs = re.search(expression.replace("$", r"\Z"), subject, re.ASCII)
    assert theirs is not None or Pattern(expression, groups=True).captures(subject) == ()
    if theirs is not None:
        found = Pattern(expression, groups=True).captures(subject)
        assert found == (theirs.group(0), *theirs.groups())


def test_groups_are_counted_by_their_opening_and_a_text_has_a_cap() -> None:
    pattern = Pattern("(a(?:x)(b)){2}|(c)", groups=True)
    assert pattern.group_count == 3
    assert pattern.captures("axbaxb") == ("axbaxb", "axb", "b", None)
    assert pattern.captures("a" * (MAX_REPLACED + 1)) == ()
    assert Pattern("(a)").group_count == 0


def test_capturing_takes_linear_time() -> None:
    began = time.perf_counter()
    assert Pattern("((a+)+)+$(b)", groups=True).captures("a" * MAX_REPLACED) == ()
    assert time.perf_counter() - began < 20


def test_capitals_do_not_count_when_they_are_told_not_to() -> None:
    assert Pattern("^ab[c-e]$", fold=True).search("ABD")
    assert not Pattern("^ab[c-e]$").search("ABD")


@pytest.mark.parametrize(
    "expression", ["(a+)+$", "^(a|aa)+$", "(a*)*b", "a*a*a*a*a*a*b", "(.*)(.*)(.*)x"]
)
def test_no_expression_explodes(expression: str) -> None:
    began = time.perf_counter()
    Pattern(expression).search("a" * 50_000 + "!")
    assert time.perf_counter() - began < 20  # backtracking would outlast the universe


def test_a_text_past_the_cap_does_not_match() -> None:
    assert Pattern("a").search("a" * MAX_SUBJECT)
    assert not Pattern("a").search("a" * (MAX_SUBJECT + 1))
    assert Pattern("a").spans("a" * (MAX_REPLACED + 1)) is None


@pytest.mark.parametrize(
    ("expression", "offset", "rule"),
    [
        ("(a", 0, "without its )"),
        ("a)", 1, "without its ("),
        ("[a", 0, "without its ]"),
        ("*a", 0, "nothing to repeat"),
        ("a**", 2, "one quantifier"),
        ("a{2", 1, "counts"),
        ("a{3,2}", 1, "counts"),
        ("a{9999}", 1, "counts"),
        (r"(a)\1", 3, "backreferences"),
        ("(?=a)", 0, "lookaround"),
        ("(?P<n>a)", 0, "named groups"),
        (r"\b", 0, "not part of this notation"),
        ("[z-a]", 1, "small to large"),
        ("((((a{200}){200}){200}){200})", 0, "too large"),
        ("(" * 60, 50, "too deep"),
        ("a" * 501, 500, "at most"),
    ],
)
def test_what_is_not_in_the_subset_is_refused_at_its_place(
    expression: str, offset: int, rule: str
) -> None:
    with pytest.raises(NotationError) as caught:
        Pattern(expression)
    assert rule in caught.value.message
    if rule != "too large":
        assert caught.value.offset == offset


@given(st.text(alphabet="ab\\dw[]()^$.*+?{}|,-12:=", max_size=20))
def test_any_text_is_an_expression_or_an_error(text: str) -> None:
    try:
        pattern = Pattern(text)
    except NotationError:
        return
    pattern.search("ab12")
    pattern.spans("ab12")
