"""A balance as it is struck: what is owed, how it stands, and what is in no state or in two."""

import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.store.base import (
    Fate,
    TallyDelivery,
    TallyPlace,
)
from ifengine.store.tally import Unit


class Fault(NamedTuple):
    """Something in no state, or in two. Numbers only; 0 where there is none."""

    what: str  # a closed list: the texts below
    inbox_id: int
    destination: int
    outbox: int
    seq: int


NO_PLAN = "behind the channel's cursor without a plan"
NOT_PLANNED_THERE = "the plan says nothing about a destination of the channel"
NO_DELIVERY = "planned, and there is no such delivery"
NO_DECISION = "a delivery that no plan names"
NO_STATE = "behind the cursor without an end"
TWO_STATES = "ended, and still waiting or set aside"
NOWHERE = "an end or an exception without a delivery"
NOT_PARKED = "planned as parked, and not parked"
STILL_PARKED = "parked, and its plan says otherwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Where everything stands, in one snapshot. Channels and destinations by number.

    ``behind`` are deliveries counted as QUEUED that wait for an earlier one of their key.
    """

    accepted: Mapping[int, int]  # channel -> messages
    received: Mapping[int, int]  # channel -> messages without a plan
    planned: Mapping[int, int]  # channel -> messages with one
    ends: Mapping[tuple[int, Fate], int]  # channel -> what did not become a message of it
    owed: Mapping[int, int]  # destination -> what the plans and the fan-out say
    states: Mapping[tuple[int, Fate], int]
    faults: tuple[Fault, ...]
    behind: tuple[TallyPlace, ...]

    def residue(self, destination: int) -> int:
        """Return what is in no state (above 0) or in two (below) at a destination."""
        stands = sum(n for (number, _), n in self.states.items() if number == destination)
        return self.owed.get(destination, 0) - stands

    def channel_residue(self, channel: int) -> int:
        """Return how many messages of a channel are neither waiting for their plan nor planned."""
        settled = self.received.get(channel, 0) + self.planned.get(channel, 0)
        return self.accepted.get(channel, 0) - settled

    @property
    def is_even(self) -> bool:
        """Whether every message is in exactly one state at every destination."""
        return not self.faults and not any(
            (
                *(self.residue(number) for number in self.owed),
                *(self.channel_residue(number) for number in self.accepted),
            )
        )


Key = tuple[int, int]  # outbox, seq


@dataclass(slots=True)
class Found:
    """Everything counted so far. Faults that cannot mend themselves stay."""

    seen_inbox: int = 0
    accepted: Counter[int] = field(default_factory=Counter)
    planned: Counter[int] = field(default_factory=Counter)
    ends: Counter[tuple[int, Fate]] = field(default_factory=Counter)
    unplanned: dict[int, deque[int]] = field(default_factory=dict)
    owed: Counter[int] = field(default_factory=Counter)
    states: Counter[tuple[int, Fate]] = field(default_factory=Counter)
    rows_seen: dict[int, int] = field(default_factory=dict)
    settled_to: dict[int, int] = field(default_factory=dict)
    ahead: dict[int, Counter[int]] = field(default_factory=dict)  # rows past the cursor
    named: dict[Key, Unit] = field(default_factory=dict)  # by a plan, the row is not seen yet
    unnamed: dict[Key, TallyDelivery] = field(default_factory=dict)
    stuck: dict[Key, TallyPlace] = field(default_factory=dict)
    parked: dict[int, tuple[int, ...]] = field(default_factory=dict)  # message -> destinations
    faults: list[Fault] = field(default_factory=list)


@dataclass(slots=True)
class Sides:
    """Both sides of one balance while it is struck."""

    owed: Counter[int]
    states: Counter[tuple[int, Fate]]
    ahead: Counter[int] = field(default_factory=Counter)  # neither ended nor stuck, by destination
    faults: list[Fault] = field(default_factory=list)
    behind: list[TallyPlace] = field(default_factory=list)


def read_fanout(said: str) -> Mapping[int, tuple[int, ...]]:
    """Return the destinations of each channel, of what the setting says."""
    return {int(channel): tuple(numbers) for channel, numbers in json.loads(said).items()}


def written_fanout(fanout: Mapping[int, Iterable[int]]) -> str:
    """Return what the setting says: destinations by channel."""
    return json.dumps({str(channel): list(numbers) for channel, numbers in fanout.items()})
