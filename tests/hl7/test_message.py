import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ifengine.errors import FieldError
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.message import NULL, LineEnds, Message, MessageError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hl7"
NAMES = sorted(path.name for path in FIXTURES.glob("*.hl7"))
CANARY = "Xanthippe"


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def small(*segments: bytes, msh18: bytes = b"") -> Message:
    msh = b"MSH|^~\\&|A|B|C|D|20260301||ADT^A08|1|P|2.5||||||" + msh18
    return Message.parse(b"\r".join([msh, *segments, b""]))


def everything(message: Message) -> list[tuple[str, list[bytes]]]:
    return [
        (name, [message.raw(i, f) for f in range(1, message.field_count(i) + 1)])
        for i, name in enumerate(message.names())
    ]


@pytest.mark.parametrize("name", NAMES)
def test_an_untouched_message_leaves_as_the_very_bytes_it_came_in(name: str) -> None:
    content = fixture(name)
    message = Message.parse(content)
    for i, segment in enumerate(message.names()):
        for f in range(1, message.field_count(i) + 1):
            message.text(i, f)
        assert i in message.indexes(segment)
    assert message.encode() is content
    assert message.copy().encode() is content
    assert message.touched is False


@pytest.mark.parametrize("name", NAMES)
def test_touching_one_segment_leaves_every_other_field_as_it_was(name: str) -> None:
    message = Message.parse(fixture(name))
    before = everything(message)
    message.insert_segment(len(before), "ZZZ")
    again = Message.parse(message.encode())
    assert everything(again) == [*before, ("ZZZ", [])]
    assert message.encode().endswith(b"\rZZZ\r")


VALUES = st.one_of(
    st.text(st.sampled_from("|^~\\&#\r\n\x0b\x1caEFH.brX0D*!/@ ")),
    st.text(st.characters(max_codepoint=127)),
)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_value_set_anywhere_is_read_again_and_nothing_else_changes(
    name: str, data: st.DataObject
) -> None:
    check_write(Message.parse(fixture(name)), data)


SIGNS = [b"|^~\\&", b"|^~\\&#", b"#*!%+", b"|~^\\&", b"$|:@/"]
ESCAPES = [b"F", b"S", b"T", b"R", b"E", b"X0D", b".br", b"H", b"zz"]
SEGMENTS = [b"PID", b"OBX", b"NTE", b"ZZ1", b"OBR"]


def built(choices: bytes) -> bytes:
    """Return the message that these choices make: its own delimiters, any structure, any bytes."""
    signs = SIGNS[choices[0] % len(SIGNS)]
    charset = (b"", b"8859/1", b"UNICODE UTF-8")[choices[1] % 3]
    field, escape = signs[:1], signs[3:4]
    head = [
        b"A",
        b"B",
        b"C",
        b"D",
        b"20260301",
        b"",
        b"ADT",
        b"1",
        b"P",
        b"2.5",
        *[b""] * 5,
        charset,
    ]
    pieces = [
        *[bytes([code]) for code in signs[1:]], *[field] * 6, b"a", b"7", b" ", b'""', b"\xe9",
        *[escape + name + escape for name in ESCAPES], *[b"\r" + name + field for name in SEGMENTS],
    ]  # fmt: skip
    body = b"".join(pieces[choice % len(pieces)] for choice in choices[2:])
    return (
        b"MSH" + signs + b"".join(field + text for text in head) + b"\rPID" + field + body + b"\r"
    )


@settings(max_examples=int(os.environ.get("IFENGINE_CASES", "300")), deadline=None)
@given(content=st.binary(min_size=2, max_size=90).map(built), data=st.data())
def test_a_value_set_anywhere_in_any_message_is_read_again_and_nothing_else_changes(
    content: bytes, data: st.DataObject
) -> None:
    check_write(Message.parse(content), data)


