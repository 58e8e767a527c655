"""``copy``: copy a node with its structure, repetitions included."""

import re

from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.path import NodeRef, Path, Which
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.plain_fields import Reader, is_short, reader, whole_reader
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node, Text
from ifengine.transforms.together import Change, Short
from ifengine.transforms.writing import targets

_ARROW = re.compile(r"\s*->\s*")
_OTHER_ARROWS = re.compile(r"=>|→|<-|\s+to\s+|>")


def build(value: Node, context: Context) -> Built | None:
    """Read one or a list of ``A -> B``, with ``create: yes`` beside it."""
    create = context.flag("create")
    pairs = read_arrows(value, context)

    def act(scope: StepScope) -> None:
        for source, target in pairs:
            copy_node(scope, source, target, create=create)

    return Built(act, arrow_uses(pairs), short=_short(pairs))


def _short(pairs: list[tuple[Path, Path]]) -> tuple[Short, ...]:
    found = []
    for source, target in pairs:
        at, read = target.write_at, reader(source)
        if source.component is None and source.repetition is None:
            read = None if read is None else whole_reader(source.field or 1)
        if at is None or read is None or source.segment != target.segment:
            return ()
        if at[2:] != (None, None, None) or not is_short(at[0], at[1]):
            return ()
        found.append(Short(at[0], _copying(read, at[1])))
    return tuple(found)


def _copying(read: Reader, target: int) -> Change:
    def change(fields: list[bytes], given: Delimiters, _: object) -> bool:
        raw = read(fields, given)
        if raw is None or not raw.isalnum():
            return raw == b""
        fields += [b""] * (target + 1 - len(fields))
        fields[target] = raw
        return True

    return change


def arrow_uses(pairs: list[tuple[Path, Path]]) -> Uses:
    """Return what a list of arrows reads and writes."""
    return Uses(reads=tuple(a for a, _ in pairs), writes=tuple(b for _, b in pairs))


def read_arrows(value: Node, context: Context) -> list[tuple[Path, Path]]:
    """Return the pairs of ``A -> B``."""
    found: list[tuple[Path, Path]] = []
    for text in context.texts(value, "A -> B"):
        arrow = _ARROW.search(text.value)
        if arrow is None:
            other = _OTHER_ARROWS.search(text.value)
            at = text.at(other.start() if other else 0)
            context.error("E110", at, f"{context.verb} needs an arrow", f"{context.verb}: A -> B")
            continue
        left = Text(text.value[: arrow.start()], text.position, text.plain, text.literal)
        right = Text(text.value[arrow.end() :], text.at(arrow.end()), True, text.literal)
        source = context.reads(left)
        target = context.writes(right)
        if source is not None and takes_several(source):
            context.error("E306", text.at(0), f"{context.verb} takes one node, not all", "[1]")
        elif source is not None and target is not None:
            found.append((source, target))
    return found


def takes_several(path: Path) -> bool:
    """Whether a path means all segments or repetitions."""
    return Which.ALL in (path.head.index, path.repetition)


def copy_node(scope: StepScope, source: Path, target: Path, *, create: bool = False) -> bool:
    """Copy one node. An empty one changes nothing (safety-rules.md 20); return whether it did.

    Raises:
        ReasonError: the structure of the node does not fit into the target.
    """
    message = scope.message
    if source.component is None and source.repetition is None:
        node = source.first(message, scope)
        raw = b"" if node is None else message.raw(node.segment, node.field)
    else:
        raw = source.raw(message, scope)
    given = message.delimiters
    plain = raw.isalnum()
    if not plain and not raw.strip(given.parts):
        return False
    for into in targets(scope, target, create=create):
        if not plain and not fits(raw, into, given):
            raise ReasonError(f"{source.text} has parts that do not fit into {target.text}")
        message.set_raw(*into, raw)
    return True


def fits(raw: bytes, into: NodeRef, given: Delimiters) -> bool:
    """Whether structure holds no delimiter that would part the node it goes into."""
    higher = [given.repetition] if into.repetition is not None else []
    higher += [given.component] if into.component is not None else []
    higher += [given.subcomponent] if into.subcomponent is not None else []
    return not any(sign and sign in raw for sign in higher)
