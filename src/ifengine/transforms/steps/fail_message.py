"""``fail``: to the dead letters, for a person."""

from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node


def build(value: Node, context: Context) -> Built | None:
    """Read the reason. Its safe form keeps the placeholders as they are written."""
    text = context.text(value, "the reason")
    template = None if text is None else context.template(text)
    if text is None or template is None:
        return None
    if not template.text.strip() or text.is_null:
        context.error("E104", text.position, "fail needs a reason", "fail: no ward for this visit")
        return None

    def act(scope: StepScope) -> None:
        raise ReasonError(template.text, template.render(scope))

    return Built(
        act,
        Uses(
            reads=template.paths(), tables=template.tables(), reads_variables=template.variables()
        ),
    )
