"""``renumber``: set ids 1..n, counted under the segment that each belongs to.

Source: HL7 v2.9.1: OBX-1 and NTE-1 begin again under each OBR and each commented segment, OBR-1 runs
through for a patient.
"""

from ifengine.hl7 import groups
from ifengine.hl7.path import Path
from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of segment names."""
    paths: list[Path] = []
    for text in context.texts(value, "segment name"):
        path = context.path(text)
        if path is None:
            continue
        if path.field is not None or not path.is_bare or path.segment == "Z*":
            context.error("E306", text.at(0), "renumber takes names of segments", path.segment[:3])
        elif not groups.has_set_id(path.segment):
            message = f"{path.segment}-1 is no set id"
            context.error("E306", text.at(0), message, "renumber: [OBX, NTE]")
        else:
            paths.append(path)
    wanted = frozenset(path.segment for path in paths)

    def act(scope: StepScope) -> None:
        message = scope.message
        present = message.names()
        if wanted.isdisjoint(present):
            return
        here = _in_turn(scope, present, wanted)
        counts: dict[tuple[str, int], int] = {}
        for position, name in enumerate(present):
            if name not in wanted:
                continue
            under = (name, groups.numbered_under(present, position))
            counts[under] = number = counts.get(under, 0) + 1
            if here is None or position in here:
                message.set_text(position, 1, None, None, None, str(number))

    return Built(act, Uses(writes=tuple(paths)))


def _in_turn(scope: StepScope, present: list[str], wanted: frozenset[str]) -> frozenset[int] | None:
    """Return what a name means in the loop that runs; None where there is no loop."""
    current = scope.segment
    if current is None:
        return None
    return frozenset(i for name in wanted for i in groups.seen_from(present, current, name))
