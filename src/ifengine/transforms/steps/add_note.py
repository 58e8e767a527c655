"""``note``: a comment of ours behind the comments of a segment."""

from typing import NamedTuple

from ifengine.hl7 import groups
from ifengine.hl7.path import Path, parse_path
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node, Position, Text
from ifengine.transforms.template import Template

_EXAMPLE = "note: {text: Corrected result, under: 'OBX(where OBX-11 = C)'}"
_LINE = "\\.br\\"  # NTE-3 is formatted text


class _Texts(NamedTuple):
    """What is written, by field of NTE: source 2, text 3, type 4."""

    text: Template
    source: Template | None
    type: Template | None

    def all(self) -> list[Template]:
        return [template for template in self if template is not None]


def build(value: Node, context: Context) -> Built | None:
    """Read a text, or ``{text, under, at, source, type}``."""
    given: dict[str, Node] | None = {"text": value}
    if not isinstance(value, Text):
        given = context.parameters(
            value, required=("text",), optional=("under", "at", "source", "type"), example=_EXAMPLE
        )
    if given is None:
        return None
    texts = _texts(given, context)
    at = context.word(given.get("at"), "at", ("last", "first"), "last")
    under = _under(given.get("under"), context)
    if texts is None or at is None or (under is None and not _has_place(given, context)):
        return None
    first = at == "first"

    def act(scope: StepScope) -> None:
        for owner in reversed(_owners(scope, under)):
            _add(scope, owner, texts, first=first)

    uses = Uses(
        reads=tuple(path for template in texts.all() for path in template.paths()),
        writes=(parse_path("NTE"),),
        tables=tuple(table for template in texts.all() for table in template.tables()),
        reads_variables=tuple(v for template in texts.all() for v in template.variables()),
    )
    return Built(act, uses)


def _texts(given: dict[str, Node], context: Context) -> _Texts | None:
    read: list[Template | None] = []
    for name in ("text", "source", "type"):
        node = given.get(name)
        text = None if node is None else context.text(node, name)
        template = None if text is None else context.template(text)
        if node is not None and template is None:
            return None
        if name == "text" and text is not None and (text.is_null or not text.value.strip()):
            context.error("E104", text.position, "a note says something", _EXAMPLE)
            return None
        read.append(template)
    text_template, source, kind = read
    return None if text_template is None else _Texts(text_template, source, kind)


def _has_place(given: dict[str, Node], context: Context) -> bool:
    """Report a note that stands under nothing, or under what has no notes."""
    if "under" in given:
        return False  # it was reported
    if not context.loops:
        hint = "under: PID, or for_each: OBX"
        context.error("E102", context.at, 'note needs "under", or a for_each around it', hint)
        return False
    return _may_be_noted(context.loops[-1], context.at, context)


def _may_be_noted(name: str, at: Position, context: Context) -> bool:
    if groups.takes_comments(name):
        return True
    context.error("E306", at, f"an NTE behind {name} would speak of the segment before it")
    return False


def _under(node: Node | None, context: Context) -> Path | None:
    text = None if node is None else context.text(node, "under")
    path = None if text is None else context.path(text)
    if text is None or path is None:
        return None
    if path.field is not None:
        context.error("E306", text.at(0), "under names a segment", str(path.head))
        return None
    if context.is_ambiguous(path):
        hint = f"{path.segment}[last], {path.segment}[*], or for_each: {path.segment}"
        message = f'"{path.segment}" may be there several times: say which'
        context.error("E305", text.at(0), message, hint)
        return None
    return path if _may_be_noted(path.segment, text.at(0), context) else None


def _owners(scope: StepScope, under: Path | None) -> list[int]:
    if under is None:
        return [] if scope.segment is None else [scope.segment]
    found = under.positions(scope.message, scope)
    if not found:
        if isinstance(under.head.index, int | None):
            raise ReasonError(f"there is no segment {under.text} to put a note under")
        scope.note(f"{under.text} fits nothing: no note was written")
    return found[:1] if under.head.index is None else found


def _add(scope: StepScope, owner: int, texts: _Texts, *, first: bool) -> None:
    message = scope.message
    comments = groups.comments_of(message.names(), owner)
    # placeholders see the message as it was
    around = scope.segment
    scope.segment = owner
    try:
        text = _lines(texts.text.render(scope))
        source = texts.source.render(scope) if texts.source else ""
        kind = texts.type.render(scope) if texts.type else ""
    finally:
        scope.segment = around
    number = 1 if first else _next_number([message.text(i, 1) for i in comments])
    place = owner + 1 if first or not comments else comments[-1] + 1
    at = scope.insert_segment(place, "NTE")
    for field, value in ((1, str(number)), (2, source), (3, text), (4, kind)):
        if value:
            message.set_text(at, field, None, None, None, value)
    if first:
        for count, comment in enumerate(comments, 2):
            message.set_text(comment + 1, 1, None, None, None, str(count))


def _next_number(numbers: list[str]) -> int:
    """Return the number behind the last one; behind their count where one is no number."""
    read = [int(number) for number in numbers if number.isdecimal() and len(number) <= 9]
    return max([*read, len(numbers)], default=0) + 1


def _lines(text: str) -> str:
    return text.strip("\r\n").replace("\r\n", "\n").replace("\r", "\n").replace("\n", _LINE)