def check_write(message: Message, data: st.DataObject) -> None:
    """Write any value to any node, and look at every other one after reading the bytes again."""
    before = everything(message)
    i = data.draw(st.integers(0, len(before) - 1))
    f = data.draw(st.integers(19 if i == 0 else 1, 40))
    r, c, s = (data.draw(st.one_of(st.none(), st.integers(1, 4))) for _ in range(3))
    if not message.delimiters.subcomponent and s:
        s = 1
    value = data.draw(VALUES)
    parts = {
        (rr, cc, ss): message.raw(i, f, rr, cc, ss)
        for rr in range(1, 6)
        for cc in range(1, 6)
        for ss in range(1, 6)
    }

    message.set_text(i, f, r, c, s, value)

    again = Message.parse(message.encode())
    for one in (message, again):
        assert one.text(i, f, r, c, s) == value
        after = everything(one)
        assert [segment for segment, _ in after] == [segment for segment, _ in before]
        for at, ((_, old), (_, new)) in enumerate(zip(before, after, strict=True)):
            if at != i:
                assert new == old
                continue
            assert [*old[: f - 1], *old[f:]] == [*new[: f - 1], *new[f:]][
                : max(0, len(old) - 1)
            ] or (f > len(old) and new[: len(old)] == old)
            assert all(not added for added in new[len(old) : f - 1])
    # the neighbours inside the field stay, part by part
    wanted = (r or (1 if c or s else None), c or (1 if s else None), s)
    for place, old_part in parts.items():
        if any(w is not None and w != p for w, p in zip(wanted, place, strict=True)):
            assert again.raw(i, f, *place) == old_part


@given(junk=st.binary().map(lambda raw: raw.translate(None, b"|^~\\&\r\n")))
def test_any_bytes_survive_an_edit_of_their_own_segment(junk: bytes) -> None:
    for msh18 in (
        b"",
        b"ASCII",
        b"UNICODE UTF-8",
        b"8859/1",
        b"ISO IR 999",
    ):
        message = small(b"PID|1||" + junk + b"|x^" + junk + b"^y|old", msh18=msh18)
        message.set_text(1, 5, None, None, None, "new")
        message.set_text(1, 4, None, 3, None, "Y")
        assert message.encode().endswith(b"\rPID|1||" + junk + b"|x^" + junk + b"^Y|new\r")


@example(junk=b"\x1b$", name=b"~ISO IR87")  # an escape to two-byte characters that never ends
@given(
    junk=st.binary(), name=st.sampled_from([b"BIG-5", b"GB 18030-2000", b"~ISO IR87", b"SHIFT_JIS"])
)
def test_any_bytes_survive_an_edit_where_characters_have_several_bytes(
    junk: bytes, name: bytes
) -> None:
    lines = junk.translate(None, b"\r\n") + "許功蓋ソ".encode("big5", "replace")
    message = small(b"PID|1||" + lines + b" |x", msh18=name)
    message.set_text(0, 5, None, None, None, "NEW")
    assert message.encode().endswith(b"||||||" + name + b"\rPID|1||" + lines + b" |x\r")


def test_a_hexadecimal_escape_that_is_no_character_of_its_set_is_read_as_it_stands() -> None:
    message = small(b"PID|1||\\X1B24B35CA5\\", msh18=b"~ISO IR87")
    assert message.text(1, 3).encode("ascii", "surrogateescape") == b"\x1b\x24\xb3\x5c\xa5"


@given(junk=st.binary().map(lambda raw: raw.translate(None, b"|^~\\&\r\n\x0b\x1c")))
def test_opaque_bytes_read_as_text_are_written_as_the_same_bytes(junk: bytes) -> None:
    for msh18 in (b"", b"UNICODE UTF-8", b"8859/1", b"KS X 1001"):
        message = small(b"PID|1|" + junk, msh18=msh18)
        message.set_text(1, 9, None, None, None, message.text(1, 2))
        assert message.raw(1, 9) == junk


# --- reading ------------------------------------------------------------------------------------


