"""What can never happen: a condition that never holds, a branch that an earlier one always takes."""

from collections.abc import Sequence

from ifengine.hl7.condition import Condition
from ifengine.hl7.condition_logic import Clause, clauses_of, covers, never_hold
from ifengine.transforms.source import Problems, Text

# code and trigger event of a message type, "*" for any
Types = tuple[tuple[str, str], ...]

_MOST_BRANCHES = 25  # each is compared with so many before it
_CODE = ("MSH-9", "MSH-9.1", "MSH-9.1.1")
_EVENT = ("MSH-9.2", "MSH-9.2.1")


def check_condition(
    condition: Condition, text: Text, types: Types | None, problems: Problems
) -> bool:
    """Warn (W251) about a condition that never holds; return whether it may.

    ``types`` are those that the channel takes; None where nobody knows them.
    """
    clauses = clauses_of(condition)
    if clauses is None:
        return True
    if never_hold(clauses):
        problems.warning(
            "W251",
            text.position,
            "this never holds: its tests contradict each other",
            "or, for and?",
        )
        return False
    if types is not None and not _some_type(clauses, types):
        problems.warning(
            "W251",
            text.position,
            "this never holds: no message of this channel's types is one of these",
            "see types:",
        )
        return False
    return True


def _some_type(clauses: Sequence[Clause], types: Types) -> bool:
    return any(_admits(clause, code, event) for clause in clauses for code, event in types)


def _admits(clause: Clause, code: str, event: str) -> bool:
    for path, choice in clause.choices.items():
        value = code if path in _CODE else event if path in _EVENT else "*"
        if value != "*" and not choice.admits(value):
            return False
    return True


def check_branches(
    branches: Sequence[tuple[Condition | None, Text | None]], problems: Problems
) -> None:
    """Warn (W250) about branches of `choose` that an earlier one always takes."""
    before: list[tuple[tuple[Clause, ...], Text]] = []
    for condition, text in branches:
        if condition is None or text is None:
            continue
        clauses = clauses_of(condition)
        if not clauses:
            continue
        for earlier, place in before[:_MOST_BRANCHES]:
            if covers(earlier, clauses):
                problems.warning(
                    "W250",
                    text.position,
                    f"this branch is never reached: line {place.position.line} holds wherever it does",
                    "the first branch that holds runs; put the narrower one first",
                )
                break
        else:
            before.append((clauses, text))


def meet(first: Condition, second: Condition) -> bool:
    """Whether two conditions on the same message may both hold."""
    one, two = clauses_of(first), clauses_of(second)
    return one is None or two is None or not never_hold(one, two)
