"""A condition once read: tests and their combination."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.hl7.condition_checks import Check, Filled, plain_choices
from ifengine.hl7.condition_functions import Measured, WeekdayIs
from ifengine.hl7.condition_values import Operand, PathValue, Readable, Scope


@dataclass(frozen=True, slots=True)
class Test:
    """One value, asked one thing; with a quantifier, every occurrence of a path."""

    quantifier: str
    left: Operand
    check: Check
    # Whether it is so; `all` needs at least one occurrence. Asked of every message, so it is the
    # question itself and no method around it.
    holds: Callable[[Scope], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "holds", self._question())

    def _question(self) -> Callable[[Scope], bool]:
        """Return the cheapest way to ask this: most tests compare a path with plain text."""
        left, check, whole = self.left, self.check, self.check.whole
        choices = plain_choices(check)
        if self.quantifier:
            if isinstance(left, PathValue) and choices is not None:
                return self._quantified_choice(left.path.leaves, *choices)
            return self._quantified
        if isinstance(left, PathValue):
            path = left.path
            if isinstance(check, Filled):
                wanted = (check.word == "exists") != check.negated
                return lambda scope: path.found(scope) == wanted
            if choices is not None:
                return self._choice(path, *choices)
        holds = check.holds
        return lambda scope: holds(left.read(scope, whole=whole), scope)

    @staticmethod
    def _choice(path: Readable, texts: frozenset[str], negated: bool) -> Callable[[Scope], bool]:
        """Ask whether the first leaf of a path is one of these texts (or none of them)."""
        leaf, at = path.leaf, path.leaf_at
        if at is None:
            return lambda scope: (leaf(scope) in texts) != negated
        name, f = at[:2]
        if at[2:] != (1, 1, 1):
            return lambda scope: (leaf(scope) in texts) != negated

        def holds(scope: Scope) -> bool:  # the most usual test there is: `PV1-2 in [I, E]`
            if scope.segment is not None:
                return (leaf(scope) in texts) != negated
            return (scope.message.first_leaf(name, f) in texts) != negated

        return holds

    def _quantified_choice(
        self, leaves: Callable[[Scope], list[str]], texts: frozenset[str], negated: bool
    ) -> Callable[[Scope], bool]:
        """Ask every occurrence whether it is one of these texts (or none of them)."""
        quantifier = self.quantifier

        def holds(scope: Scope) -> bool:
            found = leaves(scope)
            if quantifier == "all":
                wanted = texts.isdisjoint(found) if negated else texts.issuperset(found)
                return bool(found) and wanted
            present = not texts.issuperset(found) if negated else not texts.isdisjoint(found)
            return present == (quantifier == "any")

        return holds

    def _quantified(self, scope: Scope) -> bool:
        answers = [self.check.holds(text, scope) for text in self._texts(scope)]
        if self.quantifier == "all":
            return bool(answers) and all(answers)
        return any(answers) == (self.quantifier == "any")

    def _texts(self, scope: Scope) -> list[str]:
        left = self.left
        if not isinstance(left, PathValue):
            return [left.read(scope, whole=self.check.whole)]
        if not self.quantifier:
            return [left.read(scope, whole=self.check.whole)]
        return left.path.encodings(scope) if self.check.whole else left.path.leaves(scope)

    def notes(self, scope: Scope) -> Iterator[str]:
        """Yield why a comparison has no answer: places and rules, no values."""
        for text in self._texts(scope):
            reason = self.check.cannot(text, scope) if text else ""
            if reason:
                yield f"{self}: {reason}"
                return

    def __str__(self) -> str:
        check = self.check
        if isinstance(check, Measured | WeekdayIs):
            return f"{self.quantifier} {check.shown(self.left)}".strip()
        return f"{self.quantifier} {self.left} {check}".strip()


@dataclass(frozen=True, slots=True)
class Not:
    """``not`` what follows."""

    inner: "Part"

    def holds(self, scope: Scope) -> bool:
        return not self.inner.holds(scope)

    def __str__(self) -> str:
        return f"not ({self.inner})"


@dataclass(frozen=True, slots=True)
class Both:
    """``and`` of all parts."""

    parts: tuple["Part", ...]

    def holds(self, scope: Scope) -> bool:
        for part in self.parts:  # a generator would cost as much as a test  # noqa: SIM110
            if not part.holds(scope):
                return False
        return True

    def __str__(self) -> str:
        return " and ".join(_grouped(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    """``or`` of all parts."""

    parts: tuple["Part", ...]

    def holds(self, scope: Scope) -> bool:
        for part in self.parts:  # noqa: SIM110
            if part.holds(scope):
                return True
        return False

    def __str__(self) -> str:
        return " or ".join(_grouped(part) for part in self.parts)


Part = Test | Not | Both | Either


class RepetitionChoice(NamedTuple):
    """A test such as ``.5 = MR``: a part of each repetition, and the texts that it asks for."""

    component: int
    subcomponent: int
    texts: frozenset[str]
    negated: bool


def repetition_choice(part: Part) -> RepetitionChoice | None:
    """Return the condition as a choice of repetitions; None where it asks for more than that."""
    if not isinstance(part, Test) or part.quantifier or not isinstance(part.left, PathValue):
        return None
    place, choices = part.left.path.part_of_repetition, plain_choices(part.check)
    return None if place is None or choices is None else RepetitionChoice(*place, *choices)


def _grouped(part: Part) -> str:
    return f"({part})" if isinstance(part, Both | Either) else str(part)


def tests_of(part: Part) -> Iterator[Test]:
    """Yield every test in a condition, from left to right."""
    if isinstance(part, Test):
        yield part
    elif isinstance(part, Not):
        yield from tests_of(part.inner)
    else:
        for inner in part.parts:
            yield from tests_of(inner)
