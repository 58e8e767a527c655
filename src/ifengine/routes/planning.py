"""What a channel decided, as rows of one batch: plan, outbox, copies, exceptions."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from ifengine.pieces import GIANT_BYTES
from ifengine.routes.channel import Plan, PlannedDelivery, Waiting
from ifengine.routes.delivery import Outbox
from ifengine.routes.lanes import Entry, EntryState
from ifengine.routes.outbox_loading import KEY_BYTES
from ifengine.routes.parts import Parts
from ifengine.store.base import (
    Batch,
    ExceptionRow,
    ExceptionState,
    Fate,
    OutboxRow,
    ParkedRow,
    PlannedFate,
    PlanRow,
)
from ifengine.store.giants import Enclosed
from ifengine.store.sealing import BlobKind

# looked up once: to ask an enumeration for a member costs more than a call (Python 3.11)
_WAITING = EntryState.WAITING
_QUEUED, _HELD, _DEAD_LETTER = Fate.QUEUED, Fate.HELD, Fate.DEAD_LETTER
_COPY = BlobKind.COPY


@dataclass(frozen=True, slots=True)
class Target:
    """Where one destination's deliveries go, with the number its rows carry."""

    outbox: Outbox
    number: int
    is_files: bool


class Planned(NamedTuple):
    """One message and what its channel decided about it."""

    inbox_id: int
    received_us: int
    content: bytes
    plan: Plan
    keys: tuple[bytes, ...] | None
    held: str = ""  # why nothing of it may go yet, safe
    run: int = 0
    into: int = 0  # the message that this one is a part of now, `combine`
    sealed: Mapping[int, Enclosed] = MappingProxyType({})  # copies sealed already, by their place

    def __repr__(self) -> str:
        return f"<Planned {self.inbox_id}>"


IN_OUTBOX = frozenset({_QUEUED, _DEAD_LETTER, _HELD})
_ENDS = (Fate.FILTERED, Fate.DROPPED, Fate.REJECTED, Fate.PARKED)

Fed = tuple[Outbox, Entry, EntryState]


