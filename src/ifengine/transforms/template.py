"""Text with placeholders: ``${PID-5.1 | upper}``, ``${now | date("YYYYMMDD")}``, ``${ward}``.

``${env:…}``, ``${secret:…}`` and ``${file:…}`` are not placeholders of a message: the loader fills
them in the site file.
"""

import difflib
import re
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from ifengine.clock import as_datetime
from ifengine.errors import NotationError
from ifengine.hl7.condition import message_type
from ifengine.hl7.message import NULL
from ifengine.hl7.path import Path, parse_path
from ifengine.hl7.times import now_text
from ifengine.transforms.base import ReasonError, StepScope
from ifengine.transforms.fact_placeholder import BEGINS, FactValue, parse_fact
from ifengine.transforms.filters import FILTERS, ON_EMPTY, Filter

_MOST_PLACEHOLDERS = 200
_NAME = re.compile(r"[a-z_][a-z0-9_-]*")
_PATH_LIKE = re.compile(r"[A-Za-z][A-Za-z0-9]{2}(?=[-.\[(/^]|$)")
_BUILT_IN = ("msg.id", "msg.type", "now", "br")
_FILTER_NAME = re.compile(r"[A-Za-z0-9_]+")
_FUNCTION = re.compile(r"(number_of|age|days_until|weekday)\((.*)\)", re.DOTALL)
_SITE_ONLY = ("env:", "secret:", "file:")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One ``${…}``: a path or a name, then filters."""

    source: Path | FactValue | str
    filters: tuple[tuple[str, Filter], ...] = field(repr=False)
    tables: tuple[str, ...] = ()
    # one of them reads a path as a condition does: `number_of(OBX-5)`, `age(PID-7)`
    function: str = ""

    def render(self, scope: StepScope) -> str:
        """Return its text for this message."""
        source = self.source
        if isinstance(source, Path):
            if self.function:
                text = source.encoded(scope)
            else:
                text = source.read(scope.message, scope) or ""
        elif isinstance(source, FactValue):
            text = source.read(scope)
        else:
            text = self._named(source, scope)
        for name, apply in self.filters:
            if text != NULL and (text or name in ON_EMPTY):  # safety-rules.md 20
                text = apply(text, scope)
        return text

    @staticmethod
    def _named(source: str, scope: StepScope) -> str:
        if source == "msg.id":
            return scope.message_id + scope.part
        if source == "br":
            return _line_break(scope)
        if source == "msg.type":
            return message_type(scope.message)
        if source == "now":
            return now_text(as_datetime(scope.now_us))
        return scope.variables.get(source, "")


def _line_break(scope: StepScope) -> str:
    """Return the line break of formatted text (2.7.6), in the message's own escape character."""
    escape = scope.message.delimiters.escape_character.decode("ascii")
    if not escape:
        raise ReasonError("MSH-2 names no escape character for a line break")
    return f"{escape}.br{escape}"


@dataclass(frozen=True, slots=True)
class Template:
    """Text with placeholders, read once. ``text`` is what was written: safe to show."""

    text: str
    parts: tuple[str | Placeholder, ...] = field(repr=False)
    # The text for a message; raises ReasonError where a filter cannot be applied (`date`, `table`).
    # Asked of every message, so it is chosen once.
    render: Callable[[StepScope], str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "render", _renderer(self.parts))

    @property
    def is_constant(self) -> bool:
        """Whether it holds no placeholder."""
        return all(isinstance(part, str) for part in self.parts)

    def paths(self) -> tuple[Path, ...]:
        """Return every path that is read."""
        found: list[Path] = []
        for source in (placeholder.source for placeholder in self._placeholders()):
            if isinstance(source, Path):
                found.append(source)
            elif isinstance(source, FactValue):
                found += source.paths
        return tuple(found)

    def facts(self) -> tuple[FactValue, ...]:
        """Return the values of facts that are read."""
        return tuple(p.source for p in self._placeholders() if isinstance(p.source, FactValue))

    def variables(self) -> tuple[str, ...]:
        """Return the names of variables that are read, without the built-in ones."""
        names = [p.source for p in self._placeholders() if isinstance(p.source, str)]
        return tuple(name for name in names if name not in _BUILT_IN)

    @property
    def breaks_lines(self) -> bool:
        """Whether it holds a line break, ``${br}``."""
        return any(placeholder.source == "br" for placeholder in self._placeholders())

    def tables(self) -> tuple[str, ...]:
        """Return the tables that filters use."""
        return tuple(name for p in self._placeholders() for name in p.tables)

    def _placeholders(self) -> list[Placeholder]:
        return [part for part in self.parts if isinstance(part, Placeholder)]


def _renderer(parts: tuple[str | Placeholder, ...]) -> Callable[[StepScope], str]:
    if len(parts) == 1:
        return _render_part(parts[0])
    renders = [_render_part(part) for part in parts]

    def render(scope: StepScope) -> str:
        return "".join([one(scope) for one in renders])

    return render


def _render_part(part: str | Placeholder) -> Callable[[StepScope], str]:
    """Return the cheapest way to render a part: most are text, or a path that is read as it is."""
    if isinstance(part, str):
        return lambda scope: part
    source = part.source
    at = source.read_at if isinstance(source, Path) and not part.filters else None
    if at is None:
        return part.render
    name, f, r, c, s = at

    def render(scope: StepScope) -> str:
        if scope.segment is not None:
            return part.render(scope)
        return scope.message.leaf(name, f, r, c, s)

    return render


