"""The hostile side of a campaign: one process that attacks an engine in every way until SIGTERM.

``python -m chaos.attackers --feed PORT --walled PORT --metrics PORT --admin SOCKET --stuck PORT
--longest BYTES --slow N --flaps N --log FILE``

Each attack is one function. The file gets one line of JSON: how often each was done, how many
connections were open at most, and what an attacker was told although it must not be told it.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

START, END = b"\x0b", b"\x1c\r"
RESET = struct.pack("ii", 1, 0)
ADDRESSES = 16  # of the loopback network, so that the bound of one address is not all that is met


class Attackers:
    """What the attacks share: where to, and what was done."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.lot = random.Random(given.seed)
        self.done: Counter[str] = Counter()
        self.untrue: list[str] = []
        self.open = 0
        self.most_open = 0
        self.flaps_left = given.flaps
        self.ids = itertools.count()
        self.addresses = itertools.cycle(f"127.0.1.{n}" for n in range(1, ADDRESSES + 1))

    @contextlib.asynccontextmanager
    async def connection(self, port: int, *, read: int = 0):  # type: ignore[no-untyped-def]
        """Open a plain socket from one of the addresses; ``read``: the size of its receive buffer."""
        loop = asyncio.get_running_loop()
        raw = socket.socket()
        raw.setblocking(False)
        try:
            if read:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, read)
            raw.bind((next(self.addresses), 0))
            await loop.sock_connect(raw, ("127.0.0.1", port))
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            try:
                yield raw
            finally:
                self.open -= 1
        finally:
            raw.close()

    def message(self, size: int = 0) -> bytes:
        """Return a frame that no channel takes: it is stored as refused, and answered AR."""
        number = next(self.ids)
        head = b"MSH|^~\\&|EVIL|MERCY|IE|MERCY|20260105101500||ZZZ^Z99|H%07d|P|2.5.1\r" % number
        return START + head + b"ZZZ|" + b"x" * size + b"\r" + END


Attack = Callable[[Attackers, int], Awaitable[None]]


async def slowloris(us: Attackers, port: int) -> None:
    """A message of many bytes, one at a time, each in time."""
    loop = asyncio.get_running_loop()
    async with us.connection(port) as raw:
        await loop.sock_sendall(raw, START + b"MSH|^~\\&|")
        while True:
            await asyncio.sleep(us.lot.uniform(0.5, 1.0))
            await loop.sock_sendall(raw, b"x")


