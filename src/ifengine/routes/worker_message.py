"""The message as a function of the site sees it: segments, and places in them.

This runs in a worker process, beside ``worker_program`` and without the engine. It reads and writes
values as ``hl7.message`` does.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

_BREAKING = {"\r": "X0D", "\n": "X0A", "\x0b": "X0B", "\x1c": "X1C"}
_PLACE = re.compile(r"(\d+)(?:\[(\d+)\])?(?:\.(\d+)(?:\.(\d+))?)?")
_PATH = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?-(.+)")
# the sequences that the engine leaves alone too (2.7.1 to 2.7.8)
_FORMATTING = re.compile(
    r"[HN]|\.[A-Za-z]{2} ?[+-]?[0-9]*|C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4}(?:[0-9A-Fa-f]{2})?|Z[0-9A-Fa-f]+"
)
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")


class Marks:
    """The delimiters of one message, and how values are written with them."""

    def __init__(self, field: str, msh2: str) -> None:
        self.field = field
        self.msh2 = msh2
        marks = msh2.ljust(5)
        self.component, self.repetition, self.escape, self.sub, self.truncation = (
            mark.strip() for mark in marks[:5]
        )
        named = {
            field: "F",
            self.component: "S",
            self.repetition: "R",
            self.escape: "E",
            self.sub: "T",
            self.truncation: "P",
        }
        self._plain = {letter: mark for mark, letter in named.items() if mark}
        hidden = {mark: letter for mark, letter in named.items() if mark} | _BREAKING
        self._hidden = {m: f"{self.escape}{letter}{self.escape}" for m, letter in hidden.items()}
        self._special = re.compile("[" + re.escape("".join(self._hidden)) + "]")
        escape = re.escape(self.escape)
        self._sequence = re.compile(f"{escape}([^{escape}]*){escape}" if escape else "(?!)()")

    def hide(self, value: str) -> str:
        """Return a value so that it can stand in a message as one value and nothing else."""
        if value.isalnum():
            return value
        if not self.escape:
            if self._special.search(value):
                raise ValueError("holds a delimiter, and MSH-2 names no escape character")
            return value
        pieces, at = [], 0
        for match in self._sequence.finditer(value):
            body = match[1]
            if _FORMATTING.fullmatch(body) and not self._special.search(body):
                pieces += [self._hide(value[at : match.start()]), match[0]]
                at = match.end()
        pieces.append(self._hide(value[at:]))
        return "".join(pieces)

    def _hide(self, value: str) -> str:
        return self._special.sub(lambda match: self._hidden[match[0]], value)

    def show(self, value: str, charset: str) -> str:
        """Return the value that stands in a message as this text."""
        if not self.escape or self.escape not in value:
            return value

        def undo(match: re.Match[str]) -> str:
            body = match[1]
            if body in self._plain:
                return self._plain[body]
            if re.fullmatch(r"X(?:[0-9A-Fa-f]{2})+", body):
                return bytes.fromhex(body[1:]).decode(charset, "surrogateescape")
            return match[0]

        return self._sequence.sub(undo, value)


# a site's senders have few sets of delimiters; what they make is never changed
_marks = lru_cache(maxsize=32)(Marks)


def _split(value: str, mark: str) -> list[str]:
    return value.split(mark) if mark else [value]


def _put(value: str, mark: str, number: int, part: Callable[[str], str]) -> str:
    """Return ``value`` with its part ``number``, counted from 1, made anew; empty ones before it."""
    parts = _split(value, mark)
    if number > len(parts):
        if not part(""):
            return value  # what is not there is empty already
        if not mark:
            raise ValueError("MSH-2 names no delimiter for this part")
        parts += [""] * (number - len(parts))
    parts[number - 1] = part(parts[number - 1])
    return mark.join(parts)


class Segment:
    """One segment: ``segment["5.1"]`` is field 5, component 1; ``["3[2].4"]`` its second repetition.

    Reading gives the value without escapes, or the encoded text where the node has parts. Writing
    writes one value: delimiters in it are escaped. A segment that is not written to leaves as it
    came.
    """

    def __init__(self, message: "Message", line: str, origin: int) -> None:
        self._message = message
        self._line = line
        self._parts: list[str] | None = None  # most segments are never looked into
        self._name = line.partition(message.marks.field)[0]
        self.origin = origin
        self.written = origin < 0

    @property
    def name(self) -> str:
        """``OBX``."""
        return self._name

    @property
    def _fields(self) -> list[str]:
        if self._parts is None:
            mark = self._message.marks.field
            self._parts = self._line.split(mark)
            if self._line.startswith("MSH"):
                self._parts.insert(1, mark)
        return self._parts

    def __repr__(self) -> str:
        return f"<Segment {self.name}>"

    def raw(self, place: str) -> str:
        """Return a node as it is encoded, ``""`` where there is none."""
        number, r, c, s = _place(place)
        value = self._fields[number] if number < len(self._fields) else ""
        if self.name == "MSH" and number <= 2:
            return value
        marks = self._message.marks
        if r is None and c is not None:
            r = 1
        levels = ((r, marks.repetition), (c, marks.component), (s, marks.sub))
        for at, mark in levels:
            if at is not None:
                parts = _split(value, mark)
                value = parts[at - 1] if at <= len(parts) else ""
        return value

    def set_raw(self, place: str, value: str) -> None:
        """Write encoded text, structure included, such as ``A^B``."""
        number, r, c, s = _place(place)
        marks = self._message.marks
        if self.name == "MSH" and number <= 2:
            raise ValueError("the delimiters of a message cannot be changed")
        if any(mark in value for mark in (marks.field, *_BREAKING)):
            raise ValueError("holds a line end, a framing byte or a field separator")
        if r is None and c is not None:
            r = 1

        def sub(old: str) -> str:
            return value if s is None else _put(old, marks.sub, s, lambda _: value)

        def component(old: str) -> str:
            return value if c is None else _put(old, marks.component, c, sub)

        fields = self._fields
        if number >= len(fields):
            if not value:
                return
            fields += [""] * (number + 1 - len(fields))
        if r is None:
            fields[number] = value
        else:
            fields[number] = _put(fields[number], marks.repetition, r, component)
        self.written = True

    def __getitem__(self, place: str) -> str:
        value = self.raw(place)
        marks = self._message.marks
        number, r, c, s = _place(place)
        if self.name == "MSH" and number <= 2:
            return value
        inner = [marks.sub] if s is None else []
        inner += [marks.component] if c is None else []
        inner += [marks.repetition] if r is None and c is None else []
        if any(mark and mark in value for mark in inner):
            return value
        return marks.show(value, self._message.charset)

    def __setitem__(self, place: str, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError("a field takes text")
        self.set_raw(place, self._message.marks.hide(value))

    def repetitions(self, place: str) -> int:
        """Return how many repetitions a field has, 0 where it is empty."""
        value = self.raw(place)
        return len(_split(value, self._message.marks.repetition)) if value else 0

    def encoded(self) -> str:
        """Return the segment as one line."""
        fields = self._fields
        if self.name == "MSH":
            fields = [fields[0], *fields[2:]]
        return self._message.marks.field.join(fields)


def _place(place: str) -> tuple[int, int | None, int | None, int | None]:
    match = _PLACE.fullmatch(str(place))
    numbers = [None if part is None else int(part) for part in match.groups()] if match else []
    if not numbers or any(number == 0 for number in numbers):
        raise KeyError('a place is written as in "5", "5.1", "3[2].4", "5.1.2", counted from 1')
    field, repetition, component, sub = numbers
    return field or 0, repetition, component, sub


class Message:
    """A message, as its segments in order."""

    def __init__(self, text: str, charset: str) -> None:
        lines = text.split("\r")
        self.charset = charset
        self.marks = _marks(lines[0][3:4], lines[0][4:].partition(lines[0][3:4])[0])
        self._segments = [Segment(self, line, at) for at, line in enumerate(lines)]

    def __iter__(self) -> Iterator[Segment]:
        return iter(list(self._segments))

    def segments(self, name: str) -> list[Segment]:
        """Return every segment of this name, in order."""
        return [segment for segment in self._segments if segment._name == name]

    def segment(self, name: str) -> Segment | None:
        """Return the first segment of this name; None where there is none."""
        return next((segment for segment in self._segments if segment._name == name), None)

    def field(self, path: str) -> str:
        """Return what stands at ``PID-5.1`` or ``OBX[2]-5``, ``""`` where there is nothing."""
        segment, place = self._at(path)
        return "" if segment is None else segment[place]

    def set(self, path: str, value: str) -> None:
        """Write one value at ``PID-5.1``; a segment that is not there is a LookupError."""
        segment, place = self._at(path)
        if segment is None:
            raise LookupError(f"there is no segment for {path}")
        segment[place] = value

    def _at(self, path: str) -> tuple[Segment | None, str]:
        match = _PATH.fullmatch(path)
        if match is None:
            raise KeyError('a path is written as in "PID-5.1" or "OBX[2]-5"')
        found = self.segments(match[1])
        at = int(match[2] or 1)
        return (found[at - 1] if 1 <= at <= len(found) else None), match[3]

    def add_segment(self, name: str, after: Segment | None = None) -> Segment:
        """Put an empty segment behind another one, or at the end."""
        if not _NAME.fullmatch(name) or name == "MSH":
            raise ValueError("a segment has a name of three capitals and digits, and MSH is there")
        at = len(self._segments) if after is None else self._index(after) + 1
        made = Segment(self, name, -1)
        self._segments.insert(at, made)
        return made

    def remove_segment(self, segment: Segment) -> None:
        """Take a segment out; MSH stays."""
        at = self._index(segment)
        if at == 0:
            raise ValueError("MSH cannot be removed")
        del self._segments[at]

    def _index(self, segment: Segment) -> int:
        for at, one in enumerate(self._segments):
            if one is segment:
                return at
        raise LookupError("the segment is not in this message")

    def changes(self) -> tuple[list[int], list[tuple[int, str]]]:
        """Return where each segment came from (-1: new), and the lines that were written to."""
        found = list(enumerate(self._segments))
        written = [(at, segment.encoded()) for at, segment in found if segment.written]
        return [segment.origin for _, segment in found], written
