"""``drop``: the message ends here, counted and acknowledged."""

from ifengine.transforms.base import DroppedError, Reason, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node


def build(value: Node, context: Context) -> Built | None:
    """Read the reason."""
    text = context.text(value, "the reason")
    template = None if text is None else context.template(text)
    if text is None or template is None:
        return None
    if not template.text.strip() or text.is_null:
        context.error("E104", text.position, "drop needs a reason", "drop: test patients")
        return None

    def act(scope: StepScope) -> None:
        raise DroppedError(Reason(template.text, template.render(scope)))

    return Built(
        act,
        Uses(
            reads=template.paths(), tables=template.tables(), reads_variables=template.variables()
        ),
    )
