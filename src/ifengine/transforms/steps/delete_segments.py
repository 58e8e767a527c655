"""``delete_segments``: delete the segments that a path means.

What would stay without the segment it belongs to is an error (safety-rules.md 10): a comment would
slide to another result, a result to another order.
"""

from collections.abc import Callable, Collection, Sequence

from ifengine.hl7 import groups
from ifengine.hl7.lines import Kept, Positions, kept_without
from ifengine.hl7.path import Path
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node, Text

# a peer that sends ever new sequences must not fill memory
_MOST_SHAPES = 256
_LONGEST_SHAPE = 64
_NOTHING: tuple[frozenset[int], Kept] = (frozenset(), kept_without((), ()))


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of segment paths."""
    paths: list[Path] = []
    for text in context.texts(value, "segment"):
        path = _segment_path(text, context)
        if path is not None:
            paths.append(path)
    _check_orphans(paths, context)
    # bare names need one look at the message for all of them
    whole = frozenset(path.segment for path in paths if path.is_bare)
    local = "Z*" in whole

    def named(name: str) -> bool:
        return name in whole or (local and name[0] == "Z")

    shapes = Shapes(named)
    is_plain = all(path.is_bare for path in paths)

    def act(scope: StepScope) -> None:
        if is_plain and scope.segment is None:
            shapes.delete(scope)
            return
        gone: set[int] = set()
        for path in paths:
            gone.update(path.positions(scope.message, scope))
        gone.discard(0)
        if gone:
            delete(scope, gone)

    return Built(act, Uses(deletes=tuple(paths)))


class Shapes:
    """Deletes segments by their names alone.

    Feeds send the same few sequences of segments: what is to be deleted of each, and that nothing
    is left without its place then, is found out once.
    """

    def __init__(self, goes: Callable[[str], bool]) -> None:
        self._goes = goes
        self._known: dict[tuple[str, ...], tuple[frozenset[int], Kept]] = {}
        # of the message before: most of a feed have the same segments
        self._last: tuple[Positions | None, tuple[frozenset[int], Kept]] = (None, _NOTHING)

    def delete(self, scope: StepScope) -> None:
        """Delete the segments whose name goes; MSH stays.

        Raises:
            ReasonError: one that stays would lose its place.
        """
        positions = scope.message.positions
        seen, known = self._last
        if positions is not seen:
            known = self._look_at(scope.message.shape())
            self._last = positions, known
        if not known[0]:
            return
        if scope.segment is None and not scope.loops:
            scope.message.keep_segments(known[1])
        else:
            scope.delete_segments(known[0])

    def _look_at(self, names: tuple[str, ...]) -> tuple[frozenset[int], Kept]:
        known = self._known.get(names)
        if known is None:
            gone = frozenset(at for at, name in enumerate(names) if at and self._goes(name))
            _check_left(names, gone)
            known = gone, kept_without(names, gone)
            if len(names) <= _LONGEST_SHAPE:
                if len(self._known) >= _MOST_SHAPES:
                    self._known.clear()
                self._known[names] = known
        return known


def delete(scope: StepScope, gone: Collection[int]) -> None:
    """Delete segments unless one that stays would lose its place.

    Raises:
        ReasonError: one would.
    """
    gone = frozenset(gone)
    _check_left(scope.message.shape(), gone)
    scope.delete_segments(gone)


def _check_left(names: Sequence[str], gone: frozenset[int]) -> None:
    left = groups.orphans(names, gone)
    if left:
        name = names[left[0]]
        raise ReasonError(f"{len(left)} {name} would stay without the segment it belongs to")


def _segment_path(text: Text, context: Context) -> Path | None:
    path = context.path(text)
    if path is None:
        return None
    if path.field is not None:
        hint = f"clear: {path.text}"
        context.error("E306", text.at(0), "delete_segments takes segments", hint)
        return None
    if path.segment == "MSH":
        context.error("E306", text.at(0), "MSH cannot be deleted")
        return None
    return path


def _check_orphans(paths: list[Path], context: Context) -> None:
    """Report what is certain without a message: an OBR goes and its OBX are not named."""
    whole = {path.segment for path in paths if path.is_bare}
    if "OBR" in whole and "OBX" not in whole and not context.loops:
        context.error(
            "E307", context.at, "deleting OBR leaves its OBX without their order", "[OBR, OBX, NTE]"
        )
