"""Once for each segment: what ``for_each``, and ``per:`` of steps that remember, have in common."""

from collections.abc import Callable

from ifengine.hl7.path import Path
from ifengine.transforms.base import Action, StepScope
from ifengine.transforms.reading import Context
from ifengine.transforms.source import Node, Text


def read_loop(value: Node, context: Context) -> Path | None:
    """Return the segment path of a ``for_each``."""
    text = value if isinstance(value, Text) else context.text(value, "for_each")
    path = None if text is None else context.path(text)
    if text is None or path is None:
        return None
    if path.field is not None:
        context.error("E306", text.at(0), "for_each goes over segments", str(path.head))
        return None
    return path


def loop(path: Path, body: Callable[[StepScope], object]) -> Action:
    """Return an action that runs ``body`` once for each segment that is there at the start.

    Segments that the body inserts are not visited, those that it deletes are skipped.
    """

    def act(scope: StepScope) -> None:
        outer = scope.segment
        pending = path.positions(scope.message, scope)
        # the position of the loop around moves too while this one runs
        around = [] if outer is None else [outer]
        scope.loops += (pending, around)
        try:
            while pending:
                scope.segment = pending.pop(0)
                body(scope)
        finally:
            del scope.loops[-2:]
            scope.segment = around[0] if around else None

    return act
