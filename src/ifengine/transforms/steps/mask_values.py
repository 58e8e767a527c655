"""``mask``: hide values from a destination that must not see them. The structure stays.

Every mask has the same length, so that it tells nothing of the value; ``show_last`` shows the end of a
value that is at least twice as long.
"""

from collections.abc import Callable

from ifengine.transforms.base import Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.reading_values import in_place_paths, whole_number
from ifengine.transforms.source import Node
from ifengine.transforms.steps.upper_values import FORMATTING
from ifengine.transforms.writing import change_in_place

MASK = "****"
_MOST_SHOWN = 20


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of paths, with ``show_last: n`` beside it."""
    shown: int | None = 0
    if "show_last" in context.options:
        shown = whole_number(context.options["show_last"], "show_last", context, most=_MOST_SHOWN)
    paths = in_place_paths(value, context)
    if shown is None:
        return None
    return Built(change_in_place(paths, _masked(shown)), Uses(writes=tuple(paths)))


def _masked(shown: int) -> Callable[[str], str]:
    if not shown:
        return lambda text: MASK

    def change(text: str) -> str:
        plain = FORMATTING.sub("", text).strip()
        return MASK + plain[-shown:] if len(plain) >= 2 * shown else MASK

    return change
