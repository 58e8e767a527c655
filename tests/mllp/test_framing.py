"""MLLP framing: what any cut, any garbage and each fault must give."""

import itertools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifengine.mllp.framing import (
    GIANT,
    MAX_STRAY_BYTES,
    NEED_DATA,
    PEER_CLOSED,
    DecoderCounts,
    Event,
    Fault,
    Frame,
    FrameDecoder,
    FramingFault,
    Tolerance,
    encode_frame,
)
from ifengine.mllp.giants import Giant
from ifengine.pieces import PIECE_BYTES

ALL = frozenset(Tolerance)
STRICT: frozenset[Tolerance] = frozenset()
SMALL_GIANT = 5


def events_of(
    decoder: FrameDecoder, chunks: list[bytes], *, fast: bool = False, closed: bool = True
) -> list[Event]:
    """Feed chunk by chunk, as a connection does, and collect everything but NEED_DATA.

    A giant is collected as the frame it is.
    """
    found: list[Event] = []
    for chunk in [*chunks, b""] if closed else chunks:
        decoder.receive_data(chunk)
        while True:
            content = decoder.take_frame() if fast else None
            if content is not None:
                found.append(Frame(content))
                continue
            event = decoder.next_event()
            if event is NEED_DATA:
                break
            if event is GIANT:
                assert decoder.next_event() is GIANT
                event = decoder.take_giant()
            if isinstance(event, Giant):
                assert event.size >= SMALL_GIANT
                event = Frame(event.content())
            found.append(event)
            if event is PEER_CLOSED:
                break
    return found


def decode(
    stream: bytes, tolerate: frozenset[Tolerance] = STRICT, limit: int = 100, closed: bool = True
) -> list[Event]:
    decoder = FrameDecoder(max_content_bytes=limit, tolerate=tolerate)
    return events_of(decoder, [stream] if stream else [], closed=closed)


def fault(name: FramingFault, data: bytes, *, fatal: bool = True) -> Fault:
    return Fault(name, data, fatal)


