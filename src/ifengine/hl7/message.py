"""A message: what ``MessageView`` reads, and writing to it. Only the field that is set is encoded."""

from collections.abc import Iterable, Sequence

from ifengine.errors import FieldError, unchained
from ifengine.hl7.charset import to_internal
from ifengine.hl7.delimiters import NoEscapeCharacterError
from ifengine.hl7.lines import (
    NUMBERED_FROM_SEPARATOR,
    Kept,
    LineEnds,
    breaks,
    is_segment_name,
    kept_without,
)
from ifengine.hl7.message_view import MessageError, MessageView
from ifengine.hl7.parts import NoDelimiterError, with_node

__all__ = ["NULL", "LineEnds", "Message", "MessageError", "MessageView"]

NULL = '""'  # the value that means: delete what you have


class Message(MessageView):
    """One HL7 v2 message.

    A write replaces the list of fields of its segment: copies share what neither of them wrote.
    """

    __slots__ = ()

    def set_text(
        self, i: int, f: int, r: int | None, c: int | None, s: int | None, value: str
    ) -> None:
        r"""Write one value into a node; a level of ``None`` replaces the whole node there.

        Every delimiter in it is escaped, CR, LF, VT and FS too, at every level: the value can
        create no structure. Formatting sequences such as ``\.br\`` stay (``Delimiters.escape``).

        Raises:
            FieldError: MSH-1 or MSH-2; a character the message's set does not have; a delimiter in
                a message without escape character; a part in a message without its delimiter.
        """
        encoded = self._encoded_text(i, f, r, c, s, value)
        if r is None and c is None and s is None:
            self.put_field(i, f, encoded)
        else:
            self._put(i, f, r, c, s, encoded)

    def set_texts(self, i: int, values: Sequence[tuple[int, str]]) -> None:
        """Write several whole fields of a segment, as ``set_text`` does.

        Raises:
            FieldError: as ``set_text``; then none of them is written.
        """
        encoded = [(f, self._encoded_text(i, f, None, None, None, value)) for f, value in values]
        if self._names[i] in NUMBERED_FROM_SEPARATOR:  # MSH-1 and MSH-2 cannot be written
            for f, value in encoded:
                self.put_field(i, f, value)
        else:
            self.set_fields(i, encoded)

    def _encoded_text(
        self, i: int, f: int, r: int | None, c: int | None, s: int | None, value: str
    ) -> bytes:
        if value.isascii():
            encoded = value.encode()
            # letters and digits are no delimiters and the same in every character set
            if encoded.isalnum() or (
                self.delimiters.marks(encoded) is None and not self._codec.wide
            ):
                return encoded
        return self._encode_value(i, f, r, c, s, value) if value else b""

    def _encode_value(
        self, i: int, f: int, r: int | None, c: int | None, s: int | None, value: str
    ) -> bytes:
        codec = self._codec
        try:
            ascii_only = value.isascii() and not codec.wide
            encoded = value.encode() if ascii_only else codec.encode_value(value)
        except UnicodeError:
            rule = "the character set of the message (MSH-18) lacks a character of this value"
            raise unchained(
                FieldError(self._place(i, f, r, c, s), rule, length=len(value))
            ) from None
        try:
            return self.delimiters.escape(encoded)
        except NoEscapeCharacterError:
            rule = "holds a delimiter, and MSH-2 names no escape character"
            raise unchained(
                FieldError(self._place(i, f, r, c, s), rule, length=len(value))
            ) from None

    def set_raw(
        self, i: int, f: int, r: int | None, c: int | None, s: int | None, value: bytes
    ) -> None:
        """Write encoded structure, as ``raw`` of this message gave it, into a node.

        Raises:
            FieldError: as ``set_text``; also a byte that would end the segment or the frame, a
                field separator, or a delimiter of the node's own level or a higher one.
        """
        if value.isalnum() or not value:  # no delimiter, and the same in every character set
            if r is None and c is None and s is None:
                self.put_field(i, f, value)
            else:
                self._put(i, f, r, c, s, value)
            return
        if breaks(value):
            raise FieldError(self._place(i, f, r, c, s), "holds a line end or framing byte")
        if self._codec.wide:
            rewritten = to_internal(value, self._codec)
            if rewritten is None:
                raise FieldError(
                    self._place(i, f, r, c, s), "is not of the message's character set"
                )
            value = rewritten
        delimiters = self.delimiters  # one that is not named has the code of a line end: refused
        in_component = c is not None or s is not None
        if (
            delimiters.field in value
            or ((in_component or r is not None) and delimiters.repetition_code in value)
            or (in_component and delimiters.component_code in value)
            or (s is not None and delimiters.subcomponent_code in value)
        ):
            raise FieldError(self._place(i, f, r, c, s), "holds a delimiter of a higher level")
        self._put(i, f, r, c, s, value)

    def set_fields(self, i: int, values: Sequence[tuple[int, bytes]]) -> None:
        """Write several whole fields as they are encoded: the caller knows that nothing breaks out.

        Not for MSH-1 and MSH-2.
        """
        old = self._fields(i)
        fields = old.copy()
        for f, value in values:
            while f >= len(fields):
                fields.append(b"")
            fields[f] = value
        if fields != old:
            self._segments[i] = fields
            if i == 0:
                self._header = None
            self._encoded = None

    def places_of(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """Return where segments stand that are there once; None where one of them is not."""
        found = [self.each(name) for name in names]
        return tuple(at[0] for at in found) if all(len(at) == 1 for at in found) else None

    def open_segments(self, places: Sequence[int]) -> list[list[bytes]]:
        """Return the fields of segments, field n at n, to be changed and given to ``put_segments``."""
        segments = self._segments
        opened = []
        for i in places:
            fields = segments[i]
            opened.append((fields if type(fields) is list else self._fields(i)).copy())
        return opened

    def put_segments(self, places: Sequence[int], opened: Sequence[list[bytes]]) -> None:
        """Write segments that ``open_segments`` gave; the caller knows that no field breaks out.

        The lists belong to the message then. What is as it was counts as not written.
        """
        segments = self._segments
        for i, fields in zip(places, opened, strict=True):
            if fields != segments[i]:
                segments[i] = fields
                self._encoded = None
                if i == 0:
                    self._header = None

    def remove_repetitions(self, i: int, f: int, keep: Sequence[int]) -> None:
        """Keep only these repetitions of a field, counted from 1, in the order they stand."""
        value = self._field(i, f)
        repetition = self.delimiters.repetition
        found = value.split(repetition) if repetition else [value]
        kept = [found[number - 1] for number in sorted(frozenset(keep)) if number <= len(found)]
        self.put_field(i, f, repetition.join(kept))

    def insert_segment(self, at: int, name: str) -> int:
        """Put a new, empty segment before position ``at`` (the count of segments: at the end).

        Raises:
            FieldError: the name is not three characters of a segment name, or the place is before
                MSH.
        """
        if not is_segment_name(name):
            raise FieldError("segment name", "must be a capital letter and two capitals or digits")
        if name == "MSH":
            raise FieldError("MSH", "cannot be added")
        if not 1 <= at <= len(self._names):
            raise FieldError(name, "cannot stand before MSH or beyond the end")
        self._segments.insert(at, [name.encode("ascii")])
        names = self._names = self._names.copy()
        self._positions = None
        names.insert(at, name)
        if self._tails is not None:
            self._tails = [*self._tails[:at], b"", *self._tails[at:]]
        self._encoded = None
        return at

    def delete_segments(self, indexes: Iterable[int]) -> None:
        """Remove the segments at these positions, with what is carried behind them.

        Raises:
            FieldError: MSH is among them.
        """
        gone = frozenset(indexes)
        if not gone:
            return
        if any(self._names[i] == "MSH" for i in gone):
            raise FieldError("MSH", "cannot be deleted")
        self.keep_segments(kept_without(self._names, gone))

    def keep_segments(self, kept: Kept) -> None:
        """Keep what ``kept_without`` said for segments of these names."""
        self._segments = list(kept.pick(self._segments))
        if self._tails is not None:
            self._tails = list(kept.pick(self._tails))
        self._names = kept.names
        self._positions = kept.positions
        self._encoded = None

    def discard_stray_lines(self) -> None:
        """Drop the lines that belong to no segment: nothing else can address them."""
        if self._tails is not None:
            self._tails = None
            self._encoded = None

    def reorder_segments(self, order: Sequence[int]) -> None:
        """Put the segments into another order: ``order`` holds every position once.

        What is carried behind a segment goes with it.

        Raises:
            FieldError: MSH would not stay first.
            ValueError: a position is missing or there twice.
        """
        if sorted(order) != list(range(len(self._names))):
            raise ValueError("an order holds every position once")
        if order[0] != 0:
            raise FieldError("MSH", "stays first")
        self._segments = [self._segments[i] for i in order]
        self._names = [self._names[i] for i in order]
        if self._tails is not None:
            self._tails = [self._tails[i] for i in order]
        self._positions = None
        self._encoded = None

    def _put(
        self, i: int, f: int, r: int | None, c: int | None, s: int | None, value: bytes
    ) -> None:
        if r is not None or c is not None or s is not None:
            fields = self._segments[i]
            if type(fields) is not list:
                fields = self._fields(i)
            old = fields[f] if 0 < f < len(fields) else b""
            try:
                value = with_node(old, self.delimiters, r, c, s, value)
            except NoDelimiterError:
                place = self._place(i, f, r, c, s)
                raise unchained(
                    FieldError(place, "MSH-2 names no delimiter for this part")
                ) from None
        self.put_field(i, f, value)

    def put_field(self, i: int, f: int, value: bytes) -> None:
        """Write a whole field as it is encoded: the caller knows that nothing in it breaks out.

        Raises:
            FieldError: MSH-1 or MSH-2.
        """
        if f <= 2 and (f < 1 or self._names[i] in NUMBERED_FROM_SEPARATOR):
            if f < 1:
                raise ValueError("fields count from 1")
            raise FieldError(self._place(i, f, None, None, None), "cannot be set")
        fields = self._segments[i]
        if type(fields) is not list:
            fields = self._fields(i)
        count = len(fields)
        if f < count:
            if fields[f] == value:
                return
            fields = fields.copy()
            fields[f] = value
        elif value:
            fields = [*fields, *[b""] * (f - count), value]
        else:
            return
        self._segments[i] = fields
        if i == 0:
            self._header = None
        self._encoded = None

    def _place(self, i: int, f: int, r: int | None, c: int | None, s: int | None) -> str:
        name = self._names[i]
        occurrence = self._names[: i + 1].count(name)
        place = f"{name}[{occurrence}]-{f}" if occurrence > 1 else f"{name}-{f}"
        if r is not None and r > 1:
            place += f"[{r}]"
        if c is not None or s is not None:
            place += f".{c or 1}"
        return place if s is None else f"{place}.{s}"

    # --- encoding of giants -------------------------------------------------------------------

    def is_at_least(self, size: int) -> bool:
        """Whether the message has so many bytes, line ends not counted."""
        for segment in self._segments:
            size -= len(segment) if isinstance(segment, bytes) else sum(map(len, segment))
            if size <= 0:
                return True
        return False

    def encode_as(self, other: "Message") -> bool:
        """Take over what ``other`` was encoded to, where it says the same; return whether it does.

        Cheap where both are copies of one message: what neither changed is the same object.
        """
        is_same = (
            other._encoded is not None
            and self._names == other._names
            and self._segments == other._segments
            and self._tails == other._tails
            and (self._separator, self._bom) == (other._separator, other._bom)
            and self._codec is other._codec
        )
        if is_same:
            self._encoded = other._encoded
        return is_same
