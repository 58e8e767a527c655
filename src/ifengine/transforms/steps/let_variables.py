"""``let``: make variables of this message, used as ``${name}`` and ``$name``."""

import re

from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.template import Template

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


def build(value: Node, context: Context) -> Built | None:
    """Read ``{name: text}``; a later text may use an earlier name."""
    made: list[tuple[str, Template]] = []
    for key, text in context.pairs(value, 'let: {ward: "${PV1-3.1}"}'):
        template = context.template(text)
        if not _NAME.fullmatch(key.value) or key.value in ("now", "msg", "br"):
            context.error("E104", key.position, "a name is small letters, digits, - and _", "ward")
            continue
        context.variables.add(key.value)
        if template is not None:
            made.append((key.value, template))

    def act(scope: StepScope) -> None:
        for name, template in made:
            scope.variables[name] = template.render(scope)

    templates = [template for _, template in made]
    return Built(
        act,
        Uses(
            reads=tuple(path for template in templates for path in template.paths()),
            tables=tuple(name for template in templates for name in template.tables()),
            sets_variables=tuple(name for name, _ in made),
            reads_variables=tuple(name for template in templates for name in template.variables()),
        ),
    )
