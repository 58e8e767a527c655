"""Senders that wait for what a destination answers: one channel's, from receipt to answer.

Every word to a sender leaves after the transaction that makes it true: a yes with the outcome at
the destination, a no with the end of every delivery of the message (safety-rules.md 1).

What stands in the store while a sender waits is one state row (Space.WAITING). A crash before the
answer leaves it: the message goes on as if somebody waited, and what comes of it is kept for the
sender when it sends again.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Protocol

from ifengine.hl7.ack_passing import Told, told_again, told_text
from ifengine.routes.config.models import AckConfig, ChannelConfig
from ifengine.routes.decisions import Decision
from ifengine.routes.delivery_answers import AnsweringDeliveries
from ifengine.routes.lanes import Entry, EntryState
from ifengine.routes.memory import Memories
from ifengine.routes.parts import Parts
from ifengine.routes.pass_through import (
    IN_DOUBT,
    POSITIVE,
    TOLD_NO,
    Standing,
    Weighed,
    nowhere,
    standing_after,
    told_after,
    too_late,
    weigh,
)
from ifengine.routes.planning import Fed
from ifengine.routes.retry import Attempt
from ifengine.routes.retry import Decision as Reaction
from ifengine.store.base import Batch, ExceptionState, NewInboxEntry
from ifengine.transforms.memory import Change, Key, Remembered, Space


class Waiter(Protocol):
    """Who waits for the answer to a message."""

    @property
    def deadline(self) -> float:
        """Until when, on the monotonic clock."""
        ...

    def tell(self, told: Told) -> None:
        """Give the answer; called once."""
        ...


class Stage(Enum):
    """How far a message is whose sender waits."""

    RECEIVED = auto()  # no plan yet
    PLANNED = auto()  # its plan is on its way to the disk
    QUEUED = auto()  # its deliveries are in their outboxes
    FOLLOWS = auto()  # what another message is answered counts for it
    DOUBT = auto()  # in doubt: it goes again when its sender sends again
    ENDED = auto()


@dataclass(slots=True)
class Place:
    """One delivery of the message, and what its outbox counts it as."""

    outbox: AnsweringDeliveries
    entry: Entry
    state: EntryState
    is_aside: bool = False  # held until the sender comes again


@dataclass(slots=True)
class Waiting:
    """One message whose sender waits, or waited and may come again."""

    inbox_id: int
    guard_key: bytes = field(repr=False)
    received_us: int
    deadline: float  # where nobody is connected
    stage: Stage = Stage.RECEIVED
    waiters: list[Waiter] = field(default_factory=list, repr=False)
    weighed: Weighed | None = field(default=None, repr=False)
    claim: Key | None = field(default=None, repr=False)  # of Space.DEDUPE
    source: Place | None = None
    others: list[Place] = field(default_factory=list)
    is_aside: bool = False  # told no in doubt: its deliveries wait for the sender to come again
    said_no: bool = False  # before there was a plan
    by_plan: bool = False  # the plan itself was the answer
    told: Told | None = None
    is_durable: bool = False  # the answer may leave

    def due(self, now: float) -> list[Waiter]:
        """Return who has waited long enough, and take them out."""
        due = [waiter for waiter in self.waiters if waiter.deadline <= now]
        if due:
            self.waiters = [waiter for waiter in self.waiters if waiter.deadline > now]
        return due


@dataclass(slots=True)
class Found:
    """What the store has of a message whose sender waited."""

    inbox_id: int
    channel: int
    received_us: int
    state: str
    guard_key: bytes = field(repr=False)
    claim: Key | None = field(repr=False)
    is_planned: bool = False
    places: list[Place] = field(default_factory=list)


class _Follower:
    """Takes the answer to another message for one that repeats it."""

    def __init__(self, senders: "WaitingSenders", waiting: Waiting, *, plainly: bool) -> None:
        self._senders = senders
        self._waiting = waiting
        self._plainly = plainly
        self.deadline = math.inf  # those who wait behind it have their own

    def tell(self, told: Told) -> None:
        """Answer the repetition alike."""
        if told.is_positive and self._plainly:
            told = POSITIVE
        self._senders.follow(self._waiting, told)


class WaitingSenders:
    """The senders of one channel with `ack: {when: delivered}`."""

    def __init__(self, parts: Parts, memories: Memories, number: int) -> None:
        """Begin for the channel with this number; ``take_rules`` follows."""
        self.number = number
        self.ack = AckConfig(source="", timeout_seconds=0.0)
        self.is_on = False
        self._parts = parts
        self._memories = memories
        self._waiting: dict[int, Waiting] = {}
        self._source_number = 0
        self._keeps_us = 0
        self._plain_repeats = False

    def __repr__(self) -> str:
        return f"<WaitingSenders of {self.number}, {len(self._waiting)}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def take_rules(self, config: ChannelConfig, source_number: int) -> None:
        """Answer by these rules from now on. Without `ack` only those who wait already are served.

        Args:
            config: of the channel.
            source_number: of the destination that answers.
        """
        self.is_on = config.ack is not None
        if config.ack is None:
            return
        self.ack = config.ack
        self._source_number = source_number
        dedupe = config.dedupe
        business_us = 0 if dedupe is None else dedupe.window_us
        self._keeps_us = max(int(config.dedupe_window_seconds * 1e6), business_us)
        self._plain_repeats = dedupe is not None and dedupe.on_repeat != "reack_same"

    # --- intake -------------------------------------------------------------------------------

    def received(self, batch: Batch, entry: NewInboxEntry) -> None:
        """Note, in the batch that stores a message, that its sender waits."""
        key = entry.guard_key or b""
        before = self._memories.look_up(Space.REFUSED, (key.hex(),)) if key else None
        if before is not None:
            entry.origin = before.message  # the same id again, after a no
        waiting = Waiting(entry.inbox_id, key, entry.received_us, 0.0)
        self._note(batch, waiting, "waiting")

    def begin(self, entry: NewInboxEntry, waiter: Waiter) -> None:
        """Its batch is on stable storage: the message is on its way to its plan."""
        waiting = Waiting(
            entry.inbox_id, entry.guard_key or b"", entry.received_us, waiter.deadline
        )
        waiting.waiters.append(waiter)
        self._waiting[entry.inbox_id] = waiting

    def repeated(self, entry: NewInboxEntry, waiter: Waiter) -> None:
        """A message came again: whoever sent it hears what the first one is answered."""
        self._write((self._forgotten(entry.inbox_id),))
        self._parts.group.lazily()
        self._join(entry.origin, waiter)

    def _join(self, inbox_id: int, waiter: Waiter) -> None:
        waiting = self._waiting.get(inbox_id)
        if waiting is None:
            kept = self._memories.look_up(Space.ANSWER, (str(inbox_id),))
            # without a kept answer nobody waited for it: storing it was the yes
            waiter.tell(POSITIVE if kept is None else told_again(kept.value))
        elif waiting.told is not None and waiting.is_durable:
            waiter.tell(waiting.told)
        else:
            waiting.waiters.append(waiter)
            if waiting.stage is Stage.DOUBT:
                self._send_again(waiting)

    def _send_again(self, waiting: Waiting) -> None:
        source = waiting.source
        if source is not None:
            waiting.stage = Stage.QUEUED
            source.outbox.take_again(source.entry, ExceptionState.IN_DOUBT)

    # --- the plan -------------------------------------------------------------------------------

    def waits(self, inbox_id: int) -> bool:
        """Return whether the sender of a message is still to be told."""
        return inbox_id in self._waiting

    def weigh(self, inbox_id: int, decision: Decision, *, is_held: bool) -> Decision:
        """Return what a channel decided, as it takes effect for a sender that waits."""
        waiting = self._waiting.get(inbox_id)
        if waiting is None:
            return decision
        if waiting.said_no:
            return nowhere(decision)
        waiting.weighed = weigh(decision, self.ack, is_held=is_held)
        return waiting.weighed.decision

    def confirmed(self, inbox_id: int, decision: Decision) -> Decision:
        """Return a weighed decision; nowhere where the sender was told no in the meantime."""
        waiting = self._waiting.get(inbox_id)
        return nowhere(decision) if waiting is not None and waiting.said_no else decision

    def planned(self, batch: Batch, inbox_id: int, fed: Sequence[Fed]) -> None:
        """A plan is in this batch: with it the answer, or the deliveries it is waited for from."""
        waiting = self._waiting.get(inbox_id)
        if waiting is None:
            return
        weighed = waiting.weighed
        if waiting.said_no or weighed is None:
            self._write((self._forgotten(inbox_id),))
            self._remove_later(waiting)
            return
        for outbox, entry, state in fed:
            self._take_place(waiting, Place(outbox, entry, state))
        waiting.claim = weighed.decision.repeat.claim
        if weighed.told is not None:
            waiting.by_plan = True
            self._answer(waiting, weighed.told)
        elif weighed.original:
            waiting.stage = Stage.FOLLOWS
            self._join(weighed.original, _Follower(self, waiting, plainly=self._plain_repeats))
        else:
            waiting.stage = Stage.PLANNED
            if waiting.claim is not None:
                self._note(batch, waiting, "waiting")
            batch.done.append(partial(self._queued, waiting))

    def _take_place(self, waiting: Waiting, place: Place) -> None:
        is_source = place.entry.destination == self._source_number
        if is_source and waiting.source is None and place.state is EntryState.WAITING:
            waiting.source = place
        else:
            waiting.others.append(place)

    @staticmethod
    def _queued(waiting: Waiting) -> None:
        if waiting.stage is Stage.PLANNED:
            waiting.stage = Stage.QUEUED

    def follow(self, waiting: Waiting, told: Told) -> None:
        """Answer a repetition as its original was."""
        if waiting.told is None:
            self._answer(waiting, told)

    # --- what the outboxes ask and report ---------------------------------------------------------

    def answers(self, outbox: int, entry: Entry) -> bool:
        """Return whether a sender waits for the answer to this very delivery."""
        waiting = self._waiting.get(entry.inbox_id)
        source = None if waiting is None or waiting.told is not None else waiting.source
        return (
            source is not None and source.entry.seq == entry.seq and source.outbox.number == outbox
        )

    def is_gated(self, entry: Entry) -> bool:
        """Return whether a delivery waits for what another destination answers its sender."""
        waiting = self._waiting.get(entry.inbox_id)
        if waiting is None or entry.run or waiting.by_plan or waiting.is_durable:
            return False
        source = None if waiting.source is None else waiting.source.entry
        return source is None or (source.destination, source.seq) != (entry.destination, entry.seq)

    def attempt_ended(
        self,
        outbox: AnsweringDeliveries,
        entry: Entry,
        attempt: Attempt,
        reaction: Reaction,
        took: float,
    ) -> None:
        """Take what one attempt brought: it is the only one while a sender waits."""
        waiting = self._waiting[entry.inbox_id]
        standing = standing_after(attempt, reaction, possible_duplicate=entry.possible_duplicate)
        told = told_after(attempt, standing, self.ack)
        match standing:
            case Standing.SENT:
                outbox.accept(entry, attempt, reaction, took)
                self._answer(waiting, told)
            case Standing.REJECTED:
                outbox.refuse(entry, attempt, reaction, took, TOLD_NO.safe)
                waiting.source = None
                self._answer(waiting, told)
            case Standing.IN_DOUBT:
                outbox.doubt(entry, attempt, reaction, took, IN_DOUBT)
                if waiting.source is not None:
                    waiting.source.entry = entry
                self._doubt(waiting, told, waiting.waiters)
                waiting.stage, waiting.waiters = Stage.DOUBT, []

    # --- time -------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Tell those whose time is over; called about ten times a second."""
        for waiting in [*self._waiting.values()]:
            if waiting.told is not None or waiting.stage in (Stage.DOUBT, Stage.PLANNED):
                continue
            alone = not waiting.waiters and waiting.deadline <= now
            due = waiting.due(now)
            if due or alone:
                self._too_late(waiting, due)

    def _too_late(self, waiting: Waiting, due: list[Waiter]) -> None:
        told = too_late(self.ack)
        source = waiting.source
        if waiting.stage is Stage.RECEIVED:
            self._refuse_unplanned(waiting, told, due)
        elif source is None:
            waiting.waiters += due
            self._answer(waiting, told)
        else:
            entry = source.outbox.schedule.entry(source.entry.seq)
            if entry is not None and entry.state is EntryState.FLYING:
                waiting.deadline = math.inf  # the attempt itself ends
                if not waiting.is_aside:
                    source.outbox.leave_in_doubt(entry, IN_DOUBT)
                self._doubt(waiting, told, due)
            elif (entry or source.entry).possible_duplicate:
                source.outbox.put_aside(entry or source.entry, ExceptionState.IN_DOUBT, IN_DOUBT)
                self._doubt(waiting, told, due + waiting.waiters)
                waiting.stage, waiting.waiters = Stage.DOUBT, []
            else:
                waiting.waiters += due
                self._answer(waiting, told)

    def _refuse_unplanned(self, waiting: Waiting, told: Told, due: list[Waiter]) -> None:
        """The sender is told no before the steps have run: they will plan nothing."""
        batch = self._parts.group.batch
        waiting.waiters += due
        waiting.said_no = True
        waiting.told = told
        self._note(batch, waiting, "refused")
        self._release(batch, waiting)
        batch.done.append(partial(self._tell, waiting))
        self._parts.group.soon()

    # --- answers ------------------------------------------------------------------------------------

    def _answer(self, waiting: Waiting, told: Told) -> None:
        """Write down what the sender is told, with all that it means; it hears it afterwards."""
        parts = self._parts
        batch = parts.group.batch
        waiting.told, waiting.stage = told, Stage.ENDED
        if told.is_positive:
            key = (str(waiting.inbox_id),)
            until_us = self._keeps_until(waiting)
            kept = Remembered(told_text(told), waiting.inbox_id, parts.clock.now_us(), until_us)
            answer = Change(Space.ANSWER, key, kept)
            self._write((answer, self._forgotten(waiting.inbox_id)))
            if waiting.is_aside:
                for place in waiting.others:
                    if place.is_aside:
                        place.outbox.take_back(place.entry)
        else:
            self._cancel(waiting)
            self._write((self._forgotten(waiting.inbox_id),))
            self._release(batch, waiting)
        batch.done.append(partial(self._ended, waiting))
        parts.group.soon()

    def _cancel(self, waiting: Waiting) -> None:
        """End every delivery of a message whose sender is told no."""
        for place in (*waiting.others, *([waiting.source] if waiting.source else [])):
            place.outbox.cancel(place.entry.seq, place.entry.destination, place.state, TOLD_NO.safe)

    def _release(self, batch: Batch, waiting: Waiting) -> None:
        """Let the same message count as new when it comes again."""
        inbox_id = waiting.inbox_id
        now_us = self._parts.clock.now_us()
        changes: list[Change] = []
        if waiting.guard_key:
            batch.released.append((waiting.guard_key, inbox_id))
            until_us = self._keeps_until(waiting)
            mark = Remembered("", inbox_id, now_us, until_us)
            changes.append(Change(Space.REFUSED, (waiting.guard_key.hex(),), mark))
        if waiting.claim is not None:
            held = self._memories.look_up(Space.DEDUPE, waiting.claim)
            if held is not None and held.message == inbox_id:
                changes.append(Change(Space.DEDUPE, waiting.claim, None))
        place = (str(inbox_id),)
        if self._parts.awaited and self._memories.look_up(Space.AWAITED, place) is not None:
            changes.append(Change(Space.AWAITED, place, None))
        self._write(changes)

    def _ended(self, waiting: Waiting) -> None:
        """The answer and all that it means is on stable storage."""
        self._tell(waiting)
        if waiting.told is not None and waiting.told.is_positive:
            for place in waiting.others:
                if place.is_aside:
                    place.outbox.take_again(place.entry, ExceptionState.HELD)
                else:
                    place.outbox.open_gate(place.entry.seq)
        self._remove_later(waiting)

    def _tell(self, waiting: Waiting) -> None:
        waiting.is_durable = True
        waiters, waiting.waiters = waiting.waiters, []
        if waiting.told is not None:
            for waiter in waiters:
                waiter.tell(waiting.told)

    def _remove_later(self, waiting: Waiting) -> None:
        # a repetition that was stored in the same batch is told of in the same turn of the loop
        self._parts.loop.call_soon(self._waiting.pop, waiting.inbox_id, None)

    def _doubt(self, waiting: Waiting, told: Told, to: list[Waiter]) -> None:
        """Tell some no, though bytes left and the outcome is open; nothing goes by itself any more."""
        batch = self._parts.group.batch
        if not waiting.is_aside:
            waiting.is_aside = True
            for place in waiting.others:
                if place.state is EntryState.WAITING:
                    place.outbox.put_aside(place.entry, ExceptionState.HELD, IN_DOUBT)
                    place.state, place.is_aside = EntryState.HELD, True
            self._note(batch, waiting, "doubt")
        for waiter in to:
            batch.done.append(partial(waiter.tell, told))
        self._parts.group.soon()

    # --- what stands in the store ---------------------------------------------------------------------

    def _note(self, batch: Batch, waiting: Waiting, state: str) -> None:
        value = {"state": state, "guard": waiting.guard_key.hex(), "claim": waiting.claim}
        inbox_id = waiting.inbox_id
        kept = Remembered(json.dumps(value), inbox_id, waiting.received_us, 0)
        self._memories.write(batch, (Change(Space.WAITING, (str(inbox_id),), kept),))

    def _keeps_until(self, waiting: Waiting) -> int:
        return self._parts.steady.of(waiting.inbox_id, waiting.received_us) + self._keeps_us

    @staticmethod
    def _forgotten(inbox_id: int) -> Change:
        return Change(Space.WAITING, (str(inbox_id),), None)

    def _write(self, changes: Iterable[Change]) -> None:
        self._memories.write(self._parts.group.batch, changes)

    def restore(self, found: Found) -> None:
        """Take up a message whose sender waited when the engine stopped: nobody is connected."""
        waiting = Waiting(
            found.inbox_id,
            found.guard_key,
            found.received_us,
            self._parts.clock.monotonic() + self.ack.timeout_seconds,
        )
        waiting.claim = found.claim
        if not found.is_planned:
            waiting.said_no = found.state == "refused"
            waiting.told = too_late(self.ack) if waiting.said_no else None
            waiting.is_durable = waiting.said_no
            self._waiting[found.inbox_id] = waiting
            return
        for place in found.places:
            self._take_place(waiting, place)
        if waiting.source is None:
            # it repeated another message and nobody heard: it is asked again when it comes again
            self._write((self._forgotten(found.inbox_id),))
            self._release(self._parts.group.batch, waiting)
            return
        waiting.is_aside = found.state == "doubt"
        waiting.stage = Stage.DOUBT if waiting.is_aside else Stage.QUEUED
        self._waiting[found.inbox_id] = waiting