PIECES = st.one_of(
    st.sampled_from(
        [
            b"\x0b",
            b"\x1c",
            b"\r",
            b"\n",
            b"\x1c\r",
            b"\x0bMSH|1\r\x1c\r",
            b"\x0bMSH|2\r\x1c",
            b"\x0b\x0bMSH|3\r\x1c\r\x1c\r",
            b"\x0b\x1c\r",
            b"\x0b\x06\x1c\r",
            b"\x0b\x15\x1c\r",
            b"\x0bMSH|a\x1cb\r\x1c\r",
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01",
            b"junk",
            b" \t\r\n",
            b"\x0b" + b"x" * 40 + b"\x1c\r",
        ]
    ),
    st.binary(max_size=6),
)
STREAMS = st.lists(PIECES, max_size=12).map(b"".join)
TOLERANCES = st.frozensets(st.sampled_from(list(Tolerance)))


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = draw(STREAMS)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(stream) - 1)), max_size=8)))
    edges = [0, *(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    return stream, [chunk for chunk in chunks if chunk]


@given(cut_streams(), TOLERANCES)
@settings(max_examples=1500, deadline=None)
def test_any_cut_of_the_stream_gives_the_same_events_and_counts(
    streams: tuple[bytes, list[bytes]], tolerate: frozenset[Tolerance]
) -> None:
    stream, chunks = streams
    seen = []
    for cut in ([stream] if stream else [], chunks, [bytes([byte]) for byte in stream]):
        for fast, giant in itertools.product((False, True), (None, SMALL_GIANT)):
            counts = DecoderCounts()
            decoder = FrameDecoder(
                max_content_bytes=32, tolerate=tolerate, counts=counts, giant_bytes=giant
            )
            seen.append((events_of(decoder, cut, fast=fast), counts))
    assert all(one == seen[0] for one in seen)
    assert seen[0][0][-1] is PEER_CLOSED


@given(st.binary(max_size=200), TOLERANCES)
@settings(max_examples=500, deadline=None)
def test_garbage_gives_frames_and_faults_and_never_an_exception(
    stream: bytes, tolerate: frozenset[Tolerance]
) -> None:
    for event in decode(stream, tolerate, limit=50)[:-1]:
        assert isinstance(event, Frame | Fault)
        if isinstance(event, Frame):
            assert 0 < len(event.content) <= 50
            assert 0x0B not in event.content


CONTENTS = st.binary(min_size=2, max_size=60).map(
    lambda b: b.replace(b"\x0b", b".").replace(b"\x1c", b".")
)


@given(st.lists(CONTENTS, max_size=20), TOLERANCES, st.integers(1, 50))
def test_what_is_encoded_is_decoded_byte_for_byte(
    contents: list[bytes], tolerate: frozenset[Tolerance], step: int
) -> None:
    stream = b"".join(map(encode_frame, contents))
    decoder = FrameDecoder(max_content_bytes=60, tolerate=tolerate)
    chunks = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert events_of(decoder, chunks, fast=True)[:-1] == [Frame(c) for c in contents]
    assert sum(decoder.counts.tolerated.values()) == 0


@given(STREAMS, TOLERANCES)
@settings(max_examples=500, deadline=None)
def test_a_strict_decoder_accepts_no_frame_that_is_not_in_the_stream(
    stream: bytes, tolerate: frozenset[Tolerance]
) -> None:
    for event in decode(stream, tolerate, limit=64):
        if isinstance(event, Frame):
            assert b"\x0b" + event.content + b"\x1c" in stream


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"MSH|\x0ba\r\x1c\r", [fault(FramingFault.NO_START_BLOCK, b"MSH|")]),
        (b"MSH|a\r\x1c\r", [fault(FramingFault.NO_START_BLOCK, b"MSH|a\r\x1c")]),
        (b"\n", [fault(FramingFault.NO_START_BLOCK, b"\n")]),
        (
            b"\x0babc\x0bdef\x1c\r",
            [fault(FramingFault.START_BLOCK_INSIDE_FRAME, b"\x0babc\x0bdef\x1c\r")],
        ),
        (
            b"\x0b\x0babc\x1c\r",
            [fault(FramingFault.START_BLOCK_INSIDE_FRAME, b"\x0b\x0babc\x1c\r")],
        ),
        (b"\x0babc", [fault(FramingFault.TRUNCATED, b"\x0babc")]),
        (b"\x0b", [fault(FramingFault.TRUNCATED, b"\x0b")]),
        (b"\x0babc\x1c", [fault(FramingFault.MISSING_CR_AFTER_END_BLOCK, b"\x0babc\x1c")]),
        (
            b"\x0babc\x1cdef\x1c\r",
            [fault(FramingFault.MISSING_CR_AFTER_END_BLOCK, b"\x0babc\x1cd")],
        ),
        (b"\x0b" + b"x" * 101 + b"\x1c\r", [fault(FramingFault.TOO_LARGE, b"\x0b" + b"x" * 100)]),
        (b"GET /live HTTP/1.1\r\n\r\n", [fault(FramingFault.NOT_MLLP, b"GET ")]),
        (b"\x16\x03\x01\x02\x00\x01", [fault(FramingFault.NOT_MLLP, b"\x16\x03")]),
        (b"GE", [fault(FramingFault.NO_START_BLOCK, b"GE")]),
        (b"\x0b\x06\x1c\r", [fault(FramingFault.RELEASE_2_BLOCK, b"\x0b\x06\x1c\r", fatal=False)]),
        (b"\x0b\x15\x1c\r", [fault(FramingFault.RELEASE_2_BLOCK, b"\x0b\x15\x1c\r", fatal=False)]),
    ],
)
def test_every_fault_has_its_name_and_keeps_the_bytes(stream: bytes, expected: list[Event]) -> None:
    assert decode(stream) == [*expected, PEER_CLOSED]


def test_content_of_exactly_the_limit_is_a_frame() -> None:
    assert decode(encode_frame(b"x" * 100)) == [Frame(b"x" * 100), PEER_CLOSED]


def test_too_large_is_noticed_before_the_end_block_arrives() -> None:
    assert decode(b"\x0b" + b"x" * 101, closed=False) == [
        fault(FramingFault.TOO_LARGE, b"\x0b" + b"x" * 100)
    ]


