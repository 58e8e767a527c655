"""Putting segments in another order without tearing apart what belongs together.

A segment moves with what stands under it: a result with its comments, an order with its results.
"""

from collections.abc import Iterable, Sequence

from ifengine.hl7 import groups
from ifengine.transforms.base import ReasonError, StepScope

# what may be behind one of these without being its own: it moves alone, or not at all
_NEVER_MOVED = frozenset({"MSH", "PID"})


def cannot_move(name: str) -> bool:
    """Whether a segment of this name has everything behind it: MSH and PID."""
    return name in _NEVER_MOVED


def block(names: Sequence[str], head: int) -> range:
    """Return the positions that move with a segment, its own first."""
    return range(head, groups.end_of_block(names, head))


def reorder(scope: StepScope, order: Sequence[int], moved: Iterable[int]) -> None:
    """Put the segments into an order; ``moved`` are the heads whose place was asked for.

    Raises:
        ReasonError: a segment that nobody named would come to belong to another one.
    """
    names = scope.message.names()
    left = frozenset(moved)
    after = [names[old] for old in order]
    for new, old in enumerate(order):
        if old in left or names[old] not in ("NTE", "OBX"):
            continue
        if _owner(names, old) != order[_owner(after, new)]:
            raise ReasonError(f"{names[old]} would come to belong to another segment")
    scope.reorder_segments(order)


def _owner(names: Sequence[str], position: int) -> int:
    if names[position] == "NTE":
        return groups.owner_of_comment(names, position)
    return groups.numbered_under(names, position)
