"""``trim``: drop blanks at both ends."""

from ifengine.transforms.base import Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.writing import change_in_place, short_of

_BLANKS = bytes(code for code in range(128) if chr(code).isspace())  # what str.strip drops


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of paths."""
    found = [context.in_place(text) for text in context.texts(value, "path")]
    paths = [path for path in found if path is not None]
    act = change_in_place(paths, str.strip)
    return Built(act, Uses(writes=tuple(paths)), short=short_of(paths, _stripped))


def _stripped(value: bytes) -> bytes:
    return value.strip(_BLANKS)
