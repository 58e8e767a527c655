"""``title``: a capital at the start of every word."""

from ifengine.transforms.filters import title_case
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.upper_values import build_case


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of paths."""
    return build_case(value, context, title_case)
