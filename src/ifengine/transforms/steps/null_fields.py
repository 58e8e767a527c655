"""``null``: write HL7 null ("delete what you have") everywhere a field occurs."""

from ifengine.hl7.path import Where
from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.writing import emptied

_NULL = b'""'


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of paths."""
    found = [context.in_place(text) for text in context.texts(value, "path")]
    paths = [path for path in found if path is not None]

    def act(scope: StepScope) -> None:
        message = scope.message
        for path in paths:
            nodes = emptied(scope, path)
            if not nodes and not isinstance(path.repetition, Where):
                # a part of an empty field: null is written where its value would stand
                nodes = path.nodes(message, scope)
            for node in nodes:
                message.set_raw(*node, _NULL)

    return Built(act, Uses(writes=tuple(paths)))
