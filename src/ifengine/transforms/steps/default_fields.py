"""``default``: write text where a field is empty.

An update says "keep what you have" by leaving a field empty, so a default would overwrite it: on
A08, A31, SIU S14 and ORC-1 XO nothing is written unless ``on_update: yes`` (safety-rules.md 20).
"""

from ifengine.hl7.path import Path, holds_something, parse_path
from ifengine.transforms.base import StepScope
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.set_fields import uses_of
from ifengine.transforms.template import Template
from ifengine.transforms.writing import targets

_UPDATES = frozenset({("ADT", "A08"), ("ADT", "A31"), ("SIU", "S14")})
_ORDER_CONTROL = parse_path("ORC-1")


def build(value: Node, context: Context) -> Built | None:
    """Read ``{PATH: text}`` with ``create`` and ``on_update`` beside it."""
    create, on_update = context.flag("create"), context.flag("on_update")
    writes: list[tuple[Path, Template]] = []
    for key, text in context.pairs(value, "default: {OBR-5: ROUTINE}"):
        path, template = context.writes(key), context.template(text)
        if path is not None and template is not None:
            writes.append((path, template))

    def act(scope: StepScope) -> None:
        if not on_update and is_update(scope):
            scope.note("an update event: no default is written")
            return
        message = scope.message
        for path, template in writes:
            for node in targets(scope, path, create=create):
                if not holds_something(message, node):
                    message.set_text(*node, template.render(scope))

    return Built(act, uses_of(writes))


def is_update(scope: StepScope) -> bool:
    """Whether this message, or the order that a loop is at, changes what the receiver has."""
    message = scope.message
    kind = (message.text(0, 9, 1, 1, 1), message.text(0, 9, 1, 2, 1))
    return kind in _UPDATES or "XO" in _ORDER_CONTROL.values(message, scope)