async def half_frame(us: Attackers, port: int) -> None:
    """Nearly the longest message, and then nothing, until the engine closes."""
    loop = asyncio.get_running_loop()
    async with us.connection(port) as raw:
        await loop.sock_sendall(raw, START + b"MSH|^~\\&|" + b"x" * (us.given.longest * 3 // 4))
        us.done["half frames sent"] += 1
        await until_closed(us, raw)


async def half_open(us: Attackers, port: int) -> None:
    """Nothing at all is sent."""
    async with us.connection(port) as raw:
        await until_closed(us, raw)


async def never_reads(us: Attackers, port: int) -> None:
    """Messages without end, and no answer is read."""
    loop = asyncio.get_running_loop()
    async with us.connection(port, read=4096) as raw:
        try:
            while True:  # the engine reads no more when its answers stay, and then it closes
                await loop.sock_sendall(raw, b"".join(us.message() for _ in range(100)))
                us.done["messages whose answers are not read"] += 100
                await asyncio.sleep(0.05)
        finally:
            # each of them is stored, and the disk is another campaign's matter
            await asyncio.sleep(us.lot.uniform(2.0, 4.0))


async def reads_in_crumbs(us: Attackers, port: int) -> None:
    """Answers are read a few bytes at a time."""
    loop = asyncio.get_running_loop()
    async with us.connection(port, read=4096) as raw:
        await loop.sock_sendall(raw, b"".join(us.message() for _ in range(20)))
        for _ in range(40):
            if b"MSA|AA" in await loop.sock_recv(raw, 7):
                us.untrue.append("a refused message was answered AA")
            await asyncio.sleep(0.02)


async def garbage(us: Attackers, port: int) -> None:
    """Bytes of any value."""
    await flood(us, port, us.lot.randbytes(256 * 1024))


async def nulls(us: Attackers, port: int) -> None:
    """Nothing but NUL, in a frame or not."""
    await flood(us, port, us.lot.choice((b"", START)) + bytes(us.given.longest * 2))


async def oversized(us: Attackers, port: int) -> None:
    """A message longer than allowed."""
    await flood(us, port, START + b"MSH|^~\\&|" + b"x" * us.given.longest * 2 + END)


async def flood(us: Attackers, port: int, data: bytes) -> None:
    """Send; the engine closes; a little rest, since each is kept as a record on the disk."""
    loop = asyncio.get_running_loop()
    async with us.connection(port) as raw:
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(raw, data)
        await until_closed(us, raw)
    await asyncio.sleep(0.5)


async def broken_off(us: Attackers, port: int) -> None:
    """The connection goes in the middle of a message, in order or by a reset."""
    loop = asyncio.get_running_loop()
    async with us.connection(port) as raw:
        whole = us.message(2000)
        await loop.sock_sendall(raw, whole[: us.lot.randrange(1, len(whole) - 1)])
        if us.lot.random() < 0.5:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await asyncio.sleep(0.05)


async def flap(us: Attackers, port: int) -> None:
    """Connect and go, by a reset or in order, with a message under way or without."""
    if us.flaps_left <= 0:
        await asyncio.sleep(3600)
    us.flaps_left -= 1
    loop = asyncio.get_running_loop()
    async with us.connection(port) as raw:
        if us.lot.random() < 0.1:
            await loop.sock_sendall(raw, us.message())
        if us.lot.random() < 0.7:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await asyncio.sleep(0)


async def half_handshake(us: Attackers, port: int) -> None:
    """A TLS handshake that begins, or does not, and hangs."""
    loop = asyncio.get_running_loop()
    async with us.connection(port) as raw:
        await loop.sock_sendall(raw, us.lot.choice((b"", b"\x16\x03\x01\x02\x00\x01")) or b"\x16")
        await until_closed(us, raw)


async def page_never_read(us: Attackers, port: int) -> None:
    """A page of metrics is asked for, or half of a question, and nothing is read."""
    loop = asyncio.get_running_loop()
    async with us.connection(port, read=4096) as raw:
        await loop.sock_sendall(
            raw, us.lot.choice((b"GET /metrics HTTP/1.1\r\n\r\n", b"GET /met", b"x" * 9000))
        )
        await asyncio.sleep(us.lot.uniform(1.0, 8.0))


async def admin_never_read(us: Attackers, _: int) -> None:
    """A question to the admin socket that does not end, or whose answer is not read."""
    reader, writer = await asyncio.open_unix_connection(us.given.admin, limit=1024)
    try:
        ask = b'{"verb": "messages.list", "limit": 1000}\n'
        writer.write(us.lot.choice((ask, b'{"verb": "', b"x" * 100_000)))
        await asyncio.sleep(us.lot.uniform(1.0, 8.0))
    finally:
        writer.transport.abort()
        del reader


async def until_closed(us: Attackers, raw: socket.socket) -> None:
    """Read until the engine closes; nothing positive may be in it."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(raw, 65536):
        if b"MSA|AA" in data:
            us.untrue.append("what was no message was answered AA")


async def again(us: Attackers, attack: Attack, port: int) -> None:
    """Attack until the process is told to stop, whatever the engine does."""
    while True:
        try:
            await attack(us, port)
        except OSError:
            us.done[f"{attack.__name__} closed"] += 1
            await asyncio.sleep(us.lot.uniform(0.05, 0.3))
        us.done[attack.__name__] += 1


async def stuck(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A receiver that takes connections and never reads."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    writer.transport.abort()


async def run(given: argparse.Namespace) -> None:
    """Attack until SIGTERM."""
    us = Attackers(given)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(stuck, "127.0.0.1", given.stuck, backlog=256)
    plan: list[tuple[Attack, int, int]] = [
        (slowloris, given.feed, given.slow), (half_frame, given.feed, 64),
        (half_open, given.feed, 16), (never_reads, given.feed, 4), (reads_in_crumbs, given.feed, 8),
        (garbage, given.feed, 4), (nulls, given.feed, 2), (oversized, given.feed, 2),
        (broken_off, given.feed, 8), (flap, given.feed, 4), (half_handshake, given.walled, 32),
        (page_never_read, given.metrics, 40), (admin_never_read, 0, 40),
    ]  # fmt: skip
    tasks = [
        asyncio.create_task(again(us, attack, port))
        for attack, port, count in plan
        for _ in range(count)
    ]
    told = asyncio.create_task(stop.wait())
    while not told.done():
        await asyncio.wait([told], timeout=0.2)
        done = {
            "done": dict(us.done), "most_open": us.most_open, "flaps_left": us.flaps_left,
            "untrue": us.untrue, "broken": [repr(t.exception()) for t in tasks if t.done()],
        }  # fmt: skip
        part = given.log.with_suffix(".part")
        part.write_text(json.dumps(done))
        os.replace(part, given.log)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    server.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    for name in ("feed", "walled", "metrics", "stuck", "longest", "slow", "flaps", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--admin", required=True)
    parser.add_argument("--log", type=Path, required=True)
    # in a hospital they have processors of their own; here they would take those of the engine, of the
    # sender that is measured and of the clock it is measured by
    os.nice(10)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
