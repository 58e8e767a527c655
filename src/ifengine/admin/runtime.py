"""What the admin service may ask of a running engine. The engine implements it; tests use a fake."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ifengine.clock import Clock
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.identity import Retired
from ifengine.routes.memory import Memories
from ifengine.routes.steady import Steady
from ifengine.store.base import Batch, Reader
from ifengine.store.names import Names
from ifengine.store.sealing import KeyRing
from ifengine.transforms.memory import Call, Change, Reply

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """One destination's queue, live."""

    channel: str
    destination: str
    outbox: str
    waiting: int  # queued, retrying, in doubt and held; dead letters not counted
    held: int
    dead: int
    oldest_us: int  # receipt time of the oldest waiting one, 0: none
    connected: bool
    blocked: bool  # a strict or FIFO queue held by its head


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatus:
    """One channel, live."""

    name: str
    state: str  # running, paused, stopped
    note: str  # who paused it and why; names and typed reason only
    last_received_us: int  # 0: nothing since start
    received_last_hour: int
    unplanned: int  # received, not yet through the steps
    outboxes: tuple[OutboxStatus, ...]
    parked: int = 0  # wait for a fact, in no queue
    parked_since_us: int = 0  # the oldest of them, 0: none


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """One listener, live."""

    name: str
    host: str
    port: int
    tls: bool
    connections: int
    paused: bool


@dataclass(frozen=True, slots=True)
class DeadLetterRef:
    """Where a dead letter lies."""

    outbox: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What a replay did, or would do when it was a dry run. One entry per dead letter asked for."""

    going: tuple[DeadLetterRef, ...]
    older: tuple[DeadLetterRef, ...]  # held back: the destination has newer data for the key
    unordered: tuple[DeadLetterRef, ...]  # a bulk replay without a key, refused without allow_older
    gone: tuple[DeadLetterRef, ...]  # no longer a dead letter
    filtered: tuple[DeadLetterRef, ...]  # reprocessed, and the channel no longer sends it there
    failed_again: tuple[DeadLetterRef, ...]  # reprocessed, failed in its steps again
    merged: tuple[DeadLetterRef, ...] = ()  # its patient was merged since: not as stored


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadReport:
    """What a reload did, or why it did not. Texts name files, places and rules, never values."""

    done: bool = False
    version: int = 0
    plan: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # why nothing was changed; empty where nothing stood in the way
    tests: int = 0
    in_flight: int = 0  # messages accepted and not planned when it was asked for


class Runtime(Protocol):
    """The engine as its admin service sees it."""

    site: SiteConfig
    config_version: int
    started_us: int
    clock: Clock
    steady: Steady
    ring: KeyRing
    names: Names
    memories: Memories | None  # what steps remember; None: this runtime has none
    retired: Retired | None

    async def remember(self, changes: Sequence[Change], fill: Callable[[Batch], None]) -> None:
        """Write what a person changed of what steps remember, with what ``fill`` adds.

        Returns when it is on stable storage. What is parked of a patient concerned starts over.
        """
        ...

    async def read(self, look: Callable[[Reader], T]) -> T:
        """Run ``look`` in the reading thread and return its result."""
        ...

    async def commit(self, fill: Callable[[Batch], None]) -> None:
        """Let ``fill`` add to the next batch; returns when it is on stable storage."""
        ...

    async def reload(
        self, *, actor: str, reason: str, dry_run: bool, skip_tests: bool
    ) -> ReloadReport:
        """Load, check and test the site again, and switch to it unless something is in the way."""
        ...

    async def call(self, call: Call) -> Reply:
        """Let a worker run a function of the site, or of a candidate."""
        ...

    def channels(self) -> Sequence[ChannelStatus]: ...
    def listening(self) -> Sequence[Listening]: ...

    async def pause_channel(self, name: str, *, actor: str, reason: str) -> None:
        """Stop planning and delivering a channel's messages; they are still received. Audited."""
        ...

    async def resume_channel(self, name: str, *, actor: str) -> None: ...

    async def replay(
        self,
        letters: Sequence[DeadLetterRef],
        *,
        how: str,  # "stored" or "reprocess"
        allow_older: bool,
        dry_run: bool,
        actor: str,
        reason: str,
        sender_was_refused: bool,
    ) -> ReplayReport:
        """Send dead letters again behind what waits; the act and its audit are one transaction."""
        ...

    async def discard(
        self, letters: Sequence[DeadLetterRef], *, actor: str, reason: str
    ) -> Sequence[DeadLetterRef]:
        """Settle dead letters as discarded and release their keys; returns those that were."""
        ...

    def let_go(self, inbox_ids: Sequence[int], *, expire: bool) -> Sequence[int]:
        """Let parked messages go on; returns those that were parked. The caller audits it first.

        ``expire``: as if their time were over; else whatever `then` of the step says.
        """
        ...

    def metrics_text(self) -> bytes: ...
    def live(self) -> bool: ...
    def ready(self) -> tuple[bool, str]:
        """Return whether messages can be taken, and what is in the way."""
        ...

    def problems(self) -> Sequence[tuple[str, str, str]]:
        """Return (level ok|warn|fail, check name, text) for ``doctor``."""
        ...
