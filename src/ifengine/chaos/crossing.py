"""One connection through the proxy: from the sender's side to the receiver's and back."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from ifengine.chaos.acts import Act, Amounts, Blackout, End, Exchange, Keep, Say, Wait
from ifengine.chaos.answers import Answer, framed, made_up
from ifengine.chaos.choosing import Chooser
from ifengine.chaos.splitting import Splitter
from ifengine.chaos.streams import Stream
from ifengine.chaos.table import Misbehaviour
from ifengine.clock import Clock
from ifengine.mllp.sockets import forget_unsent

READ_BYTES = 65536
MOST_FRAME_BYTES = 256 * 1024 * 1024


class Side(NamedTuple):
    """The streams of one side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Settings(Protocol):
    """What a connection is told of the proxy's options."""

    @property
    def lose(self) -> bool: ...
    @property
    def sides(self) -> frozenset[str]: ...


class Home(Protocol):
    """The proxy that a connection belongs to."""

    chooser: Chooser
    clock: Clock
    amounts: Amounts
    requests: int
    answers: int
    previous: bytes
    kept: bytes
    held: Any  # the connection and the answer that wait for another

    @property
    def options(self) -> Settings: ...
    @property
    def now(self) -> float: ...
    def count(self, name: str) -> None: ...
    def darken(self, seconds: float) -> None: ...
    async def light(self) -> bool: ...


class Crossing:
    """Passes frames both ways until one side ends or a misbehaviour ends it."""

    def __init__(self, home: Home, near: Side, far: Side, toxics: Collection[str]) -> None:
        self._home = home
        self._near = near
        self._far = far
        self._over = asyncio.Event()
        self._awaited: deque[Misbehaviour | None] = deque()  # what becomes of the next answers
        self._silent = False
        self._speaking = asyncio.Lock()  # towards the sender: acts are not mixed
        sides, amounts, draw = home.options.sides, home.amounts, home.chooser.draw
        self._requests = Stream(toxics if "requests" in sides else (), amounts, draw)
        self._answers = Stream(toxics if "answers" in sides else (), amounts, draw)

    async def run(self) -> None:
        """Pass until the end."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._guarded(part))
                for part in (self._open, self._pass_requests, self._pass_answers)
            ]
            try:
                await self._over.wait()
            finally:
                for task in tasks:
                    task.cancel()

    def reset(self) -> None:
        """Reset both sides now."""
        for side in (self._near, self._far):
            reset(side.writer)
        self._over.set()

    async def _guarded(self, part: Callable[[], Awaitable[None]]) -> None:
        """Run one part; a connection that fails is one that ends."""
        try:
            await part()
        except OSError:
            self._over.set()

    async def _open(self) -> None:
        home = self._home
        kept, home.kept = home.kept, b""
        if kept:
            await self._perform([Say(kept)], self._near.writer)
        opening = self._answers.opened() or self._requests.opened()
        await self._perform(opening, self._near.writer)

    async def _pass_requests(self) -> None:
        splitter = Splitter(MOST_FRAME_BYTES)
        far = self._far.writer
        while data := await self._read(self._near):
            for piece in splitter.received(data):
                if piece.is_frame:
                    self._home.requests += 1
                    chosen = self._home.chooser.for_message(self._home.now)
                    if chosen is not None and self._home.options.lose and not chosen.is_yes:
                        await self._misbehave(chosen, made_up(piece.content), is_true=False)
                        continue
                    self._awaited.append(chosen)
                await self._perform(self._requests.passed(piece.data), far)
        await self._perform(self._requests.passed(splitter.rest()), far)
        await self._perform(self._requests.closing(), far)
        if far.can_write_eof():
            far.write_eof()
        else:
            await self._close(far)

    async def _pass_answers(self) -> None:
        splitter = Splitter(MOST_FRAME_BYTES)
        while data := await self._read(self._far):
            for piece in splitter.received(data):
                if not piece.is_frame:
                    await self.speak([Say(piece.data)])
                    continue
                self._home.answers += 1
                chosen = self._awaited.popleft() if self._awaited else None
                if chosen is not None:
                    await self._misbehave(chosen, piece.content)
                else:
                    await self._answer(piece.content)
        await self.speak([Say(splitter.rest())])
        await self._perform(self._answers.closing(), self._near.writer)
        await self._close(self._near.writer)

    async def _answer(self, content: bytes) -> None:
        """Pass an answer on as it came; first complete an exchange that waits for it."""
        home = self._home
        home.previous = content
        if home.held is not None:
            await self._exchanged(framed(content))
        else:
            await self.speak([Say(framed(content))])

    async def _misbehave(
        self, chosen: Misbehaviour, content: bytes, *, is_true: bool = True
    ) -> None:
        home = self._home
        assert chosen.behaviour is not None  # noqa: S101 - those of answers have one
        acts = chosen.behaviour(Answer(content, home.previous), home.amounts)
        if (
            is_true
        ):  # else the answer before could say yes to a message that was lost and comes again
            home.previous = content
        home.count(chosen.name)
        if home.held is not None and any(isinstance(act, Exchange) for act in acts):
            await self._exchanged(framed(content))
        else:
            await self.speak(acts)

    async def _exchanged(self, frame: bytes) -> None:
        other, held = self._home.held
        self._home.held = None
        with suppress(OSError):  # that connection may be gone: then this answer is lost
            await other.speak([Say(frame)])
        await self.speak([Say(held)])

    async def speak(self, acts: Sequence[Act]) -> None:
        """Perform these towards the sender."""
        async with self._speaking:
            for act in acts:
                if isinstance(act, Say) and not self._silent:
                    await self._perform(self._answers.passed(act.data), self._near.writer)
                elif not isinstance(act, Say):
                    await self._perform([act], self._near.writer)

    async def _perform(self, acts: Sequence[Act], writer: asyncio.StreamWriter) -> None:
        home = self._home
        for act in acts:
            match act:
                case Say(data):
                    await home.light()
                    writer.write(data)
                    await writer.drain()
                case Wait(seconds):
                    await home.clock.sleep(seconds)
                case Exchange(frame):
                    home.held = (self, frame)
                case Keep(data):
                    home.kept = data
                case Blackout(seconds):
                    home.darken(seconds)
                    await home.light()
                case End.CLOSE:
                    await self._close(writer)
                    return
                case End.RESET:
                    self.reset()
                    return
                case End.SILENCE:
                    self._silent = True

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        """Close one side in order: what was said arrives before the end."""
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._over.set()

    async def _read(self, side: Side) -> bytes:
        """Return what a side says; nothing of one that was reset while nothing could pass."""
        await self._home.light()
        data = await side.reader.read(READ_BYTES)
        failed = side.reader.exception() if await self._home.light() else None
        if failed is not None:
            raise failed
        return data


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        forget_unsent(connection)
    writer.transport.abort()
