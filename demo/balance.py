"""The account: what the sender and the receivers logged, against what the engine says."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from demo.hospital import Sender, Told
from demo.receivers import Receiver

UNSETTLED = ("received", "queued", "retrying", "in_doubt", "parked", "held")


@dataclass(frozen=True)
class Line:
    """One line of the balance: a number counted outside, and the engine's own."""

    name: str
    outside: int
    engine: int

    def holds(self) -> bool:
        """Return whether both agree."""
        return self.outside == self.engine


@dataclass(frozen=True)
class Balance:
    """All lines, and every rule that was broken, in words."""

    lines: tuple[Line, ...]
    broken: tuple[str, ...]

    def holds(self) -> bool:
        """Return whether every line agrees and no rule was broken."""
        return not self.broken and all(line.holds() for line in self.lines)

    def print(self) -> None:
        """Print it."""
        print(f"  {'':<38}{'counted outside':>16}{'engine':>10}")
        for line in self.lines:
            mark = "ok" if line.holds() else "DIFFERS"
            print(f"  {line.name:<38}{line.outside:>16,}{line.engine:>10,}  {mark}")
        for text in self.broken:
            print(f"  BROKEN: {text}")
        print("the balance holds" if self.holds() else "THE BALANCE DOES NOT HOLD", flush=True)


def destination(record: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return a message's entry for a destination."""
    return next((one for one in record["destinations"] if one["name"] == name), None)


def states(records: Iterable[Mapping[str, Any]], name: str) -> Counter[str]:
    """Count the states of all messages at a destination."""
    found = (destination(record, name) for record in records)
    return Counter(one["state"] for one in found if one is not None)


def wanted(told: Told, name: str) -> str:
    """Return what should have become of a message at a receiver, before anybody replays it."""
    return told.lab if name == "lab" else told.pharmacy


def is_duplicate(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a repeat that went nowhere."""
    return bool(record["state"] == "dropped")


def draw(
    sender: Sender,
    receivers: Iterable[Receiver],
    records: list[dict[str, Any]],
    replayed: Mapping[str, int],
    replayed_ids: frozenset[str],
) -> Balance:
    """Compare. ``replayed``: how many replays were asked for outside, and the engine reported."""
    own = [record for record in records if not is_duplicate(record)]
    ids = {record["control_id"] for record in own}
    lines = [
        Line("sent", len(sender.sent), len(ids)),
        Line("acknowledged", len(sender.accepted), len(own)),
    ]
    broken = []
    if missing := sender.accepted - ids:
        broken.append(f"{len(missing)} acknowledged messages are not in the engine's books")
    if sender.refused:
        broken.append(f"{len(sender.refused)} messages were refused at the door")
    for receiver in receivers:
        name = receiver.name
        expected = Counter(expectations(sender.sent.values(), name, replayed_ids))
        counted = states(own, name)
        delivered = set(receiver.delivered)
        lines += [
            Line(f"{name}: delivered", len(delivered), counted["sent"]),
            Line(f"{name}: filtered", expected["filtered"], counted["filtered"]),
            Line(f"{name}: dead letters left", expected["dead_letter"], counted["dead_letter"]),
        ]
        broken += differences(sender, receiver, own, replayed_ids)
        if moving := sum(counted[state] for state in UNSETTLED):
            broken.append(f"{name}: {moving} messages are not settled")
    lines.append(Line("replayed", replayed["asked"], replayed["done"]))
    return Balance(tuple(lines), tuple(broken))


def expectations(sent: Iterable[Told], name: str, replayed_ids: frozenset[str]) -> Iterable[str]:
    """Yield the state each message should be in."""
    for told in sent:
        state = wanted(told, name)
        if state in ("refused", "dead_letter"):
            state = "sent" if told.control_id in replayed_ids else "dead_letter"
        yield state


def differences(
    sender: Sender,
    receiver: Receiver,
    own: list[dict[str, Any]],
    replayed_ids: frozenset[str],
) -> list[str]:
    """Return what one receiver has too much, too little, or in the wrong order."""
    name = receiver.name
    due = {
        told.control_id
        for told, state in zip(
            sender.sent.values(),
            expectations(sender.sent.values(), name, replayed_ids),
            strict=True,
        )
        if state == "sent"
    }
    got = set(receiver.delivered)
    broken = []
    if lost := due - got:
        broken.append(f"{name}: {len(lost)} messages are lost: {sorted(lost)[:3]}")
    if strange := got - due:
        broken.append(f"{name}: {len(strange)} messages should not be here: {sorted(strange)[:3]}")
    marked = {
        record["control_id"]
        for record in own
        if (one := destination(record, name)) is not None and one["possible_duplicate"]
    }
    if unmarked := set(receiver.repeats()) - marked:
        broken.append(f"{name}: {len(unmarked)} messages came twice and nobody says so")
    if late := overtaken(sender, receiver):
        broken.append(f"{name}: {len(late)} messages were overtaken by a later one of the patient")
    return broken


def overtaken(sender: Sender, receiver: Receiver) -> list[str]:
    """Return first deliveries that came after a later message of the same patient."""
    place = {control: number for number, control in enumerate(sender.sent)}
    latest: dict[str, int] = {}
    late, seen = [], set()
    for control in receiver.delivered:
        if control in seen or control not in place:
            continue
        seen.add(control)
        patient = sender.sent[control].patient
        if place[control] < latest.get(patient, -1):
            late.append(control)
        latest[patient] = max(latest.get(patient, -1), place[control])
    return late
