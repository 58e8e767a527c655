"""One sending system: an MLLP client with one connection and one message outstanding.

After a lost connection the unanswered message is sent again unchanged. It keeps a log of its own:
what it sent, and what it was told.
"""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

START, END = b"\x0b", b"\x1c\r"
SECOND_SEND_EVERY = 40  # messages sent twice, as a nervous sender does
ANSWER_SECONDS = 40.0  # longer than the engine waits for a receiver on a sender's behalf


@dataclass(frozen=True)
class Told:
    """One message, and what should become of it."""

    control_id: str
    channel: str
    patient: str  # as receivers should see the number
    content: bytes = field(repr=False)
    # destination -> state before a person decides; "refused" is a dead letter by the receiver's no
    wanted: dict[str, str]
    reason: str = ""
    answer: str = "AA"  # what the sender should be told
    alone: bool = False  # it waits for something: others of its patient may go ahead
    waits_for: threading.Event | None = None  # not sent before this happened
    marks: threading.Event | None = None  # happened once this is answered


class Stream(Protocol):
    """Makes messages until it is told to come to an end."""

    def messages(self) -> Iterator[Told]:
        """Yield them."""

    def close(self) -> None:
        """Begin nothing new; what began is finished."""


class Sender(threading.Thread):
    """Sends at a rate until told to stop."""

    def __init__(self, port: int, rate: float, stream: Stream) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.rate = rate
        self.stream = stream
        self.sent: dict[str, Told] = {}
        self.answers: dict[str, str] = {}
        self.second_sends = 0  # whole messages sent twice on purpose
        self.repeats = 0  # messages sent again because no answer came
        self.stopping = threading.Event()
        self.peer: socket.socket | None = None
        self.buffer = b""

    def run(self) -> None:
        due = time.monotonic()
        for told in self.stream.messages():
            if not self.stopping.is_set():
                due = max(due + 1 / self.rate, time.monotonic() - 0.2)
                self.stopping.wait(max(0.0, due - time.monotonic()))
            if not self.may_go(told):
                continue
            self.sent[told.control_id] = told
            self.deliver(told)
            if told.marks is not None:
                told.marks.set()
            if len(self.sent) % SECOND_SEND_EVERY == 0 and told.answer == "AA":
                self.second_sends += 1
                self.deliver(told)
        if self.peer is not None:
            self.peer.close()

    def may_go(self, told: Told) -> bool:
        """Wait for what must have happened before; return False when it will not any more."""
        while told.waits_for is not None and not told.waits_for.wait(0.1):
            if self.stopping.is_set():
                return False
        return True

    def deliver(self, told: Told) -> None:
        """Send one message until it is answered."""
        first = True
        while True:
            try:
                peer = self.peer or self.connect()
                self.repeats += not first
                first = False
                peer.sendall(START + told.content + END)
                self.answers[told.control_id] = self.answer(peer, told.control_id)
                return
            except OSError:
                self.peer = None
                time.sleep(0.05)

    def connect(self) -> socket.socket:
        """Open the connection."""
        self.peer = socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        return self.peer

    def answer(self, peer: socket.socket, control_id: str) -> str:
        """Return MSA-1 of the answer to this message."""
        while True:
            while END not in self.buffer:
                data = peer.recv(65536)
                if not data:
                    raise ConnectionError("closed without an answer")
                self.buffer += data
            frame, _, self.buffer = self.buffer.partition(END)
            fields = frame.partition(b"\rMSA|")[2].split(b"\r", 1)[0].split(b"|")
            if len(fields) > 1 and fields[1].decode("ascii", "replace") == control_id:
                return fields[0].decode("ascii", "replace")

    def stop(self) -> None:
        """Finish what began, and end."""
        self.stream.close()
        self.stopping.set()
        self.join()
