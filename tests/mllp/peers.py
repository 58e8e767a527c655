"""What the socket tests share: both loops, a receiver that writes down, certificates."""

import asyncio
import atexit
import functools
import inspect
import ipaddress
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from ifengine.clock import Clock, SystemClock
from ifengine.mllp.client import ClientOptions, MllpClient
from ifengine.mllp.framing import FramingFault, encode_frame
from ifengine.mllp.inbound import Inbound
from ifengine.mllp.listener import ListenerOptions, MllpListener
from waiting import NeverHeldError

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Any:
    """Run an async test on each loop; an error that only reached the loop fails it too."""

    @pytest.mark.parametrize("loop_name", list(LOOPS))
    def run(loop_name: str, **arguments: Any) -> None:
        errors: list[dict[str, Any]] = []

        async def guarded() -> None:
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: errors.append(context)
            )
            async with asyncio.timeout(20):
                await test(**arguments)

        with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
            runner.run(guarded())
        assert not errors

    functools.update_wrapper(run, test, assigned=("__name__", "__doc__", "__module__"))
    del run.__wrapped__
    name = inspect.Parameter("loop_name", inspect.Parameter.KEYWORD_ONLY)
    own = [p.replace(kind=p.KEYWORD_ONLY) for p in inspect.signature(test).parameters.values()]
    run.__signature__ = inspect.Signature([name, *own])  # type: ignore[attr-defined]
    run.pytestmark += getattr(test, "pytestmark", [])
    return run


class Notes:
    """A receiver that answers every frame with ``ACK <content>``, unless told to wait."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers
        self.frames: list[bytes] = []
        self.owed: list[tuple[Inbound, bytes]] = []
        self.faults: list[tuple[FramingFault, bytes]] = []
        self.opened: list[Inbound] = []
        self.closed: list[Inbound] = []

    def frame_received(self, connection: Inbound, content: bytes) -> None:
        self.frames.append(content)
        if self.answers:
            connection.answer(encode_frame(b"ACK " + content))
        else:
            self.owed.append((connection, content))

    def fault_received(self, connection: Inbound, fault: FramingFault, data: bytes) -> None:
        self.faults.append((fault, data))

    def connection_opened(self, connection: Inbound) -> None:
        self.opened.append(connection)

    def connection_closed(self, connection: Inbound) -> None:
        self.closed.append(connection)

    def answer_all(self) -> None:
        owed, self.owed = self.owed, []
        for connection, content in owed:
            connection.answer(encode_frame(b"ACK " + content))


@asynccontextmanager
async def listening(
    notes: Any, clock: Clock | None = None, **options: Any
) -> AsyncIterator[MllpListener]:
    """Run a listener on a free port of the loopback interface."""
    options = {"name": "adt", "host": "127.0.0.1", "port": 0, **options}
    listener = MllpListener(ListenerOptions(**options), notes, clock or SystemClock())
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop(0)


class Peer:
    """A plain socket as the other side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def frame(self) -> bytes:
        raw = await self.reader.readuntil(b"\x1c\r")
        assert raw[:1] == b"\x0b"
        return raw[1:-2]

    async def rest(self) -> bytes:
        """Return what comes until the other side closes; a reset counts as a close."""
        found = b""
        try:
            while chunk := await self.reader.read(65536):
                found += chunk
        except ConnectionError:
            pass
        return found

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def peer_of(port: int, **options: Any) -> AsyncIterator[Peer]:
    """Connect a plain socket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    peer = Peer(reader, writer)
    try:
        yield peer
    finally:
        await peer.close()


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait until something holds."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise NeverHeldError(f"not within {seconds:g} s") from None


class ClientNotes:
    """The owner of a client, writing down."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []

    def connected(self, client: MllpClient) -> None:
        self.log.append(("connected", None))

    def frame_received(self, client: MllpClient, content: bytes) -> None:
        self.log.append(("frame", content))

    def unframed_received(self, client: MllpClient, data: bytes) -> None:
        self.log.append(("unframed", data))

    def disconnected(self, client: MllpClient, reason: str) -> None:
        self.log.append(("disconnected", reason))

    async def wait(self, count: int) -> list[tuple[str, Any]]:
        await until(lambda: len(self.log) >= count)
        return self.log


def client_of(port: int, notes: ClientNotes, **options: Any) -> MllpClient:
    options = {"name": "lis", "host": "127.0.0.1", "port": port, **options}
    return MllpClient(ClientOptions(**options), notes)


class Certificates:
    """A CA, a server for 127.0.0.1, a client, and strangers, as files."""

    def __init__(self, directory: Path) -> None:
        hospital, stranger = trustme.CA(), trustme.CA()
        self.ca = directory / "ca.pem"
        hospital.cert_pem.write_to_path(self.ca)
        self.stranger_ca = directory / "stranger-ca.pem"
        stranger.cert_pem.write_to_path(self.stranger_ca)
        self.server = self._issue(hospital, directory / "server.pem", "127.0.0.1")
        self.elsewhere = self._issue(hospital, directory / "elsewhere.pem", "other.example")
        self.client = self._issue(hospital, directory / "client.pem", "client.example")
        self.stranger = self._issue(stranger, directory / "stranger.pem", "127.0.0.1")

    @staticmethod
    def _issue(ca: trustme.CA, path: Path, name: str) -> Path:
        ca.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        return path


@functools.cache
def certificates() -> Certificates:
    """Make them once; keys are slow. The directory goes with the process."""
    directory = tempfile.mkdtemp(prefix="ifengine-tls-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return Certificates(Path(directory))


LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
