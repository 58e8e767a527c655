"""Whether the segments of a message stand as its structure wants them.

A structure becomes an automaton: its states are the places between segments, and the sets of states
that were reached are kept, so that the next message of the same shape costs one look-up a segment.
Only where a segment does not fit it is asked which required ones were left out before it.
"""

import heapq
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from ifengine.hl7 import dictionary
from ifengine.hl7.groups import is_local
from ifengine.hl7.structures import ANY_SEGMENT, Part


class Misplaced(NamedTuple):
    """One fault. ``position`` is that of the segment in the message; -1: it is missing."""

    position: int
    segment: str  # missing: as the standard names it, or several that could stand there
    rule: str


class _Gap(NamedTuple):
    """A way on without a segment. ``missing`` is what was left out; empty: nothing was."""

    to: int
    missing: str


_Cost = tuple[int, int, tuple[str, ...]]  # how many are missing, state, which


class _Reached:
    """A set of states, with the sets that each next segment leads to, as they are found."""

    __slots__ = ("after", "ends", "states")

    def __init__(self, states: frozenset[int], ends: bool) -> None:
        self.states = states
        self.ends = ends
        self.after: dict[str, _Reached | None] = {}


class Structure:
    """A message structure that messages are compared with."""

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self.name = name
        self.segments = frozenset(segment for part in parts for segment in part.segments())
        self._gaps: list[list[_Gap]] = []
        self._steps: list[dict[str, int]] = []
        self._start = self._state()
        self._end = self._chain(parts, self._start)
        self._sets: dict[frozenset[int], _Reached] = {}
        self._first = self._closed(frozenset({self._start}))

    def faults(self, names: Sequence[str], most: int) -> list[Misplaced]:
        """Return what is missing or misplaced, in order, at the most so many.

        Local segments (``Z``) may stand anywhere.
        """
        at = self._first
        found: list[Misplaced] = []
        for position, name in enumerate(names):
            following = at.after.get(name)
            if following is None and not is_local(name):
                following = self._next(at, name)
                if following is None:
                    following = self._misfit(at, position, name, found)
            if following is not None:
                at = following
            if len(found) >= most:
                break
        if not at.ends and len(found) < most:
            costs = self._cheapest(at.states, "")
            found += _missing(costs[2] if costs is not None else ())
        return _once(found)[:most]

    def _misfit(
        self, at: _Reached, position: int, name: str, found: list[Misplaced]
    ) -> _Reached | None:
        """Report a segment that does not fit, and return where to go on; None: where we are."""
        if name not in self.segments:
            found.append(Misplaced(position, name, f"is not part of {self.name}"))
            return None
        cost = self._cheapest(at.states, name)
        if cost is None:
            rule = f"cannot stand here, or not so often, in {self.name}"
            found.append(Misplaced(position, name, rule))
            return None
        found += _missing(cost[2])
        return self._closed(frozenset({self._steps[cost[1]][name]}))

    # --- the automaton ----------------------------------------------------------------------

    def _state(self) -> int:
        self._gaps.append([])
        self._steps.append({})
        return len(self._gaps) - 1

    def _chain(self, parts: Sequence[Part], start: int) -> int:
        for part in parts:
            start = self._part(part, start)
        return start

    def _part(self, part: Part, start: int, *, alternative: bool = False) -> int:
        """Add a part behind a state and return the state behind it."""
        inside, end = self._state(), self._state()
        self._gaps[start].append(_Gap(inside, ""))
        if part.choice:
            last = self._state()
            for one in part.parts:
                self._gaps[self._part(one, inside, alternative=True)].append(_Gap(last, ""))
            named = [name for name in part.segments() if name != ANY_SEGMENT]
            self._gaps[inside].append(_Gap(last, _or(named)))
        elif part.parts:
            last = self._chain(part.parts, inside)
        else:
            last = self._state()
            self._steps[inside][part.name] = last
            if part.name == ANY_SEGMENT:  # what stands there is agreed elsewhere, or is a local one
                self._gaps[inside].append(_Gap(last, ""))
            elif part.required and not alternative:
                self._gaps[inside].append(_Gap(last, part.name))
        if part.repeats:
            self._gaps[last].append(_Gap(inside, ""))
        if not part.required:
            self._gaps[start].append(_Gap(end, ""))
        self._gaps[last].append(_Gap(end, ""))
        return end

    def _closed(self, states: frozenset[int]) -> _Reached:
        """Return the set with all that is reached without leaving anything out."""
        known = self._sets.get(states)
        if known is None:
            found, waiting = set(states), list(states)
            while waiting:
                for gap in self._gaps[waiting.pop()]:
                    if not gap.missing and gap.to not in found:
                        found.add(gap.to)
                        waiting.append(gap.to)
            known = self._sets[states] = _Reached(frozenset(found), self._end in found)
        return known

    def _next(self, at: _Reached, name: str) -> _Reached | None:
        if name not in self.segments and ANY_SEGMENT not in self.segments:
            return None
        to = {
            steps[key]
            for state in at.states
            for key in (name, ANY_SEGMENT)
            if key in (steps := self._steps[state])
        }
        following = self._closed(frozenset(to)) if to else None
        if name in self.segments:  # what peers invent is not kept
            at.after[name] = following
        return following

    def _cheapest(self, states: frozenset[int], name: str) -> _Cost | None:
        """Return the way to a segment, to the end for "", that leaves out least."""
        waiting: list[_Cost] = [(0, state, ()) for state in states]
        heapq.heapify(waiting)
        seen: set[int] = set()
        while waiting:
            cost, state, missing = heapq.heappop(waiting)
            if state in seen:
                continue
            seen.add(state)
            if name in self._steps[state] if name else state == self._end:
                return cost, state, missing
            for gap in self._gaps[state]:
                if gap.to not in seen:
                    more = (*missing, gap.missing) if gap.missing else missing
                    heapq.heappush(waiting, (len(more), gap.to, more))
        return None


def _missing(names: Sequence[str]) -> Iterator[Misplaced]:
    for name in names:
        yield Misplaced(-1, name, "is required and missing")


def _once(found: list[Misplaced]) -> list[Misplaced]:
    """Tell a segment that stands in the wrong place once: it is not missing as well."""
    there = {fault.segment for fault in found if fault.position >= 0}
    return [fault for fault in found if fault.position >= 0 or fault.segment not in there]


def _or(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


@cache
def _of(version: str, name: str) -> Structure | None:
    found = dictionary.structure(version, name)
    return None if found is None else Structure(name, found.parts)


@cache
def structure_named(version: str, name: str) -> Structure | None:
    """Return a structure of a version, else that of the nearest version that has it."""
    at = dictionary.nearest_version(version)
    known = dictionary.versions()
    here = known.index(at)
    for other in (*known[here::-1], *known[here + 1 :]):
        if dictionary.structure(other, name) is not None:
            return _of(other, name)
    return None


def structure_for(version: str, code: str, event: str, name: str) -> Structure | None:
    """Return the structure of a message by MSH-9: its third component, else type and event."""
    at = dictionary.nearest_version(version)
    if name and dictionary.structure(at, name) is not None:
        return _of(at, name)
    found = dictionary.structure_of(at, code, event)
    return None if found is None else _of(at, found.name)
