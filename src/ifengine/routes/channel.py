"""A compiled channel: one message in, a plan out. Pure: the same message and version, the same plan."""

from collections.abc import Callable, Iterable, Sequence

from ifengine.errors import EngineError
from ifengine.hl7.identifiers import patient_identifiers
from ifengine.hl7.message import Message
from ifengine.routes.acks_asked import asking_for
from ifengine.routes.choosing import chooses, not_for, passed_over, rule, visit_of
from ifengine.routes.collecting import COMBINE, Gathered, collect
from ifengine.routes.config.models import (
    ChannelConfig,
    DestinationConfig,
    SiteConfig,
)
from ifengine.routes.decisions import (
    NO_REPEAT,
    SPLIT,
    UNMATCHED,
    Decision,
    MessageContext,
    Plan,
    PlannedDelivery,
    PlanTrace,
    Refusal,
    Waiting,
    everywhere,
    failed,
    joined,
    of_part,
    of_whole,
    own_ids,
    set_aside,
    union_of,
    waiting_of,
)
from ifengine.routes.dedupe import DUPLICATE, Repeat, look
from ifengine.routes.splitting import SplitError, mint, split
from ifengine.store.base import Fate
from ifengine.transforms.base import (
    Aside,
    CallNeededError,
    DroppedError,
    HeldError,
    ParkedError,
    Reason,
    RejectedError,
    StepFailedError,
    StepScope,
)
from ifengine.transforms.identity import (
    Identifier,
    freezes,
    merges,
    observe,
    order_key,
    resolves,
)
from ifengine.transforms.memory import Blank, Document, Scratch, Space
from ifengine.transforms.trace import Trace

# every look at a member of an enumeration costs more than a call, and each message asks for these
_QUEUED, _FILTERED, _REJECTED, _VISIT = Fate.QUEUED, Fate.FILTERED, Fate.REJECTED, Space.VISIT

__all__ = [
    "NO_REPEAT",
    "UNMATCHED",
    "Channel",
    "Decision",
    "MessageContext",
    "Plan",
    "PlanTrace",
    "PlannedDelivery",
    "Refusal",
    "Waiting",
]


