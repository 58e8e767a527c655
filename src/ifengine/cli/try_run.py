"""One message through one channel, without an engine: what is answered, what would go where.

Nothing is sent or stored. The gates before the channel are those of the engine's intake.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.hl7.ack import (
    AckError,
    Verdict,
    due_answers,
)
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.header import Header, read_header
from ifengine.hl7.message import Message, MessageError
from ifengine.routes.channel import Channel, MessageContext, Plan, PlannedDelivery, PlanTrace
from ifengine.routes.config.models import ChannelConfig, ListenConnection, SiteConfig
from ifengine.routes.gates import Gates
from ifengine.routes.splitting import part_number
from ifengine.routes.worker_process import call_now
from ifengine.store.base import Fate, InboxKind
from ifengine.transforms.base import CallNeededError
from ifengine.transforms.memory import Reply
from ifengine.transforms.trace import Change, Record, Trace


class Gate(NamedTuple):
    """What intake would do with a message: ``verdict`` None is silence, whatever is asked for."""

    accepted: bool
    verdict: Verdict | None
    text: str
    error: AckError | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """What one destination would get. ``state`` is one of safety-rules.md."""

    name: str
    target: str
    state: str
    reason: str = field(repr=False)
    step: str
    content: bytes | None = field(repr=False)
    changes: tuple[Change, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """All that would happen."""

    gate: Gate
    answers: tuple[str, ...]  # codes of MSA-1, in order
    destinations: tuple[Tried, ...]
    records: tuple[tuple[str, Record], ...] = field(repr=False)  # destination or "", step


def gate(header: Header, config: ChannelConfig, connection: ListenConnection | None) -> Gate:
    """Say what intake would decide, for a channel that is alone on its listener."""
    decided = Gates(connection, [config]).decide(header)
    code, event = (part.decode("latin-1") for part in (header.message_code, header.trigger_event))
    shown = f"{code}^{event}" if event else code
    processing = header.processing_id.decode("latin-1")
    said = f"MSH-11 = {processing}" if processing not in ("", '""') else "MSH-11 is empty"
    match decided.kind:
        case InboxKind.MESSAGE:
            text = f"type {shown}, {said}"
        case InboxKind.ACKNOWLEDGMENT:
            text = "an acknowledgment is kept, never answered and never routed"
        case InboxKind.UNROUTED:
            text = f"type {shown} is not among the channel's types"
        case _ if header.fault is not None:
            text = f"the header is not served: {header.fault.value}"
        case _:
            text = f"{decided.reason} ({shown}, {said})"
    accepted = decided.kind is InboxKind.MESSAGE
    return Gate(accepted, decided.verdict, text, decided.error)


def try_channel(
    site: SiteConfig,
    config: ChannelConfig,
    content: bytes,
    *,
    at_us: int,
    message_id: str,
    only: str | None,
) -> Result:
    """Run one message through a channel.

    Args:
        site: for tables, identity and the listener.
        config: the channel.
        content: the message as received.
        at_us: the time its steps see.
        message_id: what ``${msg.id}`` gives.
        only: this destination alone.
    """
    header = read_header(content)
    connection = site.listeners.get(config.sources[0]) if config.sources else None
    decided = gate(header, config, connection)
    codes: tuple[str, ...] = ()
    if decided.verdict is not None:
        due = due_answers(
            header, decided.verdict, at_us=at_us, control_id=b"TRY", error=decided.error
        )
        codes = tuple(answer.code.value for answer in due)
    if not decided.accepted:
        return Result(decided, codes, (), ())
    charset = CharsetPolicy()
    if connection is not None:
        charset = CharsetPolicy(connection.charset_forced, connection.charset_default)
    try:
        message = Message.parse(content, charset=charset)
    except MessageError as error:
        refused = decided._replace(text=f"{decided.text}; then to the dead letters: {error}")
        return Result(refused, codes, (), ())
    trace = PlanTrace()
    channel = Channel(config, site)
    replies: dict[int, Reply] = {}
    plan: Plan | None = None
    while plan is None:
        context = MessageContext(message_id=message_id, now_us=at_us, replies=replies)
        try:
            plan = channel.process(message, context, trace=trace, only=only).plan
        except CallNeededError as needed:  # the run starts over, with what the function answered
            replies[needed.call.number] = call_now(needed.call)
            message, trace = Message.parse(content, charset=charset), PlanTrace()
    targets = {d.name: d.connection or d.channel or "a file" for d in config.destinations}
    channel_bytes = message.encode()
    tried = tuple(_tried(p, targets.get(p.destination, ""), channel_bytes, trace) for p in plan)
    records = _records(trace, "")
    for number, part in trace.parts.items():
        records += _records(part, f"part {number}")
    return Result(decided, codes, tried, tuple(records))


def _records(trace: PlanTrace, part: str) -> list[tuple[str, Record]]:
    records = [(part, record) for record in trace.channel.records]
    for name, steps in trace.destinations.items():
        records += [(f"{name} {part}".rstrip(), record) for record in steps.records]
    return records


_STATES = {
    Fate.QUEUED: "sent",
    Fate.FILTERED: "filtered",
    Fate.DROPPED: "dropped",
    Fate.DEAD_LETTER: "dead_letter",
}


def _tried(planned: PlannedDelivery, target: str, channel_bytes: bytes, trace: PlanTrace) -> Tried:
    sent = planned.fate is Fate.QUEUED
    content = channel_bytes if planned.content is None else planned.content
    reason = planned.reason
    number = part_number(planned.part)
    name = f"{planned.destination} part {number}" if number else planned.destination
    return Tried(
        name=name,
        target=target,
        state=_STATES.get(planned.fate, planned.fate.name.lower()),
        reason="" if reason is None else reason.full or reason.safe,
        step=planned.step,
        content=content if sent else None,
        changes=_changes(planned.destination, trace.parts.get(number, trace)) if sent else (),
    )


def _changes(destination: str, trace: PlanTrace) -> tuple[Change, ...]:
    """Return the channel's changes and then the destination's own, one entry a place."""
    whole = Trace(records=list(trace.channel.records))
    own = trace.destinations.get(destination)
    for record in own.records if own is not None else ():
        changes = tuple(
            Change(c.kind, c.path, c.before, c.after, [f"{destination} {s}" for s in c.steps])
            for c in record.changes
        )
        whole.records.append(
            Record(record.number, record.verb, record.name, record.line, record.ran,
                   record.notes, changes)
        )  # fmt: skip
    return tuple(whole.changes())
