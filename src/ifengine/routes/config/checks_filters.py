"""What filters must not take away: required segments, the last identifier, parts of a snapshot.

A receiver that is sent all allergies every time deletes those that are missing: for it a filter is
a delete. Source: safety-rules.md 22; hl7-rules.md 2.9.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ifengine.errors import NotationError
from ifengine.hl7.condition import Condition, parse_condition
from ifengine.hl7.condition_logic import Choice, Clause, clauses_of, covers, never_hold
from ifengine.hl7.path import parse_path
from ifengine.routes.config.channel_file import ChannelDraft, DestinationDraft, step_nodes
from ifengine.routes.config.message_types import required_segments, shown
from ifengine.routes.config.models import TypePattern
from ifengine.routes.config.sections import Section
from ifengine.routes.config.site_file import SiteDraft
from ifengine.transforms.base import Steps
from ifengine.transforms.identity import PatientIdentity
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text

# identifiers without which a message belongs to nobody
_LAST_IDENTIFIERS: Final = {
    "PID-3": ("PID", 3), "PID-3.1": ("PID", 3), "MRG-1": ("MRG", 1), "MRG-1.1": ("MRG", 1),
}  # fmt: skip
_EMPTIES: Final = ("clear", "null", "move")
# those that receivers of admissions read as a whole; results have their status instead
_OFTEN_WHOLE: Final = frozenset({"AL1", "IN1", "NK1", "DG1", "GT1"})


class _Taken(NamedTuple):
    """Segments that a step takes out of some messages, or some of them out of a message."""

    name: str
    position: Position


def check_filters(channel: ChannelDraft, site: SiteDraft, problems: Problems) -> None:
    """Add every problem of filters, of a channel and of its destinations."""
    lists: list[tuple[Section, Steps, Sequence[TypePattern]]] = [
        (channel.section, channel.steps, channel.types)
    ]
    for destination in channel.destinations:
        effective = destination.types or channel.types
        lists.append((destination.section, destination.steps, effective))
        _check_snapshot(channel, destination, problems)
    for section, steps, types in lists:
        for number, node in enumerate(step_nodes(section), 1):
            # a filter with a `when` may know better
            if isinstance(node, Entries) and not node.get("when") and not node.get("for_each"):
                _check_required(node, types, problems)
                _check_identifiers(node, number, steps, problems)
                _check_repetitions(node, site.identity, problems)


def _check_required(node: Entries, types: Sequence[TypePattern], problems: Problems) -> None:
    for pattern in types:
        required = [name for name in required_segments(pattern) if name != "MSH"]
        kept = node.get("keep_segments")
        names = [text.value for text in _texts(kept)]
        lost = [name for name in required if name not in names]
        if kept is not None and lost and names:
            problems.error(
                "E232",
                kept.position,
                f"{shown(pattern)} requires {', '.join(lost)}, and this leaves it out",
            )
            return
        for text in _texts(node.get("delete_segments")):
            if text.value in required:
                problems.error("E232", text.position, f"{shown(pattern)} requires {text.value}")
                return


def _check_identifiers(node: Entries, number: int, steps: Steps, problems: Problems) -> None:
    for verb in _EMPTIES:
        for text in _texts(node.get(verb)):
            emptied = text.value.split("->")[0].strip()
            place = _LAST_IDENTIFIERS.get(emptied)
            if place is None or _is_written_after(place, number, steps):
                continue
            problems.error(
                "E233",
                text.position,
                f"{emptied} is the last identifier: the message would be nobody's",
                "keep one: keep_repetitions, or copy instead of move; deidentify for research",
            )


def _check_repetitions(node: Entries, identity: PatientIdentity | None, problems: Problems) -> None:
    """What filters the identifiers must leave those by which the site knows its patients."""
    for verb in ("keep_repetitions", "drop_repetitions"):
        given = node.get(verb)
        if identity is None or not isinstance(given, Entries):
            continue
        place, where = given.get("in"), given.get("where")
        if not (isinstance(place, Text) and isinstance(where, Text)):
            continue
        try:
            condition = parse_condition(where.value, relative=True)
        except NotationError:
            continue
        if place.value != identity.path.text or not _leaves_none(verb, condition, identity.type):
            continue
        problems.error(
            "E233",
            where.position,
            f"no {identity.type} is left in {place.value}: the site knows its patients by it",
            f"as in where: .5 in [{identity.type}, …]",
        )


def _leaves_none(verb: str, condition: Condition, kind: str) -> bool:
    """Whether a repetition of this type (component 5) is taken away for certain."""
    clauses = clauses_of(condition)
    if clauses is None:
        return False
    of_kind = (Clause({".5": Choice(frozenset({kind}))}),)
    return never_hold(clauses, of_kind) if verb == "keep_repetitions" else covers(clauses, of_kind)


def _is_written_after(place: tuple[str, int], number: int, steps: Steps) -> bool:
    return any(
        int(step.number.partition(".")[0]) > number
        and step.verb not in _EMPTIES
        and any((path.segment, path.field) == place for path in step.uses.writes)
        for step in steps.all()
    )


def _check_snapshot(
    channel: ChannelDraft, destination: DestinationDraft, problems: Problems
) -> None:
    section = destination.section
    said = section.get("snapshot")
    whole = frozenset(name for name, _ in said or ())
    if section.says("because") and not whole:
        if said is not None or not section.tries("snapshot"):
            problems.error(
                "E102",
                section.at("because"),
                "because: says why segments of a snapshot are left out, and there is none",
                "as in snapshot: [AL1]",
            )
        return
    if section.tries("because") or (section.tries("snapshot") and said is None):
        return
    for taken in (*_some_taken(channel.section), *_some_taken(section)):
        if taken.name in whole:
            problems.error(
                "E235",
                taken.position,
                f'"{destination.name}" gets some {taken.name} only, and deletes those that are missing',
                f"because: WHY at {destination.name}, or send all of them",
            )
        elif not section.says("snapshot") and taken.name in _OFTEN_WHOLE:
            problems.warning(
                "W235",
                taken.position,
                f'"{destination.name}" gets some {taken.name} only: many receivers delete the missing',
                f"say at {destination.name}: snapshot: [{taken.name}] with because:, or snapshot: []",
            )


def _some_taken(section: Section) -> Iterator[_Taken]:
    """Yield what is taken out of some messages, or some of which is: all of it, always, is no part."""
    todo: list[tuple[Node, bool]] = [(node, False) for node in step_nodes(section)]
    while todo:
        node, sometimes = todo.pop(0)
        if isinstance(node, Items):
            todo[:0] = [(item, sometimes) for item in node]
        if not isinstance(node, Entries):
            continue
        sometimes = sometimes or any(node.get(key) for key in ("when", "for_each", "choose"))
        for text in _texts(node.get("delete_segments")):
            name, is_part = _deleted(text.value)
            if name and (is_part or sometimes):
                yield _Taken(name, text.position)
        kept = node.get("keep_segments")
        if kept is not None and sometimes:
            names = {text.value for text in _texts(kept)}
            yield from (_Taken(name, kept.position) for name in sorted(_OFTEN_WHOLE - names))
        inner = [value for key, value in node if key.value in ("do", "choose", "otherwise")]
        todo[:0] = [(value, sometimes) for value in inner]


def _deleted(text: str) -> tuple[str, bool]:
    try:
        path = parse_path(text)
    except NotationError:
        return "", False
    return path.segment, path.head.index is not None or path.parent is not None


def _texts(node: Node | None) -> Iterator[Text]:
    if isinstance(node, Text):
        yield node
    elif isinstance(node, Items):
        for item in node:
            if isinstance(item, Text):
                yield item
