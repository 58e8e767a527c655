"""The account: what the senders and the receivers logged, against what the engine says."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from demo.sending import Told

UNSETTLED = ("received", "queued", "retrying", "in_doubt")
WIDTH = 96

Record = Mapping[str, Any]
Place = tuple[str, str]  # channel, destination


class Book(Protocol):
    """The log of a sending system."""

    sent: dict[str, Told]
    answers: dict[str, str]


class Log(Protocol):
    """The log of a receiving system."""

    name: str
    delivered: list[str]
    patients: dict[str, str]

    def repeats(self) -> list[str]:
        """Return what it took over more than once."""


@dataclass(frozen=True)
class Line:
    """One number of the balance: counted outside, and the engine's own."""

    name: str
    state: str
    outside: int
    engine: int

    def holds(self) -> bool:
        """Return whether both agree."""
        return self.outside == self.engine

    def __str__(self) -> str:
        if self.holds():
            return f"{self.state} {self.outside:,}"
        return f"{self.state} {self.outside:,} BUT {self.engine:,} IN THE ENGINE"


@dataclass(frozen=True)
class Balance:
    """All lines, and every rule that was broken, in words."""

    lines: tuple[Line, ...]
    broken: tuple[str, ...]

    def holds(self) -> bool:
        """Return whether every line agrees and no rule was broken."""
        return not self.broken and all(line.holds() for line in self.lines)

    def print(self) -> None:
        """Print one line a place: every state, counted outside and by the engine."""
        print("counted by the hospital's own logs, and by the engine:")
        names = list(dict.fromkeys(line.name for line in self.lines))
        for name in names:
            lines = [line for line in self.lines if line.name == name]
            mark = "ok" if all(line.holds() for line in lines) else "DIFFERS"
            numbers = ", ".join(map(str, lines))
            print(f"  {name:<29} {numbers:<{WIDTH - 32}} {mark}")
        for text in self.broken:
            print(f"  BROKEN: {text}")
        print("the balance holds" if self.holds() else "THE BALANCE DOES NOT HOLD", flush=True)


def destination(record: Record, name: str) -> Record | None:
    """Return a message's entry for a destination."""
    return next((one for one in record["destinations"] if one["name"] == name), None)


def final(told: Told, name: str, decided: Mapping[str, str]) -> str:
    """Return the state in which a message should be at a destination now.

    ``decided``: control id -> what a person made of a dead letter or a waiting message.
    """
    state = told.wanted[name]
    if state in ("refused", "dead_letter", "parked"):
        return decided.get(told.control_id, "dead_letter" if state == "refused" else state)
    return state


def own_records(records: Iterable[Record]) -> tuple[dict[str, Record], list[str]]:
    """Return the record that counts for each control id, and the ids that are there twice.

    A repeat that was dropped, or a refused message that its sender sent again, is none of its own.
    """
    grouped: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: int(record["id"])):
        if record["control_id"]:
            grouped[record["control_id"]].append(record)
    own, twice = {}, []
    for control, found in grouped.items():
        count = [found[0], *(record for record in found[1:] if record["state"] != "dropped")]
        own[control] = count[-1]
        if any(record["state"] != "rejected" for record in count[:-1]):
            twice.append(control)
    return own, twice


def draw(
    books: Iterable[Book],
    logs: Mapping[Place, Log],
    records: list[dict[str, Any]],
    decided: Mapping[str, str],
    cut_files: int = 0,
) -> Balance:
    """Compare. ``cut_files``: files that came without their end, each one dead letter."""
    books = list(books)
    told = {control: one for book in books for control, one in book.sent.items()}
    own, twice = own_records(records)
    nameless = [record for record in records if not record["control_id"]]
    lines = [Line("messages", "sent", len(told), len(own))]
    lines.append(
        Line("files cut off", "dead_letter", cut_files, sum(r["state"] == "dead_letter" for r in nameless))
    )  # fmt: skip
    broken = [f"{control} is in the books twice" for control in twice[:3]]
    broken += answers(books, own)
    if strange := set(own) - set(told):
        broken.append(f"nobody sent {len(strange)} messages that the engine knows")
    expected: dict[Place, dict[str, str]] = defaultdict(dict)
    for control, one in told.items():
        for name in one.wanted:
            expected[one.channel, name][control] = final(one, name, decided)
    for place in sorted(expected):
        lines += counts(place, expected[place], own, logs.get(place))
        broken += differences(place, expected[place], own)
        if (log := logs.get(place)) is not None:
            broken += deliveries(place, expected[place], told, own, log)
    moving = [control for control, record in own.items() if record["state"] in UNSETTLED]
    if moving:
        broken.append(f"{len(moving)} messages are not settled: {moving[:3]}")
    return Balance(tuple(lines), tuple(broken))


