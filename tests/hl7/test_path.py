"""Paths: every form is read, finds its nodes, prints as it was meant, and fails at its place."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.errors import NotationError
from ifengine.hl7.message import Message
from ifengine.hl7.path import NodeRef, parse_path

LAB = Message.parse(
    b"\r".join(
        [
            rb"MSH|^~\&|LAB|NORTH|EHR|SOUTH|20260105||ORU^R01^ORU_R01|1|P|2.5.1",
            b"PID|1||71^^^N&1.2&ISO^MR~88^^^GOV^SS~^^^X^PI||Fir^Ada~Firth^A&B",
            b"ORC|RE|P1",
            b"OBR|1|P1||CBC",
            b"NTE|1||about the order",
            b"OBX|1|NM|718-7^Hb||13.1|||N",
            b"NTE|1||about the value",
            b"OBX|2|NM|2345-7^Glu||9.9|||HH",
            b"ORC|RE|P2",
            b"OBR|2|P2||K",
            b"OBX|1|NM|2823-3^K||||L",
            b'OBX|2|ST|X||""',
            b"ZLB|a^b|",
            b"",
        ]
    )
)


def at(segment: int | None) -> SimpleNamespace:
    return SimpleNamespace(message=LAB, segment=segment, variables={}, table=None)


@pytest.mark.parametrize(
    ("text", "value", "values"),
    [
        ("PID-5.1", "Fir", ["Fir", "Firth"]),
        ("PID-3[2].4", "GOV", ["GOV"]),
        ("PID-3(2).4", "GOV", ["GOV"]),
        ("PID-3.4.2", "1.2", ["1.2", "", ""]),
        ("PID-3(where .5 = MR).1", "71", ["71"]),
        ("PID-3(where .4.2 = 1.2).1", "71", ["71"]),
        ("PID-3(where .5 in [PI, SS]).1", "88", ["88", ""]),
        ("PID-3[last].5", "PI", ["PI"]),
        ("PID-3[4].1", None, []),
        ("OBX[3]-5", None, [""]),
        ("OBX[4]-5", '""', ['""']),
        ("OBX[last]-2", "ST", ["ST"]),
        ("OBX[*]-1", "1", ["1", "2", "1", "2"]),
        ("OBX-8", "N", ["N", "HH", "", ""]),
        ("OBX(where OBX-3.1 = 2345-7)-5", "9.9", ["9.9"]),
        ("OBR[2]/OBX[*]-3.1", "2823-3", ["2823-3", "X"]),
        ("OBR[1]/NTE-3", "about the order", ["about the order"]),
        ("OBX[1]/NTE[*]-3", "about the value", ["about the value"]),
        ("ORC(where ORC-2 = P2)/OBR-4", "K", ["K"]),
        ("ZLB-1.2", "b", ["b"]),
        ("ZLB-1", "a^b", ["a^b"]),
        ("AL1-3", None, []),
        ("PV1-19.1", None, []),
        ("MSH-1", "|", ["|"]),
        ("MSH-2", "^~\\&", ["^~\\&"]),
        ("MSH-9.2", "R01", ["R01"]),
    ],
)
def test_a_path_reads_the_first_and_gives_every_occurrence(
    text: str, value: str | None, values: list[str]
) -> None:
    path = parse_path(text)
    assert path.read(LAB) == value
    assert path.values(LAB) == values


@pytest.mark.parametrize(
    ("text", "positions"),
    [("OBX", [5, 7, 10, 11]), ("OBX[2]", [7]), ("Z*", [12]), ("OBR[2]/OBX", [10, 11]), ("NK1", [])],
)
def test_a_bare_segment_means_all_of_its_name(text: str, positions: list[int]) -> None:
    assert parse_path(text).positions(LAB) == positions


@pytest.mark.parametrize(
    ("current", "text", "positions"),
    [
        (7, "OBX-5", [7]),
        (7, "OBR-4", [3]),
        (10, "ORC-2", [8]),
        (10, "NTE-3", []),
        (5, "NTE-3", [6]),
        (3, "OBX-8", [5, 7]),
        (3, "NTE-3", [4]),
        (8, "OBX-1", [10, 11]),
        (11, "PID-3", [1]),
        (11, "MSH-10", [0]),
        (11, "ZLB-1", [12]),
    ],
)
def test_inside_a_loop_names_mean_what_belongs_to_this_segment(
    current: int, text: str, positions: list[int]
) -> None:
    assert parse_path(text).positions(LAB, at(current)) == positions


def test_an_order_control_of_another_order_is_not_this_ones() -> None:
    message = Message.parse(
        rb"MSH|^~\&|||||||ORU^R01|1|P|2.5" + b"\rPID|1\rORC|RE|A\rOBR|1\rOBX|1\rOBR|2\rOBX|1\r"
    )
    scope = SimpleNamespace(message=message, segment=6, variables={}, table=None)
    assert parse_path("ORC-2").read(message, scope) is None
    scope.segment = 4
    assert parse_path("ORC-2").read(message, scope) == "A"


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("PID-3", [NodeRef(1, 3, None, None, None)]),
        ("PID-3.1", [NodeRef(1, 3, 1, 1, None)]),
        ("PID-3[*].1", [NodeRef(1, 3, r, 1, None) for r in (1, 2, 3)]),
        ("PID-3[5]", [NodeRef(1, 3, 5, None, None)]),
        ("PID-3(where .5 = SS)", [NodeRef(1, 3, 2, None, None)]),
        ("PID-3(where .5 = ZZ)", []),
        ("PID-9[last].2", [NodeRef(1, 9, 1, 2, None)]),
        ("OBX-5", [NodeRef(5, 5, None, None, None)]),
        ("OBX[*]-5", [NodeRef(i, 5, None, None, None) for i in (5, 7, 10, 11)]),
        ("AL1-3", []),
    ],
)
def test_a_write_goes_where_the_language_says(text: str, nodes: list[NodeRef]) -> None:
    assert parse_path(text).nodes(LAB) == nodes


def test_in_place_means_every_occurrence_that_is_there() -> None:
    found = parse_path("OBX-5").nodes(LAB, every=True)
    assert [(node.segment, node.repetition) for node in found] == [(5, 1), (7, 1), (11, 1)]
    assert len(parse_path("PID-3.1").nodes(LAB, every=True)) == 3


@pytest.mark.parametrize(
    ("text", "offset", "message", "hint"),
    [
        ("PID.5.1", 3, "did not expect", "fields are written with a dash: PID-5"),
        ("PID-5-2", 5, 'did not expect "-2" after PID-5', "with a dot: PID-5.2"),
        ("PID-5^1", 5, 'did not expect "^1" after PID-5', "with a dot: PID-5.1"),
        ("PID-3[0].1", 6, "count from 1", "[1] is the first"),
        ("PID-0", 4, "count from 1", "PID-1"),
        ("pid-5", 0, "capitals", "PID-5"),
        ("PID-", 3, "a field number is missing", "PID-1"),
        ("PID-5.", 5, "a number is missing", "PID-5.1"),
        ("PID-3[x]", 5, 'did not expect "x"', "(where …)"),
        ("PID-3[2", 5, "a [ without its ]", ""),
        ("PID-3(where .5 = MR", 5, "a ( without its )", ""),
        ("PID-3[where .5 = MR]", 5, "did not expect", "round brackets"),
        ("PID-3(where .5 == MR)", 15, "single =", ""),
        ("PID-5~2", 5, "did not expect", "PID-5[2]"),
        (".5", 0, "begins with a segment", ""),
        ("Z*/OBX", 0, "no segments under it", ""),
        ("", 0, "missing", "PID-5.1"),
        ("name", 0, "three characters", "PID-5.1"),
    ],
)
def test_a_mistake_is_shown_at_its_place_with_a_hint(
    text: str, offset: int, message: str, hint: str
) -> None:
    with pytest.raises(NotationError) as caught:
        parse_path(text)
    assert caught.value.offset == offset
    assert message in caught.value.message
    assert hint in caught.value.hint


def error_of(text: str) -> NotationError | None:
    try:
        parse_path(text)
    except NotationError as error:
        return error
    return None


_NAMES = st.sampled_from(["PID", "OBX", "OBR", "NK1", "ZPI", "MSH"])
_INDEXES = st.sampled_from(["", "[1]", "[3]", "[last]", "[*]"])
_SEGMENTS = st.builds("".join, st.tuples(_NAMES, _INDEXES | st.just("(where OBX-3.1 = A)")))
_PARTS = st.sampled_from(["", ".1", ".12.3"])
_FIELDS = st.builds(
    lambda n, index, parts: f"-{n}{index}{parts}",
    st.integers(1, 99),
    _INDEXES | st.just("(where .5 in [MR, PI] and .4 exists)"),
    _PARTS,
)
PATHS = st.builds(
    lambda parent, segment, field: f"{parent}{segment}{field}",
    st.just("") | st.builds(lambda s: s + "/", _SEGMENTS),
    _SEGMENTS,
    st.just("") | _FIELDS,
)


@given(PATHS)
def test_a_path_prints_as_what_it_was_read_from(text: str) -> None:
    path = parse_path(text)
    assert str(path) == text
    assert parse_path(str(path)) == path


@given(PATHS)
def test_no_path_fails_on_a_message_whatever_it_holds(text: str) -> None:
    path = parse_path(text)
    path.read(LAB)
    path.values(LAB)
    path.nodes(LAB, every=True)
    for i in range(13):
        path.nodes(LAB, at(i))
        path.read(LAB, at(i))


@given(st.text(alphabet="PIDOBXZ*-.[]()0123456789 ^~/where=last&\"'$é\n", max_size=30))
def test_any_text_is_a_path_or_an_error_inside_the_text(text: str) -> None:
    error = error_of(text)
    assert error is None or 0 <= error.offset <= max(len(text) - 1, 0)


@given(PATHS, st.text(alphabet="-.^[(x0~/ ", min_size=1, max_size=3), st.integers(0, 60))
def test_a_damaged_path_is_an_error_inside_the_text(text: str, damage: str, place: int) -> None:
    place = min(place, len(text))
    damaged = text[:place] + damage + text[place:]
    error = error_of(damaged)
    assert error is None or 0 <= error.offset < len(damaged)


_VALUES = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12
) | st.sampled_from(["a|b^c~d&e", "\r\nOBX|9", "\x0b\x1c", "~~", "x\\y", '""'])
_WRITABLE = st.sampled_from(
    ["PID-3", "PID-3.1", "PID-3[2].4", "PID-3[2].4.3", "PID-30[3].2.2", "OBX[2]-5", "OBX[last]-5.3",
     "OBR[2]/OBX[2]-7", "PID-3(where .5 = SS).1", "ZLB-1.2", "MSH-10", "OBX(where OBX-3.1 = X)-5[2]"]
)  # fmt: skip


@given(_WRITABLE, _VALUES)
def test_a_value_set_at_a_path_is_read_there_again_and_nothing_else_changed(
    text: str, value: str
) -> None:
    path = parse_path(text)
    message = LAB.copy()
    nodes = path.nodes(message)
    assert nodes
    for node in nodes:
        message.set_text(*node, value)
    again = Message.parse(message.encode())
    assert again.names() == LAB.names()
    written = {(node.segment, node.field) for node in nodes}
    for node in nodes:
        assert again.text(*node) == value or "\\" in value
    for i in range(len(LAB.names())):
        for f in range(1, LAB.field_count(i) + 1):
            if (i, f) not in written:
                assert again.raw(i, f) == LAB.raw(i, f)
