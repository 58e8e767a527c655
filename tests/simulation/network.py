"""A network in memory: ports, connections, latency, cuts, and lines that swallow what they are given.

Within one connection bytes keep their order, in pieces of any size. ``close`` lets what was written
arrive, ``abort`` does not. A process that dies is cut off: of what it wrote last a part may arrive.
"""

import asyncio
import random
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any, cast

from simulation.loop import InOrder, VirtualLoop

HOST: ContextVar["Host"] = ContextVar("host")  # the process that makes a socket
UNREACHABLE_SECONDS = 60.0
Accept = Callable[["Transport"], asyncio.Protocol | None]


class Line:
    """What one connection is like."""

    def __init__(self, latency: float = 0.0005) -> None:
        self.latency = latency
        self.dead = False  # both ways, and nobody hears of it


class Transport(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: "Network", line: Line, peer: str) -> None:
        super().__init__()
        self.line = line
        self.other: Transport | None = None
        self.protocol: asyncio.Protocol | None = None
        self._network = network
        self._peer = peer
        self._arriving = InOrder(network.loop)
        self._early: list[bytes | None] = []  # came before the protocol, or while it does not read
        self._reading = True
        self._closing = False
        self._gone = False
        self._context = Context()

    def begin(self, protocol: asyncio.Protocol) -> None:
        """Give the end to its protocol, which is called as part of the process that is at work now."""
        self.protocol = protocol
        self._context = copy_context()
        protocol.connection_made(self)
        self._network.loop.call_soon(self._catch_up)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the address of the other end."""
        return (self._peer, 40000) if name == "peername" else default

    def is_closing(self) -> bool:
        """Return whether this end closes."""
        return self._closing

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def get_write_buffer_size(self) -> int:
        """What was written has left at once."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """No limits."""

    def pause_reading(self) -> None:
        """Keep what comes."""
        self._reading = False

    def resume_reading(self) -> None:
        """Give what was kept."""
        self._reading = True
        self._network.loop.call_soon(self._catch_up)

    def write(self, data: Any) -> None:
        """Send, in pieces."""
        if self._closing or self._gone:
            return
        data = bytes(data)
        choose = self._network.choose
        while data:
            size = len(data) if choose.random() < 0.7 else choose.randrange(1, len(data) + 1)
            self._send(data[:size])
            data = data[size:]

    def write_eof(self) -> None:
        """Send no more."""
        if not self._closing:
            self._send(None)

    def _send(self, item: bytes | None) -> None:
        other = self.other
        if other is None:
            return
        latency = self.line.latency * (0.5 + self._network.choose.random())
        other._arriving.after(latency, lambda: other._arrive(item))

    def _arrive(self, item: bytes | None) -> None:
        if self._gone or self._closing or self.line.dead:
            return
        self._early.append(item)
        self._catch_up()

    def _catch_up(self) -> None:
        while self._early and self._reading and self.protocol is not None and not self._gone:
            item = self._early.pop(0)
            if item is not None:
                self._context.run(self.protocol.data_received, item)
            elif not self._context.run(self.protocol.eof_received):
                self.close()

    def close(self) -> None:
        """End when what was written has arrived."""
        if self._closing:
            return
        self._send(None)
        self._closing = True
        self._lose(None)

    def abort(self) -> None:
        """End; what is under way arrives nowhere."""
        other = self.other
        self._closing = True
        if other is not None and not self._gone:
            other._arriving.forget()
            if not self.line.dead:
                reset = ConnectionResetError()
                other._arriving.after(self.line.latency, lambda: other._lose(reset))
        self._lose(None)

    def vanish(self) -> None:
        """The process of this end is no more: the kernel closes; a part of what it sent arrives."""
        other = self.other
        self._gone = self._closing = True
        self._arriving.forget()
        if other is None:
            return
        while len(other._arriving) and self._network.choose.random() < 0.5:
            other._arriving._next()
        other._arriving.forget()
        if not self.line.dead:
            error = ConnectionResetError() if self._network.choose.random() < 0.5 else None
            other._arriving.after(self.line.latency, lambda: other._lose(error))

    def _lose(self, error: Exception | None) -> None:
        if self._gone:
            return
        self._gone = self._closing = True
        if self.protocol is not None:
            self._network.loop.call_soon(
                self.protocol.connection_lost, error, context=self._context
            )


class Host:
    """The network as one process sees it; cut off, it goes on in vain."""

    def __init__(self, network: "Network", name: str) -> None:
        self.network = network
        self.name = name
        self.alive = True
        self.ends: list[Transport] = []

    def die(self) -> None:
        """Take everything of this process off the network."""
        self.alive = False
        network = self.network
        for port in [port for port, sock in network.bound.items() if sock.host is self]:
            del network.bound[port]
        for end in self.ends:
            if not end._gone:
                end.vanish()


class Socket:
    """What the engine takes for a socket."""

    def __init__(self, *_: Any) -> None:
        self.host = HOST.get()
        self._context = copy_context()
        self.transport: Transport | None = None
        self._port = 0
        self._backlog: list[Transport] = []
        self._callback: Callable[[object], Callable[[], None] | None] | None = None

    def setblocking(self, flag: bool) -> None:
        """Never blocks."""

    def setsockopt(self, *_: Any) -> None:
        """No options."""

    def bind(self, address: tuple[Any, ...]) -> None:
        """Take a port."""
        self._port = int(address[1])

    def listen(self, backlog: int) -> None:
        """Take connections."""
        if self.host.alive:
            self.host.network.bound[self._port] = self

    def getsockname(self) -> tuple[str, int]:
        """Return the address."""
        return "127.0.0.1", self._port

    def fileno(self) -> int:
        """Return the port: it is as unique."""
        return self._port

    def close(self) -> None:
        """Give the port back."""
        network = self.host.network
        if network.bound.get(self._port) is self:
            del network.bound[self._port]
        if self.transport is not None and self.transport.protocol is None:
            self.transport.abort()

    def watched(self, callback: Callable[[object], Callable[[], None] | None]) -> None:
        """Tell who waits to be accepted, as long as somebody does."""
        self._callback = callback
        self.host.network.loop.call_soon(self._tell, context=self._context)

    def arrived(self, end: Transport) -> None:
        """Let a new connection wait."""
        self._backlog.append(end)
        self.host.network.loop.call_soon(self._tell, context=self._context)

    def _tell(self) -> None:
        found = self._callback(self) if self._callback and self._backlog else None
        if found is not None and self.host.alive:
            found()

    def accept(self) -> tuple["Socket", tuple[str, int]]:
        """Return the next connection."""
        if not self._backlog:
            raise BlockingIOError
        accepted = Socket()
        accepted.transport = self._backlog.pop(0)
        accepted.host = self.host
        self.host.ends.append(accepted.transport)
        return accepted, (accepted.transport._peer, 40000)

    async def connect(self, address: tuple[str, int]) -> None:
        """Reach a peer."""
        network = self.host.network
        if not self.host.alive:
            raise ConnectionRefusedError
        state = network.reach.get(address[1], "up")
        await asyncio.sleep(network.choose.random() * 0.002)
        if state == "lost":
            await asyncio.sleep(UNREACHABLE_SECONDS)
            raise TimeoutError
        accept = network.peers.get(address[1])
        if state == "refused" or accept is None or not self.host.alive:
            raise ConnectionRefusedError
        self.transport, theirs = network.pair()
        self.host.ends.append(self.transport)
        protocol = accept(theirs)
        if protocol is None:
            theirs.abort()
        else:
            theirs.begin(protocol)


class Network:
    """Everything that is connected."""

    def __init__(self, loop: VirtualLoop, choose: random.Random) -> None:
        self.loop = loop
        self.choose = choose
        self.bound: dict[int, Socket] = {}  # ports of the engine
        self.peers: dict[int, Accept] = {}  # ports of receivers
        self.reach: dict[int, str] = {}  # by port: up, refused, lost
        self.latency = 0.0005
        self.lines: list[Line] = []

    def pair(self, peer: str = "127.0.0.1") -> tuple[Transport, Transport]:
        """Return both ends of a new connection."""
        line = Line(self.latency * (0.2 + 2 * self.choose.random()))
        self.lines.append(line)
        one, other = Transport(self, line, peer), Transport(self, line, peer)
        one.other, other.other = other, one
        return one, other

    def connect(self, port: int, protocol: asyncio.Protocol) -> Transport | None:
        """Connect a peer to the engine; None: nobody listens."""
        listening = self.bound.get(port)
        if listening is None:
            return None
        ours, theirs = self.pair()
        ours.begin(protocol)
        listening.arrived(theirs)
        return ours


class SocketModule:
    """Stands for ``socket`` in the modules that open connections."""

    def __getattr__(self, name: str) -> Any:
        import socket as real

        return cast(Any, Socket if name == "socket" else getattr(real, name))
