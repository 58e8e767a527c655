"""``delete_segments``: delete the segments that a path means.

What would stay without the segment it belongs to is an error (safety-rules.md 10): a comment would
slide to another result, a result to another order.
"""

from collections.abc import Collection

from ifengine.hl7 import groups
from ifengine.hl7.path import Path
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node, Text


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
    narrow = [path for path in paths if not path.is_bare]

    def act(scope: StepScope) -> None:
        gone: set[int] = set()
        if scope.segment is None:
            for at, name in enumerate(scope.message.names()):
                if name in whole or (local and name[0] == "Z"):
                    gone.add(at)
            chosen = narrow
        else:
            chosen = paths
        for path in chosen:
            gone.update(path.positions(scope.message, scope))
        gone.discard(0)
        if gone:
            delete(scope, gone)

    return Built(act, Uses(deletes=tuple(paths)))


def delete(scope: StepScope, gone: Collection[int]) -> None:
    """Delete segments unless one that stays would lose its place.

    Raises:
        ReasonError: one would.
    """
    gone = frozenset(gone)
    names = scope.message.names()
    left = groups.orphans(names, gone)
    if left:
        name = names[left[0]]
        raise ReasonError(f"{len(left)} {name} would stay without the segment it belongs to")
    scope.delete_segments(gone)


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
