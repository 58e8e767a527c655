"""``sort_segments``: order segments by fields, each with what stands under it.

Segments are sorted where they follow one another: a result never comes under another order.
"""

from collections.abc import Collection, Sequence
from decimal import Decimal, InvalidOperation

from ifengine.hl7 import groups
from ifengine.hl7.message import NULL
from ifengine.hl7.path import Path
from ifengine.hl7.times import parse_time
from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.moving import block, cannot_move, reorder
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.move_segment import read_segment

_EXAMPLE = "sort_segments: {segment: OBX, by: OBX-1}"
_DAY = 8  # digits of a date: what is shorter is a number

# rank (numbers, times, texts, nothing), number, text: ranks make the rest comparable
Rank = tuple[int, Decimal, str]


def build(value: Node, context: Context) -> Built | None:
    """Read ``{segment, by}``, ``by`` one path or several of that segment."""
    given = context.parameters(value, required=("segment", "by"), example=_EXAMPLE)
    if given is None:
        return None
    segment = read_segment(given["segment"], "segment", context)
    if segment is None:
        return None
    if cannot_move(segment.segment) or segment.segment == "Z*" or not segment.is_bare:
        at = given["segment"].position
        context.error("E306", at, "sort_segments takes the name of segments that repeat", _EXAMPLE)
        return None
    by: list[Path] = []
    for text in context.texts(given["by"], "by"):
        path = context.field(text, written=False)
        if path is not None and path.segment != segment.segment:
            hint = f"by: {segment.segment}-1"
            context.error("E306", text.at(0), f"by is a field of {segment.segment}", hint)
        elif path is not None:
            by.append(path)
    name = segment.segment

    def act(scope: StepScope) -> None:
        names = scope.message.names()
        if names.count(name) < 2:
            return
        wanted = frozenset(segment.positions(scope.message, scope))
        order: list[int] = []
        moved: list[int] = []
        at = 0
        while at < len(names):
            heads = _run(names, at, wanted)
            if not heads:
                order.append(at)
                at += 1
                continue
            moved += heads
            for head in _sorted(scope, heads, by):
                order += block(names, head)
            at = groups.end_of_block(names, heads[-1])
        reorder(scope, order, moved)

    return Built(act, Uses(reads=tuple(by), writes=(segment,)))


def _run(names: Sequence[str], start: int, wanted: Collection[int]) -> list[int]:
    """Return the heads of blocks that follow one another without a gap."""
    heads: list[int] = []
    at = start
    while at in wanted:
        heads.append(at)
        at = groups.end_of_block(names, at)
    return heads


def _sorted(scope: StepScope, heads: list[int], by: list[Path]) -> list[int]:
    ranks: dict[int, list[Rank]] = {head: [] for head in heads}
    around = scope.segment
    try:
        for path in by:
            texts: list[str] = []
            for head in heads:
                scope.segment = head
                texts.append(path.leaf(scope))
            for head, rank in zip(heads, _ranks(texts), strict=True):
                ranks[head].append(rank)
    finally:
        scope.segment = around
    return sorted(heads, key=ranks.__getitem__)


def _ranks(texts: list[str]) -> list[Rank]:
    times = [_time(text) for text in texts if text and text != NULL]
    as_times = bool(times) and None not in times
    return [_rank(text, as_time=as_times) for text in texts]


def _time(text: str) -> Decimal | None:
    read = parse_time(text) if len(text) >= _DAY else None
    return None if read is None else Decimal(str(read.start.timestamp()))


def _rank(text: str, *, as_time: bool) -> Rank:
    if not text or text == NULL:
        return 3, Decimal(0), ""
    time = _time(text) if as_time else None
    if time is not None:
        return 1, time, text
    try:
        number = Decimal(text)
    except InvalidOperation:
        return 2, Decimal(0), text
    return (0, number, "") if number.is_finite() else (2, Decimal(0), text)
