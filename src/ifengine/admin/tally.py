"""``tally``: how many messages are in which state, per channel and destination, from the records."""

from collections import Counter
from collections.abc import Mapping

from ifengine.admin.records import Look, destination_name
from ifengine.admin.request import Caller, Params, RequestError
from ifengine.admin.runtime import Runtime
from ifengine.clock import rfc3339
from ifengine.store.account import Account
from ifengine.store.balance import Balance, Fault
from ifengine.store.base import (
    Fate,
    NameKind,
    Reader,
    TallyRecords,
)
from ifengine.store.names import Names

TALLY = ("channel", "since_us", "verify")
PAGE = 5000  # rows of a kind in one look: the engine reads in between
LISTED_FAULTS = 1000


async def tally(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``tally``: read from the first record to the last, then struck in one snapshot."""
    channel, since_us = params.text("channel"), params.moment("since_us")
    number = 0
    if channel:
        if all(known.name != channel for known in runtime.site.channels):
            raise RequestError(
                "not_found", "there is no channel of this name", hint="ifengine channels list"
            )
        number = runtime.names.number(NameKind.CHANNEL, channel)
    first = await runtime.read(lambda reader: first_since(reader.tally(), since_us))
    account, held = Account(first=first), Look(runtime).held
    moved: Counter[int] = Counter()  # behind a message that waits for a person: held with it

    def look(reader: Reader) -> Balance | None:
        found = account.look(reader.tally(), PAGE)
        for place in found.behind if found is not None else ():
            moved[place.destination] += held.holds(reader, place.outbox, place.seq)
        return found

    while (found := await runtime.read(look)) is None:
        pass
    return {
        "at": rfc3339(runtime.clock.now_us()),
        "since": rfc3339(since_us) if since_us else None,
        **_shown(found, moved, runtime.names, number, verify=params.flag("verify")),
    }


def first_since(records: TallyRecords, since_us: int) -> int:
    """Return the lowest inbox id received since a time, by halving: ids ascend with time.

    0 where nothing is left out.
    """
    if not since_us:
        return 0
    low, high = 0, records.newest() + 1
    while low < high:
        middle = (low + high) // 2
        row = next(iter(records.inbox(middle, 1)), None)
        if row is not None and row.received_us < since_us:
            low = row.inbox_id
        else:
            high = middle
    return low + 1


def _shown(
    found: Balance, moved: Mapping[int, int], names: Names, only: int, *, verify: bool
) -> dict[str, object]:
    rows = []
    channels = {*found.accepted, *(channel for channel, _ in found.ends)}
    by_channel: dict[int, list[int]] = {number: [] for number in channels}
    for destination in {*found.owed, *(number for number, _ in found.states)}:
        by_channel.setdefault(channel_of(names, destination), []).append(destination)
    for channel in sorted(by_channel, key=lambda number: _name(names, number) or ""):
        if only not in (0, channel):
            continue
        rows.append(_channel_row(found, names, channel))
        for destination in sorted(by_channel[channel], key=names.name):
            rows.append(_destination_row(found, moved, names, channel, destination))
    faults = [
        fault
        for fault in found.faults
        if not only or not fault.destination or channel_of(names, fault.destination) == only
    ]
    answer: dict[str, object] = {
        "even": not faults and not any(row["residue"] for row in rows),
        "rows": rows,
        "faults": len(faults),
    }
    if verify:
        answer["named"] = [_fault(fault, names) for fault in faults[:LISTED_FAULTS]]
    return answer


def _name(names: Names, number: int) -> str | None:
    return names.name(number) if number else None


def channel_of(names: Names, destination: int) -> int:
    """Return the channel of a destination: it is named CHANNEL.DESTINATION."""
    return names.number(NameKind.CHANNEL, names.name(destination).partition(".")[0])


def _channel_row(found: Balance, names: Names, channel: int) -> dict[str, object]:
    states = {fate: count for (number, fate), count in found.ends.items() if number == channel}
    states[Fate.RECEIVED] = found.received.get(channel, 0)
    ended = sum(count for (number, _), count in found.ends.items() if number == channel)
    return {
        "channel": _name(names, channel),
        "destination": None,
        "total": found.accepted.get(channel, 0) + ended,
        "planned": found.planned.get(channel, 0),
        "states": _named(states),
        "residue": found.channel_residue(channel),
    }


def _destination_row(
    found: Balance, moved: Mapping[int, int], names: Names, channel: int, destination: int
) -> dict[str, object]:
    states = Counter(
        {fate: count for (number, fate), count in found.states.items() if number == destination}
    )
    behind = moved.get(destination, 0)
    states[Fate.QUEUED] -= behind
    states[Fate.HELD] += behind
    return {
        "channel": _name(names, channel),
        "destination": destination_name(names, channel, destination),
        "total": found.owed.get(destination, 0),
        "planned": None,
        "states": _named(states),
        "residue": found.residue(destination),
    }


def _named(states: Mapping[Fate, int]) -> dict[str, int]:
    return {fate.name.lower(): states[fate] for fate in Fate if states.get(fate)}


def _fault(fault: Fault, names: Names) -> dict[str, object]:
    destination = fault.destination
    return {
        "what": fault.what,
        "id": str(fault.inbox_id) if fault.inbox_id else None,
        "channel": _name(names, channel_of(names, destination)) if destination else None,
        "destination": names.name(destination).partition(".")[2] if destination else None,
        "letter": f"{fault.outbox}/{fault.seq}" if fault.outbox else None,
    }
