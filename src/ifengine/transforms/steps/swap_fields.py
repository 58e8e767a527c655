"""``swap``: exchange two nodes with their structure; an empty one too, or nothing would be exchanged."""

from ifengine.hl7.path import NodeRef, Path
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.copy_fields import fits, read_arrows, takes_several
from ifengine.transforms.writing import targets


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of ``A -> B``."""
    pairs = read_arrows(value, context)
    for pair in pairs:
        _check(pair, value, context)

    def act(scope: StepScope) -> None:
        for left, right in pairs:
            one, other = _node(scope, left), _node(scope, right)
            if one is not None and other is not None and one != other:
                _exchange(scope, (left, one), (right, other))

    paths = tuple(path for pair in pairs for path in pair)
    return Built(act, Uses(reads=paths, writes=paths))


def _check(pair: tuple[Path, Path], value: Node, context: Context) -> None:
    left, right = pair
    if left.segment == "MSH" and left.field in (1, 2):
        context.error("E306", value.position, "the delimiters of a message cannot be changed")
    elif left.parent is None and context.is_ambiguous(left):
        hint = f"{left.segment}[1]-{left.field}, or for_each: {left.segment}"
        message = f'"{left.segment}" may be there several times: say which'
        context.error("E305", value.position, message, hint)
    elif takes_several(right):
        context.error("E306", value.position, "swap takes one node, not all", "[1]")
    elif (left.head, left.parent, left.field) == (right.head, right.parent, right.field):
        parts = (left.repetition, left.component, left.subcomponent)
        others = (right.repetition, right.component, right.subcomponent)
        if _holds(parts, others) or _holds(others, parts):
            context.error("E306", value.position, f"{left.text} and {right.text} overlap")


def _holds(outer: tuple[object, ...], inner: tuple[object, ...]) -> bool:
    """Whether one node is, or is part of, the other."""
    given = [part for part in outer if part is not None]
    return list(inner[: len(given)]) == given


def _node(scope: StepScope, path: Path) -> NodeRef | None:
    nodes = targets(scope, path)
    if len(nodes) > 1:
        raise ReasonError(f"{path.text} fits several: swap takes one")
    return nodes[0] if nodes else None


def _exchange(scope: StepScope, left: tuple[Path, NodeRef], right: tuple[Path, NodeRef]) -> None:
    message, given = scope.message, scope.message.delimiters
    (_, one), (_, other) = left, right
    if one[:2] == other[:2] and (_covers(one, other) or _covers(other, one)):
        raise ReasonError(f"{left[0].text} and {right[0].text} overlap")
    raw, old = message.raw(*one), message.raw(*other)
    for value, (source, _), (target, into) in ((raw, left, right), (old, right, left)):
        if not fits(value, into, given):
            raise ReasonError(f"{source.text} has parts that do not fit into {target.text}")
    message.set_raw(*other, raw)
    message.set_raw(*one, old)


def _covers(outer: NodeRef, inner: NodeRef) -> bool:
    return all(a is None or a == b for a, b in zip(outer[2:], inner[2:], strict=True))
