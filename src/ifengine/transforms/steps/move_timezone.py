"""``timezone``: a time on the clock of another zone, its offset added or dropped.

A date has no zone and stays. An hour that a clock shows twice, or never, is answered: by ``fold:``, or
by a dead letter.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from datetime import timezone as fixed
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from ifengine.hl7.times import Hl7Time, parse_time
from ifengine.transforms.base import ReasonError, Uses
from ifengine.transforms.date_forms import hl7_text
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.change_dates import change_times

_EXAMPLE = "timezone: {in: OBR-7, from: Europe/Berlin, to: UTC, offset: add}"
_OFFSET = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})", re.ASCII)
_FRACTION = re.compile(r"\.[0-9]+")
_HOUR = 4  # parts of a time that says the hour
_OFFSETS = ("keep", "drop", "add")
_FOLDS = ("refuse", "earlier", "later")


@dataclass(frozen=True, slots=True)
class Move:
    """From the clock of one zone to that of another. ``source`` reads what has no offset."""

    source: tzinfo | None
    target: tzinfo
    offset: str
    fold: str

    def text(self, text: str) -> str | None:
        """Return the moved time, a date as it is, None where it is no time.

        Raises:
            ReasonError: nobody can say which moment, or how the new clock shows it.
        """
        time = parse_time(text)
        if time is None:
            return None
        if len(time.parts) < _HOUR:
            return text
        try:
            moment = self._moment(time)
            shown = moment.astimezone(self.target)
        except OverflowError:
            return None
        away = shown.utcoffset() or timedelta()
        count = len(time.parts)
        parts = (shown.year, shown.month, shown.day, shown.hour, shown.minute, shown.second)
        if any(parts[count:]):
            raise ReasonError("a time cannot be moved by less than the least it says")
        adds = self.offset == "add" or (self.offset == "keep" and bool(time.zone))
        if not adds and self.fold == "refuse" and len(_moments(shown, self.target)) > 1:
            raise ReasonError("a time is there twice on the new clock: add its offset, or say fold")
        zone = _zone_text(away) if adds else ""
        fraction = _FRACTION.search(text)  # no zone is off by parts of a second
        moved = hl7_text(time._replace(parts=parts[:count], zone=""))
        return moved + (fraction[0] if fraction else "") + zone

    def _moment(self, time: Hl7Time) -> datetime:
        if time.zone:
            return time.start
        if self.source is None:
            raise ReasonError("a time has no offset, and from does not say its zone")
        found = _moments(time.start, self.source)
        if not found:
            raise ReasonError("a time is skipped by the clock of its zone")
        if len(found) > 1 and self.fold == "refuse":
            raise ReasonError("a time is there twice on the clock of its zone: say fold")
        return found[-1] if self.fold == "later" else found[0]


def _moments(clock: datetime, zone: tzinfo) -> list[datetime]:
    """Return the moments, UTC, at which the clock of a zone shows this: none, one or two."""
    naive = clock.replace(tzinfo=None)
    found: list[datetime] = []
    for fold in (0, 1):
        moment = naive.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == naive and moment not in found:
            found.append(moment)
    return found


def _zone_text(away: timedelta) -> str:
    seconds = int(away.total_seconds())
    if seconds % 60:
        raise ReasonError("a time so old has no offset in whole minutes")
    sign, minutes = "-" if seconds < 0 else "+", abs(seconds) // 60
    return f"{sign}{minutes // 60:02}{minutes % 60:02}"


def build(value: Node, context: Context) -> Built | None:
    """Read ``{in, from, to, offset, fold}``; without ``to`` a time stays on its own clock."""
    given = context.parameters(
        value, required=("in",), optional=("from", "to", "offset", "fold"), example=_EXAMPLE
    )
    if given is None:
        return None
    found = [context.in_place(text) for text in context.texts(given["in"], "path")]
    paths = [path for path in found if path is not None]
    if "from" not in given and "to" not in given:
        context.error("E102", context.at, 'timezone needs "from" or "to"', _EXAMPLE)
        return None
    source = _zone(given["from"], "from", context) if "from" in given else None
    target = _zone(given["to"], "to", context) if "to" in given else source
    offset = context.word(given.get("offset"), "offset", _OFFSETS, "keep")
    fold = context.word(given.get("fold"), "fold", _FOLDS, "refuse")
    failed = ("from" in given and source is None) or target is None
    if failed or target is None or offset is None or fold is None:
        return None
    change: Callable[[str], str | None] = Move(source, target, offset, fold).text
    action = change_times(paths, change, "dead_letter", "is not an HL7 time")
    return Built(action, Uses(writes=tuple(paths)))


def _zone(node: Node, what: str, context: Context) -> tzinfo | None:
    text = context.text(node, what)
    if text is None:
        return None
    written = _OFFSET.fullmatch(text.value)
    if written is not None:
        away = timedelta(hours=int(written[2]), minutes=int(written[3]))
        if away < timedelta(days=1):
            return fixed(-away if written[1] == "-" else away)
    try:
        return ZoneInfo(text.value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    city = text.value.rpartition("/")[2].replace(" ", "_").lower()
    near = sorted(zone for zone in available_timezones() if city and city in zone.lower())
    hint = f"did you mean {near[0]}?" if near else "Europe/Berlin, America/New_York, UTC or +0100"
    context.error("E103", text.position, f'"{text.value}" is no time zone', hint)
    return None