def test_nodes_are_numbered_as_in_the_standard() -> None:
    message = Message.parse(fixture("adt_a01_plain.hl7"))
    pid = message.indexes("PID")[0]
    assert message.raw(0, 1) == b"|"
    assert message.raw(0, 2) == b"^~\\&"
    assert message.text(0, 9, None, 2) == "A01"
    assert message.text(0, 10) == "QS000001"
    assert message.text(pid, 3, 1, 1) == "700111"
    assert message.text(pid, 3, 2, 5) == "NI"
    assert message.text(pid, 3, None, 4, 2) == "1.2.3.99"
    assert message.text(pid, 3, 1, 4) == "QUAY&1.2.3.99&ISO"
    assert message.repetition_count(pid, 3) == 2
    assert message.repetition_count(pid, 4) == 0
    assert message.repetition_count(pid, 99) == 0
    assert message.raw(pid, 99) == message.raw(pid, 3, 9) == message.raw(pid, 3, 1, 4, 9) == b""
    assert message.indexes("OBX") == []
    assert message.header.control_id == b"QS000001"


def test_msh_1_and_msh_2_have_no_parts_and_no_escapes() -> None:
    message = Message.parse(fixture("five_character_msh2.hl7"))
    assert message.text(0, 2) == message.text(0, 2, 1, 1, 1) == "^~\\&#"
    assert message.raw(0, 2, 2) == message.raw(0, 2, 1, 2) == b""
    assert message.repetition_count(0, 2) == 1


def test_escapes_are_undone_at_the_leaf_and_only_there() -> None:
    message = Message.parse(fixture("escapes.hl7"))
    assert message.text(1, 5) == r"Fr\T\y^Bar\S\t"
    assert message.text(1, 5, 1, 1) == "Fr&y"
    assert message.text(1, 5, None, 2) == "Bar^t"
    assert message.text(3, 5) == "a|b^c&d~e\\f\r\ng"
    assert message.text(4, 5) == (r"one\.br\two \H\loud\N\ \.sp+2\ \Z01\ \C2842\ \Q\ C:\dir\x")


def test_delimiters_are_those_of_the_message() -> None:
    message = Message.parse(fixture("odd_delimiters.hl7"))
    assert message.names() == ["MSH", "EVN", "PID"]
    assert message.text(2, 3, 1, 4, 2) == "1.9.9"
    assert message.text(2, 3, 2) == "7!8"
    assert message.text(2, 5, None, 2) == "Elsa|Maria"
    message.set_text(2, 5, None, 2, None, "a#b*c!d/e@f|g^h")
    assert message.raw(2, 5) == b"Lindqvist*a/F/b/S/c/R/d/E/e/T/f|g^h"


def test_character_sets_are_read_by_msh_18() -> None:
    assert Message.parse(fixture("oru_r01_8bit_latin1.hl7")).text(1, 5) == "Müller^Zoë"
    utf8 = Message.parse(fixture("oru_r01_utf8.hl7"))
    assert utf8.text(1, 5, 2, 1) == "山田"
    undeclared = Message.parse(fixture("oru_r01_8bit_undeclared.hl7"))
    assert undeclared.text(1, 5, None, 1) == "M\udcfcller"
    forced = CharsetPolicy(forced="8859/1")
    assert Message.parse(undeclared.encode(), charset=forced).text(1, 5, None, 1) == "Müller"
    assert Message.parse(fixture("byte_order_mark.hl7")).text(1, 5) == "Ångström^Åsa"


def test_a_character_whose_byte_looks_like_a_delimiter_splits_nothing() -> None:
    content = fixture("oru_r01_big5.hl7")
    message = Message.parse(content)
    assert message.text(1, 5, None, 1) == "許功蓋"
    assert message.text(1, 5, None, 2) == "育"
    message.set_text(3, 8, None, None, None, "蓋|a")
    expected = content.replace(b"||||||F", b"|||" + "蓋".encode("big5") + b"\\F\\a|||F")
    assert message.encode() == expected
    assert message.raw(1, 5) == content.split(b"|700557^^^QUAY^MR||")[1].split(b"\r")[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"~ISO IR87", "\x1b$B"),
        (b"GB 18030-2000", "\udc81"),
        (b"BIG-5", "ł"),
        (b"ISO IR87", "a\x1b(J"),
    ],
)
def test_a_value_that_would_swallow_what_stands_behind_it_is_refused(
    name: bytes, value: str
) -> None:
    message = small(b"PID|1||x|y", msh18=name)
    with pytest.raises(FieldError, match="MSH-18"):
        message.set_text(1, 3, None, None, None, value)
    assert message.touched is False


