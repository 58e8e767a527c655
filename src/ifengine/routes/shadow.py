"""Old traffic through other rules: what each destination got, and what it would get. Pure.

Nothing is sent or written. What the steps remember is read as it stood before each message, and
what they leave is kept for the messages behind it alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.errors import EngineError
from ifengine.hl7.message import Message
from ifengine.routes.decisions import Decision, PlanTrace
from ifengine.routes.splitting import part_number
from ifengine.store.base import Fate
from ifengine.transforms.memory import Change, Key, Lookup, Remembered, Space
from ifengine.transforms.trace import compare, lines_of

NOWHERE = "nothing"  # a destination that one side does not know
NO_STEP = "no step"


class Overlay:
    """A memory over the engine's own, read only. Satisfies ``transforms.memory.Lookup``.

    What the message at hand or a later one left in the engine's memory is hidden from it: it was
    not there when the message came. So is what earlier messages of the same run left there: they
    leave what the other rules say.
    """

    def __init__(self, below: Lookup) -> None:
        """Take the engine's memory; nothing is ever written to it."""
        self._below = below
        self._own: dict[tuple[Space, Key], Remembered | None] = {}
        self._decided: set[int] = set()
        self.message = 0  # the one that is looked at

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        """Return what was remembered when this message came."""
        place = (space, key)
        if place in self._own:
            return self._own[place]
        found = self._below.look_up(space, key)
        if found is None or found.message >= self.message or found.message in self._decided:
            return None
        return found

    def take(self, changes: Iterable[Change], *, is_whole: bool) -> None:
        """Keep what the message leaves, for those behind it.

        ``is_whole``: that is all it leaves. A parked one left the rest when it went on.
        """
        self._own.update({(c.space, c.key): c.remembered for c in changes})
        if is_whole:
            self._decided.add(self.message)


class Outcome(NamedTuple):
    """What one destination gets, or why it gets nothing. ``content`` None: not kept any more."""

    fate: str
    content: bytes | None = None
    step: str = ""
    reason: str = ""  # safe form

    def __repr__(self) -> str:
        return f"<Outcome {self.fate}>"


Outcomes = Mapping[tuple[str, int], Outcome]  # by destination and part


class Place(NamedTuple):
    """One place that differs: ``+``, ``~`` or ``-``, never a value, and the step behind it."""

    kind: str
    path: str
    step: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One destination that would not get the same."""

    destination: str
    was: str
    now: str
    places: tuple[Place, ...] = ()
    step: str = ""
    reason: str = ""


def outcomes_of(decision: Decision, received: bytes) -> dict[tuple[str, int], Outcome]:
    """Return what a decision gives each destination; ``received`` goes where nothing changed it."""
    found: dict[tuple[str, int], Outcome] = {}
    for planned in decision.plan:
        content = None
        if planned.fate is Fate.QUEUED:
            content = received if planned.content is None else planned.content
        reason = planned.reason.safe if planned.reason is not None else ""
        found[planned.destination, planned.part] = Outcome(
            planned.fate.name.lower(), content, planned.step, reason
        )
    return found


def differences(
    before: Outcomes, after: Outcomes, steps: Callable[[str, int], Mapping[str, str]]
) -> list[Difference]:
    """Return what differs between two plans of one message.

    Args:
        before: what was planned.
        after: what would be planned.
        steps: for a destination and part, the label of the step behind each path it changed;
            asked only where the contents differ.
    """
    found: list[Difference] = []
    for place in (*before, *(place for place in after if place not in before)):
        name, part = place
        old = before.get(place, Outcome(NOWHERE))
        new = after.get(place, Outcome(NOWHERE))
        if old.fate != new.fate:
            found.append(Difference(name, old.fate, new.fate, step=new.step, reason=new.reason))
        elif old.content is not None and new.content is not None and old.content != new.content:
            places = _places(old.content, new.content, steps(name, part))
            found.append(Difference(name, old.fate, new.fate, places))
    return found


def _places(before: bytes, after: bytes, steps: Mapping[str, str]) -> tuple[Place, ...]:
    try:
        old, new = Message.parse(before), Message.parse(after)
    except EngineError:
        return (Place("~", "", NO_STEP),)  # one of them is no message: only that much can be said
    changed = compare(lines_of(old), lines_of(new), new.delimiters, "")
    found = tuple(Place(c.kind, c.path, _step_of(c.path, steps)) for c in changed)
    # the same fields in other bytes: line ends, or trailing separators
    return found or (Place("~", "", NO_STEP),)


def _step_of(path: str, steps: Mapping[str, str]) -> str:
    """Return the step that wrote a place, or one around or inside it."""
    if path in steps:
        return steps[path]
    for known, step in steps.items():
        if known.startswith((f"{path}.", f"{path}[", f"{path}-")) or path.startswith(
            (f"{known}.", f"{known}[", f"{known}-")
        ):
            return step
    return NO_STEP


def steps_behind(trace: PlanTrace, destination: str, part: int) -> dict[str, str]:
    """Return which step changed each path of what a destination gets; its own steps come last."""
    whole = trace.parts.get(part_number(part), trace)
    found: dict[str, str] = {}
    own = whole.destinations.get(destination)
    for prefix, steps in (("", whole.channel), (f"{destination} ", own)):
        for record in steps.records if steps is not None else ():
            for change in record.changes:
                found[change.path] = prefix + ", ".join(change.steps)
    return found


@dataclass(slots=True)
class Tally:
    """Counts of what differs. Paths come in as they may be shown."""

    most_examples: int = 3
    _rules: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    _examples: dict[tuple[str, str, str, str], list[str]] = field(default_factory=dict)

    def add(self, message: str, found: Sequence[Difference]) -> None:
        """Count one message."""
        seen: set[tuple[str, str, str, str]] = set()
        for one in found:
            if one.was != one.now:
                rule = one.step or NO_STEP
                what = f"{rule}: {one.reason}" if one.reason else rule
                seen.add((one.destination, f"{one.was} -> {one.now}", "", what))
            seen.update((one.destination, p.kind, p.path, p.step) for p in one.places)
        for key in seen:
            self._rules[key] = self._rules.get(key, 0) + 1
            examples = self._examples.setdefault(key, [])
            if len(examples) < self.most_examples:
                examples.append(message)

    def rows(self) -> list[dict[str, object]]:
        """Return one row a destination, kind, path and step: the most frequent first."""
        ordered = sorted(self._rules.items(), key=lambda item: (-item[1], item[0]))
        return [
            {
                "destination": destination,
                "kind": kind,
                "path": path,
                "step": step,
                "messages": count,
                "examples": self._examples[destination, kind, path, step],
            }
            for (destination, kind, path, step), count in ordered
        ]
