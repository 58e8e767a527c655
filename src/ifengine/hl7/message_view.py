"""A lazy view of one message over its bytes: taken apart where it is asked, encoded as it came.

Only the segment that is asked for is split, and a message that nobody touched leaves as the very
bytes it came in. Positions of segments count from 0 in the message; fields, repetitions, components
and subcomponents count from 1 as in the standard.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Self

from ifengine.errors import EngineError
from ifengine.hl7.charset import (
    DEFAULT_POLICY,
    INTERNAL,
    OPAQUE,
    OPAQUE_BYTES,
    CharsetPolicy,
    Codec,
    from_internal,
    to_internal,
)
from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.header import (
    BYTE_ORDER_MARK,
    Header,
    HeaderFault,
    message_start,
    read_header,
)
from ifengine.hl7.lines import (
    NUMBERED_FROM_SEPARATOR,
    LineEnds,
    Positions,
    count_line_ends,
    ended,
    join_fields,
    join_segments,
    positions_by_name,
    split_fields,
    split_segments,
)
from ifengine.hl7.parts import leaves_of, node_of, part_of
from ifengine.pieces import GIANT_BYTES

_UNREADABLE = frozenset(
    {HeaderFault.EMPTY, HeaderFault.NO_MSH, HeaderFault.BATCH, HeaderFault.BAD_DELIMITERS}
)


_FIRST = (1, None)  # what may be asked of a value without parts
_NOTHING_ASKED: tuple[bytes, int, int, list[str]] = (b"", 0, 0, [])


class MessageError(EngineError):
    """The bytes are no message: there is no MSH, or its delimiters cannot be read."""

    code = "message"


class MessageView:
    """One HL7 v2 message, as far as it is read and encoded; ``Message`` writes to it.

    A line that does not begin with a segment name belongs to no segment: it is carried behind the
    segment before it, with its own line end, and cannot be addressed.
    """

    __slots__ = (
        "_asked",
        "_bom",
        "_codec",
        "_content",
        "_decoding",
        "_encoded",
        "_header",
        "_names",
        "_positions",
        "_segments",
        "_separator",
        "_tails",
        "delimiters",
    )

    delimiters: Delimiters
    # the field whose leaves were asked for last, which, and what they are: the identifiers of a
    # patient are looked at again and again. No field is changed in place, so the object tells.
    _asked: tuple[bytes, int, int, list[str]]
    _bom: bool
    _codec: Codec
    _content: bytes
    _decoding: tuple[str, str]
    _separator: bytes
    # a segment is its bytes until it is asked for, then its fields. The lists are shared between
    # copies and never changed in place: a write puts a new list.
    _segments: list[bytes | list[bytes]]
    _names: list[str]
    _positions: Positions | None  # of these names; None until somebody asks
    _tails: list[bytes] | None  # what is carried behind each segment; None: nothing anywhere
    _encoded: bytes | None
    _header: Header | None

    @classmethod
    def parse(
        cls,
        content: bytes,
        *,
        charset: CharsetPolicy = DEFAULT_POLICY,
        header: Header | None = None,
    ) -> Self:
        """Look at a message; ``header`` saves reading it again where it was read already.

        Raises:
            MessageError: there is no readable MSH.
        """
        if header is None:
            header = read_header(content)
        fault = header.fault
        if fault is not None and fault in _UNREADABLE:
            raise MessageError(f"not a message: {fault}")
        made = cls.__new__(cls)
        delimiters = header.delimiters
        codec = charset.codec(header.charset, delimiters.repetition, bom=header.bom)
        body = content if content.startswith(b"MSH") else content[message_start(content)[0] :]
        if codec.wide and (b"\x1b" in body or not body.isascii()):
            rewritten = to_internal(body, codec)
            # a set that does not fit the bytes counts for nothing: they are read as they stand
            body, codec = (body, OPAQUE) if rewritten is None else (rewritten, codec)
        made.delimiters = delimiters
        made._asked = _NOTHING_ASKED
        made._content = content
        made._codec = codec
        made._decoding = INTERNAL if codec.wide else (codec.name, OPAQUE_BYTES)
        made._separator = delimiters.field
        made._bom = header.bom
        made._header = header
        made._encoded = content
        made._positions = None
        made._segments, made._names, made._tails = split_segments(body, delimiters.field)
        return made

    def __repr__(self) -> str:
        return f"Message({len(self._names)} segments, touched={self.touched})"

    def copy(self) -> Self:
        """Return a message of its own that shares every segment until one of the two writes to it."""
        kind = type(self)
        made = kind.__new__(kind)
        made.delimiters = self.delimiters
        made._asked = self._asked
        made._content = self._content
        made._codec = self._codec
        made._decoding = self._decoding
        made._separator = self._separator
        made._bom = self._bom
        made._header = self._header
        made._encoded = self._encoded
        made._segments = self._segments.copy()
        made._names = self._names  # replaced, never changed in place
        made._positions = self._positions
        made._tails = self._tails
        return made

    # --- whole message ----------------------------------------------------------------------

    @property
    def header(self) -> Header:
        """MSH as it is now."""
        if self._header is None:
            line = join_fields(self._fields(0), self._separator)
            if self._codec.wide:
                line = from_internal(line, self._codec)
            self._header = read_header(BYTE_ORDER_MARK + line if self._bom else line)
        return self._header

    @property
    def touched(self) -> bool:
        """Whether something was changed: the message no longer is the bytes it came in."""
        return self._encoded is not self._content

    @property
    def has_stray_lines(self) -> bool:
        """Whether lines that are no segments are carried behind some segment."""
        return self._tails is not None

    @property
    def codec(self) -> Codec:
        """What turns the bytes of this message into text, decided when it was parsed.

        Setting MSH-18 does not convert what is there already.
        """
        return self._codec

    @property
    def line_ends(self) -> LineEnds:
        """The line ends of the bytes as they were received."""
        return count_line_ends(self._content)

    def encode(self) -> bytes:
        """Return the message: the same bytes object when nothing was touched.

        A touched one has its segments ended by CR, each untouched field as it was, a byte order
        mark and what is carried behind a segment as they came. Blank lines are left out.
        """
        if self._encoded is None:
            lines = join_segments(self._segments, self._names, self._separator)
            if self._tails is not None:
                lines = [line + tail for line, tail in zip(lines, self._tails, strict=True)]
            if len(self._content) < GIANT_BYTES:
                lines.append(b"")
                content = b"\r".join(lines)
            else:
                content = ended(lines)
            if self._codec.wide:
                content = self._in_its_charset(content)
            self._encoded = BYTE_ORDER_MARK + content if self._bom else content
        return self._encoded

    def _in_its_charset(self, internal: bytes) -> bytes:
        content = from_internal(internal, self._codec)
        if to_internal(content, self._codec) != internal:
            # an opaque byte came to stand before one that makes a character with it
            raise MessageError("the message does not read back in its character set")
        return content

    def names(self) -> list[str]:
        """Return the segment names in order."""
        return self._names.copy()

    def shape(self) -> tuple[str, ...]:
        """Return the segment names in order, for asking what is known of such messages."""
        return tuple(self._names)

    def indexes(self, name: str) -> list[int]:
        """Return the positions of the segments of this name."""
        return list(self._where().get(name, ()))

    def each(self, name: str) -> Sequence[int]:
        """Return ``indexes`` for looking at only, as they are now."""
        positions = self._positions
        if positions is None:
            positions = self._where()
        return positions.get(name, ())

    def first(self, name: str) -> int:
        """Return the position of the first segment of this name, -1 where there is none."""
        positions = self._positions
        if positions is None:
            positions = self._where()
        found = positions.get(name)
        return -1 if found is None else found[0]

    @property
    def positions(self) -> Positions:
        """Where the segments of each name stand: the same object for many messages of one shape."""
        return self._where()

    @property
    def plain_positions(self) -> Positions | None:
        """``positions``; None where the bytes of a character may look like a delimiter."""
        if self._codec.wide:
            return None
        return self._where() if self._positions is None else self._positions

    def _where(self) -> Positions:
        if self._positions is None:
            self._positions = positions_by_name(self._names)
        return self._positions

    # --- reading ----------------------------------------------------------------------------

    def field_count(self, i: int) -> int:
        """Return how many fields a segment has, trailing empty ones included."""
        segment = self._segments[i]
        if isinstance(segment, bytes):
            return segment.count(self._separator) + (self._names[i] in NUMBERED_FROM_SEPARATOR)
        return len(segment) - 1

    def repetition_count(self, i: int, f: int) -> int:
        """Return how many repetitions a field has: 0 when it is empty or absent."""
        if f <= 2 and self._names[i] in NUMBERED_FROM_SEPARATOR:
            return 1
        value = self._field(i, f)
        if not value:
            return 0
        delimiters = self.delimiters
        if delimiters.repetition_code in value:
            return value.count(delimiters.repetition) + 1
        return 1

    def line(self, i: int) -> bytes:
        """Return a segment as it is encoded, without its end and what is carried behind it."""
        segment = self._segments[i]
        line = segment if isinstance(segment, bytes) else join_fields(segment, self._separator)
        return from_internal(line, self._codec) if self._codec.wide else line

    def sole(self, name: str, f: int) -> int:
        """Return the position of the one segment of this name, where the field does not repeat.

        Returns:
            -1 where there is no such segment or several, or where the field is empty or repeats.
        """
        found = self._where().get(name, ())
        if f <= 2 or len(found) != 1:
            return -1
        i = found[0]
        fields = self._segments[i]
        if type(fields) is not list:
            fields = self._fields(i)
        value = fields[f] if f < len(fields) else b""
        return i if value and self.delimiters.repetition_code not in value else -1

    def fields(self, i: int) -> Sequence[bytes]:
        """Return the encoded fields of a segment at once: field n at n, the name at 0.

        For looking at many of them; the delimiters are ASCII in it whatever the character set is.
        A segment that nobody touched stays in one piece.
        """
        segment = self._segments[i]
        if isinstance(segment, bytes):
            return split_fields(segment, self._names[i], self._separator)
        return segment

    def raw(
        self, i: int, f: int, r: int | None = None, c: int | None = None, s: int | None = None
    ) -> bytes:
        """Return the encoded bytes of a node, ``b""`` when it is absent.

        ``None`` means the whole node at that level; where a lower level is given, the first.
        """
        if f <= 2 and (f < 1 or self._names[i] in NUMBERED_FROM_SEPARATOR):
            value = self._node(i, f, r, c, s)
        else:
            fields = self._segments[i]
            if type(fields) is not list:
                fields = self._fields(i)
            if f >= len(fields):
                return b""
            value = fields[f]
            if value.isalnum() and r in _FIRST and c in _FIRST and s in _FIRST:
                return value  # no letter or digit is a delimiter, in no character set
            if r is not None or c is not None or s is not None:
                value = node_of(value, self.delimiters, r, c, s)
        return from_internal(value, self._codec) if self._codec.wide else value

    def text(
        self, i: int, f: int, r: int | None = None, c: int | None = None, s: int | None = None
    ) -> str:
        """Return a node as text, ``""`` when it is absent.

        A node without parts is unescaped, one with parts is its encoded text. Formatting and
        unknown escape sequences stay as they are written (see ``Delimiters.escape``). Bytes that
        the character set does not have are lone surrogates: opaque, and the same when written.
        """
        fields = self._segments[i]
        if type(fields) is not list:
            fields = self._fields(i)
        if f >= len(fields):
            return ""
        return self._text(i, f, r, c, s, fields[f])

    def first_leaf(self, name: str, f: int) -> str:
        """Return ``leaf`` of the first subcomponent of a field: what conditions ask for most."""
        positions = self._positions
        if positions is None:
            positions = self._where()
        found = positions.get(name)
        if found is None:
            return ""
        i = found[0]
        fields = self._segments[i]
        if type(fields) is not list:
            fields = self._fields(i)
        value = fields[f] if f < len(fields) else b""
        if value.isalnum():
            return value.decode()  # no letter or digit is a delimiter
        return self._text(i, f, 1, 1, 1, value) if value else ""

    def leaf(self, name: str, f: int, r: int | None, c: int | None, s: int | None) -> str:
        """Return ``text`` of a node in the first segment of a name; ``""`` where there is none."""
        positions = self._positions
        if positions is None:
            positions = self._where()
        found = positions.get(name)
        if found is None:
            return ""
        i = found[0]
        fields = self._segments[i]
        if type(fields) is not list:
            fields = self._fields(i)
        value = fields[f] if f < len(fields) else b""
        if not value:
            return ""
        delimiters = self.delimiters
        if c is not None and s is None and r == 1 and delimiters.repetition_code not in value:
            # asked for most often: a component where nothing repeats
            parts = value.split(delimiters.component, c)
            part = parts[c - 1] if c <= len(parts) else b""
            if part.isalnum():
                return part.decode()
        return self._text(i, f, r, c, s, value)

    def _text(
        self, i: int, f: int, r: int | None, c: int | None, s: int | None, value: bytes
    ) -> str:
        """Return the text of a node of a field with this value."""
        if value.isalnum() and r == 1 and (c == 1 or c is None) and (s == 1 or s is None):
            return value.decode()  # no delimiter in it: the field is its own first leaf
        delimiters = self.delimiters
        if f <= 2 and (f < 1 or self._names[i] in NUMBERED_FROM_SEPARATOR):
            value = self._node(i, f, r, c, s)
        elif c is not None and r == 1 and delimiters.repetition_code not in value:
            # asked for most often: a component where nothing repeats
            if c == 1:
                value = value.partition(delimiters.component)[0]
            else:
                value = part_of(value, delimiters.component, c)
            if s is not None and (s != 1 or delimiters.subcomponent_code in value):
                value = part_of(value, delimiters.subcomponent, s)
        elif r is not None or c is not None or s is not None:
            value = node_of(value, delimiters, r, c, s)
        if value.isalnum():
            return value.decode()
        if delimiters.escape_code in value and not self._has_parts(i, f, r, c, s, value):
            value = delimiters.unescape(value, self._hexadecimal())
        # every set here has the ASCII characters at their bytes; its codec costs more to find
        return value.decode() if value.isascii() else value.decode(*self._decoding)

    def leaves(self, i: int, f: int, c: int, s: int) -> Sequence[str]:
        """Return ``text`` of one subcomponent in every repetition; none where the field is empty."""
        if f > 2:
            fields, delimiters = self._segments[i], self.delimiters
            if type(fields) is not list:
                fields = self._fields(i)
            value = fields[f] if f < len(fields) else b""
            if not value:
                return []
            asked = self._asked
            if asked[0] is value and asked[1] == c and asked[2] == s:
                return asked[3]
            if value.isascii() and delimiters.escape_code not in value:
                found = [leaf.decode() for leaf in leaves_of(value, delimiters, c, s)]
                self._asked = (value, c, s, found)
                return found
        return [self.text(i, f, r, c, s) for r in range(1, self.repetition_count(i, f) + 1)]

    def _fields(self, i: int) -> list[bytes]:
        """Return the segment name and its fields: field n is at n, MSH-1 included."""
        segment = self._segments[i]
        if isinstance(segment, bytes):
            segment = split_fields(segment, self._names[i], self._separator)
            self._segments[i] = segment
        return segment

    def _field(self, i: int, f: int) -> bytes:
        if f < 1:
            raise ValueError("fields count from 1")
        fields = self._segments[i]
        if type(fields) is not list:
            fields = self._fields(i)
        return fields[f] if f < len(fields) else b""

    def _node(self, i: int, f: int, r: int | None, c: int | None, s: int | None) -> bytes:
        value = self._field(i, f)
        if f <= 2 and self._names[i] in NUMBERED_FROM_SEPARATOR:
            # MSH-1 and MSH-2 have no parts: what looks like delimiters there is their value
            return b"" if {r, c, s} - {None, 1} else value
        if r is None and c is None and s is None:
            return value
        return node_of(value, self.delimiters, r, c, s)

    def _has_parts(
        self, i: int, f: int, r: int | None, c: int | None, s: int | None, value: bytes
    ) -> bool:
        if f <= 2 and self._names[i] in NUMBERED_FROM_SEPARATOR:
            return True  # never unescaped (2.5.4)
        delimiters = self.delimiters
        if s is None and delimiters.subcomponent_code in value:
            return True
        if c is not None or s is not None:
            return False
        return delimiters.component_code in value or (
            r is None and delimiters.repetition_code in value
        )

    def _hexadecimal(self) -> Callable[[bytes], bytes]:
        return partial(_hexadecimal_of, self._codec) if self._codec.wide else bytes


def _hexadecimal_of(codec: Codec, raw: bytes) -> bytes:
    return codec.decode(raw).encode(*INTERNAL)
