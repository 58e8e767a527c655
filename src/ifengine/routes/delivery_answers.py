"""Deliveries whose senders wait: the part of an outbox that ends them as their senders are told."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ifengine.routes.application_contract import Settled
from ifengine.routes.application_failing import (
    Failed,
    Refused,
    entry_of,
    exception_of,
    plan_of,
)
from ifengine.routes.config.models import ApplicationAck
from ifengine.routes.delivery_rows import (
    aside_row,
    attempt_row,
    behind_row,
    cancelled_row,
    rejected_row,
)
from ifengine.routes.destination import Destination, DestinationMetrics
from ifengine.routes.lanes import Entry, EntryState, Schedule
from ifengine.routes.outbox_loading import dead_label
from ifengine.routes.parts import Parts
from ifengine.routes.retry import Action, Attempt, Decision
from ifengine.store.base import Batch, ExceptionState


class Senders(Protocol):
    """The senders of one channel that wait for an answer: ``waiting_senders.WaitingSenders``."""

    def answers(self, outbox: int, entry: Entry) -> bool:
        """Return whether a sender waits for the answer to this very delivery."""
        ...

    def is_gated(self, entry: Entry) -> bool:
        """Return whether a delivery waits for what another destination answers its sender."""
        ...

    def attempt_ended(
        self,
        outbox: "AnsweringDeliveries",
        entry: Entry,
        attempt: Attempt,
        decision: Decision,
        took: float,
    ) -> None:
        """Tell the sender, and end the delivery by one of the outbox's methods for it."""
        ...


NO_SENDERS: Mapping[int, Senders] = {}


