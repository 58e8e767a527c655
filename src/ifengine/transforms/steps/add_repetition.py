"""``add_repetition``: append a repetition to a field."""

from ifengine.errors import NotationError
from ifengine.hl7.message import NULL
from ifengine.hl7.path import parse_path
from ifengine.transforms.base import StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node, Text
from ifengine.transforms.template import Template
from ifengine.transforms.writing import targets

_EXAMPLE = 'add_repetition: {to: PID-3, parts: {1: "${PV1-19.1}", 4: MERCY, 5: VN}}'
_NULL = NULL.encode()

# component and subcomponent, None for what has no parts of its own
Place = tuple[int | None, int | None]


def build(value: Node, context: Context) -> Built | None:
    """Read ``{to, value or parts}``; what is empty when it is written adds nothing."""
    given = context.parameters(
        value, required=("to",), optional=("value", "parts"), example=_EXAMPLE
    )
    if given is None:
        return None
    if ("value" in given) == ("parts" in given):
        context.error("E102", context.at, "add_repetition needs one of value and parts", _EXAMPLE)
        return None
    to = context.text(given["to"], "to")
    path = None if to is None else context.writes(to)
    parts = _parts(given, context)
    if to is None or path is None or not parts:
        return None
    if path.component is not None or path.repetition is not None:
        hint = f"{path.head}-{path.field}"
        context.error("E306", to.at(0), "add_repetition works on a whole field", hint)
        return None

    def act(scope: StepScope) -> None:
        texts = [(place, text) for place, part in parts if (text := part.render(scope))]
        if not texts:
            return
        message = scope.message
        for i, f, _, _, _ in targets(scope, path):
            if message.raw(i, f) == _NULL:
                message.set_raw(i, f, None, None, None, b"")  # null says: there is none
            r = message.repetition_count(i, f) + 1
            for (c, s), text in texts:
                message.set_text(i, f, r, c, s, text)

    templates = [template for _, template in parts]
    uses = Uses(
        reads=tuple(read for template in templates for read in template.paths()),
        writes=(path,),
        tables=tuple(table for template in templates for table in template.tables()),
        reads_variables=tuple(v for template in templates for v in template.variables()),
    )
    return Built(act, uses)


def _parts(given: dict[str, Node], context: Context) -> list[tuple[Place, Template]]:
    if "value" in given:
        text = context.text(given["value"], "value")
        template = None if text is None else context.template(text)
        return [] if template is None else [((None, None), template)]
    found: list[tuple[Place, Template]] = []
    for key, text in context.pairs(given["parts"], "parts: {1: text, 4.2: text}"):
        place, template = _place(key, context), context.template(text)
        if place is not None and template is not None:
            found.append((place, template))
    return found


def _place(key: Text, context: Context) -> Place | None:
    """Return the component of ``4``, the subcomponent of ``4.2``."""
    try:
        path = parse_path(f".{key.value}", relative=True)
    except NotationError as error:
        at = key.at(min(max(error.offset - 1, 0), max(len(key.value) - 1, 0)))
        context.error("E110", at, "the number of a component is wanted", "1 or 4.2")
        return None
    return path.component, path.subcomponent
