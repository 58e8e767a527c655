"""Paths such as ``PID-3(where .5 = MR).1`` or ``OBR[2]/OBX[*]-5``, as an analyst writes them.

Everything counts from 1, as in the standard. Source: channel-language.md "Notation".
"""

import re

from ifengine.errors import NotationError
from ifengine.hl7.condition_grammar import parse_prefix
from ifengine.hl7.condition_values import Readable
from ifengine.hl7.path_nodes import (
    Index,
    NodeRef,
    Path,
    SegmentRef,
    Where,
    Which,
    Within,
    holds_something,
)

__all__ = [
    "Index",
    "NodeRef",
    "Path",
    "SegmentRef",
    "Where",
    "Which",
    "Within",
    "holds_something",
    "parse_path",
    "scan_path",
]

_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_LOWER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2}(?=[-.\[(/^]|$)")
_NUMBER = re.compile(r"[0-9]+")
_WHERE = re.compile(r"\(where(?=[\s(])")
_CLOSED = {"[": "]", "(": ")"}
_MOST = 10_000


def parse_path(text: str, *, relative: bool = False) -> Path:
    """Read a path that is the whole text; ``relative`` admits ``.5``.

    Raises:
        NotationError: it is none; the offset is inside the text.
    """
    if not text.strip():
        raise NotationError("a path is missing", 0, "PID-5.1")
    path, end = _scan(text, len(text) - len(text.lstrip()), relative=relative)
    if text[end:].strip():
        raise _unexpected(text, end, path)
    return path


def scan_path(text: str, start: int) -> tuple[Readable, int]:
    """Read a path that begins at ``start`` and say where it ends; ``.5`` is one.

    Raises:
        NotationError: there is none, or something is stuck to its end.
    """
    path, end = _scan(text, start, relative=True)
    if (
        text[end : end + 1] not in ("", ",", ")", "]", "=", "<", ">", "!")
        and not text[end].isspace()
    ):
        raise _unexpected(text, end, path)
    return path, end


def _unexpected(text: str, at: int, path: Path) -> NotationError:
    rest = text[at:].split()[0] if text[at:].split() else text[at:]
    before = text[:at].split()[-1] if text[:at].split() else str(path)
    hint = ""
    number = _NUMBER.match(text, at + 1)
    sign = text[at]
    if sign in ".^" and path.field is None and number:
        hint = f"fields are written with a dash: {path.head}-{number[0]}"
    elif sign in "-^" and path.field is not None and number:
        wanted = [n for n in (path.component, int(number[0])) if n is not None]
        shown = f"{path.head}-{path.field}" + "".join(f".{n}" for n in wanted)
        hint = f"components are written with a dot: {shown}"
    elif sign in "~":
        hint = f"a repetition is written in brackets: {path.head}-{path.field or 1}[2]"
    return NotationError(f'did not expect "{rest}" after {before}', at, hint)


def _scan(text: str, start: int, *, relative: bool) -> tuple[Path, int]:
    if text[start : start + 1] == ".":
        if not relative:
            raise NotationError(
                "a path begins with a segment", start, '".5" is for (where .5 = …) and `where:`'
            )
        component, subcomponent, end = _parts(text, start)
        return Path(text[start:end], SegmentRef(""), None, None, None, component, subcomponent), end
    head, end = _segment(text, start)
    parent: SegmentRef | None = None
    if text[end : end + 1] == "/":
        parent = head
        if parent.name == "Z*":
            raise NotationError("Z* has no segments under it", start)
        head, end = _segment(text, end + 1)
    if text[end : end + 1] != "-" or head.name == "Z*":
        return Path(text[start:end], head, parent, None, None, None, None), end
    field, end = _count(text, end + 1, "a field number is missing", f"{head.name}-1")
    index, end = _index(text, end, relative=True)
    component, subcomponent, end = _parts(text, end)
    return Path(text[start:end], head, parent, field, index, component, subcomponent), end


def _segment(text: str, at: int) -> tuple[SegmentRef, int]:
    if text.startswith("Z*", at):
        return SegmentRef("Z*"), at + 2
    match = _NAME.match(text, at)
    if match is None:
        small = _LOWER_NAME.match(text, at)
        if small is not None:
            upper = small[0].upper()
            raise NotationError(
                "segment names are written in capitals", at, f"{upper}{text[small.end() :]}"
            )
        raise NotationError(
            "a path begins with the three characters of a segment",
            min(at, max(len(text) - 1, 0)),
            "PID-5.1",
        )
    index, end = _index(text, match.end(), relative=False)
    return SegmentRef(match[0], index), end


def _index(text: str, at: int, *, relative: bool) -> tuple[Index, int]:
    opened = text[at : at + 1]
    if opened not in ("[", "("):
        return None, at
    where = _WHERE.match(text, at)
    if where is not None:
        return _where(text, at, where.end(), relative=relative)
    end = text.find(_CLOSED[opened], at)
    if end == -1:
        raise NotationError(f"a {opened} without its {_CLOSED[opened]}", at)
    inside = text[at + 1 : end].strip()
    words = {"last": Which.LAST, "*": Which.ALL}
    if inside in words:
        return words[inside], end + 1
    if not _NUMBER.fullmatch(inside):
        hint = "[2], [last], [*] or (where …)"
        if inside.startswith("where") and opened == "[":
            hint = f"where stands in round brackets: ({inside})"
        raise NotationError(f'did not expect "{inside}" in {opened} {_CLOSED[opened]}', at, hint)
    number, _ = _count(text, at + 1 + text[at + 1 : end].index(inside), "", "[1] is the first")
    return number, end + 1


def _where(text: str, at: int, start: int, *, relative: bool) -> tuple[Index, int]:
    part, end, _ = parse_prefix(text, start, scan_path, relative=relative)
    if text[end : end + 1] != ")":
        if end >= len(text):
            raise NotationError("a ( without its )", at)
        raise NotationError(f'did not expect "{text[end:].split()[0]}" in (where …)', end)
    return Where(part), end + 1


def _parts(text: str, at: int) -> tuple[int | None, int | None, int]:
    numbers: list[int | None] = []
    while text[at : at + 1] == "." and len(numbers) < 2:
        number, at = _count(text, at + 1, "a number is missing after the dot", "PID-5.1")
        numbers.append(number)
    component, subcomponent = [*numbers, None, None][:2]
    return component, subcomponent, at


def _count(text: str, at: int, missing: str, hint: str) -> tuple[int, int]:
    match = _NUMBER.match(text, at)
    if match is None:
        raise NotationError(missing, min(at, len(text) - 1), hint)
    number = int(match[0][:8])
    if not 1 <= number <= _MOST:
        raise NotationError(f"positions count from 1 to {_MOST}", at, hint)
    return number, match.end()