class AnsweringDeliveries(ABC):
    """What an outbox can do for senders that wait. ``Outbox`` is one; nothing else is."""

    name: str
    number: int
    schedule: Schedule
    destinations: Mapping[int, Destination]
    _parts: Parts
    _metrics: dict[int, DestinationMetrics]
    _bytes: int
    _settled_since: int
    _stored_head: int
    _ahead: set[int]
    _cancelled: set[int]
    _by_hand: set[int]
    _told_no: set[int]
    senders: Mapping[int, Senders]

    @abstractmethod
    def next_seq(self) -> int:
        """Return the number of the next delivery of this outbox."""

    @abstractmethod
    def _write_behind(self, behind: Sequence[Entry]) -> None:
        """Give durable rows to deliveries that wait for a stuck one."""

    @abstractmethod
    def destination_of(self, entry: Entry) -> Destination:
        """Return where a delivery goes."""

    @abstractmethod
    def pump(self) -> None:
        """Hand ready deliveries to idle lanes."""

    @abstractmethod
    def _settle(
        self,
        entry: Entry,
        destination: Destination,
        attempt: Attempt,
        decision: Decision,
        took: float,
    ) -> None:
        """Write down that a delivery was accepted."""

    def _expect(
        self, batch: Batch, rule: ApplicationAck, entry: Entry, attempt: Attempt, attempts: int
    ) -> None:
        """Wait for the application acknowledgment of a delivery whose outcome is in this batch."""
        answers = self._parts.answers
        if answers is None:
            return
        answers.expect(
            batch,
            rule,
            Settled(
                outbox=self.number,
                seq=entry.seq,
                inbox_id=entry.inbox_id,
                destination=entry.destination,
                attempts=attempts,
                planned_us=entry.at_us,
                code=attempt.code,
                control_id=attempt.control_id,
            ),
        )

    def application_answer(self, content: bytes, reply: Callable[[bytes], None]) -> bool:
        """Take an application acknowledgment that came back; False: none is waited for here."""
        answers = self._parts.answers
        return answers is not None and answers.came_back(self, content, reply)

    def fail_sent(self, batch: Batch, failed: Failed, refused: Refused) -> None:
        """Add a dead letter in the place of a delivery that was sent, and refused after all.

        What comes after it in its key and has not left waits for it.
        """
        parts, row = self._parts, failed.row
        seq = self.next_seq()
        again = row._replace(
            seq=seq,
            run=parts.runs.next(row.inbox_id, failed.runs),
            at_us=parts.steady.now_us(),
            origin_seq=row.seq,
            config_version=parts.config_version,
        )
        batch.outbox.append(again)
        batch.plans.append(plan_of(again, parts.clock.now_us()))
        batch.exceptions.append(exception_of(parts.ring, again, refused, parts.clock.now_us()))
        entry = entry_of(again, failed.received_us)
        destination = self.destination_of(entry)
        if seq > self.schedule.through + 1:
            self._ahead.add(seq)
        self._write_behind(self.schedule.fail_again(entry))
        label = dead_label("delivery", refused.reason)

        def committed() -> None:
            self._stored_head = max(self._stored_head, seq)
            destination.count(EntryState.DEAD, 1, label)
            self._metrics[destination.number].dead_lettered(label)
            self.pump()

        batch.done.append(committed)

    def accept(self, entry: Entry, attempt: Attempt, decision: Decision, took: float) -> None:
        """The destination took a message whose sender waits."""
        self._settle(entry, self.destination_of(entry), attempt, decision, took)
        self._parts.group.soon()

    def refuse(
        self, entry: Entry, attempt: Attempt, decision: Decision, took: float, reason: str
    ) -> None:
        """The sender is told no after this attempt: it is the last one."""
        parts, destination = self._parts, self.destination_of(entry)
        now_us = parts.clock.now_us()
        self._note_attempt(entry, attempt, decision, took)
        batch = parts.group.batch
        batch.outcomes.append(rejected_row(self.number, entry, attempt, now_us, took, reason))
        if entry.exceptional:
            batch.exceptions.append((self.number, entry.seq))
        self.schedule.settle(entry)
        self._settled_since += 1
        destination.waiting -= 1
        self._metrics[entry.destination].rejected()

    def doubt(
        self, entry: Entry, attempt: Attempt, decision: Decision, took: float, reason: str
    ) -> None:
        """Bytes left and no answer came: the sender may send again, nobody else does."""
        entry.possible_duplicate = True
        self._note_attempt(entry, attempt, decision, took)
        self._metrics[entry.destination].in_doubt()
        self._write_aside(entry, ExceptionState.IN_DOUBT, reason, attempt.label)
        self.schedule.set_aside(entry)

    def _note_attempt(
        self, entry: Entry, attempt: Attempt, decision: Decision, took: float
    ) -> None:
        if decision.action is Action.WAIT:
            return  # nothing left: it was none
        entry.refusals, entry.doubts = decision.refusals, decision.doubts
        parts = self._parts
        parts.group.batch.attempts.append(
            attempt_row(parts.ring, self.number, entry, attempt, parts.clock.now_us(), took)
        )

    def _write_aside(
        self, entry: Entry, state: ExceptionState, reason: str, code: str = ""
    ) -> None:
        now_us = self._parts.clock.now_us()
        row = aside_row(self.number, entry, state, now_us, reason, code)
        self._parts.group.batch.exceptions.append(row)

    def cancel(self, seq: int, destination_number: int, state: EntryState, reason: str) -> None:
        """A delivery that is not under way ends here, because its sender is told no.

        ``state`` is what it was counted as: WAITING, HELD or DEAD.
        """
        if seq in self._by_hand:
            return  # a person has decided about it
        parts = self._parts
        batch = parts.group.batch
        batch.outcomes.append(cancelled_row(self.number, seq, parts.clock.now_us(), reason))
        batch.exceptions.append((self.number, seq))
        if state is not EntryState.WAITING:
            self._told_no.add(seq)
        if seq > self.schedule.through:
            self._cancelled.add(seq)
        self._drop(seq)
        destination = self.destinations.get(destination_number)
        if destination is not None:
            destination.count(state, -1)
            self._metrics[destination_number].rejected()
        parts.loop.call_soon(self.pump)

    def was_cancelled(self, seq: int) -> bool:
        """Return whether a delivery that a person could act on ended with a no to its sender."""
        return seq in self._told_no

    def take_by_hand(self, seq: int) -> None:
        """A person decides about a delivery: no answer to a sender does any more."""
        if self.senders:
            self._by_hand.add(seq)

    def _drop(self, seq: int) -> None:
        entry = self.schedule.entry(seq)
        if entry is not None:
            if entry.content is not None:
                self._bytes -= len(entry.content)
            self.schedule.remove(seq)

    def leave_in_doubt(self, entry: Entry, reason: str) -> None:
        """The sender is told no while this delivery is under way; its answer may still come."""
        entry.exceptional = True
        now_us = self._parts.clock.now_us()
        row = aside_row(self.number, entry, ExceptionState.IN_DOUBT, now_us, reason, "timeout")
        self._parts.group.batch.exceptions.append(row._replace(possible_duplicate=True))

    def put_aside(self, entry: Entry, state: ExceptionState, reason: str) -> None:
        """A delivery that is not under way waits until its sender sends again, or for a person."""
        self._write_aside(entry, state, reason)
        self._drop(entry.seq)
        entry.exceptional = True
        destination = self.destination_of(entry)
        if state is ExceptionState.HELD:
            destination.held += 1
        self._parts.loop.call_soon(self.pump)

    def open_gate(self, seq: int) -> None:
        """A delivery that waited for the answer to its sender may go."""
        self.schedule.open_gate(seq)
        self.pump()

    def take_back(self, entry: Entry) -> None:
        """Write down that a delivery which was set aside goes after all; ``take_again`` follows."""
        if entry.seq not in self._by_hand:
            now_us = self._parts.clock.now_us()
            row = behind_row(self.number, entry, now_us, "its sender was answered")
            self._parts.group.batch.exceptions.append(row)

    def take_again(self, entry: Entry, was: ExceptionState) -> None:
        """Let a delivery that was set aside go again, with the same bytes."""
        if entry.seq in self._by_hand:
            return  # a person has decided about it
        if was is ExceptionState.HELD:
            self.destination_of(entry).held -= 1
        self.schedule.replace(entry.seq, entry.fresh())
        self.pump()
