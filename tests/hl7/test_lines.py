"""Lines of a message: as many as there may be, in pieces or at once, found in one walk."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifengine.hl7 import lines
from ifengine.hl7.lines import split_segments
from ifengine.hl7.message import Message

MSH = b"MSH|^~\\&|HIS|RIVER|IE|RIVER|20260105101500||ADT^A08|1|P|2.5.1"
LINE_ENDS = st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\r", b"\n\r"])
LINES = st.sampled_from(
    [b"", b"PID|1", b"NTE", b"ZZZ|" + b"x" * 11, b"stray", b"pid|1", b"N", b"|"]
)


def by_the_rule(content: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return segments and what is carried behind each, in the plainest way."""
    segments: list[bytes] = []
    tails: list[bytes] = []
    waiting = b""
    for piece in re.split(rb"(\r\n|\r|\n)", content):
        if piece.strip(b"\r\n") == b"":
            waiting += piece
        elif re.fullmatch(rb"[A-Z][A-Z0-9]{2}(\|.*)?", piece, re.DOTALL):
            segments.append(piece)
            tails.append(b"")
            waiting = b""
        else:
            tails[-1] += waiting + piece
            waiting = b""
    return segments, tails


@given(st.lists(st.tuples(LINES, LINE_ENDS), max_size=12), st.booleans())
@settings(max_examples=600, deadline=None)
def test_a_giant_has_the_segments_that_a_small_message_has(
    more: list[tuple[bytes, bytes]], is_giant: bool
) -> None:
    content = MSH + b"\r" + b"".join(line + end for line, end in more)
    with pytest.MonkeyPatch.context() as patch:
        if is_giant:
            patch.setattr(lines, "GIANT_BYTES", 1)
            patch.setattr(lines, "PIECE_BYTES", 3)
        segments, names, tails = split_segments(content, b"|")
        encoded = Message.parse(content).encode()
    expected, carried = by_the_rule(content)
    assert segments == expected
    assert names == [segment[:3].decode() for segment in expected]
    assert (tails or [b""] * len(expected)) == carried
    assert encoded == content


@pytest.mark.parametrize("line", [b"\r", b"x\n"])
def test_a_message_of_nothing_but_lines_is_walked_through_once(line: bytes) -> None:
    content = MSH + b"\r" + line * (2_000_000 // len(line))
    begun = time.monotonic()
    message = Message.parse(content)
    message.set_text(0, 3, None, None, None, "IE")
    message.encode()
    # a second; it took minutes where every line copied what came before it
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("piece", [1, 3, 10, 1000])
@given(given_lines=st.lists(st.binary(max_size=40), max_size=12))
def test_lines_that_are_put_together_in_pieces_are_the_same(
    piece: int, given_lines: list[bytes]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "PIECE_BYTES", piece)
        assert lines.ended(given_lines) == b"".join(line + b"\r" for line in given_lines)


def giant_of(*more: bytes) -> Message:
    return Message.parse(b"\r".join((MSH, b"PID|1||7||Old^Name", *more)) + b"\r")


def changed(message: Message, value: str = "New") -> Message:
    copy = message.copy()
    copy.set_text(1, 5, None, 1, None, value)
    return copy


def test_a_message_takes_over_the_encoded_form_of_one_that_says_the_same_and_of_no_other() -> None:
    message = giant_of(b"ZZZ|" + b"x" * 1000)
    one, same = changed(message), changed(message)
    assert not same.encode_as(one)  # it was not encoded
    content = one.encode()
    assert same.encode_as(one)
    assert same.encode() is content
    assert same.touched
    for other in (
        changed(message, "Newer"),
        message.copy(),
        changed(giant_of(b"ZZZ|" + b"x" * 999)),
        changed(giant_of(b"ZZZ|" + b"x" * 1000, b"NTE|1")),
        changed(giant_of(b"ZZZ|" + b"x" * 1000, b"stray")),
        changed(Message.parse(b"\xef\xbb\xbf" + message.encode())),
    ):
        before = other.encode()
        assert not other.encode_as(one)
        assert other.encode() == before != content


def test_a_message_tells_whether_it_is_large() -> None:
    message = changed(giant_of(b"ZZZ|" + b"x" * 1000))
    assert message.is_at_least(1000)
    assert not message.is_at_least(len(message.encode()) + 1)
