"""``${fact.order(OBR-2).visit}``: what a fact under this key carries; empty where it is not known."""

import re
from collections.abc import Container
from dataclasses import dataclass

from ifengine.errors import NotationError
from ifengine.hl7.path import Path, parse_path
from ifengine.transforms.base import StepScope
from ifengine.transforms.facts import SEPARATOR, fact_key, fact_values, plain_key
from ifengine.transforms.memory import Space

BEGINS = re.compile(r"fact\s*[.(]")
_HINT = "${fact.order(OBR-2).visit}"
_WRITTEN = re.compile(r"fact\.([a-z][a-z0-9-]*)\((.*)\)(?:\.([A-Za-z_][A-Za-z0-9_-]*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FactValue:
    """A value that a fact carries: ``value`` is its name, ``""`` where `remember` keeps one text."""

    fact: str
    paths: tuple[Path, ...]
    value: str
    is_shared: bool  # by the channels of the site

    def read(self, scope: StepScope) -> str:
        """Return the value; ``""`` where the key is empty, the fact not known or run out."""
        parts = [plain_key(path.read(scope.message, scope)) for path in self.paths]
        if not any(parts):
            return ""
        key = fact_key(scope, self.fact, SEPARATOR.join(parts), shared=self.is_shared)
        found = scope.memory.get(Space.FACT, key)
        return "" if found is None else fact_values(found).get(self.value, "")


def parse_fact(text: str, at: int, shared: Container[str] | None) -> FactValue:
    """Read what stands in a placeholder; ``shared`` are the facts of the site.

    Raises:
        NotationError: it is not written so, or facts cannot be read here (``shared`` is None).
    """
    if shared is None:
        raise NotationError(
            "a fact is not read here", at, "let: {visit: '" + _HINT + "'} keeps it in a variable"
        )
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise NotationError("a fact is read by its key", at, _HINT)
    paths: list[Path] = []
    for piece, start in _pieces(match[2], at + match.start(2)):
        try:
            path = parse_path(piece)
        except NotationError as error:
            raise NotationError(error.message, start + error.offset, error.hint) from None
        if path.field is None:
            raise NotationError("the key of a fact is made of fields", start, _HINT)
        paths.append(path)
    return FactValue(match[1], tuple(paths), match[3] or "", match[1] in shared)


def _pieces(text: str, at: int) -> list[tuple[str, int]]:
    """Split at commas outside of brackets; return each path and its place."""
    found: list[tuple[str, int]] = []
    depth = begin = 0
    for i, character in enumerate(f"{text},"):
        depth += (character in "([") - (character in ")]")
        if character == "," and not depth:
            piece = text[begin:i]
            found.append((piece.strip(), at + begin + len(piece) - len(piece.lstrip())))
            begin = i + 1
    return found
