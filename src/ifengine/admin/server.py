"""The admin socket: one JSON line in, one JSON line out, for users the kernel vouches for."""

import asyncio
import contextlib
import errno
import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from ifengine.admin import acts
from ifengine.admin.access import Peer, caller_of, peer_of
from ifengine.admin.request import Caller, RequestError
from ifengine.admin.runtime import Runtime
from ifengine.errors import EngineError

MOST_REQUEST_BYTES = 4 * 1024 * 1024
REQUEST_SECONDS = 10.0
ANSWER_SECONDS = 60.0  # to write an answer to a client that does not read
MOST_CONNECTIONS = 32
REFUSAL_RECORD_SECONDS = 10.0  # one audit record per refused user and this long
MOST_REFUSED_USERS = 1000
_LONGEST_PATH = 107  # sun_path less its final NUL
_BACKLOG = 64


class AdminSocketError(EngineError):
    """The admin socket cannot be opened."""

    code: ClassVar[str] = "admin_socket"


class Answering(Protocol):
    """What answers the verbs: ``admin.service.Service``, or what stands for it until it is there."""

    async def answer(self, verb: str, values: Mapping[str, object], caller: Caller) -> object:
        """Return the answer of a verb, a value that JSON can carry."""
        ...


class AdminServer:
    """Serves the verbs on a Unix socket.

    A socket file that a killed engine left behind is removed; one that somebody answers on is not.
    """

    def __init__(
        self,
        path: Path,
        runtime: Runtime,
        service: Answering,
        *,
        mode: int = 0o600,
        peer: Callable[[socket.socket], Peer] = peer_of,
        caller: Callable[[Peer], Caller] = caller_of,
    ) -> None:
        self._path = path
        self._runtime = runtime
        self._service = service
        self._mode = mode
        self._peer = peer
        self._caller = caller
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._refused: dict[int, float] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Listen.

        Raises:
            AdminSocketError: another engine answers there, or the path cannot be used.
        """
        listening = bind(self._path, self._mode)
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, sock=listening, limit=MOST_REQUEST_BYTES
            )
        except BaseException:
            listening.close()
            raise

    async def stop(self, *, within_seconds: float = 5.0) -> None:
        """Take no new requests, let running ones end, then close; removes the socket file."""
        server = self._server
        if server is None:
            return
        self._server = None
        server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._idle.wait()
        for writer in list(self._writers):
            writer.transport.abort()
        with contextlib.suppress(OSError):
            self._path.unlink()

    # --- one connection ---------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._writers) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._writers.add(writer)
        self._idle.clear()
        try:
            answer = await self._answer(reader, writer)
            if answer is not None:
                async with asyncio.timeout(ANSWER_SECONDS):
                    writer.write(answer)
                    await writer.drain()
        except (OSError, TimeoutError):
            pass  # the client went away; what it asked for is done and audited
        finally:
            self._writers.discard(writer)
            if not self._writers:
                self._idle.set()
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        connection: socket.socket = writer.get_extra_info("socket")
        peer = self._peer(connection)
        caller = self._caller(peer)
        # nothing is read from a user who may do nothing
        if not caller.roles:
            await self._record_refusal(peer, caller)
            return _error("refused", "this user may not use the engine's socket")
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await reader.readline()
        except (ValueError, TimeoutError):
            return _error("usage", "the request is too long or did not come")
        if not line.endswith(b"\n"):
            return None
        return await self._run(line, caller)

    async def _run(self, line: bytes, caller: Caller) -> bytes:
        try:
            verb, values = _parse(line)
            result = await self._service.answer(verb, values, caller)
            return _encode({"ok": result})
        except RequestError as error:
            return _error(error.reason_code, str(error), error.hint)
        except EngineError as error:
            return _error("failed", str(error), error.hint)
        except Exception as error:  # noqa: BLE001 - a fault of one request ends one request
            # the text of an unforeseen error may hold content: only its type is told
            return _error("internal", f"unforeseen error ({type(error).__name__})")

    async def _record_refusal(self, peer: Peer, caller: Caller) -> None:
        now = self._runtime.clock.monotonic()
        last = self._refused.get(peer.uid)
        if last is not None and now - last < REFUSAL_RECORD_SECONDS:
            return
        if len(self._refused) >= MOST_REFUSED_USERS:
            self._refused.clear()
        self._refused[peer.uid] = now
        await acts.record(
            self._runtime, caller, "access.refused", object_name="admin socket", outcome="refused"
        )


def _parse(line: bytes) -> tuple[str, Mapping[str, object]]:
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestError("usage", "the request is not JSON") from None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("verb"), str):
        raise RequestError("usage", "the request has no verb")
    verb = str(parsed.pop("verb"))
    return verb, parsed


def _encode(answer: Mapping[str, object]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode("ascii") + b"\n"


def _error(code: str, text: str, hint: str = "") -> bytes:
    return _encode({"error": {"code": code, "text": text, "hint": hint}})


# --- the socket file ------------------------------------------------------------------------------


def bind(path: Path, mode: int) -> socket.socket:
    """Return a listening Unix socket with exactly this mode from its first moment.

    Raises:
        AdminSocketError: somebody answers there, or the path cannot be used.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise AdminSocketError(
            f"{path}: the path of a socket has at most {_LONGEST_PATH} bytes",
            hint="set `admin.socket` in the site file to a shorter path",
        )
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear(path)
        # under the umask nobody can connect between bind and chmod
        before = os.umask(0o777 & ~mode)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(mode)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise AdminSocketError(f"{path}: cannot listen there ({error.strerror})") from None
    except BaseException:
        listening.close()
        raise
    return listening


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise AdminSocketError(f"{path}: is there and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise AdminSocketError(f"{path}: another process uses it") from None
        else:
            raise AdminSocketError(
                f"{path}: another engine answers there", hint="one engine a site"
            )
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
