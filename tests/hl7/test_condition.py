"""Conditions: what they say about a message, and where they are wrong."""

import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.errors import NotationError
from ifengine.hl7.condition import parse_condition
from ifengine.hl7.message import Message

RAW = b"\r".join(
    [
        rb"MSH|^~\&|LAB^1.2^ISO|NORTH|EHR||20260105101500+0100||ADT^A01^ADT_A01|1|P^T|2.5.1",
        b'PID|1||71^^^N^MR~88^^^GOV^SS||Fir ^Ada||1980|M|""|F^Female|||1,5||S&T^x',
        b"PV1|1|I|4W^401^A|||^^^|Smith \\T\\ Sons|7.50|0012|20260105|20260105103000",
        b"NK1|1|Fir^Eva|SPO",
        b"OBX|1|NM|718-7^Hb||13.1|||N|||F",
        b"OBX|2|NM|2345-7^Glu||>500|||HH|||",
        b"OBX|3|NM|X||20000101|||L|||F",
        b"",
    ]
)
MESSAGE = Message.parse(RAW)


class OneTable:
    def contains(self, value: str) -> bool:
        return value in ("4W", "MR")


def scope(message: Message = MESSAGE, segment: int | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        message=message, segment=segment, variables={"ward": "4W"}, table=lambda name: OneTable()
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # composite fields compare by their first component (safety-rules.md 21)
        ("MSH-11 = P", True),
        ("MSH-11 = P^T", True),
        ("MSH-11 = P^X", False),
        ("MSH-11 != P", False),
        ("MSH-3 in [LAB, RIS]", True),
        ("MSH-3 in [LAB^9.9^ISO]", False),
        ("MSH-3 in [LAB^1.2^ISO, RIS]", True),
        ("PV1-3 in table wards", True),
        ("PV1-3 not in table wards", False),
        ("PID-10 starts with F", True),
        ("PID-10 contains Female", False),
        ("PID-15 = S", True),
        ("MSH-9 = ADT^A01", False),
        ("MSH-9.1 = ADT", True),
        ('PV1-7 = "Smith & Sons"', True),
        # empty, null and absent are three things
        ("PID-8 is empty", False),
        ("PID-9 is empty", False),
        ("PID-9 is null", True),
        ("PID-9 exists", True),
        ("PID-9 = M", False),
        ("PID-8 is not null", True),
        ("PID-40 is empty", True),
        ("PID-40 exists", False),
        ("PID-40 is null", False),
        ("PID-40 = M", False),
        ("PID-40 != M", True),
        ("PV1-6 is empty", True),
        ("PV1-6 exists", False),
        ("NK1 exists", True),
        ("AL1 is empty", True),
        ("AL1-3 = X", False),
        # numbers, times, text
        ("PV1-8 = 7.5", True),
        ('PV1-8 = "7.5"', False),
        ("PV1-9 = 12", True),
        ('PV1-9 = "12"', False),
        ("PV1-8 > 7", True),
        ("PV1-8 >= 7.5", True),
        ("PV1-8 <= 7.4", False),
        ("OBX[2]-5 > 100", False),
        ("OBX[2]-5 <= 100", False),
        ("OBX[2]-5 != 100", True),
        ("OBX[1]-5 is number", True),
        ("OBX[2]-5 is number", False),
        ("PID-13 is not number", True),
        # a count of twenty million is no date where a short number is asked
        ("OBX[3]-5 > 2000", True),
        # partial dates beyond common precision are false both ways (safety-rules.md 26)
        ("PID-7 < 19810101", True),
        ("PID-7 > 19791231", True),
        ("PID-7 < 19800215", False),
        ("PID-7 > 19800215", False),
        ("PID-7 = 19800215", False),
        ("PID-7 != 19800215", False),
        ("PID-7 >= 19800215", False),
        ("PID-7 = 1980", True),
        ("PV1-10 < PV1-11", False),
        ("PV1-10 < 20260106", True),
        ("PV1-10 is date", True),
        ("PV1-9 is date", False),
        ("MSH-7 = 20260105091500+0000", True),
        ("MSH-7 < 20260105101500+0000", True),
        ("MSH-7 < 20260105101501", False),
        ("MSH-7 < 20260201", True),
        # words
        ("PID-5.2 matches /^ad/i", True),
        ("PID-5.2 matches /^ad/", False),
        ("PID-5.2 not matches /^ad/", True),
        ("PID-5.1 ends with ' '", True),
        ("PV1-3.2 starts with 40", True),
        ("PID-5.2 contains d", True),
        ("PID-5.2 contains PID-40", False),
        ("$ward = 4W", True),
        ("PV1-3.1 = $ward", True),
        ("$nothing is empty", True),
        ("$msg.type = ADT^A01", True),
        # quantifiers
        ("any OBX-8 = HH", True),
        ("no OBX-8 = HH", False),
        ("all OBX-8 in [N, HH, L]", True),
        ("all OBX-11 = F", False),
        ("any OBX-11 is empty", True),
        ("no AL1-3 exists", True),
        ("all AL1-3 = X", False),
        ("any PID-3.5 = SS", True),
        ("PID-3.5 = SS", False),
        ("any PID-3 = 88", True),
        # combination
        ("PV1-2 = I and PID-8 = F or PID-8 = M", True),
        ("PV1-2 = I and (PID-8 = F or PID-5.2 = Ada)", True),
        ("not PV1-2 = I or PID-8 = M", True),
        ("not (PV1-2 = I or PID-8 = M)", False),
        ("not not PV1-2 = I", True),
        ("PID-3(where .5 = SS).1 = 88 and OBX(where OBX-8 = L)-3 = X", True),
    ],
)
def test_a_condition_holds_exactly_when_the_language_says(text: str, expected: bool) -> None:
    assert parse_condition(text).holds(scope()) is expected


