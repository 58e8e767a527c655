"""``clear``: empty fields everywhere they occur ("keep what you have")."""

from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.writing import emptied


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of paths."""
    found = [context.in_place(text) for text in context.texts(value, "path")]
    paths = [path for path in found if path is not None]

    def act(scope: StepScope) -> None:
        message = scope.message
        for path in paths:
            at = path.every_at
            if at is not None and at[3] is None and scope.segment is None:
                for i in message.each(at[0]):
                    message.put_field(i, at[1], b"")
                continue
            for node in emptied(scope, path):
                message.set_raw(*node, b"")

    return Built(act, Uses(writes=tuple(paths)))
