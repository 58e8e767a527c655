"""The metrics port: ``GET /metrics``, ``/livez`` and ``/readyz``, and nothing else.

A protocol of a hundred lines instead of a web framework: it reads at most 8 KiB, takes 5 seconds
for a request, answers once and closes, and never repeats a byte of what was asked.
"""

import asyncio
from collections.abc import Callable
from typing import cast

MOST_REQUEST_BYTES = 8192
REQUEST_SECONDS = 5.0
MOST_CONNECTIONS = 32
MOST_SHARE = 0.1
"""Of the loop's time that pages of metrics may take, however many are asked for."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PLAIN = "text/plain; charset=utf-8"
_END = b"\r\n\r\n"
_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class MetricsServer:
    """Serves the text of ``metrics_text``, and whether the engine is alive and ready.

    ``ready`` says also what is in the way, in words safe to show.
    """

    def __init__(
        self,
        host: str,
        port: int,
        metrics_text: Callable[[], bytes],
        live: Callable[[], bool],
        ready: Callable[[], tuple[bool, str]],
    ) -> None:
        self._host = host
        self._asked_port = port
        self._metrics_text = metrics_text
        self._live = live
        self._ready = ready
        self._server: asyncio.Server | None = None
        self._open: set[_Request] = set()
        self._waiting: list[tuple[_Request, bytes]] = []
        self._text: bytes | None = None  # the page, while those that wait are answered
        self._is_sharing = False
        self._due_at = 0.0  # when the next page of metrics may be made

    @property
    def port(self) -> int:
        """Return the bound port; the one asked for while it is not bound."""
        sockets = self._server.sockets if self._server is not None else ()
        return int(sockets[0].getsockname()[1]) if sockets else self._asked_port

    async def start(self) -> None:
        """Listen. Raises OSError where the address cannot be used."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Request(self), self._host, self._asked_port, reuse_address=True
        )

    async def stop(self) -> None:
        """Close the port and every connection on it."""
        server = self._server
        if server is None:
            return
        self._server = None
        server.close()
        for request in list(self._open):
            request.abort()
        await server.wait_closed()

    def opened(self, request: "_Request") -> bool:
        """Take a connection; False when there are too many."""
        if len(self._open) >= MOST_CONNECTIONS:
            return False
        self._open.add(request)
        return True

    def closed(self, request: "_Request") -> None:
        """Forget a connection."""
        self._open.discard(request)

    def ask(self, request: "_Request", head: bytes) -> None:
        """Answer a request; one for the metrics not before their share of the time allows it.

        All that wait get the same page, made then: what it says is true when it is sent.
        """
        if b"/metrics" not in head.split(b"\r\n", 1)[0]:
            request.answer(self.respond(head))
            return
        self._waiting.append((request, head))
        if self.now() >= self._due_at:
            self._answer_waiting()
        elif len(self._waiting) == 1:
            self.later(self._due_at, self._answer_waiting)

    def now(self) -> float:
        """Return the loop's time, in seconds."""
        return asyncio.get_running_loop().time()

    def later(self, at: float, act: Callable[[], None]) -> None:
        """Let something be done at a time of the loop."""
        asyncio.get_running_loop().call_at(at, act)

    def _answer_waiting(self) -> None:
        begun = self.now()
        waiting, self._waiting = self._waiting, []
        self._is_sharing = True
        for request, head in waiting:
            request.answer(self.respond(head))
        self._is_sharing, self._text = False, None
        now = self.now()
        self._due_at = now + (now - begun) * (1 / MOST_SHARE - 1)

    def respond(self, head: bytes) -> bytes:
        """Return the whole response to a request's head; ``ask`` says when."""
        line = head.split(b"\r\n", 1)[0].split(b" ")
        if len(line) != 3 or not line[2].startswith(b"HTTP/1."):
            return response(400, b"bad request\n")
        method, target, _ = line
        if method not in (b"GET", b"HEAD"):
            return response(405, b"only GET\n")
        try:
            status, body, kind = self._page(target.split(b"?", 1)[0])
        except Exception:  # noqa: BLE001 - a broken collector must not end the server or say why
            status, body, kind = 500, b"failed\n", _PLAIN
        return response(status, body, kind, head_only=method == b"HEAD")

    def _page(self, path: bytes) -> tuple[int, bytes, str]:
        match path:
            case b"/metrics":
                text = self._metrics_text() if self._text is None else self._text
                if self._is_sharing:
                    self._text = text
                return 200, text, METRICS_TYPE
            case b"/livez":
                return (200, b"live\n", _PLAIN) if self._live() else (503, b"not live\n", _PLAIN)
            case b"/readyz":
                ready, in_the_way = self._ready()
                if ready:
                    return 200, b"ready\n", _PLAIN
                return 503, f"not ready: {in_the_way}\n".encode(), _PLAIN
            case _:
                return 404, b"/metrics /livez /readyz\n", _PLAIN


class _Request(asyncio.Protocol):
    """One connection, one request."""

    def __init__(self, server: MetricsServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's classes
        self._transport = cast("asyncio.Transport", transport)
        if not self._server.opened(self):
            self._transport.abort()
            return
        # covers the request and the reading of the answer
        self._timer = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self.abort)

    def data_received(self, data: bytes) -> None:
        if self._answered or self._transport is None:
            return
        self._buffer += data
        if _END in self._buffer:
            head = bytes(self._buffer.split(_END, 1)[0])
            self._answered = True
            self._buffer.clear()
            self._server.ask(self, head)
        elif len(self._buffer) > MOST_REQUEST_BYTES:
            self._answered = True
            self._buffer.clear()
            self.answer(response(413, b"too large\n"))

    def answer(self, whole: bytes) -> None:
        """Write the response, and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(whole)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.closed(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()


def response(
    status: int, body: bytes, content_type: str = _PLAIN, *, head_only: bool = False
) -> bytes:
    """Return an HTTP/1.1 response that ends the connection."""
    head = (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    ).encode("ascii")
    return head if head_only else head + body
