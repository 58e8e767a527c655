"""Compares what was sent, acknowledged and received, id by id. Knows the logs, not the engine.

lost       acknowledged (or in the engine's books) and received nowhere
phantom    received, never sent
reordered  a first delivery after a later message of its key (or of its connection) was delivered
unmarked   delivered more than once, and the engine does not say that it may be
garbled    received with other bytes than the channel makes of it
untrue     the engine says sent and it never arrived; or its sender was told no, and it arrived
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

POSITIVE = ("AA", "CA")
KINDS = ("lost", "phantom", "reordered", "unmarked", "garbled", "untrue")
# where a message is on its way or with a person, or a person ended it: the engine can show it
ELSEWHERE = frozenset(
    ("received", "queued", "retrying", "in_doubt", "parked", "held", "dead_letter", "discarded")
)


class Sent(NamedTuple):
    """One message as the sender logged it; ``number`` counts on its connection."""

    connection: str
    key: str
    number: int
    expected: Mapping[str, str]  # destination -> digest


class Arrival(NamedTuple):
    """One message as a receiver logged it."""

    control_id: str
    digest: str
    answer: str  # AA, AR or none


@dataclass
class Sendings:
    """All the sender knows."""

    sent: dict[str, Sent] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)
    sent_again: int = 0
    foreign_answers: int = 0


@dataclass
class Verdict:
    """What is wrong. Everything empty: nothing."""

    lost: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)
    garbled: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)  # destination -> repeated deliveries

    def is_clean(self) -> bool:
        """Return whether no rule was broken."""
        return not any(getattr(self, kind) for kind in KINDS)

    def summary(self) -> str:
        """Return counts and the first few of each kind."""
        parts = [
            f"{kind} {len(getattr(self, kind))} {getattr(self, kind)[:5] or ''}".strip()
            for kind in KINDS
        ]
        return ", ".join(parts) + f", repeated deliveries {dict(self.duplicates)}"


def read_sender(lines: Iterable[str]) -> Sendings:
    """Read the sender's log."""
    found = Sendings()
    numbers: Counter[str] = Counter()
    for line in lines:
        kind, *rest = line.split()
        if kind == "S":
            control, connection, key, _content, east, west = rest
            numbers[connection] += 1
            found.sent[control] = Sent(
                connection,
                key,
                numbers[connection],
                # "-": the channel does not send it there
                {name: said for name, said in (("east", east), ("west", west)) if said != "-"},
            )
        elif kind == "A":
            (found.accepted if rest[1] in POSITIVE else found.refused).add(rest[0])
        elif kind == "U":
            found.given_up.add(rest[0])
        elif kind == "R":
            found.sent_again += 1
        elif kind == "X":
            found.foreign_answers += 1
        else:
            raise ValueError(f"not a line of the sender's log: {kind}")
    return found


def read_receiver(lines: Iterable[str]) -> list[Arrival]:
    """Read a receiver's log."""
    return [Arrival(*line.split()) for line in lines]


def read_logs(
    folder: Path, destinations: Iterable[str]
) -> tuple[Sendings, dict[str, list[Arrival]]]:
    """Read all logs of a run."""
    sendings = read_sender((folder / "sender").read_text().splitlines())
    return sendings, {
        name: read_receiver((folder / name).read_text().splitlines()) for name in destinations
    }


def check(
    sendings: Sendings,
    arrivals: Mapping[str, list[Arrival]],
    *,
    marked: Mapping[str, set[str]],
    ordered_by: Mapping[str, str],
    stored: Iterable[str] = (),
    states: Mapping[str, Mapping[str, str]] | None = None,
    settled: bool = True,
) -> Verdict:
    """Compare. ``ordered_by`` says per destination what may not be overtaken: key or connection.

    ``marked``: ids whose delivery the engine calls a possible duplicate; ``stored``: ids that the
    engine lists as its own, which must have arrived too. ``states`` is what the engine says of
    each id at each destination; where not everything is settled yet, what it can show in another
    state is not lost. An arrival answered AR was refused and is no delivery; one without an
    answer is.
    """
    verdict = Verdict()
    owed = sorted(sendings.accepted | set(stored))
    for name, log in arrivals.items():
        deliveries = [one for one in log if one.answer != "AR"]
        times = Counter(one.control_id for one in deliveries)
        said = {} if states is None else states.get(name, {})
        for control in owed:
            known = sendings.sent.get(control)
            if control in times or (known is not None and name not in known.expected):
                continue
            if settled or said.get(control) not in ELSEWHERE:
                verdict.lost.append(f"{name}:{control}")
        verdict.untrue += [
            f"{name}:{control}"
            for control in sorted(said.keys() | times.keys())
            if (said.get(control) == "sent" and control not in times)
            or (control in sendings.refused - sendings.accepted and control in times)
        ]
        for one in log:
            known = sendings.sent.get(one.control_id)
            if known is None or name not in known.expected:
                verdict.phantom.append(f"{name}:{one.control_id}")
            elif known.expected[name] != one.digest:
                verdict.garbled.append(f"{name}:{one.control_id}")
        for control, count in times.items():
            if count > 1:
                verdict.duplicates[name] += count - 1
                if control not in marked.get(name, ()):
                    verdict.unmarked.append(f"{name}:{control}")
        verdict.reordered += overtaken(name, deliveries, sendings, ordered_by[name])
    return verdict


def overtaken(
    name: str, deliveries: list[Arrival], sendings: Sendings, ordered_by: str
) -> list[str]:
    """Return the first deliveries that came after a later message of the same group."""
    latest: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    late = []
    for one in deliveries:
        known = sendings.sent.get(one.control_id)
        if known is None or one.control_id in seen:
            continue
        seen.add(one.control_id)
        group = (known.connection, known.key if ordered_by == "key" else "")
        if known.number < latest.get(group, 0):
            late.append(f"{name}:{one.control_id}")
        latest[group] = max(latest.get(group, 0), known.number)
    return late
