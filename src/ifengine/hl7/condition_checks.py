"""What a condition asks of a value: equality, order, membership, shape."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ifengine.hl7.comparing import Value, equal, is_number, order_of, value_of
from ifengine.hl7.condition_values import Constant, Operand, PathValue, Scope
from ifengine.hl7.message import NULL
from ifengine.hl7.patterns import Pattern
from ifengine.hl7.times import parse_time

_STRUCTURE = frozenset("^~&")


class Check(Protocol):
    """What is asked of one value."""

    @property
    def whole(self) -> bool:
        """Whether the value is wanted with its structure: the text asked for has some."""
        ...

    def holds(self, text: str, scope: Scope) -> bool:
        """Whether it is so."""
        ...

    def operands(self) -> tuple[Operand, ...]:
        """Return the values on the right side."""
        ...

    def cannot(self, text: str, scope: Scope) -> str:
        """Return why the question has no answer for this value; empty where it has one."""
        ...


def _is_structured(operand: Operand) -> bool:
    return isinstance(operand, Constant) and not _STRUCTURE.isdisjoint(operand.value.text)


class _Plain:
    """What most checks have in common."""

    __slots__ = ()

    @property
    def whole(self) -> bool:
        return False

    def operands(self) -> tuple[Operand, ...]:
        return ()

    def cannot(self, text: str, scope: Scope) -> str:
        return ""


def _right_value(right: Operand, scope: Scope, *, whole: bool) -> Value:
    if type(right) is Constant:
        return right.value
    return value_of(right.read(scope, whole=whole))


@dataclass(frozen=True, slots=True)
class Equals(_Plain):
    """``=`` and ``!=``."""

    right: Operand
    negated: bool = False

    @property
    def whole(self) -> bool:
        return _is_structured(self.right) or isinstance(self.right, PathValue)

    def operands(self) -> tuple[Operand, ...]:
        return (self.right,)

    def holds(self, text: str, scope: Scope) -> bool:
        right = self.right
        if type(right) is Constant:
            value = right.value
            if text == value.text:
                return not self.negated
            if value.number is None and value.time is None:
                return self.negated
        answer = self._answer(text, scope)
        return False if answer is None else answer != self.negated

    def _answer(self, text: str, scope: Scope) -> bool | None:
        if isinstance(self.right, PathValue):
            other = self.right.read(scope, whole=True)
            if _STRUCTURE.isdisjoint(text) or _STRUCTURE.isdisjoint(other):
                # only one has components: the first leaf is what both have
                text, other = first_leaf(text), first_leaf(other)
            return equal(value_of(text), value_of(other))
        return equal(value_of(text), _right_value(self.right, scope, whole=False))

    def cannot(self, text: str, scope: Scope) -> str:
        undecided = self._answer(text, scope) is None
        return "these times cannot be told apart for certain" if undecided else ""

    def __str__(self) -> str:
        return f"{'!=' if self.negated else '='} {self.right}"


@dataclass(frozen=True, slots=True)
class Ordered(_Plain):
    """``< <= > >=``. False where the two have no order."""

    sign: str
    right: Operand

    @property
    def whole(self) -> bool:
        return False

    def operands(self) -> tuple[Operand, ...]:
        return (self.right,)

    def holds(self, text: str, scope: Scope) -> bool:
        order = order_of(value_of(text), _right_value(self.right, scope, whole=False))
        if order == 0:
            return self.sign.endswith("=")
        return order == (-1 if self.sign[0] == "<" else 1)

    def cannot(self, text: str, scope: Scope) -> str:
        order = order_of(value_of(text), _right_value(self.right, scope, whole=False))
        return "the two have no order that is certain" if order is None else ""

    def __str__(self) -> str:
        return f"{self.sign} {self.right}"


@dataclass(frozen=True, slots=True)
class OneOf(_Plain):
    """``in [a, b]`` and ``not in [a, b]``."""

    choices: tuple[Operand, ...]
    negated: bool = False

    @property
    def whole(self) -> bool:
        return any(_is_structured(choice) for choice in self.choices)

    def operands(self) -> tuple[Operand, ...]:
        return self.choices

    def holds(self, text: str, scope: Scope) -> bool:
        return any(self._is(choice, text, scope) for choice in self.choices) != self.negated

    def _is(self, choice: Operand, text: str, scope: Scope) -> bool:
        # the list is asked about the whole as soon as one choice has structure: the plain ones
        # still compare with the first leaf
        if self.whole and not _is_structured(choice):
            text = first_leaf(text)
        return Equals(choice).holds(text, scope)

    def __str__(self) -> str:
        return f"{'not ' if self.negated else ''}in [{', '.join(map(str, self.choices))}]"


def first_leaf(encoded: str) -> str:
    """Return the first leaf of a value written with the usual delimiters."""
    for delimiter in "~^&":
        encoded = encoded.partition(delimiter)[0]
    return encoded


@dataclass(frozen=True, slots=True)
class InTable(_Plain):
    """``in table NAME``."""

    name: str
    negated: bool = False

    def holds(self, text: str, scope: Scope) -> bool:
        return scope.table(self.name).contains(text) != self.negated

    def __str__(self) -> str:
        return f"{'not ' if self.negated else ''}in table {self.name}"


@dataclass(frozen=True, slots=True)
class Matches(_Plain):
    """``matches /expression/i``."""

    pattern: Pattern
    negated: bool = False

    @property
    def whole(self) -> bool:
        return "\\^" in self.pattern.text

    def holds(self, text: str, scope: Scope) -> bool:
        return self.pattern.search(text) != self.negated

    def __str__(self) -> str:
        written = self.pattern.text.replace("/", "\\/")
        fold = "i" if self.pattern.fold else ""
        return f"{'not ' if self.negated else ''}matches /{written}/{fold}"


_TEXT_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "starts with": str.startswith,
    "ends with": str.endswith,
    "contains": str.__contains__,
}


@dataclass(frozen=True, slots=True)
class TextTest(_Plain):
    """``starts with``, ``ends with``, ``contains``."""

    word: str
    right: Operand

    @property
    def whole(self) -> bool:
        return _is_structured(self.right)

    def operands(self) -> tuple[Operand, ...]:
        return (self.right,)

    def holds(self, text: str, scope: Scope) -> bool:
        wanted = self.right.read(scope, whole=False)
        # an empty field on the right would make every text hold it
        return bool(wanted) and _TEXT_TESTS[self.word](text, wanted)

    def __str__(self) -> str:
        return f"{self.word} {self.right}"


_STATES: Mapping[str, Callable[[str], bool]] = {
    "is null": lambda text: text == NULL,
    "is number": is_number,
    "is date": lambda text: parse_time(text) is not None,
}


@dataclass(frozen=True, slots=True)
class State(_Plain):
    """``is null``, ``is number``, ``is date``, and their ``is not``."""

    word: str
    negated: bool = False

    def holds(self, text: str, scope: Scope) -> bool:
        return _STATES[self.word](text) != self.negated

    def __str__(self) -> str:
        return self.word.replace("is ", "is not ") if self.negated else self.word


@dataclass(frozen=True, slots=True)
class Filled(_Plain):
    """``exists`` and ``is empty``: whether there is anything but delimiters. ``""`` is something."""

    word: str
    negated: bool = False  # is not empty

    @property
    def whole(self) -> bool:
        return True

    def holds(self, text: str, scope: Scope) -> bool:
        return bool(text.strip("^~&")) == ((self.word == "exists") != self.negated)

    def __str__(self) -> str:
        return "is not empty" if self.negated else self.word


def plain_choices(check: Check) -> tuple[frozenset[str], bool] | None:
    """Return the texts that ``=`` or ``in`` asks for, and whether it is negated.

    None where comparing text is not enough: numbers, times, structure, other paths.
    """
    if isinstance(check, Equals):
        wanted: tuple[Operand, ...] = (check.right,)
    elif isinstance(check, OneOf):
        wanted = check.choices
    else:
        return None
    texts: list[str] = []
    for operand in wanted:
        if not isinstance(operand, Constant) or _is_structured(operand):
            return None
        value = operand.value
        if not value.quoted and (value.number is not None or value.time is not None):
            return None
        texts.append(value.text)
    return frozenset(texts), check.negated
