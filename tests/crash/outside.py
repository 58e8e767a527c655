"""Senders and receivers inside the test's own process, which is never killed: as many as wanted.

They know the protocol and their own books, not the engine.
"""

import asyncio
import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

START, END = b"\x0b", b"\x1c\r"
REFUSALS = ("AE", "AR")
MOST_FRAME_BYTES = 16 << 20
ANSWER_SECONDS = 20.0


def control_id(content: bytes) -> str:
    """Return MSH-10, whatever separates its fields."""
    return content.split(content[3:4], 10)[9].split(b"\r")[0].decode("ascii")


def digest(content: bytes) -> str:
    """Return what the books keep of a content."""
    return hashlib.sha256(content).hexdigest()[:24]


class Arrival(NamedTuple):
    """One whole message at a receiver. ``answer`` is ``none`` where the connection was cut instead."""

    control_id: str
    digest: str
    answer: str
    content: bytes  # empty, unless the receiver keeps what it gets

    @property
    def is_delivery(self) -> bool:
        """Whether the receiver has it now: one without an answer counts."""
        return self.answer not in REFUSALS


class Receiver:
    """One destination. ``judge`` gives the answer's code; faults are cuts, delays and being away."""

    def __init__(
        self,
        name: str,
        port: int,
        lot: random.Random,
        *,
        faults: float = 0.0,
        judge: Callable[[str], str] = lambda control: "AA",
        keeps: bool = False,
    ) -> None:
        self.name, self.port, self.lot = name, port, lot
        self.faults, self.judge, self.keeps = faults, judge, keeps
        self.log: list[Arrival] = []
        self.away = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=MOST_FRAME_BYTES, reuse_port=True
        )

    def stop(self) -> None:
        """Go away as a process does that is killed."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def flap(self) -> None:
        """Be away for a moment."""
        self.stop()
        self.away += 1
        await asyncio.sleep(self.lot.uniform(0.0, 0.7))
        await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        # cancelled: the test is over
        over = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
        try:
            with contextlib.suppress(*over):
                while await self._take((await reader.readuntil(END))[1:-2], writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _take(self, content: bytes, writer: asyncio.StreamWriter) -> bool:
        """Write one message down and answer it; return whether the connection goes on."""
        control = control_id(content)
        cut = self.lot.random() < self.faults
        if self.lot.random() < self.faults:  # slow before it has the message in its books
            await asyncio.sleep(self.lot.uniform(0.0, 0.05))
        answer = "none" if cut else self.judge(control)
        kept = content if self.keeps else b""
        self.log.append(Arrival(control, digest(content), answer, kept))
        if self.lot.random() < self.faults:  # and before it answers
            await asyncio.sleep(self.lot.uniform(0.0, 0.1))
        if cut:
            return False
        text = f"MSH|^~\\&|R|R|C|M|20260105||ACK|R{len(self.log)}|P|2.5.1\rMSA|{answer}|{control}\r"
        writer.write(START + text.encode() + END)
        await writer.drain()
        return True


class RefusesOnce:
    """Answers of a receiver that refuses a part of the messages the first time."""

    def __init__(self, lot: random.Random, share: float, code: str) -> None:
        self.lot, self.share, self.code = lot, share, code
        self.seen: Counter[str] = Counter()

    def __call__(self, control: str) -> str:
        self.seen[control] += 1
        is_first = self.seen[control] == 1
        return self.code if is_first and self.lot.random() < self.share else "AA"


class Stream:
    """One connection of a sender with a window: what was not answered comes again, in its order."""

    def __init__(self, port: int, messages: Iterator[bytes], lot: random.Random, window: int = 1):
        self.port, self.messages, self.lot, self.window = port, messages, lot, window
        self.pause = 0.0  # seconds between messages, about
        self.sent: dict[str, str] = {}  # control id -> digest, in order
        self.taken: set[str] = set()  # those that were answered AA
        self.refused: dict[str, str] = {}
        self.again = 0
        self._pending: dict[str, bytes] = {}
        self._is_over = False

    async def run(self) -> None:
        """Send until the messages end and each is answered."""
        while not self._is_over or self._pending:
            try:
                # from another address: while nobody listens, a connection could meet itself
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, local_addr=("127.0.0.2", 0)
                )
            except OSError:
                await asyncio.sleep(0.02)
                continue
            over = (asyncio.IncompleteReadError, ConnectionError, TimeoutError)
            with contextlib.suppress(*over):
                await self._talk(reader, writer)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for content in self._pending.values():
            self.again += 1
            writer.write(START + content + END)
        while True:
            self._send_more(writer)
            if not self._pending:
                return
            async with asyncio.timeout(ANSWER_SECONDS):
                await writer.drain()
                self._answered((await reader.readuntil(END))[1:-2])
            if self.pause:
                await asyncio.sleep(self.lot.uniform(0, 2 * self.pause))

    def _send_more(self, writer: asyncio.StreamWriter) -> None:
        while len(self._pending) < self.window and not self._is_over:
            content = next(self.messages, None)
            if content is None:
                self._is_over = True
                return
            control = control_id(content)
            assert control not in self.sent
            self.sent[control] = digest(content)
            self._pending[control] = content
            writer.write(START + content + END)

    def _answered(self, answer: bytes) -> None:
        fields = answer.partition(b"\rMSA")[2].split(b"\r", 1)[0].split(answer[3:4])
        code, control = fields[1].decode(), fields[2].decode()
        if control not in self._pending:
            return  # of a message that was answered over the connection before
        del self._pending[control]
        if code in ("AA", "CA"):
            self.taken.add(control)
        else:
            self.refused[control] = code


def first_deliveries(log: Iterable[Arrival]) -> dict[str, int]:
    """Return control id -> place of its first delivery."""
    places: dict[str, int] = {}
    for place, one in enumerate(log):
        if one.is_delivery:
            places.setdefault(one.control_id, place)
    return places


def repeated(log: Iterable[Arrival]) -> set[str]:
    """Return what was delivered more than once."""
    times = Counter(one.control_id for one in log if one.is_delivery)
    return {control for control, count in times.items() if count > 1}
