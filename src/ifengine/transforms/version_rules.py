"""What else differs between versions of HL7, one row a difference: header, identifiers, errors.

Source: HL7 v2.3 3.3.3.2 to 3.3.3.4, v2.3.1 2.24.1.9 (MSH-9.3) and 3.3.2 (PID-2 to PID-4 become one
list), v2.5 2.15.5 (ERR), v2.7 3.4.2 (PID-2 and PID-4 withdrawn). channel-language.md, decision 10.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from ifengine.hl7 import dictionary
from ifengine.hl7.lines import Positions
from ifengine.hl7.message import NULL, Message
from ifengine.transforms.base import ReasonError, StepScope
from ifengine.transforms.version_types import Plan, Versions, plan_between, plans_for

_NULL: Final = NULL.encode()
_EXTERNAL: Final = "PT"  # table 0203: the identifier of an outside party
_OUTSIDE: Final = _EXTERNAL.encode()
_MOST_COMPONENTS: Final = 30
_LIST = "2.3.1"  # PID-3 is the list of all identifiers from here on
_WITHDRAWN = "2.7"  # PID-2 and PID-4

Rule = Callable[[StepScope, Versions], None]


class Difference(NamedTuple):
    """One row: ``since`` a version something is written so; on the way up, and down again."""

    name: str
    since: str
    up: Rule | None
    down: Rule | None


# --- MSH ----------------------------------------------------------------------------------------


def _add_structure(scope: StepScope, versions: Versions) -> None:
    message = scope.message
    code, event, structure = (message.text(0, 9, 1, c, 1) for c in (1, 2, 3))
    found = dictionary.structure_of(versions.target, code, event) if code and event else None
    if found is not None and not structure:
        message.set_text(0, 9, 1, 3, None, found.name)


def _drop_structure(scope: StepScope, versions: Versions) -> None:
    message = scope.message
    given = message.delimiters
    value = message.raw(0, 9)
    if value.count(given.component) < 2:
        return
    if given.repetition_code in value or message.codec.wide:
        code, event, structure = (*_components(message, 0, 9, 1), b"", b"")[:3]
    else:
        code, event, structure = value.split(given.component)[:3]
    if structure:
        message.put_field(0, 9, code + (given.component + event if event else b""))


# --- PID ----------------------------------------------------------------------------------------


def _into_list(scope: StepScope, versions: Versions) -> None:
    """Add what stands in PID-2 and PID-4 to PID-3; from 2.7 on it stands there only."""
    message = scope.message
    for i in message.indexes("PID"):
        if message.raw(i, 3) == _NULL:
            continue
        for field in (2, 4):
            for r in range(1, message.repetition_count(i, field) + 1):
                raw = message.raw(i, field, r)
                if raw and raw != _NULL:
                    _append(message, i, raw, external=field == 2)
            if versions.goes_up_to(_WITHDRAWN):
                message.set_raw(i, field, None, None, None, b"")


def _append(message: Message, i: int, raw: bytes, *, external: bool) -> None:
    count = message.repetition_count(i, 3)
    new = count + 1
    message.set_raw(i, 3, new, None, None, raw)
    own = _identity(message, i, new)
    if any(_identity(message, i, r) == own for r in range(1, new)):
        message.remove_repetitions(i, 3, range(1, new))
    elif external and not message.raw(i, 3, new, 5):
        message.set_text(i, 3, new, 5, None, _EXTERNAL)


def _identity(message: Message, i: int, r: int) -> tuple[str, str]:
    return message.text(i, 3, r, 1, 1), message.text(i, 3, r, 4, 1)


def _out_of_list(scope: StepScope, versions: Versions) -> None:
    """Put the identifier of an outside party into PID-2; where PID-3 holds one only, split it.

    Raises:
        ReasonError: PID-3 holds more than the version has places for.
    """
    message = scope.message
    for i in message.each("PID"):
        value = message.raw(i, 3)
        if message.delimiters.repetition_code not in value and _OUTSIDE not in value:
            continue  # one identifier, and not that of an outside party
        kinds = message.leaves(i, 3, 5, 1)
        count = len(kinds)
        outside = [r for r, kind in enumerate(kinds, 1) if kind == _EXTERNAL]
        if outside and not message.raw(i, 2):
            message.set_raw(i, 2, None, None, None, message.raw(i, 3, outside[0]))
        if count < 2:
            continue
        place = dictionary.field(versions.target, "PID", 3)
        if place is not None and place.repetitions == 1:
            _split(message, i, [r for r in range(1, count + 1) if r not in outside] or outside)


def _split(message: Message, i: int, own: list[int]) -> None:
    """Leave one identifier in PID-3 and put a second into PID-4."""
    if len(own) > 2 or (len(own) == 2 and message.raw(i, 4)):
        raise ReasonError("PID-3 holds more identifiers than this version has places for")
    if len(own) == 2:
        message.set_raw(i, 4, None, None, None, message.raw(i, 3, own[1]))
    message.remove_repetitions(i, 3, own[:1])


# --- OBX ----------------------------------------------------------------------------------------


def _value_types(old: str, new: str) -> Rule:
    """Return a rule that calls a value's type (OBX-2) by its other name and changes the value."""
    former = old.encode()

    def act(scope: StepScope, versions: Versions) -> None:
        message = scope.message
        for i in message.each("OBX"):
            if message.raw(i, 2) == former:
                message.set_text(i, 2, None, None, None, new)
                _change(message, i, plan_between(5, old, new, versions))

    return act


