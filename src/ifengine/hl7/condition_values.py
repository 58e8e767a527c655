"""The values of a condition, and where they are read.

Paths are known here only as something that can be read, so that a path may hold a condition
(``PID-3(where .5 = MR)``) and a condition paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ifengine.clock import as_datetime
from ifengine.hl7.comparing import Value
from ifengine.hl7.message import Message
from ifengine.hl7.times import now_text


class Contains(Protocol):
    """A table, as far as a condition needs it."""

    def contains(self, value: str) -> bool:
        """Whether there is a row for this value."""
        ...


class Scope(Protocol):
    """Where a condition, a path or a placeholder is read: a message and what goes with it."""

    @property
    def message(self) -> Message:
        """The message."""
        ...

    @property
    def segment(self) -> int | None:
        """The position of the segment that ``for_each`` is at; None outside."""
        ...

    @property
    def variables(self) -> Mapping[str, str]:
        """What ``let`` made, by name."""
        ...

    @property
    def now_us(self) -> int | None:
        """The time that is fixed for the message, microseconds since 1970; None where none is."""
        ...

    def table(self, name: str) -> Contains:
        """Return a table by name."""
        ...


class Readable(Protocol):
    """A path, as far as a condition needs it."""

    @property
    def text(self) -> str:
        """The path as it was written."""
        ...

    @property
    def field(self) -> int | None:
        """The field number; None for a segment."""
        ...

    @property
    def part_of_repetition(self) -> tuple[int, int] | None:
        """Component and subcomponent of the leaf for ``.5``; None for a path with a segment."""
        ...

    @property
    def leaf_at(self) -> tuple[str, int, int | None, int | None, int | None] | None:
        """Where ``leaf`` is outside of loops, for ``Message.leaf``; None where that must be found."""
        ...

    def leaf(self, scope: Scope) -> str:
        """Return the first leaf of the first node: what a composite is compared by."""
        ...

    def encoded(self, scope: Scope) -> str:
        """Return the first node with its structure, written with the usual delimiters."""
        ...

    def leaves(self, scope: Scope) -> list[str]:
        """Return ``leaf`` of every occurrence, empty ones included."""
        ...

    def encodings(self, scope: Scope) -> list[str]:
        """Return ``encoded`` of every occurrence, empty ones included."""
        ...

    def found(self, scope: Scope) -> bool:
        """Whether such a segment is there, or the field has something in it."""
        ...


def quote(text: str) -> str:
    """Return text as a condition writes it where a bare word will not do."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Constant:
    """Text in the condition itself. ``value`` is looked at once."""

    value: Value

    def read(self, scope: Scope, *, whole: bool) -> str:
        """Return the text."""
        return self.value.text

    def __str__(self) -> str:
        return quote(self.value.text) if self.value.quoted else self.value.text


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name``: what a ``let`` made; empty where none did."""

    name: str

    def read(self, scope: Scope, *, whole: bool) -> str:
        """Return the variable's text."""
        if self.name == "msg.type":
            return message_type(scope.message)
        return scope.variables.get(self.name, "")

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True, slots=True)
class PathValue:
    """A path as a value."""

    path: Readable

    def read(self, scope: Scope, *, whole: bool) -> str:
        """Return the first node, whole or its first leaf."""
        return self.path.encoded(scope) if whole else self.path.leaf(scope)

    def __str__(self) -> str:
        return self.path.text


@dataclass(frozen=True, slots=True)
class Now:
    """``now``, fixed for the message."""

    def read(self, scope: Scope, *, whole: bool) -> str:
        """Return the time as HL7 writes it; nothing where a path is read without a message's time."""
        return "" if scope.now_us is None else now_text(as_datetime(scope.now_us))

    def __str__(self) -> str:
        return "now"


Operand = Constant | Variable | PathValue | Now


def message_type(message: Message) -> str:
    """Return MSH-9.1 and MSH-9.2 as ``ADT^A01``."""
    return f"{message.text(0, 9, 1, 1, 1)}^{message.text(0, 9, 1, 2, 1)}"
