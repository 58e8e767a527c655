"""What the messages of a channel can be, as far as its file says it: types and segments."""

import re
from collections.abc import Iterator

from ifengine.routes.config.message_types import segments_of_types
from ifengine.routes.config.models import TypePattern
from ifengine.routes.config.sections import Section
from ifengine.transforms.reaching import Types
from ifengine.transforms.source import Entries, Items, Node, Text

_TYPE_FIELD = re.compile(r"(?:.*->\s*)?MSH-9(?:\.[0-9.]+)?")
_UNSEEN = ("python", "use")  # what these write does not stand in the channel's file


def types_read(section: Section, types: tuple[TypePattern, ...]) -> bool:
    """Return whether every type that a channel or destination names could be read."""
    node = section.nodes.get("types")
    if node is None:
        return not section.tries("types")
    return len(types) == (len(node.items) if isinstance(node, Items) else 1)


def types_admitted(section: Section, types: tuple[TypePattern, ...]) -> Types | None:
    """Return what a message can be in the steps; None where nobody knows, or steps change it."""
    if not types or not types_read(section, types):
        return None
    for key, value in _pairs(section):
        written = key.value.startswith("MSH-9") or key.value in _UNSEEN
        if written or any(_TYPE_FIELD.fullmatch(text.value) for text in _texts(value)):
            return None
    return tuple((pattern.code, pattern.event) for pattern in types)


def segments_admitted(section: Section, types: tuple[TypePattern, ...]) -> frozenset[str] | None:
    """Return the segments that a message can have in the steps; None where nobody knows."""
    known = segments_of_types(types) if types_read(section, types) else None
    if known is None:
        return None
    made: set[str] = set()
    for key, value in _pairs(section):
        name = value.get("name") if isinstance(value, Entries) else None
        if key.value in _UNSEEN:
            return None
        if key.value == "add_segment" and isinstance(name, Text):
            made.add(name.value)
    return known | made


def _pairs(section: Section) -> Iterator[tuple[Text, Node]]:
    """Yield every key with its value in the steps of a channel and of its destinations."""
    todo = [section.nodes[key] for key in ("steps", "to") if key in section.nodes]
    while todo:
        node = todo.pop()
        if isinstance(node, Items):
            todo.extend(node.items)
        elif isinstance(node, Entries):
            yield from node
            todo.extend(value for _, value in node)


def _texts(node: Node) -> Iterator[Text]:
    for item in node.items if isinstance(node, Items) else (node,):
        if isinstance(item, Text):
            yield item
