"""Which steps led to a difference: those that touched the place, else those that should have. Pure."""

import re
from collections.abc import Iterable, Mapping

from ifengine.errors import NotationError
from ifengine.hl7.path import Path, parse_path
from ifengine.routes.channel import Channel, PlanTrace
from ifengine.routes.channel_tests.verdicts import Difference
from ifengine.transforms.base import Steps
from ifengine.transforms.trace import Record

_PLACE = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[\d+\])?(?:-(\d+))?")


def explain(found: Iterable[Difference], traces: Mapping[int, PlanTrace], channel: Channel) -> None:
    """Add to each difference what the steps did at its place."""
    steps = {d.name: d.steps for d in channel.destinations}
    for difference in found:
        trace = traces.get(difference.message)
        place = _place_of(difference.place)
        if trace is None or place is None:
            continue
        own = trace.destinations.get(difference.destination)
        named = [("", record) for record in trace.channel.records]
        named += [(difference.destination, r) for r in (own.records if own else ())]
        lines = [
            f"after {_label(name, record)}"
            for name, record in named
            if any(_same(place, _place_of(change.path)) for change in record.changes)
        ]
        if not lines:
            meant = _meant(channel.config.steps, place)
            theirs = _meant(steps.get(difference.destination, Steps()), place)
            for name, record in named:
                if record.number in (theirs if name else meant):
                    lines.append(f"after {_label(name, record)}: {_did(record)}")
        difference.notes += dict.fromkeys(lines)


Place = tuple[str, int]  # segment and field; field 0 is the whole segment


def _place_of(text: str) -> Place | None:
    """Return segment and field of a path, None for what is no path (``state``, ``count``)."""
    match = _PLACE.match(text)
    if match is None:
        return None
    try:
        path = parse_path(text)
    except NotationError:
        return match[1], int(match[2] or 0)
    return _place(path)


def _place(path: Path) -> Place:
    return path.segment, path.field or 0


def _same(one: Place, other: Place | None) -> bool:
    return (
        other is not None and one[0] == other[0] and (one[1] == other[1] or 0 in (one[1], other[1]))
    )


def _meant(steps: Steps, place: Place) -> frozenset[str]:
    """Return the numbers of the steps that write to a place, as they are written."""
    return frozenset(
        step.number
        for step in steps.all()
        if any(_same(place, _place(path)) for path in (*step.uses.writes, *step.uses.deletes))
    )


def _label(destination: str, record: Record) -> str:
    return f"{destination} step {record.number} {record.verb}".strip()


def _did(record: Record) -> str:
    return "ran, changed nothing there" if record.ran else 'skipped, "when" was false'
