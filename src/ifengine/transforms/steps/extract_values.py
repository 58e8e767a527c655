"""``extract``: what the groups of an expression hold, each to a field of its own."""

from ifengine.errors import NotationError
from ifengine.hl7.message import NULL
from ifengine.hl7.path import Path
from ifengine.hl7.patterns import MAX_REPLACED, Pattern
from ifengine.transforms.base import Action, ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.reading_values import written_text
from ifengine.transforms.source import Entries, Node, Text
from ifengine.transforms.writing import write_text

_EXAMPLE = (
    'extract: {from: PID-13.1, pattern: "([0-9]{3})-([0-9]+)", to: {1: PID-13.6, 2: PID-13.7}}'
)


def build(value: Node, context: Context) -> Built | None:
    """Read ``{from, pattern, to, missing}``; group 0 is the whole match."""
    given = context.parameters(
        value, required=("from", "pattern", "to"), optional=("missing",), example=_EXAMPLE
    )
    if given is None:
        return None
    from_text = context.text(given["from"], "from")
    source = None if from_text is None else context.reads(from_text)
    pattern = _pattern(given["pattern"], context)
    writes = [] if pattern is None else _targets(given["to"], pattern, context)
    missing = context.word(given.get("missing"), "missing", ("keep", "dead_letter"), "keep")
    if source is None or pattern is None or missing is None:
        return None
    uses = Uses(reads=(source,), writes=tuple(path for _, path in writes))
    return Built(_action(source, pattern, writes, fails=missing == "dead_letter"), uses)


def _action(
    source: Path, pattern: Pattern, writes: list[tuple[int, Path]], *, fails: bool
) -> Action:
    def act(scope: StepScope) -> None:
        text = source.read(scope.message, scope)
        if text is None or text == NULL:
            return
        if len(text) > MAX_REPLACED:
            raise ReasonError(f"{source.text} is longer than {MAX_REPLACED} characters")
        groups = pattern.captures(text)
        if not groups:
            if fails:
                raise ReasonError(f"{source.text} does not match the pattern")
            scope.note(f"{source.text} does not match: nothing was written")
            return
        for number, path in writes:
            found = groups[number]
            if found:  # a group that took no part leaves its field as it is
                write_text(scope, path, found)

    return act


def _pattern(node: Node, context: Context) -> Pattern | None:
    """Read an expression, with or without the slashes that conditions have."""
    text = written_text(node, "pattern", context, _EXAMPLE)
    if text is None:
        return None
    written, fold, begin = text.value, False, 0
    for end in ("/", "/i"):
        if len(written) > len(end) + 1 and written[0] == "/" and written.endswith(end):
            written, fold, begin = written[1 : -len(end)], end == "/i", 1
            break
    try:
        pattern = Pattern(written, fold=fold, groups=True)
    except NotationError as error:
        context.notation(text, NotationError(error.message, error.offset + begin, error.hint))
        return None
    return pattern


def _targets(node: Node, pattern: Pattern, context: Context) -> list[tuple[int, Path]]:
    if not isinstance(node, Entries):
        context.error("E104", node.position, "to is a mapping of groups to paths", _EXAMPLE)
        return []
    found: list[tuple[int, Path]] = []
    for key, text in context.pairs(node, _EXAMPLE):
        number = _group(key, pattern, context)
        path = context.writes(text)
        if number is not None and path is not None:
            found.append((number, path))
    return found


def _group(key: Text, pattern: Pattern, context: Context) -> int | None:
    value = key.value
    if value.isascii() and value.isdecimal() and int(value[:6]) <= pattern.group_count:
        return int(value)
    count = pattern.group_count
    message = f'"{value}" is no group: the pattern has {count}'
    hint = "what stands in ( ) is a group" if not count else f"0 is the whole match, 1 to {count}"
    context.error("E103", key.position, message, hint)
    return None
