"""One outbound MLLP connection that moves frames and says what became of it."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, cast

from ifengine.failpoints import fp, is_armed, write_through
from ifengine.mllp.framing import (
    PEER_CLOSED,
    DecoderCounts,
    Fault,
    Frame,
    FrameDecoder,
    Signal,
    Tolerance,
    encode_frame,
)
from ifengine.mllp.giants import frame_of
from ifengine.mllp.inbound import SILENCE_SECONDS
from ifengine.mllp.sockets import forget_unsent, tune
from ifengine.mllp.tls import is_pinned
from ifengine.pieces import GIANT_BYTES

_TOLERATE = frozenset(
    {
        Tolerance.WHITESPACE_BETWEEN_FRAMES,
        Tolerance.MISSING_CR_AFTER_END_BLOCK,
        Tolerance.BYTES_BEFORE_START_BLOCK,
    }
)

Spawn = Callable[[Coroutine[Any, Any, None]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """One peer.

    Attributes:
        pinned: SHA-256 digests of the peer's certificate (DER); empty: the context decides.
        server_name: name for SNI and the host name check, where it is not ``host``.
        max_answer_bytes: the largest answer that is read.
    """

    name: str
    host: str
    port: int
    ssl_context: ssl.SSLContext | None = None
    pinned: tuple[bytes, ...] = ()
    server_name: str | None = None
    connect_timeout_seconds: float = 10.0
    max_answer_bytes: int = 1024 * 1024


class ClientEvents(Protocol):
    """Who owns a client. Called on the loop; must not block and must not raise."""

    def connected(self, client: "MllpClient") -> None:
        """Learn that ``send`` is possible; under TLS the peer is proven."""
        ...

    def frame_received(self, client: "MllpClient", content: bytes) -> None:
        """Take one frame of the peer."""
        ...

    def unframed_received(self, client: "MllpClient", data: bytes) -> None:
        """Take what the peer sent that was no frame: it often names why no answer came."""
        ...

    def disconnected(self, client: "MllpClient", reason: str) -> None:
        """Learn the end; once for each ``connect``, also when the owner closed.

        ``reason`` is refused, unreachable, timeout, tls, reset, closed, framing, or what the
        owner gave to ``close``.
        """
        ...


class MllpClient:
    """One connection at a time to one peer; never falls back to plaintext.

    Args:
        options: the peer.
        events: the owner.
        spawn: starts the coroutine that connects, such as ``TaskGroup.create_task``; without
            it the client owns the task and ends it in ``close``.
    """

    __slots__ = (
        "_attempt",
        "_connecting",
        "_events",
        "_link",
        "_spawn",
        "_task",
        "counts",
        "options",
    )

    def __init__(
        self, options: ClientOptions, events: ClientEvents, spawn: Spawn | None = None
    ) -> None:
        self.options = options
        self.counts = DecoderCounts()
        self._events = events
        self._spawn = spawn
        self._attempt = 0
        self._connecting = False
        self._task: object = None  # what spawn returned
        self._link: Outbound | None = None

    @property
    def is_connected(self) -> bool:
        """Whether ``send`` is possible."""
        return self._link is not None

    @property
    def is_connecting(self) -> bool:
        """Whether a ``connect`` has no result yet."""
        return self._connecting

    def connect(self) -> None:
        """Begin to connect; ``connected`` or ``disconnected`` follows.

        Raises:
            RuntimeError: it is connected or connecting already.
        """
        if self._link is not None or self._connecting:
            raise RuntimeError("client is connected or connecting already")
        self._attempt += 1
        self._connecting = True
        spawn = self._spawn or asyncio.get_running_loop().create_task
        self._task = spawn(self._connect(self._attempt))

    def send(self, content: bytes) -> None:
        """Frame and write; leaves at once.

        Raises:
            ConnectionError: it is not connected.
            ValueError: the content cannot be framed, see ``encode_frame``.
        """
        if len(content) < GIANT_BYTES:
            parts: tuple[bytes, ...] = (encode_frame(content),)
        else:
            parts = frame_of(content)  # a copy of it would hold up everybody else
        if self._link is None:
            raise ConnectionError("not connected")
        self._link.write(*parts)

    def close(self, reason: str = "closed") -> None:
        """End the connection or the attempt; ``disconnected`` is called before this returns.

        Bytes of an unfinished answer are reported as unframed first. Nothing of this
        connection is reported afterwards.
        """
        self._end(reason, abort=False)

    def abort(self, reason: str = "closed") -> None:
        """End with a reset: bytes that have not reached the peer yet never do."""
        self._end(reason, abort=True)

    def _end(self, reason: str, *, abort: bool) -> None:
        link, task = self._link, self._task
        if link is not None:
            link.leave(abort=abort)
            self._finish(link, reason)
        elif self._connecting:
            self._attempt += 1  # whatever the attempt still brings is not ours
            self._connecting = False
            if isinstance(task, asyncio.Task):
                task.cancel()
            self._events.disconnected(self, reason)

    def _finish(self, link: "Outbound", reason: str) -> None:
        """Report the end of this connection, once."""
        if self._link is not link:
            return
        rest = link.rest()
        if rest:
            self._events.unframed_received(self, rest)
        if self._link is link:
            self._link = None
            self._events.disconnected(self, reason)

    async def _connect(self, attempt: int) -> None:
        options = self.options
        link: Outbound | None = None
        try:
            async with asyncio.timeout(options.connect_timeout_seconds):
                link = await self._open()
                fp("deliver.connected")
            reason = "" if self._is_peer(link) else "tls"
        except TimeoutError:
            reason = "timeout"
        except ConnectionRefusedError:
            reason = "refused"
        except (ssl.SSLError, ssl.CertificateError):
            reason = "tls"
        except ConnectionError:
            # A peer that hangs up during the handshake does not like what it sees.
            reason = "reset" if options.ssl_context is None else "tls"
        except OSError:
            reason = "unreachable"
        if attempt != self._attempt:
            if link is not None:
                link.leave(abort=True)
            return
        self._connecting = False
        if link is not None and not reason and link.lost is not None:
            reason = link.lost
        if link is None or reason:
            if link is not None:
                link.leave(abort=True)
            self._events.disconnected(self, reason)
            return
        self._link = link
        self._events.connected(self)
        link.pump()

    async def _open(self) -> "Outbound":
        """Try each address of the host in turn; the last failure counts."""
        options = self.options
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
        failure: OSError = OSError("no address")
        for family, kind, protocol, _, address in dict.fromkeys(found):
            connection = socket.socket(family, kind, protocol)
            try:
                tune(connection)
                forget_unsent(connection)  # whatever ends it, but an orderly close
                await loop.sock_connect(connection, address)
            except OSError as error:
                connection.close()
                failure = error
                continue
            except BaseException:
                connection.close()
                raise
            return await self._secure(connection)
        raise failure

    async def _secure(self, connection: socket.socket) -> "Outbound":
        """Make the transport; under TLS this is the handshake."""
        options = self.options
        loop = asyncio.get_running_loop()
        link = Outbound(self, options.max_answer_bytes, self.counts)
        secure = options.ssl_context is not None
        try:
            await loop.create_connection(
                lambda: link,
                sock=connection,
                ssl=options.ssl_context,
                server_hostname=(options.server_name or options.host) if secure else None,
                ssl_handshake_timeout=options.connect_timeout_seconds if secure else None,
            )
        except BaseException:
            connection.close()
            raise
        return link

    def _is_peer(self, link: "Outbound") -> bool:
        """Return whether the certificate is one of the pinned ones, where any is pinned."""
        options = self.options
        if options.ssl_context is None:
            return not options.pinned  # pins without TLS: nothing could be proven
        return not options.pinned or is_pinned(link.certificate(), options.pinned)


class Outbound(asyncio.Protocol):
    """The protocol of one connection; reports only while it is the client's present one."""

    __slots__ = (
        "_client",
        "_decoder",
        "_silence",
        "_transport",
        "lost",
    )

    def __init__(self, client: MllpClient, max_answer_bytes: int, counts: DecoderCounts) -> None:
        self._client = client
        self._decoder = FrameDecoder(
            max_content_bytes=max_answer_bytes, tolerate=_TOLERATE, counts=counts
        )
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None
        self.lost: str | None = None

    def write(self, *frame: bytes) -> None:
        """Write a frame now, given whole or in parts."""
        if self._transport is None:
            return
        if len(frame) > 1 and not is_armed():
            self._transport.writelines(frame)
            return
        whole = frame[0] if len(frame) == 1 else b"".join(frame)
        write_through(self._transport, whole, "deliver.mid_write", "deliver.written")

    def certificate(self) -> bytes | None:
        """Return the peer's certificate, DER."""
        if self._transport is None:
            return None
        session = self._transport.get_extra_info("ssl_object")
        return None if session is None else cast("bytes | None", session.getpeercert(True))

    def leave(self, *, abort: bool) -> None:
        """Close without a report."""
        self._quiet()
        if self._transport is not None:
            if abort:
                self._transport.abort()
            else:
                connection = self._transport.get_extra_info("socket")
                if connection is not None and connection.fileno() >= 0:
                    forget_unsent(connection, wanted=False)
                self._transport.close()

    def rest(self) -> bytes:
        """Return what is held of an answer that will not be finished."""
        return self._decoder.take_rest()

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Decode, and report frames while this is the present connection."""
        fp("deliver.ack_read")
        if self._silence is not None:
            self._quiet()
        self._decoder.receive_data(data)
        self.pump()

    def eof_received(self) -> bool:
        """Notice at once that the peer is gone."""
        self._decoder.receive_data(b"")
        self.pump()
        self._end("closed")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end, if nobody did."""
        self._quiet()
        self._end(_reason(exc))

    def pump(self) -> None:
        """Report what the decoder has."""
        client = self._client
        take = self._decoder.take_frame
        while client._link is self:
            content = take()
            if content is not None:
                client._events.frame_received(client, content)
                continue
            if self._decoder.is_drained:
                return
            event = self._decoder.next_event()
            if type(event) is Frame:
                client._events.frame_received(client, event.content)
            elif type(event) is Fault:
                client._events.unframed_received(client, event.data)
                if event.fatal:
                    self.leave(abort=True)
                    self._end("framing" if not self._decoder.is_ended else "closed")
                    return
            elif event is PEER_CLOSED or event is Signal.NEED_DATA:
                self._listen_for_silence()
                return

    def _listen_for_silence(self) -> None:
        if self._decoder.waits_for_cr and self._silence is None:
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(SILENCE_SECONDS, self._silent)

    def _silent(self) -> None:
        self._silence = None
        self._decoder.receive_silence()
        self.pump()

    def _quiet(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _end(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
        self._client._finish(self, reason)


def _reason(failure: Exception | None) -> str:
    if failure is None:
        return "closed"
    if isinstance(failure, ssl.SSLError):
        return "tls"
    if isinstance(failure, TimeoutError):
        return "timeout"
    return "reset"