def test_a_message_that_would_not_read_back_in_its_set_is_not_sent() -> None:
    message = small(b"PID|x\x81&y|a|b", msh18=b"GB 18030-2000")
    message.set_raw(1, 2, None, None, None, message.raw(1, 1, 1, 1, 1))
    with pytest.raises(MessageError, match="does not read back"):
        message.encode()


def test_japanese_text_is_read_and_written_through_its_escapes() -> None:
    content = "PID|1||山田^太郎|y".encode("iso2022_jp")
    message = small(content, msh18=b"~ISO IR87")
    assert message.text(1, 3, None, 2) == "太郎"
    message.set_text(1, 3, None, 1, None, "森")
    assert message.encode().endswith("\rPID|1||森^太郎|y\r".encode("iso2022_jp"))


def test_hexadecimal_escapes_are_bytes_of_the_message_s_set() -> None:
    assert small(rb"PID|\XFC\x", msh18=b"8859/1").text(1, 1) == "üx"
    assert small(rb"PID|\XC3BC\x", msh18=b"UNICODE UTF-8").text(1, 1) == "üx"
    wide = small("PID|許|".encode("big5") + rb"\XB35C\x", msh18=b"BIG-5")
    assert wide.text(1, 2) == "許x"


def test_empty_and_null_are_kept_apart() -> None:
    message = Message.parse(fixture("null_values.hl7"))
    assert message.text(2, 2) == NULL
    assert message.text(2, 4) == ""
    message.set_text(2, 4, None, None, None, NULL)
    message.set_text(2, 2, None, None, None, "")
    assert message.raw(2, 4) == b'""'
    assert message.raw(2, 2) == b""
    assert message.text(2, 5, None, 2) == NULL


# --- lines --------------------------------------------------------------------------------------


def test_line_ends_are_counted_and_a_touched_message_leaves_with_cr() -> None:
    message = Message.parse(fixture("crlf_and_blank_lines.hl7"))
    assert message.line_ends == LineEnds(cr=0, lf=0, crlf=5)
    assert Message.parse(fixture("line_feeds.hl7")).line_ends == LineEnds(0, 3, 0)
    assert Message.parse(fixture("adt_a01_plain.hl7")).line_ends.lf == 0
    assert message.names() == ["MSH", "EVN", "PID"]
    message.set_text(1, 1, None, None, None, "A31")
    assert message.encode().count(b"\r") == 3
    assert b"\n" not in message.encode()


def test_a_line_that_is_no_segment_is_carried_with_its_own_line_end() -> None:
    content = fixture("raw_break_inside_a_field.hl7")
    message = Message.parse(content)
    assert message.names() == ["MSH", "PID", "OBR", "OBX", "NTE"]
    assert message.text(3, 5) == "first half"
    message.set_text(1, 8, None, None, None, "F")
    assert b"|first half\nsecond half|||||F\rNTE|" in message.encode()
    copy = message.copy()
    copy.insert_segment(3, "ZZ1")
    assert b"\rZZ1\rOBX|1|TX|N1^Note^L||first half\nsecond half|" in copy.encode()
    copy.delete_segments([4])
    assert b"half" not in copy.encode()
    assert b"half" in message.encode()


def test_a_blank_line_inside_what_is_carried_stays_there() -> None:
    message = Message.parse(b"MSH|^~\\&|A\r\rNTE|1||a\n\nb\r\nc\r\rPID|1\r")
    message.set_text(2, 1, None, None, None, "2")
    assert message.encode() == b"MSH|^~\\&|A\rNTE|1||a\n\nb\r\nc\rPID|2\r"


def test_a_byte_order_mark_goes_out_as_it_came() -> None:
    message = Message.parse(fixture("byte_order_mark.hl7"))
    message.set_text(0, 5, None, None, None, "ELSEWHERE")
    assert message.encode().startswith(b"\xef\xbb\xbfMSH|")
    assert message.header.bom is True
    assert message.header.receiving_application == b"ELSEWHERE"


