"""``lower``: small letters."""

from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.upper_values import build_case


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of paths."""
    return build_case(value, context, str.lower, bytes.lower)
