"""``upper``: capitals."""

import re
from collections.abc import Callable

from ifengine.transforms.base import Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.writing import change_in_place, short_of

# \H\ and \.br\ mean something else in small letters; the escape character is nearly always this
FORMATTING = re.compile(r"(\\(?:[HN]|\.[A-Za-z]{2} ?[+-]?[0-9]*|[CMXZ][0-9A-Fa-f]+)\\)")


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of paths."""
    return build_case(value, context, str.upper, bytes.upper)


def build_case(
    value: Node,
    context: Context,
    change: Callable[[str], str],
    plain: Callable[[bytes], bytes] | None = None,
) -> Built | None:
    """Read the paths of a verb that changes letters, not formatting sequences.

    ``plain`` does the same to ASCII without delimiters.
    """
    found = [context.in_place(text) for text in context.texts(value, "path")]
    paths = [path for path in found if path is not None]

    def act(text: str) -> str:
        if "\\" not in text:
            return change(text)
        pieces = FORMATTING.split(text)
        pieces[::2] = [change(piece) for piece in pieces[::2]]
        return "".join(pieces)

    short = () if plain is None else short_of(paths, plain)
    return Built(change_in_place(paths, act), Uses(writes=tuple(paths)), short=short)
