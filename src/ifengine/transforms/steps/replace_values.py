"""``replace``: replace text inside values."""

from collections.abc import Callable

from ifengine.errors import NotationError
from ifengine.hl7.patterns import MAX_REPLACED, Pattern
from ifengine.transforms.base import ReasonError, Uses
from ifengine.transforms.reading import NO, YES, Built, Context
from ifengine.transforms.source import Node, Text
from ifengine.transforms.writing import change_in_place

_EXAMPLE = 'replace: {in: PID-13.1, find: "-", with: null}'


def build(value: Node, context: Context) -> Built | None:
    """Read ``{in, find, with, regex}``. With ``regex: yes`` the longest match is replaced."""
    given = context.parameters(
        value, required=("in", "find", "with"), optional=("regex",), example=_EXAMPLE
    )
    if given is None:
        return None
    read = [context.in_place(text) for text in context.texts(given["in"], "path")]
    paths = [path for path in read if path is not None]
    find, new = context.text(given["find"], "find"), context.text(given["with"], "with")
    if find is None or new is None:
        return None
    if not find.value:
        context.error("E104", find.position, "find is empty", _EXAMPLE)
        return None
    replacement = "" if new.is_null else new.value
    if _is_regex(given.get("regex"), context):
        change = _by_pattern(find, replacement, context)
    else:
        change = _by_text(find.value, replacement)
    return (
        None if change is None else Built(change_in_place(paths, change), Uses(writes=tuple(paths)))
    )


def _is_regex(node: Node | None, context: Context) -> bool:
    if node is None:
        return False
    if isinstance(node, Text) and node.value in YES | NO:
        return node.value in YES
    context.error("E103", node.position, "regex is yes or no")
    return False


def _by_text(find: str, replacement: str) -> Callable[[str], str]:
    return lambda text: text.replace(find, replacement)


def _by_pattern(find: Text, replacement: str, context: Context) -> Callable[[str], str] | None:
    try:
        pattern = Pattern(find.value)
    except NotationError as error:
        context.notation(find, error)
        return None

    def change(text: str) -> str:
        spans = pattern.spans(text)
        if spans is None:
            raise ReasonError(f"a value is longer than {MAX_REPLACED} characters (regex)")
        pieces: list[str] = []
        at = 0
        for start, end in spans:
            pieces += (text[at:start], replacement)
            at = end
        return "".join(pieces) + text[at:]

    return change
