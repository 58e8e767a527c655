"""The proxy: takes connections, passes bytes, and performs what was chosen."""

import asyncio
import select
import socket
import ssl
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from ifengine.chaos.acts import Amounts
from ifengine.chaos.choosing import Chooser
from ifengine.chaos.crossing import Crossing, Side
from ifengine.clock import Clock

HANDSHAKE_SECONDS = 10.0
MOST_CONNECTIONS = 1024
_LOOK_SECONDS = 0.05
_HUNG_UP = getattr(select, "POLLRDHUP", select.POLLHUP)  # the first is Linux's
_BLOCKING = frozenset({"never_reads", "tls_hang"})


class Contexts(NamedTuple):
    """TLS of both sides; None: plaintext."""

    listen: ssl.SSLContext | None = None
    send: ssl.SSLContext | None = None
    expired: ssl.SSLContext | None = None
    wrong: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a proxy is told.

    Attributes:
        lose: a message whose answer will be no yes does not reach the receiver; the answer that
            is changed is made up.
        most: stop after so many misbehaviours.
    """

    host: str = "127.0.0.1"
    port: int = 0
    to_host: str = "127.0.0.1"
    to_port: int = 0
    server_name: str | None = None
    lose: bool = False
    sides: frozenset[str] = frozenset({"requests", "answers"})
    most: int | None = None


class Proxy:
    """Listens until it is stopped.

    Attributes:
        done: how often each misbehaviour happened.
        connections: how many were taken.
        requests: messages that came.
        answers: answers of the receiver.
    """

    def __init__(
        self,
        options: Options,
        chooser: Chooser,
        clock: Clock,
        *,
        amounts: Amounts | None = None,
        contexts: Contexts | None = None,
    ) -> None:
        self.options = options
        self.chooser = chooser
        self.clock = clock
        self.amounts = amounts or Amounts()
        self.contexts = contexts or Contexts()
        self.done: Counter[str] = Counter()
        self.connections = 0
        self.requests = 0
        self.answers = 0
        self.port = 0
        self.previous = b""  # the answer before, on whatever connection
        self.kept = b""  # what the next connection hears first
        self.held: tuple[Crossing, bytes] | None = None  # an answer that waits for another
        self._dark_until = 0.0
        self._started = 0.0
        self._open: set[Crossing] = set()
        self._listening: socket.socket | None = None
        self._stopped = asyncio.Event()

    @property
    def now(self) -> float:
        """Return the seconds since the start."""
        return self.clock.monotonic() - self._started

    def start(self) -> None:
        """Bind; ``port`` is then the real one.

        Raises:
            OSError: it cannot listen there.
        """
        options = self.options
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        self._listening = socket.create_server(
            (options.host, options.port), family=family, backlog=MOST_CONNECTIONS
        )
        self._listening.setblocking(False)
        self.port = self._listening.getsockname()[1]
        self._started = self.clock.monotonic()

    def stop(self) -> None:
        """Let ``run`` come to its end."""
        self._stopped.set()

    async def run(self) -> None:
        """Serve until ``stop``; then reset everything that is open."""
        assert self._listening is not None  # noqa: S101 - start comes first
        try:
            async with asyncio.TaskGroup() as group:
                own: set[asyncio.Task[None]] = set()
                taking = group.create_task(self._take(group, own, self._listening))
                flapping = group.create_task(self._flap())
                try:
                    await self._stopped.wait()
                finally:
                    for task in (taking, flapping, *own):
                        task.cancel()
        finally:
            self._listening.close()

    def count(self, name: str) -> None:
        """Count one misbehaviour."""
        self.done[name] += 1
        if self.options.most is not None and self.done.total() >= self.options.most:
            self.chooser.is_calm = True

    def darken(self, seconds: float) -> None:
        """Let nothing pass for a while."""
        self._dark_until = max(self._dark_until, self.clock.monotonic() + seconds)

    async def light(self) -> bool:
        """Wait until something may pass; return whether it had to.

        What was held comes some time after the network is back, as a retransmission does: the
        longer it was tried, the longer the pause until TCP tries again.
        """
        begun = self.clock.monotonic()
        if self._dark_until <= begun:
            return False
        while (left := self._dark_until - self.clock.monotonic()) > 0:
            await self.clock.sleep(min(left, _LOOK_SECONDS))
        await self.clock.sleep((self.clock.monotonic() - begun) * self.chooser.draw())
        return True

    async def _take(
        self, group: asyncio.TaskGroup, own: set[asyncio.Task[None]], listening: socket.socket
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, _ = await loop.sock_accept(listening)
            except OSError:  # too many files, or the peer left already
                await self.clock.sleep(_LOOK_SECONDS)
                continue
            if len(own) >= MOST_CONNECTIONS:
                peer.close()
                continue
            task = group.create_task(self._serve(peer))
            own.add(task)
            task.add_done_callback(own.discard)

    async def _flap(self) -> None:
        while True:
            await self.clock.sleep(self.amounts.flap)
            if self.chooser.flaps(self.now):
                for crossing in list(self._open):
                    crossing.reset()
                    self.count("flap")

    async def _serve(self, peer: socket.socket) -> None:
        """Serve one connection to its end. Whatever a peer does ends this connection alone."""
        self.connections += 1
        try:
            with suppress(OSError, ssl.SSLError):
                peer.setblocking(False)
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if await self.light() and was_reset(peer):
                    return
                chosen = {row.name for row in self.chooser.for_connection(self.now)}
                for name in chosen:
                    self.count(name)
                if chosen & _BLOCKING:
                    await self._leave_waiting(peer)
                    return
                near = await self._greet(peer, chosen)
                try:
                    await self._cross(near, chosen)
                finally:
                    near.writer.transport.abort()
        finally:
            peer.close()

    async def _cross(self, near: Side, toxics: set[str]) -> None:
        options = self.options
        far = Side(
            *await asyncio.open_connection(
                options.to_host,
                options.to_port,
                ssl=self.contexts.send,
                server_hostname=(options.server_name or options.to_host)
                if self.contexts.send
                else None,
            )
        )
        crossing = Crossing(self, near, far, toxics)
        self._open.add(crossing)
        try:
            await crossing.run()
        finally:
            self._open.discard(crossing)
            far.writer.transport.abort()

    async def _leave_waiting(self, peer: socket.socket) -> None:
        """Read nothing until the peer gives up."""
        while not is_gone(peer):
            await self.clock.sleep(_LOOK_SECONDS)

    async def _greet(self, peer: socket.socket, chosen: set[str]) -> Side:
        """Make streams of an accepted socket; under TLS this is the handshake."""
        context = self.contexts.listen
        if "tls_expired" in chosen:
            context = self.contexts.expired
        elif "tls_wrong" in chosen:
            context = self.contexts.wrong
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            peer,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if context else None,
        )
        return Side(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


def is_gone(peer: socket.socket) -> bool:
    """Return whether the peer has closed or reset, without reading what it sent."""
    if peer.fileno() < 0:
        return True
    looking = select.poll()
    looking.register(peer, _HUNG_UP)
    return any(events for _, events in looking.poll(0))


def was_reset(peer: socket.socket) -> bool:
    """Return whether the peer is gone for good: what it sent before counts no more."""
    if peer.fileno() < 0:
        return True
    looking = select.poll()
    looking.register(peer, 0)  # errors and hang-ups are always reported
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in looking.poll(0))
