"""From committed message to committed plan: one channel, in the order of its messages."""

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from ifengine.errors import EngineError, SealError
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.header import Header
from ifengine.hl7.message import Message
from ifengine.routes.channel import Channel, MessageContext, Plan, PlannedDelivery
from ifengine.routes.delivery import Outbox
from ifengine.routes.lanes import Entry, EntryState
from ifengine.routes.parts import Parts
from ifengine.routes.planning import Fed, Planned, PlanWriter
from ifengine.store.base import (
    Batch,
    CursorKind,
    Fate,
    GuardVerdict,
    InboxRow,
    Reader,
)
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.transforms.base import Reason

MEMORY_WINDOW = 2000  # messages with content that wait for their steps
MEMORY_BYTES = 16 * 1024 * 1024
PAGE = 250
SLICE = 32  # messages planned before the loop may turn to the sockets again
MOST_UNCOMMITTED = 1024  # plans whose commit has not returned

HISTORICAL_MODES = frozenset({b"A", b"R", b"I"})  # MSH-11.2: archive, restore, initial load


class Received(NamedTuple):
    """One committed message on its way to the steps. ``content`` None: it cannot be opened."""

    inbox_id: int
    received_us: int
    content: bytes | None
    verdict: GuardVerdict
    header: Header | None = None  # read at intake already; None: read from the store

    def __repr__(self) -> str:
        return f"<Received {self.inbox_id}>"


@dataclass(slots=True)
class _Uncommitted:
    """What one batch holds of this channel."""

    batch: Batch
    fed: list[Fed] = field(default_factory=list)
    plans: int = 0
    last: int = 0


class Pipeline:
    """Runs one channel over its messages, in order, and commits what it decides."""

    def __init__(
        self, parts: Parts, channel: Channel, writer: PlanWriter, charset: CharsetPolicy
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
        self._queue: deque[Received] = deque()
        self._bytes = 0
        self._uncommitted = 0
        self._open: _Uncommitted | None = None
        self._scheduled = False
        self._refilling = False
        self._modes = frozenset(mode.encode() for mode in channel.config.accept_mode)
        self._step_seconds = parts.metrics.step_duration_seconds.labels(channel.name)

    # --- start and feeding ------------------------------------------------------------------

    async def recover(self, head: int) -> None:
        """Take up the work after the channel's cursor; ``head`` is the newest message stored."""
        number = self.number

        def look(reader: Reader) -> tuple[int, int]:
            cursor = reader.cursor(CursorKind.CHANNEL, number)
            count, after = 0, cursor
            while rows := reader.inbox_after(number, after, PAGE, scan_to=head):
                count += len(rows)
                after = rows[-1].inbox_id
            return cursor, count

        self._through, self.unplanned = await self._parts.read(look)
        self._head = head
        if self.unplanned:
            await self._refill()
        else:
            self._through = head

    def feed(self, message: Received) -> None:
        """Take a message whose commit returned."""
        self.unplanned += 1
        newest, self._head = self._head, message.inbox_id
        room = len(self._queue) < MEMORY_WINDOW and self._bytes < MEMORY_BYTES
        if self._through != newest or not room:
            return  # older ones wait in the store: it is read back in its turn
        self._take(message)
        self._soon()

    def _take(self, message: Received) -> None:
        self._queue.append(message)
        self._bytes += len(message.content or b"")
        self._through = message.inbox_id

    async def _refill(self) -> None:
        """Read the next page of the channel's messages from the store."""
        self._refilling = True
        try:
            number, after, head, ring = self.number, self._through, self._head, self._parts.ring

            def look(reader: Reader) -> list[Received]:
                rows = reader.inbox_after(number, after, PAGE, scan_to=head)
                return [_opened(ring, row) for row in rows]

            page = await self._parts.read(look)
            for message in page:
                self._take(message)
            if len(page) < PAGE:
                self._through = head
        finally:
            self._refilling = False
        self._soon()

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
        if parts.stopping or self.paused:
            return
        queue = self._queue
        for _ in range(SLICE):
            if not queue or self._uncommitted >= MOST_UNCOMMITTED:
                break
            message = queue.popleft()
            self._bytes -= len(message.content or b"")
            self._plan(message)
        if queue and self._uncommitted < MOST_UNCOMMITTED:
            self._soon()
        has_room = len(queue) < MEMORY_WINDOW // 4 and self._bytes < MEMORY_BYTES // 2
        if self._through < self._head and has_room and not self._refilling:
            self._refilling = True
            parts.spawn(self._refill())

    def _plan(self, received: Received) -> None:
        started = self._parts.clock.monotonic()
        keys: tuple[bytes, ...] | None = None
        held = ""
        content = received.content
        if content is None:
            # set aside: never sent, never lost from sight
            plan = self._all_dead("stored content is damaged")
        else:
            try:
                message = Message.parse(content, charset=self.charset, header=received.header)
                keys = self.writer.hashed(self.channel.order_keys(message))
                mode = message.header.processing_mode
                if mode in HISTORICAL_MODES and mode not in self._modes:
                    held = "processing mode (MSH-11.2) A, R or I"
                plan = self._decide(message, received)
            except EngineError as error:
                plan = self._all_dead(str(error))
            except Exception as error:  # noqa: BLE001 - a fault of ours costs this message only
                plan = self._all_dead(f"unforeseen {type(error).__name__} in the steps")
        self._write(
            Planned(
                inbox_id=received.inbox_id,
                received_us=received.received_us,
                content=content or b"",
                plan=plan,
                keys=keys,
                held=held,
            )
        )
        self._step_seconds.observe(self._parts.clock.monotonic() - started)

    def _decide(self, message: Message, received: Received) -> Plan:
        if (
            received.verdict is GuardVerdict.REUSED
            and self.channel.config.dedupe_on_reuse == "dead_letter"
        ):
            return self._all_dead("control id (MSH-10) reused with other content")
        context = MessageContext(str(received.inbox_id), received.received_us)
        return self.channel.process(message, context)

    def _all_dead(self, reason: str) -> Plan:
        return tuple(
            PlannedDelivery(d.name, Fate.DEAD_LETTER, reason=Reason(reason, ""), step="channel")
            for d in self.channel.destinations
        )

    # --- writing -----------------------------------------------------------------------------

    def _write(self, planned: Planned) -> None:
        group = self._parts.group
        batch = group.batch
        opened = self._open
        if opened is None or opened.batch is not batch:
            opened = self._open = _Uncommitted(batch)
            batch.done.append(partial(self._committed, opened))
        opened.fed.extend(self.writer.write(batch, planned))
        opened.plans += 1
        opened.last = planned.inbox_id
        batch.cursors[CursorKind.CHANNEL, self.number] = planned.inbox_id
        self._uncommitted += 1
        group.soon()

    def _committed(self, committed: _Uncommitted) -> None:
        """The plans are on stable storage: their deliveries may go."""
        self._uncommitted -= committed.plans
        self.unplanned -= committed.plans
        by_outbox: dict[int, tuple[Outbox, list[tuple[Entry, EntryState]]]] = {}
        for outbox, entry, state in committed.fed:
            by_outbox.setdefault(outbox.number, (outbox, []))[1].append((entry, state))
        for outbox, entries in by_outbox.values():
            outbox.feed(entries)
        self._soon()


def _opened(ring: KeyRing, row: InboxRow) -> Received:
    try:
        content = ring.open(BlobKind.INBOX, row.inbox_id, 0, row.sealed)
    except SealError:
        content = None
    return Received(row.inbox_id, row.received_us, content, row.verdict)
