"""What a channel is told about a message, and what it decides about it: plain values."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from ifengine.errors import EngineError
from ifengine.hl7.ack import AckError
from ifengine.hl7.message import Message
from ifengine.routes.collecting import NOTHING, Collected, Collection
from ifengine.routes.config.models import DestinationConfig
from ifengine.routes.dedupe import Repeat
from ifengine.routes.splitting import mint, part_place
from ifengine.store.base import Fate
from ifengine.transforms.base import (
    Aside,
    DroppedError,
    HeldError,
    ParkedError,
    Reason,
    RejectedError,
    StepFailedError,
)
from ifengine.transforms.identity import Identifier
from ifengine.transforms.memory import Change, Document, Key, Reply, Scratch
from ifengine.transforms.trace import Trace

UNMATCHED = (
    "unmatched"  # where a message waits that no destination accepts, `no_match: dead_letter`
)

SPLIT = "split_message"  # the step that is named where splitting ended a message


def _nobody_waits(key: Key) -> bool:
    return False


class MessageContext(NamedTuple):
    """What the steps may know of a message beside its content.

    ``memory`` is this run's own; None: nothing is remembered. ``replies`` are what other processes
    answered to earlier tries of this run.
    """

    message_id: str
    now_us: int
    memory: Scratch | None = None
    replies: Mapping[int, Reply] = MappingProxyType({})
    sender_waits: bool = False
    nobody_retired: bool = False  # no identifier of the site was ever retired: nothing to look up
    waited_out: bool = False
    released: bool = False  # by a person: it waits for nothing more
    waits_behind: Callable[[Key], bool] = _nobody_waits
    # every other identifier of a patient: for the order keys of parts and of what is combined
    alike: Callable[[Identifier], Iterable[Identifier]] | None = None
    # which identifiers took a retired one's place: for who is one patient in what is combined
    onward: Callable[[Identifier], Iterable[Identifier]] | None = None
    collection: Collection = NOTHING  # what `combine` has so far
    # what is sent of a message that was changed; a giant's may have to be made first, elsewhere
    encode: Callable[[Message], bytes] = Message.encode

    def __repr__(self) -> str:
        return f"<MessageContext {self.message_id}>"


class PlannedDelivery(NamedTuple):
    """What becomes of a message at one destination.

    ``fate`` is QUEUED, FILTERED, DROPPED, DEAD_LETTER, HELD, REJECTED or PARKED. ``content`` is
    None where the received bytes go out as they came. ``part`` tells apart several deliveries of
    one message to one destination (``splitting.part_place``). ``keys`` are a part's own order keys;
    None: its message's.
    """

    destination: str
    fate: Fate
    content: bytes | None = None
    file_name: str = ""
    reason: Reason | None = None
    step: str = ""
    part: int = 0
    keys: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"<PlannedDelivery {self.destination} {self.fate.name}>"


Plan = tuple[PlannedDelivery, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a parked message waits for, and until when."""

    keys: tuple[Key, ...] = field(repr=False)
    until_us: int
    reason: Reason
    step: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a sender that still waits is told: AE or AR, why, and the places for ERR."""

    answer: str
    reason: Reason
    errors: tuple[AckError, ...] = ()


NO_REPEAT = Repeat()


class Decision(NamedTuple):
    """All that one run of a channel decided: it takes effect in one transaction, or not at all."""

    plan: Plan
    changes: tuple[Change, ...] = ()
    documents: tuple[Document, ...] = ()
    waiting: Waiting | None = None
    refusal: Refusal | None = None
    repeat: Repeat = NO_REPEAT  # of `dedupe` with a key
    collected: Collected | None = None  # the earlier messages that end in this one

    def __repr__(self) -> str:
        return f"<Decision {[*self.plan]}>"


@dataclass(slots=True)
class PlanTrace:
    """What each step did, for ``ifengine try``: the channel's steps, then each destination's.

    ``parts`` has what was done to each part of a message that was split.
    """

    channel: Trace = field(default_factory=Trace)
    destinations: dict[str, Trace] = field(default_factory=dict)
    parts: dict[int, "PlanTrace"] = field(default_factory=dict)


def everywhere(
    destinations: Iterable[DestinationConfig], fate: Fate, reason: Reason, step: str = ""
) -> Plan:
    """Return the same for every destination."""
    return tuple(PlannedDelivery(d.name, fate, reason=reason, step=step) for d in destinations)


def waiting_of(decisions: Iterable[Decision]) -> Waiting | None:
    """Return what a message waits for whose parts wait: every key of every part, for the longest.

    None where no part waits.
    """
    waiting = [one.waiting for one in decisions if one.waiting is not None]
    if not waiting:
        return None
    keys = tuple(dict.fromkeys(key for one in waiting for key in one.keys))
    until_us = max(one.until_us for one in waiting)
    return Waiting(keys, until_us, waiting[0].reason, waiting[0].step)


def joined(decisions: Sequence[Decision], changes: tuple[Change, ...]) -> Decision:
    """Return the decisions about the parts of a message as one."""
    return Decision(
        tuple(planned for one in decisions for planned in one.plan),
        changes,
        tuple(document for one in decisions for document in one.documents),
    )


def of_part(
    planned: PlannedDelivery, number: int, keys: tuple[str, ...] | None, message: Message
) -> PlannedDelivery:
    """Return a delivery of a part: with its number, its own keys and, untouched, its own bytes."""
    content = planned.content
    if content is None and planned.fate is Fate.QUEUED:
        content = message.encode()
    return planned._replace(content=content, part=part_place(number, planned.part), keys=keys)


def of_whole(
    planned: PlannedDelivery, message: Message, keys: tuple[str, ...] | None
) -> PlannedDelivery:
    """Return a delivery of a combined message: with its bytes, and the order keys of all in it."""
    content = planned.content
    if content is None and planned.fate is Fate.QUEUED:
        content = message.encode()
    return planned._replace(content=content, keys=keys)


def union_of(keys: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Return the order keys of several messages together. One without a key waits for all."""
    found = list(keys)
    if any(one is None for one in found):
        return None
    if any(one == () for one in found):
        return ()
    return tuple(sorted({key for one in found for key in one or ()}))


def own_ids(held: Iterable[Aside], message_id: str, where: str, part: str) -> tuple[Aside, ...]:
    """Return what was set aside under control ids of the engine's own; see ``minted``."""
    found = []
    for number, one in enumerate(held, 1):
        message = Message.parse(one.content)
        mint(message, message_id, where, f"{part}-a{number}")
        found.append(one._replace(content=message.encode()))
    return tuple(found)


def set_aside(delivery: PlannedDelivery, held: Iterable[Aside]) -> list[PlannedDelivery]:
    """Return what a destination gets beside its delivery, for a person to release."""
    return [
        PlannedDelivery(
            delivery.destination,
            Fate.HELD,
            one.content,
            delivery.file_name,
            one.reason,
            part=part,
        )
        for part, one in enumerate(held, 1)
    ]


def failed(name: str, error: EngineError, sender_waits: bool) -> PlannedDelivery:
    """Return what a delivery becomes whose own steps ended it."""
    dead = Fate.REJECTED if sender_waits else Fate.DEAD_LETTER
    match error:
        case DroppedError():
            fate = Fate.DROPPED
        case HeldError():
            fate = Fate.HELD
        case StepFailedError() | RejectedError() | ParkedError():
            fate = dead
        case _:
            return PlannedDelivery(name, dead, reason=Reason(str(error), ""), step=name)
    return PlannedDelivery(name, fate, reason=error.reason, step=f"{name} {error.step}")
