"""What the plans of a message owe in the end, and how what is purged had ended. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ifengine.store.base import Fate, InboxKind, PlannedFate, PlanRow

# --- what is owed ------------------------------------------------------------------------------


class Unit(NamedTuple):
    """One thing that is owed to a destination: a delivery, or a decision against one."""

    inbox_id: int
    run: int
    planned: PlannedFate


# (outbox, seq) -> seq of the delivery that it replays (0: none), whether it was replayed itself
Replays = Callable[[int, int], tuple[int, bool]]


def units(plans: Iterable[PlanRow], replays: Replays) -> list[Unit]:
    """Return what the plans of one message owe in the end: what a later run replaced is left out.

    A replay takes the place of the delivery that it replays; where that lay at no destination of
    the channel (nobody had accepted it), also of what was decided about the one it goes to. A
    message that was parked and started over owes what the later run says.
    """
    owed: list[Unit] = []
    for plan in sorted(plans, key=lambda plan: plan.run):
        origins = [
            replays(fate.outbox, fate.seq)[0] if plan.run and fate.outbox else 0
            for fate in plan.fates
        ]
        if plan.run and not any(origins):
            owed = [unit for unit in owed if unit.planned.fate is not Fate.PARKED]
        done: set[tuple[int, int]] = set()
        for fate, origin in zip(plan.fates, origins, strict=True):
            if origin and (origin, fate.destination) not in done:
                done.add((origin, fate.destination))
                owed = _replaced(owed, origin, fate.destination, replays)
        owed += [Unit(plan.inbox_id, plan.run, fate) for fate in plan.fates]
    return owed


def _replaced(owed: list[Unit], origin: int, destination: int, replays: Replays) -> list[Unit]:
    there = [unit for unit in owed if unit.planned.outbox and unit.planned.seq == origin]
    same = [unit for unit in there if unit.planned.destination == destination][-1:]
    if same:
        return [unit for unit in owed if unit not in same]
    letter = [u for u in there if replays(u.planned.outbox, u.planned.seq)[1]]
    left = [unit for unit in owed if unit not in letter]
    for at, unit in enumerate(left):
        if unit.planned.destination == destination and not unit.planned.outbox:
            return left[:at] + left[at + 1 :]
    return left


MESSAGE_ENDS: Mapping[InboxKind, Fate] = {
    InboxKind.MESSAGE: Fate.RECEIVED,
    InboxKind.REJECTED: Fate.REJECTED,
    InboxKind.DUPLICATE: Fate.DROPPED,
    InboxKind.ACKNOWLEDGMENT: Fate.DROPPED,
    InboxKind.UNROUTED: Fate.UNROUTED,
}


def fanout_setting(version: int) -> str:
    """Return the setting that keeps which destinations each channel has in a configuration."""
    return f"fanout:{version}"


class PurgedMessage(NamedTuple):
    """What a purge knows of one message before its rows go."""

    channel: int
    kind: InboxKind
    plans: Sequence[PlanRow]


# (outbox, seq) -> fate of the outcome and what took over (None: it has none), what it replays
Standing = Callable[[int, int], tuple[Fate | None, int, int]]


def purged_ends(
    messages: Iterable[PurgedMessage], standing: Standing
) -> Mapping[tuple[int, int, Fate], int]:
    """Return how many of these ended how, by (channel, destination, fate): see ``PurgedRow``."""
    ends: Counter[tuple[int, int, Fate]] = Counter()

    def replays(outbox: int, seq: int) -> tuple[int, bool]:
        _, superseded_by, origin = standing(outbox, seq)
        return origin, superseded_by > 0

    for channel, kind, plans in messages:
        ends[channel, 0, MESSAGE_ENDS[kind]] += 1
        for unit in units(plans, replays):
            planned, fate = unit.planned, unit.planned.fate
            if planned.outbox:
                end, superseded_by, _ = standing(planned.outbox, planned.seq)
                if end is None or superseded_by:
                    continue
                fate = end
            ends[channel, planned.destination, fate] += 1
    return ends
