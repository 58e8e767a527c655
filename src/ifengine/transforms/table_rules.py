"""What makes a table unfit: rows of which two could answer, days that are none, factors that are none.

Source: safety-rules.md 24: two equal hits are an error of `check`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from ifengine.hl7.times import parse_time
from ifengine.transforms.source import Position, Problems

ANY = "*"
_USUAL = 15  # powers of ten of a factor: what is beyond is a slip


class Period(NamedTuple):
    """From a time on, up to one that does not belong to it any more; both without zone, as UTC."""

    start: datetime
    end: datetime

    def covers(self, other: "Period") -> bool:
        """Whether all of the other lies in this one."""
        return self.start <= other.start and other.end <= self.end and other.start < self.end

    def meets(self, other: "Period") -> bool:
        """Whether they share a moment."""
        return self.start < other.end and other.start < self.end


_BEGIN, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
EVERYWHEN = Period(_BEGIN, _NEVER)


class Row(NamedTuple):
    """One row of a table: keys, results, when it holds, its line."""

    keys: tuple[str, ...]
    results: tuple[str, ...]
    period: Period
    line: int


def period_of(first: str, last: str, at: Position, problems: Problems) -> Period | None:
    """Return when a row holds, its first and last day included; None after adding a problem."""
    start, end = _BEGIN, _NEVER
    for name, cell in (("valid_from", first), ("valid_to", last)):
        time = parse_time(cell) if cell else None
        if cell and (time is None or time.zone):
            problems.error("E406", at, f"{name} is not a date", "20260131, or nothing")
            return None
        if time is not None and name == "valid_from":
            start = time.start
        elif time is not None:
            end = time.end
    if start >= end:
        problems.error("E406", at, "valid_to is before valid_from")
        return None
    return Period(start, end)


def factor_of(text: str) -> Decimal | None:
    """Return a factor: a number, or a fraction such as ``5/9``; None where it is neither."""
    top, _, bottom = text.partition("/")
    try:
        value = Decimal(top) / Decimal(bottom) if bottom else Decimal(text)
    except (InvalidOperation, ZeroDivisionError):
        return None
    usual = value.is_finite() and -_USUAL <= value.adjusted() <= _USUAL
    return value if usual else None


def is_factor(named: Mapping[str, str], at: Position, problems: Problems) -> bool:
    """Whether the cells of a row of factors are numbers; a problem is added where one is not."""
    factor, offset = factor_of(named["factor"]), factor_of(named.get("offset") or "0")
    if factor is None or factor <= 0:
        problems.error("E406", at, "factor is not a number above 0", "0.0555 or 5/9")
    elif offset is None:
        problems.error("E406", at, "offset is not a number", "-17.78")
    return factor is not None and factor > 0 and offset is not None


def check_rows(rows: Sequence[Row], file: str, problems: Problems) -> list[Row]:
    """Report rows of which two could answer; return those that do not repeat an earlier one."""
    by_keys: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        same = by_keys.setdefault(row.keys, [])
        earlier = next((other for other in same if other.period.meets(row.period)), None)
        if earlier is not None:
            problems.error(
                "E403",
                Position(file, row.line, 1),
                "two rows have the same keys",
                f"the first is on line {earlier.line}",
            )
            continue
        same.append(row)
    _check_open(by_keys, file, problems)
    return [row for same in by_keys.values() for row in same]


def _check_open(
    by_keys: Mapping[tuple[str, ...], list[Row]], file: str, problems: Problems
) -> None:
    """Report open rows that leave equally much open and fit the same keys.

    A row for exactly those keys settles which one counts.
    """
    by_mask: dict[tuple[bool, ...], list[tuple[str, ...]]] = defaultdict(list)
    for key in by_keys:
        if ANY in key:
            by_mask[tuple(cell == ANY for cell in key)].append(key)
    masks = sorted(by_mask)
    for number, mask in enumerate(masks):
        for other in masks[number + 1 :]:
            if sum(mask) != sum(other):
                continue
            for second, fitting in _fitting(mask, by_mask[mask], other, by_mask[other]):
                # one report for a row is enough, and keeps a hostile table from taking long
                any(_is_reported(by_keys, key, second, file, problems) for key in fitting)


def _fitting(
    mask: tuple[bool, ...],
    keys: Sequence[tuple[str, ...]],
    other: tuple[bool, ...],
    others: Sequence[tuple[str, ...]],
) -> Iterator[tuple[tuple[str, ...], Sequence[tuple[str, ...]]]]:
    """Yield each of the others with the keys that agree wherever both name a value."""
    both = [place for place, (a, b) in enumerate(zip(mask, other, strict=True)) if not (a or b)]
    at: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for key in keys:
        at[tuple(key[place] for place in both)].append(key)
    for second in others:
        yield second, at.get(tuple(second[place] for place in both), ())


def _is_reported(
    by_keys: Mapping[tuple[str, ...], list[Row]],
    key: tuple[str, ...],
    second: tuple[str, ...],
    file: str,
    problems: Problems,
) -> bool:
    """Report two open rows that nothing settles; return whether there was something to report."""
    met = tuple(b if a == ANY else a for a, b in zip(key, second, strict=True))
    for one in by_keys[key]:
        for other in by_keys[second]:
            if not one.period.meets(other.period):
                continue
            shared = Period(
                max(one.period.start, other.period.start), min(one.period.end, other.period.end)
            )
            if any(row.period.covers(shared) for row in by_keys.get(met, ())):
                continue
            later, first = max(one.line, other.line), min(one.line, other.line)
            problems.error(
                "E405",
                Position(file, later, 1),
                f"this row and the one on line {first} can fit the same keys",
                f"add a row for {','.join(met)}",
            )
            return True
    return False
