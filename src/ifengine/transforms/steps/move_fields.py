"""``move``: copy a node, then empty where it came from."""

from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.copy_fields import copy_node, read_arrows


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of ``A -> B``."""
    pairs = read_arrows(value, context)
    for source, _ in pairs:
        if source.segment == "MSH" and source.field in (1, 2):
            context.error("E306", value.position, "the delimiters of a message cannot be moved")

    def act(scope: StepScope) -> None:
        message = scope.message
        for source, target in pairs:
            node = source.first(message, scope)
            if node is None or not copy_node(scope, source, target):
                continue
            if source.component is None and source.repetition is None:
                node = node._replace(repetition=None)
            into = target.nodes(message, scope)
            if node not in into:
                message.set_raw(*node, b"")

    return Built(
        act, Uses(reads=tuple(a for a, _ in pairs), writes=tuple(p for pair in pairs for p in pair))
    )