@pytest.mark.parametrize("content", [b"", b"PID|1", b"FHS|^~\\&|", b"MSH|&&&&|A", b"MSH"])
def test_what_is_no_message_is_refused_by_the_name_of_its_fault(content: bytes) -> None:
    with pytest.raises(MessageError):
        Message.parse(content)


# --- writing ------------------------------------------------------------------------------------


def test_a_part_written_beside_a_plain_value_leaves_it_as_the_first() -> None:
    message = small(b"PID|plain|plain|plain^b|a&b")
    message.set_text(1, 1, None, 3, None, "x")
    message.set_text(1, 2, 1, 1, 2, "x")
    message.set_text(1, 3, 2, 2, None, "x")
    message.set_text(1, 4, None, 2, None, "x")
    message.set_text(1, 6, None, 2, 2, "x")
    assert message.encode().split(b"\r")[1] == b"PID|plain^^x|plain&x|plain^b~^x|a&b^x||^&x"


def test_emptying_what_is_not_there_touches_nothing() -> None:
    message = small(b"PID|1")
    message.set_text(1, 5, 2, 3, 4, "")
    message.set_text(1, 30, None, None, None, "")
    message.set_text(1, 1, None, None, None, "1")
    message.set_text(1, 1, 1, 1, 1, "1")
    assert message.touched is False


def test_setting_a_field_beyond_the_end_adds_only_empty_ones() -> None:
    message = small(b"PID|1", b"PV1|1")
    message.set_text(1, 4, None, None, None, "x")
    assert message.encode().endswith(b"PID|1|||x\rPV1|1\r")


@pytest.mark.parametrize("f", [1, 2])
def test_the_delimiters_cannot_be_set(f: int) -> None:
    message = small()
    with pytest.raises(FieldError, match=rf"MSH-{f}: cannot be set"):
        message.set_text(0, f, None, None, None, "x")
    with pytest.raises(FieldError):
        message.set_raw(0, f, None, None, None, b"x")
    with pytest.raises(FieldError):
        message.remove_repetitions(0, f, [1])


@pytest.mark.parametrize("evil", [b"a\rZZZ|1", b"a\nb", b"a\x0bb", b"a\x1cb", b"a|b"])
def test_raw_structure_cannot_end_its_segment_or_frame(evil: bytes) -> None:
    message = small(b"PID|1")
    with pytest.raises(FieldError) as caught:
        message.set_raw(1, 3, None, None, None, evil)
    assert "ZZZ" not in str(caught.value)
    assert message.touched is False


def test_raw_structure_stays_inside_the_node_it_is_put_into() -> None:
    message = small(b"PID|1||a^b&c~d")
    message.set_raw(1, 4, None, None, None, message.raw(1, 3))
    assert message.raw(1, 4) == b"a^b&c~d"
    message.set_raw(1, 5, 1, None, None, b"a^b&c")
    message.set_raw(1, 5, 1, 3, None, b"x&y")
    assert message.raw(1, 5) == b"a^b&c^x&y"
    for place, value in (((1, None, None), b"a~b"), ((1, 1, None), b"a^b"), ((1, 1, 1), b"a&b")):
        with pytest.raises(FieldError, match="higher level"):
            message.set_raw(1, 6, *place, value)


def test_repetitions_segments_and_copies() -> None:
    message = small(b"PID|1||a~b~c", b"NTE|1", b"NTE|2")
    copy = message.copy()
    copy.remove_repetitions(1, 3, [3, 1])
    assert copy.raw(1, 3) == b"a~c"
    copy.remove_repetitions(1, 3, [])
    assert copy.raw(1, 3) == b""
    assert copy.insert_segment(2, "ZP1") == 2
    copy.set_text(2, 2, None, None, None, "x")
    copy.delete_segments([3])
    assert copy.names() == ["MSH", "PID", "ZP1", "NTE"]
    assert copy.encode().endswith(b"PID|1||\rZP1||x\rNTE|2\r")
    assert message.touched is False
    assert message.names() == ["MSH", "PID", "NTE", "NTE"]
    assert message.raw(1, 3) == b"a~b~c"
    message.set_text(1, 3, None, None, None, "z")
    assert copy.raw(1, 3) == b""


