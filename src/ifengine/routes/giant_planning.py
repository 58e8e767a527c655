"""Planning of giants: taken apart and sealed in a thread, decided on the loop like any message.

What a channel remembers, and who its patients are, is read on the loop alone: no plan sees half of
what another one wrote. What follows a giant in its channel waits, as it does for a call.
"""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress

from ifengine.errors import EngineError
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.message import Message
from ifengine.pieces import GIANT_BYTES
from ifengine.routes.catching_up import Catching
from ifengine.routes.decisions import Decision
from ifengine.routes.giants import NO_GIANTS, enclosed
from ifengine.routes.parts import Parts
from ifengine.routes.planning import PlanWriter
from ifengine.routes.received import Received
from ifengine.store.giants import Enclosed
from ifengine.transforms.base import CallNeededError

MOST_JOINS = 4  # of one message: what more destinations make of it is joined on the loop


class JoinNeededError(CallNeededError):
    """What the steps made of a giant is to be joined first, in a thread: the run starts over."""

    def __init__(self, message: Message) -> None:
        EngineError.__init__(self, "a giant is to be joined first")
        self.message = message  # of nobody else


class GiantPlanning(Catching):
    """The part of a pipeline that plans giants."""

    _parts: Parts
    _calling: bool
    _current: int | None
    _taken_apart: tuple[int, CharsetPolicy, Message | None] | None = None
    _joined: tuple[Message, ...] = ()  # in a thread, of the message that is being planned
    _joins = 0

    @abstractmethod
    def charset_of(self, listener: int) -> CharsetPolicy: ...

    @abstractmethod
    def _plan(self, received: Received) -> None: ...

    @abstractmethod
    def _soon(self) -> None: ...

    @abstractmethod
    def _go_on(self) -> None: ...

    @abstractmethod
    def _write(
        self,
        received: Received,
        decision: Decision,
        keys: tuple[bytes, ...] | None,
        held: str,
        writer: PlanWriter,
        sealed: Mapping[int, Enclosed] = NO_GIANTS,
    ) -> None: ...

    def _is_taken_apart_first(self, received: Received) -> bool:
        """Begin to take a giant apart, which leads to ``_plan`` again; False where none is needed."""
        content, taken = received.content, self._taken_apart
        if content is None or len(content) < GIANT_BYTES:
            return False
        if taken is not None and taken[0] == received.inbox_id:
            return False
        self._calling = True
        self._current = received.inbox_id
        charset = self.charset_of(received.listener)

        async def take_apart() -> None:
            message: Message | None = None
            with suppress(Exception):  # it is met again on the loop, where it has its place
                message = await self._parts.loop.run_in_executor(
                    None, lambda: Message.parse(content, charset=charset, header=received.header)
                )
            self._go_on()
            if not self._parts.stopping:
                self._taken_apart = (received.inbox_id, charset, message)
                self._plan(received)
                self._soon()

        self._parts.spawn(take_apart())
        return True

    def _message_of(self, received: Received, content: bytes) -> Message:
        """Return a message to be changed by the steps.

        Raises:
            MessageError: it is none.
        """
        charset = self.charset_of(received.listener)
        taken = self._taken_apart
        if taken is not None and taken[:2] == (received.inbox_id, charset) and taken[2] is not None:
            return taken[2].copy()  # the run may start over
        return Message.parse(content, charset=charset, header=received.header)

    def _encode(self, message: Message) -> bytes:
        """Return what is sent of a message that its steps changed.

        Raises:
            JoinNeededError: it is to be joined first.
            MessageError: it cannot be written.
        """
        for known in self._joined:
            if message.encode_as(known):
                return message.encode()
        if self._joins < MOST_JOINS and message.is_at_least(GIANT_BYTES):
            raise JoinNeededError(message.copy())
        return message.encode()

    def _join_first(self, received: Received, message: Message) -> None:
        """Join a giant in a thread, and let the run start over; what follows in the channel waits."""
        self._calling = True
        self._current = received.inbox_id
        self._joins += 1

        async def join() -> None:
            with suppress(Exception):  # it is met again on the loop, where it has its place
                await self._parts.loop.run_in_executor(None, message.encode)
                self._joined = (*self._joined, message)
            self._go_on()
            if not self._parts.stopping:
                self._plan(received)
                self._soon()

        self._parts.spawn(join())

    def _seal_and_write(
        self,
        received: Received,
        decision: Decision,
        keys: tuple[bytes, ...] | None,
        held: str,
        writer: PlanWriter,
    ) -> None:
        """Write a decision; giants that it sends are sealed before."""
        self._taken_apart, self._joined, self._joins = None, (), 0
        giants = writer.giants(received.content or b"", decision.plan)
        if not giants:
            self._write(received, decision, keys, held, writer)
            return
        self._calling = True
        self._current = received.inbox_id

        async def seal() -> None:
            try:
                sealed = await enclosed(self._parts, giants)
            except EngineError:
                return  # of a commit: the engine stops
            if self._parts.stopping:
                return  # it is planned after the next start
            self._go_on()
            self._write(received, decision, keys, held, writer, sealed)
            self._soon()

        self._parts.spawn(seal())