class PlanWriter:
    """Writes the plans of one channel. Numbers are given out here, in the order of the plans."""

    def __init__(
        self, parts: Parts, channel: str, number: int, targets: Mapping[str, Target]
    ) -> None:
        self.channel = channel
        self.number = number
        self.targets = targets
        self.version = parts.config_version  # of the rules whose plans it writes
        self._parts = parts
        self._settled = {
            (name, fate): parts.metrics.messages_settled_total.labels(
                channel, name, fate.name.lower()
            )
            for name in targets
            for fate in (*_ENDS, _DEAD_LETTER)
        }

    def hashed(self, keys: tuple[str, ...] | None) -> tuple[bytes, ...] | None:
        """Return order keys as the store may hold them."""
        if keys is None:
            return None
        tag = self._parts.ring.tag
        if len(keys) == 1:
            return (tag("order", keys[0].encode())[:KEY_BYTES],)
        return tuple(sorted(tag("order", key.encode())[:KEY_BYTES] for key in keys))

    def giants(self, received: bytes, plan: Plan) -> dict[int, tuple[bytes, ...]]:
        """Return the copies a plan needs that are giants, in parts, by the place in the plan."""
        found: dict[int, tuple[bytes, ...]] = {}
        largest = len(received)
        for delivery in plan:
            if delivery.content is not None:
                largest = max(largest, len(delivery.content))
        if largest < GIANT_BYTES:
            return found
        for place, delivery in enumerate(plan):
            if delivery.fate in IN_OUTBOX:
                parts = self._copy_of(delivery, received)
                if sum(map(len, parts)) >= GIANT_BYTES:
                    found[place] = parts
        return found

    def _copy_of(self, delivery: PlannedDelivery, received: bytes) -> tuple[bytes, ...]:
        """Return the parts of the copy that a delivery needs; none where it sends what came."""
        fate, content = delivery.fate, delivery.content
        # what was set aside has its bytes; what is held whole goes through the steps again
        if fate is not _QUEUED and (fate is not _HELD or content is None):
            return ()
        if self.targets[delivery.destination].is_files:
            name = delivery.file_name.encode() + b"\0"
            return (name, received if content is None else content)
        return () if content is None else (content,)

    def write(self, batch: Batch, planned: Planned) -> list[Fed]:
        """Add a plan's rows to a batch; returns what its outboxes get once it is committed."""
        parts = self._parts
        now_us = parts.clock.now_us()
        fates: list[PlannedFate] = []
        fed: list[Fed] = []
        for place, delivery in enumerate(planned.plan):
            target = self.targets[delivery.destination]
            if delivery.fate in IN_OUTBOX:
                sealed = planned.sealed.get(place)
                entry, state = self.queue(batch, planned, delivery, now_us, sealed=sealed)
                if state is _WAITING and not target.is_files:
                    changed = delivery.content
                    entry.content = planned.content if changed is None else changed
                fed.append((target.outbox, entry, state))
                fates.append(
                    PlannedFate(target.number, _QUEUED, target.outbox.number, entry.seq, "")
                )
            else:
                reason = delivery.reason.safe if delivery.reason else ""
                fates.append(PlannedFate(target.number, delivery.fate, 0, planned.into, reason))
                self._settled[delivery.destination, delivery.fate].inc()
        batch.plans.append(
            PlanRow(
                planned.inbox_id,
                planned.run,
                self.number,
                self.version,
                now_us,
                tuple(fates),
            )
        )
        return fed

    def queue(
        self,
        batch: Batch,
        planned: Planned,
        delivery: PlannedDelivery,
        now_us: int,
        *,
        place: int = 0,
        origin_seq: int = 0,
        sealed: Enclosed | None = None,
    ) -> tuple[Entry, EntryState]:
        """Add the rows of one delivery: outbox, its own copy, and its exception when it failed."""
        parts = self._parts
        target = self.targets[delivery.destination]
        outbox = target.outbox
        seq = outbox.next_seq()
        copy_id = 0
        copy = self._copy_of(delivery, planned.content)
        if copy:
            copy_id = parts.numbers.next_copy_id()
            if sealed is None:
                content = copy[0] if len(copy) == 1 else b"".join(copy)
                row = parts.ring.seal(_COPY, copy_id, 0, content)
                batch.copies.append((copy_id, row))
            else:
                bound = parts.ring.place(_COPY, copy_id, 0, sealed)
                batch.copies.append((copy_id, bound))
                if sealed.giant:
                    batch.copy_giants[copy_id] = sealed.giant
        keys = planned.keys if delivery.keys is None else self.hashed(delivery.keys)
        at_us = parts.steady.now_us()
        batch.outbox.append(
            OutboxRow(
                outbox.number,
                seq,
                place or seq,
                planned.inbox_id,
                planned.run,
                self.number,
                target.number,
                copy_id,
                keys is not None,
                b"".join(keys or ()),
                at_us,
                origin_seq,
                self.version,
                delivery.part,
            )
        )
        state = _WAITING
        if delivery.fate is _DEAD_LETTER:
            state = EntryState.DEAD
            self._count_failure(delivery)
        elif planned.held or delivery.fate is _HELD:
            state = EntryState.HELD
        if state is not _WAITING:
            batch.exceptions.append(
                self._exception(outbox.number, seq, delivery, planned.held, now_us)
            )
        entry = Entry(
            seq=seq,
            place=place or seq,
            inbox_id=planned.inbox_id,
            run=planned.run,
            channel=self.number,
            destination=target.number,
            copy_id=copy_id,
            keys=keys,
            at_us=at_us,
            received_us=planned.received_us,
            config_version=self.version,
        )
        return entry, state

    def parked(
        self, inbox_id: int, waiting: Waiting, since_us: int, keys: frozenset[bytes]
    ) -> ParkedRow:
        """Return the row of a message that waits."""
        detail = self._parts.ring.seal(
            BlobKind.PARKED, self.number, inbox_id, waiting.reason.full.encode()
        )
        return ParkedRow(
            self.number,
            inbox_id,
            since_us,
            waiting.until_us,
            b"".join(sorted(keys)),
            waiting.reason.safe,
            waiting.step,
            detail,
            self.version,
        )

    def _count_failure(self, delivery: PlannedDelivery) -> None:
        metrics = self._parts.metrics
        self._settled[delivery.destination, _DEAD_LETTER].inc()
        metrics.transform_errors_total.labels(self.channel, delivery.step or "channel").inc()
        metrics.dead_lettered_total.labels(self.channel, delivery.destination, "steps").inc()

    def _exception(
        self, outbox: int, seq: int, delivery: PlannedDelivery, held: str, now_us: int
    ) -> ExceptionRow:
        dead = delivery.fate is _DEAD_LETTER
        reason = delivery.reason.safe if delivery.reason else held
        full = delivery.reason.full if delivery.reason else ""
        detail = b""
        if full:
            detail = self._parts.ring.seal(BlobKind.DETAIL, outbox, seq, full.encode())
        return ExceptionRow(
            outbox,
            seq,
            ExceptionState.DEAD_LETTER if dead else ExceptionState.HELD,
            0,
            0,
            0,
            now_us,
            "steps" if dead or not held else "intake",
            delivery.step,
            reason,
            "",
            detail,
            self.version,
            False,
        )
