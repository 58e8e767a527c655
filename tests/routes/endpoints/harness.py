"""A lane at work, watched: every parcel it is given, everything it says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from engine.support import END, START, ack, control_id
from ifengine.clock import SystemClock
from ifengine.routes.endpoints.base import Lane, Parcel
from ifengine.routes.retry import Attempt, AttemptResult


@dataclass
class Owner:
    """What an outbox hears of its lane."""

    attempts: list[Attempt] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    inside_begin: bool = False
    carrying: bool = False
    faults: list[str] = field(default_factory=list)

    def attempt_ended(self, lane: Lane, attempt: Attempt) -> None:
        if self.inside_begin:
            self.faults.append("told from inside begin")
        if not self.carrying:
            self.faults.append("told of an attempt nobody began")
        self.carrying = False
        self.attempts.append(attempt)
        self.heard.set()

    def application_answer(self, content: bytes, reply: Callable[[bytes], None]) -> bool:
        return False

    def answer_ignored(self, kind: str) -> None:
        self.ignored.append(kind)


class Driver:
    """Gives parcels to one lane, one at a time, as an outbox does; turns its clock."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.lane: Lane
        self.clock = SystemClock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def begin(self, content: bytes, *, name: str = "", timeout: float = 0.3) -> None:
        owner = self.owner
        assert not owner.carrying, "one at a time"
        owner.heard.clear()
        owner.carrying = owner.inside_begin = True
        self.lane.begin(Parcel(content, name, timeout))
        owner.inside_begin = False

    async def carry(self, content: bytes, *, name: str = "", timeout: float = 0.3) -> Attempt:
        """Begin, and return how it ended."""
        self.begin(content, name=name, timeout=timeout)
        return await self.ended()

    async def ended(self, seconds: float = 5.0) -> Attempt:
        async with asyncio.timeout(seconds):
            await self.owner.heard.wait()
        return self.owner.attempts[-1]

    async def turning(self) -> None:
        while True:
            self.lane.sweep(self.clock.monotonic())
            await asyncio.sleep(0.01)

    async def settle_down(self) -> None:
        """Let everything that is still on its way arrive."""
        for _ in range(5):
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def driving(make: Callable[[Driver], Lane]) -> AsyncIterator[Driver]:
    """Drive a lane; at the end it was told of exactly once for each parcel, never from inside."""
    driver = Driver(Owner())
    driver.lane = make(driver)
    clock = asyncio.create_task(driver.turning())
    try:
        yield driver
    finally:
        await driver.lane.close()
        await driver.settle_down()
        clock.cancel()
        for task in list(driver._tasks):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await clock
    assert driver.owner.faults == []
    assert not driver.owner.carrying, "an attempt never ended"


Handler = Callable[["Peer", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Peer:
    """A receiver that behaves as each connection's script says; the last script repeats.

    ``confirmed`` are the control ids it truly said yes to.
    """

    scripts: list[Handler]
    ssl: Any = None
    connections: int = 0
    received: list[bytes] = field(default_factory=list)
    raw: int = 0
    confirmed: list[str] = field(default_factory=list)
    port: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def __aenter__(self) -> "Peer":
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self.ssl, limit=32 * 1024 * 1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await script(self, reader, writer)
        finally:
            writer.transport.abort()
            self.ended.set()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        content = (await reader.readuntil(END))[1:-2]
        self.received.append(content)
        return content

    def answer(self, writer: asyncio.StreamWriter, content: bytes, code: str = "AA") -> None:
        if code in ("AA", "CA"):
            self.confirmed.append(control_id(content))
        writer.write(framed(ack(content, code)))


def framed(content: bytes) -> bytes:
    return START + content + END


async def behaves(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer everything with AA."""
    while True:
        peer.answer(writer, await peer.request(reader))


async def silent(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read everything, answer nothing."""
    while True:
        await peer.request(reader)


def accepted(attempts: list[Attempt]) -> int:
    return sum(attempt.result is AttemptResult.ACCEPTED for attempt in attempts)