def answers(books: Iterable[Book], own: Mapping[str, Record]) -> Iterable[str]:
    """Yield what senders were told wrongly, or were promised in vain."""
    for book in books:
        wrong = [
            f"{control}: {code} for {book.sent[control].answer}"
            for control, code in book.answers.items()
            if code != book.sent[control].answer
        ]
        if wrong:
            yield f"{len(wrong)} senders were told something else: {wrong[:3]}"
        if missing := set(book.answers) - set(own):
            yield f"{len(missing)} acknowledged messages are not in the engine's books"


def state_at(record: Record | None, name: str) -> str:
    """Return a message's state at a destination, as the engine says."""
    if record is None:
        return "not known"
    one = destination(record, name)
    return str(record["state"] if one is None else one["state"])


def counts(
    place: Place, expected: Mapping[str, str], own: Mapping[str, Record], log: Log | None
) -> Iterable[Line]:
    """Yield a line for each state; what was sent is counted by the receiver."""
    outside = Counter(expected.values())
    if log is not None:
        outside["sent"] = len(set(log.delivered))
    engine = Counter(state_at(own.get(control), place[1]) for control in expected)
    for state in sorted(outside.keys() | engine.keys(), key=lambda state: (state != "sent", state)):
        if outside[state] or engine[state]:
            yield Line("/".join(place), state, outside[state], engine[state])


def differences(
    place: Place, expected: Mapping[str, str], own: Mapping[str, Record]
) -> Iterable[str]:
    """Yield where the engine says another state than the message should have."""
    wrong = [
        f"{control}: {found} for {state}"
        for control, state in expected.items()
        if (found := state_at(own.get(control), place[1])) != state
    ]
    if wrong:
        yield f"{'/'.join(place)}: {len(wrong)} messages in a wrong state: {wrong[:3]}"


def deliveries(
    place: Place,
    expected: Mapping[str, str],
    told: Mapping[str, Told],
    own: Mapping[str, Record],
    log: Log,
) -> Iterable[str]:
    """Yield what one receiver has too much, too little, wrong, or in the wrong order."""
    name = "/".join(place)
    due = {control for control, state in expected.items() if state == "sent"}
    got = set(log.delivered)
    if lost := due - got:
        yield f"{name}: {len(lost)} messages are lost: {sorted(lost)[:3]}"
    if strange := got - due:
        yield f"{name}: {len(strange)} messages should not be here: {sorted(strange)[:3]}"
    marked = {
        control
        for control in got & own.keys()
        if (one := destination(own[control], place[1])) is not None and one["possible_duplicate"]
    }
    if unmarked := set(log.repeats()) - marked:
        yield f"{name}: {len(unmarked)} messages came twice and nobody says so"
    if late := overtaken(told, log.delivered):
        yield f"{name}: {len(late)} messages were overtaken by a later one of the patient"
    wrong = [
        control
        for control, number in log.patients.items()
        if control in told and told[control].patient != number
    ]
    if wrong:
        yield f"{name}: {len(wrong)} messages came under another patient's number: {wrong[:3]}"


def overtaken(told: Mapping[str, Told], delivered: Iterable[str]) -> list[str]:
    """Return first deliveries that came after a later message of the same patient.

    What waited for something else is not counted: others of its patient may go ahead.
    """
    place = {control: number for number, control in enumerate(told)}
    latest: dict[str, int] = {}
    late, seen = [], set()
    for control in delivered:
        if control in seen or control not in place or told[control].alone:
            continue
        seen.add(control)
        patient = told[control].patient
        if place[control] < latest.get(patient, -1):
            late.append(control)
        latest[patient] = max(latest.get(patient, -1), place[control])
    return late
