"""What can be said about conditions without a message: which never holds, which covers which.

A condition becomes alternatives of tests that must all be so. Tests that compare a path with texts
(``PV1-2 in [I, E]``) are understood; all others only as equal to themselves. What is not certain is
answered with no, so that nobody is told of a mistake that is none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

from ifengine.hl7.condition import Condition
from ifengine.hl7.condition_checks import plain_choices
from ifengine.hl7.condition_parts import Both, Not, Part, Test
from ifengine.hl7.condition_values import PathValue

_MOST = 64  # alternatives; a condition with more is not looked into


@dataclass(frozen=True, slots=True)
class Choice:
    """The texts that a value may have, or with ``negated`` those that it must not have."""

    texts: frozenset[str]
    negated: bool = False

    def both(self, other: "Choice") -> "Choice":
        """Return what satisfies the two."""
        if self.negated and other.negated:
            return Choice(self.texts | other.texts, True)
        if not self.negated and not other.negated:
            return Choice(self.texts & other.texts)
        wanted, refused = (other, self) if self.negated else (self, other)
        return Choice(wanted.texts - refused.texts)

    def within(self, other: "Choice") -> bool:
        """Whether all that satisfies this one satisfies the other."""
        if self.negated:
            return other.negated and other.texts <= self.texts
        return self.texts.isdisjoint(other.texts) if other.negated else self.texts <= other.texts

    def admits(self, text: str) -> bool:
        """Whether a value may be this text."""
        return (text in self.texts) != self.negated

    @property
    def is_empty(self) -> bool:
        """Whether nothing satisfies it."""
        return not self.negated and not self.texts


@dataclass(frozen=True, slots=True)
class Clause:
    """Tests that are all so: choices by path as written, and other tests as their text."""

    choices: Mapping[str, Choice]
    rest: frozenset[str] = frozenset()

    def both(self, other: "Clause") -> "Clause | None":
        """Return this and the other; None where they contradict each other."""
        choices = dict(self.choices)
        for path, choice in other.choices.items():
            met = choices[path].both(choice) if path in choices else choice
            if met.is_empty:
                return None
            choices[path] = met
        rest = self.rest | other.rest
        if any(f"not {test}" in rest for test in rest):
            return None
        return Clause(choices, rest)

    def within(self, other: "Clause") -> bool:
        """Whether a message with this one has the other for certain."""
        return other.rest <= self.rest and all(
            path in self.choices and self.choices[path].within(choice)
            for path, choice in other.choices.items()
        )


ALWAYS: Final = (Clause({}),)


def clauses_of(condition: Condition) -> tuple[Clause, ...] | None:
    """Return the alternatives of a condition; empty: it never holds; None: too many to tell."""
    return _clauses(condition.part, negated=False)


def never_hold(*several: tuple[Clause, ...]) -> bool:
    """Whether conditions cannot all be so of one message."""
    met = _all_of(several)
    return met is not None and not met


def covers(earlier: tuple[Clause, ...], later: tuple[Clause, ...]) -> bool:
    """Whether the earlier condition holds wherever the later one does."""
    return all(any(clause.within(wide) for wide in earlier) for clause in later)


def _clauses(part: Part, *, negated: bool) -> tuple[Clause, ...] | None:
    if isinstance(part, Not):
        return _clauses(part.inner, negated=not negated)
    if isinstance(part, Test):
        return (_clause(part, negated=negated),)
    read = [_clauses(inner, negated=negated) for inner in part.parts]
    known = [clauses for clauses in read if clauses is not None]
    if len(known) < len(read):
        return None
    if isinstance(part, Both) != negated:
        return _all_of(known)
    found = tuple(clause for clauses in known for clause in clauses)
    return found if len(found) <= _MOST else None


def _all_of(several: Iterable[tuple[Clause, ...]]) -> tuple[Clause, ...] | None:
    found: tuple[Clause, ...] = ALWAYS
    for clauses in several:
        if len(found) * len(clauses) > _MOST:
            return None
        met = (one.both(two) for one, two in product(found, clauses))
        found = tuple(clause for clause in met if clause is not None)
    return found


def _clause(test: Test, *, negated: bool) -> Clause:
    choices = plain_choices(test.check)
    if choices is None or test.quantifier or not isinstance(test.left, PathValue):
        return Clause({}, frozenset({f"not {test}" if negated else str(test)}))
    texts, refused = choices
    return Clause({test.left.path.text: Choice(texts, refused != negated)})


__all__ = ["ALWAYS", "Choice", "Clause", "clauses_of", "covers", "never_hold"]
