"""One channel with its sender and its receivers, in memory and on a virtual clock. Pure.

Gates, retransmission guard, channel, parking, order and retries are the engine's own; this only
hands messages from one to the next, in the order in which the engine would.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from ifengine.errors import EngineError
from ifengine.hl7.batch import split_batch
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.header import read_header
from ifengine.hl7.message import Message
from ifengine.routes.batches import refused_batch
from ifengine.routes.channel import (
    UNMATCHED,
    Channel,
    Decision,
    MessageContext,
    PlannedDelivery,
    PlanTrace,
    Waiting,
)
from ifengine.routes.channel_tests.collected import WorldCollection
from ifengine.routes.channel_tests.recall import Recall, order_keys_of_merges, tag
from ifengine.routes.channel_tests.receivers import Delivery, Receivers
from ifengine.routes.channel_tests.sender import Answered, CameIn, Sender
from ifengine.routes.collecting import Collected, remembered_by
from ifengine.routes.config.cases import Answer, Case
from ifengine.routes.config.models import ChannelConfig, SiteConfig
from ifengine.routes.gates import HISTORICAL_MODES, Gate, Gates
from ifengine.routes.lanes import EntryState
from ifengine.routes.parking import ParkedMessage, Parking
from ifengine.store.base import Fate, GuardVerdict, InboxKind
from ifengine.transforms.base import CallNeededError, Reason
from ifengine.transforms.memory import Call, Change, Key, Reply, Space

START_US = 1_767_614_400_000_000  # 2026-01-05 12:00:00 UTC: the same in every test
MOST_CALLS = 1000  # of other processes in one run: more is a loop


@dataclass(slots=True)
class Seen:
    """What one turn of a test brought: answers to the sender, and where messages are now."""

    came_in: bool
    answers: list[tuple[Answered, ...]] = field(default_factory=list, repr=False)  # a message each
    deliveries: list[Delivery] = field(default_factory=list, repr=False)


def no_workers(call: Call) -> Reply:
    """Answer for other processes where there are none."""
    return Reply(None, "there are no workers here")


class World:
    """Everything around one channel for the time of one test."""

    def __init__(
        self,
        site: SiteConfig,
        channel: Channel,
        *,
        call: Callable[[Call], Reply] = no_workers,
        traced: bool = False,
    ) -> None:
        """Begin with nothing known, at ``START_US``.

        Args:
            site: for the listener, the other channels on it, and identity.
            channel: compiled, perhaps with changes.
            call: does the work of ``python:`` steps.
            traced: record what each step does, in ``traces``.
        """
        config = channel.config
        self.traces: dict[int, PlanTrace] = {}  # by message, of its last run
        self.recall = Recall()
        self.now_us = START_US
        self._channel = channel
        self._config: ChannelConfig = config
        self._identity = site.identity
        self._facts = frozenset(site.facts)
        self._call = call
        self._traced = traced
        self._listener = site.listeners.get(config.sources[0]) if config.sources else None
        listening = [config] if self._listener is None else _listening(site, config)
        self._gates = Gates(self._listener, listening)
        self.charset = CharsetPolicy()
        if self._listener is not None:
            self.charset = CharsetPolicy(
                self._listener.charset_forced, self._listener.charset_default
            )
        self._queues: dict[str, Receivers] = {}
        self._queue_of: dict[str, Receivers] = {}
        for destination in channel.destinations:
            name = destination.connection or f"{config.name}.{destination.name}"
            if name not in self._queues:
                ordered = config.order_by is not None
                self._queues[name] = Receivers(destination, ordered=ordered)
            self._queues[name].add_destination(destination)
            self._queue_of[destination.name] = self._queues[name]
        self._sender = Sender(config, self._listener)
        self._messages: dict[int, CameIn] = {}
        self._parking = Parking()
        self._due: dict[int, int] = {}  # parked messages: until when
        self._again: deque[int] = deque()
        self._deliveries: dict[tuple[int, str, int], Delivery] = {}
        self._touched: dict[tuple[int, str, int], None] = {}
        self._answers: Mapping[str, Answer] = {}
        self._seen = Seen(came_in=False)

    def start(self, case: Case) -> None:
        """Begin with what the test names.

        Raises:
            StartError: it cannot be made.
        """
        self.recall.start(case, self._config.name, self._facts, self._identity, self.now_us)

    @property
    def reached(self) -> frozenset[str]:
        """The destinations that got a message."""
        every = self._deliveries.values()
        return frozenset(d.destination for d in every if d.state == "sent" or d.application)

    def play(self, after_us: int, content: bytes | None, answers: Mapping[str, Answer]) -> Seen:
        """Let time pass, then a message or a batch come in.

        Args:
            after_us: how long, microseconds.
            content: what comes in; None: nothing.
            answers: of the receivers in this turn, by destination.
        """
        self._answers = answers
        self._touched = {}
        for queue in self._queues.values():
            queue.begin_step()
        self._seen = seen = Seen(came_in=content is not None)
        self._pass_time(self.now_us + after_us)
        if content is not None:
            for one, reason in self._split(content):
                self._receive(one, reason)
        for queue in self._queues.values():
            queue.answer_later(answers, all_that_wait=content is None, ended=self._attempt_ended)
        seen.deliveries = [self._deliveries[place] for place in sorted(self._touched)]
        return seen

    # --- time ---------------------------------------------------------------------------------

    def _pass_time(self, until_us: int) -> None:
        """Go to a time, with a stop wherever something is due."""
        while True:
            due = [*self._due.values(), *(q.next_us() for q in self._queues.values())]
            next_us = min((at for at in due if at), default=until_us + 1)
            if next_us > until_us:
                break
            self.now_us = max(self.now_us, next_us)
            self._due = {number: at for number, at in self._due.items() if at > self.now_us}
            self._start_over(self._parking.time_is_over(self.now_us / 1e6))
            self._catch_up()
        self.now_us = until_us

    def _catch_up(self) -> None:
        """Do all that can be done at this moment: deliver, and run again what starts over."""
        while True:
            for queue in self._queues.values():
                queue.run(self.now_us, self._answers, self._attempt_ended)
            if not self._again:
                return
            message = self._messages[self._again.popleft()]
            if message.number not in self._parking:
                continue  # its collection ended meanwhile
            message.run += 1
            self._plan(message)

    # --- coming in ----------------------------------------------------------------------------

    def _split(self, content: bytes) -> list[tuple[bytes, str]]:
        """Return the messages of what comes in, each with the reason why it cannot be taken."""
        config = self._config
        found = split_batch(content)
        if not found.is_batch and config.files_source is None:
            return [(content, "")]  # a listener splits what has an envelope
        if not config.unbatch:
            if config.files_source is not None and (found.is_batch or len(found.messages) > 1):
                return [(content, "several messages in one file: `unbatch` splits them")]
            return [(content, "")]
        if found.faults and config.check_counts:
            return [(content, found.faults[0].value)]
        return [(message, "") for message in found.messages]

    def _receive(self, content: bytes, fault: str) -> None:
        header = read_header(content)
        gate = self._gates.decide(header)
        if fault:
            gate = refused_batch(fault, [self._config])
        message = CameIn(len(self._messages) + 1, self.now_us, content, header)
        self._messages[message.number] = message
        if self._sender.is_a_folder and (fault or gate.kind is InboxKind.REJECTED):
            # nobody waits for an answer: what a listener refuses is a dead letter here
            self._all(message, "dead_letter", fault or gate.reason)
        elif gate.kind is not InboxKind.MESSAGE:
            self._not_taken(message, gate)
        elif gate.channel is not None and gate.channel.name != self._config.name:
            self._all(message, "filtered", f"{gate.channel.name} takes this type")
        else:
            self._seen.answers.append(self._take(message, gate))
            return
        self._seen.answers.append(self._sender.answer(message, gate, self.now_us))

    def _take(self, message: CameIn, gate: Gate) -> tuple[Answered, ...]:
        """Take up a message of this channel; return what the sender gets."""
        sender = self._sender
        entry = sender.judge(message)
        if entry.verdict is GuardVerdict.DUPLICATE:
            self._all(message, "dropped", "duplicate")
            return sender.again(message, gate, self.now_us, entry.origin)
        message.reused = entry.verdict is GuardVerdict.REUSED
        message.sender_waits = sender.waits
        decision = self._plan(message)
        self._catch_up()
        ack = self._config.ack
        if ack is None or not sender.waits:
            return sender.answer(message, gate, self.now_us)
        delivery = self._deliveries.get((message.number, ack.source, 0))
        answers = sender.passed_through(message, ack, decision, delivery)
        if not any(answer.is_positive for answer in answers):
            # what was not taken may come again and counts as new
            sender.release(message.number)
            self.recall.release(Space.DEDUPE, message.number)
        return answers

    def _not_taken(self, message: CameIn, gate: Gate) -> None:
        match gate.kind:
            case InboxKind.UNROUTED:
                self._all(message, "unrouted", gate.reason)
            case InboxKind.REJECTED:
                self._all(message, "rejected", gate.reason)
            case _:
                pass  # an acknowledgment is kept, never answered and never routed

    # --- planning -----------------------------------------------------------------------------

    def _plan(self, message: CameIn) -> Decision:
        parsed, keys, held = None, None, ""
        try:
            parsed = Message.parse(message.content, charset=self.charset)
            keys = self._channel.order_keys(parsed, self.recall.alike)
            mode = parsed.header.processing_mode
            modes = self._config.accept_mode
            if self._listener is not None:
                modes |= self._listener.accept_mode
            accepted = frozenset(mode.encode() for mode in modes)
            if mode in HISTORICAL_MODES and mode not in accepted:
                held = "processing mode (MSH-11.2) A, R or I"
            decision = self._decide(parsed, message)
            self.recall.keep(decision.documents)
        except EngineError as error:
            decision = self._all_dead(str(error))
        except Exception as error:  # noqa: BLE001 - as in the engine: a fault of ours costs one message
            decision = self._all_dead(f"unforeseen {type(error).__name__} in the steps")
        self._apply(message, decision, keys, held)
        return decision

    def _decide(self, parsed: Message, message: CameIn) -> Decision:
        if message.reused and self._config.dedupe_on_reuse == "dead_letter":
            return self._all_dead("control id (MSH-10) reused with other content")
        parked = self._parking.get(message.number) if message.run else None
        replies: dict[int, Reply] = {}
        for _ in range(MOST_CALLS):
            context = MessageContext(
                str(message.number),
                message.received_us,
                self.recall.scratch(message.number, message.received_us),
                replies,
                sender_waits=message.sender_waits and not message.run,
                waited_out=parked is not None and parked.waited_out,
                waits_behind=partial(self._waits_behind, message.number),
                alike=self.recall.alike,
                onward=self.recall.onward,
                collection=WorldCollection(message.number, self._parking, self._received),
            )
            trace = PlanTrace() if self._traced else None
            if trace is not None:
                self.traces[message.number] = trace
            try:
                return self._channel.process(parsed, context, trace=trace)
            except CallNeededError as needed:
                replies[needed.call.number] = self._call(needed.call)
                parsed = Message.parse(message.content, charset=self.charset)
        return self._all_dead("the steps never stop asking other processes")

    def _received(self, number: int) -> Message:
        return Message.parse(self._messages[number].content, charset=self.charset)

    def _all_dead(self, reason: str) -> Decision:
        return Decision(
            tuple(
                PlannedDelivery(d.name, Fate.DEAD_LETTER, reason=Reason(reason, ""), step="channel")
                for d in self._channel.destinations
            )
        )

    def _apply(
        self, message: CameIn, decision: Decision, keys: tuple[str, ...] | None, held: str
    ) -> None:
        stays = decision.waiting is not None and message.run > 0
        for planned in () if stays else decision.plan:
            own = keys if planned.keys is None else planned.keys
            self._deliver(message, planned, own, held)
        self._note_unmatched(message, decision)
        if decision.collected is not None:
            self._end_members(message.number, decision.collected)
        if decision.waiting is not None:
            self._park(message.number, decision.waiting, keys or ())
        elif message.run:
            self._unpark(message.number)
        self._remember(decision.changes)

    def _deliver(
        self,
        message: CameIn,
        planned: PlannedDelivery,
        keys: tuple[str, ...] | None,
        held: str,
    ) -> None:
        reason = planned.reason
        delivery = Delivery(
            message.number,
            planned.destination,
            planned.part,
            message.received_us,
            message.content if planned.content is None else planned.content,
            planned.file_name,
            state=planned.fate.name.lower(),
            reason="" if reason is None else reason.full or reason.safe,
            step=planned.step,
        )
        if planned.fate is Fate.QUEUED and held:
            delivery.state, delivery.reason = "held", held
        place = (delivery.message, delivery.destination, delivery.part)
        self._deliveries[place] = delivery
        self._touched[place] = None
        queue = self._queue_of.get(planned.destination)
        state = {
            "queued": EntryState.WAITING, "held": EntryState.HELD, "dead_letter": EntryState.DEAD
        }.get(delivery.state)  # fmt: skip
        if queue is None or state is None:
            return
        ack = self._config.ack
        answers = ack is not None and ack.source == planned.destination
        delivery.sender_waits = answers and message.sender_waits and not message.run
        if state is EntryState.WAITING:
            delivery.reason = "behind an earlier message of its key"
        queue.put(delivery, keys, state)

    def _end_members(self, number: int, collected: Collected) -> None:
        """End the earlier messages of a collection in the one that carries it."""
        for member in collected.members:
            self._parking.leave(member)
            self._due.pop(member, None)
            self._all(self._messages[member], "dropped", f"combined into message {number}")
        kept = remembered_by(self._config.name, number, collected, self.now_us)
        self.recall.write(kept)

    def _note_unmatched(self, message: CameIn, decision: Decision) -> None:
        """Say what became of a message that no destination accepted."""
        if any(p.destination == UNMATCHED for p in decision.plan):
            return
        if decision.plan and all(p.fate is Fate.FILTERED for p in decision.plan):
            reason = decision.plan[0].reason or Reason("", "")
            self._one(message, UNMATCHED, "filtered", reason.full or reason.safe)

    def _all(self, message: CameIn, state: str, reason: str) -> None:
        for destination in self._channel.destinations:
            self._one(message, destination.name, state, reason)

    def _one(self, message: CameIn, destination: str, state: str, reason: str) -> None:
        place = (message.number, destination, 0)
        self._deliveries[place] = Delivery(
            message.number, destination, 0, message.received_us, message.content,
            state=state, reason=reason,
        )  # fmt: skip
        self._touched[place] = None

    def _attempt_ended(self, delivery: Delivery) -> None:
        self._touched[delivery.message, delivery.destination, delivery.part] = None
        if delivery.state == "sent":
            self._remember(self.recall.delivered(delivery.message, self.now_us))

    # --- parking ------------------------------------------------------------------------------

    def _waits_behind(self, number: int, key: Key) -> bool:
        return self._parking.waits_before(tag(key), number)

    def _park(self, number: int, waiting: Waiting, patients: tuple[str, ...]) -> None:
        keys = frozenset(tag(key) for key in waiting.keys)
        before = self._parking.get(number)
        since_us = self.now_us if before is None else before.since_us
        due = max(waiting.until_us, self.now_us)
        by_patient = self._config.order_by == "patient"
        self._parking.park(
            ParkedMessage(
                number,
                keys,
                due / 1e6,
                since_us,
                waiting.until_us,
                patients=_hashed(patients) if by_patient else frozenset(),
            )
        )
        self._due[number] = due

    def _unpark(self, number: int) -> None:
        parked = self._parking.get(number)
        if parked is None:
            return
        self._parking.leave(number)
        self._due.pop(number, None)
        # those that came later and stayed behind it
        self._start_over(self._parking.waiting_for(parked.keys))

    def _remember(self, changes: tuple[Change, ...]) -> None:
        self.recall.write(changes)
        keys = [
            tag(change.key)
            for change in changes
            if change.space is Space.FACT and change.remembered is not None
        ]
        self._start_over(self._parking.waiting_for(keys))
        concerned = order_keys_of_merges(changes)
        if concerned:
            self._start_over(self._parking.of_patients(_hashed(concerned)))

    def _start_over(self, numbers: list[int]) -> None:
        for number in numbers:
            parked = self._parking.get(number)
            if parked is not None:
                parked.leaving = True
                self._again.append(number)


def _hashed(patients: Iterable[str]) -> frozenset[bytes]:
    return frozenset(patient.encode("utf-8", "surrogatepass") for patient in patients)


def _listening(site: SiteConfig, config: ChannelConfig) -> list[ChannelConfig]:
    """Return the channels that share the first connection, this one as it is tested."""
    source = config.sources[0]
    found = [c for c in site.channels if c.enabled and source in c.sources]
    if all(c.name != config.name for c in found):
        found.append(config)
    return [config if c.name == config.name else c for c in found]
