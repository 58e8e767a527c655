"""One message into several before its steps: by patient, order or report. Pure.

Nothing is lost: what stands above the first of them goes into every part or, where `carry` names
others, stays in the first part of its patient. The parts of a message keep their numbers for ever,
so that a dead one can be taken again alone.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ifengine.errors import EngineError
from ifengine.hl7.message import Message

PATIENT, ORDER, REPORT = "PID", "ORC", "OBR"
MOST_PARTS = 10_000
# a delivery's part: which part of its message, and below it what was set aside of that
_ASIDE_BITS = 16
_TAG_LENGTH = 4


class SplitError(EngineError):
    """A message cannot be split without risk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """`split_message:`. ``carry`` None: all that stands above goes into every part."""

    by: str
    carry: frozenset[str] | None = None
    mints: bool = True  # MSH-10 of each part is the engine's


def part_place(number: int, aside: int = 0) -> int:
    """Return what an outbox row says of a part: ``number`` counts from 1, 0 is the whole message."""
    return (number << _ASIDE_BITS) | aside


def part_number(place: int) -> int:
    """Return which part of its message an outbox row speaks of; 0: the whole."""
    return place >> _ASIDE_BITS


def is_aside(place: int) -> bool:
    """Whether an outbox row holds what steps set aside, beside the delivery itself."""
    return place & ((1 << _ASIDE_BITS) - 1) > 0


def minted(message_id: str, destination: str = "", part: str = "") -> str:
    """Return a control id (MSH-10) that no other message, destination or part has.

    The same for the same, so that a resend after a crash goes out under its first one. The name of
    a destination stands in it as four letters: MSH-10 takes 20 characters up to version 2.6.
    """
    text = f"IFE{message_id}"
    if destination:
        digest = hashlib.sha256(destination.encode()).digest()
        text += "." + base64.b32encode(digest).decode("ascii")[:_TAG_LENGTH]
    return text + part


def mint(message: Message, message_id: str, destination: str = "", part: str = "") -> None:
    """Write a control id of the engine's own into MSH-10."""
    message.set_text(0, 10, None, None, None, minted(message_id, destination, part))


def split(message: Message, config: SplitConfig, message_id: str) -> list[Message]:
    """Return the parts of a message in their order; the message itself where it is one.

    Raises:
        SplitError: an order of today cannot be told from an earlier one, or there are too many.
    """
    names = message.names()
    kept = parts_of(names, config)
    if len(kept) < 2:
        return [message]
    if config.by != PATIENT and message.header.message_code == b"OML" and names.count(PATIENT) > 1:
        # PID again behind an OBR begins prior results (4.4.6): they are nobody's new order
        raise SplitError("prior results in an order (several PID): it cannot be split")
    if len(kept) > MOST_PARTS:
        raise SplitError(f"more than {MOST_PARTS} parts")
    found = []
    every = range(len(names))
    for number, positions in enumerate(kept, 1):
        part = message.copy()
        part.delete_segments(i for i in every if i not in positions)
        if config.mints:
            mint(part, message_id, part=f"-{number}")
        found.append(part)
    return found


def parts_of(names: Sequence[str], config: SplitConfig) -> list[frozenset[int]]:
    """Return the positions of the segments of each part."""
    heads = _heads(names, config.by)
    if not heads:
        return [frozenset(range(len(names)))]
    patients = [i for i, name in enumerate(names) if name == PATIENT]
    start = min([heads[0], *patients])
    regions = [p for p in patients if p >= start]
    if not regions or regions[0] > start:
        regions.insert(0, start)
    above = range(start)
    parts: list[frozenset[int]] = []
    for begin, end in zip(regions, [*regions[1:], len(names)], strict=True):
        inside = [head for head in heads if begin <= head < end]
        # a patient without any of them is a part, too: nothing is lost
        first = inside[0] if inside else end
        head_of_patient = range(begin, first)
        blocks = [range(a, b) for a, b in zip(inside, [*inside[1:], end], strict=False)] or [
            range(0)
        ]
        for number, block in enumerate(blocks):
            shared = {i for i in head_of_patient if number == 0 or _carried(names[i], config)}
            shared |= {i for i in above if not parts or _carried(names[i], config)}
            parts.append(frozenset({0, *shared, *block}))
    return parts


def _carried(name: str, config: SplitConfig) -> bool:
    return config.carry is None or name in config.carry


def _heads(names: Sequence[str], by: str) -> list[int]:
    """Return where each part begins. A report begins at its own ORC, where it has one."""
    heads = []
    order = -1  # the last ORC, as long as no OBR took it
    for i, name in enumerate(names):
        if by == REPORT and name == ORDER:
            order = i
        elif by == REPORT and name == PATIENT:
            order = -1
        if name == by:
            heads.append(order if order >= 0 else i)
            order = -1
    return heads
