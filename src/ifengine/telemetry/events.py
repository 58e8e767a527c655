"""What the log may say: one class an event, whose fields cannot hold content.

A field is a number, a yes or no, a word of a closed list, or a :data:`Name`, which is checked when
the event is made: it takes what configurations, users and programs are called, and no space,
control character or letter with an accent.
"""

import re
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import ClassVar, NewType

Name = NewType("Name", str)

_NAME = re.compile(r"[A-Za-z0-9_.:^*/@()-]{0,100}")


class Level(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def name(text: str) -> Name:
    """Return a configured name as an event may carry it.

    Raises:
        ValueError: it is not of the form of a name; the text is not repeated.
    """
    if not _NAME.fullmatch(text):
        raise ValueError("not a name")
    return Name(text)


def shortened(text: str) -> Name:
    """Return a name, with ``_`` for every character a name does not have."""
    return Name(re.sub(r"[^A-Za-z0-9_.:^*/@()-]", "_", text[:100]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""

    event: ClassVar[str] = ""
    level: ClassVar[Level] = Level.INFO

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, StrEnum | bool | int | float):
                continue
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                raise ValueError(f"{type(self).__name__}.{field.name}: is not a name")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStarted(Event):
    """Every listener is bound."""

    event: ClassVar[str] = "engine_started"
    site: Name
    config_version: int
    channels: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStopping(Event):
    """A stop was asked for."""

    event: ClassVar[str] = "engine_stopping"
    signal: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStopped(Event):
    """Everything that was received is on stable storage."""

    event: ClassVar[str] = "engine_stopped"
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLate(Event):
    """A part did not stop in its time and was cut off."""

    event: ClassVar[str] = "part_late"
    level: ClassVar[Level] = Level.WARNING
    part: Name
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFailed(Event):
    """A commit failed: nothing of it is acknowledged, the engine stops."""

    event: ClassVar[str] = "storage_failed"
    level: ClassVar[Level] = Level.ERROR
    fault: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerBound(Event):
    """A listener takes connections."""

    event: ClassVar[str] = "listener_bound"
    connection: Name
    port: int
    tls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRefused(Event):
    """A sender was turned away: allow-list, limits, TLS."""

    event: ClassVar[str] = "connection_refused"
    level: ClassVar[Level] = Level.WARNING
    connection: Name
    reason: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class FramingFault(Event):
    """Bytes that are no frame; they are kept as a record."""

    event: ClassVar[str] = "framing_fault"
    level: ClassVar[Level] = Level.WARNING
    connection: Name
    fault: Name
    inbox_id: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnroutedType(Event):
    """First message of a listener that no channel takes since the start."""

    event: ClassVar[str] = "unrouted_type"
    level: ClassVar[Level] = Level.WARNING
    connection: Name
    inbox_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlIdReused(Event):
    """A control id came again with other content; the message is processed."""

    event: ClassVar[str] = "control_id_reused"
    level: ClassVar[Level] = Level.WARNING
    channel: Name
    inbox_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardOff(Event):
    """Control ids of this sender no longer tell repeats."""

    event: ClassVar[str] = "guard_off"
    level: ClassVar[Level] = Level.WARNING
    channel: Name
    inbox_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationUp(Event):
    """A destination answers again."""

    event: ClassVar[str] = "destination_up"
    connection: Name
    down_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationDown(Event):
    """A destination could not be reached; its messages wait."""

    event: ClassVar[str] = "destination_down"
    level: ClassVar[Level] = Level.WARNING
    connection: Name
    reason: Name
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered(Event):
    """A message waits for a person."""

    event: ClassVar[str] = "dead_lettered"
    level: ClassVar[Level] = Level.WARNING
    channel: Name
    destination: Name
    inbox_id: int
    stage: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakePaused(Event):
    """Nothing is read from senders."""

    event: ClassVar[str] = "intake_paused"
    level: ClassVar[Level] = Level.WARNING
    reason: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeResumed(Event):
    """Senders are read again."""

    event: ClassVar[str] = "intake_resumed"
    reason: Name
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPaused(Event):
    """A person paused a channel."""

    event: ClassVar[str] = "channel_paused"
    channel: Name
    actor: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelResumed(Event):
    """A person resumed a channel."""

    event: ClassVar[str] = "channel_resumed"
    channel: Name
    actor: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged(Event):
    """Retention removed settled messages."""

    event: ClassVar[str] = "purged"
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unforeseen(Event):
    """An error nobody foresaw. Its text may hold content and is not said."""

    event: ClassVar[str] = "unforeseen"
    level: ClassVar[Level] = Level.ERROR
    error: Name
    place: Name  # module and line of our own code where it came from


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign(Event):
    """A library logged something: where it did, not what."""

    event: ClassVar[str] = "foreign"
    level: ClassVar[Level] = Level.WARNING
    logger: Name
    foreign_level: Name
    place: Name
    error: Name
