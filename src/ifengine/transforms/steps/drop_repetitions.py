"""``drop_repetitions``: drop the repetitions of a field for which a condition holds."""

from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.keep_repetitions import build_filter


def build(value: Node, context: Context) -> Built | None:
    """Read ``{in, where}``; ``.5`` in the condition is a part of the repetition."""
    return build_filter(value, context, keep=False)
