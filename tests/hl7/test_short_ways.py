"""Plain paths and plain tests go a short way; it leads where the long one does.

The long way is forced by what it is the only one for: a condition in brackets is asked within a
scope, ``[*]`` and a loop are searched for segment by segment.
"""

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ifengine.hl7 import groups, lines
from ifengine.hl7.condition import parse_condition
from ifengine.hl7.condition_parts import Not
from ifengine.hl7.condition_parts import Test as Asked  # no test class of pytest
from ifengine.hl7.message import Message
from ifengine.hl7.path import Path, Where, parse_path
from ifengine.transforms.base import ReasonError, StepScope
from ifengine.transforms.steps.delete_segments import Shapes
from ifengine.transforms.writing import filled

VALUES = st.lists(st.sampled_from([*b"aMR1^~&\\ ", *b"^~"]), max_size=14).map(bytes)
SEGMENTS = st.lists(
    st.tuples(st.sampled_from([b"PID", b"OBX", b"ZZ1"]), st.lists(VALUES, max_size=4)), max_size=5
)
PARTS = st.sampled_from(["", ".1", ".2", ".3", ".1.1", ".2.2"])
REPETITIONS = st.sampled_from(["", "[1]", "[2]", "[last]", "[*]", "(where .2 = MR)"])
PLACES = st.tuples(st.sampled_from(["PID", "OBX"]), st.integers(1, 5), REPETITIONS, PARTS)


def message_of(segments: list[tuple[bytes, list[bytes]]]) -> Message:
    lines = [b"|".join([name, *fields]) for name, fields in segments]
    return Message.parse(b"\r".join([b"MSH|^~\\&|||||||ADT^A08|1|P|2.5", *lines, b""]))


def long_way(path: Path) -> Path:
    """Return the path without what is known of it beforehand."""
    made = dataclasses.replace(path)
    for name in ("read_at", "write_at", "leaf_at", "every_at"):
        object.__setattr__(made, name, None)
    object.__setattr__(made, "_first_only", False)
    return made


def scope_of(message: Message) -> StepScope:
    return StepScope(message, {}, 0, "1")


@given(segments=SEGMENTS, place=PLACES)
def test_a_plain_path_reads_and_writes_where_a_searched_one_does(
    segments: list[tuple[bytes, list[bytes]]], place: tuple[str, int, str, str]
) -> None:
    name, field, repetition, parts = place
    path = parse_path(f"{name}-{field}{repetition}{parts}")
    other = long_way(path)
    message = message_of(segments)
    scope = scope_of(message)
    assert path.first(message, scope) == other.first(message, scope)
    assert path.read(message, scope) == other.read(message, scope)
    assert path.read(message) == other.read(message)
    assert path.leaf(scope) == other.leaf(scope)
    node = other.first(message, scope)
    assert path.raw(message, scope) == (b"" if node is None else message.raw(*node))
    assert path.nodes(message, scope) == other.nodes(message, scope)
    every = other.nodes(message, scope, every=True)
    assert path.nodes(message, scope, every=True) == every
    assert list(filled(scope, path)) == every


@given(segments=SEGMENTS, place=PLACES)
def test_the_leaves_of_a_path_are_the_texts_of_its_occurrences(
    segments: list[tuple[bytes, list[bytes]]], place: tuple[str, int, str, str]
) -> None:
    name, field, repetition, parts = place
    path = parse_path(f"{name}-{field}{repetition}{parts}")
    message = message_of(segments)
    leaves: list[str] = []
    for i in message.indexes(name):
        one = parse_path(f"{name}[{message.indexes(name).index(i) + 1}]-{field}{repetition}{parts}")
        nodes = one.nodes(message, every=True)
        leaves += [message.text(n[0], n[1], n[2] or 1, n[3] or 1, n[4] or 1) for n in nodes]
        if not nodes and repetition in ("", "[*]"):
            leaves.append("")
    assert path.leaves(scope_of(message)) == leaves


@given(segments=SEGMENTS, text=st.sampled_from([".2 = MR", ".1 in [a, MR]", ".1 != a", ".2.2 = 1"]))
def test_repetitions_are_chosen_alike_with_and_without_a_scope_of_their_own(
    segments: list[tuple[bytes, list[bytes]]], text: str
) -> None:
    message = message_of(segments)
    part = parse_condition(text, relative=True).part
    quick, slow = Where(part), Where(Not(Not(part)))
    for i, name in enumerate(message.names()):
        for f in range(3 if name == "MSH" else 1, 6):
            chosen = slow.chosen(message, None, i, f)
            assert quick.chosen(message, None, i, f) == chosen
            assert quick.first(message, None, i, f) == (chosen[0] if chosen else 0)


@pytest.mark.parametrize("quantifier", ["any", "all", "no"])
@pytest.mark.parametrize("check", ["= MR", "!= a", "in [a, MR]", "not in [a, MR]"])
@given(segments=SEGMENTS)
def test_every_occurrence_is_asked_alike_one_by_one_and_all_at_once(
    quantifier: str, check: str, segments: list[tuple[bytes, list[bytes]]]
) -> None:
    part = parse_condition(f"{quantifier} OBX-1.1 {check}").part
    assert isinstance(part, Asked)
    scope = scope_of(message_of(segments))
    assert part.holds(scope) == part._quantified(scope)


@given(
    segments=SEGMENTS,
    values=st.lists(st.tuples(st.integers(3, 7), st.sampled_from([b"LAB", b"1"]))),
)
def test_plain_fields_are_set_at_once_as_one_by_one(
    segments: list[tuple[bytes, list[bytes]]], values: list[tuple[int, bytes]]
) -> None:
    for i in range(len(segments) + 1):
        one, other = message_of(segments), message_of(segments)
        before = one.copy()
        one.set_fields(i, values)
        for f, value in values:
            other.set_text(i, f, None, None, None, value.decode())
        assert one.header.fields[2:6] == other.header.fields[2:6]
        assert one.encode() == other.encode()
        assert before.encode() == message_of(segments).encode()