def test_a_condition_means_the_segment_the_loop_is_at() -> None:
    condition = parse_condition("OBX-8 = HH")
    assert [condition.holds(scope(segment=i)) for i in (4, 5, 6)] == [False, True, False]


def test_other_delimiters_compare_like_the_usual_ones() -> None:
    message = Message.parse(RAW.replace(b"^", b"#").replace(b"~", b"@").replace(b"&", b"+"))
    assert parse_condition("MSH-11 = P").holds(scope(message))
    assert parse_condition("MSH-11 = P^T").holds(scope(message))
    assert parse_condition("any PID-3 = 88^^^GOV^SS").holds(scope(message))


def test_paths_compare_whole_where_both_have_parts_and_by_the_first_leaf_else() -> None:
    message = Message.parse(
        rb"MSH|^~\&|||||||ADT^A40|1|P|2.5" + b"\rPID|1||7^^^A^MR|7^^^B^MR|7\rMRG|7^^^A^MR\r"
    )
    assert parse_condition("PID-3 = MRG-1").holds(scope(message))
    assert not parse_condition("PID-4 = MRG-1").holds(scope(message))
    assert parse_condition("PID-5 = MRG-1").holds(scope(message))


@pytest.mark.parametrize(
    ("text", "offset", "message", "hint"),
    [
        ("PV1-2 == I", 6, "use a single = to compare", ""),
        ("PV1-2 <> I", 6, "!=", ""),
        ("PV1-2 = I && PV1-3 = x", 10, "&&", "and, or"),
        ("PV1-2 = I OR PV1-2 = E", 10, "small letters", ""),
        ("PV1-2 = COV-19", 8, "no segment", 'quote it if it is text: "COV-19"'),
        ("PV1-2 = PID-5-1", 13, 'did not expect "-1"', "PID-5.1"),
        ("PV1-2 = PID.5", 11, 'did not expect ".5"', "PID-5"),
        ("PV1.2 = I", 3, 'did not expect ".2"', "PV1-2"),
        ("pv1-2 = I", 0, "capitals", "PV1-2"),
        ("PV1-2[0] = I", 6, "count from 1", ""),
        ("PV1-2 in I", 9, "a list or a table", "[A, B]"),
        ("PV1-2 in [I, E", 9, "a [ without its ]", ""),
        ("PV1-2 in [I E]", 12, 'did not expect "E"', "comma"),
        ("PV1-2", 4, "not finished", ""),
        ("PV1-2 =", 6, "a value is missing", ""),
        ("PV1-2 = and PV1-3 = x", 8, "a value is missing", ""),
        ('PV1-2 = "x', 8, "not closed", ""),
        ('PV1-2 = ""', 8, "neither empty nor null", "is null"),
        ("NK1 = x", 3, "only exists", "NK1-1"),
        ("ward = 1", 0, "is no path", ""),
        ("(PV1-2 = I", 0, "without its )", ""),
        ("PV1-2 = I)", 9, 'did not expect ")"', ""),
        ("PV1-2 exist", 6, 'did not expect "exist"', 'did you mean "exists"?'),
        ("PV1-2 is foo", 9, "empty, null, number or date", ""),
        ("PV1-2 matches I", 14, "between slashes", ""),
        ("PV1-2 matches /(a/", 15, "a ( without its )", ""),
        ("PV1-2 matches /a(?=b)/", 16, "lookaround", ""),
        (r"PV1-2 matches /(a)\1/", 18, "backreferences", ""),
        ("any 5 = 5", 0, "followed by a path", ""),
        ("$ = 5", 0, "a name follows", ""),
        (".5 = MR", 0, "is no path", ""),
        ("", 0, "missing", ""),
    ],
)
def test_a_mistake_in_a_condition_is_shown_at_its_place(
    text: str, offset: int, message: str, hint: str
) -> None:
    with pytest.raises(NotationError) as caught:
        parse_condition(text)
    error = caught.value
    assert message in error.message
    assert hint in error.hint
    assert error.offset == offset
    assert 0 <= error.offset <= max(len(text) - 1, 0)


