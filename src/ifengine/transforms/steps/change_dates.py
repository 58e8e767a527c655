"""``date``: another form of dates and times. What the value does not say is not made up."""

from collections.abc import Callable

from ifengine.hl7.message import NULL
from ifengine.hl7.path import NodeRef, Path
from ifengine.hl7.times import Hl7Time, check_format, format_time, parse_time
from ifengine.transforms.base import Action, ReasonError, StepScope, Uses
from ifengine.transforms.date_forms import DateForm, hl7_text
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.lookup_values import first_leaf
from ifengine.transforms.writing import filled

_EXAMPLE = "date: {in: PID-7, from: MM/DD/YYYY, to: YYYYMMDD}"
_BAD = ("dead_letter", "clear", "keep")


def build(value: Node, context: Context) -> Built | None:
    """Read ``{in, from, to, bad}``; HL7's own form is what is not said."""
    given = context.parameters(
        value, required=("in",), optional=("from", "to", "bad"), example=_EXAMPLE
    )
    if given is None:
        return None
    if "from" not in given and "to" not in given:
        context.error("E102", context.at, 'date needs "from" or "to"', _EXAMPLE)
        return None
    found = [context.in_place(text) for text in context.texts(given["in"], "path")]
    paths = [path for path in found if path is not None]
    read, show = _reader(given.get("from"), context), _shower(given.get("to"), context)
    bad = context.word(given.get("bad"), "bad", _BAD, "dead_letter")
    if read is None or show is None or bad is None:
        return None

    def change(text: str) -> str | None:
        time = read(text)
        return None if time is None else show(time)

    action = change_times(paths, change, bad, "is not a date of this form")
    return Built(action, Uses(writes=tuple(paths)))


def change_times(
    paths: list[Path], change: Callable[[str], str | None], bad: str, rule: str
) -> Action:
    """Return an action that changes the first leaf of every occurrence.

    Empty and null stay as they are. Of a composite time the first component counts: behind it stands
    a degree of precision.

    Args:
        paths: where.
        change: the new text, None where the value cannot be changed.
        bad: what becomes of such a value: ``dead_letter``, ``clear`` or ``keep``.
        rule: what a dead letter says of it.
    """

    def act(scope: StepScope) -> None:
        message = scope.message
        for path in paths:
            for occurrence in filled(scope, path):
                node = first_leaf(message, NodeRef(*occurrence))
                text = message.text(*node)
                if not text or text == NULL:
                    continue
                changed = change(text)
                if changed is None:
                    if bad == "dead_letter":
                        raise ReasonError(f"{path.text} {rule}")
                    if bad == "clear":
                        message.set_raw(*node, b"")
                elif changed != text:
                    message.set_text(*node, changed)

    return act


def _reader(node: Node | None, context: Context) -> Callable[[str], Hl7Time | None] | None:
    if node is None:
        return parse_time
    text = context.text(node, "from")
    if text is None:
        return None
    wrong = check_format(text.value)
    if wrong is None:
        try:
            return DateForm.of(text.value).read
        except ValueError as error:
            wrong = str(error)
    context.error("E104", text.position, wrong, "MM/DD/YYYY HH:mm")
    return None


def _shower(node: Node | None, context: Context) -> Callable[[Hl7Time], str | None] | None:
    if node is None:
        return hl7_text
    text = context.text(node, "to")
    if text is None:
        return None
    form = text.value
    wrong = check_format(form)
    if wrong is not None:
        context.error("E104", text.position, wrong, "YYYYMMDD")
        return None
    return lambda time: format_time(time, form)