def test_nothing_is_decoded_after_a_fatal_fault() -> None:
    decoder = FrameDecoder(max_content_bytes=100, tolerate=STRICT)
    found = events_of(decoder, [b"junk\x0bab\x1c\r", encode_frame(b"second")])
    assert [type(event) for event in found[:-1]] == [Fault]


@pytest.mark.parametrize(
    ("tolerance", "stream", "expected"),
    [
        (
            Tolerance.WHITESPACE_BETWEEN_FRAMES,
            b"\x0bab\x1c\r\n \x0bcd\x1c\r\t\r\n",
            [Frame(b"ab"), Frame(b"cd")],
        ),
        (
            Tolerance.MISSING_CR_AFTER_END_BLOCK,
            b"\x0bab\x1c\x0bcd\x1c",
            [Frame(b"ab"), Frame(b"cd")],
        ),
        (
            Tolerance.BYTES_BEFORE_START_BLOCK,
            b"login:\x0bab\x1c\rbye\x0bcd\x1c\r",
            [
                fault(FramingFault.NO_START_BLOCK, b"login:", fatal=False),
                Frame(b"ab"),
                fault(FramingFault.NO_START_BLOCK, b"bye", fatal=False),
                Frame(b"cd"),
            ],
        ),
        (
            Tolerance.DOUBLED_START_BLOCK,
            b"\x0b\x0bab\x1c\r\x1c\r\x0b\x0bcd\x1c\r",
            [Frame(b"ab"), Frame(b"cd")],
        ),
        (
            Tolerance.BARE_END_BLOCK_INSIDE,
            b"\x0ba\x1cb\x1c\r\x0bc\x1cd\x1c\r",
            [Frame(b"a\x1cb"), Frame(b"c\x1cd")],
        ),
    ],
)
def test_a_tolerance_that_is_on_is_used_and_each_use_counted(
    tolerance: Tolerance, stream: bytes, expected: list[Event]
) -> None:
    decoder = FrameDecoder(max_content_bytes=100, tolerate={tolerance})
    assert events_of(decoder, [stream]) == [*expected, PEER_CLOSED]
    assert {name: n for name, n in decoder.counts.tolerated.items() if n} == {tolerance: 2}
    strictly = decode(stream, ALL - {tolerance})
    assert strictly != [*expected, PEER_CLOSED]


def test_an_end_block_inside_content_never_passes_half_a_message_for_a_whole_one() -> None:
    found = decode(b"\x0bMSH|a\x1cb\r\x1c\r", frozenset({Tolerance.MISSING_CR_AFTER_END_BLOCK}))
    assert found == [
        fault(FramingFault.MISSING_CR_AFTER_END_BLOCK, b"\x0bMSH|a\x1cb"),
        PEER_CLOSED,
    ]


def test_silence_ends_a_frame_without_cr_and_a_late_cr_is_no_fault() -> None:
    decoder = FrameDecoder(max_content_bytes=100, tolerate={Tolerance.MISSING_CR_AFTER_END_BLOCK})
    assert events_of(decoder, [b"\x0bab\x1c"], closed=False) == []
    assert decoder.waits_for_cr
    decoder.receive_silence()
    assert decoder.next_event() == Frame(b"ab")
    assert not decoder.waits_for_cr
    assert events_of(decoder, [b"\r", encode_frame(b"cd")]) == [Frame(b"cd"), PEER_CLOSED]


def test_silence_says_nothing_where_a_cr_is_required() -> None:
    decoder = FrameDecoder(max_content_bytes=100, tolerate=STRICT)
    decoder.receive_data(b"\x0bab\x1c")
    assert not decoder.waits_for_cr
    decoder.receive_silence()
    assert decoder.next_event() is NEED_DATA


def test_an_end_block_cut_from_its_cr_ends_the_frame_once() -> None:
    decoder = FrameDecoder(max_content_bytes=100, tolerate=STRICT)
    assert events_of(decoder, [b"\x0bab\x1c", b"\r\x0bcd", b"\x1c", b"\r"]) == [
        Frame(b"ab"),
        Frame(b"cd"),
        PEER_CLOSED,
    ]


