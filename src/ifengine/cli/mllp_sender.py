"""A small MLLP sender for people: one connection, one outstanding message, its answer by MSA-2."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from ifengine.cli.message_files import FileMessage
from ifengine.clock import Clock
from ifengine.hl7.ack import Acknowledgment, read_ack
from ifengine.hl7.header import Header, read_header
from ifengine.mllp.framing import Fault, Frame, FrameDecoder, encode_frame

CONNECT_SECONDS = 10.0
MOST_ANSWER_BYTES = 1024 * 1024
READ_BYTES = 65536
SILENCE_SECONDS = 0.25  # after which an end block without CR ends the answer

# What stands where there was no answer to count.
TIMEOUT, CLOSED, UNREACHABLE, MALFORMED, NOT_SENDABLE, SILENT = (
    "timeout",
    "closed",
    "unreachable",
    "malformed",
    "not_sendable",
    "silent",
)
NO_ANSWER = frozenset({TIMEOUT, CLOSED, UNREACHABLE, MALFORMED, NOT_SENDABLE, SILENT})


class Target(NamedTuple):
    """Where to send."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


class Answered(NamedTuple):
    """What became of one message. ``code`` is MSA-1 or a word of NO_ANSWER."""

    message: FileMessage
    header: Header
    code: str
    seconds: float
    sent: bool


class Sender:
    """Sends messages one after the other, reconnecting where the peer closed or fell silent."""

    def __init__(
        self,
        target: Target,
        *,
        clock: Clock,
        timeout_seconds: float,
        wants_application: bool = False,
    ) -> None:
        """Make a sender that is not connected yet.

        Args:
            target: host, port and TLS.
            clock: for answer times and the pace.
            timeout_seconds: how long to wait for each answer.
            wants_application: after a CA, wait for the application acknowledgment where the
                message asks for one.
        """
        self._target = target
        self._clock = clock
        self._timeout = timeout_seconds
        self._wants_application = wants_application
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._decoder = FrameDecoder(max_content_bytes=MOST_ANSWER_BYTES)
        self.problem = ""  # why the last connection attempt failed

    async def send_all(
        self, messages: Iterable[FileMessage], *, rate: float | None
    ) -> AsyncIterator[Answered]:
        """Send, at most ``rate`` a second, and yield what became of each."""
        start = self._clock.monotonic()
        for index, message in enumerate(messages):
            if rate is not None:
                wait = start + index / rate - self._clock.monotonic()
                if wait > 0:
                    await self._clock.sleep(wait)
            yield await self.send(message)

    async def send(self, message: FileMessage) -> Answered:
        """Send one message and wait for its answer."""
        header = read_header(message.content)
        began = self._clock.monotonic()

        def ended(code: str, *, sent: bool) -> Answered:
            return Answered(message, header, code, self._clock.monotonic() - began, sent)

        try:
            frame = encode_frame(message.content)
        except ValueError:
            return ended(NOT_SENDABLE, sent=False)
        if not await self._connected():
            return ended(UNREACHABLE, sent=False)
        began = self._clock.monotonic()
        assert self._writer is not None  # noqa: S101 - for the type checker
        try:
            self._writer.write(frame)
            await self._writer.drain()
            if header.silent:
                return ended(SILENT, sent=True)
            async with asyncio.timeout(self._timeout):
                code = await self._answer_to(header)
        except TimeoutError:
            code = TIMEOUT
        except OSError:
            code = CLOSED
        if code in NO_ANSWER:
            # what may still come on this connection answers nobody
            await self.close()
        return ended(code, sent=True)

    async def _answer_to(self, header: Header) -> str:
        accepted = ""
        while True:
            answer = await self._next_answer()
            if answer is None:
                return accepted or CLOSED
            if not answer.is_ack:
                return accepted or MALFORMED
            if answer.control_id != header.control_id:
                continue  # late or foreign: never credited to this message
            two_wanted = self._wants_application and header.application_ack in (b"AL", b"SU")
            if answer.code == "CA" and two_wanted and not accepted:
                accepted = answer.code
                continue
            return answer.code or MALFORMED

    async def _next_answer(self) -> Acknowledgment | None:
        assert self._reader is not None  # noqa: S101 - for the type checker
        while True:
            event = self._decoder.next_event()
            if isinstance(event, Frame):
                return read_ack(event.content)
            if isinstance(event, Fault):
                return read_ack(b"")
            if self._decoder.waits_for_cr:
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        data = await self._reader.read(READ_BYTES)
                except TimeoutError:
                    self._decoder.receive_silence()
                    continue
            else:
                data = await self._reader.read(READ_BYTES)
            if not data and not self._decoder.is_mid_frame:
                return None
            self._decoder.receive_data(data)

    async def _connected(self) -> bool:
        if self._writer is not None and self._reader is not None and not self._reader.at_eof():
            return True
        await self.close()
        target = self._target
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._reader, self._writer = await asyncio.open_connection(
                    target.host,
                    target.port,
                    ssl=target.tls,
                    server_hostname=(target.server_name or target.host) if target.tls else None,
                )
        except TimeoutError:
            self.problem = "no connection in time"
        except ssl.SSLError as error:
            self.problem = f"TLS: {error.reason or 'handshake failed'}"
        except OSError as error:
            self.problem = error.strerror or "no connection"
        else:
            self._decoder = FrameDecoder(max_content_bytes=MOST_ANSWER_BYTES)
            return True
        return False

    async def close(self) -> None:
        """Close the connection, if there is one."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await writer.wait_closed()


async def send_everything(
    sender: Sender,
    messages: Iterable[FileMessage],
    *,
    rate: float | None,
    told: Callable[[Answered], None],
) -> None:
    """Send all and tell each result as it comes."""
    try:
        async for answered in sender.send_all(messages, rate=rate):
            told(answered)
    finally:
        await sender.close()
