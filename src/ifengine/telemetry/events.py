"""What the log may say: one class an event, whose fields cannot hold content.

A field is a number, a yes or no, a word of a closed list, or a :data:`Name`, which is checked when
the event is made: it takes what configurations, users and programs are called, and no space,
control character or letter with an accent. No event is told for each message: what can come often
has a ``count`` or ``times`` and is summed up (:mod:`ifengine.telemetry.sparing`).

docs/reference/log.md is written from these classes: from their docstrings, fields and ``advice``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import ClassVar, NewType

from ifengine.telemetry.words import Drop, PauseReason, Refusal, StopReason, StorageFault

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
    advice: ClassVar[str] = ""  # what a person does about it

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, StrEnum | bool | int | float):
                continue
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                raise ValueError(f"{type(self).__name__}.{field.name}: is not a name")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStarted(Event):
    """Every listener is bound, and what waited may leave."""

    event: ClassVar[str] = "engine_started"
    advice: ClassVar[str] = (
        "With `unclean`: nothing; what may have been sent before is marked so. With "
        "`suspect`: look at the disk."
    )
    site: Name
    config_version: int
    channels: int
    listeners: int
    unclean: bool  # the last run ended without a stop
    suspect: bool  # the last run left the mark that its storage had failed


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStopping(Event):
    """A stop began: nothing more is taken, what is under way is finished."""

    event: ClassVar[str] = "engine_stopping"
    advice: ClassVar[str] = "With `storage_failed` or `unforeseen`: see the line before it."
    why: StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStopped(Event):
    """The stop is over; everything that was acknowledged is on stable storage."""

    event: ClassVar[str] = "engine_stopped"
    code: int  # exit code
    seconds: float  # since engine_stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFailed(Event):
    """The engine did not start, or ended without an ordered stop."""

    event: ClassVar[str] = "engine_failed"
    level: ClassVar[Level] = Level.ERROR
    advice: ClassVar[str] = "The text beside it on standard error says why."
    error: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLate(Event):
    """A listener or destination did not finish within the time of a stop and was cut off."""

    event: ClassVar[str] = "part_late"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = (
        "What was cut off comes again: senders repeat, deliveries are tried again and marked."
    )
    part: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFailed(Event):
    """A read or a commit failed: nothing of it is acknowledged, the engine stops."""

    event: ClassVar[str] = "storage_failed"
    level: ClassVar[Level] = Level.ERROR
    advice: ClassVar[str] = "Look at the disk before the next start; `ifengine doctor`."
    fault: StorageFault


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAwaited(Event):
    """The disk has no room to open the store; the start goes on when there is some."""

    event: ClassVar[str] = "room_awaited"
    level: ClassVar[Level] = Level.ERROR
    advice: ClassVar[str] = "Make room on the disk of the store."


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerBound(Event):
    """A listener takes connections."""

    event: ClassVar[str] = "listener_bound"
    connection: Name
    port: int
    tls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerClosed(Event):
    """A listener is gone with the configuration."""

    event: ClassVar[str] = "listener_closed"
    connection: Name
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRefused(Event):
    """Senders were turned away before a byte was read."""

    event: ClassVar[str] = "connection_refused"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = (
        "Compare `allow`, `max_connections` and certificates with what the sender has; "
        "`system`: raise the limit of open files."
    )
    connection: Name
    reason: Refusal
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionDropped(Event):
    """Connections of senders were closed by the engine."""

    event: ClassVar[str] = "connection_dropped"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = (
        "Ask the sender: it stopped within a message, does not read its answers, or sends "
        "what is too large."
    )
    connection: Name
    reason: Drop
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FramingFault(Event):
    """Bytes that are no frame came; their beginning is kept as a record."""

    event: ClassVar[str] = "framing_fault"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = (
        "`ifengine messages list` shows them as refused; a setting of `tolerate` may be what "
        "the sender needs."
    )
    connection: Name
    fault: Name
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrouted(Event):
    """Messages came that no channel takes; they are stored."""

    event: ClassVar[str] = "unrouted"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = (
        "`ifengine messages list` shows which; give a channel their type or put it into "
        "`ignore_types`."
    )
    connection: Name
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlIdReused(Event):
    """Control ids came again with other content; the messages are processed."""

    event: ClassVar[str] = "control_id_reused"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = "The sender counts anew or sends two messages as one: ask it."
    channel: Name
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardOff(Event):
    """Control ids of a sender no longer tell repeats: it uses the same ones for everything."""

    event: ClassVar[str] = "guard_off"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = (
        "Ask the sender for control ids of their own; until then its repeats are delivered."
    )
    channel: Name
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationDown(Event):
    """A destination cannot be reached; its messages wait."""

    event: ClassVar[str] = "destination_down"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = "Nothing is lost. Ask who runs it; it is tried again by itself."
    connection: Name
    reason: Name  # refused, unreachable, timeout, tls, reset, closed, ...
    waiting: int
    times: int  # since the last such line


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationUp(Event):
    """A destination that could not be reached answers again."""

    event: ClassVar[str] = "destination_up"
    connection: Name
    down_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationStopped(Event):
    """A refusal stopped a destination, as `on_nak: stop` or `stop_after` say."""

    event: ClassVar[str] = "destination_stopped"
    level: ClassVar[Level] = Level.ERROR
    advice: ClassVar[str] = "Mend the cause, then `ifengine channels resume`."
    connection: Name
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationContinued(Event):
    """A destination that a refusal had stopped goes on."""

    event: ClassVar[str] = "destination_continued"
    connection: Name
    stopped_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered(Event):
    """Messages wait for a person."""

    event: ClassVar[str] = "dead_lettered"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = "`ifengine dlq list`."
    channel: Name
    destination: Name
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakePaused(Event):
    """Nothing is read from senders: they wait, and keep what is not acknowledged."""

    event: ClassVar[str] = "intake_paused"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = (
        "`disk`: make room. `backlog`: more comes than the disk can store; a moment of it is "
        "harmless."
    )
    reason: PauseReason
    times: int  # since the last such line


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeResumed(Event):
    """A reason to pause the intake is over."""

    event: ClassVar[str] = "intake_resumed"
    reason: PauseReason
    paused_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFailed(Event):
    """A folder that is a source cannot be read."""

    event: ClassVar[str] = "folder_failed"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = "`ifengine doctor` says why."
    channel: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRead(Event):
    """A folder that could not be read is read again."""

    event: ClassVar[str] = "folder_read"
    channel: Name
    failed_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPaused(Event):
    """A person paused a channel."""

    event: ClassVar[str] = "channel_paused"
    advice: ClassVar[str] = "The reason is in `ifengine channels list`."
    channel: Name
    actor: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelResumed(Event):
    """A person resumed a channel."""

    event: ClassVar[str] = "channel_resumed"
    channel: Name
    actor: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded(Event):
    """Another configuration runs."""

    event: ClassVar[str] = "reloaded"
    config_version: int
    actor: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadRefused(Event):
    """A configuration was refused; nothing was changed."""

    event: ClassVar[str] = "reload_refused"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = "`ifengine reload --dry-run` says what is in the way."
    config_version: int  # what goes on running
    actor: Name
    problems: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMade(Event):
    """Content that comes from now on is sealed with a new data key."""

    event: ClassVar[str] = "key_made"
    key_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSet(Event):
    """The wall clock was set; no span moved by that."""

    event: ClassVar[str] = "clock_set"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = "Look at the time service of the machine."
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockDoubted(Event):
    """The wall clock is more than a day from where it was: nothing is purged."""

    event: ClassVar[str] = "clock_doubted"
    level: ClassVar[Level] = Level.ERROR
    advice: ClassVar[str] = "`ifengine clock show`, then set it right or `ifengine clock accept`."
    hours: float  # ahead is positive


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockBelieved(Event):
    """The wall clock is believed again."""

    event: ClassVar[str] = "clock_believed"
    doubted_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceUneven(Event):
    """Messages are in no state or in two: the balance has a residue."""

    event: ClassVar[str] = "balance_uneven"
    level: ClassVar[Level] = Level.ERROR
    advice: ClassVar[str] = "`ifengine tally`; keep a copy of the store and report it."
    places: int  # channels and destinations with a residue
    faults: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceEven(Event):
    """The balance is even again."""

    event: ClassVar[str] = "balance_even"
    uneven_seconds: float


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
    advice: ClassVar[str] = "Report it with both fields."
    error: Name
    place: Name  # module and line of our own code where it came from


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign(Event):
    """A library logged something: where it did, not what."""

    event: ClassVar[str] = "foreign"
    level: ClassVar[Level] = Level.WARNING
    advice: ClassVar[str] = "Report it if it comes again."
    logger: Name
    foreign_level: Name
    place: Name
    error: Name


def every_event() -> Mapping[str, type[Event]]:
    """Return every class of an event by the name of the event, in the order of this module."""
    kinds = (kind for kind in globals().values() if isinstance(kind, type))
    return {kind.event: kind for kind in kinds if issubclass(kind, Event) and kind is not Event}
