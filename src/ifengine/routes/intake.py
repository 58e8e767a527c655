"""From frame to committed message to acknowledgment: the engine is responsible once COMMIT returned.

Nothing is answered before the batch that holds the frame is on stable storage, refusals included:
a refused or unreadable frame is a record too.
"""

from collections.abc import Sequence
from functools import partial

from ifengine.failpoints import fp
from ifengine.hl7.ack import APPLICATION_CODES, Verdict, due_answers, waits_for_outcome
from ifengine.hl7.header import Header, HeaderFault, read_header
from ifengine.mllp.framing import FramingFault, encode_frame
from ifengine.mllp.listener import Inbound
from ifengine.routes.answer_lines import AnswerLines
from ifengine.routes.batches import (
    BatchReply,
    CameInBatch,
    gate_in_batch,
    take_batch,
    takes_batches,
)
from ifengine.routes.channel_intake import ChannelIntake
from ifengine.routes.config.models import ChannelConfig, ListenConnection
from ifengine.routes.gates import TAG_ONLY, Gate, Gates, compared_bytes
from ifengine.routes.giants import GiantIntake, Prepared
from ifengine.routes.intake_load import IntakeLoad
from ifengine.routes.intake_pending import (
    Asked,
    Decision,
    Judged,
    Pending,
    answered_as,
    in_fair_order,
)
from ifengine.routes.parts import Parts
from ifengine.routes.received import Received
from ifengine.store.base import Batch, GuardVerdict, InboxKind, NewAudit, NewInboxEntry
from ifengine.store.sealing import BlobKind

# looked up once: to ask an enumeration for a member costs more than a call (Python 3.11)
_REJECTED, _UNROUTED, _MESSAGE, _ACKNOWLEDGMENT = (
    InboxKind.REJECTED,
    InboxKind.UNROUTED,
    InboxKind.MESSAGE,
    InboxKind.ACKNOWLEDGMENT,
)
_NEW, _DUPLICATE = GuardVerdict.NEW, GuardVerdict.DUPLICATE
_BATCH = HeaderFault.BATCH
_INBOX = BlobKind.INBOX

MOST_KEPT_BYTES = 64 * 1024
"""Of a broken frame: to see what it was. Its sender has the rest, and the disk is not for floods."""
_GUARDED = frozenset({_MESSAGE, _UNROUTED})
DEFAULT_WINDOW_US = 7 * 86_400 * 1_000_000


class Intake(GiantIntake):
    """Receives the frames of one listener. Implements ``mllp.listener.Receiver``."""

    def __init__(
        self,
        parts: Parts,
        connection: ListenConnection,
        number: int,
        channels: Sequence[ChannelIntake],
        load: IntakeLoad,
    ) -> None:
        self.connection = connection
        self._parts = parts
        self._number = number
        self._channels = channels
        self._gates = Gates(connection, [intake.channel.config for intake in channels])
        self._by_name = {intake.channel.name: intake for intake in channels}
        self._load = load
        self._giants = load.giants
        self._pending: list[Pending] = []
        self._pending_batch: Batch | None = None
        self._unrouted_seen: set[bytes] = set()
        self._lines = AnswerLines()
        metrics = parts.metrics
        self._rejected = metrics.rejected_total
        self._unrouted = metrics.unrouted_total.labels(connection.name)
        self._faults = metrics.framing_faults_total
        self._batches = metrics.batches_received_total.labels(connection.name)

    def switch(self, connection: ListenConnection, channels: Sequence[ChannelIntake]) -> None:
        """Decide by another configuration from the next frame on; what came is handed on as it was."""
        self.connection = connection
        self._channels = channels
        self._gates = Gates(connection, [intake.channel.config for intake in channels])
        self._by_name = {intake.channel.name: intake for intake in channels}

    # --- what the listener reports ----------------------------------------------------------

    def connection_opened(self, connection: Inbound) -> None:
        """Nothing to prepare: a connection holds no state of its own here."""

    def connection_closed(self, connection: Inbound) -> None:
        """What was received is stored all the same; its answer has nowhere to go."""
        self._lines.forget(connection)

    def frame_received(
        self, connection: Inbound, content: bytes, prepared: Prepared | None = None
    ) -> None:
        """Decide, seal and queue one frame for the next commit."""
        try:
            header = read_header(content)
            came = None
            if self._is_taken_apart(header):
                came = take_batch(content, self._configs())
                judged = self._judge_batch(connection, came)
            else:
                gate = self._gates.decide(header)
                fp("intake.parsed")
                judged = [self._judge(connection, header, content, gate, prepared)]
        except Exception:  # noqa: BLE001 - kept for people, unanswered, and the connection ends
            self._keep_unread(connection, content)
            return
        reply = None
        if came is not None:
            self._batches.inc()
            reply = BatchReply(came.header, max(1, len(judged)))
            if not judged:
                self._let_answer(connection, reply)
        for one in judged:
            self._take(connection, one, reply)
        self._parts.group.soon()

    def _is_taken_apart(self, header: Header) -> bool:
        return header.fault is _BATCH and takes_batches(header, self._configs())

    def _judge(
        self,
        connection: Inbound,
        header: Header,
        content: bytes,
        gate: Gate,
        prepared: Prepared | None = None,
    ) -> Judged:
        """Decide and seal one message; nothing is queued yet."""
        channel = self._by_name[gate.channel.name] if gate.channel is not None else None
        decision = Decision(gate, channel)
        entry = self._entry(connection, header, content, decision, prepared)
        return Judged(header, content, entry, decision)

    def _judge_batch(self, connection: Inbound, came: CameInBatch) -> list[Judged]:
        """Judge all messages of a frame before the first of them is queued."""
        judged = []
        for message in came.messages:
            header = read_header(message)
            gate = came.gate or gate_in_batch(self._gates.decide(header))
            judged.append(self._judge(connection, header, message, gate))
        return judged

    def _take(self, connection: Inbound, judged: Judged, reply: BatchReply | None) -> None:
        header, content, entry, _ = judged
        decision = self._match(judged)
        channel = decision.channel
        now = self._queue(connection, header, content, entry, decision, reply)
        if channel is not None:
            channel.count_received(header, len(content), entry.received_us, now)

    def _match(self, judged: Judged) -> Decision:
        """Match what answers a delivery, in the transaction that stores it, before any channel.

        A message with content (ORR, RRI) goes to its channel all the same. One that no channel takes
        ends as an acknowledgment, and is answered as what is stored.
        """
        _, content, entry, decision = judged
        answers, gate = self._parts.answers, decision.gate
        if answers is None or not gate.may_answer:
            return decision
        if gate.kind is _MESSAGE and not answers.listens(self.connection.name):
            return decision  # as nearly always: no answer is waited for here
        goes_on = entry.kind is _MESSAGE
        matched = answers.came_in(
            self._open_batch(), self.connection.name, content, entry.inbox_id, goes_on=goes_on
        )
        if gate.kind is _ACKNOWLEDGMENT:
            entry.reason = matched.reason
        elif matched.is_known and not goes_on:
            entry.kind, entry.reason = _ACKNOWLEDGMENT, matched.reason
            return Decision(Gate(entry.kind, Verdict.COMMITTED, None, matched.reason), None)
        return decision

    def _configs(self) -> list[ChannelConfig]:
        return [intake.config for intake in self._channels]

    def _let_answer(self, connection: Inbound, reply: BatchReply) -> None:
        """Answer a batch of no messages in its turn: it is legal, and there is nothing to store."""
        parts = self._parts
        gate = Gate(_ACKNOWLEDGMENT, None)
        nothing = NewInboxEntry(
            0, parts.clock.now_us(), self._number, 0, gate.kind, 0, connection.peer, b""
        )
        self._open_batch()
        self._pending.append(
            Pending(
                connection,
                read_header(b""),
                b"",
                nothing,
                Decision(gate, None),
                parts.clock.monotonic(),
                reply=reply,
            )
        )
        self._load.add(0)

    def _keep_unread(self, connection: Inbound, content: bytes) -> None:
        """Keep a frame that met a fault of ours: a record, and no answer that could be wrong.

        Nothing that came behind it is taken: its sender repeats it, and what follows, in order.
        """
        connection.end()
        decision = Decision(Gate(_REJECTED, None, None, "unforeseen fault"), None)
        header = read_header(b"")
        entry = self._entry(connection, None, content, decision)
        self._queue(connection, header, content, entry, decision)
        self._parts.group.soon()

    def fault_received(self, connection: Inbound, fault: FramingFault, data: bytes) -> None:
        """Keep the beginning of a broken frame as a record; no answer is ever given to it."""
        data = data[:MOST_KEPT_BYTES]
        self._faults.labels(self.connection.name, fault.value).inc()
        gate = Gate(_REJECTED, None, None, fault.value)
        decision = Decision(gate, self._only_channel())
        entry = self._entry(connection, None, data, decision)
        self._queue(connection, None, data, entry, decision)
        self._parts.group.soon()

    def _only_channel(self) -> ChannelIntake | None:
        return self._channels[0] if len(self._channels) == 1 else None

    # --- storing ------------------------------------------------------------------------------

    def _entry(
        self,
        connection: Inbound,
        header: Header | None,
        content: bytes,
        decision: Decision,
        prepared: Prepared | None = None,
    ) -> NewInboxEntry:
        parts = self._parts
        ring = parts.ring
        inbox_id = parts.numbers.next_inbox_id()
        channel = decision.channel
        received_us, steady_us = parts.steady.stamped(inbox_id)
        entry = NewInboxEntry(
            inbox_id=inbox_id,
            received_us=received_us,
            listener=self._number,
            channel=channel.number if channel is not None else 0,
            kind=decision.gate.kind,
            size=len(content),
            peer=connection.peer,
            sealed=(
                ring.seal(_INBOX, inbox_id, 0, content)
                if prepared is None
                else ring.place(_INBOX, inbox_id, 0, prepared.sealed)
            ),
            reason=decision.gate.reason,
            giant=0 if prepared is None else prepared.sealed.giant,
        )
        fp("intake.sealed")
        if header is not None and decision.gate.kind in _GUARDED:
            entry.guard_key = ring.tag(
                "guard",
                self.connection.name.encode(),
                header.sending_application,
                header.sending_facility,
                header.control_id,
            )
            ignores_msh7 = self.connection.guard_ignore_msh7
            if prepared is not None and prepared.ignores_msh7 == ignores_msh7:
                entry.digest = prepared.digest
            elif ignores_msh7:
                entry.digest = ring.digest(compared_bytes(header, content, ignore_msh7=True))
            else:
                entry.digest = ring.digest(content)
            entry.guard_at_us = steady_us
            entry.tag_only = header.message_code in TAG_ONLY
            entry.guard_window_us = channel.window_us if channel is not None else DEFAULT_WINDOW_US
        return entry

    def _queue(
        self,
        connection: Inbound,
        header: Header | None,
        content: bytes,
        entry: NewInboxEntry,
        decision: Decision,
        reply: BatchReply | None = None,
    ) -> float:
        """Add a record to the open batch; returns when that was, on the monotonic clock."""
        parts = self._parts
        batch = self._open_batch()
        senders = None if decision.channel is None else decision.channel.senders
        if senders is not None:
            if header is None or entry.kind is not _MESSAGE or not waits_for_outcome(header):
                senders = None
            else:
                senders.received(batch, entry)
        batch.inbox.append(entry)
        now = parts.clock.monotonic()
        pending = Pending(connection, header, content, entry, decision, now, senders, reply)
        self._pending.append(pending)
        self._load.add(self._load.weight(content))
        return now

    def _open_batch(self) -> Batch:
        """Return the batch that is open, whose commit is heard of."""
        batch = self._parts.group.batch
        if self._pending_batch is not batch:
            self._pending_batch, self._pending = batch, []
            batch.done.append(partial(self._committed, self._pending))
        return batch

    def _committed(self, pending: list[Pending]) -> None:
        """The batch is on stable storage: answer, in order, one write a connection."""
        fp("intake.post_commit_pre_ack")
        now = self._parts.clock.monotonic()
        now_us = self._parts.clock.now_us()
        size = 0
        for item in pending:
            size += self._load.weight(item.content)
        for connection, items in in_fair_order(pending):
            self._answer_all(connection, items, now, now_us)
        for item in pending:
            self._hand_on(item)
        self._load.remove(size, len(pending))

    def _answer_all(
        self, connection: Inbound, items: Sequence[Pending], now: float, now_us: int
    ) -> None:
        """Answer frames of one connection, in their order; one whose sender waits comes alone."""
        if items[0].senders is not None:
            self._let_wait(items[0], now_us)
            return
        frames: list[bytes] = []
        count = 0
        for item in items:
            if item.reply is None:
                count += item.header is not None
                for answer in self._answers(item, now_us):
                    frames.append(encode_frame(answer))
                if item.decision.gate.kind is _ACKNOWLEDGMENT:
                    frames += self._accepts(item)
            elif item.reply.add(self._answers(item, now_us)):
                count += 1
                frames.append(encode_frame(item.reply.content(now_us, item.entry.inbox_id)))
            channel = item.decision.channel
            if channel is not None:
                channel.ack_seconds.observe(now - item.started)
        if self._lines:
            self._lines.write(connection, b"".join(frames), count)
        else:
            connection.answer(b"".join(frames), count)

    def _let_wait(self, item: Pending, now_us: int) -> None:
        """Answer what is due at the commit, and keep the place of the answer that comes later."""
        header, senders, channel = item.header, item.senders, item.decision.channel
        if header is None or senders is None or channel is None:
            return
        accepts = b"".join(
            encode_frame(answer) for answer in self._answers(item, now_us, but=APPLICATION_CODES)
        )
        if accepts:
            self._lines.accept(item.connection, accepts)
        slot = self._lines.reserve(item.connection, holds_accepts=not header.enhanced_mode)
        asked = Asked(self._parts, item, channel, self._lines, slot)
        if item.entry.verdict is _DUPLICATE:
            senders.repeated(item.entry, asked)
        else:
            senders.begin(item.entry, asked)

    def _answers(
        self, item: Pending, now_us: int, *, but: frozenset[str] = frozenset()
    ) -> list[bytes]:
        header, decision = item.header, item.decision
        if header is None or decision.gate.verdict is None:
            return []
        frames = []
        for answer in due_answers(
            header,
            decision.gate.verdict,
            at_us=now_us,
            control_id=b"IFE%d" % answered_as(item.entry),
            error=decision.gate.error,
        ):
            if answer.code in but:
                continue
            frames.append(answer.content)
            if decision.channel is not None:
                decision.channel.count_ack(answer.code)
        return frames

    def _accepts(self, item: Pending) -> list[bytes]:
        """Return the accept acknowledgment that an application acknowledgment asks for."""
        answers, gate = self._parts.answers, item.decision.gate
        if gate.kind is not _ACKNOWLEDGMENT or gate.verdict is not None or answers is None:
            return []  # a response that is no ACK was answered as any message
        due = answers.answer_due(self.connection.name, item.content, item.entry)
        return [] if due is None else [encode_frame(due)]

    def _hand_on(self, item: Pending) -> None:
        entry, channel = item.entry, item.decision.channel
        kind, verdict = entry.kind, entry.verdict
        if kind is _REJECTED:
            self._rejected.labels(self.connection.name, entry.reason).inc()
        elif kind is _UNROUTED:
            self._note_unrouted(item)
        if channel is None:
            return
        if verdict is not _NEW:
            channel.count_verdict(verdict)
            if verdict is _DUPLICATE:
                return
        if kind is _MESSAGE:
            inbox_id, received_us = entry.inbox_id, entry.received_us
            channel.pipeline.feed(
                Received(
                    inbox_id, received_us, item.content, verdict, item.header, 0, entry.listener
                )
            )

    def _note_unrouted(self, item: Pending) -> None:
        self._unrouted.inc()
        header = item.header
        if header is None:
            return
        kind = header.message_code + b"^" + header.trigger_event
        if kind not in self._unrouted_seen and len(self._unrouted_seen) < 256:
            # the first sight of a type that nobody takes is worth an audit line (rule 16)
            self._unrouted_seen.add(kind)
            self._parts.group.batch.audits.append(
                NewAudit(
                    item.entry.received_us,
                    "engine",
                    "unrouted",
                    self.connection.name,
                    item.entry.inbox_id,
                    "stored",
                    b"",
                )
            )