def test_removing_no_repetition_leaves_the_message_untouched() -> None:
    message = small(b"PID|1||a~b")
    message.remove_repetitions(1, 3, [1, 2])
    message.delete_segments([])
    assert message.touched is False


def test_msh_stays_first_and_names_are_names() -> None:
    message = small(b"PID|1")
    with pytest.raises(FieldError):
        message.delete_segments([1, 0])
    for at, name in (
        (0, "PID"),
        (3, "PID"),
        (1, "MSH"),
        (1, "pid"),
        (1, "P|1"),
        (1, "PIDX"),
        (1, "PÏD"),
    ):
        with pytest.raises(FieldError):
            message.insert_segment(at, name)
    assert message.touched is False


def test_positions_count_from_one() -> None:
    message = small(b"PID|1")
    for place in ((0, None, None, None), (1, 0, None, None), (1, 1, 0, None), (1, 1, 1, 0)):
        with pytest.raises(ValueError, match="count from 1"):
            message.text(1, *place)
        with pytest.raises(ValueError, match="count from 1"):
            message.set_text(1, *place, "x")


def test_a_message_without_escape_character_takes_only_what_needs_none() -> None:
    message = Message.parse(b"MSH|^~|A|B|C|D|||ADT^A08|1|P|2.5\rPID|a&b\\T\\\r")
    assert message.text(1, 1) == "a&b\\T\\"
    message.set_text(1, 2, None, 2, None, "a&b")
    for place, value in (((3, None, None, None), "a|b"), ((3, 1, 1, 2), "x")):
        with pytest.raises(FieldError, match="MSH-2 names no"):
            message.set_text(1, *place, value)
    assert message.encode().endswith(b"\rPID|a&b\\T\\|^a&b\r")


def test_a_character_the_set_lacks_is_refused_by_place_without_the_value() -> None:
    message = small(b"PID|1", b"PID|2")
    with pytest.raises(FieldError) as caught:
        message.set_text(2, 5, 2, 1, 3, CANARY + "ü")
    assert str(caught.value).startswith("PID[2]-5[2].1.3: ")
    assert CANARY not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert message.touched is False


def test_a_message_shows_no_content_when_printed() -> None:
    assert CANARY not in repr(small(b"PID|" + CANARY.encode()))


def test_a_message_with_ever_new_segment_names_does_not_fill_memory() -> None:
    from ifengine.hl7 import lines

    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = [a + b + c for a in "XYZ" for b in letters for c in letters + "0123456789"]
    for start in range(0, len(names), 500):
        message = small(*(name.encode() + b"|1" for name in names[start : start + 500]))
        assert message.names()[1:] == names[start : start + 500]
    assert len(names) > 2000
    assert all(len(known) <= lines._MOST_NAMES for known in lines._KNOWN_NAMES.values())


def test_a_changed_message_stays_touched_when_it_was_encoded_and_its_copies_too() -> None:
    message = small(b"PID|1")
    assert message.touched is False
    message.set_text(1, 2, None, None, None, "A")
    assert message.touched is True
    assert message.encode().endswith(b"PID|1|A\r")
    assert message.touched is True
    assert message.copy().touched is True


def test_segments_in_another_order_keep_their_fields_and_msh_stays_first() -> None:
    message = small(b"PID|1|a", b"PV1|1", b"ZPI|x")
    copy = message.copy()
    message.reorder_segments([0, 3, 1, 2])
    assert message.names() == ["MSH", "ZPI", "PID", "PV1"]
    assert message.encode().endswith(b"ZPI|x\rPID|1|a\rPV1|1\r")
    assert message.first("PID") == 2
    assert copy.names() == ["MSH", "PID", "PV1", "ZPI"]
    with pytest.raises(FieldError, match="stays first"):
        message.reorder_segments([1, 0, 2, 3])
    for wrong in ([0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 4]):
        with pytest.raises(ValueError, match="every position once"):
            message.reorder_segments(wrong)
