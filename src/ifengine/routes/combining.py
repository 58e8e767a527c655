"""Several messages into one: the last of them, with what the earlier ones brought. Pure.

The last message is the newest word about the patient and the order, so it is the base: its header,
its status, its control id. What the earlier ones brought stands before its own, in the order of
arrival. Nothing that an earlier message says is lost: a segment of its head that the base lacks is
taken over, and what cannot be put together is refused.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.errors import EngineError
from ifengine.hl7.condition import Condition
from ifengine.hl7.identifiers import identifiers
from ifengine.hl7.message import Message
from ifengine.hl7.path import Path
from ifengine.transforms.identity import Identifier, PatientIdentity

PATIENT, ORDER, REPORT, RESULT, NOTE = "PID", "ORC", "OBR", "OBX", "NTE"
MOST_TOGETHER = 1000  # messages; so many under one key are complete, whatever the file says
# behind which segments the first result of a message without one would stand
_BEFORE_RESULTS = (REPORT, "TXA")
_UNDER_HEAD = frozenset({NOTE, "TQ1", "TQ2", "CTD", "PRT", "CON"})
_UNDER_RESULT = frozenset({NOTE, "PRT"})
_CONTINUED = ("ADD", "DSC")  # the rest is in another message already, by another rule

Onward = Callable[[Identifier], Iterable[Identifier]]


class CombineError(EngineError):
    """Messages of one key cannot be one message without risk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CombineConfig:
    """`combine:`. ``until`` and ``count`` say when it is whole, ``up_to_us`` how long that may take."""

    by: str  # OBX: results of one report; OBR: whole reports or orders
    key: tuple[Path, ...]
    up_to_us: int
    up_to: str = ""  # as written
    until: Condition | None = field(default=None, repr=False)
    count: int | None = None
    then: str = "deliver"  # or dead_letter, when the time is over

    @property
    def ends_by_time(self) -> bool:
        """Whether nothing but the time makes it whole: then its end is no failure."""
        return self.until is None and self.count is None


# --- what may be one message ------------------------------------------------------------------


def difference(
    first: Message,
    second: Message,
    by: str,
    identity: PatientIdentity | None,
    onward: Onward | None,
) -> str:
    """Return the place that keeps two messages of one key apart; "" where they belong together."""
    one, other = first.header, second.header
    if one.delimiters != other.delimiters:
        return "MSH-2"
    if (one.message_code, one.trigger_event) != (other.message_code, other.trigger_event):
        return "MSH-9"
    for number in (11, 12, 18):
        if one.fields[number - 1] != other.fields[number - 1]:
            return f"MSH-{number}"
    if _patient(first, identity, onward) != _patient(second, identity, onward):
        return "PID-3"
    for name in (ORDER, REPORT) if by == RESULT else ():
        for number in (2, 3, 4) if name == REPORT else (2, 3):
            values = {_said(first, name, number), _said(second, name, number)} - {b""}
            if len(values) > 1:
                return f"{name}-{number}"
    return ""


def _patient(
    message: Message, identity: PatientIdentity | None, onward: Onward | None
) -> frozenset[object]:
    """Return who a message is about: as the site defines it, else all that PID-3 says, else PID.

    Of an identifier that was merged, the one that took its place last.
    """
    at = message.indexes(PATIENT)
    written = [cx for i in at for cx in identifiers(message, i, 3)]
    found: set[object] = set()
    for cx in written if identity is not None else ():
        identifier = identity.identifier(cx) if identity is not None else None
        if identifier is not None:
            chain = tuple(onward(identifier)) if onward is not None else ()
            found.add(chain[-1] if chain else identifier)
    if found:
        return frozenset(found)
    if written:
        return frozenset(written)
    return frozenset((number, message.raw(i, number)) for i in at for number in (2, 4, 5, 7, 8))


def _said(message: Message, name: str, number: int) -> bytes:
    at = message.first(name)
    if at < 0:
        return b""
    delimiters = message.delimiters
    return message.raw(at, number).rstrip(delimiters.component + delimiters.subcomponent)


# --- together -----------------------------------------------------------------------------------


class _Place(NamedTuple):
    """One segment of one of the messages."""

    message: int
    at: int


@dataclass(slots=True)
class _Unit:
    """One segment with the notes behind it."""

    name: str
    places: list[_Place]


def check_shape(message: Message, by: str) -> None:
    """Refuse what cannot be part of a collection.

    Raises:
        CombineError: several patients, a continued message, lines that are no segments; by OBX
            several reports, by OBR none.
    """
    names = message.names()
    if names.count(PATIENT) > 1:
        raise CombineError("more than one patient (PID) in one message")
    for name in _CONTINUED:
        if name in names:
            raise CombineError(f"{name}: a message that goes on in another one")
    if message.has_stray_lines:
        raise CombineError("lines that are no segments")
    if by == RESULT and (names.count(REPORT) > 1 or names.count(ORDER) > 1):
        raise CombineError("more than one report (OBR) in one message: combine by OBR")
    if by == REPORT and REPORT not in names and ORDER not in names:
        raise CombineError("no report (OBR) in the message")