@example(names=["PID", "OBR", "OBX"])
@given(names=st.lists(st.sampled_from(["PID", "OBR", "OBX", "NTE", "ZPI", "AL1"]), max_size=7))
def test_what_is_known_of_a_sequence_of_segments_deletes_as_the_first_look_did(
    names: list[str],
) -> None:
    shapes = Shapes(lambda name: name in ("AL1", "OBR") or name[0] == "Z")

    def outcome(by: Shapes) -> bytes | str:
        message = message_of([(name.encode(), [b"1"]) for name in names])
        try:
            by.delete(scope_of(message))
        except ReasonError as error:
            return str(error)
        return message.encode()

    first = outcome(shapes)
    assert outcome(shapes) == first
    gone = {i for i, name in enumerate(names, 1) if name in ("AL1", "OBR") or name[0] == "Z"}
    assert isinstance(first, str) == bool(groups.orphans(["MSH", *names], gone))
    if isinstance(first, bytes):
        left = [name for name in names if name not in ("AL1", "OBR") and name[0] != "Z"]
        assert Message.parse(first).names() == ["MSH", *left]


def test_sequences_whose_deletions_are_remembered_do_not_fill_memory() -> None:
    shapes = Shapes(lambda name: name == "AL1")
    for number in range(2000):
        digits = f"{number:011b}"
        message = message_of([(b"AL1" if digit == "1" else b"DG1", []) for digit in digits])
        shapes.delete(scope_of(message))
        assert message.names() == ["MSH", *["DG1"] * digits.count("0")]
    shapes.delete(scope_of(message_of([(b"OBX", [])] * 5000)))
    assert len(shapes._known) <= 256
    assert all(len(known) <= 64 for known in shapes._known)


@pytest.mark.parametrize("name", [b"FHS", b"BHS"])
def test_a_header_inside_a_message_that_was_split_leaves_as_it_came(name: bytes) -> None:
    content = b"MSH|^~\\&|A||||||ADT^A08|1|P|2.5\rPV1|||X\r" + name + b"|^~\\&|B\r"
    message = Message.parse(content)
    for i in range(3):
        message.text(i, 3)
    message.set_text(1, 3, None, None, None, "Y")
    assert message.encode() == content.replace(b"|||X", b"|||Y")


# fields that are plain, and all that makes one not plain
FIELDS = [
    *(b"", b"a", b"a1^B", b"a^B~c", b"a~B^c", b"a^B&c", b"a&b", b"^a", b"a^", b"a^ b^c", b" a"),
    *(b'""', b'""^a', b"a\\T\\b^c", b"a^b\\T\\c", b"\xe9", b"a^\xe9"),
]
LOOKS = st.lists(
    st.tuples(st.integers(3, 4), st.integers(1, 3), st.integers(1, 2), st.booleans()), max_size=8
)


@given(values=st.lists(st.sampled_from(FIELDS), min_size=2, max_size=2), looks=LOOKS)
def test_leaves_that_are_remembered_are_those_of_the_field_as_it_is(
    values: list[bytes], looks: list[tuple[int, int, int, bool]]
) -> None:
    message = message_of([(b"PID", [b"", b"", *values])])
    for f, c, s, writes in looks:
        if writes:
            before = message
            message = message.copy()
            message.set_text(1, f, 1, c, None, "new")
            assert "new" not in before.leaves(1, f, c, 1) or before.text(1, f, 1, c, 1) == "new"
        count = message.repetition_count(1, f)
        texts = [message.text(1, f, r, c, s) for r in range(1, count + 1)]
        assert list(message.leaves(1, f, c, s)) == texts
        assert list(message.leaves(1, f, c, s)) == texts


EDITS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 6), st.sampled_from(["PID", "OBX", "ZZ1"])), max_size=6
)


@given(segments=SEGMENTS, edits=EDITS)
def test_segments_are_found_where_they_stand_after_every_edit(
    segments: list[tuple[bytes, list[bytes]]], edits: list[tuple[bool, int, str]]
) -> None:
    message = message_of(segments)
    for insert, at, name in edits:
        before = message.copy()
        names = message.names()
        assert message.first("PID") == (names.index("PID") if "PID" in names else -1)
        if insert:
            message.insert_segment(min(at, len(names)), name)
        elif at < len(names):
            message.delete_segments([at])
        assert before.names() == names
        for one in (message, before):
            for wanted in ("MSH", "PID", "OBX", "ZZ1", "NTE"):
                found = [i for i, present in enumerate(one.names()) if present == wanted]
                assert one.indexes(wanted) == found
                assert one.first(wanted) == (found[0] if found else -1)
    message.indexes("MSH").append(99)
    assert message.indexes("MSH") == [0]


def test_sequences_of_segments_that_are_remembered_do_not_fill_memory() -> None:
    for number in range(lines._MOST_KNOWN + 10):
        digits = f"{number:010b}"
        message = message_of([(b"AL1" if digit == "1" else b"DG1", []) for digit in digits])
        assert message.indexes("AL1") == [i for i, digit in enumerate(digits, 1) if digit == "1"]
        assert len(lines._KNOWN_POSITIONS) <= lines._MOST_KNOWN
    long = message_of([(b"OBX", [])] * 5000)
    assert long.indexes("OBX") == list(range(1, 5001))
    assert all(len(key) <= lines._LONGEST_KNOWN for key in lines._KNOWN_POSITIONS)
