"""What went wrong, from the logs of sender and receivers and the engine's own account."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from simulation.peers import Arrival, Receiver, Sender, Sent

OWED = {
    "east": ("adt", "merge"),
    "west": ("adt", "merge"),
    "ward": ("result",),
    "desk": ("visit", "followed"),  # a repetition goes nowhere
    "lab": ("whole",),  # with what the part before it brought
    "last": ("final",),  # nothing preliminary after it
}
UNCHANGED = ("east", "west", "desk", "last")
STRICT = ("west",)


def check(
    senders: Iterable[Sender],
    receivers: Mapping[str, Receiver],
    marked: Mapping[str, set[str]],
    discarded: Mapping[str, set[str]],
) -> list[str]:
    """Return every broken promise in words, nothing when all were kept.

    Args:
        senders: with what they sent and what was accepted.
        receivers: by destination.
        marked: by destination, the ids that the engine calls possible duplicates.
        discarded: by destination, the ids that people gave up.
    """
    wrong: list[str] = []
    sent: dict[str, Sent] = {}
    accepted: set[str] = set()
    for sender in senders:
        sent.update(sender.sent)
        accepted |= sender.accepted
        wrong += [f"an answer to nobody: {number}" for number in sender.stray]
    for name, receiver in receivers.items():
        given_up = discarded.get(name, set())
        known = [one for one in receiver.taken if one.control_id in sent]
        wrong += [f"phantom at {name}" for one in receiver.taken if one.control_id not in sent]
        times = Counter(one.control_id for one in known)
        for control in sorted(accepted):
            owed = sent[control].kind in OWED[name]
            if owed and control not in times and control not in given_up:
                wrong.append(f"lost: {control} never came to {name}")
            if not owed and control in times:
                wrong.append(f"strayed: {control} came to {name}")
        for control, count in sorted(times.items()):
            if count > 1 and control not in marked.get(name, set()):
                wrong.append(f"unmarked: {control} came {count} times to {name}")
        if name in UNCHANGED:
            wrong += [
                f"garbled: {one.control_id} at {name}"
                for one in known
                if one.content != sent[one.control_id].content
            ]
        if name == "lab":
            wrong += [
                f"half: {one.control_id} came to {name} without its part"
                for one in known
                if one.content.count(sent[one.control_id].waits_for.encode()) != 2
            ]
        wrong += overtaken(name, known, sent)
    return wrong


def overtaken(name: str, taken: Sequence[Arrival], sent: Mapping[str, Sent]) -> list[str]:
    """Return what came after a later message of its patient (at the ward: of its order).

    Where outcomes are on disk before the next message leaves, no copy may. Elsewhere a death of the
    engine lets a whole window go again, in its order: then the first copies are in order and the
    last ones, so that what a receiver holds in the end is right.
    """
    if name in STRICT:
        return _overtaken(name, taken, sent)
    first = list({one.control_id: one for one in reversed(taken)}.values())
    last = list({one.control_id: one for one in taken}.values())
    for copies in (first, last):
        copies.sort(key=taken.index)
    return _overtaken(name, first, sent) + _overtaken(f"{name} (last)", last, sent)


def _overtaken(name: str, taken: Iterable[Arrival], sent: Mapping[str, Sent]) -> list[str]:
    latest: dict[str, tuple[int, str]] = {}
    wrong = []
    for one in taken:
        message = sent[one.control_id]
        connection = one.control_id.split("-")[0]
        groups = [message.waits_for] if message.kind == "result" else sorted(message.keys)
        for group in groups:
            number, before = latest.get(f"{connection} {group}", (-1, ""))
            if number > message.number:
                wrong.append(f"order: {one.control_id} came after {before} to {name}")
            else:
                latest[f"{connection} {group}"] = (message.number, one.control_id)
    return wrong
