"""Functions in conditions: ``number_of(OBX-5) > 500``, ``age(PID-7) < 18``, ``weekday(now) = sun``.

What has no certain answer is false both ways (safety-rules.md 26), and ``try`` says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ifengine.clock import as_datetime
from ifengine.hl7.condition_checks import first_leaf
from ifengine.hl7.condition_values import Operand, Scope
from ifengine.hl7.date_math import age_of, days_until, weekday_of
from ifengine.hl7.quantities import Quantity, compare_quantities, quantity_of

WEEKDAY = "weekday"


def _age(text: str, scope: Scope) -> Quantity | None:
    return None if scope.now_us is None else age_of(first_leaf(text), as_datetime(scope.now_us))


def _days_until(text: str, scope: Scope) -> Quantity | None:
    return None if scope.now_us is None else days_until(first_leaf(text), as_datetime(scope.now_us))


Measure = Callable[[str, Scope], Quantity | None]
MEASURES: Mapping[str, Measure] = {
    "number_of": lambda text, scope: quantity_of(text),
    "age": _age,
    "days_until": _days_until,
}
FUNCTIONS = (*MEASURES, WEEKDAY)
_UNREADABLE = {
    "number_of": "there is no number",
    "age": "there is no date of birth",
    "days_until": "there is no date",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """``number_of``, ``age`` and ``days_until`` compared; either side may be the function.

    ``sign`` is one of ``= != < <= > >=``, or ``is number`` and ``is not number``.
    """

    function: str  # of the left value; empty where only the right side has one
    sign: str
    right: Operand | None = None
    right_function: str = ""

    @property
    def whole(self) -> bool:
        """An SN is read by its parts."""
        return True

    def operands(self) -> tuple[Operand, ...]:
        """Return the value on the right side."""
        return () if self.right is None else (self.right,)

    def holds(self, text: str, scope: Scope) -> bool:
        """Whether it is so, for certain."""
        return self._answer(text, scope) is True

    def cannot(self, text: str, scope: Scope) -> str:
        """Return why the question has no answer for this value; empty where it has one."""
        if self._answer(text, scope) is not None:
            return ""
        left, right = self._sides(text, scope)
        if left is None:
            return _UNREADABLE[self.function or "number_of"]
        if right is None:
            return f"on the right {_UNREADABLE[self.right_function or 'number_of']}"
        return "the two have no order that is certain"

    def _answer(self, text: str, scope: Scope) -> bool | None:
        left, right = self._sides(text, scope)
        if self.right is None:
            return (left is not None) == (self.sign == "is number")
        if left is None or right is None:
            return None
        return compare_quantities(left, self.sign, right)

    def _sides(self, text: str, scope: Scope) -> tuple[Quantity | None, Quantity | None]:
        left = MEASURES[self.function or "number_of"](text, scope)
        if self.right is None:
            return left, None
        other = self.right.read(scope, whole=True)
        return left, MEASURES[self.right_function or "number_of"](other, scope)

    def shown(self, left: Operand) -> str:
        """Return the whole test as it is written."""
        return f"{_call(self.function, left)} {self}"

    def __str__(self) -> str:
        return (
            self.sign
            if self.right is None
            else f"{self.sign} {_call(self.right_function, self.right)}"
        )


@dataclass(frozen=True, slots=True)
class WeekdayIs:
    """``weekday(…) = sun``, ``weekday(…) in [sat, sun]`` and their opposites."""

    days: tuple[str, ...]
    negated: bool = False
    listed: bool = False

    @property
    def whole(self) -> bool:
        """Only the date is wanted."""
        return False

    def operands(self) -> tuple[Operand, ...]:
        """Nothing on the right side is read."""
        return ()

    def holds(self, text: str, scope: Scope) -> bool:
        """Whether it is so; false both ways where there is no day."""
        day = weekday_of(text)
        return day is not None and (day in self.days) != self.negated

    def cannot(self, text: str, scope: Scope) -> str:
        """Return why the question has no answer for this value; empty where it has one."""
        return "" if weekday_of(text) is not None else "there is no date with a day"

    def shown(self, left: Operand) -> str:
        """Return the whole test as it is written."""
        return f"{_call(WEEKDAY, left)} {self}"

    def __str__(self) -> str:
        if self.listed:
            return f"{'not ' if self.negated else ''}in [{', '.join(self.days)}]"
        return f"{'!=' if self.negated else '='} {self.days[0]}"


def _call(function: str, operand: Operand) -> str:
    return f"{function}({operand})" if function else str(operand)
