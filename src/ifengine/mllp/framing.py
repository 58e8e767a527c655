"""MLLP framing without I/O: bytes in, frames and named faults out.

A block is ``0B content 1C 0D`` (HL7 Transport Specification: MLLP, release 1). The encoder is
always strict. The decoder is strict except for what ``tolerate`` names; every use is counted.
Every decision depends on the bytes and their order alone, so that any cut of the stream gives
the same events.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final

from ifengine.mllp.giants import Giant

START_BLOCK: Final = 0x0B
END_BLOCK: Final = 0x1C
CARRIAGE_RETURN: Final = 0x0D
LINE_FEED: Final = 0x0A

MAX_SPENT_BYTES: Final = 64 * 1024
"""How much of what was taken already is kept beside a begun frame."""
MAX_STRAY_BYTES: Final = 64 * 1024
"""Unframed bytes that are kept while a start block is looked for."""

_WHITESPACE = re.compile(rb"[ \t\r\n]+")
_RELEASE_2 = (b"\x06", b"\x15")  # MLLP release 2 transport answers: stored safely, not stored
_PROBES: Final = (
    b"\x16\x03",  # TLS record of a ClientHello
    b"CONNECT ",
    b"DELETE ",
    b"GET ",
    b"HEAD ",
    b"OPTIONS ",
    b"PATCH ",
    b"POST ",
    b"PRI * HTTP/2",
    b"PROXY ",
    b"PUT ",
    b"SSH-",
    b"TRACE ",
)

# What may come before the next start block; the whole is 0 after an ordinary frame.
_COUNTED = 1  # the current run of whitespace is counted
_LATE_CR = 2  # the last frame was ended by silence; its CR may still come
_SECOND_END = 4  # the last frame had two start blocks and may have two end blocks
_PRISTINE = 8  # nothing but whitespace was received yet


class FramingFault(StrEnum):
    """How a peer broke MLLP."""

    NO_START_BLOCK = "no_start_block"
    START_BLOCK_INSIDE_FRAME = "start_block_inside_frame"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    MISSING_CR_AFTER_END_BLOCK = "missing_cr_after_end_block"
    NOT_MLLP = "not_mllp"
    RELEASE_2_BLOCK = "release_2_block"


class Tolerance(StrEnum):
    """A departure from MLLP that a listener may be told to accept.

    ``WHITESPACE_BETWEEN_FRAMES``: space, tab, CR, LF before a start block are ignored.
    ``MISSING_CR_AFTER_END_BLOCK``: an end block also ends a frame where a start block, LF, the
    end of the stream or silence follows it. Before any other byte it does not: half a message
    must not pass for a whole one.
    ``BYTES_BEFORE_START_BLOCK``: other bytes before a start block are reported, not fatal.
    ``DOUBLED_START_BLOCK``: a second start block as the very next byte is padding, and so is
    a second end block after that frame.
    ``BARE_END_BLOCK_INSIDE``: an end block that does not end a frame belongs to its content.
    """

    WHITESPACE_BETWEEN_FRAMES = "whitespace_between_frames"
    MISSING_CR_AFTER_END_BLOCK = "missing_cr_after_end_block"
    BYTES_BEFORE_START_BLOCK = "bytes_before_start_block"
    DOUBLED_START_BLOCK = "doubled_start_block"
    BARE_END_BLOCK_INSIDE = "bare_end_block_inside"


DEFAULT_TOLERANCES: Final = frozenset(
    {Tolerance.WHITESPACE_BETWEEN_FRAMES, Tolerance.MISSING_CR_AFTER_END_BLOCK}
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame; ``content`` is what stood between start block and end block."""

    content: bytes

    def __repr__(self) -> str:
        return f"Frame({len(self.content)} bytes)"


@dataclass(frozen=True, slots=True)
class Fault:
    """The peer broke MLLP. ``data`` is what it sent, framing bytes included, up to the limit.

    After a ``fatal`` fault the place of the next frame is unknown: nothing more is decoded.
    """

    fault: FramingFault
    data: bytes
    fatal: bool

    def __repr__(self) -> str:
        return f"Fault({self.fault.value}, {len(self.data)} bytes, fatal={self.fatal})"


class Signal(Enum):
    """What is there instead of a frame."""

    NEED_DATA = "need_data"
    PEER_CLOSED = "peer_closed"
    GIANT = "giant"  # a whole frame that is to be taken by ``take_giant``


NEED_DATA: Final = Signal.NEED_DATA
PEER_CLOSED: Final = Signal.PEER_CLOSED
GIANT: Final = Signal.GIANT

