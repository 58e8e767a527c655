"""What `combine` decides about one message: it waits, it completes a collection, or it goes alone. Pure.

A message that waits is parked, like one that waits for a fact. The last message of a collection
carries it: the plan of that message is the plan of the combined one, and the others end in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ifengine.errors import FieldError
from ifengine.hl7.message import Message
from ifengine.routes.combining import (
    MOST_TOGETHER,
    CombineConfig,
    CombineError,
    Onward,
    check_shape,
    difference,
    put_together,
)
from ifengine.transforms.base import ParkedError, Reason, StepFailedError, StepScope
from ifengine.transforms.identity import PatientIdentity
from ifengine.transforms.memory import Change, Key, Remembered, Space

COMBINE = "combine"  # the step that is named where combining ended a message or parked it
WAITED_OUT, COLLECTED = "waited_out", "collected"
VARIABLES = frozenset({WAITED_OUT, COLLECTED})
REST = Reason("waiting for the rest", "waiting for the rest of its messages")
_WHOLE, _TIME = "whole", "time"
_OPEN = ""  # in place of a fact's name, which is never empty


class Member(NamedTuple):
    """A message that waits under the key of another one."""

    inbox_id: int
    until_us: int
    is_over: bool = False  # its time is
    is_released: bool = False  # by a person


class ContentsNeededError(Exception):
    """The messages of a collection must be read first: the run starts over with them."""

    def __init__(self, inbox_ids: Sequence[int]) -> None:
        super().__init__("messages of a collection have to be read first")
        self.inbox_ids = tuple(inbox_ids)


class Collection:
    """What a run of a channel may know of the messages that wait. This one knows of none."""

    def under(self, key: Key) -> Sequence[Member]:
        """Return the others that wait under a key, oldest first."""
        return ()

    def messages(self, inbox_ids: Sequence[int]) -> Sequence[Message | None]:
        """Return messages as they were received, views of their own; None where one is damaged.

        Raises:
            ContentsNeededError: they are not read yet.
        """
        return [None] * len(inbox_ids)


NOTHING = Collection()


@dataclass(frozen=True, slots=True)
class Collected:
    """A collection that ended with this message. ``members`` are the earlier ones, oldest first."""

    members: tuple[int, ...]
    is_whole: bool

    @property
    def value(self) -> str:
        """As it is remembered."""
        return " ".join((_WHOLE if self.is_whole else _TIME, *map(str, self.members)))


@dataclass(frozen=True, slots=True)
class Gathered:
    """What goes to the steps. ``late`` says why it may go nowhere without a person."""

    message: Message
    collected: Collected | None = None
    late: Reason | None = None
    members: tuple[Message, ...] = ()  # the earlier ones, as they were received


def remembered_by(
    channel: str, message: int, collected: Collected, at_us: int
) -> tuple[Change, ...]:
    """Return what is kept with the message that carries a collection, as long as it is."""
    kept = Remembered(collected.value, message, at_us, 0)
    return (Change(Space.PART, _carried(channel, str(message)), kept),)


def _carried(channel: str, message_id: str) -> Key:
    return (channel, message_id)


def collect(
    config: CombineConfig,
    scope: StepScope,
    collection: Collection,
    identity: PatientIdentity | None,
    onward: Onward | None = None,
) -> Gathered:
    """Decide about one message before its steps. The variables of the scope are set.

    Raises:
        ParkedError: it waits for the rest.
        StepFailedError: it cannot be part of the collection of its key.
        ContentsNeededError: others must be read first.
    """
    message, memory = scope.message, scope.memory
    before = memory.get(Space.PART, _carried(scope.channel, scope.message_id))
    if before is not None:  # it was decided: it starts over for another reason, or is a replay
        whole, members = _together(config, scope, collection, _read(before.value))
        return Gathered(whole, members=members)
    if memory.is_replay:
        return Gathered(message)  # a person sends what was refused: alone, whatever waits by now
    values = [path.read(message) or "" for path in config.key]
    if not any(values):
        return Gathered(message)
    try:
        check_shape(message, config.by)
    except CombineError as error:
        raise _failed(str(error)) from None
    key = _key(scope, values)
    others = collection.under(key)
    own = int(scope.message_id) if scope.message_id.isdecimal() else 0
    later = any(other.inbox_id > own for other in others)
    if others and not later:
        _refuse_a_stranger(config, scope, collection, others[0].inbox_id, identity, onward)
    until_us = min((o.until_us for o in others), default=memory.now_us + config.up_to_us)
    end = None if later else _end(config, scope, others)
    if end is None:
        # the last one decides, for all of them
        raise ParkedError((key,), until_us - memory.now_us, REST, COMBINE)
    collected = Collected(tuple(o.inbox_id for o in others), end == _WHOLE)
    released = scope.released or any(o.is_released for o in others)
    # its own time and release are used up: a step that waits has its own
    scope.waited_out = scope.released = False
    whole, members = _together(config, scope, collection, collected)
    late = None
    if not (collected.is_whole or released) and config.then == "dead_letter":
        late = Reason(f"not whole within {config.up_to}", f"not whole within {config.up_to}")
    return Gathered(whole, collected, late, members)


def _key(scope: StepScope, values: Sequence[str]) -> Key:
    """Return under what messages meet: those of one sender alone (MSH-3, MSH-4)."""
    sender = [scope.message.text(0, number, None, None, None) for number in (3, 4)]
    return (scope.channel, _OPEN, *sender, *values)


def _end(config: CombineConfig, scope: StepScope, others: Sequence[Member]) -> str | None:
    """Return how the collection ends with this message, None where it goes on."""
    together = len(others) + 1
    if config.until is not None and config.until.holds(scope):
        return _WHOLE
    if config.count is not None and together >= config.count:
        return _WHOLE
    is_over = scope.waited_out or scope.released
    if is_over or any(o.is_over or o.is_released for o in others) or together >= MOST_TOGETHER:
        return _WHOLE if config.ends_by_time else _TIME
    return None


def _refuse_a_stranger(
    config: CombineConfig,
    scope: StepScope,
    collection: Collection,
    first: int,
    identity: PatientIdentity | None,
    onward: Onward | None,
) -> None:
    """Refuse a message of another patient, type or order than the one its key leads to."""
    found = collection.messages((first,))[0]
    if found is None:
        raise _failed(f"message {first}, which it belongs with, is damaged")
    place = difference(found, scope.message, config.by, identity, onward)
    if place:
        raise _failed(f"{place} is not that of message {first}, which has the same key")


def _together(
    config: CombineConfig, scope: StepScope, collection: Collection, collected: Collected
) -> tuple[Message, tuple[Message, ...]]:
    found = collection.messages(collected.members) if collected.members else ()
    messages: list[Message] = []
    for number, one in zip(collected.members, found, strict=True):
        if one is None:
            raise _failed(f"message {number}, which it belongs with, is damaged or not kept")
        messages.append(one)
    try:
        whole = put_together((*messages, scope.message), config.by)
    except (CombineError, FieldError) as error:
        raise _failed(str(error)) from None
    scope.variables[COLLECTED] = str(len(messages) + 1)
    if not collected.is_whole:
        scope.variables[WAITED_OUT] = "yes"
    return whole, tuple(messages)


def _read(value: str) -> Collected:
    how, *members = value.split(" ")
    return Collected(tuple(map(int, members)), how == _WHOLE)


def _failed(rule: str) -> StepFailedError:
    return StepFailedError(Reason(rule, rule), COMBINE, 0)
