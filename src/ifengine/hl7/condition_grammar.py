"""The grammar of conditions: recursive descent over the text, every mistake with its offset.

``condition = test { and | or | not | ( ) }``. Paths are read by a function that is passed in, because
paths hold conditions themselves.
"""

import difflib
import re
from collections.abc import Callable

from ifengine.errors import NotationError
from ifengine.hl7.comparing import value_of
from ifengine.hl7.condition_checks import (
    Check,
    Equals,
    Filled,
    InTable,
    Matches,
    OneOf,
    Ordered,
    State,
    TextTest,
)
from ifengine.hl7.condition_functions import FUNCTIONS, WEEKDAY, Measured, WeekdayIs
from ifengine.hl7.condition_parts import Both, Either, Not, Part, Test
from ifengine.hl7.condition_values import (
    Constant,
    Now,
    Operand,
    PathValue,
    Readable,
    Variable,
)
from ifengine.hl7.date_math import WEEKDAYS
from ifengine.hl7.groups import STANDARD_SEGMENTS, is_known_segment
from ifengine.hl7.patterns import Pattern
from ifengine.hl7.quantities import quantity_of

ScanPath = Callable[[str, int], tuple[Readable, int]]

_BLANKS = re.compile(r"\s*")
_WORD = re.compile(r"[^\s,()\[\]\"=<>!$|]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")
_PATH_BEGINS = re.compile(r"[A-Z][A-Z0-9]{2}(?:-\d|\[|\((?:where\b|\d|last\b|\*)|/[A-Z])|\.\d")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}(?![^\s,()\[\]=<>!])")
_MISWRITTEN = re.compile(r"([A-Za-z][A-Za-z0-9]{2})[-.^]\d")
_SIGN = re.compile(r"==|!=|<=|>=|<>|=~|=|<|>|&&|\|\||!")
_WRONG_SIGNS = {
    "==": ("use a single = to compare", ""),
    "<>": ("use != for not equal", ""),
    "=~": ("use matches /expression/", ""),
    "&&": ("use the word and", ""),
    "||": ("use the word or", ""),
    "!": ("use the word not", ""),
}
_QUANTIFIERS = ("any", "all", "no")
_AFTER_VALUE = (
    "in", "not", "matches", "starts", "ends", "contains", "exists", "is",
)  # fmt: skip
_FUNCTION = re.compile(rf"({'|'.join(FUNCTIONS)})\(")
_MAX_DEPTH = 40


