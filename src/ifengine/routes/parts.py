"""What the parts of a running engine share: time, the open batch, keys, names, numbers, counters."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ifengine.clock import Clock
from ifengine.errors import EngineError
from ifengine.hl7.header import Header
from ifengine.routes.application_contract import Answers
from ifengine.routes.awaited import AwaitedFacts
from ifengine.routes.config.models import ChannelConfig
from ifengine.routes.identity import Retired
from ifengine.routes.memory import Memories
from ifengine.routes.received import Received
from ifengine.routes.runs import Runs
from ifengine.routes.steady import Steady
from ifengine.store.base import Counters, Reader
from ifengine.store.group import GroupCommit
from ifengine.store.names import Names
from ifengine.store.sealing import KeyRing
from ifengine.telemetry.metrics import Metrics
from ifengine.transforms.memory import Call, Change, Document, Reply

T = TypeVar("T")


class Read(Protocol):
    """Runs a look at the store in the reading thread."""

    def __call__(self, look: Callable[[Reader], T]) -> Awaitable[T]: ...


@dataclass(slots=True)
class Numbers:
    """The numbers given out by this process, the only writer."""

    inbox_id: int = 0
    copy_id: int = 0
    key_id: int = 0
    giant: int = 0

    @classmethod
    def after(cls, used: Counters) -> "Numbers":
        """Count on from the numbers that a store has."""
        return cls(used.inbox_id, used.copy_id, used.key_id, used.giant)

    def next_inbox_id(self) -> int:
        """Return a number no message has had."""
        self.inbox_id += 1
        return self.inbox_id

    def next_copy_id(self) -> int:
        """Return a number no stored copy has had."""
        self.copy_id += 1
        return self.copy_id

    def next_giant(self) -> int:
        """Return a number under which no pieces of a giant are stored."""
        self.giant += 1
        return self.giant


class Entrance(Protocol):
    """A channel, as it is seen by another one that hands messages to it."""

    @property
    def number(self) -> int: ...
    @property
    def config(self) -> ChannelConfig: ...
    def count_received(self, header: Header, size: int, at_us: int, now: float) -> None: ...
    def feed(self, message: Received) -> None:
        """Take a message whose commit returned."""
        ...


async def _nobody_answers(call: Call) -> Reply:
    return Reply(None, "there are no workers here")


async def _nowhere_to_keep(documents: Sequence[Document]) -> None:
    raise EngineError("there is no place for documents here")


def _nobody_listens(changes: Sequence[Change]) -> None:
    return None


@dataclass(slots=True, kw_only=True)
class Parts:
    """Handed to every part when it is made."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    group: GroupCommit
    ring: KeyRing
    names: Names
    metrics: Metrics
    read: Read
    spawn: Callable[[Coroutine[Any, Any, None]], object]  # a task owned by the engine's TaskGroup
    dice: Callable[[], float]  # uniform in [0, 1), for jitter
    memories: Memories | None = None  # None: nothing is remembered (parts of an engine in tests)
    awaited: AwaitedFacts | None = None  # facts of messages that nobody took yet
    retired: Retired | None = None  # patients' identifiers, with the crosswalk
    call: Callable[[Call], Awaitable[Reply]] = _nobody_answers
    keep_documents: Callable[[Sequence[Document]], Awaitable[None]] = _nowhere_to_keep
    # tells every channel and the outboxes what a message's steps remembered
    remembered: Callable[[Sequence[Change]], None] = _nobody_listens
    entrances: Mapping[int, Entrance] = field(default_factory=dict)  # of channels, by number
    numbers: Numbers = field(default_factory=Numbers)
    # held while a piece of a giant is written: one piece a commit, whatever many giants there are
    one_piece: asyncio.Lock = field(default_factory=asyncio.Lock)
    runs: Runs = field(default_factory=Runs)
    answers: Answers | None = None  # who waits for application acknowledgments
    config_version: int = 0
    unclean: bool = False  # the last run did not end by itself
    # outboxes with deliveries that a run before the last may have sent
    suspects: frozenset[int] = frozenset()
    stopping: bool = False
    steady: Steady = field(init=False)

    def __post_init__(self) -> None:
        self.steady = Steady(self.clock)
