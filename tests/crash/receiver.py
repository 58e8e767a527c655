"""The outside receivers: one process that is never killed, one listener a destination.

``python -m crash.receiver --east PORT --west PORT --log FOLDER [--faults 1]``

Each complete message is logged as ``id digest answer`` before it is answered, in FOLDER/east and
FOLDER/west. ``answer`` is AA, AR (refused, may come again) or ``none``: the connection was closed
instead, and the engine cannot know what became of the message. With faults, east refuses, closes
and is slow now and then, and west is slow.
"""

import argparse
import asyncio
import random
import signal
from pathlib import Path
from typing import TextIO

from crash.messages import digest

END = b"\x1c\r"


class Receiver:
    """One destination."""

    def __init__(self, name: str, folder: Path, faults: float, seed: int) -> None:
        self.name = name
        self.log: TextIO = (folder / name).open("w", buffering=1)
        self.random = random.Random(f"{seed}{name}")
        east = name == "east"
        self.close_share = 0.004 * faults if east else 0.0
        self.refuse_share = 0.004 * faults if east else 0.0
        self.slow_share = (0.02 if east else 0.004) * faults
        self.answers = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take messages from one connection."""
        try:
            while True:
                frame = await reader.readuntil(END)
                content = frame[1:-2]
                control = content.split(b"|", 10)[9].decode()
                lot = self.random.random()
                answer = "AA"
                if lot < self.close_share:
                    answer = "none"
                elif lot < self.close_share + self.refuse_share:
                    answer = "AR"
                elif lot > 1 - self.slow_share:
                    # slow before it has the message in its books, and before it answers
                    await asyncio.sleep(self.random.uniform(0.005, 0.05))
                self.log.write(f"{control} {digest(content)} {answer}\n")
                if answer == "none":
                    return
                self.answers += 1
                writer.write(
                    b"\x0bMSH|^~\\&|R|MERCY|||20260105101500||ACK|%s%d|P|2.5.1\rMSA|%s|%s\r\x1c\r"
                    % (self.name.encode(), self.answers, answer.encode(), control.encode())
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the engine is gone; an incomplete frame is no message
        finally:
            writer.close()


async def run(given: argparse.Namespace) -> None:
    """Receive until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    for name in ("east", "west"):
        receiver = Receiver(name, given.log, given.faults, given.seed)
        await asyncio.start_server(receiver.serve, "127.0.0.1", getattr(given, name), limit=1 << 20)
    await stop.wait()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--east", type=int, required=True)
    parser.add_argument("--west", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