class ValueChanges:
    """Changes every field whose type differs, and the values whose type OBX-2 says."""

    def __init__(self) -> None:
        # where to look, of the message before: most of a feed have the same segments
        self._last: tuple[Positions | None, tuple[tuple[int, tuple[Plan, ...]], ...]] = (None, ())

    def __call__(self, scope: StepScope, versions: Versions) -> None:
        """Change them in this message."""
        message = scope.message
        positions = message.positions
        seen, places = self._last
        if positions is not seen:
            found = ((i, plans_for(versions, name)) for i, name in enumerate(message.names()))
            places = tuple((i, plans) for i, plans in found if plans)
            self._last = positions, places
        component = message.delimiters.component
        for i, plans in places:
            fields = message.fields(i)  # as they were: each plan has its own field
            count = len(fields)
            for plan in plans:
                field, _, lengths, delimiters = plan
                if field >= count:
                    break
                value = fields[field]
                # the count is of all repetitions: where it is too small, that of each of them is
                if value and (
                    value.count(component) >= delimiters
                    or (lengths and (len(value) in lengths or not value.isalnum()))
                ):
                    _change(message, i, plan)
        for i in message.each("OBX"):
            if (kind := message.text(i, 2)) in ("TS", "DTM"):
                _change(message, i, plan_between(5, kind, kind, versions))


def _change(message: Message, i: int, plan: Plan) -> None:
    field, changes = plan.field, plan.changes
    if not changes or message.raw(i, field) == _NULL:
        return
    sign = message.delimiters.component
    for r in range(1, message.repetition_count(i, field) + 1):
        old = _components(message, i, field, r)
        new = old
        for change in changes if any(old) else ():
            new = change(new)
        if new != old and (sign or len(new) == 1):
            message.set_raw(i, field, r, None, None, sign.join(new).rstrip(sign))


def _components(message: Message, i: int, field: int, r: int) -> list[bytes]:
    raw, sign = message.raw(i, field, r), message.delimiters.component
    if not sign or sign not in raw:
        return [raw]
    if not message.codec.wide:
        return raw.split(sign)
    # a byte that looks like the delimiter may be half of a character
    return [message.raw(i, field, r, c) for c in range(1, _MOST_COMPONENTS + 1)]


# --- ERR ----------------------------------------------------------------------------------------


def _errors_apart(scope: StepScope, versions: Versions) -> None:
    """Turn each repetition of ERR-1 into a segment of its own: place, code, severity."""
    message = scope.message
    for i in reversed(message.indexes("ERR")):
        count = message.repetition_count(i, 1)
        found = [_old_error(message, i, r) for r in range(1, count + 1)]
        for number, (place, code) in enumerate(found):
            at = i if number == 0 else scope.insert_segment(i + number, "ERR")
            message.set_raw(at, 1, None, None, None, b"")
            message.set_raw(at, 2, None, None, None, place)
            message.set_raw(at, 3, None, None, None, code)
            accepted = message.text(at, 3, 1, 1) == "0"
            message.set_text(at, 4, None, None, None, "I" if accepted else "E")


def _old_error(message: Message, i: int, r: int) -> tuple[bytes, bytes]:
    sign = message.delimiters.component
    place = sign.join(message.raw(i, 1, r, c) for c in (1, 2, 3)).rstrip(sign)
    code = sign.join(message.raw(i, 1, r, 4, s) for s in (1, 2, 3)).rstrip(sign)
    return place, code


def _errors_together(scope: StepScope, versions: Versions) -> None:
    """Put every place and code into one ERR-1, and what was said to a person into MSA-3."""
    message = scope.message
    given = message.delimiters
    segments = message.each("ERR")
    if not segments or not given.repetition or not given.subcomponent:
        return
    found: list[bytes] = []
    for i in segments:
        code = [message.raw(i, 3, 1, c) for c in (1, 2, 3)]
        if not any(code):
            found += [value for value in message.raw(i, 1).split(given.repetition) if value]
            continue
        for r in range(1, max(message.repetition_count(i, 2), 1) + 1):
            place = [message.raw(i, 2, r, c) for c in (1, 2, 3)]
            last = given.subcomponent.join(code).rstrip(given.subcomponent)
            found.append(given.component.join([*place, last]))
    said = next((text for i in segments if (text := message.raw(i, 8))), b"")
    answer = message.first("MSA")
    if answer > 0 and said and not message.raw(answer, 3):
        message.set_raw(answer, 3, None, None, None, said)
    at = scope.insert_segment(segments[0], "ERR")
    message.set_raw(at, 1, None, None, None, given.repetition.join(found))
    scope.delete_segments(i + 1 for i in segments)


DIFFERENCES: Final[tuple[Difference, ...]] = (
    Difference("MSH-9.3 names the structure", "2.3.1", _add_structure, _drop_structure),
    Difference("PID-3 is the list of all identifiers", _LIST, _into_list, _out_of_list),
    Difference("PID-2 and PID-4 are withdrawn", _WITHDRAWN, _into_list, None),
    Difference("OBX-2 has CWE", "2.3.1", None, _value_types("CWE", "CE")),
    Difference("OBX-2 has no CE", "2.7", _value_types("CE", "CWE"), None),
    Difference("OBX-2 has DTM for TS", "2.6", _value_types("TS", "DTM"), _value_types("DTM", "TS")),
    Difference("ERR is one segment an error", "2.5", _errors_apart, _errors_together),
)


def rules_between(versions: Versions) -> tuple[Rule, ...]:
    """Return what to do to a message between these versions, in order."""
    found: list[Rule] = [ValueChanges()] if versions.source != versions.target else []
    for row in DIFFERENCES:
        if row.up is not None and versions.goes_up_to(row.since) and row.up not in found:
            found.append(row.up)
        if row.down is not None and versions.goes_below(row.since):
            found.append(row.down)
    return tuple(found)
