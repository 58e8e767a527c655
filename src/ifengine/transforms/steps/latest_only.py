"""``latest_only``: no older status after a newer one (safety-rules.md 8).

What is remembered of a key is the rank of the newest status and its time. Late is a lower rank that
is not newer, or the same rank with an older time. A correction, a cancellation and a status that
``order`` does not name are never late.
"""

import json
from dataclasses import dataclass

from ifengine.hl7 import groups
from ifengine.hl7.message import NULL
from ifengine.hl7.path import Path
from ifengine.hl7.times import compare_times, parse_time
from ifengine.transforms.base import (
    Action,
    Aside,
    DroppedError,
    HeldError,
    Reason,
    StepScope,
    Uses,
)
from ifengine.transforms.keyed import Keyed, read_keyed
from ifengine.transforms.memory import Key, Remembered, Space
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node

_EXAMPLE = (
    "latest_only: {per: OBR, key: [MSH-4, OBR-2, OBR-3, OBR-4], status: OBR-25, "
    "order: [P, F], newer: OBR-22, for: 90d}"
)
CORRECTIONS = ("C", "X")  # OBR-25: corrected, and cancelled
NEVER_LATE = frozenset({"C", "D", "W", "X"})  # OBX-11 of a result that replaces or removes another
LATE = Reason("later than a newer one", "later than a newer one")


@dataclass(frozen=True, slots=True)
class _Rule:
    keyed: Keyed
    status: Path | None
    order: tuple[str, ...]
    newer: Path
    stale: str
    lasts_us: int

    def rank(self, status: str) -> int | None:
        """Return how far a status is; corrections are beyond all, what is not named has none."""
        if self.status is None:
            return 0
        if status in self.order:
            return self.order.index(status)
        return len(self.order) if status in CORRECTIONS else None


def build(value: Node, context: Context) -> Built | None:
    """Read ``{per, key, status, order, newer, stale, for}``."""
    given = context.parameters(
        value,
        required=("key", "newer", "for"),
        optional=("per", "status", "order", "stale"),
        example=_EXAMPLE,
    )
    if given is None:
        return None
    keyed, inside = read_keyed(given, context)
    newer = _path(given["newer"], "newer", inside)
    lasts = context.duration(given["for"], "for")
    stale = context.word(given.get("stale"), "stale", ("hold", "drop", "pass"), "hold")
    status = _path(given["status"], "status", inside) if "status" in given else None
    order: tuple[str, ...] = ()
    if "order" in given:
        order = tuple(text.value for text in context.texts(given["order"], "status"))
    if ("status" in given) != ("order" in given):
        missing = "order" if "status" in given else "status"
        context.error("E102", context.at, f'latest_only needs "{missing}"', _EXAMPLE)
        return None
    if len(set(order)) < len(order):
        context.error("E103", given["order"].position, "a status stands twice in order")
    if keyed is None or newer is None or lasts is None or stale is None:
        return None
    if "status" in given and status is None:
        return None
    rule = _Rule(keyed, status, order, newer, stale, int(lasts[1] * 1e6))
    reads = (*keyed.uses.reads, newer, *((status,) if status is not None else ()))
    return Built(_action(rule), Uses(reads=reads, remembers=True))


def _path(node: Node, what: str, context: Context) -> Path | None:
    text = context.text(node, what)
    path = None if text is None else context.field(text, written=False)
    if text is None or path is None or context.is_unsaid(path, text):
        return None
    return path


def _action(rule: _Rule) -> Action:
    def act(scope: StepScope) -> None:
        late: list[int] = []
        seen: list[int] = []

        def one(inner: StepScope) -> None:
            at = -1 if inner.segment is None else inner.segment
            seen.append(at)
            if _is_late(rule, inner):
                late.append(at)

        rule.keyed.each(scope, one)
        if not late or rule.stale == "pass" or scope.released:
            return
        if scope.memory.is_replay:
            raise HeldError(LATE)
        if len(late) == len(seen):
            raise HeldError(LATE) if rule.stale == "hold" else DroppedError(LATE)
        _take_out(rule, scope, late, [at for at in seen if at not in late])

    return act


def _take_out(rule: _Rule, scope: StepScope, late: list[int], fresh: list[int]) -> None:
    """Let the fresh groups go on alone; what is late is set aside where it must not be dropped."""
    message = scope.message
    names = message.names()
    if rule.stale == "hold":
        aside = message.copy()
        aside.delete_segments(_groups_of(names, fresh))
        scope.aside.append(Aside(aside.encode(), LATE))
    scope.note(f"{len(late)} late groups taken out")
    scope.delete_segments(_groups_of(names, late))


def _groups_of(names: list[str], heads: list[int]) -> frozenset[int]:
    """Return the segments of some groups: each head, what stands under it, and its own ORC."""
    gone = set(heads)
    for head in heads:
        order = head - 1
        if names[order] == "ORC" and groups.children(names, order, names[head]) == [head]:
            gone.add(order)
    while left := set(groups.orphans(names, gone)) - gone:
        gone |= left
    return frozenset(gone)


def _is_late(rule: _Rule, scope: StepScope) -> bool:
    """Decide about one group, and remember it where it is the newest."""
    value = rule.keyed.value(scope)
    if not value:
        scope.note("the key is empty: nothing to compare with")
        return False
    status = _read(rule.status, scope)
    rank = rule.rank(status)
    if rank is None:
        scope.note("a status that order does not name: passed")
        return False
    time = _read(rule.newer, scope)
    key = (scope.channel, scope.destination, value)
    before = scope.memory.get(Space.LATEST, key)
    if before is None:
        _remember(rule, scope, key, rank, time)
        return False
    known = json.loads(before.value)
    newer = _compare(time, known["time"])
    late = newer is not None and newer < 0 if rank == known["rank"] else rank < known["rank"]
    if rank < known["rank"] and newer is not None and newer > 0:
        late = False
    if late and _never_late(rule, scope, status):
        return False
    if not late:
        if rank == known["rank"] and newer is None:
            scope.note("times that cannot be compared: passed")
        kept = time if newer is None or newer > 0 or not known["time"] else known["time"]
        _remember(rule, scope, key, rank, kept or known["time"])
    return late and not _is_same(before, scope)


def _is_same(before: Remembered, scope: StepScope) -> bool:
    """Whether this message itself left what it is compared with: it is never late after itself."""
    return str(before.message) == scope.message_id and before.message != 0


def _remember(rule: _Rule, scope: StepScope, key: Key, rank: int, time: str) -> None:
    text = json.dumps({"rank": rank, "time": time})
    scope.memory.put(Space.LATEST, key, text, until_us=scope.memory.now_us + rule.lasts_us)


def _never_late(rule: _Rule, scope: StepScope, status: str) -> bool:
    if rule.status is not None and status in CORRECTIONS:
        return True
    message, at = scope.message, scope.segment
    names = message.names()
    results = message.indexes("OBX") if at is None else groups.children(names, at, "OBX")
    return any(message.text(i, 11, 1, 1, 1) in NEVER_LATE for i in results)


def _read(path: Path | None, scope: StepScope) -> str:
    value = "" if path is None else path.read(scope.message, scope) or ""
    return "" if value == NULL else value.strip()


def _compare(time: str, known: str) -> int | None:
    mine, theirs = parse_time(time), parse_time(known)
    return None if mine is None or theirs is None else compare_times(mine, theirs)
