"""What stands open on the machine: the admin socket's requests and the metrics port."""

import asyncio
import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from admin.world import CANARY, READER, World, adt
from fuzz.draw import Draw
from ifengine.admin.request import Caller, Role
from ifengine.admin.server import AdminServer
from ifengine.admin.service import VERBS, Service
from ifengine.telemetry.http import MOST_REQUEST_BYTES, MetricsServer, response

OPERATOR = Caller("operator", frozenset({Role.OPERATOR}))
NOBODY = Caller("nobody", frozenset())
_VALUES: tuple[object, ...] = (
    "1", "2", 1, 0, -1, True, False, None, "", "adt", "lab", "adt.lab", "why not", [], ["1"], ["1", 2], {},
    2**70, 1.5, "99999999999999999999", "dead_letter", "received", ["1"] * 9, "700123", "MR", "x" * 1200,
    "1/1", "lis:1", "ADT^A01", {"a": 1}, "é", "\ud800", "../..", "now", [[["a"]]], "1-1",
)  # fmt: skip
_REASONS = {"internal", "usage", "not_found", "refused", "failed"}


_VERBS = sorted({*VERBS} - {"config.reload"})  # the world behind it has no files to load again


# --- the admin socket ---------------------------------------------------------------------------


@cache
def _engine() -> tuple[asyncio.AbstractEventLoop, AdminServer]:
    folder = Path(tempfile.mkdtemp(prefix="ifengine-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    world = World(folder)
    world.receive(1, adt("C1"))
    world.dead(2)
    world.receive(3, adt("C3"))
    world.plan(3, world.queue(3))
    return asyncio.new_event_loop(), AdminServer(world.folder / "admin.sock", world, Service(world))


def request(draw: Draw) -> bytes:
    """Return one line as a client might send it: of a verb, about right, or anything."""
    what = draw.number(5)
    if what == 0:
        return draw.rest() + b"\n"
    verb = draw.choice(_VERBS)
    params = {}
    for name in sorted(VERBS[verb].params):
        if draw.flag():
            params[name] = draw.choice(_VALUES)
    if what == 1:
        params[draw.text(6)] = draw.choice(_VALUES)
    if what == 2:
        verb = draw.choice((verb[:-1], verb.upper(), "", "__init__", "a.b"))
    line = json.dumps({"verb": verb, **params}).encode()
    if what == 3:
        at = draw.number(len(line))
        line = line[:at] + draw.some(4) + line[at + draw.number(3) :]
    return line.replace(b"\n", b" ") + b"\n"


def admin(data: bytes) -> None:
    """Any request gets one line of JSON, never an unforeseen error, and no content without a reason."""
    draw = Draw(data)
    caller = draw.choice((READER, OPERATOR, NOBODY))
    line = request(draw)
    loop, server = _engine()
    answer = loop.run_until_complete(server._run(line, caller))
    assert answer.endswith(b"\n")
    assert answer.count(b"\n") == 1
    read: dict[str, Any] = json.loads(answer)
    assert len(read) == 1
    if "error" in read:
        assert read["error"]["code"] in _REASONS
        assert read["error"]["code"] != "internal", read["error"]["text"]
        assert CANARY not in answer.decode()
    elif caller is not READER:
        assert CANARY not in answer.decode()
        assert caller is OPERATOR
    elif CANARY in answer.decode():
        asked = json.loads(line)
        assert asked["phi"] is True
        assert asked["reason"].strip()


# --- the metrics port ---------------------------------------------------------------------------

_HEADS = (
    b"GET /metrics HTTP/1.1\r\n", b"GET /livez HTTP/1.0\r\n", b"HEAD /readyz HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n",
    b"GET /%2e%2e/ HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"\r\n\r\n", b" ", b"GET", b"/metrics?a=b", b"HTTP/1.",
)  # fmt: skip
_PAGES = {
    b"/metrics": (200, b"ifengine_up 1\n"),
    b"/livez": (200, b"live\n"),
    b"/readyz": (503, b"not ready: disk below its reserve\n"),
}


def metrics_server(port: int = 0) -> MetricsServer:
    """Return a server whose pages are known."""
    return MetricsServer(
        "127.0.0.1", port, lambda: b"ifengine_up 1\n", lambda: True,
        lambda: (False, "disk below its reserve"),
    )  # fmt: skip


class Transport:
    """A connection that keeps what was written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed


def http(data: bytes) -> None:
    """Any bytes in any cuts: one whole answer or a wait for more, and no byte of the request in it."""
    draw = Draw(data)
    cuts = [draw.number(30) + 1 for _ in range(draw.number(3) + 1)]
    pieces = [draw.choice(_HEADS) if draw.flag() else draw.some(20) for _ in range(draw.number(7))]
    mark = b"QZCANARYQZ"
    whole = b"".join(pieces) + draw.choice((b"", b"\r\n\r\n", mark * 900))
    answers = {_asked(whole, cuts), _asked(whole, [len(whole) or 1]), _asked(whole, [1])}
    if len(whole) <= MOST_REQUEST_BYTES:
        assert len(answers) == 1, "another cut, another answer"
    for answer in answers:
        if not answer:
            assert b"\r\n\r\n" not in whole
            assert len(whole) <= MOST_REQUEST_BYTES
            continue
        assert mark not in answer
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        assert status in (200, 400, 404, 405, 413, 503)
        line = whole.split(b"\r\n", 1)[0].split(b" ")
        path = line[1].split(b"?")[0] if len(line) == 3 else b""
        if status in (200, 503):
            assert line[0] in (b"GET", b"HEAD")
            expected = response(*_PAGES[path], _kind(head), head_only=line[0] == b"HEAD")
            assert answer == expected
        assert body or line[0] == b"HEAD"


def _kind(head: bytes) -> str:
    return head.split(b"Content-Type: ")[1].split(b"\r\n")[0].decode()


def _asked(whole: bytes, sizes: list[int]) -> bytes:
    from ifengine.telemetry import http as module

    loop, _ = _engine()
    server = metrics_server()
    transport = Transport()

    async def feed() -> None:
        made = module._Request(server)
        made.connection_made(transport)  # type: ignore[arg-type]
        at, n = 0, 0
        while at < len(whole) and not transport.closed:
            size = sizes[n % len(sizes)]
            made.data_received(whole[at : at + size])
            at, n = at + size, n + 1
        made.data_received(b"GET /metrics HTTP/1.1\r\n\r\n" if transport.closed else b"")
        made.connection_lost(None)

    loop.run_until_complete(feed())
    assert transport.closed == bool(transport.written)
    assert transport.written.count(b"HTTP/1.1 ") <= 1
    return transport.written
