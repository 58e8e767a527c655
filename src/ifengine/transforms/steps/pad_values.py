"""``pad``: fill values up to a length, ``123`` to ``000123``."""

from collections.abc import Callable

from ifengine.transforms.base import Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.reading_values import in_place_paths, whole_number, written_text
from ifengine.transforms.source import Node
from ifengine.transforms.writing import change_in_place

_EXAMPLE = 'pad: {in: PID-3.1, to: 8, with: "0"}'


def build(value: Node, context: Context) -> Built | None:
    """Read ``{in, to, with, side}``; ``side: left``, the default, fills on the left."""
    given = context.parameters(
        value, required=("in", "to", "with"), optional=("side",), example=_EXAMPLE
    )
    if given is None:
        return None
    paths = in_place_paths(given["in"], context)
    length = whole_number(given["to"], "to", context)
    character = written_text(given["with"], "with", context, _EXAMPLE)
    side = context.word(given.get("side"), "side", ("left", "right"), "left")
    if character is not None and not _is_filler(character.value):
        message = "pad fills with one printable character, no backslash"
        context.error("E104", character.position, message, _EXAMPLE)
        return None
    if length is None or character is None or side is None:
        return None
    change = _filled(length, character.value, left=side == "left")
    return Built(change_in_place(paths, change), Uses(writes=tuple(paths)))


def _is_filler(text: str) -> bool:
    # a backslash could make an escape sequence of what stands beside it
    return len(text) == 1 and text.isprintable() and text != "\\"


def _filled(length: int, character: str, *, left: bool) -> Callable[[str], str]:
    if left:
        return lambda text: text.rjust(length, character)
    return lambda text: text.ljust(length, character)
