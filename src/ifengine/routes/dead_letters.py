"""Replay and discard: a person's decision about a dead or held delivery, one transaction with its audit.

A replay is a new delivery behind what waits in the outbox; the old one keeps its row and points to
it. Where the order holds a key, the new one keeps the old one's place in its key, so that the key
leaves in the order in which it was received (safety-rules.md 17, 27).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ifengine.errors import EngineError
from ifengine.failpoints import fp
from ifengine.hl7.header import read_header
from ifengine.hl7.message import Message
from ifengine.routes.channel import UNMATCHED, PlannedDelivery
from ifengine.routes.delivery import Outbox
from ifengine.routes.delivery_rows import behind_row
from ifengine.routes.lanes import EntryState
from ifengine.routes.letters import FoundLetter, FoundLetters, Letter, find_letters
from ifengine.routes.outbox_loading import dead_label, split_keys
from ifengine.routes.parts import Parts
from ifengine.routes.pipeline import Pipeline
from ifengine.routes.planning import IN_OUTBOX, Planned
from ifengine.routes.reprocessing import process_again
from ifengine.routes.settled_letters import SettledLetters
from ifengine.routes.splitting import is_aside, part_number
from ifengine.routes.whole import whole
from ifengine.store.base import (
    Batch,
    ExceptionState,
    Fate,
    NewAudit,
    OutcomeRow,
    PlannedFate,
    PlanRow,
)
from ifengine.store.sealing import BlobKind
from ifengine.transforms.base import Reason
from ifengine.transforms.steps.latest_only import LATE

# A18, A24, A30, A34 to A37, A39 to A47, A49 to A51: who a person is (safety-rules.md 13)
IDENTITY_EVENTS = frozenset(
    b"A%02d" % n for n in (18, 24, 30, *range(34, 38), *range(39, 48), 49, 50, 51)
)

# a letter, what becomes of it, and its new deliveries; None: it is left alone
_Decided = tuple[FoundLetter, str, Sequence[PlannedDelivery] | None]

_ENTRY_STATE = {
    ExceptionState.DEAD_LETTER: EntryState.DEAD,
    ExceptionState.HELD: EntryState.HELD,
}


@dataclass(slots=True)
class Sorted:
    """What becomes of each letter that was asked for."""

    going: list[Letter] = field(default_factory=list)
    older: list[Letter] = field(default_factory=list)
    unordered: list[Letter] = field(default_factory=list)
    gone: list[Letter] = field(default_factory=list)
    filtered: list[Letter] = field(default_factory=list)
    failed_again: list[Letter] = field(default_factory=list)
    merged: list[Letter] = field(default_factory=list)


class DeadLetters:
    """Acts on dead and held deliveries. One act at a time."""

    def __init__(
        self, parts: Parts, outboxes: Mapping[int, Outbox], pipelines: Mapping[int, Pipeline]
    ) -> None:
        self._parts = parts
        self._outboxes = outboxes
        self._pipelines = pipelines
        self.one_at_a_time = asyncio.Lock()

    async def replay(
        self,
        letters: Sequence[Letter],
        *,
        how: str,
        allow_older: bool,
        dry_run: bool,
        actor: str,
        reason: str,
        sender_was_refused: bool = False,
    ) -> Sorted:
        """Send dead letters again. ``how``: ``stored`` or ``reprocess``.

        ``sender_was_refused``: those whose sender was told no, which is then untrue, and only those.
        """
        async with self.one_at_a_time:
            found = await self._find(letters)
            chosen = [f for f in found.letters if f.was_refused == sender_was_refused]
            found = found._replace(letters=[f for f in chosen if self._is_free(f)])
            result = Sorted()
            present = {f.letter for f in found.letters}
            result.gone = [letter for letter in letters if letter not in present]
            # one message at several destinations is no bulk
            bulk = len({f.delivery.inbox_id for f in found.letters}) > 1
            decided: list[_Decided] = []
            for item in sorted(found.letters, key=lambda f: (f.letter.outbox, f.delivery.place)):
                kind = self._refusal(item, found, how=how, bulk=bulk, allow_older=allow_older)
                decision: Sequence[PlannedDelivery] | None = None
                if kind is None:
                    released = not bulk and _is_held_as_late(item)
                    decision = await self._decide(item, how, dry_run=dry_run, released=released)
                    kind = self._kind(decision)
                decided.append((item, kind, decision))
            # while steps ran, a sender may have been told no
            decided = [d if self._is_free(d[0]) else (d[0], "gone", None) for d in decided]
            for item, kind, _ in decided:
                getattr(result, kind).append(item.letter)
            if not dry_run:
                with whole(self._parts):
                    await self._act(decided, how, actor, reason)
            return result

    async def _act(self, decided: Sequence[_Decided], how: str, actor: str, reason: str) -> None:
        """Write what was decided. Nothing is awaited before the last row: they share one batch."""
        batch, settled = self._parts.group.batch, SettledLetters()
        for item, _, decision in decided:
            if decision is not None:
                self._carry_out(batch, item, decision, settled)
        outcomes = [(item, "done" if kind == "going" else kind) for item, kind, _ in decided]
        self._audit(batch, "replay", actor, reason, how, outcomes)
        fp("replay.audited")
        await self._parts.group.durable()
        fp("replay.enqueued")
        settled.tell()

    async def discard(self, letters: Sequence[Letter], *, actor: str, reason: str) -> list[Letter]:
        """Settle dead letters as discarded; what they held goes on."""
        async with self.one_at_a_time:
            found = [
                f
                for f in (await self._find(letters)).letters
                if not f.is_settled and self._is_free(f)
            ]
            with whole(self._parts):
                batch, settled = self._parts.group.batch, SettledLetters()
                for item in found:
                    outcome = self._outcome(item, Fate.DISCARDED, 0, item.exception.reason)
                    batch.outcomes.append(outcome)
                    batch.exceptions.append((item.letter.outbox, item.letter.seq))
                    self._note_removed(item, settled)
                self._audit(batch, "discard", actor, reason, "", [(item, "done") for item in found])
                await self._parts.group.durable()
                settled.tell()
            return [item.letter for item in found]

    def _is_free(self, item: FoundLetter) -> bool:
        """Whether nothing ended it since it was read: its sender may have been told no."""
        outbox = self._outboxes.get(item.letter.outbox)
        return item.is_settled or outbox is None or not outbox.was_cancelled(item.letter.seq)

    # --- looking ------------------------------------------------------------------------------

    async def _find(self, letters: Sequence[Letter]) -> FoundLetters:
        ring = self._parts.ring
        return await self._parts.read(lambda reader: find_letters(reader, ring, letters))

    def _refusal(
        self, item: FoundLetter, found: FoundLetters, *, how: str, bulk: bool, allow_older: bool
    ) -> str | None:
        """Return why a letter does not go: ``older``, ``unordered`` or ``merged``; None when it may.

        Where a replay keeps its place in its key, nothing newer can leave before it, and what was
        sent decides. Elsewhere it goes behind all that waits: that counts as if it were there.
        """
        delivery = item.delivery
        header = read_header(item.content)
        if bulk and header.message_code == b"ADT" and header.trigger_event in IDENTITY_EVENTS:
            return "unordered"
        as_stored = how == "stored" or is_aside(item.delivery.part)
        if as_stored and self._names_a_retired_patient(item):
            return "merged"
        if allow_older:
            return None
        keys = self._keys(item)
        if not keys:
            return "unordered" if bulk else None
        outbox = self._outboxes.get(item.letter.outbox)
        keeps_place = outbox is not None and outbox.schedule.keeps_place(keys)
        newest = found.sent if keeps_place else found.leaving
        newer = newest.get((item.letter.outbox, delivery.destination), {})
        if any(newer.get(key, 0) > delivery.inbox_id for key in keys):
            return "older"
        return None

    def _names_a_retired_patient(self, item: FoundLetter) -> bool:
        """Whether what would be sent names a patient who was merged after it was received."""
        retired = self._parts.retired
        if not retired or item.stored is None:
            return False
        content = item.stored.partition(b"\0")[2] if self._is_files(item) else item.stored
        try:
            return retired.since(Message.parse(content), item.delivery.inbox_id)
        except EngineError:
            return False

    def _keys(self, item: FoundLetter) -> tuple[bytes, ...] | None:
        """Return a letter's order keys, with all that its patient has by merges since."""
        keys = split_keys(item.delivery)
        pipeline = self._pipelines.get(item.delivery.channel)
        retired = self._parts.retired
        if not keys or not retired or pipeline is None:
            return keys
        try:
            message = Message.parse(item.content, charset=pipeline.charset)
            number, channel = part_number(item.delivery.part), pipeline.channel
            message = channel.part_of(message, str(item.delivery.inbox_id), number)
        except EngineError:
            return keys
        now = pipeline.writer.hashed(channel.order_keys(message, retired.alike))
        return tuple(sorted({*keys, *(now or ())}))

    # --- deciding -----------------------------------------------------------------------------

    async def _decide(
        self, item: FoundLetter, how: str, *, dry_run: bool, released: bool
    ) -> list[PlannedDelivery]:
        """Return what the letter becomes: its destination's new delivery, or several if unmatched."""
        pipeline = self._pipelines.get(item.delivery.channel)
        name = self._destination_name(item)
        if pipeline is None or name not in pipeline.writer.targets:
            gone = Reason("the channel has no such destination any more", "")
            return [PlannedDelivery(name, Fate.DEAD_LETTER, reason=gone, step="replay")]
        if how == "stored" or is_aside(item.delivery.part):  # of a message, only this part was held
            if item.stored is None:
                failed = Reason("nothing was ready to send: its steps had failed", "")
                return [PlannedDelivery(name, Fate.DEAD_LETTER, reason=failed, step="stored")]
            file_name, content = "", item.stored
            if self._is_files(item):
                encoded, _, content = item.stored.partition(b"\0")
                file_name = encoded.decode("utf-8", "replace")
            same = content == item.content
            return [
                PlannedDelivery(
                    name,
                    Fate.QUEUED,
                    content=None if same else content,
                    file_name=file_name,
                    part=item.delivery.part,
                )
            ]
        try:
            plan = await process_again(
                self._parts, item, pipeline, name, dry_run=dry_run, released=released
            )
        except EngineError as error:
            failed = Reason(str(error), "")
            return [PlannedDelivery(name, Fate.DEAD_LETTER, reason=failed, step="channel")]
        if name == UNMATCHED:
            # every destination that wants it now, also one whose steps fail: none is lost from sight
            wanted = (Fate.QUEUED, Fate.DEAD_LETTER)
            taken = [d for d in plan if d.fate in wanted and d.destination != UNMATCHED]
            return taken or [d for d in plan if d.destination == UNMATCHED]
        return [d for d in plan if d.destination == name]

    @staticmethod
    def _kind(decision: Sequence[PlannedDelivery]) -> str:
        fates = {delivery.fate for delivery in decision}
        if Fate.QUEUED in fates:
            return "going"
        return "filtered" if fates == {Fate.FILTERED} else "failed_again"

    def _destination_name(self, item: FoundLetter) -> str:
        # written CHANNEL.DESTINATION in the name table
        return self._parts.names.name(item.delivery.destination).partition(".")[2]

    def _is_files(self, item: FoundLetter) -> bool:
        outbox = self._outboxes.get(item.letter.outbox)
        destination = outbox.destinations.get(item.delivery.destination) if outbox else None
        return destination is not None and destination.is_files

    # --- acting -------------------------------------------------------------------------------

    def _carry_out(
        self,
        batch: Batch,
        item: FoundLetter,
        decision: Sequence[PlannedDelivery],
        settled: SettledLetters,
    ) -> None:
        match self._kind(decision):
            case "going":
                self._send_again(batch, item, decision, settled)
            case "filtered" if not item.is_settled:
                reason = decision[0].reason.safe if decision[0].reason else ""
                batch.outcomes.append(self._outcome(item, Fate.FILTERED, 0, reason))
                batch.exceptions.append((item.letter.outbox, item.letter.seq))
                self._note_removed(item, settled)
            case _:
                if decision:
                    self._failed_again(batch, item, decision[0], settled)

    def _send_again(
        self,
        batch: Batch,
        item: FoundLetter,
        decision: Sequence[PlannedDelivery],
        settled: SettledLetters,
    ) -> None:
        parts, delivery = self._parts, item.delivery
        pipeline = self._pipelines[delivery.channel]
        now_us = parts.clock.now_us()
        old_outbox = self._outboxes.get(item.letter.outbox)  # None: not configured any more
        planned = Planned(
            inbox_id=delivery.inbox_id,
            received_us=item.received_us,
            content=item.content,
            plan=tuple(decision),
            keys=self._keys(item),
            run=parts.runs.next(delivery.inbox_id, item.runs),
        )
        fates: list[PlannedFate] = []
        last = 0
        for again in decision:
            target = pipeline.writer.targets[again.destination]
            outbox = target.outbox
            if again.fate not in IN_OUTBOX:  # a part that is not for it: nothing of it goes
                reason = again.reason.safe if again.reason else ""
                fates.append(PlannedFate(target.number, again.fate, 0, 0, reason))
                continue
            same_outbox = outbox is old_outbox
            keeps = same_outbox and outbox.schedule.keeps_place(planned.keys)
            place = delivery.place if keeps else 0
            entry, state = pipeline.writer.queue(
                batch, planned, again, now_us, place=place, origin_seq=item.letter.seq
            )
            entry.possible_duplicate = item.exception.possible_duplicate
            fates.append(PlannedFate(target.number, Fate.QUEUED, outbox.number, entry.seq, ""))
            # what is set aside or failed beside it waits for a person, as in a first run
            if same_outbox and not item.is_settled and state is EntryState.WAITING:
                outbox.take_by_hand(item.letter.seq)
                # exceptional from the start: a restart must find it before what it held
                batch.exceptions.append(behind_row(item.letter.outbox, entry, now_us, "replayed"))
                settled.replaced.append(
                    (
                        outbox,
                        item.letter.seq,
                        _ENTRY_STATE[item.exception.state],
                        dead_label(item.exception.stage, item.exception.reason),
                        entry,
                    )
                )
            else:
                settled.fed.append((outbox, entry, state))
            last = entry.seq
        if not item.is_settled and not any(f.outbox == item.letter.outbox for f in fates):
            self._note_removed(item, settled)
        batch.plans.append(
            PlanRow(
                delivery.inbox_id,
                planned.run,
                delivery.channel,
                parts.config_version,
                now_us,
                tuple(fates),
            )
        )
        if not item.is_settled:  # what was told no stays told
            batch.outcomes.append(self._outcome(item, Fate.QUEUED, last, "replayed"))
            batch.exceptions.append((item.letter.outbox, item.letter.seq))

    def _failed_again(
        self, batch: Batch, item: FoundLetter, decision: PlannedDelivery, settled: SettledLetters
    ) -> None:
        """Keep the dead letter, with what stopped it this time. A drop on a replay stays with a person."""
        if decision.step in ("stored", "replay") or item.is_settled:
            return  # the letter is as it was
        reason = decision.reason or Reason("", "")
        number, seq = item.letter
        detail = b""
        if reason.full:
            detail = self._parts.ring.seal(BlobKind.DETAIL, number, seq, reason.full.encode())
        exception = item.exception
        now = exception._replace(
            reason=reason.safe,
            step=decision.step,
            detail=detail,
            config_version=self._parts.config_version,
        )
        batch.exceptions.append(now)
        outbox = self._outboxes.get(number)
        if outbox is not None and exception.state is ExceptionState.DEAD_LETTER:
            before = dead_label(exception.stage, exception.reason)
            after = dead_label(now.stage, now.reason)
            settled.relabelled.append((outbox, item.delivery.destination, before, after))

    def _outcome(
        self, item: FoundLetter, fate: Fate, superseded_by: int, reason: str
    ) -> OutcomeRow:
        exception = item.exception
        return OutcomeRow(
            item.letter.outbox,
            item.letter.seq,
            fate,
            exception.code,
            exception.refusals + exception.doubts,
            self._parts.clock.now_us(),
            0,
            exception.possible_duplicate,
            superseded_by,
            reason,
        )

    def _note_removed(self, item: FoundLetter, settled: SettledLetters) -> None:
        outbox = self._outboxes.get(item.letter.outbox)
        if outbox is not None:
            outbox.take_by_hand(item.letter.seq)
            settled.removed.append(
                (
                    outbox,
                    item.letter.seq,
                    _ENTRY_STATE[item.exception.state],
                    dead_label(item.exception.stage, item.exception.reason),
                    item.delivery.destination,
                )
            )

    def _audit(
        self,
        batch: Batch,
        action: str,
        actor: str,
        reason: str,
        how: str,
        outcomes: Sequence[tuple[FoundLetter, str]],
    ) -> None:
        """One record a letter, so that a message's history names who sent it again and why."""
        parts = self._parts
        now_us = parts.clock.now_us()
        for item, outcome in outcomes:
            outbox, seq = item.letter
            detail = b""
            if reason:
                detail = parts.ring.seal(
                    BlobKind.AUDIT, now_us, item.delivery.inbox_id, reason.encode()
                )
            what = f"{parts.names.name(item.delivery.destination)} {outbox}/{seq} {how}".rstrip()
            batch.audits.append(
                NewAudit(now_us, actor, action, what, item.delivery.inbox_id, outcome, detail)
            )


def _is_held_as_late(item: FoundLetter) -> bool:
    """Whether `latest_only` held a whole message: replayed alone, a person decided that it goes."""
    held = item.exception.state is ExceptionState.HELD
    return held and item.exception.reason == LATE.safe
