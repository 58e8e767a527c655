"""An asyncio loop without a clock and without a machine: a seed chooses what runs next.

Virtual time passes only where nothing is ready, then it jumps to the next timer. What a thread
would do is done by the loop at a moment of its own, and so is what a network would bring: one
thread, no socket, no sleep, and the same seed gives the same run to the last step.

What asyncio promises stays true: of one source (a connection, a writer, a reading thread) things
come in their order. What it does not promise, the seed decides.
"""

import asyncio
import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

TURN_SECONDS = 20e-6  # what one callback takes


class NothingLeftError(Exception):
    """Everybody waits, and nothing will come: in a machine this is a hang."""


class InOrder:
    """Brings things one after the other, each at a time of its own."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop
        self._due: deque[Callable[[], None]] = deque()
        self._last = 0.0

    def __len__(self) -> int:
        return len(self._due)

    def after(self, seconds: float, bring: Callable[[], None]) -> None:
        """Call ``bring`` after this long, and after all that was asked for before."""
        self._last = max(self._last, self._loop.time() + seconds)
        self._due.append(bring)
        self._loop.call_at(self._last, self._next)

    def forget(self) -> None:
        """Bring nothing of what is under way."""
        self._due.clear()

    def _next(self) -> None:
        if self._due:
            self._due.popleft()()


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop whose order and time follow from a seed.

    Args:
        seed: repeats a run.
        shuffled: whether any ready callback may be the next; otherwise the one that was ready
            first, and only times differ.
    """

    def __init__(self, seed: int, *, shuffled: bool) -> None:
        super().__init__()
        self.choose = random.Random(seed)
        self.shuffled = shuffled
        self.turns = 0
        self.network: Any = None  # whose sockets and addresses these are
        self.thread_seconds = 0.002  # what a look at the disk takes at most
        self.raised: Callable[[dict[str, Any]], None] = lambda context: None
        self._virtual = 1000.0
        self._steps = hashlib.sha256()
        self._threads: dict[int, InOrder] = {}
        self._executors: list[object] = []  # kept, so that no id comes twice
        self._readers: dict[object, Callable[[], None]] = {}

    # --- time and order -----------------------------------------------------------------------

    def time(self) -> float:
        """Return virtual seconds."""
        return self._virtual

    def trace(self) -> str:
        """Return a digest of every choice made so far, and of how many there were."""
        return self._steps.hexdigest()[:16]

    def note(self, text: str) -> None:
        """Make something part of the trace."""
        self._steps.update(text.encode())

    def _run_once(self) -> None:
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        self._drop_cancelled(timers)
        if not ready:
            if not timers:
                raise NothingLeftError
            self._virtual = max(self._virtual, timers[0].when())
        while timers and timers[0].when() <= self._virtual:
            timer = heapq.heappop(timers)
            timer._scheduled = False  # type: ignore[attr-defined]
            ready.append(timer)
        at = self.choose.randrange(len(ready)) if self.shuffled and len(ready) > 1 else 0
        handle = ready[at]
        del ready[at]
        if not handle.cancelled():
            self.turns += 1
            self._virtual += TURN_SECONDS
            self._steps.update(b"%d,%d,%.6f;" % (at, len(ready), self._virtual))
            handle._run()

    def _drop_cancelled(self, timers: list[asyncio.TimerHandle]) -> None:
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False  # type: ignore[attr-defined]

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it where it is until its time comes."""

    def _process_events(self, event_list: object) -> None:
        """There is no selector."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell the simulation, then whoever set a handler."""
        self.raised(context)
        super().call_exception_handler(context)

    # --- threads ------------------------------------------------------------------------------

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Do the work at one moment and tell its result at a later one; one thread keeps its order."""
        future = self.create_future()
        if executor is not None and all(known is not executor for known in self._executors):
            self._executors.append(executor)
        thread = (
            InOrder(self)
            if executor is None
            else self._threads.setdefault(id(executor), InOrder(self))
        )

        def work() -> None:
            try:
                found, error = func(*args), None
            except Exception as raised:
                found, error = None, raised
            thread.after(self._a_while(), lambda: _settle(future, found, error))

        # the reading thread has one job at a time: its result leaves before the next begins
        thread.after(self._a_while(), work)
        return future

    def _a_while(self) -> float:
        return self.choose.random() * self.thread_seconds

    # --- sockets, as far as an engine asks the loop for them ------------------------------------

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:
        """Take no signals."""

    def remove_signal_handler(self, sig: int) -> bool:
        """Take no signals."""
        return True

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        """Return the one address there is."""
        import socket

        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host or "127.0.0.1", port))]

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:
        """Call while somebody waits to be accepted."""
        self._readers[fd] = lambda: callback(*args)
        fd.watched(self._readers.get)

    def remove_reader(self, fd: Any) -> bool:
        """Call no more."""
        return self._readers.pop(fd, None) is not None

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Reach whoever listens there, or fail as a network does."""
        await sock.connect(address)

    async def create_connection(self, factory: Any, *, sock: Any, **_: Any) -> Any:  # type: ignore[override]
        """Give a connected socket to a protocol."""
        protocol = factory()
        sock.transport.begin(protocol)
        return sock.transport, protocol

    async def connect_accepted_socket(self, factory: Any, sock: Any, **_: Any) -> Any:  # type: ignore[override]
        """Give an accepted socket to a protocol."""
        return await self.create_connection(factory, sock=sock)


def _settle(future: asyncio.Future[Any], found: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(found)
    else:
        future.set_exception(error)
