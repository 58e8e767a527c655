"""From bytes to segments: CR, LF and CRLF, blank lines, and lines that are no segment."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from operator import itemgetter
from typing import Any, NamedTuple, cast

from ifengine.hl7.delimiters import BREAKING_BYTES
from ifengine.pieces import GIANT_BYTES, PIECE_BYTES, copied, let_others_go_on, pieces

Segments = tuple[list[bytes | list[bytes]], list[str], list[bytes] | None]

LINE_FEED = 0x0A  # looking for a number in bytes is several times faster than for bytes
_SEGMENT_NAME = re.compile(rb"[A-Z][A-Z0-9]{2}")
_LINE = re.compile(rb"[^\r\n]+")
_LINE_BEGINS = re.compile(rb"[^\r\n]")
_BREAKING = re.compile(b"[" + re.escape(BREAKING_BYTES) + b"]")

# in these field 1 is the separator itself, so that the second piece of a split is field 2
NUMBERED_FROM_SEPARATOR = frozenset({"MSH", "FHS", "BHS"})

# The beginnings of lines seen so far, name and separator, by separator. Looking one up costs less
# than checking it; the limits keep a peer that sends ever new ones from filling memory.
_MOST_NAMES = 4096
_KNOWN_NAMES: dict[bytes, dict[bytes, str]] = {}

# segment name -> positions from 0, never empty
Positions = Mapping[str, Sequence[int]]
_LONGEST_KNOWN = 64
_MOST_KNOWN = 1024
_KNOWN_POSITIONS: dict[tuple[str, ...], Positions] = {}


class LineEnds(NamedTuple):
    """How often each line end occurs. Only CR is right."""

    cr: int
    lf: int
    crlf: int


def count_line_ends(content: bytes) -> LineEnds:
    """Count the line ends of content by kind."""
    line_feeds = content.count(b"\n")
    both = content.count(b"\r\n") if line_feeds else 0
    return LineEnds(content.count(b"\r") - both, line_feeds - both, both)


@lru_cache(maxsize=512)  # the names that steps insert
def is_segment_name(name: str) -> bool:
    """Whether this is a capital letter and two capitals or digits."""
    return _SEGMENT_NAME.fullmatch(name.encode("ascii", "replace")) is not None


def breaks(value: bytes) -> bool:
    """Whether a byte of this value would end a segment or a frame."""
    return _BREAKING.search(value) is not None


def split_segments(content: bytes, separator: bytes) -> Segments:
    """Split content that begins with MSH.

    Returns:
        Segments, their names, and what is carried behind each: lines that begin with no segment
        name, each with the line end before it. None where nothing is. Blank lines are left out.
    """
    known = _KNOWN_NAMES.setdefault(separator, {})
    if len(content) < GIANT_BYTES and LINE_FEED not in content:
        lines = content.split(b"\r")
        if not lines[-1]:
            lines.pop()
        get = known.get
        names = [get(line[:4]) for line in lines]
        if None not in names:
            return cast("list[bytes | list[bytes]]", lines), cast("list[str]", names), None
    return _split_carefully(content, separator, known)


def only(content: bytes, names: Collection[bytes]) -> bytes:
    """Return a message of the segments of these names alone, each ended by CR."""
    return b"".join(
        content[start:end] + b"\r"
        for start, end in _lines(content)
        if content[start : start + 3] in names
    )


def positions_by_name(names: list[str]) -> Positions:
    """Return where the segments of each name stand.

    Feeds send the same few sequences of segments again and again: what was seen is not made again.
    """
    if len(names) > _LONGEST_KNOWN:
        return _find_positions(names)
    key = tuple(names)
    known = _KNOWN_POSITIONS.get(key)
    if known is None:
        if len(_KNOWN_POSITIONS) >= _MOST_KNOWN:
            _KNOWN_POSITIONS.clear()
        known = _KNOWN_POSITIONS[key] = _find_positions(names)
    return known


class Kept(NamedTuple):
    """Which segments of a message stay, and what their names are then."""

    pick: Callable[[Sequence[Any]], Iterable[Any]]  # gives them, in order; MSH among them
    names: list[str]  # shared: never changed in place
    positions: Positions


def kept_without(names: Sequence[str], gone: Collection[int]) -> Kept:
    """Return what stays of segments of these names when those at some positions go."""
    at = [i for i in range(len(names)) if i not in gone]
    left = [names[i] for i in at]
    # of one position the getter gives no sequence
    pick = itemgetter(*at) if len(at) > 1 else lambda every: [every[i] for i in at]
    return Kept(pick, left, positions_by_name(left))


def _find_positions(names: list[str]) -> Positions:
    found: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        found.setdefault(name, []).append(position)
    return found


def split_fields(line: bytes, name: str, separator: bytes) -> list[bytes]:
    """Split a segment: its name, then field n at n, field 1 of MSH included."""
    fields = line.split(separator)
    if name in NUMBERED_FROM_SEPARATOR:
        fields.insert(1, separator)
    return fields


def join_fields(fields: list[bytes], separator: bytes) -> bytes:
    """Undo ``split_fields``."""
    # only a header has the separator for a field: it can stand in no other
    if len(fields) > 1 and fields[1] == separator:
        return separator.join([fields[0], *fields[2:]])
    return separator.join(fields)


def ended(lines: Iterable[bytes]) -> bytes:
    """Return lines, each ended by CR, put together piece by piece. For any thread."""
    found = BytesIO()  # grows in place, and gives its bytes away without another copy
    some: list[bytes] = []
    size = 0
    for line in lines:
        if len(line) < PIECE_BYTES:
            some.append(line)
            size += len(line)
            if size < PIECE_BYTES:
                continue
            rest: list[memoryview] = []
        else:
            rest = pieces(line)
        some.append(b"")
        found.write(b"\r".join(some))
        let_others_go_on()
        for piece in rest:
            found.write(piece)
            let_others_go_on()
        if rest:
            found.write(b"\r")
        some, size = [], 0
    some.append(b"")
    found.write(b"\r".join(some))
    return found.getvalue()


def join_segments(
    segments: list[bytes | list[bytes]], names: list[str], separator: bytes
) -> list[bytes]:
    """Return the segments of a message as lines, without their ends."""
    join = separator.join
    msh, *others = segments
    if NUMBERED_FROM_SEPARATOR.isdisjoint(names[1:]):
        lines = [segment if isinstance(segment, bytes) else join(segment) for segment in others]
    else:
        lines = [
            segment if isinstance(segment, bytes) else join_fields(segment, separator)
            for segment in others
        ]
    lines.insert(0, msh if isinstance(msh, bytes) else join_fields(msh, separator))
    return lines


def _split_carefully(content: bytes, separator: bytes, known: dict[bytes, str]) -> Segments:
    segments: list[bytes | list[bytes]] = []
    names: list[str] = []
    carried: dict[int, tuple[int, int]] = {}  # by segment: where it begins and ends in the content
    behind = 0  # where the line of the last segment ends
    cut = _cut_giant if len(content) >= GIANT_BYTES else _cut
    for start, end in _lines(content):
        beginning = content[start : min(start + 4, end)]
        name = known.get(beginning) or _learn_name(beginning, separator, known)
        if name is None:
            carried[len(names) - 1] = behind, end
        else:
            segments.append(cut(content, start, end))
            names.append(name)
            behind = end
    if not carried:
        return segments, names, None
    tails = [b""] * len(names)
    for place, (start, end) in carried.items():
        tails[place] = cut(content, start, end)
    return segments, names, tails


def _cut(content: bytes, start: int, end: int) -> bytes:
    return content[start:end]


def _cut_giant(content: bytes, start: int, end: int) -> bytes:
    short = end - start < PIECE_BYTES
    return content[start:end] if short else copied(memoryview(content)[start:end])


def _lines(content: bytes) -> Iterator[tuple[int, int]]:
    """Return where each line that is not blank begins and ends, its line end not included."""
    if len(content) < GIANT_BYTES:
        yield from (found.span() for found in _LINE.finditer(content))
        return
    # one call over a giant would hold up every thread
    start, ends = 0, [-1, -1]
    while start < len(content):
        found = _LINE_BEGINS.search(content, start, start + PIECE_BYTES)
        if found is None:
            start += PIECE_BYTES
            continue
        start = found.start()
        for at, byte in enumerate((b"\r", b"\n")):
            if ends[at] < start:
                ends[at] = content.find(byte, start)
                if ends[at] == -1:
                    ends[at] = len(content)
        end = min(ends)
        yield start, end
        start = end


def _learn_name(line: bytes, separator: bytes, known: dict[bytes, str]) -> str | None:
    """Return the name of the segment on this line; None where it is no segment."""
    if line[3:4] not in (b"", separator) or not _SEGMENT_NAME.match(line):
        return None
    name = line[:3].decode("ascii")
    if len(known) >= _MOST_NAMES:
        known.clear()
    known[line[:4]] = name
    return name