class Channel:
    """The rules of one channel file, ready to run."""

    def __init__(self, config: ChannelConfig, site: SiteConfig) -> None:
        self.config = config
        self.name = config.name
        self.destinations = tuple(d for d in config.destinations if d.enabled)
        self._chooses = chooses(config, self.destinations)
        self._tables = site.tables
        # MSH-11.2 that is taken because of where it came in, by listener
        self.modes_from = {name: c.accept_mode for name, c in site.listeners.items()}
        self._identity = site.identity
        self._reads_patient = config.order_by == "patient" or _reads_pid(config)
        self.merges = merges(config.steps)
        self.resolves = any(
            resolves(steps) for steps in (config.steps, *(d.steps for d in self.destinations))
        )
        # a site that merges nobody has nothing to notice
        self._notices = any(merges(c.steps) for c in site.channels)

    def admits(self, code: str, event: str) -> bool:
        """Return whether `types` names this message type; absent means every type."""
        types = self.config.types
        return not types or any(pattern.admits(code, event) for pattern in types)

    def order_keys(
        self,
        message: Message,
        alike: Callable[[Identifier], Iterable[Identifier]] | None = None,
    ) -> tuple[str, ...] | None:
        """Return what this message shares with others that it must not overtake.

        Args:
            message: as received.
            alike: tells the other identifiers of a patient, by merges. Each is a key: what was
                queued under any of them before the merge goes first.

        Returns:
            None without ``order_by``; ``()`` for a message without a key, which waits for all and
            holds all; else every key, sorted. For ``patient`` the identifiers of the site's
            identity in all PID and MRG segments (safety-rules.md 12).
        """
        order_by = self.config.order_by
        if order_by is None:
            return None
        if order_by == "patient":
            identity = self._identity
            if identity is None:
                return ()
            found: set[str] = set()
            for cx in patient_identifiers(message):
                identifier = identity.identifier(cx)
                if identifier is not None:
                    found.add(order_key(identifier))
                    if alike is not None:
                        found.update(order_key(one) for one in alike(identifier))
            return tuple(sorted(found))
        values = [path.read(message) or "" for path in order_by if not isinstance(path, str)]
        if not any(values):
            return ()
        return ("\x1f".join(values),)

    def process(
        self,
        message: Message,
        context: MessageContext,
        *,
        trace: PlanTrace | None = None,
        only: str | None = None,
        part: int = 0,
    ) -> Decision:
        """Decide what becomes of a message at each enabled destination, in the order written.

        Args:
            message: a view of the received bytes; it is changed by the channel's steps.
            context: id, time and memory, fixed for the run.
            trace: filled with what each step did.
            only: decide for this destination alone (a replay).
            part: decide about this part alone, counted from 1 (a replay); 0: about all of it.

        Raises:
            CallNeededError: another process must work first; run again with its reply.
        """
        wanted: Sequence[DestinationConfig] = self.destinations
        if only is not None and only != UNMATCHED:
            wanted = [d for d in wanted if d.name == only]
        memory = context.memory or Scratch(0, context.now_us, Blank())
        config = self.config.split
        if config is None and not part:
            scope = self._scope(message, context, memory, trace.channel if trace else None)
            return self._run(scope, context, memory, wanted, trace)
        if config is None:
            gone = Reason("the channel does not split messages any more", "")
            return Decision(everywhere(wanted, Fate.DEAD_LETTER, gone, SPLIT))
        try:
            parts = split(message, config, context.message_id)
        except SplitError as error:
            return Decision(everywhere(wanted, Fate.DEAD_LETTER, Reason(str(error), ""), SPLIT))
        if part and len(parts) < max(part, 2):
            gone = Reason("the message has no such part any more", "")
            return Decision(everywhere(wanted, Fate.DEAD_LETTER, gone, SPLIT))
        if len(parts) == 1:
            scope = self._scope(message, context, memory, trace.channel if trace else None)
            return self._run(scope, context, memory, wanted, trace)
        return self._run_parts(parts, context, memory, wanted, trace, part)

    def part_of(self, message: Message, message_id: str, number: int) -> Message:
        """Return one part of a message as it was received; the message where it has no such part."""
        config = self.config.split
        parts = [] if config is None else split(message, config, message_id)
        return parts[number - 1] if 0 < number <= len(parts) else message

    def _run_parts(
        self,
        parts: list[Message],
        context: MessageContext,
        memory: Scratch,
        wanted: Sequence[DestinationConfig],
        trace: PlanTrace | None,
        only: int,
    ) -> Decision:
        """Decide about each part as about a message of its own; all of it is one decision.

        Where one part waits for something, the whole message does: its parts stay together.
        """
        decisions: list[Decision] = []
        calls = 0
        for number, message in enumerate(parts, 1):
            if only not in (0, number):
                continue
            keys = self.order_keys(message, context.alike)
            own = None if trace is None else trace.parts.setdefault(number, PlanTrace())
            branch = memory.branch()
            scope = self._scope(message, context, branch, own.channel if own else None)
            scope.part, scope.calls = f"-{number}", calls
            decided = self._run(scope, context, branch, wanted, own)
            if decided.refusal is not None:
                return decided
            calls = scope.calls
            memory.take(decided.changes)
            plan = tuple(of_part(p, number, keys, message) for p in decided.plan)
            decisions.append(decided._replace(plan=plan))
        waiting = waiting_of(decisions)
        if waiting is not None:
            plan = everywhere(wanted, Fate.PARKED, waiting.reason, waiting.step)
            return self._leaving_little(Decision(plan, waiting=waiting), memory)
        return joined(decisions, memory.changes())

    def _run(
        self,
        scope: StepScope,
        context: MessageContext,
        memory: Scratch,
        wanted: Sequence[DestinationConfig],
        trace: PlanTrace | None,
    ) -> Decision:
        """Decide about one message, or one part of it."""
        message = scope.message
        notices = self._notices and (self.merges or not context.nobody_retired)
        if notices and self._identity and message.header.message_code == b"ADT":
            observe(memory, message, self._identity, memory.message, learns=self.merges)
        repeat = NO_REPEAT
        gathered: Gathered | None = None
        keys: tuple[str, ...] | None = None
        members: list[tuple[str, ...] | None] = []
        try:
            ended = self._before_steps(message, scope, wanted)
            if ended is None and self.config.dedupe is not None:
                repeat = look(self.config.dedupe, message, scope)
                ended = self._repeated(repeat, wanted, context, memory)
            combine = self.config.combine
            if ended is None and combine is not None:
                keys = self.order_keys(message, context.alike)
                gathered = collect(
                    combine, scope, context.collection, self._identity, context.onward
                )
                scope.message = gathered.message  # what was put together is what the steps get
                members = [self.order_keys(one, context.alike) for one in gathered.members]
                if gathered.late is not None:
                    ended = Decision(everywhere(wanted, Fate.DEAD_LETTER, gathered.late, COMBINE))
            if ended is None and not self.config.steps.is_empty:
                self.config.steps.run(scope)
        except CallNeededError:
            raise
        except EngineError as error:
            ended = self._ended(error, wanted, context)
        if ended is None:
            ended = self._to_destinations(scope.message, context, scope, memory, wanted, trace)
        else:
            ended = self._leaving_little(ended, memory)
        if gathered is not None and gathered.members:
            shared = None if memory.is_replay else union_of((keys, *members))
            plan = tuple(of_whole(p, scope.message, shared) for p in ended.plan)
            ended = ended._replace(plan=plan)
        if gathered is not None:
            ended = ended._replace(collected=gathered.collected)
        return ended if repeat is NO_REPEAT else ended._replace(repeat=repeat)

    @staticmethod
    def _leaving_little(ended: Decision, memory: Scratch) -> Decision:
        """A message that ends early leaves no state, but what contradicts itself stays frozen."""
        if ended.refusal is not None:
            return ended
        kept = freezes(memory.changes())
        if ended.waiting is not None:
            # it is under way: a repeat of it is one, and it is none of its own
            kept += tuple(c for c in memory.changes() if c.space is Space.DEDUPE)
        return ended._replace(changes=kept) if kept else ended

    def _to_destinations(
        self,
        message: Message,
        context: MessageContext,
        scope: StepScope,
        memory: Scratch,
        wanted: Sequence[DestinationConfig],
        trace: PlanTrace | None,
    ) -> Decision:
        """Decide for each destination what it gets, on its own copy and with its own memory."""
        plan: list[PlannedDelivery] = []
        documents = scope.documents
        passed = passed_over(self.config, self.destinations, scope) if self._chooses else {}
        for destination in wanted:
            if destination.name in passed:
                name = destination.name
                plan.append(PlannedDelivery(name, Fate.FILTERED, reason=passed[name]))
                continue
            left = memory.mark()
            own: list[Document] = []
            aside: list[Aside] = []
            delivery = self._deliver(destination, message, context, scope, (own, aside), trace)
            if context.sender_waits and delivery.fate is _REJECTED:
                reason = delivery.reason or Reason("", "")
                return self._refused(wanted, Refusal("AE", reason), delivery.step)
            plan.append(delivery)
            if delivery.fate is not _QUEUED:
                memory.undo(left)  # what a destination leaves counts with its delivery
                continue
            documents += own
            held = (*scope.aside, *aside)
            if held:
                if destination.mints:
                    held = own_ids(
                        held, scope.message_id, f"{self.name}.{destination.name}", scope.part
                    )
                plan += set_aside(delivery, held)
        config = self.config
        if config.no_match == "dead_letter" and all(p.fate is _FILTERED for p in plan):
            plan.append(self._unmatched(scope))
        return Decision(tuple(plan), memory.changes(), tuple(documents))

    def _before_steps(
        self, message: Message, scope: StepScope, wanted: Iterable[DestinationConfig]
    ) -> Decision | None:
        """Run what stands before the destinations; a Decision where the message ends there."""
        config = self.config
        if self._too_many_patients(message):
            reason = Reason("more than one patient (PID) in one message", "")
            return Decision(everywhere(wanted, Fate.DEAD_LETTER, reason, "channel"))
        if config.accept is not None and not config.accept.holds(scope):
            refused = rule(config, "accept", config.accept_line)
            return Decision(everywhere(wanted, Fate.FILTERED, refused))
        return None

    def _repeated(
        self,
        repeat: Repeat,
        wanted: Iterable[DestinationConfig],
        context: MessageContext,
        memory: Scratch,
    ) -> Decision | None:
        """Return what becomes of a business duplicate; None where the message goes on."""
        config = self.config.dedupe
        if config is None or not repeat.original or config.on_repeat == "send":
            return None
        if memory.is_replay:
            return Decision(everywhere(wanted, Fate.HELD, DUPLICATE, "dedupe"))
        if config.on_repeat == "reject" and context.sender_waits:
            return self._refused(wanted, Refusal("AR", DUPLICATE), "dedupe")
        return Decision(everywhere(wanted, Fate.DROPPED, DUPLICATE, "dedupe"))

    def _ended(
        self, error: EngineError, wanted: Sequence[DestinationConfig], context: MessageContext
    ) -> Decision:
        """Return what a message becomes that ended in the channel's own steps: no state is left."""
        match error:
            case ParkedError():
                plan = everywhere(wanted, Fate.PARKED, error.reason, error.step)
                until_us = context.now_us + error.up_to_us
                return Decision(
                    plan, waiting=Waiting(error.keys, until_us, error.reason, error.step)
                )
            case HeldError():
                return Decision(everywhere(wanted, Fate.HELD, error.reason, error.step))
            case DroppedError():
                return Decision(everywhere(wanted, Fate.DROPPED, error.reason, error.step))
            case RejectedError() if context.sender_waits:
                refusal = Refusal(error.answer, error.reason, error.errors)
                return self._refused(wanted, refusal, error.step)
            case StepFailedError() | RejectedError():
                if context.sender_waits:
                    return self._refused(wanted, Refusal("AE", error.reason), error.step)
                return Decision(everywhere(wanted, Fate.DEAD_LETTER, error.reason, error.step))
            case _:
                reason = Reason(str(error), "")
                if context.sender_waits:
                    return self._refused(wanted, Refusal("AE", reason), "channel")
                return Decision(everywhere(wanted, Fate.DEAD_LETTER, reason, "channel"))

    @staticmethod
    def _refused(wanted: Iterable[DestinationConfig], refusal: Refusal, step: str) -> Decision:
        # the sender keeps the responsibility: nothing of it goes anywhere (safety-rules.md 1)
        return Decision(everywhere(wanted, Fate.REJECTED, refusal.reason, step), refusal=refusal)

    def _scope(
        self,
        message: Message,
        context: MessageContext,
        memory: Scratch,
        trace: Trace | None,
    ) -> StepScope:
        return StepScope(
            message=message,
            tables=self._tables,
            now_us=context.now_us,
            message_id=context.message_id,
            trace=trace,
            memory=memory,
            channel=self.name,
            sender_waits=context.sender_waits,
            waited_out=context.waited_out,
            released=context.released,
            waits_behind=context.waits_behind,
            replies=context.replies,
        )

    def _deliver(
        self,
        destination: DestinationConfig,
        message: Message,
        context: MessageContext,
        scope: StepScope,
        leaves: tuple[list[Document], list[Aside]],
        trace: PlanTrace | None,
    ) -> PlannedDelivery:
        name = destination.name
        try:
            refused = not_for(self.config, destination, scope)
            if refused is not None:
                return PlannedDelivery(name, _FILTERED, reason=refused)
            if destination.follow is not None:
                visit = visit_of(destination.follow, name, scope)
                if visit[2]:
                    until_us = scope.memory.now_us + destination.follow.lasts_us
                    scope.memory.put(_VISIT, visit, "", until_us=until_us)
            copy, steps = message, destination.steps
            if steps.steps:
                copy = message.copy()
                record = None
                if trace is not None:
                    record = trace.destinations[name] = Trace()
                outside = scope.enter(name, copy, record, leaves)
                try:
                    steps.run(scope)
                    return self._queued(destination, copy, message, scope, context)
                finally:
                    scope.leave(outside)
            return self._queued(destination, copy, message, scope, context)
        except CallNeededError:
            raise
        except EngineError as error:
            answers = self.config.ack is not None and self.config.ack.source == name
            return failed(name, error, context.sender_waits and answers)

    def _queued(
        self,
        destination: DestinationConfig,
        copy: Message,
        message: Message,
        scope: StepScope,
        context: MessageContext,
    ) -> PlannedDelivery:
        """Return the delivery of what the steps left; ``message`` is the channel's, left alone."""
        name = destination.name
        if destination.acks:
            copy = asking_for(destination.acks, copy, message)
        if destination.mints:
            copy = message.copy() if copy is message else copy
            mint(copy, scope.message_id, f"{self.name}.{name}", scope.part)
        content = context.encode(copy) if copy.touched else None
        file_name = destination.files.name.render(scope) if destination.files else ""
        return PlannedDelivery(name, _QUEUED, content, file_name)

    def _unmatched(self, scope: StepScope) -> PlannedDelivery:
        values = [
            path.read(scope.message) or ""
            for destination in self.destinations
            if destination.accept is not None
            for path in destination.accept.paths()
        ]
        full = f"no destination accepts {', '.join(dict.fromkeys(values))}"
        reason = Reason("no destination accepts it", full)
        return PlannedDelivery(UNMATCHED, Fate.DEAD_LETTER, reason=reason, step="no_match")

    def _too_many_patients(self, message: Message) -> bool:
        # ADT events that name two patients (A17, A24, A40 ...) order by all of them; any other
        # message with two patients would be read and filed as one (safety-rules.md 10).
        return (
            self._reads_patient
            and len(message.each("PID")) > 1
            and message.header.message_code != b"ADT"
        )


def _reads_pid(config: ChannelConfig) -> bool:
    conditions = [config.accept, *(d.accept for d in config.destinations)]
    steps = [config.steps, *(d.steps for d in config.destinations)]
    paths = [path for c in conditions if c is not None for path in c.paths()]
    paths += [path for s in steps for path in (*s.paths_read(), *s.paths_written())]
    return any(path.segment == "PID" for path in paths)