class _Reader:
    def __init__(self, text: str, start: int, scan_path: ScanPath, relative: bool) -> None:
        self.text, self.at, self.scan_path, self.relative = text, start, scan_path, relative
        # a condition inside a path inside a condition: what was opened before counts too
        self.depth = text.count("(", 0, start) + text.count("not ", 0, start)
        self.mixed: list[int] = []

    # --- small steps ------------------------------------------------------------------------

    def blanks(self) -> None:
        match = _BLANKS.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def fail(self, message: str, hint: str = "", at: int | None = None) -> NotationError:
        place = self.at if at is None else at
        return NotationError(message, min(place, max(len(self.text) - 1, 0)), hint)

    def word(self) -> str:
        """Return the word that comes next, without taking it."""
        self.blanks()
        match = _WORD.match(self.text, self.at)
        return match[0] if match else ""

    def take(self, word: str) -> bool:
        if self.word() != word:
            return False
        self.at += len(word)
        return True

    def sign(self) -> str:
        self.blanks()
        match = _SIGN.match(self.text, self.at)
        if match is None:
            return ""
        if match[0] in _WRONG_SIGNS:
            raise self.fail(*_WRONG_SIGNS[match[0]])
        return match[0]

    def found(self) -> str:
        """Return what stands here, for a message."""
        self.blanks()
        rest = self.word() or self.text[self.at : self.at + 1]
        return f'"{rest}"' if rest else "the end"

    # --- combination ------------------------------------------------------------------------

    def either(self) -> Part:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.fail("too many parentheses")
        parts = [self.both()]
        at = self.at
        while self.take("or"):
            parts.append(self.both())
        if len(parts) > 1 and any(isinstance(part, Both) for part in self.bare(parts)):
            self.mixed.append(at)
        self.depth -= 1
        flat = tuple(parts)
        return flat[0] if len(flat) == 1 else Either(flat)

    def bare(self, parts: list[Part]) -> list[Part]:
        return [part for part in parts if id(part) not in self.parenthesized]

    parenthesized: set[int]

    def both(self) -> Part:
        parts = [self.single()]
        while self.take("and"):
            parts.append(self.single())
        word = self.word()
        if word in ("AND", "OR", "NOT"):
            raise self.fail(f"write {word.lower()} in small letters")
        flat = tuple(parts)
        return flat[0] if len(flat) == 1 else Both(flat)

    def single(self) -> Part:
        if self.take("not"):
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise self.fail("too many nots")
            inner = self.single()
            self.depth -= 1
            return Not(inner)
        self.blanks()
        if self.text[self.at : self.at + 1] == "(":
            opened = self.at
            self.at += 1
            part = self.either()
            self.blanks()
            if self.text[self.at : self.at + 1] != ")":
                raise self.fail("a ( without its )", at=opened)
            self.at += 1
            self.parenthesized.add(id(part))
            self.kept.append(part)
            return part
        return self.test()

    kept: list[Part]  # so that an id is not used twice

    # --- one test ---------------------------------------------------------------------------

    def test(self) -> Test:
        quantifier = ""
        word = self.word()
        if word in _QUANTIFIERS:
            at = self.at
            self.at += len(word)
            quantifier = word
            function, left = self.maybe_function(left=True)
            if not isinstance(left, PathValue):
                raise self.fail(f'"{word}" is followed by a path', f"{word} OBX-8 = HH", at)
        else:
            function, left = self.maybe_function(left=True)
        place = self.at
        check = self.weekday_check() if function == WEEKDAY else self.check(function)
        segment = isinstance(left, PathValue) and left.path.field is None
        if segment and not self.relative_leaf(left) and not _asks_presence(check):
            name = left.path.text if isinstance(left, PathValue) else ""
            raise self.fail("a segment only exists or is empty", f"say a field: {name}-1", place)
        return Test(quantifier, left, check)

    def relative_leaf(self, left: Operand) -> bool:
        return isinstance(left, PathValue) and left.path.text.startswith(".")

    def check(self, function: str = "") -> Check:
        sign = self.sign()
        if sign:
            self.at += len(sign)
            return self.comparison(sign, function)
        if function:
            return self.is_number(function)
        negated = self.take("not")
        if self.take("in"):
            return self.membership(negated)
        if self.take("matches"):
            return self.expression(negated)
        if negated:
            raise self.fail(f'"not" is followed by "in" or "matches", not {self.found()}')
        for first, second in (("starts", "with"), ("ends", "with"), ("contains", "")):
            if self.take(first):
                if second and not self.take(second):
                    raise self.fail(f'"{first}" is followed by "with"')
                return TextTest(f"{first} {second}".strip(), self.value())
        if self.take("exists"):
            return Filled("exists")
        if self.take("is"):
            return self.state()
        raise self.no_check()

    # --- functions --------------------------------------------------------------------------

    def maybe_function(self, *, left: bool = False) -> tuple[str, Operand]:
        """Read a value that may stand in a function; return its name, empty without one."""
        self.blanks()
        opened = self.at
        match = _FUNCTION.match(self.text, opened)
        if match is None:
            return "", self.value(left=left)
        self.at = match.end()
        if self.take("now"):
            operand: Operand = Now()
        else:
            operand = self.value(left=True)
        if isinstance(operand, Constant):
            raise self.fail(f"{match[1]} takes a path", f"{match[1]}(PID-7)", match.end())
        self.blanks()
        if self.text[self.at : self.at + 1] != ")":
            raise self.fail("a ( without its )", at=opened)
        self.at += 1
        return match[1], operand

    def measured(
        self, function: str, sign: str, right_function: str, right: Operand, start: int
    ) -> Check:
        if right_function == WEEKDAY:
            raise self.fail("weekday stands on the left", "weekday(now) = sun", start)
        if isinstance(right, Constant) and quantity_of(right.value.text) is None:
            raise self.fail(f"{function} is compared with a number", f"{function}(…) > 7.5", start)
        return Measured(function, sign, right, right_function)

    def is_number(self, function: str) -> Check:
        start = self.at
        if self.take("is"):
            negated = self.take("not")
            if self.take("number"):
                return Measured(function, "is not number" if negated else "is number")
            self.at = start
        raise self.fail(
            f"did not expect {self.found()} after {function}( )", "= != < <= > >=, is number"
        )

    def weekday_check(self) -> Check:
        sign = self.sign()
        if sign in ("=", "!="):
            self.at += len(sign)
            return WeekdayIs((self.day(),), sign == "!=")
        negated = self.take("not")
        if not self.take("in"):
            raise self.fail(
                f"did not expect {self.found()} after weekday( )", "= sun, in [sat, sun]"
            )
        start = self.at
        listed = self.membership(negated)
        if not isinstance(listed, OneOf):
            raise self.fail("weekday is asked for in a list", "in [sat, sun]", start)
        days = tuple(str(choice) for choice in listed.choices)
        for day in days:
            self.require_day(day, start)
        return WeekdayIs(days, negated, listed=True)

    def day(self) -> str:
        day, start = self.word(), self.at
        self.require_day(day, start)
        self.at += len(day)
        return day

    def require_day(self, day: str, at: int) -> None:
        if day not in WEEKDAYS:
            raise self.fail(f'"{day}" is no day of the week', " ".join(WEEKDAYS), at)

    def no_check(self) -> NotationError:
        word = self.word()
        if not word and not self.text[self.at : self.at + 1].strip():
            return self.fail("this is not finished: what about the value?", "PV1-2 = I")
        near = difflib.get_close_matches(word, _AFTER_VALUE, 1)
        hint = f'did you mean "{near[0]}"?' if near else "= != < > in, matches, exists, is empty"
        return self.fail(f"did not expect {self.found()} after a value", hint)

    def comparison(self, sign: str, function: str) -> Check:
        start = self.at
        right_function, right = self.maybe_function()
        if function or right_function:
            return self.measured(function, sign, right_function, right, start)
        if sign in ("=", "!="):
            return Equals(right, negated=sign == "!=")
        return Ordered(sign, right)

    def state(self) -> Check:
        negated = self.take("not")
        if self.take("empty"):
            return Filled("is empty", negated)
        for word in ("null", "number", "date"):
            if self.take(word):
                return State(f"is {word}", negated)
        raise self.fail(
            f'"is" is followed by empty, null, number or date, not {self.found()}',
            "use = to compare",
        )

    def membership(self, negated: bool) -> Check:
        if self.take("table"):
            name = self.word()
            if not name:
                raise self.fail("the name of a table is missing")
            self.at += len(name)
            return InTable(name, negated)
        self.blanks()
        opened = self.at
        if self.text[self.at : self.at + 1] != "[":
            raise self.fail('"in" is followed by a list or a table', "in [A, B]  or  in table NAME")
        self.at += 1
        choices = [self.value(listed=True)]
        self.blanks()
        while self.text[self.at : self.at + 1] == ",":
            self.at += 1
            choices.append(self.value(listed=True))
            self.blanks()
        if self.text[self.at : self.at + 1] != "]":
            if self.at >= len(self.text):
                raise self.fail("a [ without its ]", at=opened)
            raise self.fail(f"did not expect {self.found()} in a list", "a comma between values")
        self.at += 1
        return OneOf(tuple(choices), negated)

    def expression(self, negated: bool) -> Check:
        self.blanks()
        start = self.at
        if self.text[start : start + 1] != "/":
            raise self.fail("an expression stands between slashes", "matches /^A[0-9]+$/")
        end = start + 1
        while end < len(self.text) and self.text[end] != "/":
            end += 2 if self.text[end] == "\\" else 1
        if end >= len(self.text):
            raise self.fail("the expression has no / at its end", at=start)
        written = self.text[start + 1 : end]
        self.at = end + 1
        fold = self.text[self.at : self.at + 1] == "i"
        self.at += fold
        try:
            pattern = Pattern(written.replace("\\/", "/"), fold=fold)
        except NotationError as error:
            raise self.fail(error.message, error.hint, min(start + 1 + error.offset, end)) from None
        return Matches(pattern, negated)

    # --- values -----------------------------------------------------------------------------

    def value(self, *, left: bool = False, listed: bool = False) -> Operand:
        self.blanks()
        start, sign = self.at, self.text[self.at : self.at + 1]
        if sign in ('"', "'"):
            return self.quoted(sign)
        if sign == "$":
            return self.variable()
        if _PATH_BEGINS.match(self.text, start) and (sign != "." or self.relative):
            if left or sign == "." or self.names_segment(start):
                return self.path()
        elif left and _SEGMENT.match(self.text, start):
            return self.path()
        word = self.word()
        self.refuse_miswritten(start, word, left=left)
        if not word:
            raise self.fail(f"a value is missing before {self.found()}")
        if word in ("and", "or", "not") and not listed:
            raise self.fail(f'a value is missing before "{word}"', "quote it if it is text")
        self.at += len(word)
        return Constant(value_of(word, written=True))

    def names_segment(self, start: int) -> bool:
        name = self.text[start : start + 3]
        if not is_known_segment(name):
            raise self.fail(
                f'"{self.word()}" looks like a path, but {name} is no segment',
                f'quote it if it is text: "{self.word()}"',
            )
        return True

    def refuse_miswritten(self, start: int, word: str, *, left: bool) -> None:
        match = _MISWRITTEN.match(word)
        if match is not None and (left or match[1].upper() in STANDARD_SEGMENTS):
            self.scan_path(self.text, start)
            return
        if left and word and not is_number_like(word):
            raise self.fail(
                f'"{word}" is no path', 'fields are written PID-5.1; text is quoted: "text"', start
            )

    def path(self) -> Operand:
        path, end = self.scan_path(self.text, self.at)
        self.at = end
        return PathValue(path)

    def quoted(self, sign: str) -> Operand:
        start = self.at
        end = start + 1
        pieces: list[str] = []
        while end < len(self.text) and self.text[end] != sign:
            end += self.text[end] == "\\" and end + 1 < len(self.text)
            pieces.append(self.text[end])
            end += 1
        if end >= len(self.text):
            raise self.fail("the quote is not closed", at=start)
        self.at = end + 1
        if not pieces:
            raise self.fail(
                "empty quotes say neither empty nor null", "use `is empty` or `is null`", start
            )
        return Constant(value_of("".join(pieces), quoted=True, written=True))

    def variable(self) -> Operand:
        match = _NAME.match(self.text, self.at + 1)
        if match is None:
            raise self.fail("a name follows the $", "$ward")
        self.at = match.end()
        return Variable(match[0])


def is_number_like(word: str) -> bool:
    """Whether a bare word on the left is a number, which needs no quotes."""
    return word[0].isdecimal() or word[0] in "+-"


def _asks_presence(check: Check) -> bool:
    return isinstance(check, Filled)


def parse_prefix(
    text: str, start: int, scan_path: ScanPath, *, relative: bool
) -> tuple[Part, int, list[int]]:
    """Read a condition from ``start``.

    Returns:
        The condition, where it ended, and the places where ``and`` and ``or`` mix without
        parentheses.

    Raises:
        NotationError: it is not one.
    """
    reader = _Reader(text, start, scan_path, relative)
    reader.parenthesized, reader.kept = set(), []
    part = reader.either()
    reader.blanks()
    return part, reader.at, reader.mixed
