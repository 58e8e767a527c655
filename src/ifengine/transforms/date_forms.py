"""Reading dates in a form such as ``MM/DD/YYYY HH:mm``, and writing times as HL7 does.

Source: HL7 v2.9.1 2A.2.21 (DTM): as many digits as are known, from the year on.
"""

import re
from dataclasses import dataclass
from typing import Self

from ifengine.hl7.times import Hl7Time, parse_time

_TOKEN = re.compile(r"YYYY|MM|DD|HH|mm|ss|SSS|ZZ|.", re.DOTALL)
_DIGITS = {"YYYY": 4, "MM": 2, "DD": 2, "HH": 2, "mm": 2, "ss": 2, "SSS": 3}
_ORDER = ("YYYY", "MM", "DD", "HH", "mm", "ss", "SSS")


@dataclass(frozen=True, slots=True)
class DateForm:
    """A form of dates, read once. A value may end where all that is behind is less than a day's part.

    ``01/05/2026`` fits ``MM/DD/YYYY HH:mm``: it says as much as it says.
    """

    text: str
    _pattern: re.Pattern[str]

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a form; ``times.check_format`` says whether it is one.

        Raises:
            ValueError: it does not name a year, or leaves out a part before one that it names.
        """
        tokens = _TOKEN.findall(text)
        named = [part for part in tokens if part in _DIGITS]
        if sorted(named, key=_ORDER.index) != list(_ORDER[: len(named)]):
            raise ValueError(
                "a date is read from a form with YYYY, and with every part before MM, DD…"
            )
        seen: set[str] = set()
        ends: list[int] = []  # behind which part a value may end
        for number, part in enumerate(tokens):
            seen.update({part} & _DIGITS.keys())
            if part in _DIGITS and seen == set(_ORDER[: len(seen)]):
                ends.append(number)
        pattern = "".join(_piece(tokens, at, at in ends) for at in range(len(tokens)))
        # every end but the last opens what may be missing
        return cls(text, re.compile(pattern + ")?" * (len(ends) - 1), re.ASCII))

    def read(self, text: str) -> Hl7Time | None:
        """Return the time, None where the text is not of this form or no day of the calendar."""
        match = self._pattern.fullmatch(text)
        if match is None:
            return None
        found = match.groupdict()
        written = ""
        for part in _ORDER:
            digits = found.get(part)
            if digits is None:
                break
            written += ("." if part == "SSS" else "") + digits.rjust(_DIGITS[part], "0")
        zone = (found.get("ZZ") or "").replace(":", "")
        return parse_time(written + ("+0000" if zone == "Z" else zone))


def _piece(tokens: list[str], at: int, ends: bool) -> str:
    part = tokens[at]
    if part == "ZZ":
        return r"(?P<ZZ>Z|[+-]\d\d:?\d\d)?"
    if part not in _DIGITS:
        return re.escape(part)
    count = _DIGITS[part]
    # one digit is enough where something else than a digit stands on both sides: 1/5/2026
    alone = all(n < 0 or n >= len(tokens) or tokens[n] not in _DIGITS for n in (at - 1, at + 1))
    digits = rf"\d{{1,{count}}}" if count == 2 and alone else rf"\d{{{count}}}"
    piece = f"(?P<{part}>{digits})"
    rest = any(other in _DIGITS for other in tokens[at + 1 :])
    return piece + "(?:" if ends and rest else piece


def hl7_text(time: Hl7Time) -> str:
    """Return a time as HL7 writes it, with the precision and the zone it has."""
    year, *rest = time.parts[:6]
    text = f"{year:04}" + "".join(f"{part:02}" for part in rest)
    if len(time.parts) == 7:
        micros = f"{time.parts[6]:06}"[:4]
        text += "." + (micros[:3] if micros.endswith("0") else micros)
    return text + time.zone
