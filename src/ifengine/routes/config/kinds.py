"""What kinds of value a key can take: each reads one node and says what is wrong with it.

A kind never raises for bad content. It returns ``BAD`` after adding a problem, so that the reader
goes on and every mistake is shown at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Protocol

from ifengine.errors import NotationError
from ifengine.hl7.condition import Condition, parse_condition
from ifengine.hl7.path import Path, parse_path
from ifengine.routes.config.filled import FilledText, quoted
from ifengine.routes.config.models import TypePattern
from ifengine.routes.config.scalars import ScalarError, parse_type
from ifengine.transforms.source import Entries, Items, Node, Problems, Text
from ifengine.transforms.template import Template, parse_template


class _Bad:
    __slots__ = ()

    def __repr__(self) -> str:
        return "BAD"


BAD: Final = _Bad()


class Kind(Protocol):
    """A kind of value: how it is called in messages, and how it is read."""

    @property
    def says(self) -> str:
        """What the value is, for messages and the reference: ``a duration``."""
        ...

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the value, or ``BAD`` after adding a problem."""
        ...


def want_text(key: str, says: str, node: Node, problems: Problems) -> Text | None:
    """Return a scalar that says something, or add E104 and return None."""
    if not isinstance(node, Text):
        found = "a list" if isinstance(node, Items) else "a map"
        problems.error("E104", node.position, f'"{key}" takes {says}, not {found}')
        return None
    if node.is_null:
        problems.error("E104", node.position, f'"{key}" takes {says}, and nothing is written')
        return None
    return node


def nearest(word: str, known: list[str]) -> str:
    """Return the hint that names a close spelling, or nothing."""
    close = get_close_matches(word[:64].lower(), known, n=1)
    return f'did you mean "{close[0]}"?' if close else ""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One text, converted. ``stand_in`` is used where a placeholder could not be filled."""

    says: str
    convert: Callable[[str], Any]
    stand_in: Any

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the converted text."""
        text = want_text(key, self.says, node, problems)
        if text is None:
            return BAD
        if isinstance(text, FilledText) and text.missing:
            return self.stand_in
        try:
            return self.convert(text.value)
        except ScalarError as error:
            hint = "" if isinstance(text, FilledText) else error.hint
            problems.error("E104", text.position, f"{quoted(text)} {error.message}", hint)
            return BAD


@dataclass(frozen=True, slots=True)
class FreeText:
    """Any text; empty is fine."""

    says: str = "a text"

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the text."""
        if isinstance(node, Text):
            return "" if node.is_null else node.value
        return want_text(key, self.says, node, problems) or BAD


@dataclass(frozen=True, slots=True)
class OneOf:
    """One word of a list."""

    words: tuple[str, ...]
    later: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        """The words."""
        return f"one of {', '.join(self.words)}" if len(self.words) > 1 else f'"{self.words[0]}"'

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the word."""
        text = want_text(key, self.says, node, problems)
        if text is None:
            return BAD
        if isinstance(text, FilledText) and text.missing:
            return self.words[0]
        if text.value in self.words:
            return text.value
        if text.value in self.later:
            problems.error("E190", text.position, not_yet(f"{key}: {text.value}"))
            return BAD
        hint = nearest(text.value, list(self.words)) if not isinstance(text, FilledText) else ""
        what = "is not" if len(self.words) == 1 else "is not one of"
        problems.error(
            "E103", text.position, f"{quoted(text)} {what} {', '.join(self.words)}", hint
        )
        return BAD


@dataclass(frozen=True, slots=True)
class OrWord:
    """A word that stands for something else (``never``), or another kind."""

    word: str
    value: Any
    other: Kind

    @property
    def says(self) -> str:
        """Both."""
        return f'{self.other.says} or "{self.word}"'

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the word's value, or the other kind's."""
        if isinstance(node, Text) and node.value == self.word:
            return self.value
        return self.other.read(key, node, problems)


@dataclass(frozen=True, slots=True)
class ListOf:
    """One value or a list of them, as a tuple of ``(value, node)``."""

    each: Kind
    least: int = 1

    @property
    def says(self) -> str:
        """The kind of one of them."""
        return f"{self.each.says}, or a list of them"

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return every good value with its node; BAD where none is good."""
        if isinstance(node, Entries):
            problems.error("E104", node.position, f'"{key}" takes {self.says}, not a map')
            return BAD
        nodes = node.items if isinstance(node, Items) else (node,)
        if len(nodes) < self.least:
            problems.error("E104", node.position, f'"{key}" is an empty list')
            return BAD
        read = [(self.each.read(key, item, problems), item) for item in nodes]
        good = tuple((value, item) for value, item in read if value is not BAD)
        return good if good or not nodes else BAD


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map of free names to one kind, as a dict of ``name: (value, key node)``."""

    names: Kind
    each: Kind
    says: str

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return every good entry."""
        if not isinstance(node, Entries):
            problems.error("E104", node.position, f'"{key}" takes {self.says}')
            return BAD
        found: dict[str, tuple[Any, Text]] = {}
        for name, value_node in node:
            if self.names.read(key, name, problems) is BAD:
                continue
            value = self.each.read(name.value, value_node, problems)
            if value is not BAD:
                found[name.value] = (value, name)
        return found


@dataclass(frozen=True, slots=True)
class Raw:
    """A part that has a reader of its own."""

    says: str

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the node."""
        return node


def notation_problem(text: Text, error: NotationError, problems: Problems) -> None:
    """Add E110 at the character where a notation goes wrong."""
    problems.error("E110", text.at(error.offset), error.message, error.hint)


@dataclass(frozen=True, slots=True)
class ConditionKind:
    """A condition of the channel language."""

    says: str = "a condition"

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the condition; its own warnings are added."""
        text = want_text(key, self.says, node, problems)
        if text is None:
            return BAD
        try:
            condition: Condition = parse_condition(text.value)
        except NotationError as error:
            notation_problem(text, error, problems)
            return BAD
        return condition


@dataclass(frozen=True, slots=True)
class PathKind:
    """A path such as ``PID-3.1``."""

    says: str = "a path"

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the path."""
        text = want_text(key, self.says, node, problems)
        if text is None:
            return BAD
        try:
            path: Path = parse_path(text.value)
        except NotationError as error:
            notation_problem(text, error, problems)
            return BAD
        return path


@dataclass(frozen=True, slots=True)
class TemplateKind:
    """A text with placeholders."""

    says: str = "a text with placeholders"

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the template."""
        text = want_text(key, self.says, node, problems)
        if text is None:
            return BAD
        try:
            template: Template = parse_template(text.value)
        except NotationError as error:
            notation_problem(text, error, problems)
            return BAD
        return template


@dataclass(frozen=True, slots=True)
class TypeKind:
    """A message type such as ``ADT^A01`` or ``ADT^*``."""

    says: str = "a message type"

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the pattern."""
        found = Scalar(self.says, parse_type, ("*", "*")).read(key, node, problems)
        return found if found is BAD else TypePattern(code=found[0], event=found[1])


def not_yet(what: str) -> str:
    """Return the text of E190 and W190."""
    return f"`{what}` is part of the language but not in this release"
