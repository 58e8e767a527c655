"""``truncate``: cut values to a number of characters.

Cut is every leaf. A formatting sequence such as a line break and a letter with its accent are not
taken apart: what does not fit whole goes.
"""

import unicodedata
from collections.abc import Callable

from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.reading_values import whole_number
from ifengine.transforms.source import Node
from ifengine.transforms.steps.upper_values import FORMATTING
from ifengine.transforms.writing import change_in_place


def build(value: Node, context: Context) -> Built | None:
    """Read ``{PATH: n}``."""
    actions, paths = [], []
    for key, text in context.pairs(value, "truncate: {PID-5.1: 30}"):
        path = context.in_place(key)
        most = whole_number(text, f"the length for {key.value}", context)
        if path is not None and most is not None:
            actions.append(change_in_place([path], _cut(most)))
            paths.append(path)

    def act(scope: StepScope) -> None:
        for action in actions:
            action(scope)

    return Built(act, Uses(writes=tuple(paths)))


def _cut(most: int) -> Callable[[str], str]:
    def change(text: str) -> str:
        if len(text) <= most:
            return text
        end = most
        if "\\" in text:
            for match in FORMATTING.finditer(text):
                if match.start() < end < match.end():
                    end = match.start()
        while end and _continues(text[end]):
            end -= 1
        return text[:end]

    return change


def _continues(character: str) -> bool:
    """Whether this belongs to what stands before it: an accent, a further byte of one character."""
    # bytes of a set that MSH-18 does not name are lone surrogates; most often they are UTF-8
    return unicodedata.combining(character) != 0 or "\udc80" <= character <= "\udcbf"
