"""Listens for MLLP: who may connect, how many, and the ordered end."""

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from ifengine.clock import Clock
from ifengine.errors import unchained
from ifengine.failpoints import fp
from ifengine.mllp.framing import (
    DEFAULT_TOLERANCES,
    DecoderCounts,
    FramingFault,
    Tolerance,
)
from ifengine.mllp.inbound import Inbound, Receiver
from ifengine.mllp.sockets import plain_address, shown, tune
from ifengine.mllp.turns import ReadingTurns

__all__ = ["Inbound", "ListenerCounts", "ListenerOptions", "MllpListener", "Receiver"]

SWEEP_SECONDS = 1.0
ACCEPT_PAUSE_SECONDS = 1.0
"""Rest after an accept error such as too many open files."""
ACCEPTS_AT_ONCE = 8
"""Connections that are taken before those that are open have their turn."""
ANSWERS_IN_KERNEL_BYTES = 128 * 1024
"""Room for answers that a peer does not read; the system would grow it to megabytes of its own."""
LINGER_AT_STOP_SECONDS = 0.5
READ_AHEAD_BYTES = 1024 * 1024
"""What is read of a stream beyond the frame in hand; more than the loop reads at once."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerOptions:
    """One listener.

    Attributes:
        host: address or name to bind; empty means every interface.
        port: 0 lets the system choose, see ``MllpListener.port``.
        allow: networks that may connect; empty: everybody.
        frame_timeout_seconds: longest pause inside a frame, and longest time a peer may leave
            its answers unread.
        frame_total_seconds: longest time from the first byte of a frame to its last.
        max_unfinished_bytes: bound for what all connections together hold of frames that are not
            whole; one frame of the largest content always has room.
    """

    name: str
    host: str
    port: int
    ssl_context: ssl.SSLContext | None = None
    allow: tuple[Network, ...] = ()
    max_content_bytes: int = 16 * 1024 * 1024
    max_unfinished_bytes: int = 256 * 1024 * 1024
    max_connections: int = 512
    max_connections_per_address: int = 64
    idle_timeout_seconds: float = 3600.0
    frame_timeout_seconds: float = 30.0
    frame_total_seconds: float = 300.0
    handshake_timeout_seconds: float = 10.0
    tolerate: frozenset[Tolerance] = DEFAULT_TOLERANCES
    backlog: int = 128


@dataclass(slots=True)
class ListenerCounts:
    """What happened since the start; ``connections`` is the present number."""

    connections: int = 0
    accepted: int = 0
    not_allowed: int = 0
    over_limit: int = 0
    over_address_limit: int = 0
    over_memory: int = 0
    tls_failures: int = 0
    accept_errors: int = 0
    timeouts: dict[str, int] = field(default_factory=lambda: {"idle": 0, "frame": 0, "write": 0})
    faults: dict[FramingFault, int] = field(default_factory=lambda: dict.fromkeys(FramingFault, 0))
    decoder: DecoderCounts = field(default_factory=DecoderCounts)

    @property
    def tolerated(self) -> dict[Tolerance, int]:
        """Uses of each tolerance."""
        return self.decoder.tolerated


class MllpListener:
    """Accepts connections and gives their frames to a receiver.

    Call order: ``start``, ``stop``. All methods are for the thread of the loop.
    """

    def __init__(self, options: ListenerOptions, receiver: Receiver, clock: Clock) -> None:
        self.options = options
        self.receiver = receiver
        self.counts = ListenerCounts()
        self.is_paused = False
        self.is_stopping = False
        self.decoder_counts = self.counts.decoder
        self.timeouts = self.counts.timeouts
        self.faults = self.counts.faults
        self.name = options.name
        self.max_content_bytes = options.max_content_bytes
        self.tolerate = options.tolerate
        self.idle_timeout_seconds = options.idle_timeout_seconds
        self.frame_timeout_seconds = options.frame_timeout_seconds
        self.frame_total_seconds = options.frame_total_seconds
        self._clock = clock
        self._sockets: list[socket.socket] = []
        self._connections: dict[Inbound, None] = {}  # who waits longest for a turn is the first
        self._by_address: dict[str, int] = {}
        self.unfinished = 0  # bytes, over all connections
        self._unfinished_of: dict[str, int] = {}  # and by address, while it has connections
        self._turns: ReadingTurns | None = None
        self._held_slots = 0  # connections, and those still shaking hands
        self._handshakes: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._owner: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that is really bound.

        Raises:
            RuntimeError: the listener is not started.
        """
        if not self._sockets:
            raise RuntimeError("listener is not started")
        return int(self._sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def pending(self) -> int:
        """Frames handed over and not answered, over all connections."""
        return sum(connection.pending for connection in self._connections)

    def update(self, options: ListenerOptions) -> None:
        """Take other options of the same address: limits now, certificates with the next connection.

        Raises:
            ValueError: the address is another; that takes another listener.
        """
        if (options.host, options.port) != (self.options.host, self.options.port):
            raise ValueError("another address")
        self.options = options
        self.max_content_bytes = options.max_content_bytes
        self.tolerate = options.tolerate
        self.idle_timeout_seconds = options.idle_timeout_seconds
        self.frame_timeout_seconds = options.frame_timeout_seconds
        self.frame_total_seconds = options.frame_total_seconds

    async def start(self) -> None:
        """Bind, and accept from now on.

        Raises:
            OSError: nothing can be bound there; the text names the address.
        """
        loop = asyncio.get_running_loop()
        self._sockets = await _bind(self.options)
        started = asyncio.Event()
        self._owner = loop.create_task(self._own(started), name=f"listener {self.name}")
        await started.wait()
        for listening in self._sockets:
            loop.add_reader(listening, self._accept, listening)
        self._sweep_later()

    def pause_reading(self) -> None:
        """Take no frame from any connection, new ones included; answers still leave."""
        self.is_paused = True
        for connection in list(self._connections):
            connection.hold()

    def resume_reading(self) -> None:
        """Go on where ``pause_reading`` stopped; nothing was lost.

        Who is first now is the last the next time: where a few that send without end fill the
        engine again and again, everybody has a turn all the same.
        """
        self.is_paused = False
        for connection in list(self._connections):
            connection.release()
        if self._connections:
            first = next(iter(self._connections))
            del self._connections[first]
            self._connections[first] = None

    def sweep(self) -> None:
        """Look at every connection's deadlines; runs once a second by itself."""
        now = self._clock.monotonic()
        for connection in list(self._connections):
            connection.sweep(now)

    async def stop(self, grace_seconds: float) -> bool:
        """Stop accepting and reading, let what was handed over be answered, close.

        Returns:
            Whether every frame that was handed over was answered within the grace.
        """
        if self._owner is None:
            return True
        self.is_stopping = True
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()
        try:
            for connection in list(self._connections):
                connection.end()
            answered = await self._wait(lambda: self.pending == 0, grace_seconds)
            for connection in list(self._connections):
                connection.refuse_and_close()
            await self._wait(lambda: not self._connections, LINGER_AT_STOP_SECONDS)
        finally:
            for connection in list(self._connections):
                connection.abort()
            for timer in self._timers.values():
                timer.cancel()
            self._stop.set()
        await self._owner
        await self._wait(lambda: not self._connections, LINGER_AT_STOP_SECONDS)
        self._owner = None
        self._sockets = []
        return answered

    # Called by connections.

    def opened(self, connection: Inbound) -> None:
        """Take up a connection that is ready."""
        self._connections[connection] = None
        self.counts.accepted += 1
        self.counts.connections = len(self._connections)
        self.receiver.connection_opened(connection)

    def closed(self, connection: Inbound) -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)
        self.counts.connections = len(self._connections)
        self._free(connection.peer)
        self._changed.set()
        self.receiver.connection_closed(connection)

    def is_long(self, connection: Inbound, size: int) -> None:
        """Count what a connection just read of a long message, and let it wait where it is enough."""
        turns = self._turns
        if turns is None:
            turns = self._turns = ReadingTurns(asyncio.get_running_loop().call_soon)
        if not turns.may_go_on(connection, size):
            connection.wait_for_turn()

    def grew(self, peer: str, more: int) -> None:
        """Count what a connection holds of frames that are not whole; at the bound one is closed."""
        self.unfinished += more
        self._unfinished_of[peer] = self._unfinished_of.get(peer, 0) + more
        if more > 0 and self.unfinished > self._most_unfinished():
            self.counts.over_memory += 1
            self._largest().give_up_unfinished()

    def _most_unfinished(self) -> int:
        options = self.options
        return max(options.max_unfinished_bytes, options.max_content_bytes + READ_AHEAD_BYTES)

    def _largest(self) -> Inbound:
        """Return what holds most of the address that holds most: one peer cannot crowd out others."""
        of = self._unfinished_of
        peer = max(of, key=of.__getitem__)
        mine = [one for one in self._connections if one.peer == peer]
        return max(mine, key=lambda one: one.unfinished)

    def settled(self) -> None:
        """Learn that an ending connection has nothing pending any more."""
        self._changed.set()

    async def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until the condition holds, at most this long; return whether it does."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return condition()
        return True

    async def _own(self, started: asyncio.Event) -> None:
        """Own the handshakes: none outlives the listener."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            started.set()
            await self._stop.wait()
            for handshake in self._handshakes:
                handshake.cancel()

    def _sweep_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timers["sweep"] = loop.call_later(SWEEP_SECONDS, self._sweep_and_go_on)

    def _sweep_and_go_on(self) -> None:
        self._sweep_later()
        self.sweep()

    # Accepting.

    def _accept(self, listening: socket.socket) -> None:
        """Take waiting connections; an error such as too many open files costs a pause only."""
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, address = listening.accept()
                fp("intake.accept")
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self.counts.accept_errors += 1
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                self._timers[f"accept {listening.fileno()}"] = loop.call_later(
                    ACCEPT_PAUSE_SECONDS, self._accept_again, listening
                )
                return
            self._admit(connection, str(address[0]))

    def _accept_again(self, listening: socket.socket) -> None:
        if not self.is_stopping:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _admit(self, connection: socket.socket, host: str) -> None:
        """Let a connection in, or close it before a byte of it is read."""
        address = plain_address(host)
        peer = str(address)
        allow = self.options.allow
        if allow and not any(address in network for network in allow):
            self.counts.not_allowed += 1
        elif self._held_slots >= self.options.max_connections:
            self.counts.over_limit += 1
        elif self._by_address.get(peer, 0) >= self.options.max_connections_per_address:
            self.counts.over_address_limit += 1
        else:
            self._held_slots += 1
            self._by_address[peer] = self._by_address.get(peer, 0) + 1
            self._spawn(self._open(connection, peer))
            return
        connection.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None:
            raise RuntimeError("listener is not started")
        task = self._group.create_task(work)
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _open(self, connection: socket.socket, peer: str) -> None:
        """Make the transport; under TLS this is the handshake."""
        loop = asyncio.get_running_loop()
        context = self.options.ssl_context
        inbound = Inbound(self, peer)
        made = False
        try:
            tune(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ANSWERS_IN_KERNEL_BYTES)
            await loop.connect_accepted_socket(
                lambda: inbound,
                connection,
                ssl=context,
                ssl_handshake_timeout=(
                    None if context is None else self.options.handshake_timeout_seconds
                ),
            )
            made = True
        except OSError:  # ssl.SSLError is one
            if context is not None and not inbound.is_made:
                self.counts.tls_failures += 1
        finally:
            if not made and not inbound.is_made:
                connection.close()
                self._free(peer)

    def _free(self, peer: str) -> None:
        self._held_slots -= 1
        left = self._by_address.get(peer, 0) - 1
        if left > 0:
            self._by_address[peer] = left
        else:
            self._by_address.pop(peer, None)
            self._unfinished_of.pop(peer, None)


async def _bind(options: ListenerOptions) -> list[socket.socket]:
    """Bind every address of the host; a missing IPv6 beside a bound IPv4 is no error."""
    loop = asyncio.get_running_loop()
    where = shown(options.host or "*", options.port)
    try:
        found = await loop.getaddrinfo(
            options.host or None,
            options.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except OSError as error:
        raise unchained(
            OSError(error.errno, f"cannot listen on {where}: {error.strerror}")
        ) from None
    bound: list[socket.socket] = []
    port = options.port
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                listening = _listen(family, kind, protocol, (address[0], port, *address[2:]))
            except OSError as error:
                if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and (
                    bound or len(found) > 1
                ):
                    continue
                raise unchained(
                    OSError(error.errno, f"cannot listen on {where}: {error.strerror}")
                ) from None
            bound.append(listening)
            listening.listen(options.backlog)
            port = listening.getsockname()[1]  # the second family gets the port of the first
    except OSError:
        for listening in bound:
            listening.close()
        raise
    if not bound:
        raise OSError(errno.EADDRNOTAVAIL, f"cannot listen on {where}: no such address here")
    return bound


def _listen(family: int, kind: int, protocol: int, address: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening
