"""From committed message to committed plan: one channel, in the order of its messages."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ifengine.errors import EngineError, StorageFailedError
from ifengine.failpoints import fp
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.message import Message
from ifengine.routes.channel import (
    Channel,
    Decision,
    PlannedDelivery,
)
from ifengine.routes.collecting import ContentsNeededError
from ifengine.routes.delivery import Outbox
from ifengine.routes.gates import HISTORICAL_MODES
from ifengine.routes.giant_planning import GiantPlanning, JoinNeededError
from ifengine.routes.giants import NO_GIANTS
from ifengine.routes.lanes import Entry, EntryState
from ifengine.routes.members import ReadCollection, context_of, read_for
from ifengine.routes.parked_messages import ParkedMessages
from ifengine.routes.parking import Parking
from ifengine.routes.parts import Parts
from ifengine.routes.planning import Fed, Planned, PlanWriter
from ifengine.routes.received import Received
from ifengine.routes.turns import share
from ifengine.routes.waiting_senders import WaitingSenders
from ifengine.store.base import (
    Batch,
    CursorKind,
    Fate,
    GuardVerdict,
)
from ifengine.store.giants import Enclosed
from ifengine.transforms.base import CallNeededError, Reason
from ifengine.transforms.memory import Call, Reply

# looked up once: to ask an enumeration for a member costs more than a call (Python 3.11)
_REUSED = GuardVerdict.REUSED
_CURSOR = CursorKind.CHANNEL

MEMORY_WINDOW = 2000  # messages with content that wait for their steps
MEMORY_BYTES = 16 * 1024 * 1024
MOST_UNCOMMITTED = 1024  # plans whose commit has not returned

STAND_STILL_SECONDS = 0.01


@dataclass(slots=True)
class _Uncommitted:
    """What one batch holds of this channel."""

    batch: Batch
    fed: list[Fed] = field(default_factory=list)
    plans: int = 0
    last: int = 0


class Pipeline(GiantPlanning):
    """Runs one channel over its messages, in order, and commits what it decides."""

    def __init__(
        self,
        parts: Parts,
        channel: Channel,
        writer: PlanWriter,
        charset: CharsetPolicy,
        charsets: Mapping[int, CharsetPolicy] | None = None,
    ) -> None:
        self.channel = channel
        self.writer = writer
        self.number = writer.number
        self.paused = False
        self.note = ""  # who paused it, and why
        self.unplanned = 0  # committed messages without a plan
        self._head = 0  # the newest message of this channel
        self._through = 0  # every message up to here was queued or planned
        self._parts = parts
        self.charset = charset
        self._charsets = charsets or {}  # by listener, where a channel has several
        self._queue: deque[Received] = deque()
        self._bytes = 0
        self._uncommitted = 0
        self._open: _Uncommitted | None = None
        self._scheduled = False
        self._refilling = False
        self._modes = frozenset(mode.encode() for mode in channel.config.accept_mode)
        self._step_seconds = parts.metrics.step_duration_seconds.labels(channel.name)
        by_patient = channel.config.order_by == "patient"
        self._parked = ParkedMessages(parts, writer, self._soon, by_patient=by_patient)
        self._replies: dict[int, Reply] = {}  # to calls of the message that is being planned
        self._members: dict[int, Received] = {}  # read for the message that is being planned
        self._calling = False
        self._standing = 0  # how many want it to plan nothing for a moment
        self.senders: WaitingSenders | None = None  # where senders wait for an answer
        # what must be planned elsewhere before a message here (safety-rules.md 12)
        self.may_plan: Callable[[int], bool] | None = None
        self.advanced: Callable[[], None] | None = None  # told of every message planned here
        self.recovered = False
        self.is_counted = True  # whether `unplanned` has all that was there at the start
        self.newest_fed = 0  # 0: none since the start
        self._skipped = 0  # where the cursor stands, or is on its way to

    def charset_of(self, listener: int) -> CharsetPolicy:
        """Return which character set counts for what came in there."""
        return self._charsets.get(listener, self.charset)

    def _takes(self, mode: bytes, listener: int) -> bool:
        """Return whether a historical load is taken: by the channel, or from where it came."""
        if mode in self._modes:
            return True
        name = self._parts.names.name(listener)
        return mode.decode() in self.channel.modes_from.get(name, ())

    # --- feeding ----------------------------------------------------------------------------

    def feed(self, message: Received) -> None:
        """Take a message whose commit returned."""
        self.unplanned += 1
        if message.inbox_id > self.newest_fed:
            self.newest_fed = message.inbox_id
        if message.inbox_id < self._head:
            self._take_between(message)
            return
        newest, self._head = self._head, message.inbox_id
        room = len(self._queue) < MEMORY_WINDOW and self._bytes < MEMORY_BYTES
        if self._through != newest or not room:
            return  # older ones wait in the store: it is read back in its turn
        self._take(message)
        self._soon()

    def _take_between(self, message: Received) -> None:
        """Take one of a batch whose later messages came from a source that was told before.

        Nothing of the batch is planned yet: its sources hear of it in one turn of the loop.
        """
        if message.inbox_id > self._through:
            return  # the store is read up to there in its turn
        at = len(self._queue)
        while at and self._queue[at - 1].inbox_id > message.inbox_id:
            at -= 1
        self._queue.insert(at, message)
        self._bytes += len(message.content or b"")
        self._soon()

    def _take(self, message: Received) -> None:
        self._queue.append(message)
        self._bytes += len(message.content or b"")
        self._through = message.inbox_id

    # --- planning ----------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on after a pause."""
        self.paused = False
        self._soon()

    def _soon(self) -> None:
        if not self._scheduled and not self.paused:
            self._scheduled = True
            self._parts.loop.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        parts = self._parts
        if parts.stopping or self.paused or self._calling or self._standing:
            return
        queue, again = self._queue, self._parked.again
        for _ in range(share(len(queue), receiving=parts.group.receiving)):
            if self._uncommitted >= MOST_UNCOMMITTED or self._calling:
                break
            if again:
                message = again.popleft()
                if message.inbox_id in self.parking:  # not so where its collection ended meanwhile
                    self._plan(message)
                continue
            if not queue or (self.may_plan is not None and not self.may_plan(queue[0].inbox_id)):
                break
            message = queue.popleft()
            self._bytes -= len(message.content or b"")
            self._plan(message)
        else:
            if queue or again:
                self._soon()
        self._parked.fetch()
        has_room = len(queue) < MEMORY_WINDOW // 4 and self._bytes < MEMORY_BYTES // 2
        if self._through < self._head and has_room and not self._refilling:
            self._refilling = True
            parts.spawn(self._refill())

    @property
    def first_unplanned(self) -> int:
        """Return the oldest message that is not planned; 0 when every one is."""
        if self._current is not None:
            return self._current
        if self._queue:
            return self._queue[0].inbox_id
        return self._through + 1 if self._through < self._head else 0

    _current: int | None = None  # waits for a reply to its call

    def _plan(self, received: Received) -> None:
        if self._is_taken_apart_first(received):
            return
        fp("process.claimed")
        started = self._parts.clock.monotonic()
        keys: tuple[bytes, ...] | None = None
        held = ""
        content = received.content
        if content is None:
            # set aside: never sent, never lost from sight
            decision = self._all_dead("stored content is damaged")
        elif received.reason:
            decision = self._all_dead(received.reason)
        else:
            try:
                message = self._message_of(received, content)
                # an empty crosswalk counts as none: nobody pays for it
                retired = self._parts.retired
                alike = retired.alike if retired else None
                keys = self.writer.hashed(self.channel.order_keys(message, alike))
                mode = message.header.processing_mode
                if mode in HISTORICAL_MODES and not self._takes(mode, received.listener):
                    held = "processing mode (MSH-11.2) A, R or I"
                decision = self._decide(message, received)
                fp("process.transformed")
            except CallNeededError as needed:
                self._begin_what_is(needed, received)
                return
            except ContentsNeededError as unread:
                self._read_members(received, unread.inbox_ids)
                return
            except StorageFailedError:
                raise  # the message is not at fault: the engine stops, and it is planned later
            except EngineError as error:
                decision = self._all_dead(str(error))
            except Exception as fault:  # noqa: BLE001 - a fault of ours costs this message only
                decision = self._all_dead(f"unforeseen {type(fault).__name__} in the steps")
        self._replies, self._members = {}, {}
        if self.senders is not None and not received.run:
            decision = self.senders.weigh(received.inbox_id, decision, is_held=bool(held))
        if decision.documents:
            self._keep_documents(received, decision, keys, held)
        else:
            self._seal_and_write(received, decision, keys, held, self.writer)
        self._step_seconds.observe(self._parts.clock.monotonic() - started)

    def _decide(self, message: Message, received: Received) -> Decision:
        if received.verdict is _REUSED and self.channel.config.dedupe_on_reuse == "dead_letter":
            return self._all_dead("control id (MSH-10) reused with other content")
        inbox_id, senders = received.inbox_id, self.senders
        waits = senders is not None and not received.run and senders.waits(inbox_id)
        collection = ReadCollection(inbox_id, self._members, self.charset_of, self._parked)
        context = context_of(
            self._parts,
            self._parked,
            received,
            self._replies,
            sender_waits=waits,
            collection=collection,
        )
        return self.channel.process(message, context._replace(encode=self._encode))

    def _all_dead(self, reason: str) -> Decision:
        return Decision(
            tuple(
                PlannedDelivery(d.name, Fate.DEAD_LETTER, reason=Reason(reason, ""), step="channel")
                for d in self.channel.destinations
            )
        )

    # --- other rules --------------------------------------------------------------------------

    def switch(
        self,
        channel: Channel,
        writer: PlanWriter,
        charset: CharsetPolicy,
        charsets: Mapping[int, CharsetPolicy],
    ) -> None:
        """Process by other rules from the next message on; what was decided stays as it is."""
        self.channel = channel
        self.writer = writer
        self._parked.by_patient = channel.config.order_by == "patient"
        self._parked.start_over_collected()  # other rules may collect by another key, or nothing
        self.charset = charset
        self._charsets = charsets
        self._modes = frozenset(mode.encode() for mode in channel.config.accept_mode)

    async def stand_still(self) -> None:
        """Plan nothing until ``go``; returns when all that was planned is on stable storage."""
        self._standing += 1
        parts = self._parts
        while (self._calling or self._uncommitted) and not parts.stopping:
            await parts.clock.sleep(STAND_STILL_SECONDS)
        await parts.group.durable()

    def go(self) -> None:
        """Go on after ``stand_still``."""
        self._standing -= 1
        self._soon()

    # --- work of others ------------------------------------------------------------------------

    def _begin_what_is(self, needed: CallNeededError, received: Received) -> None:
        if isinstance(needed, JoinNeededError):
            self._join_first(received, needed.message)
        else:
            self._call(received, needed.call)

    def _call(self, received: Received, call: Call) -> None:
        """Let another process work; what comes after this message waits."""
        self._calling = True
        self._current = received.inbox_id
        self._parts.spawn(self._wait_for_reply(received, call, self.channel))

    async def _wait_for_reply(self, received: Received, call: Call, asking: Channel) -> None:
        reply = await self._parts.call(call)
        # under other rules the run starts over: a message is never processed by two of them
        known = {**self._replies, call.number: reply}
        self._replies = known if asking is self.channel else {}
        self._go_on()
        if not self._parts.stopping:
            self._plan(received)
            self._soon()

    def _read_members(self, received: Received, inbox_ids: Sequence[int]) -> None:
        """Read the other messages of a collection; what comes after this message waits."""
        self._calling = True
        self._current = received.inbox_id

        async def read() -> None:
            self._members = {**self._members, **await read_for(self._parts, inbox_ids)}
            self._go_on()
            if not self._parts.stopping:
                self._plan(received)
                self._soon()

        self._parts.spawn(read())

    def _keep_documents(
        self,
        received: Received,
        decision: Decision,
        keys: tuple[bytes, ...] | None,
        held: str,
    ) -> None:
        """Put documents on stable storage before the plan that speaks of them."""
        self._calling = True
        self._current = received.inbox_id
        writer = self.writer  # of the rules that decided

        async def keep() -> None:
            kept = decision
            try:
                await self._parts.keep_documents(decision.documents)
            except EngineError as error:
                if self._parts.stopping:
                    return  # it is planned after the next start
                kept = self._all_dead(str(error))
                if self.senders is not None and not received.run:
                    kept = self.senders.weigh(received.inbox_id, kept, is_held=bool(held))
            self._go_on()
            self._seal_and_write(received, kept, keys, held, writer)
            self._soon()

        self._parts.spawn(keep())

    def _go_on(self) -> None:
        self._calling = False
        self._current = None

    # --- parking -------------------------------------------------------------------------------

    @property
    def parking(self) -> Parking:
        """Return the messages that wait for a fact."""
        return self._parked.parking

    def remembered(self, keys: Iterable[bytes]) -> None:
        """Something was remembered, by any channel: what waits for it starts over."""
        self._parked.start_over(self.parking.waiting_for(keys))

    def merged(self, patients: frozenset[bytes]) -> None:
        """A merge concerns these patients: what is parked of them starts over."""
        self._parked.start_over(self.parking.of_patients(patients))

    def let_go(self, inbox_ids: Iterable[int], *, expire: bool) -> list[int]:
        """Let parked messages go on now, as a person asked; return those that are parked here."""
        return self._parked.let_go(inbox_ids, expire=expire)

    def wake(self) -> None:
        """Go on, where something waits for a plan elsewhere."""
        if self._queue:
            self._soon()

    def tick(self, now: float) -> None:
        """Let what waited long enough start over; called about ten times a second."""
        self.wake()  # a channel that was waited for may have been paused
        if len(self.parking):
            self._parked.start_over(self.parking.time_is_over(now))

    # --- writing -----------------------------------------------------------------------------

    def _write(
        self,
        received: Received,
        decision: Decision,
        keys: tuple[bytes, ...] | None,
        held: str,
        writer: PlanWriter,
        sealed: Mapping[int, Enclosed] = NO_GIANTS,
    ) -> None:
        """Add a decision to the open batch: plan, what was remembered, what is parked."""
        parts = self._parts
        group = parts.group
        batch = group.batch
        opened = self._open
        if opened is None or opened.batch is not batch:
            opened = self._open = _Uncommitted(batch)
            batch.done.append(partial(self._committed, opened))
        senders = None if received.run else self.senders
        if senders is not None:
            decision = senders.confirmed(received.inbox_id, decision)
        planned = Planned(
            inbox_id=received.inbox_id,
            received_us=received.received_us,
            content=received.content or b"",
            plan=decision.plan,
            keys=keys,
            held=held,
            run=received.run,
            sealed=sealed,
        )
        stays = decision.waiting is not None and received.run > 0
        fed = [] if stays else writer.write(batch, planned)
        opened.fed.extend(fed)
        if received.run == 0:
            opened.plans += 1
            self._uncommitted += 1
            batch.cursors[_CURSOR, self.number] = received.inbox_id
            self._skipped = received.inbox_id
        changes = decision.changes
        if decision.collected is not None:
            changes += self._parked.end_in(batch, received.inbox_id, decision, writer)
        if decision.waiting is not None:
            self._parked.park(
                batch,
                received.inbox_id,
                decision.waiting,
                keys,
                received_us=received.received_us,
            )
        elif received.run:
            self._parked.leave(batch, received.inbox_id)
        if changes and parts.memories is not None:
            parts.memories.write(batch, changes)
            parts.remembered(changes)
        if senders is not None:
            senders.planned(batch, received.inbox_id, fed)
        self._has_advanced()
        group.soon()

    def _committed(self, committed: _Uncommitted) -> None:
        """The plans are on stable storage: their deliveries may go."""
        fp("process.post_commit")
        self._uncommitted -= committed.plans
        self.unplanned -= committed.plans
        by_outbox: dict[int, tuple[Outbox, list[tuple[Entry, EntryState]]]] = {}
        for outbox, entry, state in committed.fed:
            by_outbox.setdefault(outbox.number, (outbox, []))[1].append((entry, state))
        for outbox, entries in by_outbox.values():
            outbox.feed(entries)
        self._soon()