def parse_template(text: str, *, facts: Container[str] | None = None) -> Template:
    """Read text with placeholders; ``$${`` is a literal ``${``.

    ``facts`` are those that the site shares; None: no fact can be read here.

    Raises:
        NotationError: a placeholder is not right; the offset is inside the text.
    """
    if text.count("${") > _MOST_PLACEHOLDERS:
        raise NotationError(f"more than {_MOST_PLACEHOLDERS} placeholders in one text", 0)
    parts: list[str | Placeholder] = []
    at = 0
    plain = ""
    while True:
        start = text.find("${", at)
        if start == -1:
            plain += text[at:]
            break
        if start > at - 1 and text[start - 1 : start] == "$" and start - 1 >= at:
            plain += text[at : start - 1] + "${"
            at = start + 2
            continue
        plain += text[at:start]
        if plain:
            parts.append(plain)
            plain = ""
        placeholder, at = _placeholder(text, start, facts)
        parts.append(placeholder)
    if plain or not parts:
        parts.append(plain)
    return Template(text, tuple(parts))


def _placeholder(text: str, start: int, facts: Container[str] | None) -> tuple[Placeholder, int]:
    end = _closing(text, start)
    pieces = _split(text, start + 2, end)
    filters: list[tuple[str, Filter]] = []
    tables: list[str] = []
    called = _FUNCTION.fullmatch(pieces[0][0])
    if called is not None:
        source: Path | FactValue | str = _argument(called, pieces[0][1])
        filters.append((called[1], FILTERS[called[1]][1]()))
    elif BEGINS.match(pieces[0][0]):
        source = parse_fact(*pieces[0], facts)
    else:
        source = _source(*pieces[0])
    for piece, at in pieces[1:]:
        name, arguments, made = _filter(piece, at)
        filters.append((name, made))
        if name == "table":
            tables += arguments
    function = called[1] if called is not None else ""
    return Placeholder(source, tuple(filters), tuple(tables), function), end + 1


def _argument(called: re.Match[str], at: int) -> Path:
    path = _source(called[2].strip(), at + called.start(2))
    if isinstance(path, str):
        raise NotationError(
            f"{called[1]} takes a path", at + called.start(2), f"${{{path} | {called[1]}}}"
        )
    return path


def _closing(text: str, start: int) -> int:
    """Return the place of the brace that ends a placeholder; quotes hide braces."""
    quote = ""
    for at in range(start + 2, len(text)):
        character = text[at]
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "}":
            return at
    raise NotationError("a ${ without its }", start)


def _split(text: str, start: int, end: int) -> list[tuple[str, int]]:
    """Split at ``|`` outside quotes; return each piece and its place."""
    pieces: list[tuple[str, int]] = []
    quote, begin = "", start
    for at in range(start, end):
        character = text[at]
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "|":
            pieces.append((text[begin:at], begin))
            begin = at + 1
    pieces.append((text[begin:end], begin))
    return [(piece.strip(), at + len(piece) - len(piece.lstrip())) for piece, at in pieces]


def _source(name: str, at: int) -> Path | str:
    if not name:
        raise NotationError("a placeholder names a path or a variable", at - 1, "${PID-5.1}")
    for kind in _SITE_ONLY:
        if name.startswith(kind):
            raise NotationError(
                f"${{{kind}…}} is filled in ifengine.yaml, not in a channel",
                at,
                "use ${vars.NAME} or a path",
            )
    if name in _BUILT_IN:
        return name
    if name.startswith("msg."):
        raise NotationError(f'"{name}" is not known', at, "msg.id and msg.type are")
    if _NAME.fullmatch(name) and not (len(name) == 3 and name.isupper()):
        small = _PATH_LIKE.match(name)
        if small is None or "-" not in name or not name[4:5].isdecimal():
            return name
    try:
        path = parse_path(name)
    except NotationError as error:
        raise NotationError(error.message, at + error.offset, error.hint) from None
    if path.field is None:
        raise NotationError("a placeholder reads a field", at, f"${{{name}-1}}")
    return path


def _filter(piece: str, at: int) -> tuple[str, list[str], Filter]:
    match = _FILTER_NAME.match(piece)
    if match is None:
        raise NotationError("the name of a filter is missing after |", max(at - 1, 0), "| upper")
    name, rest = match[0], piece[match.end() :].strip()
    if name not in FILTERS:
        near = difflib.get_close_matches(name, FILTERS, 2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {' '.join(FILTERS)}"
        raise NotationError(f'"{name}" is not a filter', at, hint)
    arguments = _arguments(rest, at + match.end()) if rest else []
    count, make = FILTERS[name]
    if len(arguments) != count:
        takes = {0: "takes nothing", 1: "takes one value", 2: "takes two values"}[count]
        raise NotationError(f"{name} {takes}", at, f"{name}({', '.join('xyz'[:count])})")
    try:
        return name, arguments, make(*arguments)
    except ValueError as error:
        raise NotationError(f"{name} {error}", at) from None


def _arguments(rest: str, at: int) -> list[str]:
    if not (rest.startswith("(") and rest.endswith(")")):
        raise NotationError(
            f'did not expect "{rest}" after a filter', at, "left(3), default('none')"
        )
    found: list[str] = []
    inside = rest[1:-1]
    while inside.strip():
        inside = inside.strip()
        if inside[0] in "\"'":
            end = inside.find(inside[0], 1)
            if end == -1:
                raise NotationError("the quote is not closed", at)
            found.append(inside[1:end])
            inside = inside[end + 1 :].strip()
            if inside and not inside.startswith(","):
                raise NotationError("a comma is missing between two values", at)
            inside = inside[1:]
        else:
            value, _, inside = inside.partition(",")
            found.append(value.strip())
    return found
