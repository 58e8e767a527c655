"""Senders and receivers of channels that do nothing wrong, in a process of their own.

``python -m chaos.neighbours --count 9 --rate 20 --log FILE``

It says on a line of standard output where its receivers listen, and reads from a line of standard input
where the engine does. Sender n sends to the n-th port of the engine what receiver n must get, one message
after the other's answer, at a steady pace. SIGTERM: no new messages; when all has arrived, or nothing more comes, one line of
JSON: when each was answered and arrived, what was lost, overtaken, twice, or not answered AA.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

START, END = b"\x0b", b"\x1c\r"
DRAIN_SECONDS = 40.0


def message(channel: int, number: int) -> bytes:
    """Return one message of an invented patient."""
    return (
        b"MSH|^~\\&|HIS|MERCY|IE|MERCY|20260105101500||ADT^A08|N%d-%06d|P|2.5.1\r"
        b"EVN|A08|20260105101500\rPID|1||%d^^^MERCY^MR||Quiet^Test||19700101|F\r"
        % (channel, number, number % 7)
    )


class Neighbour:
    """One channel seen from outside."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sent: list[float] = []
        self.answered: list[float] = []
        self.arrived: list[float] = []
        self.wrong: list[str] = []

    async def send(self, port: int, rate: float, stop: asyncio.Event) -> None:
        """Send until told to stop."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not stop.is_set():
            number = len(self.sent)
            self.sent.append(time.monotonic())
            writer.write(START + message(self.number, number) + END)
            answer = await reader.readuntil(END)
            if b"MSA|AA|N%d-%06d" % (self.number, number) not in answer:
                self.wrong.append(f"{number} not answered AA")
            self.answered.append(time.monotonic())
            await asyncio.sleep(max(0.0, self.sent[-1] + 1 / rate - time.monotonic()))
        writer.close()

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take messages, and compare: one after the other, each once."""
        try:
            while True:
                content = (await reader.readuntil(END))[1:-2]
                control = content.split(b"|")[9]
                expected = len(self.arrived)
                if content != message(self.number, expected):
                    self.wrong.append(f"{control.decode()} came where {expected} was due")
                self.arrived.append(time.monotonic())
                head = b"MSH|^~\\&|R|R|HIS|MERCY|20260105101501||ACK|R%s|P|2.5.1\r" % control
                writer.write(START + head + b"MSA|AA|%s\r" % control + END)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()


async def run(given: argparse.Namespace) -> None:
    """Send and receive until SIGTERM; then wait for what is on its way, and write the account."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    neighbours = [Neighbour(n) for n in range(given.count)]
    servers = [await asyncio.start_server(one.receive, "127.0.0.1", 0) for one in neighbours]
    print(json.dumps([one.sockets[0].getsockname()[1] for one in servers]), flush=True)
    ports = json.loads(await asyncio.to_thread(sys.stdin.readline))
    senders = [
        asyncio.create_task(one.send(port, given.rate, stop))
        for one, port in zip(neighbours, ports, strict=True)
    ]
    await asyncio.gather(*senders)
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        if all(len(one.arrived) >= len(one.sent) for one in neighbours):
            break
        await asyncio.sleep(0.05)
    account = [
        {"sent": n.sent, "answered": n.answered, "arrived": n.arrived, "wrong": n.wrong}
        for n in neighbours
    ]
    part = given.log.with_suffix(".part")
    part.write_text(json.dumps(account))
    os.replace(part, given.log)
    for server in servers:
        server.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--log", type=Path, required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
