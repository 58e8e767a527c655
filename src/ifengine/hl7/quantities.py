"""Values as numbers, with what they leave open: ``>500``, ``1,5``, the parts of an SN, an age.

A value stands for an interval, so that a comparison is answered only where it is certain: ``>500`` is
above 400, and nobody knows whether it is above 600. Source: HL7 v2.9.1 2A.2.66 (SN); safety-rules.md 26.
"""

import re
from decimal import Decimal
from typing import NamedTuple

_NUMBER = r"[+-]?(?:[0-9]{1,40}(?:[.,][0-9]{0,40})?|[.,][0-9]{1,40})"
_PLAIN = re.compile(rf"(?P<sign><=|>=|<|>|=|≤|≥)?[ ]*(?P<number>{_NUMBER})")
_RANGE = re.compile(rf"(?P<low>{_NUMBER})[ ]*-[ ]*(?P<high>{_NUMBER})")
# 1,500 is one and a half here and fifteen hundred there: nobody can say
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_SIGNS = {"≤": "<=", "≥": ">=", "=": ""}
_COMPARATORS = ("", "=", "<", ">", "<=", ">=")


class Quantity(NamedTuple):
    """All numbers a value may stand for. An end of None has no limit; an open end is not included."""

    low: Decimal | None
    high: Decimal | None
    low_open: bool = False
    high_open: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether it is one number."""
        return self.low is not None and self.low == self.high


def exactly(number: Decimal | int) -> Quantity:
    """Return one number as a quantity."""
    return Quantity(Decimal(number), Decimal(number))


def read_number(text: str) -> Decimal | None:
    """Return a number with a point or a comma; None where it is none, or may be thousands."""
    if re.fullmatch(_NUMBER, text) is None or _THOUSANDS.fullmatch(text):
        return None
    return Decimal(text.replace(",", "."))


def split_comparator(text: str) -> tuple[str, Decimal] | None:
    """Return what stands before a number (``""``, ``<``, ``<=``, ``>``, ``>=``) and the number."""
    match = _PLAIN.fullmatch(text.strip())
    number = None if match is None else read_number(match["number"])
    if match is None or number is None:
        return None
    sign = match["sign"] or ""
    return _SIGNS.get(sign, sign), number


def quantity_of(encoded: str) -> Quantity | None:
    """Return what a value says as a number; None where it says none.

    Args:
        encoded: the value, structure written with the usual delimiters. An SN is read by its four
            parts; of another composite the first component counts.
    """
    if "^" not in encoded:
        return _of_text(encoded)
    parts = encoded.split("^")
    first = parts[0].strip()
    if first not in _COMPARATORS:
        return _of_text(first)
    comparator, number, separator, second = (part.strip() for part in [*parts, "", "", ""][:4])
    if any(parts[4:]):
        return None
    if not separator and not second:
        return _of_text(comparator + number) if number[:1] not in ("<", ">") else None
    if separator != "-" or comparator not in ("", "="):
        return None
    return _range(number, second)


def _of_text(text: str) -> Quantity | None:
    found = split_comparator(text)
    if found is not None:
        return bounded(*found)
    match = _RANGE.fullmatch(text.strip())
    return None if match is None else _range(match["low"], match["high"])


def _range(low: str, high: str) -> Quantity | None:
    first, last = read_number(low), read_number(high)
    if first is None or last is None or first > last:
        return None
    return Quantity(first, last)


def bounded(sign: str, number: Decimal) -> Quantity:
    """Return the numbers that a comparator and a number mean."""
    if not sign:
        return exactly(number)
    if sign[0] == "<":
        return Quantity(None, number, high_open=sign == "<")
    return Quantity(number, None, low_open=sign == ">")


def quantity_text(quantity: Quantity) -> str:
    """Return a quantity as plain text: ``1.5``, ``>500``, ``10-20``; no exponent."""
    low, high = quantity.low, quantity.high
    if low is None:
        return "" if high is None else f"{'<' if quantity.high_open else '<='}{high:f}"
    if high is None:
        return f"{'>' if quantity.low_open else '>='}{low:f}"
    return f"{low:f}" if low == high else f"{low:f}-{high:f}"


def compare_quantities(left: Quantity, sign: str, right: Quantity) -> bool | None:
    """Return whether ``left sign right`` (``= != < <= > >=``); None where that is not certain."""
    opposite = _OPPOSITES.get(sign)
    if opposite is None:
        return _ANSWERS[sign](left, right)
    answer = _ANSWERS[opposite](left, right)
    return None if answer is None else not answer


def _equal(left: Quantity, right: Quantity) -> bool | None:
    if left.is_exact and right.is_exact:
        return left.low == right.low
    return False if _below(left, right) or _below(right, left) else None


def _less(left: Quantity, right: Quantity) -> bool | None:
    if _below(left, right):
        return True
    at_least = left.low is not None and right.high is not None and left.low >= right.high
    return False if at_least else None


def _below(left: Quantity, right: Quantity) -> bool:
    """Whether every number of the left is less than every one of the right."""
    if left.high is None or right.low is None:
        return False
    touching = left.high == right.low and (left.high_open or right.low_open)
    return left.high < right.low or touching


def _greater(left: Quantity, right: Quantity) -> bool | None:
    return _less(right, left)


_ANSWERS = {"=": _equal, "<": _less, ">": _greater}
_OPPOSITES = {"!=": "=", "<=": ">", ">=": "<"}
