"""How giants come in: a few at a time, in a thread, while everybody else is served.

A connection whose giant is whole waits for its turn and is not read meanwhile, so its messages keep
their order. The thread copies, seals and digests; the rest is done on the loop, as for any message.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ifengine.errors import EngineError
from ifengine.hl7.header import Header, read_header
from ifengine.mllp.giants import Giant
from ifengine.mllp.inbound import Inbound
from ifengine.pieces import GIANT_BYTES
from ifengine.routes.config.models import ListenConnection
from ifengine.routes.gates import compared_bytes
from ifengine.routes.parts import Parts
from ifengine.store.base import GiantPiece
from ifengine.store.giants import Enclosed

MOST_GIANT_BYTES = 16 * 1024 * 1024
"""Of giants that are taken and not on disk yet; one of any size has room where there is no other."""
BREATH_SECONDS = 0.005  # between two looks whether the store has caught up
NO_GIANTS: Mapping[int, Enclosed] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the thread made of a giant."""

    content: bytes = field(repr=False)
    sealed: Enclosed
    digest: bytes
    ignores_msh7: bool
    header: Header


class GiantQueue:
    """Whose turn it is. All listeners share it: what giants hold in memory has one bound."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self.one_at_a_time = asyncio.Lock()
        self._waiting: deque[tuple[Inbound, Callable[[Inbound], int]]] = deque()
        self._is_looking = False

    def ask(self, connection: Inbound, take: Callable[[Inbound], int]) -> None:
        """Let ``take`` be called in its turn; it returns how many bytes it holds until ``done``."""
        self._waiting.append((connection, take))
        self._look()

    def done(self, size: int) -> None:
        """Learn that a giant is on disk, or given up."""
        self.held_bytes -= size
        self._look()

    def _look(self) -> None:
        if self._is_looking:
            return  # it was called from within: the loop below goes on
        self._is_looking = True
        try:
            while self._waiting and self._has_room(self._waiting[0][0].unfinished):
                connection, take = self._waiting.popleft()
                self.held_bytes += take(connection)
        finally:
            self._is_looking = False

    def _has_room(self, size: int) -> bool:
        return not self.held_bytes or self.held_bytes + size <= MOST_GIANT_BYTES


class GiantIntake(ABC):
    """The part of an intake that takes giants. Implements ``mllp.inbound.GiantReceiver``."""

    connection: ListenConnection
    _parts: Parts
    _giants: GiantQueue

    @abstractmethod
    def frame_received(
        self, connection: Inbound, content: bytes, prepared: Prepared | None = None
    ) -> None: ...

    @abstractmethod
    def _is_taken_apart(self, header: Header) -> bool:
        """Return whether the messages in such a frame are stored, not the frame."""

    def giant_waits(self, connection: Inbound) -> None:
        """Take it when it is its turn."""
        self._giants.ask(connection, self._begin)

    def _begin(self, connection: Inbound) -> int:
        giant = connection.take_giant()
        if giant is None:
            return 0
        self._parts.spawn(self._take_giant(connection, giant))
        return giant.size

    async def _take_giant(self, connection: Inbound, giant: Giant) -> None:
        size = giant.size
        try:
            prepared = await self._prepare(giant)
            if prepared is not None and not self._is_taken_apart(prepared.header):
                await put_away(self._parts, prepared.sealed)
            if prepared is None or self._parts.stopping:
                connection.abort()  # unanswered: its sender has it, and what follows
                return
            self.frame_received(connection, prepared.content, prepared)
            forget_unplaced(self._parts, prepared.sealed)
            del prepared
            connection.go_on()
            await self._parts.group.durable()
        except EngineError:
            return  # of a commit: who must hear of it hears, and the engine stops
        finally:
            self._giants.done(size)

    async def _prepare(self, giant: Giant) -> Prepared | None:
        ring, ignores_msh7 = self._parts.ring, self.connection.guard_ignore_msh7

        def work() -> Prepared:
            content = giant.content()
            header = read_header(content)
            compared = compared_bytes(header, content, ignore_msh7=ignores_msh7)
            digest = ring.digest(compared)
            return Prepared(content, ring.enclose(content), digest, ignores_msh7, header)

        try:
            async with self._giants.one_at_a_time:
                return await self._parts.loop.run_in_executor(None, work)
        except Exception:  # noqa: BLE001 - a fault of ours, such as no memory: this frame only
            return None


async def enclosed(parts: Parts, giants: Mapping[int, tuple[bytes, ...]]) -> Mapping[int, Enclosed]:
    """Seal giants in a thread and put them away, before their places are known.

    Whatever fails in the thread is left out.

    Raises:
        StorageFailedError: they are not on stable storage, and nothing will be.
    """

    def work() -> Mapping[int, Enclosed]:
        return {place: parts.ring.enclose(*giant) for place, giant in giants.items()}

    try:
        sealed = await parts.loop.run_in_executor(None, work)
    except Exception:  # noqa: BLE001 - who needs it seals it as any content, or meets the fault
        return NO_GIANTS
    for body in sealed.values():
        await put_away(parts, body)
    return sealed


@dataclass(frozen=True, slots=True)
class Ahead:
    """What was made of a giant before it had a number: its body is on the disk."""

    sealed: Enclosed
    digest: bytes


async def ahead_of(parts: Parts, content: bytes) -> Ahead | None:
    """Seal a giant that comes in on no connection, and put it away; None where none is needed.

    Raises:
        StorageFailedError: it is not on stable storage, and nothing will be.
    """
    if len(content) < GIANT_BYTES:
        return None
    ring = parts.ring
    try:
        found = await parts.loop.run_in_executor(
            None, lambda: Ahead(ring.enclose(content), ring.digest(content))
        )
    except Exception:  # noqa: BLE001 - it is sealed as any content, or meets the fault
        return None
    await put_away(parts, found.sealed)
    return found


async def put_away(parts: Parts, body: Enclosed) -> None:
    """Write a sealed body ahead of what it belongs to, a piece with each commit; on disk at the end.

    When the engine is stopping it may end before: nothing of it is written then that matters.

    Raises:
        StorageFailedError: it is not on stable storage, and nothing will be.
    """
    giant = parts.numbers.next_giant()
    for n, piece in enumerate(body.pieces()):
        async with parts.one_piece:
            while parts.group.is_behind and not parts.stopping:
                await parts.clock.sleep(BREATH_SECONDS)
            if parts.stopping:
                return
            parts.group.batch.pieces.append(GiantPiece(giant, n, piece))
            await parts.group.durable()
    body.put_away(giant)


def forget_unplaced(parts: Parts, body: Enclosed) -> None:
    """Let the pieces go of a body that nothing came to belong to."""
    if body.giant and not body.is_placed:
        parts.group.batch.lost_giants.append(body.giant)
        parts.group.lazily()
