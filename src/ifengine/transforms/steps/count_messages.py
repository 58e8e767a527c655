"""``counter``: the next number of a durable counter, 1 for the first message.

A message keeps its numbers: a replay writes the same ones again. A number counts only once the message
that drew it is planned, in one transaction with it.
"""

from ifengine.hl7.path import Path
from ifengine.transforms.base import Action, ReasonError, StepScope, Uses
from ifengine.transforms.memory import Key, Space
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.reading_values import whole_number
from ifengine.transforms.source import Node
from ifengine.transforms.writing import write_text

_EXAMPLE = "counter: {name: invoice, to: MSH-13, width: 6}"
_KEPT_US = 400 * 86_400 * 1_000_000  # longer than any message or dead letter is kept


def build(value: Node, context: Context) -> Built | None:
    """Read ``{name, to, width}``. Each channel, and each destination, counts for itself."""
    given = context.parameters(
        value, required=("name", "to"), optional=("width",), example=_EXAMPLE
    )
    if given is None:
        return None
    name = context.name(given["name"], "counter")
    to_text = context.text(given["to"], "to")
    target = None if to_text is None else context.writes(to_text)
    width: int | None = 0
    if "width" in given:
        width = whole_number(given["width"], "width", context, most=20)
    if name is None or target is None or width is None:
        return None
    return Built(_action(name, target, width), Uses(writes=(target,), remembers=True), name)


def _action(name: str, target: Path, width: int) -> Action:
    def act(scope: StepScope) -> None:
        number = str(next_number(scope, name))
        if width and len(number) > width:
            raise ReasonError(f"counter {name} has come to more than {width} digits")
        write_text(scope, target, number.rjust(width, "0"))

    return act


def next_number(scope: StepScope, name: str) -> int:
    """Return the number this message has at this place of its steps, or draw the next one."""
    memory = scope.memory
    total: Key = (scope.channel, scope.destination, name)
    own: Key = (*total, scope.message_id + scope.part)
    before = memory.get(Space.COUNTER, own)
    numbers = before.value.split() if before is not None else []
    if scope.drawn is None:
        scope.drawn = {}
    at = scope.drawn.get(name, 0)
    scope.drawn[name] = at + 1
    if at < len(numbers):
        return int(numbers[at])
    last = memory.get(Space.COUNTER, total)
    number = 1 + (0 if last is None else int(last.value))
    memory.put(Space.COUNTER, total, str(number))
    drawn = " ".join([*numbers, str(number)])
    memory.put(Space.COUNTER, own, drawn, until_us=memory.now_us + _KEPT_US)
    return number
