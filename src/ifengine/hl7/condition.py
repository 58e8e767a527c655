"""Conditions such as ``PV1-2 in [I, E] and any OBX-8 = HH``, compiled once and asked per message.

Source: channel-language.md "Conditions"; safety-rules.md 21 and 26.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ifengine.errors import NotationError
from ifengine.hl7.condition_checks import Equals, InTable, OneOf
from ifengine.hl7.condition_grammar import parse_prefix
from ifengine.hl7.condition_parts import Part, Test, tests_of
from ifengine.hl7.condition_values import Contains, PathValue, Scope, Variable, message_type
from ifengine.hl7.groups import is_known_segment
from ifengine.hl7.path import Path, Where, scan_path

__all__ = ["Condition", "Contains", "Scope", "Warned", "message_type", "parse_condition"]

_LONGEST = 4096
_TEXT_OR_OWN = "own segments begin with Z; a text that looks like a path is quoted"
_TRIGGER_ONLY = "types: [ADT^A01, ORM^O01] compares type and trigger"


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that is allowed and probably not meant. ``offset`` counts from 0."""

    offset: int
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition, read once. ``text`` is what was written."""

    text: str
    part: Part = field(repr=False)
    warnings: tuple[Warned, ...] = field(default=(), repr=False)
    # Whether it is so for this message. Asked of every message: its part's own question.
    holds: Callable[[Scope], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "holds", self.part.holds)

    def notes(self, scope: Scope) -> list[str]:
        """Return which comparisons had no answer and counted as false; safe text."""
        return [note for test in tests_of(self.part) for note in test.notes(scope)]

    def paths(self) -> tuple[Path, ...]:
        """Return every path that is read, those inside ``(where …)`` included."""
        return tuple(path for path, _ in _all_paths(self.part))

    def unsaid_paths(self) -> tuple[Path, ...]:
        """Return the paths that have neither index nor quantifier: they mean the first."""
        return tuple(
            path
            for path, test in _own_paths(self.part)
            if path.is_bare
            and not (
                test.quantifier and isinstance(test.left, PathValue) and test.left.path is path
            )
        )

    def table_names(self) -> tuple[str, ...]:
        """Return the tables that ``in table`` names."""
        checks = [test.check for test in _all_tests(self.part)]
        return tuple(check.name for check in checks if isinstance(check, InTable))

    def variables(self) -> tuple[str, ...]:
        """Return the variables that are read, without their ``$``."""
        operands = [
            operand
            for test in _all_tests(self.part)
            for operand in (test.left, *test.check.operands())
        ]
        return tuple(operand.name for operand in operands if isinstance(operand, Variable))

    def __str__(self) -> str:
        return str(self.part)


def parse_condition(text: str, *, relative: bool = False) -> Condition:
    """Read a condition; ``relative`` admits ``.5`` (the ``where:`` of ``keep_repetitions``).

    Raises:
        NotationError: it is none; the offset is inside the text.
    """
    if len(text) > _LONGEST:
        raise NotationError(
            f"a condition is longer than {_LONGEST} characters", _LONGEST, "in table NAME"
        )
    if not text.strip():
        raise NotationError("a condition is missing", 0, "PV1-2 = I")
    part, end, mixed = parse_prefix(text, 0, scan_path, relative=relative)
    if end < len(text):
        word = text[end:].split()[0]
        hint = "a ( is missing" if word.startswith(")") else "join tests with and, or"
        raise NotationError(f'did not expect "{word}" here', end, hint)
    warnings = [
        Warned(at, "and binds tighter than or", "say with ( ) which belong together")
        for at in mixed
    ]
    return Condition(text, part, (*warnings, *_doubts(text, part)))


def path_of_where(path: Path) -> Iterator[Part]:
    """Yield the conditions inside a path."""
    for index in (
        path.head.index,
        path.repetition,
        path.parent.index if path.parent is not None else None,
    ):
        if isinstance(index, Where):
            yield index.condition


def _own_paths(part: Part) -> Iterator[tuple[Path, Test]]:
    for test in tests_of(part):
        for operand in (test.left, *test.check.operands()):
            if isinstance(operand, PathValue) and isinstance(operand.path, Path):
                yield operand.path, test


def _all_paths(part: Part) -> Iterator[tuple[Path, Test]]:
    for path, test in _own_paths(part):
        yield path, test
        for inner in path_of_where(path):
            yield from _all_paths(inner)


def _all_tests(part: Part) -> Iterator[Test]:
    yield from tests_of(part)
    for path, _ in _own_paths(part):
        for inner in path_of_where(path):
            yield from _all_tests(inner)


def _doubts(text: str, part: Part) -> Iterator[Warned]:
    for path, test in _all_paths(part):
        at = max(text.find(path.text), 0)
        if not path.is_relative and path.segment != "Z*" and not is_known_segment(path.segment):
            yield Warned(at, f"{path.segment} is no segment of HL7", _TEXT_OR_OWN)
        whole = path.segment == "MSH" and path.field == 9 and path.component is None
        if whole and isinstance(test.check, Equals | OneOf) and test.check.whole:
            yield Warned(at, "MSH-9 has three components: this may never hold", _TRIGGER_ONLY)