def test_a_relative_path_belongs_to_where_only() -> None:
    condition = parse_condition(".5 in [MR, PI]", relative=True)
    assert [path.text for path in condition.paths()] == [".5"]
    with pytest.raises(NotationError):
        parse_condition(".5 in [MR, PI]")


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("PV1-2 = I and PID-8 = F or PID-8 = M", "binds tighter"),
        ("MSH-9 = ORM^O01", "three components"),
        ("PDI-3 = 5", "no segment"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(text: str, warning: str) -> None:
    assert any(warning in found.message for found in parse_condition(text).warnings)


@pytest.mark.parametrize(
    "text",
    ["PV1-2 = I and (PID-8 = F or PID-8 = M)", "MSH-9.2 = A01", "ZPI-1 = VIP", "MSH-9 = ADT"],
)
def test_what_is_said_clearly_has_no_warning(text: str) -> None:
    assert parse_condition(text).warnings == ()


def test_a_condition_says_what_it_reads() -> None:
    condition = parse_condition(
        "PID-3(where .5 = MR).1 in table known and any OBX-8 = $flag and NK1-3 = SPO"
    )
    assert [path.text for path in condition.paths()] == [
        "PID-3(where .5 = MR).1", ".5", "OBX-8", "NK1-3",
    ]  # fmt: skip
    assert [path.text for path in condition.unsaid_paths()] == ["PID-3(where .5 = MR).1", "NK1-3"]
    assert condition.table_names() == ("known",)
    assert condition.variables() == ("flag",)


def test_a_comparison_without_answer_is_named_without_its_value() -> None:
    notes = parse_condition("OBX[2]-5 > 100 or PID-7 < 19800215").notes(scope())
    assert len(notes) == 2
    assert notes[0].startswith("OBX[2]-5 > 100:")
    assert not any(">500" in note for note in notes)


def test_nested_quantifiers_do_not_explode_on_fifty_kilobytes() -> None:
    long = Message.parse(RAW.replace(b"13.1", b"a" * 50_000 + b"!"))
    began = time.perf_counter()
    for expression in ("(a+)+$", "^(a|a)*$", "(a*)*b", "a*a*a*a*a*b"):
        assert not parse_condition(f"OBX[1]-5 matches /{expression}/").holds(scope(long))
    assert time.perf_counter() - began < 5


_OPERANDS = st.sampled_from(["PID-5.1", "PID-3(where .5 = MR).1", "$ward", "OBX[*]-5", "MSH-9.2"])
_WORDS = st.sampled_from(["I", "7.5", '"two words"', "ADT^A01", "$ward", "PV1-3", '"a\\"b\\\\"'])
_CHECKS = st.one_of(
    st.builds("{} {}".format, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), _WORDS),
    st.builds("in [{}, {}]".format, _WORDS, _WORDS),
    st.builds("not in [{}]".format, _WORDS),
    st.builds("{} {}".format, st.sampled_from(["starts with", "ends with", "contains"]), _WORDS),
    st.sampled_from(
        ["exists", "is empty", "is not empty", "is null", "is not null", "is number", "is date",
         "in table wards", "not in table wards", "matches /^a\\/b[0-9]+$/i", "not matches /x/"]
    ),
)  # fmt: skip
_TESTS = st.builds("{} {}".format, _OPERANDS, _CHECKS) | st.builds(
    "{} OBX-8 {}".format, st.sampled_from(["any", "all", "no"]), _CHECKS
)
CONDITIONS = st.recursive(
    _TESTS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=5,
)


@given(CONDITIONS)
def test_a_condition_prints_as_one_that_means_the_same(text: str) -> None:
    condition = parse_condition(text)
    again = parse_condition(str(condition))
    assert str(again) == str(condition)
    assert again.holds(scope()) == condition.holds(scope())


@given(CONDITIONS)
def test_not_is_the_opposite(text: str) -> None:
    assert parse_condition(f"not ({text})").holds(scope()) != parse_condition(text).holds(scope())


@given(CONDITIONS, st.text(alphabet="=()[]\"'/$,.x <!&|", max_size=3), st.integers(0, 80))
def test_a_damaged_condition_is_an_error_inside_the_text(
    text: str, damage: str, place: int
) -> None:
    place = min(place, len(text))
    damaged = text[:place] + damage + text[place:]
    error = error_of(damaged)
    assert error is None or 0 <= error.offset < len(damaged)


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_an_error_inside_the_text(text: str) -> None:
    error = error_of(text)
    assert error is None or 0 <= error.offset <= max(len(text) - 1, 0)


def error_of(text: str) -> NotationError | None:
    try:
        parse_condition(text)
    except NotationError as error:
        return error
    return None


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    for text in ("(" * 5000 + "PV1-2 = I", "not " * 5000 + "PV1-2 = I"):
        with pytest.raises(NotationError):
            parse_condition(text)
    with pytest.raises(NotationError):
        parse_condition("PID-3(where " * 3000 + "x")
