"""``move_segment``: move segments behind another one, each with what stands under it."""

from collections.abc import Sequence

from ifengine.hl7 import groups
from ifengine.hl7.path import Path
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.moving import block, cannot_move, reorder
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node

_EXAMPLE = "move_segment: {segment: ZPI, after: PID}"


def build(value: Node, context: Context) -> Built | None:
    """Read ``{segment, after}``; several that fit keep their order."""
    given = context.parameters(value, required=("segment", "after"), example=_EXAMPLE)
    if given is None:
        return None
    moved = read_segment(given["segment"], "segment", context)
    after = read_segment(given["after"], "after", context)
    if moved is None or after is None:
        return None
    if cannot_move(moved.segment):
        at = given["segment"].position
        context.error("E306", at, f"{moved.segment} stays where it is", _EXAMPLE)
        return None
    if context.is_ambiguous(after):
        name = after.segment
        hint = f"{name}[last], or for_each: {name}"
        message = f'"{name}" may be there several times'
        context.error("E305", given["after"].position, message, hint)
        return None

    def act(scope: StepScope) -> None:
        heads = moved.positions(scope.message, scope)
        if not heads:
            scope.note(f"{moved.text} fits nothing: nothing was moved")
            return
        targets = after.positions(scope.message, scope)
        if not targets:
            raise ReasonError(f"there is no segment {after.text} to move one behind")
        reorder(scope, _order(scope.message.names(), heads, targets[0]), heads)

    return Built(act, Uses(writes=(moved,), reads=(after,)))


def read_segment(node: Node, what: str, context: Context) -> Path | None:
    """Return a path that names a segment."""
    text = context.text(node, what)
    path = None if text is None else context.path(text)
    if text is None or path is None:
        return None
    if path.field is not None:
        context.error("E306", text.at(0), f"{what} names a segment", str(path.head))
        return None
    return path


def _order(names: Sequence[str], heads: Sequence[int], target: int) -> list[int]:
    moving = list(dict.fromkeys(i for head in heads for i in block(names, head)))
    going = frozenset(moving)
    if target in going:
        raise ReasonError(f"{names[target]} would be moved behind itself")
    place = _behind(names, names[heads[0]], target)
    before = [i for i in range(place) if i not in going]
    behind = [i for i in range(place, len(names)) if i not in going]
    return [*before, *moving, *behind]


def _behind(names: Sequence[str], moved: str, target: int) -> int:
    """Return the place behind a segment: behind its comments, and behind what stands under it.

    What belongs under it itself goes in front of the others there.
    """
    name = names[target]
    inside = groups.is_local(moved) or groups.stands_under(moved, name)
    if inside or cannot_move(name):
        return max(groups.comments_of(names, target), default=target) + 1
    return groups.end_of_block(names, target)
