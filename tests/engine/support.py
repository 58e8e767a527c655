"""A whole engine in this process, with real sockets: a site, its receivers, a sender."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash.watching import BalanceWatch
from ifengine.admin.client import call
from ifengine.engine.running import Engine
from ifengine.routes.config.loading import load_site
from ifengine.settings import Settings, read_settings
from ifengine.store.keys import FileKek
from ports import free_port as free_port
from waiting import NeverHeldError

START, END = b"\x0b", b"\x1c\r"


def adt(
    control: str,
    *,
    patient: str = "700",
    event: str = "A01",
    extra: str = "",
    msh: str = "|P|2.5.1",
    message_type: str = "ADT",
) -> bytes:
    """A small message of an invented patient. ``msh`` is what follows MSH-10."""
    structure = f"{message_type}^{event}"
    return (
        f"MSH|^~\\&|HIS|RIVER|IE|RIVER|20260105101500||{structure}|{control}{msh}\r"
        f"EVN|{event}|20260105101500\r"
        f"PID|1||{patient}^^^RIVER^MR||Sample^Sam||19800215|M\r"
        f"{extra}"
    ).encode()


def control_id(content: bytes) -> str:
    return content.split(b"|")[9].decode()


def ack(content: bytes, code: str = "AA", *, error: str = "", answering: str = "") -> bytes:
    """An acknowledgment of ``content`` as a receiver would send it."""
    number = answering or control_id(content)
    text = f"MSH|^~\\&|R|R|HIS|RIVER|20260105101501||ACK|R{number}|P|2.5.1\rMSA|{code}|{number}\r"
    if error:
        text += f"ERR||PID^1^3|{error}^text^HL70357|E\r"
    return text.encode()


Answer = Callable[[bytes], bytes | None]


@dataclass
class Receiver:
    """A real MLLP receiver whose answers a test decides. ``None`` is silence."""

    answer: Answer = ack
    received: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = field(default_factory=free_port)
    delay_seconds: float = 0.0
    _server: asyncio.Server | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                frame = await reader.readuntil(END)
                content = frame[1:-2]
                self.received.append(content)
                reply = self.answer(content)
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if reply is not None:
                    writer.write(START + reply + END)
                    await writer.drain()

    def send_unasked(self, content: bytes) -> None:
        """Write to the newest connection although nothing was asked."""
        self._writers[-1].write(START + content + END)

    @property
    def ids(self) -> list[str]:
        return [control_id(content) for content in self.received]


SITE = """\
ifengine: 1
site: river
environment: test
store: {{path: var/store, reserve: 1MiB}}
listen: {{admin: "unix:var/admin.sock", metrics: "127.0.0.1:{metrics}"}}
identity: {{patient: {{path: PID-3, type: MR, authority: [RIVER]}}}}
{facts}connections:
  in: {{listen: mllp, host: 127.0.0.1, port: {port}, plaintext: test{listen}}}
{senders}
"""

CHANNEL = """\
ifengine: 1
channel: adt
from: in
{head}
to:
{to}
"""


@dataclass
class Site:
    """Files of a site below a temporary folder."""

    folder: Path
    receivers: dict[str, Receiver]
    head: str = "order_by: patient"
    options: dict[str, str] = field(default_factory=dict)  # by destination: YAML lines
    listen: str = ""  # more keys of the listening connection
    facts: str = ""  # a line of the site file: facts that channels share
    port: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)
    channels: dict[str, str] = field(default_factory=dict)  # more channel files, whole
    watched: bool = True  # the balance is struck all the time, and must be even

    def write(self) -> None:
        senders = "\n".join(
            f"  to-{name}: {{send: mllp, host: 127.0.0.1, port: {r.port}, plaintext: test}}"
            for name, r in self.receivers.items()
        )
        self.folder.mkdir(exist_ok=True)
        (self.folder / "channels").mkdir(exist_ok=True)
        site = SITE.format(
            metrics=self.metrics,
            port=self.port,
            senders=senders,
            listen=self.listen,
            facts=self.facts,
        )
        (self.folder / "ifengine.yaml").write_text(site)
        to = ""
        for name in self.receivers:
            to += f"  {name}:\n    connection: to-{name}\n"
            to += "".join(f"    {line}\n" for line in self.options.get(name, "").splitlines())
        (self.folder / "channels" / "adt.yaml").write_text(CHANNEL.format(head=self.head, to=to))
        for name, text in self.channels.items():
            (self.folder / "channels" / f"{name}.yaml").write_text(text)

    def settings(self) -> Settings:
        self.write()
        loaded = load_site(self.folder, environ={})
        assert loaded.site is not None, [p for p in loaded.problems if p.severity == "error"]
        path = Path(loaded.site.kek.removeprefix("file:"))
        if not path.exists():
            FileKek.init_file(path)
        return read_settings(loaded.site, {})


@dataclass
class Running:
    """An engine that runs."""

    engine: Engine
    site: Site
    task: asyncio.Task[int]

    async def ask(self, verb: str, **params: Any) -> Any:
        """Ask the admin socket, as the command line does."""
        path = self.site.folder / "var" / "admin.sock"
        return await asyncio.to_thread(call, path, verb, **params)

    async def states(self, **params: Any) -> dict[str, dict[str, str]]:
        """Return control id -> destination -> state of the messages that are listed."""
        rows = await self.ask("messages.list", limit=1000, **params)
        return {
            str(row["control_id"]): {d["name"]: d["state"] for d in row["destinations"]}
            for row in rows
        }

    async def row(self, control: str) -> Any:
        """Return the newest listed message with a control id."""
        rows = await self.ask("messages.list", limit=1000)
        return next(row for row in rows if row["control_id"] == control)

    async def letters(self) -> Any:
        """Return the groups of open dead letters."""
        return await self.ask("dlq.list")

    async def stop(self) -> int:
        self.engine._stop.set()
        return await self.task

    async def kill(self) -> None:
        """End as a crash would: nothing is drained, nothing more is written."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@contextlib.asynccontextmanager