Event = Frame | Giant | Fault | Signal


@dataclass(slots=True)
class DecoderCounts:
    """Uses of tolerances and blocks without a message; decoders of one listener share it."""

    tolerated: dict[Tolerance, int] = field(default_factory=lambda: dict.fromkeys(Tolerance, 0))
    empty_frames: int = 0
    release_2_blocks: int = 0


def encode_frame(content: bytes) -> bytes:
    """Return the frame that carries this content.

    Raises:
        ValueError: the content is empty or holds a framing byte; names its offset only.
    """
    if not content:
        raise ValueError("content is empty")
    if START_BLOCK in content or END_BLOCK in content:
        offset = min(o for o in (content.find(START_BLOCK), content.find(END_BLOCK)) if o != -1)
        byte = content[offset]
        raise ValueError(f"content holds the framing byte 0x{byte:02X} at offset {offset}")
    return b"\x0b%b\x1c\r" % content


class FrameDecoder:
    """Turns a byte stream into events.

    Call order: ``receive_data``, then ``next_event`` until it says ``NEED_DATA`` or
    ``PEER_CLOSED``. After a fatal fault it ignores what comes.

    Args:
        max_content_bytes: the largest content accepted; also bounds what is buffered.
        tolerate: departures from MLLP that are accepted and counted.
        counts: where uses are counted; its own when not given.
        giant_bytes: content of this size and more is not copied out: ``next_event`` says
            ``GIANT``, again and again, until ``take_giant`` is called. None: never.
    """

    __slots__ = (
        "_bare_inside",
        "_between",
        "_buffer",
        "_doubled",
        "_eof",
        "_failed",
        "_giant_bytes",
        "_lends",
        "_max",
        "_missing_cr",
        "_position",
        "_release_2_told",
        "_searched",
        "_silence",
        "_stray",
        "_whitespace",
        "counts",
    )

    def __init__(
        self,
        *,
        max_content_bytes: int,
        tolerate: Iterable[Tolerance] = DEFAULT_TOLERANCES,
        counts: DecoderCounts | None = None,
        giant_bytes: int | None = None,
    ) -> None:
        tolerated = frozenset(tolerate)
        self._whitespace = Tolerance.WHITESPACE_BETWEEN_FRAMES in tolerated
        self._missing_cr = Tolerance.MISSING_CR_AFTER_END_BLOCK in tolerated
        self._stray = Tolerance.BYTES_BEFORE_START_BLOCK in tolerated
        self._doubled = Tolerance.DOUBLED_START_BLOCK in tolerated
        self._bare_inside = Tolerance.BARE_END_BLOCK_INSIDE in tolerated
        self._max = max_content_bytes
        self._giant_bytes = max_content_bytes + 1 if giant_bytes is None else giant_bytes
        self._lends = False
        self.counts = DecoderCounts() if counts is None else counts
        self._buffer: bytes | bytearray = b""
        self._position = 0  # the first byte that is not part of an event yet
        self._searched = 1  # bytes from there that need no second search
        self._between = _PRISTINE
        self._eof = False
        self._silence = False
        self._failed = False
        self._release_2_told = False

    @property
    def is_mid_frame(self) -> bool:
        """Whether bytes are held that are no whole frame yet (or not taken yet)."""
        return self._position < len(self._buffer)

    @property
    def is_drained(self) -> bool:
        """Whether all bytes were taken and more may come: ``next_event`` would say ``NEED_DATA``."""
        return self._position == len(self._buffer) and not self._eof

    @property
    def waits_for_cr(self) -> bool:
        """Whether only silence can tell that the frame in hand has ended."""
        return (
            self._missing_cr
            and self._position < len(self._buffer)
            and self._buffer[self._position] == START_BLOCK
            and self._buffer[-1] == END_BLOCK
        )

    @property
    def is_ended(self) -> bool:
        """Whether the peer closed its sending side."""
        return self._eof

    def take_rest(self, *, wanted: bool = True) -> bytes:
        """Give up on the bytes that are held; return them, where they are wanted."""
        rest = self._copy(self._position, len(self._buffer)) if wanted else b""
        self._buffer = b""
        self._position = 0
        self._searched = 1
        return rest

    def settle(self) -> int:
        """Let go of bytes that belong to events already; return how many are held."""
        held = len(self._buffer) - self._position
        if not held:
            self._buffer = b""
            self._position = 0
        elif self._position > MAX_SPENT_BYTES:
            self._buffer = bytearray(memoryview(self._buffer)[self._position :])
            self._position = 0
        return held

    def receive_data(self, data: bytes) -> None:
        """Add received bytes; ``b""`` means the peer closed its sending side."""
        if not data:
            self._eof = True
            return
        if self._failed:
            return
        self._silence = False
        buffer = self._buffer
        if self._position == len(buffer):
            # Nothing is left over: whole frames are cut from the chunk itself, without a copy.
            self._buffer = data if type(data) is bytes else bytes(data)
        elif type(buffer) is bytearray:
            del buffer[: self._position]
            buffer += data
        else:
            self._buffer = bytearray(memoryview(buffer)[self._position :])
            self._buffer += data
        self._position = 0

    def receive_silence(self) -> None:
        """Say that nothing followed the last byte for a while (see ``waits_for_cr``)."""
        self._silence = True

    def take_frame(self) -> bytes | None:
        """Return the content of the next frame if it is there and plain: the fast path.

        ``None`` says nothing but that ``next_event`` must be asked.
        """
        buffer = self._buffer
        start = self._position
        if start == len(buffer) or buffer[start] != START_BLOCK:
            return None
        end = buffer.find(END_BLOCK, start + self._searched)
        if end == -1 or end + 1 == len(buffer) or buffer[end + 1] != CARRIAGE_RETURN:
            return None
        size = end - start - 1
        if size > self._max or size < 2 or size >= self._giant_bytes:
            return None
        content = self._copy(start + 1, end)
        if START_BLOCK in content:
            return None
        self._position = end + 2
        self._searched = 1
        self._between = 0
        return content

    def take_giant(self) -> Giant | Fault:
        """Take the frame of which ``next_event`` said ``GIANT``, without a copy of its bytes."""
        self._lends = True
        event = self.next_event()
        self._lends = False
        if isinstance(event, Giant | Fault):
            return event
        raise RuntimeError("no giant is there to be taken")

    def next_event(self) -> Event:
        """Return the next frame or fault, or say what is missing."""
        while True:
            if self._position == len(self._buffer):
                return PEER_CLOSED if self._eof else NEED_DATA
            if self._buffer[self._position] == START_BLOCK:
                event = self._read_frame()
            else:
                event = self._read_between()
            if event is not None:
                return event

    def _read_frame(self) -> Event | None:
        """Go on with the frame whose start block is the first byte; ``None``: ask again."""
        buffer, start = self._buffer, self._position
        if len(buffer) - start == 1:
            return self._fault(FramingFault.TRUNCATED, 1) if self._eof else NEED_DATA
        padded = self._doubled and buffer[start + 1] == START_BLOCK
        content_at = start + (2 if padded else 1)
        limit = content_at + self._max + 1
        end = buffer.find(END_BLOCK, max(start + self._searched, content_at), limit)
        if end == -1:
            if len(buffer) >= limit:
                return self._fault(FramingFault.TOO_LARGE, limit - 1 - start)
            self._searched = len(buffer) - start
            if self._eof:
                return self._fault(FramingFault.TRUNCATED, len(buffer) - start)
            return NEED_DATA
        after = end + 1
        ended = self._is_ended(after)
        if ended is None:
            self._searched = end - start
            return NEED_DATA
        if ended:
            has_cr = after < len(buffer) and buffer[after] == CARRIAGE_RETURN
            return self._finish_frame(content_at, end, has_cr=has_cr, padded=padded)
        if self._bare_inside and after < len(buffer):
            self._count(Tolerance.BARE_END_BLOCK_INSIDE)
            self._searched = after - start
            return None
        return self._fault(
            FramingFault.MISSING_CR_AFTER_END_BLOCK, min(after + 1, len(buffer)) - start
        )

    def _is_ended(self, after: int) -> bool | None:
        """Return whether the end block before ``after`` ends the frame; ``None``: not yet known."""
        if after == len(self._buffer):
            if self._missing_cr and (self._eof or self._silence):
                return True
            return False if self._eof else None
        follower = self._buffer[after]
        if follower == CARRIAGE_RETURN:
            return True
        return self._missing_cr and follower in (START_BLOCK, LINE_FEED)

    def _finish_frame(
        self, content_at: int, end: int, *, has_cr: bool, padded: bool
    ) -> Event | None:
        """Take the frame that ends at ``end`` from the buffer."""
        after = end + 2 if has_cr else end + 1
        if end - content_at >= self._giant_bytes:
            if not self._lends:
                return GIANT
            if self._buffer.find(START_BLOCK, content_at, end) == -1:
                giant = Giant(self._buffer, content_at, end)
                self._note_ended(has_cr=has_cr, padded=padded)
                self._buffer, self._position = self._copy(after, len(self._buffer)), 0
                return giant
        content = self._copy(content_at, end)
        if START_BLOCK in content:
            # An end block was lost: what follows looks whole, but nobody knows where it began.
            return self._fault(FramingFault.START_BLOCK_INSIDE_FRAME, after - self._position)
        raw = self._copy(self._position, after) if content in _RELEASE_2 else b""
        self._note_ended(has_cr=has_cr, padded=padded)
        self._position = after
        if not content:
            self.counts.empty_frames += 1
            return None
        if raw:
            return self._release_2(raw)
        return Frame(content)

    def _note_ended(self, *, has_cr: bool, padded: bool) -> None:
        """Remember how a frame ended: it tells what may come before the next."""
        self._between = 0
        if padded:
            self._count(Tolerance.DOUBLED_START_BLOCK)
            self._between |= _SECOND_END
        if not has_cr:
            self._count(Tolerance.MISSING_CR_AFTER_END_BLOCK)
            self._between |= _LATE_CR
        self._searched = 1

    def _release_2(self, raw: bytes) -> Fault | None:
        """Report the first release 2 answer of a connection; such a peer sends one a message."""
        self.counts.release_2_blocks += 1
        if self._release_2_told:
            return None
        self._release_2_told = True
        return Fault(FramingFault.RELEASE_2_BLOCK, raw, fatal=False)

    def _read_between(self) -> Event | None:
        """Go on where a start block is due and another byte stands; ``None``: ask again."""
        buffer, start = self._buffer, self._position
        first = buffer[start]
        if first == CARRIAGE_RETURN and self._between & _LATE_CR:
            self._between &= ~_LATE_CR
            self._position += 1
            return None
        if first == END_BLOCK and self._between & _SECOND_END:
            if start + 1 == len(buffer) and not self._eof:
                return NEED_DATA
            if buffer[start + 1 : start + 2] == b"\r":
                self._between = 0
                self._position += 2
                return None
        if self._whitespace:
            run = _WHITESPACE.match(buffer, start)
            if run is not None:
                if not self._between & _COUNTED:
                    self._count(Tolerance.WHITESPACE_BETWEEN_FRAMES)
                self._between = (self._between & _PRISTINE) | _COUNTED
                self._position = run.end()
                del run  # a match holds the buffer, which could then not grow
                return None
        if self._between & _PRISTINE:
            probe = self._read_probe()
            if probe is not None:
                return probe
        return self._read_stray()

    def _read_probe(self) -> Event | None:
        """Look whether the stream begins as another protocol; ``None``: it does not."""
        begin = self._copy(self._position, self._position + 12)
        for probe in _PROBES:
            if begin.startswith(probe):
                return self._fault(FramingFault.NOT_MLLP, len(probe))
            if not self._eof and probe.startswith(begin):
                return NEED_DATA
        return None

    def _read_stray(self) -> Event | None:
        """Collect unframed bytes up to a start block, an end block, the limit or the end.

        An end block without a start block is a message that lost its beginning: always fatal,
        so that its sender notices.
        """
        buffer, start = self._buffer, self._position
        limit = start + MAX_STRAY_BYTES + 1
        search_from = start + self._searched - 1
        opening = buffer.find(START_BLOCK, search_from, limit)
        ending = buffer.find(END_BLOCK, search_from, limit if opening == -1 else opening)
        if ending != -1:
            return self._fault(FramingFault.NO_START_BLOCK, ending + 1 - start)
        if opening == -1:
            size = len(buffer) - start
            if size > MAX_STRAY_BYTES or self._eof:
                return self._fault(FramingFault.NO_START_BLOCK, min(size, MAX_STRAY_BYTES))
            self._searched = size + 1
            return NEED_DATA
        if not self._stray:
            return self._fault(FramingFault.NO_START_BLOCK, opening - start)
        self._count(Tolerance.BYTES_BEFORE_START_BLOCK)
        self._between = 0
        self._position = opening
        self._searched = 1
        return Fault(FramingFault.NO_START_BLOCK, self._copy(start, opening), fatal=False)

    def _fault(self, fault: FramingFault, size: int) -> Fault:
        """End decoding with this fault; ``size`` bytes of the buffer belong to it."""
        data = self._copy(self._position, self._position + size)
        self._failed = True
        self._buffer = b""
        self._position = 0
        return Fault(fault, data, fatal=True)

    def _count(self, tolerance: Tolerance) -> None:
        self.counts.tolerated[tolerance] += 1

    def _copy(self, start: int, end: int) -> bytes:
        buffer = self._buffer
        if type(buffer) is bytes:
            return buffer[start:end]
        return bytes(memoryview(buffer)[start:end])
