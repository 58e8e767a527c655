"""``clear``: empty fields everywhere they occur ("keep what you have")."""

from ifengine.hl7.path import Path
from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.plain_fields import is_short, puts
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.together import Short
from ifengine.transforms.writing import emptied


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of paths."""
    found = [context.in_place(text) for text in context.texts(value, "path")]
    paths = [path for path in found if path is not None]

    def act(scope: StepScope) -> None:
        message = scope.message
        for path in paths:
            for node in emptied(scope, path):
                message.set_raw(*node, b"")

    return Built(act, Uses(writes=tuple(paths)), short=_short(paths))


def _short(paths: list[Path]) -> tuple[Short, ...]:
    found = []
    for path in paths:
        at = path.every_at
        if at is None or at[3] is not None or not is_short(at[0], at[1]):
            return ()
        found.append(Short(at[0], puts([(at[1], b"")])))
    return tuple(found)