def put_together(messages: Sequence[Message], by: str) -> Message:
    """Return one message of several, in the order in which they came; the last one is changed.

    Raises:
        CombineError: see ``check_shape``; a result that belongs to a specimen (SPM).
        FieldError: a segment cannot be taken over.
    """
    for message in messages:
        check_shape(message, by)
    base = messages[-1]
    if len(messages) == 1:
        return base
    regions = [_regions(message.names(), by) for message in messages]
    names = [message.names() for message in messages]
    newest_first = range(len(messages) - 1, -1, -1)
    head = _merged([(i, regions[i][0]) for i in newest_first], names, messages)
    tail = _merged([(i, regions[i][2]) for i in newest_first], names, messages)
    results = [_Place(i, at) for i, (_, region, _) in enumerate(regions) for at in region]
    order = [*_places(head), *results, *_places(tail)]
    _insert(base, order, messages, names)
    number_again(base, by)
    return base


def _regions(names: Sequence[str], by: str) -> tuple[range, range, range]:
    """Return what of a message is its head, what it brings, and what comes behind that."""
    count = len(names)
    if by == REPORT:
        start = next(i for i, name in enumerate(names) if name in (ORDER, REPORT))
        return range(start), range(start, count), range(count, count)
    if RESULT not in names:
        heads = [i for i, name in enumerate(names) if name in _BEFORE_RESULTS]
        at = heads[-1] + 1 if heads else count
        while at < count and names[at] in _UNDER_HEAD:
            at += 1
        return range(at), range(at, at), range(at, count)
    start = end = names.index(RESULT)
    while end < count and (
        names[end] == RESULT or names[end] in _UNDER_RESULT or names[end].startswith("Z")
    ):
        end += 1
    if RESULT in names[end:]:
        raise CombineError("results (OBX) of a specimen (SPM): they cannot be put together")
    return range(start), range(start, end), range(end, count)


def _units(number: int, region: range, names: Sequence[str]) -> list[_Unit]:
    units: list[_Unit] = []
    for at in region:
        if names[at] == NOTE and units:
            units[-1].places.append(_Place(number, at))
        else:
            units.append(_Unit(names[at], [_Place(number, at)]))
    return units


def _merged(
    found: Sequence[tuple[int, range]], names: Sequence[Sequence[str]], messages: Sequence[Message]
) -> list[_Unit]:
    """Return the segments of a head, newest message first: what it says counts.

    What it does not name at all comes from the newest one that does, behind what it stood behind.
    Notes are kept, those of earlier messages first; equal ones once.
    """
    merged: list[_Unit] = []
    for position, (number, region) in enumerate(found):
        units = _units(number, region, names[number])
        if position == 0:
            merged = units
            continue
        known = {unit.name for unit in merged}
        before = ""
        for unit in units:
            if unit.name in known:
                _keep_notes(unit, merged, messages)
            else:
                merged.insert(_behind(merged, before), unit)
            before = unit.name
    return merged


def _behind(merged: Sequence[_Unit], name: str) -> int:
    return max((i + 1 for i, unit in enumerate(merged) if unit.name == name), default=0)


def _keep_notes(unit: _Unit, merged: Sequence[_Unit], messages: Sequence[Message]) -> None:
    same = [one for one in merged if one.name == unit.name]
    first = 0 if unit.name == NOTE else 1  # a note that stands alone is a unit of its own
    there = {_note(place, messages) for one in same for place in one.places[first:]}
    kept = [place for place in unit.places[first:] if _note(place, messages) not in there]
    same[0].places[first:first] = kept


def _note(place: _Place, messages: Sequence[Message]) -> tuple[bytes, ...]:
    return tuple(messages[place.message].fields(place.at)[2:])


def _places(units: Iterable[_Unit]) -> list[_Place]:
    return [place for unit in units for place in unit.places]


def _insert(
    base: Message,
    order: Sequence[_Place],
    messages: Sequence[Message],
    names: Sequence[Sequence[str]],
) -> None:
    """Put the segments of earlier messages into the last one; its own stand in their order already."""
    last = len(messages) - 1
    for at, place in enumerate(order):
        if place.message == last:
            continue
        source = messages[place.message]
        base.insert_segment(at, names[place.message][place.at])
        for number in range(1, source.field_count(place.at) + 1):
            value = source.raw(place.at, number)
            if value:
                base.set_raw(at, number, None, None, None, value)


def number_again(message: Message, by: str) -> None:
    """Count set ids from 1: of results, or of reports, and of notes under one segment.

    One that is empty stays empty.
    """
    numbered = RESULT if by == RESULT else REPORT
    count = notes = 0
    for at, name in enumerate(message.names()):
        notes = notes + 1 if name == NOTE else 0
        if name == numbered:
            count += 1
        wanted = notes if name == NOTE else count if name == numbered else 0
        if wanted and message.raw(at, 1).isdigit():
            message.set_raw(at, 1, None, None, None, b"%d" % wanted)


__all__ = [
    "MOST_TOGETHER",
    "CombineConfig",
    "CombineError",
    "Onward",
    "check_shape",
    "difference",
    "number_again",
    "put_together",
]
