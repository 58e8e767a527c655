"""One outbox at work: takes deliveries in order, hands them to lanes, writes down how they ended."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from ifengine.errors import EngineError
from ifengine.failpoints import fp
from ifengine.routes.counting import Uncounted
from ifengine.routes.delivery_answers import NO_SENDERS, AnsweringDeliveries
from ifengine.routes.delivery_rows import attempt_row, behind_row, sent_row, stuck_row
from ifengine.routes.destination import Destination, DestinationMetrics, drained
from ifengine.routes.endpoints.base import Lane, Parcel
from ifengine.routes.lanes import Entry, EntryState, Schedule
from ifengine.routes.outbox_loading import (
    Loaded,
    Unsettled,
    count_unsettled,
    dead_label,
    load_page,
    load_stuck,
    unseal_content,
)
from ifengine.routes.parts import Parts
from ifengine.routes.retry import (
    Action,
    Attempt,
    AttemptResult,
    Decision,
    decide,
    delay_seconds,
)
from ifengine.store.base import (
    Batch,
    CursorKind,
    ExceptionState,
    Reader,
)

# looked up once: to ask an enumeration for a member costs more than a call (Python 3.11)
_UNREACHABLE, _UNSENDABLE = AttemptResult.UNREACHABLE, AttemptResult.UNSENDABLE
_SETTLE = Action.SETTLE

MEMORY_WINDOW = 1000  # deliveries with content in memory; beyond it the store is read again
MEMORY_BYTES = 16 * 1024 * 1024
PAGE = 250
REBUILD_STEP_SECONDS = 0.01
# a receiver that is back is tried soon: each sender that waits is there for some seconds only
LONGEST_WAIT_WITH_SENDER_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0  # a wall clock that jumped must not put a retry off for years

_FAILED = (AttemptResult.REFUSED, AttemptResult.IN_DOUBT)  # what counts for `stop_after`
_EXCEPTION_STATE = {
    EntryState.RETRYING: ExceptionState.RETRYING,
    EntryState.IN_DOUBT: ExceptionState.IN_DOUBT,
    EntryState.HELD: ExceptionState.HELD,
}


class Outbox(AnsweringDeliveries):
    """Everything that goes to one send connection, or to one directory."""

    def __init__(
        self,
        parts: Parts,
        *,
        name: str,
        number: int,
        schedule: Schedule,
        destinations: Mapping[int, Destination],
        urgent_settle: bool,
    ) -> None:
        self.name = name
        self.number = number
        self.schedule = schedule
        self.destinations = destinations
        self.head = 0  # the last seq given out
        self.paused = False
        self.stopped = False  # on_nak: stop, or stop_after
        self.up: bool | None = None  # None: not tried yet
        self.times_down, self.why_down = 0, ""  # a label: for the log
        self._parts = parts
        self._urgent = urgent_settle
        self._idle: list[Lane] = []
        self._lanes: list[Lane] = []
        self._carrying: dict[int, Entry] = {}  # id(lane) -> entry
        self._retries: list[tuple[float, int, Entry]] = []
        self._unreachable_tries = 0
        self._not_before = 0.0
        self._settled_since = 0
        self._cursor_given = 0
        self._bytes = 0
        self._refilling = False
        self._stored_head = 0  # the last seq known to be on stable storage
        self._uncounted: Uncounted | None = None
        self._ahead: set[int] = set()  # replays that entered before what is still in the store
        # what it finds in the store may have been sent already
        self._unclean = parts.unclean or number in parts.suspects
        self._suspect_through = 0  # seqs that may have been sent before a crash
        self._suspects: set[int] = set()  # those of which only memory knows that they may
        self.senders = NO_SENDERS  # by channel
        self._cancelled: set[int] = set()  # of those that are still only in the store
        self._by_hand: set[int] = set()  # what people decided about, where senders wait
        self._told_no: set[int] = set()  # what people could have decided about, and was ended
        self._metrics = {
            d.number: DestinationMetrics(parts, d.channel, d.name) for d in destinations.values()
        }

    def add_lanes(self, lanes: Sequence[Lane]) -> None:
        """Give the outbox its ways out."""
        self._lanes = list(lanes)
        self._idle = list(reversed(lanes))

    # --- start -----------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Find what is unsettled: stuck deliveries first, then the first page of the rest."""
        number = self.number

        def look(
            reader: Reader,
        ) -> tuple[int, int, list[Loaded], tuple[list[Unsettled], Uncounted]]:
            cursor = reader.cursor(CursorKind.OUTBOX, number)
            head = max(reader.outbox_head(number), cursor)
            return (
                cursor,
                head,
                load_stuck(reader, number, cursor),
                count_unsettled(reader, number, cursor, head),
            )

        cursor, head, stuck, (counts, self._uncounted) = await self._parts.read(look)
        schedule = self.schedule
        self.head = self._stored_head = head
        schedule.through = schedule.durable_low = self._cursor_given = cursor
        if self._unclean:
            # without a clean stop, whatever lay in the settle window may have been sent
            self._suspect_through = min(head, cursor + schedule.window)
        for unsettled in counts:
            destination = self.destinations.get(unsettled.destination)
            if destination is not None:
                destination.count(unsettled.state, unsettled.count, unsettled.label)
        for loaded in stuck:
            if loaded.entry.seq in self._cancelled:
                continue  # its sender was told no while the store was read
            if loaded.entry.seq > cursor:
                self._ahead.add(loaded.entry.seq)
            self._enter(loaded)
        if self._unclean:
            # what had an exception and was free to go may have gone
            frozen = schedule.frozen()
            for entry in schedule.entries():
                if entry.seq not in frozen:
                    self._suspect(entry)
        await self._refill()
        if not self._uncounted.is_done:
            self._parts.spawn(self._count_on(self._uncounted))

    @property
    def is_counted(self) -> bool:
        """Return whether everything that waited at the start is in the counts."""
        return self._uncounted is None or self._uncounted.is_done

    async def _count_on(self, left: Uncounted) -> None:
        """Count what waits behind the first window, a window at a time, beside the deliveries."""
        parts = self._parts
        while not (left.is_done or parts.stopping):
            counts, after = await parts.read(left.window)
            if self._uncounted is not left:
                return  # the outbox was read anew: that counts by itself
            for number, count in counts.items():
                destination = self.destinations.get(number)
                if destination is not None:
                    destination.count(EntryState.WAITING, count)
            left = self._uncounted = after

    def _enter(self, loaded: Loaded) -> None:
        """Add one delivery found in the store."""
        entry, state = loaded.entry, loaded.state
        if loaded.is_aside and entry.channel in self.senders:
            return
        behind = self.schedule.add(entry, state, gated=self._is_gated(entry))
        alive = state not in (EntryState.DEAD, EntryState.HELD)
        if self._unclean and alive and entry.seq <= self._suspect_through:
            self._suspect(entry)
        if entry.state in (EntryState.RETRYING, EntryState.IN_DOUBT):
            wait = max(0.0, (loaded.due_us - self._parts.steady.now_us()) / 1e6)
            self._wake_at(entry, self._parts.clock.monotonic() + min(wait, LONGEST_WAIT_SECONDS))
        if entry.content is not None:
            self._bytes += len(entry.content)
        self._write_behind(behind)

    # --- feeding ---------------------------------------------------------------------------------

    def next_seq(self) -> int:
        """Return the number of the next delivery of this outbox."""
        self.head += 1
        return self.head

    def feed(self, entries: Iterable[tuple[Entry, EntryState]]) -> None:
        """Take deliveries whose rows are on stable storage, in the order of their seq."""
        schedule = self.schedule
        for entry, state in entries:
            destination = self.destinations.get(entry.destination)
            if destination is not None:
                destination.count(state, 1)
            if entry.seq > self._stored_head:
                self._stored_head = entry.seq
            if entry.seq != schedule.through + 1 or self._is_full():
                continue  # the store has it; it is read again when there is room
            if entry.content is not None:
                self._bytes += len(entry.content)
            gated = bool(self.senders) and self._is_gated(entry)
            behind = schedule.add(entry, state, gated=gated)
            if behind:
                self._write_behind(behind)
        self.pump()

    def _is_gated(self, entry: Entry) -> bool:
        senders = self.senders.get(entry.channel) if self.senders else None
        return senders is not None and senders.is_gated(entry)

    def _is_full(self) -> bool:
        return self.schedule.plain_count >= MEMORY_WINDOW or self._bytes >= MEMORY_BYTES

    def _wants_refill(self) -> bool:
        return (
            not self._refilling
            and self.schedule.through < self._stored_head
            and self.schedule.plain_count < MEMORY_WINDOW // 2
            and self._bytes < MEMORY_BYTES // 2
        )

    async def _refill(self) -> None:
        """Read the next page of the outbox from the store."""
        self._refilling = True
        try:
            number, after, ring = self.number, self.schedule.through, self._parts.ring
            files = {d.number for d in self.destinations.values() if d.is_files}

            def look(reader: Reader) -> tuple[int, list[Loaded]]:
                return load_page(reader, ring, number, after, PAGE, files)

            last, page = await self._parts.read(look)
            for loaded in page:
                seq = loaded.entry.seq
                if seq <= self.schedule.through or seq in self._ahead or seq in self._cancelled:
                    continue  # fed, or replayed, while the page was read: perhaps settled by now
                self.schedule.through = max(self.schedule.through, loaded.entry.seq - 1)
                self._enter(loaded)
            self.schedule.through = max(self.schedule.through, last)
            self._ahead = {seq for seq in self._ahead if seq > self.schedule.through}
            self._cancelled = {seq for seq in self._cancelled if seq > self.schedule.through}
        finally:
            self._refilling = False
        self.pump()

    # --- sending ---------------------------------------------------------------------------------

    def pump(self) -> None:
        """Hand ready deliveries to idle lanes."""
        parts = self._parts
        if self.paused or self.stopped or parts.stopping:
            return
        schedule = self.schedule
        while self._idle:
            if self._unreachable_tries and (
                self._carrying or parts.clock.monotonic() < self._not_before
            ):
                break  # one lane probes a receiver that was not there
            entry = schedule.take()
            if entry is None:
                if not self._settled_since and schedule.low() > schedule.durable_low:
                    parts.group.lazily()
                break
            lane = self._pick_lane()
            self._carrying[id(lane)] = entry
            if entry.content is None:
                parts.spawn(self._fetch_and_begin(lane, entry))
            else:
                self._begin(lane, entry, entry.content)
        if self._wants_refill():
            self._refilling = True
            parts.spawn(self._refill())

    def _pick_lane(self) -> Lane:
        idle = self._idle
        if idle[-1].is_connected:
            return idle.pop()
        for at in range(len(idle) - 1, -1, -1):
            if idle[at].is_connected:
                return idle.pop(at)
        return idle.pop()

    async def _fetch_and_begin(self, lane: Lane, entry: Entry) -> None:
        entry.started = self._parts.clock.monotonic()
        ring, destination = self._parts.ring, self.destinations.get(entry.destination)
        files = destination is not None and destination.is_files

        def look(reader: Reader) -> bytes:
            return unseal_content(reader, ring, entry.inbox_id, entry.copy_id, with_name=files)

        try:
            content = await self._parts.read(look)
        except EngineError:
            # its text names the message: the label of a metric and of a group must not
            self.attempt_ended(lane, Attempt(_UNSENDABLE, "stored content is damaged"))
            return
        self._begin(lane, entry, content)

    def _begin(self, lane: Lane, entry: Entry, content: bytes) -> None:
        entry.started = self._parts.clock.monotonic()
        destination = self.destinations.get(entry.destination) or self.destination_of(entry)
        if destination.is_files:
            name, _, content = content.partition(b"\0")
            parcel = Parcel(content, name.decode("utf-8", "replace"))
        else:
            timeout = destination.ack_timeout_seconds
            parcel = Parcel(content, "", timeout, entry.seq, entry.inbox_id)
        lane.begin(parcel)

    # --- results ---------------------------------------------------------------------------------

    def attempt_ended(self, lane: Lane, attempt: Attempt) -> None:
        """Write down how an attempt ended, and let the lane go on."""
        entry = self._carrying.pop(id(lane))
        self._idle.append(lane)
        destination = self.destinations.get(entry.destination) or self.destination_of(entry)
        took = self._parts.clock.monotonic() - entry.started
        self._metrics[entry.destination].attempt(attempt.label, took)
        if entry.content is not None:
            self._bytes -= len(entry.content)
        decision = decide(
            attempt,
            destination.policy,
            refusals=entry.refusals,
            doubts=entry.doubts,
            possible_duplicate=entry.possible_duplicate,
            dice=self._parts.dice,
        )
        if attempt.result is _UNREACHABLE:
            decision = self._unreachable_too_long(entry, destination, decision)
            self._note_unreachable(destination, attempt)
        elif attempt.result is not _UNSENDABLE:
            self._unreachable_tries = 0
            self.up = True
        if decision.action is _SETTLE:
            destination.failures = 0
        elif attempt.result in _FAILED and destination.note_failure():
            self.stopped = True
        senders = self.senders.get(entry.channel) if self.senders else None
        if senders is not None and senders.answers(self.number, entry):
            senders.attempt_ended(self, entry, attempt, decision, took)
            self.pump()
            return
        if decision.action is _SETTLE:
            self._settle(entry, destination, attempt, decision, took)
        elif decision.action is Action.WAIT:
            if entry.content is not None:
                self._bytes += len(entry.content)
            self.schedule.give_back(entry)
        else:
            self._not_settled(entry, destination, attempt, decision, took)
        self.pump()

    def _unreachable_too_long(
        self, entry: Entry, destination: Destination, decision: Decision
    ) -> Decision:
        limit = destination.policy.retry.unreachable_seconds
        if limit is None:
            return decision
        if self._parts.steady.now_us() - entry.at_us < limit * 1e6:
            return decision
        return Decision(Action.DEAD_LETTER, entry.refusals, entry.doubts, "unreachable too long")

    def _note_unreachable(self, destination: Destination, attempt: Attempt) -> None:
        self._unreachable_tries += 1
        if self.up is not False:
            self.up, self.why_down = False, attempt.label
            self.times_down += 1
        wait = delay_seconds(destination.policy.retry, self._unreachable_tries, self._parts.dice)
        if destination.channel_number in self.senders:
            wait = min(wait, LONGEST_WAIT_WITH_SENDER_SECONDS)
        self._not_before = self._parts.clock.monotonic() + wait

    def _settle(
        self,
        entry: Entry,
        destination: Destination,
        attempt: Attempt,
        decision: Decision,
        took: float,
    ) -> None:
        parts = self._parts
        now_us = parts.clock.now_us()
        row = sent_row(self.number, entry, attempt, decision, now_us, took)
        batch = parts.group.batch
        batch.outcomes.append(row)
        if entry.exceptional:
            batch.exceptions.append((self.number, entry.seq))
        if parts.awaited:
            parts.remembered(parts.awaited.delivered(batch, entry.inbox_id, now_us))
        self.schedule.settle(entry)
        if destination.application is not None and attempt.control_id:
            self._expect(batch, destination.application, entry, attempt, row.attempts)
        self._settled_since += 1
        destination.waiting -= 1
        self._metrics[entry.destination].settled((now_us - entry.received_us) / 1e6)
        if self._urgent:
            parts.group.soon()
        else:
            parts.group.lazily()

    def _not_settled(
        self,
        entry: Entry,
        destination: Destination,
        attempt: Attempt,
        decision: Decision,
        took: float,
    ) -> None:
        parts = self._parts
        now, now_us = parts.clock.monotonic(), parts.clock.now_us()
        steady_us = parts.steady.now_us()
        entry.refusals, entry.doubts = decision.refusals, decision.doubts
        if attempt.result is AttemptResult.IN_DOUBT:
            entry.possible_duplicate = True
            self._metrics[entry.destination].in_doubt()
        parts.group.batch.attempts.append(
            attempt_row(parts.ring, self.number, entry, attempt, now_us, took)
        )
        due = now + decision.delay_seconds
        match decision.action:
            case Action.DEAD_LETTER:
                behind = self.schedule.die(entry)
                state = ExceptionState.DEAD_LETTER
                destination.waiting -= 1
                label = dead_label("delivery", decision.reason)
                destination.count(EntryState.DEAD, 1, label)
                self._metrics[entry.destination].dead_lettered(label)
            case Action.HOLD:
                behind = self.schedule.defer(entry, EntryState.HELD, 0.0)
                state = ExceptionState.HELD
                destination.held += 1
            case _:
                doubtful = attempt.result is AttemptResult.IN_DOUBT
                memory = EntryState.IN_DOUBT if doubtful else EntryState.RETRYING
                behind = self.schedule.defer(entry, memory, due)
                state = _EXCEPTION_STATE[memory]
                if decision.action is Action.STOP:
                    self.stopped = True
                self._wake_at(entry, due)
        parts.group.batch.exceptions.append(
            stuck_row(parts.ring, self.number, entry, state, attempt, decision, now_us, steady_us)
        )
        self._write_behind(behind)
        parts.group.soon()

    def _write_behind(self, behind: Sequence[Entry]) -> None:
        """Give durable rows to deliveries that wait for a stuck one, so that the cursor can pass."""
        if not behind:
            return
        now_us = self._parts.clock.now_us()
        for entry in behind:
            if entry.content is not None:
                self._bytes -= len(entry.content)
                entry.content = None
            row = behind_row(self.number, entry, now_us, "behind an earlier message of its key")
            self._parts.group.batch.exceptions.append(row)
        self._parts.group.lazily()

    # --- time and commits --------------------------------------------------------------------------

    def _wake_at(self, entry: Entry, due: float) -> None:
        entry.due = due
        heapq.heappush(self._retries, (due, entry.seq, entry))

    def tick(self, now: float) -> None:
        """Look at deadlines and retries; called about ten times a second."""
        for lane in self._lanes:
            lane.sweep(now)
        retries = self._retries
        while retries and retries[0][0] <= now:
            _, _, entry = heapq.heappop(retries)
            self.schedule.wake(entry)
        self.pump()

    def collect(self, batch: Batch) -> None:
        """Add the cursor to a batch that is about to be written."""
        settled, self._settled_since = self._settled_since, 0
        low = self.schedule.low()
        if low != self._cursor_given:
            self._cursor_given = low
            batch.cursors[CursorKind.OUTBOX, self.number] = low
        elif not settled:
            return
        schedule = self.schedule

        def committed() -> None:
            fp("deliver.post_commit")
            schedule.undurable -= settled
            schedule.durable_low = max(schedule.durable_low, low)
            self.pump()

        batch.done.append(committed)

    # --- people --------------------------------------------------------------------------------------

    def replaced(
        self, old_seq: int, old_state: EntryState | None, label: str, entry: Entry
    ) -> None:
        """A replay, on stable storage, takes the place of a dead or held delivery.

        ``old_state`` is None when another part of its message took the place before.
        """
        destination = self.destinations.get(entry.destination)
        if destination is not None:
            if old_state is not None:
                destination.count(old_state, -1, label)
            destination.count(EntryState.WAITING, 1)
        self._stored_head = max(self._stored_head, entry.seq)
        if entry.seq > self.schedule.through + 1:
            self._ahead.add(entry.seq)
        self.schedule.replace(old_seq, entry)
        self.pump()

    def removed(self, seq: int, state: EntryState, label: str, destination_number: int) -> None:
        """A dead or held delivery was settled by a person, durably."""
        destination = self.destinations.get(destination_number)
        if destination is not None:
            destination.count(state, -1, label)
        self.schedule.remove(seq)
        self.pump()

    def relabelled(self, destination_number: int, before: str, after: str) -> None:
        """A dead letter failed again for another reason, durably."""
        destination = self.destinations.get(destination_number)
        if destination is not None:
            destination.count(EntryState.DEAD, -1, before)
            destination.count(EntryState.DEAD, 1, after)

    def resume(self) -> None:
        """Go on after a pause, or after `on_nak: stop` or `stop_after`."""
        self.paused = self.stopped = False
        for destination in self.destinations.values():
            destination.failures = 0
        self.pump()

    def has_suspects(self) -> bool:
        """Return whether an earlier run may have sent what waits here, and only memory knows it."""
        return self._suspect_through > self.schedule.through or any(
            entry.seq in self._suspects for entry in self.schedule.entries()
        )

    def _suspect(self, entry: Entry) -> None:
        if not entry.possible_duplicate:
            entry.possible_duplicate = True
            self._suspects.add(entry.seq)

    def begin_clean(self) -> None:
        """What it finds in the store was not on its way in this run: nothing of it is in doubt."""
        self._unclean = False

    # --- other rules ---------------------------------------------------------------------------------

    def destination_of(self, entry: Entry) -> Destination:
        """Return where a delivery goes; one that is configured no more is drained by usual rules."""
        found = self.destinations.get(entry.destination)
        if found is None:
            found = drained(self._parts, entry.channel, entry.destination)
            self._add_destination(found)
        return found

    def take_destinations(self, wanted: Iterable[Destination]) -> None:
        """Send by other rules from now on; those that are not named any more are drained."""
        for destination in wanted:
            before = self.destinations.get(destination.number)
            if before is not None:
                destination.take_counts(before)
            self._add_destination(destination)

    def _add_destination(self, destination: Destination) -> None:
        self.destinations = {**self.destinations, destination.number: destination}
        if destination.number not in self._metrics:
            self._metrics[destination.number] = DestinationMetrics(
                self._parts, destination.channel, destination.name
            )

    async def rebuild(self, schedule: Schedule, destinations: Iterable[Destination]) -> None:
        """Begin anew from the store, with another order or another way out.

        Nothing may feed it meanwhile. Attempts under way are let end; lanes are to be added after.
        """
        parts, was_paused = self._parts, self.paused
        self.paused = True
        while (self._carrying or self._refilling) and not parts.stopping:
            await parts.clock.sleep(REBUILD_STEP_SECONDS)
        await parts.group.durable()
        await self.close()
        self._unclean = self.has_suspects()  # what may have been sent stays so
        self._lanes, self._idle, self._carrying = [], [], {}
        self.schedule, self._retries, self._bytes = schedule, [], 0
        self._ahead, self._settled_since = set(), 0
        self._suspects, self._suspect_through = set(), 0
        self._unreachable_tries, self._not_before, self.up, self.stopped = 0, 0.0, None, False
        self._uncounted = Uncounted(self.number, 0, 1, {})  # a count under way is of no use now
        self.destinations = {d.number: d for d in destinations}
        for destination in self.destinations.values():
            self._add_destination(destination)
        await self.recover()
        self.paused = was_paused

    # --- stop ------------------------------------------------------------------------------------------

    @property
    def under_way(self) -> int:
        """Return how many attempts have not ended."""
        return len(self._carrying)

    async def close(self) -> None:
        """Close the lanes; attempts under way end in doubt and are written down so."""
        for lane in self._lanes:
            await lane.close()

    def answer_ignored(self, kind: str) -> None:
        """Count an answer that was credited to nothing."""
        self._parts.metrics.answers_ignored_total.labels(self.name, kind).inc()

    def oldest_us(self, destination: Destination) -> int:
        """Return the receipt time of the oldest delivery that waits, 0 when there is none."""
        number = destination.number
        return min(
            (
                entry.received_us
                for entry in self.schedule.entries()
                if entry.destination == number and entry.state is not EntryState.DEAD
            ),
            default=0,
        )

    def is_blocked(self) -> bool:
        """Return whether an ordered queue is held by its head."""
        if self.stopped:
            return True
        return any(
            entry.state
            in (EntryState.RETRYING, EntryState.IN_DOUBT, EntryState.DEAD, EntryState.HELD)
            and bool(entry.dependents)
            for entry in self.schedule.entries()
        )
