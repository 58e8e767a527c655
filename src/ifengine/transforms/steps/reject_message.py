"""``reject``: tell the sender no, while it waits; nothing of the message goes anywhere."""

from ifengine.transforms.base import Reason, RejectedError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node

_EXAMPLE = "reject: {code: AR, text: not supported}"
CODES = ("AE", "AR")  # an error: do not send it again; a reject: not now, or not here


def build(value: Node, context: Context) -> Built | None:
    """Read ``{code, text}``."""
    given = context.parameters(value, required=("code", "text"), example=_EXAMPLE)
    if given is None:
        return None
    code = context.word(given.get("code"), "code", CODES, "AE")
    text = context.text(given["text"], "text")
    template = None if text is None else context.template(text)
    if code is None or text is None or template is None:
        return None
    if not template.text.strip() or text.is_null:
        context.error("E104", text.position, "reject needs a text for the sender", _EXAMPLE)
        return None

    def act(scope: StepScope) -> None:
        raise RejectedError(code, Reason(template.text, template.render(scope)))

    return Built(
        act,
        Uses(
            reads=template.paths(), tables=template.tables(), reads_variables=template.variables()
        ),
        code,
    )
