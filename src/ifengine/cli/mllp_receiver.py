"""A small MLLP receiver for people: answers every message as told, in turn or always the same."""

import asyncio
import itertools
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ifengine.clock import Clock, as_datetime
from ifengine.hl7.header import Header, read_header
from ifengine.mllp.framing import Fault, Frame, FrameDecoder, encode_frame

READ_BYTES = 65536
MOST_BYTES = 64 * 1024 * 1024
SILENCE_SECONDS = 0.25

NO_ANSWER = "timeout"  # say nothing, keep the connection
HANG_UP = "close"  # close the connection without an answer
CODES = ("AA", "AE", "AR", "CA", "CE", "CR")
ANSWERS = (*CODES, NO_ANSWER, HANG_UP)


class Reply(NamedTuple):
    """One answer to give. ``text`` goes into MSA-3."""

    answer: str
    delay_seconds: float = 0.0
    text: str = ""


class Taken(NamedTuple):
    """One received message, without its content."""

    at_us: int
    type: str | None
    control_id: str | None
    peer: str
    size: int
    answer: str  # a code, NO_ANSWER, HANG_UP, or the name of a framing fault


def acknowledgment(header: Header, reply: Reply, *, at_us: int, control_id: bytes) -> bytes:
    """Return the answer to one message: its delimiters and version, MSH-3 to 6 swapped, MSA."""
    separator = header.delimiters.field
    component = header.delimiters.component
    kind = component.join(part for part in (b"ACK", header.trigger_event) if part)
    stamp = as_datetime(at_us).strftime("%Y%m%d%H%M%S+0000").encode()
    msh = [
        b"MSH", header.delimiters.msh2,
        header.receiving_application, header.receiving_facility,
        header.sending_application, header.sending_facility,
        stamp, b"", kind, control_id, header.fields[10] or b"P", header.fields[11] or b"2.3",
    ]  # fmt: skip
    msa = [b"MSA", reply.answer.encode(), header.control_id]
    if reply.text:
        msa.append(header.delimiters.escape(reply.text.encode()))
    return separator.join(msh) + b"\r" + separator.join(msa) + b"\r"


class PrivateFolder:
    """Keeps messages as numbered files, readable by their owner alone; never overwrites one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._numbers = itertools.count(1)

    def save(self, content: bytes) -> None:
        """Write the next file; its name is a number, nothing of the message."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        while True:
            path = self._directory / f"{next(self._numbers):06d}.hl7"
            with suppress(FileExistsError):
                handle = os.open(path, flags, 0o600)
                break
        with open(handle, "wb") as stream:
            stream.write(content)


class Receiver:
    """Listens until it was told to stop or has taken as many messages as wanted."""

    def __init__(
        self,
        replies: Sequence[Reply],
        *,
        clock: Clock,
        told: Callable[[Taken], None],
        folder: PrivateFolder | None = None,
        most: int | None = None,
    ) -> None:
        """Make a receiver.

        Args:
            replies: given in turn, over all connections; the last one goes on for ever.
            clock: for times and delays.
            told: called with each message when its answer has left.
            folder: where to keep the messages.
            most: stop after so many.
        """
        self._replies = replies
        self._clock = clock
        self._told = told
        self._folder = folder
        self._most = most
        self._taken = 0
        self._connections: set[asyncio.StreamWriter] = set()
        self._stopped = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Bind; ``port`` is then the real one."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Let ``run`` come to its end."""
        self._stopped.set()

    async def run(self) -> None:
        """Wait for the end, then close everything."""
        await self._stopped.wait()
        assert self._server is not None  # noqa: S101 - for the type checker
        self._server.close()
        for writer in list(self._connections):
            writer.close()
        # the connections' own tasks see the end of their stream and finish
        while self._connections:
            await self._clock.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        self._connections.add(writer)
        try:
            with suppress(OSError):
                await self._converse(reader, writer, str(peer[0]) if peer else "-")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self._connections.discard(writer)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str
    ) -> None:
        decoder = FrameDecoder(max_content_bytes=MOST_BYTES)
        while not self._stopped.is_set():
            event = decoder.next_event()
            if isinstance(event, Frame):
                if not await self._answer(event.content, writer, peer):
                    return
            elif isinstance(event, Fault):
                self._count(
                    Taken(
                        self._clock.now_us(), None, None, peer, len(event.data), event.fault.value
                    )
                )
                return
            elif not await self._read(reader, decoder):
                return

    async def _read(self, reader: asyncio.StreamReader, decoder: FrameDecoder) -> bool:
        """Feed the decoder; False when the peer is gone and nothing is left to decode."""
        if decoder.waits_for_cr:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    data = await reader.read(READ_BYTES)
            except TimeoutError:
                decoder.receive_silence()
                return True
        else:
            data = await reader.read(READ_BYTES)
        if not data and not decoder.is_mid_frame:
            return False
        decoder.receive_data(data)
        return True

    async def _answer(self, content: bytes, writer: asyncio.StreamWriter, peer: str) -> bool:
        """Answer one message; False closes the connection."""
        if self._most is not None and self._taken >= self._most:
            return False
        index = min(self._taken, len(self._replies) - 1)
        reply = self._replies[index]
        self._taken += 1
        number = self._taken
        at_us = self._clock.now_us()
        header = read_header(content)
        if self._folder is not None:
            self._folder.save(content)
        if reply.delay_seconds:
            await self._clock.sleep(reply.delay_seconds)
        if reply.answer in CODES:
            own_id = b"RCV%d" % number
            answer = acknowledgment(header, reply, at_us=self._clock.now_us(), control_id=own_id)
            writer.write(encode_frame(answer))
            await writer.drain()
        self._count(Taken(at_us, _type(header), _id(header), peer, len(content), reply.answer))
        return reply.answer != HANG_UP

    def _count(self, taken: Taken) -> None:
        self._told(taken)
        if self._most is not None and self._taken >= self._most:
            self._stopped.set()


def _type(header: Header) -> str | None:
    parts = (header.message_code, header.trigger_event)
    return "^".join(part.decode("latin-1") for part in parts if part) or None


def _id(header: Header) -> str | None:
    return header.control_id.decode("utf-8", "replace") or None
