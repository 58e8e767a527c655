"""Sender and receivers outside the engine. They never die, and what they write down is the truth."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from simulation.loop import VirtualLoop
from simulation.network import Network, Transport

START, END = b"\x0b", b"\x1c\r"
ANSWER_SECONDS = 8.0  # a sender waits this long, then begins anew on another connection


@dataclass(frozen=True)
class Sent:
    """One message as its sender knows it."""

    control_id: str
    number: int  # on its connection
    kind: str  # adt, merge, order, result
    keys: frozenset[str]  # the patients that it is about
    waits_for: str  # number of the order, of orders and results
    content: bytes


@dataclass(frozen=True)
class Arrival:
    """One message as a receiver took it."""

    control_id: str
    content: bytes
    at: float


def control_id(content: bytes) -> str:
    """Return MSH-10."""
    return content.split(b"|", 10)[9].decode()


def answer(content: bytes, code: str, *, answering: str = "") -> bytes:
    """Return the frame of an acknowledgment."""
    number = answering or control_id(content)
    text = f"MSH|^~\\&|R|R|HIS|RIVER|20260105101501||ACK|R{number}|P|2.5.1\rMSA|{code}|{number}\r"
    return START + text.encode() + END


class Frames:
    """Cuts a stream into frames, independently of the engine."""

    def __init__(self) -> None:
        self._held = b""

    def take(self, data: bytes) -> Iterator[bytes]:
        """Yield the content of every frame that is whole."""
        self._held += data
        while END in self._held:
            frame, self._held = self._held.split(END, 1)
            yield frame.lstrip(START)


@dataclass
class Behaviour:
    """What a receiver does, as probabilities; all 0: it behaves."""

    refuses: float = 0.0  # AE or AR, and does nothing
    keeps_silent: float = 0.0  # takes it and does not answer
    loses: float = 0.0  # closes before it took it
    closes: float = 0.0  # takes it and closes
    late: float = 0.0  # answers after the engine has given up
    twice: float = 0.0  # answers twice
    foreign: float = 0.0  # answers somebody else first
    seconds: float = 0.01  # until it answers, at most


@dataclass
class Receiver:
    """One receiver."""

    name: str
    network: Network
    behaviour: Behaviour = field(default_factory=Behaviour)
    taken: list[Arrival] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    note: Callable[[str], None] = lambda text: None

    def accept(self, transport: Transport) -> asyncio.Protocol:
        """Take a connection."""
        return _Receiving(self, transport)

    @property
    def ids(self) -> list[str]:
        """Return what was taken, in its order."""
        return [one.control_id for one in self.taken]


class _Receiving(asyncio.Protocol):
    def __init__(self, receiver: Receiver, transport: Transport) -> None:
        self._receiver = receiver
        self._end = transport
        self._frames = Frames()
        self._loop = receiver.network.loop

    def data_received(self, data: bytes) -> None:
        for content in self._frames.take(data):
            self._take(content)

    def eof_received(self) -> bool:
        return False

    def _take(self, content: bytes) -> None:
        home, choose = self._receiver, self._receiver.network.choose
        does = self._choose(choose)
        home.happened[does] += 1
        home.note(f"{home.name} {does} {control_id(content)}")
        wait = choose.random() * home.behaviour.seconds
        if does == "loses":
            self._end.abort()
            return
        if does == "refuses":
            home.refused.append(control_id(content))
            self._reply(wait, answer(content, choose.choice(["AE", "AR"])))
            return
        home.taken.append(Arrival(control_id(content), content, self._loop.time()))
        yes = answer(content, "AA")
        if does == "closes":
            self._end.abort()
        elif does == "late":
            self._reply(2.0 + choose.random() * 8.0, yes)
        elif does == "twice":
            self._reply(wait, yes + yes)
        elif does == "foreign":
            self._reply(wait, answer(content, "AA", answering="NOBODY") + yes)
        elif does == "takes":
            self._reply(wait, yes)

    def _choose(self, choose: random.Random) -> str:
        behaviour, roll = self._receiver.behaviour, choose.random()
        for does in ("refuses", "keeps_silent", "loses", "closes", "late", "twice", "foreign"):
            roll -= getattr(behaviour, does)
            if roll < 0:
                return does
        return "takes"

    def _reply(self, seconds: float, frame: bytes) -> None:
        self._loop.call_later(seconds, self._end.write, frame)


class Sender:
    """One connection's sender: gives up no message before it hears yes."""

    def __init__(
        self, network: Network, loop: VirtualLoop, port: int, name: str, *, window: int
    ) -> None:
        self.name = name
        self.sent: dict[str, Sent] = {}
        self.accepted: set[str] = set()
        self.refused = 0
        self.sent_again = 0
        self.stray: list[str] = []  # answers to what nobody asked
        self.note: Callable[[str], None] = lambda text: None
        self._network, self._loop, self._port, self._window = network, loop, port, window
        self._waiting: list[Sent] = []  # sent or to be sent, oldest first
        self._under_way: set[str] = set()
        self._link: _Sending | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._trying = False

    def send(self, message: Sent) -> None:
        """Send after all that was given before."""
        self.sent[message.control_id] = message
        self._waiting.append(message)
        self._go_on()

    def repeat(self, message: Sent) -> None:
        """Send something once more, as a sender does that lost its books."""
        if self._link is not None and message.control_id in self.accepted:
            self.sent_again += 1
            self._link.end.write(START + message.content + END)

    @property
    def idle(self) -> bool:
        """Return whether everything was answered with yes."""
        return not self._waiting

    def _go_on(self) -> None:
        if not self._waiting:
            return
        if self._link is None:
            self._connect()
            return
        for message in self._waiting[: self._window]:
            if message.control_id not in self._under_way:
                self._under_way.add(message.control_id)
                self._link.end.write(START + message.content + END)
        if self._deadline is None:
            self._deadline = self._loop.call_later(ANSWER_SECONDS, self._give_up)

    def _connect(self) -> None:
        if self._trying:
            return
        link = _Sending(self)
        if self._network.connect(self._port, link) is not None:
            self._link = link
            self._go_on()
            return
        self._trying = True
        self._loop.call_later(0.2 + self._network.choose.random(), self._try_again)

    def _try_again(self) -> None:
        self._trying = False
        if self._link is None:
            self._go_on()

    def _give_up(self) -> None:
        self._deadline = None
        if self._link is not None:
            link, self._link = self._link, None
            self.note(f"{self.name} gives up")
            link.end.abort()
        self._begin_anew()

    def _begin_anew(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self.sent_again += len(self._under_way)
        self._under_way.clear()
        self._trying = True
        self._loop.call_later(self._network.choose.random() * 0.5, self._try_again)

    def heard(self, link: "_Sending", content: bytes) -> None:
        """Take an answer."""
        code, _, number = content.split(b"MSA|")[1].split(b"\r")[0].decode().partition("|")
        number = number.split("|")[0]
        if number not in self.sent:
            self.stray.append(number)
        self.note(f"{self.name} hears {code} {number}")
        if code in ("AA", "CA"):
            self.accepted.add(number)
            self._waiting = [one for one in self._waiting if one.control_id != number]
            self._under_way.discard(number)
        elif link is self._link:
            # none of what follows may overtake it: all of it goes again, in its order
            self.refused += 1
            self._link = None
            link.end.close()
            self._begin_anew()
            return
        if link is self._link:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            self._go_on()

    def lost(self, link: "_Sending") -> None:
        """Begin anew when the connection ended."""
        if link is self._link:
            self._link = None
            self._begin_anew()


class _Sending(asyncio.Protocol):
    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._frames = Frames()
        self.end: Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Transport)
        self.end = transport

    def data_received(self, data: bytes) -> None:
        for content in self._frames.take(data):
            self._sender.heard(self, content)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._sender.lost(self)
