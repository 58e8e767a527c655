"""Business duplicates: the same key and the same content again (safety-rules.md 7). Pure.

Not to be taken for the retransmission guard, which is about the same bytes under the same control
id. Here the sender made a new message that says what an earlier one said.
"""

import hashlib
import json
from dataclasses import dataclass, field

from ifengine.hl7.condition import Condition
from ifengine.hl7.message import Message
from ifengine.transforms.base import Reason, StepScope
from ifengine.transforms.keyed import Keyed
from ifengine.transforms.memory import Key, Space

DUPLICATE = Reason("duplicate", "duplicate")
# MSH-7, MSH-10 and MSH-13: when it was made, its number and its place in a sequence
_OF_THE_MESSAGE = (7, 10, 13)
_BETWEEN_GROUPS = "\x1e"


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupeConfig:
    """`dedupe:` with a key. ``content_counts`` is False for `content: ignore`."""

    keyed: Keyed
    window_us: int
    content_counts: bool = True
    when: Condition | None = None
    on_repeat: str = "ack"  # ack, reack_same, reject or send


@dataclass(frozen=True, slots=True)
class Repeat:
    """What was found. ``original`` is the message that is repeated, 0 where nothing is."""

    claim: Key | None = field(
        default=None, repr=False
    )  # of Space.DEDUPE, where this message has one
    original: int = 0


def look(config: DedupeConfig, message: Message, scope: StepScope) -> Repeat:
    """Compare a message, as it was received, with the last one under its key, and claim the key.

    A repetition does not renew the claim: the window runs from the first. Other content under a key
    is no repetition, and is what counts from then on, also when an earlier message starts over
    after a wait. An empty key claims nothing.
    """
    if config.when is not None and not config.when.holds(scope):
        return Repeat()
    values: list[str] = []
    config.keyed.each(scope, lambda inner: values.append(config.keyed.value(inner)))
    if not any(values):
        return Repeat()
    key = (scope.channel, _BETWEEN_GROUPS.join(values))
    content = digest(message) if config.content_counts else ""
    before = scope.memory.get(Space.DEDUPE, key)
    own = int(scope.message_id) if scope.message_id.isdecimal() else 0
    if before is not None and 0 < own < before.message and not scope.memory.is_replay:
        # it starts over after a wait: it was none when it came, and what came later counts
        return Repeat(key)
    if before is not None and before.message != own:
        known: dict[str, str] = json.loads(before.value)
        if known["content"] == content:
            return Repeat(key, before.message)
    text = json.dumps({"content": content})
    scope.memory.put(Space.DEDUPE, key, text, until_us=scope.memory.now_us + config.window_us)
    return Repeat(key)


def digest(message: Message) -> str:
    """Return what is equal for messages that say the same, whenever and as whatever they were sent."""
    copy = message.copy()
    for number in _OF_THE_MESSAGE:
        if copy.raw(0, number):
            copy.set_raw(0, number, None, None, None, b"")
    return hashlib.sha256(copy.encode()).hexdigest()
