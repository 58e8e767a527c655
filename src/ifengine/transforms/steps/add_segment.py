"""``add_segment``: insert a segment with fields."""

from ifengine.errors import NotationError
from ifengine.hl7.path import Path, parse_path
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Entries, Node
from ifengine.transforms.template import Template

_EXAMPLE = 'add_segment: {name: ZRX, after: PV1, fields: {1: "${PID-5.1}"}}'


def build(value: Node, context: Context) -> Built | None:
    """Read ``{name, after, fields}``; without ``after`` it goes to the end."""
    given = context.parameters(
        value, required=("name",), optional=("after", "fields"), example=_EXAMPLE
    )
    if given is None:
        return None
    name = context.text(given["name"], "name")
    path = None if name is None else context.path(name)
    if name is None or path is None:
        return None
    if path.field is not None or not path.is_bare or path.segment in ("Z*", "MSH"):
        context.error("E306", name.at(0), "name is the name of one segment", "ZRX")
        return None
    fields = _fields(path.segment, given.get("fields"), context)
    after = _after(given.get("after"), context)
    segment = path.segment
    whole = [(place[0], template) for place, template in fields if place[1:] == _WHOLE]

    def act(scope: StepScope) -> None:
        message = scope.message
        # placeholders see the message as it was: one may read the segment before the new one
        if len(whole) == len(fields):
            values = [(number, template.render(scope)) for number, template in whole]
            message.set_texts(scope.insert_segment(_position(scope, after), segment), values)
            return
        texts = [(place, template.render(scope)) for place, template in fields]
        at = scope.insert_segment(_position(scope, after), segment)
        for place, text in texts:
            message.set_text(at, *place, text)

    templates = [template for _, template in fields]
    return Built(
        act,
        Uses(
            reads=tuple(read for template in templates for read in template.paths()),
            writes=(path,),
            tables=tuple(table for template in templates for table in template.tables()),
            reads_variables=tuple(v for template in templates for v in template.variables()),
        ),
    )


Place = tuple[int, int | None, int | None, int | None]
_WHOLE = (None, None, None)


def _fields(segment: str, node: Node | None, context: Context) -> list[tuple[Place, Template]]:
    """Return the places and texts; a key is what stands after the dash: ``1`` or ``3.2``."""
    if node is None:
        return []
    if not isinstance(node, Entries):
        context.error("E104", node.position, "fields is a mapping", "fields: {1: text}")
        return []
    found: list[tuple[Place, Template]] = []
    for key, text in context.pairs(node, "fields: {1: text}"):
        try:
            path = parse_path(f"{segment}-{key.value}")
        except NotationError as error:
            offset = min(max(error.offset - len(segment) - 1, 0), max(len(key.value) - 1, 0))
            context.error("E110", key.at(offset), "a field number is wanted", "1 or 3.2")
            continue
        template = context.template(text)
        index = path.repetition
        if not isinstance(index, int | None) or path.field is None:
            context.error("E306", key.position, "a new segment has no repetitions to choose from")
            continue
        if template is not None:
            repetition = index if index is not None or path.component is None else 1
            found.append(((path.field, repetition, path.component, path.subcomponent), template))
    return found


def _after(node: Node | None, context: Context) -> Path | None:
    text = None if node is None else context.text(node, "after")
    path = None if text is None else context.path(text)
    if text is None or path is None:
        return None
    if path.field is not None:
        context.error("E306", text.at(0), "after names a segment", str(path.head))
    elif context.is_ambiguous(path):
        hint = f"{path.segment}[last], or for_each: {path.segment}"
        context.error("E305", text.at(0), f'"{path.segment}" may be there several times', hint)
    return path


def _position(scope: StepScope, after: Path | None) -> int:
    if after is None:
        return len(scope.message.names())
    positions = after.positions(scope.message, scope)
    if not positions:
        raise ReasonError(f"there is no segment {after.text} to add one after")
    return positions[0] + 1
