"""The outside sender: a process that is never killed and logs what it sent and was told.

``python -m crash.sender --port P --log FILE [--connections 6] [--window 4] [--rate 400] [--give-up 0.2] [--cut 0.01] [--split 0.01]
[--latency FILE]``

Every connection keeps up to a window of messages outstanding. When it loses its connection it
connects again and sends what was not answered once more, same bytes, same order, or gives it up,
as some senders do. Now and then it sends a frame in two parts, or cuts the connection itself before it has read the answers. SIGTERM: no new messages, the outstanding ones are still seen through. The log:

    S id connection key digest-of-content east-digest west-digest     before the first byte leaves
    R id            sent again
    U id            given up without an answer: either outcome is right
    A id code       answered
    X               an answer nobody waited for

``--latency`` writes a line for each answer to another file: when it came, and after how many seconds.
"""

import argparse
import random
import select
import signal
import socket
import threading
import time
from collections import OrderedDict
from pathlib import Path

from crash.messages import digest, make

END = b"\x1c\r"


class Connection(threading.Thread):
    """One connection with its window."""

    def __init__(
        self, number: int, given: argparse.Namespace, log: "Log", stop: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.given = given
        self.log = log
        self.stop = stop
        self.random = random.Random(given.seed * 1000 + number)
        self.outstanding: OrderedDict[str, bytes] = OrderedDict()
        self.made = 0
        self.pause = given.connections / given.rate
        self.due = time.monotonic()
        self.was_cut = False
        self.sent_at: dict[str, float] = {}

    def run(self) -> None:
        while not (self.stop.is_set() and not self.outstanding):
            try:
                peer = socket.create_connection(("127.0.0.1", self.given.port), timeout=2)
            except OSError:
                time.sleep(0.02)
                continue
            with peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    self.talk(peer)
                except OSError:
                    continue

    def talk(self, peer: socket.socket) -> None:
        """Use one connection until it is lost or everything is done."""
        # After a cut of its own the messages may still lie unread in the old connection: one that is
        # given up could then be stored after a later one, and nobody would be to blame.
        gives_up = not self.was_cut and self.random.random() < self.given.give_up
        self.was_cut = False
        if self.outstanding and gives_up:
            for control in self.outstanding:
                self.log.write(f"U {control}")
            self.outstanding.clear()
        for control, frame in self.outstanding.items():
            self.log.write(f"R {control}")
            peer.sendall(frame)
        buffer = b""
        while True:
            self.send_due(peer)
            if self.outstanding and self.random.random() < self.given.cut:
                self.was_cut = True
                time.sleep(self.random.uniform(0.0, 0.01))
                return
            if self.stop.is_set() and not self.outstanding:
                return
            readable, _, _ = select.select([peer], [], [], 0.01)
            if not readable:
                continue
            data = peer.recv(65536)
            if not data:
                return
            *answers, buffer = (buffer + data).split(END)
            for answer in answers:
                self.answered(answer)

    def send_due(self, peer: socket.socket) -> None:
        """Send new messages while the window and the rate allow."""
        while (
            not self.stop.is_set()
            and len(self.outstanding) < self.given.window
            and time.monotonic() >= self.due
        ):
            message = make(self.number, self.made)
            self.made += 1
            # a stall is not made up for by a flood
            self.due = max(self.due + self.pause, time.monotonic() - 10 * self.pause)
            digests = " ".join(digest(message.expected[name]) for name in ("east", "west"))
            self.log.write(
                f"S {message.control_id} {self.number} {message.key} "
                f"{digest(message.content)} {digests}"
            )
            frame = b"\x0b" + message.content + END
            self.outstanding[message.control_id] = frame
            self.sent_at[message.control_id] = time.monotonic()
            if self.random.random() < self.given.split:
                middle = self.random.randrange(1, len(frame))
                peer.sendall(frame[:middle])
                time.sleep(self.random.uniform(0.001, 0.02))
                frame = frame[middle:]
            peer.sendall(frame)

    def answered(self, answer: bytes) -> None:
        """Log one acknowledgment."""
        fields = answer.partition(b"\rMSA|")[2].split(b"\r", 1)[0].split(b"|")
        control = fields[1].decode("ascii", "replace") if len(fields) > 1 else ""
        if control not in self.outstanding:
            self.log.write("X")
            return
        del self.outstanding[control]
        now = time.monotonic()
        self.log.time(now, now - self.sent_at.pop(control))
        self.log.write(f"A {control} {fields[0].decode('ascii', 'replace')}")


class Log:
    """Lines in the order in which things happened."""

    def __init__(self, path: Path, times: Path | None = None) -> None:
        self.file = path.open("w", buffering=1)
        self.times = times.open("w", buffering=1) if times is not None else None
        self.lock = threading.Lock()

    def time(self, now: float, seconds: float) -> None:
        """Add one line about an answer: monotonic time, and how long it took."""
        if self.times is not None:
            with self.lock:
                self.times.write(f"{now:.4f} {seconds:.6f}\n")

    def write(self, line: str) -> None:
        """Add one line."""
        with self.lock:
            self.file.write(line + "\n")


def main() -> None:
    """Send until told to stop and everything is answered."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=6)
    parser.add_argument("--window", type=int, default=4)
    parser.add_argument("--rate", type=float, default=400.0)
    parser.add_argument("--give-up", type=float, default=0.2)
    parser.add_argument("--cut", type=float, default=0.01)
    parser.add_argument("--split", type=float, default=0.01)
    parser.add_argument("--latency", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    log = Log(given.log, given.latency)
    connections = [Connection(n, given, log, stop) for n in range(given.connections)]
    for connection in connections:
        connection.start()
    while any(connection.is_alive() for connection in connections):
        time.sleep(0.05)


if __name__ == "__main__":
    main()
