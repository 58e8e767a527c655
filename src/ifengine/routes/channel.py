"""A compiled channel: one message in, a plan out. Pure: the same message and version, the same plan."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ifengine.errors import EngineError
from ifengine.hl7.identifiers import patient_identifiers
from ifengine.hl7.message import Message
from ifengine.routes.config.models import ChannelConfig, DestinationConfig, SiteConfig
from ifengine.store.base import Fate
from ifengine.transforms.base import DroppedError, Reason, StepFailedError, StepScope
from ifengine.transforms.trace import Trace

UNMATCHED = (
    "unmatched"  # where a message waits that no destination accepts, `no_match: dead_letter`
)


@dataclass(frozen=True, slots=True)
class MessageContext:
    """What the steps may know of a message beside its content."""

    message_id: str
    now_us: int


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """What becomes of a message at one destination: QUEUED, FILTERED, DROPPED or DEAD_LETTER.

    ``content`` is None where the received bytes go out as they came.
    """

    destination: str
    fate: Fate
    content: bytes | None = field(default=None, repr=False)
    file_name: str = field(default="", repr=False)
    reason: Reason | None = None
    step: str = ""


Plan = tuple[PlannedDelivery, ...]


@dataclass(slots=True)
class PlanTrace:
    """What each step did, for ``ifengine try``: the channel's steps, then each destination's."""

    channel: Trace = field(default_factory=Trace)
    destinations: dict[str, Trace] = field(default_factory=dict)


class Channel:
    """The rules of one channel file, ready to run."""

    def __init__(self, config: ChannelConfig, site: SiteConfig) -> None:
        self.config = config
        self.name = config.name
        self.destinations = tuple(d for d in config.destinations if d.enabled)
        self._tables = site.tables
        self._identity = site.identity
        self._reads_patient = config.order_by == "patient" or _reads_pid(config)

    def admits(self, code: str, event: str) -> bool:
        """Return whether `types` names this message type; absent means every type."""
        types = self.config.types
        return not types or any(pattern.admits(code, event) for pattern in types)

    def order_keys(self, message: Message) -> tuple[str, ...] | None:
        """Return what this message shares with others that it must not overtake.

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
            return tuple(
                sorted(
                    {
                        f"{cx.authority[0]}|{cx.number.strip().upper()}"
                        for cx in patient_identifiers(message)
                        if cx.identifier_type == identity.type
                        and cx.authority[0] in identity.authority
                    }
                )
            )
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
    ) -> Plan:
        """Decide what becomes of a message at each enabled destination, in the order written.

        Args:
            message: a view of the received bytes; it is changed by the channel's steps.
            context: id and time, fixed for the message.
            trace: filled with what each step did.
            only: decide for this destination alone (a replay).
        """
        wanted = [d for d in self.destinations if only in (None, UNMATCHED, d.name)]
        scope = self._scope(message, context, trace.channel if trace else None)
        try:
            if self._too_many_patients(message):
                reason = Reason("more than one patient (PID) in one message", "")
                return _all(wanted, Fate.DEAD_LETTER, reason, "channel")
            config = self.config
            if config.accept is not None and not config.accept.holds(scope):
                return _all(wanted, Fate.FILTERED, _rule(config, "accept", config.accept_line))
            if not config.steps.is_empty:
                config.steps.run(scope)
        except StepFailedError as failed:
            return _all(wanted, Fate.DEAD_LETTER, failed.reason, failed.step)
        except DroppedError as dropped:
            return _all(wanted, Fate.DROPPED, dropped.reason, dropped.step)
        except EngineError as error:
            return _all(wanted, Fate.DEAD_LETTER, Reason(str(error), ""), "channel")
        plan = tuple(self._deliver(d, message, context, scope, trace) for d in wanted)
        if config.no_match == "dead_letter" and all(p.fate is Fate.FILTERED for p in plan):
            return (*plan, self._unmatched(scope))
        return plan

    def _scope(self, message: Message, context: MessageContext, trace: Trace | None) -> StepScope:
        return StepScope(
            message=message,
            tables=self._tables,
            now_us=context.now_us,
            message_id=context.message_id,
            trace=trace,
        )

    def _deliver(
        self,
        destination: DestinationConfig,
        message: Message,
        context: MessageContext,
        channel_scope: StepScope,
        trace: PlanTrace | None,
    ) -> PlannedDelivery:
        name = destination.name
        try:
            if destination.types:
                header = message.header
                code, event = (
                    header.message_code.decode("latin-1"),
                    header.trigger_event.decode("latin-1"),
                )
                if not any(pattern.admits(code, event) for pattern in destination.types):
                    return PlannedDelivery(
                        name,
                        Fate.FILTERED,
                        reason=_rule(self.config, f"{name} types", destination.line),
                    )
            if destination.accept is not None and not destination.accept.holds(channel_scope):
                line = destination.accept_line
                return PlannedDelivery(
                    name, Fate.FILTERED, reason=_rule(self.config, f"{name} accept", line)
                )
            copy, scope = message, channel_scope
            if not destination.steps.is_empty:
                copy = message.copy()
                record = None
                if trace is not None:
                    record = trace.destinations[name] = Trace()
                scope = self._scope(copy, context, record)
                scope.variables.update(channel_scope.variables)
                destination.steps.run(scope)
            content = copy.encode() if copy.touched else None
            file_name = destination.files.name.render(scope) if destination.files else ""
        except StepFailedError as failed:
            return PlannedDelivery(
                name, Fate.DEAD_LETTER, reason=failed.reason, step=f"{name} {failed.step}"
            )
        except DroppedError as dropped:
            return PlannedDelivery(
                name, Fate.DROPPED, reason=dropped.reason, step=f"{name} {dropped.step}"
            )
        except EngineError as error:
            return PlannedDelivery(name, Fate.DEAD_LETTER, reason=Reason(str(error), ""), step=name)
        return PlannedDelivery(name, Fate.QUEUED, content=content, file_name=file_name)

    def _unmatched(self, scope: StepScope) -> PlannedDelivery:
        values = [
            path.read(scope.message) or ""
            for destination in self.destinations
            if destination.accept is not None
            for path in destination.accept.paths()
        ]
        full = f"no destination accepts {', '.join(dict.fromkeys(values))}"
        return PlannedDelivery(
            UNMATCHED,
            Fate.DEAD_LETTER,
            reason=Reason("no destination accepts it", full),
            step="no_match",
        )

    def _too_many_patients(self, message: Message) -> bool:
        # ADT events that name two patients (A17, A24, A40 ...) order by all of them; any other
        # message with two patients would be read and filed as one (safety-rules.md 10).
        return (
            self._reads_patient
            and message.header.message_code != b"ADT"
            and len(message.indexes("PID")) > 1
        )


def _all(
    destinations: Iterable[DestinationConfig], fate: Fate, reason: Reason, step: str = ""
) -> Plan:
    return tuple(PlannedDelivery(d.name, fate, reason=reason, step=step) for d in destinations)


def _rule(config: ChannelConfig, what: str, line: int) -> Reason:
    text = f"{what}, {config.file}:{line}"
    return Reason(text, text)


def _reads_pid(config: ChannelConfig) -> bool:
    conditions = [config.accept, *(d.accept for d in config.destinations)]
    steps = [config.steps, *(d.steps for d in config.destinations)]
    paths = [path for c in conditions if c is not None for path in c.paths()]
    paths += [path for s in steps for path in (*s.paths_read(), *s.paths_written())]
    return any(path.segment == "PID" for path in paths)