async def running(site: Site, *, grace_seconds: float = 10.0) -> AsyncIterator[Running]:
    """Run a site until the block ends; ends it in order unless the test has done so."""
    settings = site.settings()
    settings = Settings(settings.site, settings.store_kind, grace_seconds)
    ready = asyncio.Event()
    engine = Engine(settings, lambda lines: ready.set())
    task = asyncio.create_task(engine.run())
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not ready.is_set():
        waiting.cancel()
        await task
    found = Running(engine, site, task)
    database = site.folder / "var" / "store" / "store.db"
    watch = BalanceWatch(database) if site.watched and database.exists() else None
    if watch is not None:
        watch.start()
    try:
        yield found
    finally:
        if not task.done():
            await found.stop()
        if watch is not None:
            await asyncio.to_thread(watch.stop)
    # every message is in exactly one state, ten times a second, whatever the test did (G11)
    if watch is not None:
        watch.assert_even()


def let_pass(parts: Any, *, days: int) -> None:
    """Let days pass for everything that runs out, as if both clocks had gone on."""
    passed_us = days * 86_400 * 1_000_000
    parts.steady._start_us += passed_us
    parts.steady._believed_us += passed_us


def set_clock(parts: Any, *, days: int) -> None:
    """Set the wall clock, as the engine sees it."""
    parts.steady._believed_us += days * 86_400 * 1_000_000


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until something holds; fails when it does not in time."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                held = condition()
                if not isinstance(held, bool):
                    held = await held
                if held:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise NeverHeldError(f"not within {seconds:g} s") from None


class Sender:
    """One MLLP connection to the engine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self, seconds: float = 5.0) -> bytes:
        """Return the next answer."""
        async with asyncio.timeout(seconds):
            frame = await self.reader.readuntil(END)
        return frame[1:-2]

    async def send(self, content: bytes) -> str:
        """Send one message and return the code of its answer."""
        self.writer.write(START + content + END)
        return code(await self.answer())

    async def is_silent(self, seconds: float = 0.3) -> bool:
        """Return whether nothing comes for a while."""
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(1) == b""
        except TimeoutError:
            return True

    def close(self) -> None:
        self.writer.close()


def code(answer: bytes) -> str:
    """Return MSA-1."""
    return answer.split(b"MSA|")[1][:2].decode()


@contextlib.asynccontextmanager
async def sender(site: Site) -> AsyncIterator[Sender]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    made = Sender(reader, writer)
    try:
        yield made
    finally:
        made.close()


def metric(text: str, name: str, **labels: str) -> float:
    """Return one sample of an exposition, 0 when it is not there."""
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    total = 0.0
    for line in text.splitlines():
        if line.startswith((name + "{", name + " ")) and all(w in line for w in wanted):
            total += float(line.rsplit(" ", 1)[1])
    return total


def shown(value: object) -> str:
    return json.dumps(value)
