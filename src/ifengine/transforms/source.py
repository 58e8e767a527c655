"""Written configuration with its place: text, list and mapping nodes, and problems found in them.

Every scalar is text (channel-language.md, rule 3). A node knows its file, line and column, so that
each mistake is shown where the analyst made it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Position(NamedTuple):
    """A place in a file. Line and column count from 1."""

    file: str
    line: int
    column: int


class Severity(StrEnum):
    """How bad a problem is: an error refuses the configuration, a warning never does."""

    ERROR = "error"
    WARNING = "warning"


class Problem(NamedTuple):
    """One mistake in a configuration file. ``message`` may quote the file, never a secret."""

    position: Position
    severity: Severity
    code: str
    message: str
    hint: str = ""


MOST_HINTS = 100  # finding a similar word costs more than all else that is done with a wrong one


@dataclass(slots=True)
class Problems:
    """Collects every mistake, so that a person sees all of them at once."""

    found: list[Problem] = field(default_factory=list)

    def error(self, code: str, position: Position, message: str, hint: str = "") -> None:
        """Add an error."""
        self.found.append(Problem(position, Severity.ERROR, code, message, hint))

    def warning(self, code: str, position: Position, message: str, hint: str = "") -> None:
        """Add a warning."""
        self.found.append(Problem(position, Severity.WARNING, code, message, hint))

    @property
    def takes_hints(self) -> bool:
        """Whether a similar word is still worth looking for: nobody reads that many hints."""
        return len(self.found) < MOST_HINTS

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return all(problem.severity is not Severity.ERROR for problem in self.found)


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar, as written. ``plain`` is False for quoted and block text."""

    value: str
    position: Position
    plain: bool = True
    # True where column + offset is the place of value[offset] (single line, no escapes)
    literal: bool = True

    @property
    def is_null(self) -> bool:
        """Whether this is a plain ``null``, ``~`` or nothing: it means empty."""
        return self.plain and self.value in ("", "null", "~")

    def at(self, offset: int) -> Position:
        """Return the place of a character of the value, the node's own where it is not known."""
        if not self.literal:
            return self.position
        quote = 0 if self.plain else 1
        return self.position._replace(column=self.position.column + quote + offset)


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple["Node", ...]
    position: Position

    def __iter__(self) -> Iterator["Node"]:
        return iter(self.items)


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping, in the order written. Keys are unique: the loader reports duplicates."""

    entries: tuple[tuple[Text, "Node"], ...]
    position: Position

    def __iter__(self) -> Iterator[tuple[Text, "Node"]]:
        return iter(self.entries)

    def get(self, key: str) -> "Node | None":
        """Return the value under a key."""
        for name, value in self.entries:
            if name.value == key:
                return value
        return None


Node = Text | Items | Entries