def test_an_empty_frame_is_counted_and_ignored() -> None:
    decoder = FrameDecoder(max_content_bytes=100, tolerate=STRICT)
    assert events_of(decoder, [b"\x0b\x1c\r\x0b\x1c\r\x0bab\x1c\r"]) == [Frame(b"ab"), PEER_CLOSED]
    assert decoder.counts.empty_frames == 2


def test_release_2_blocks_are_reported_once_and_counted_always() -> None:
    decoder = FrameDecoder(max_content_bytes=100, tolerate=STRICT)
    found = events_of(decoder, [b"\x0b\x06\x1c\r" * 3 + encode_frame(b"ab")])
    assert [type(event) for event in found[:-1]] == [Fault, Frame]
    assert decoder.counts.release_2_blocks == 3


def test_bytes_before_a_start_block_have_a_limit_even_where_tolerated() -> None:
    tolerate = frozenset({Tolerance.BYTES_BEFORE_START_BLOCK})
    inside = decode(b"#" * MAX_STRAY_BYTES + b"\x0bab\x1c\r", tolerate)
    assert [type(event) for event in inside[:-1]] == [Fault, Frame]
    over = decode(b"#" * (MAX_STRAY_BYTES + 1) + b"\x0bab\x1c\r", tolerate)
    assert over == [fault(FramingFault.NO_START_BLOCK, b"#" * MAX_STRAY_BYTES), PEER_CLOSED]


@pytest.mark.parametrize("content", [b"", b"a\x0bb", b"a\x1cb"])
def test_the_encoder_refuses_what_it_cannot_frame_and_shows_none_of_it(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^content (is empty|holds the framing byte 0x\w\w at)"):
        encode_frame(content)


def test_reprs_show_sizes_and_no_content() -> None:
    shown = repr(Frame(b"CANARY")) + repr(Fault(FramingFault.TRUNCATED, b"CANARY", True))
    assert shown == "Frame(6 bytes)Fault(truncated, 6 bytes, fatal=True)"


@pytest.mark.parametrize("lead", [b"\x0b", b"\x0bab\x1c\r\x0b"])
def test_a_large_frame_in_small_pieces_is_not_searched_again_and_again(lead: bytes) -> None:
    content = b"x" * 10_000_000
    stream = lead + content + b"\x1c\r"
    decoder = FrameDecoder(max_content_bytes=len(content), tolerate=STRICT)
    chunks = [stream[at : at + 1024] for at in range(0, len(stream), 1024)]
    began = time.process_time()
    found = events_of(decoder, chunks, fast=True, closed=False)
    assert time.process_time() - began < 4.0  # searched again from its start: 50 GB to look through
    assert found[-1] == Frame(content)


def test_a_giant_waits_until_it_is_taken_and_what_follows_it_comes_behind() -> None:
    decoder = FrameDecoder(max_content_bytes=100, giant_bytes=SMALL_GIANT)
    decoder.receive_data(b"\x0bGIANT\x1c\r\x0bnext")
    assert decoder.take_frame() is None
    assert decoder.next_event() is GIANT
    decoder.receive_data(b"\x1c\r")  # what is received meanwhile stays behind it
    assert decoder.settle() == len(b"\x0bGIANT\x1c\r\x0bnext\x1c\r")
    giant = decoder.take_giant()
    assert isinstance(giant, Giant)
    assert giant.size == 5
    assert repr(giant) == "Giant(5 bytes)"
    assert decoder.settle() == len(b"\x0bnext\x1c\r")
    assert decoder.take_frame() == b"next"
    assert giant.content() == b"GIANT"
    with pytest.raises(RuntimeError):
        decoder.take_giant()


def test_the_content_of_a_giant_of_many_pieces_is_what_was_framed() -> None:
    content = random.Random(1).randbytes(3 * PIECE_BYTES + 77)
    content = content.translate(bytes(range(256)), b"\x0b\x1c")
    decoder = FrameDecoder(max_content_bytes=len(content), giant_bytes=PIECE_BYTES)
    stream = encode_frame(content)
    for at in range(0, len(stream), 65_536):
        decoder.receive_data(stream[at : at + 65_536])
        assert (decoder.next_event() is GIANT) == (at + 65_536 >= len(stream))
    giant = decoder.take_giant()
    assert isinstance(giant, Giant)
    assert giant.content() == content
