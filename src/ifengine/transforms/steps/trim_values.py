"""``trim``: drop blanks at both ends."""

from ifengine.transforms.base import Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.writing import change_in_place


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of paths."""
    found = [context.in_place(text) for text in context.texts(value, "path")]
    paths = [path for path in found if path is not None]
    return Built(change_in_place(paths, str.strip, bytes.strip), Uses(writes=tuple(paths)))
