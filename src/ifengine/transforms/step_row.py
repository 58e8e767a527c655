"""One row of the table of steps."""

from collections.abc import Callable
from typing import NamedTuple

from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node


class StepRow(NamedTuple):
    """One verb. ``beside`` are the keys that may stand next to it, with their meaning here.

    ``failing`` is the step written wrongly, as people do: the reference shows it with the error
    that `check` gives.
    """

    verb: str
    build: Callable[[Node, Context], Built | None]
    parameters: str
    meaning: str
    example: str
    beside: tuple[str, ...] = ()
    ends: bool = False  # nothing after it runs
    failing: str = ""
    secrets: tuple[str, ...] = ()  # parameters that are ${secret:NAME} and nothing else
