"""The machine an engine runs on: it starts the engine, kills it, and starts it again.

The engine is the real one, whole. Exchanged are the loop, the clock, the sockets, the disk and the
source of random bytes; the admin socket and the metrics port are left out, and people ask the
service behind the admin socket directly.
"""

import asyncio
import contextlib
import contextvars
import random
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from unittest.mock import patch

from ifengine.admin.request import Caller, Role
from ifengine.clock import MICROSECONDS
from ifengine.engine import running
from ifengine.engine.ending import EXIT_UNFORESEEN
from ifengine.engine.running import Engine
from ifengine.errors import StorageFailedError
from ifengine.mllp import client, listener
from ifengine.routes.config.loading import Loaded
from ifengine.settings import Settings
from simulation.loop import VirtualLoop
from simulation.network import HOST, Host, Network, SocketModule
from simulation.storage import Disk, SimulatedStore

START_US = 1_767_607_200 * MICROSECONDS
GRACE_SECONDS = 20.0
PERSON = Caller("simulation", frozenset({Role.OPERATOR}))


class VirtualClock:
    """The loop's time, and a wall clock that people may set."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset_us = START_US
        self.boots = 1
        self._booted = 0.0

    def now_us(self) -> int:
        """Return the wall clock."""
        return self.offset_us + int(self._loop.time() * MICROSECONDS)

    def monotonic(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    def since_boot(self) -> tuple[str, float]:
        """Return which boot of the machine this is, and its age."""
        return f"boot {self.boots}", self._loop.time() - self._booted

    def reboot(self) -> None:
        """The machine starts anew; only the wall clock has gone on."""
        self.boots += 1
        self._booted = self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    def show(self, moment: datetime) -> None:
        """Set the wall clock to a moment."""
        self.offset_us += int(moment.timestamp() * MICROSECONDS) - self.now_us()

    def jump(self, seconds: float) -> None:
        """Set the wall clock alone; as Linux does, to no time before its own start."""
        self.offset_us = max(0, self.offset_us + int(seconds * MICROSECONDS))


class _Process(Host):
    """One life of the engine."""

    def __init__(self, network: Network, store: SimulatedStore) -> None:
        super().__init__(network, "engine")
        self.store = store
        self.service: Any = None
        self.engine: Engine
        self.task: asyncio.Task[int]
        self.context: contextvars.Context
        self.ready = False


class _People:
    """Stands where the admin socket is."""

    def __init__(self, path: object, runtime: object, service: Any) -> None:
        process = HOST.get()
        assert isinstance(process, _Process)
        process.service = service

    async def start(self) -> None:
        """Listen to nobody."""

    async def stop(self) -> None:
        """Nothing is open."""


class _Metrics:
    """Stands where the metrics port is."""

    port = 0

    def __init__(self, *_: object) -> None:
        """Nobody asks."""

    async def start(self) -> None:
        """Listen to nobody."""

    async def stop(self) -> None:
        """Nothing is open."""


def _opened(kind: str, path: object) -> SimulatedStore:
    process = HOST.get()
    assert isinstance(process, _Process)
    return process.store


@contextlib.contextmanager
def exchanged(loop: VirtualLoop, clock: VirtualClock) -> Iterator[None]:
    """Put what is virtual in the place of the machine, for one simulation."""
    # of its own, so that a step more or less in one place does not change bytes elsewhere
    bytes_of = random.Random(loop.choose.random())
    sockets = SocketModule()
    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (running, "SystemClock", lambda: clock),
            (running, "open_store", _opened),
            (running, "AdminServer", _People),
            (running, "MetricsServer", _Metrics),
            (running, "_settle_memory", lambda: None),
            (running, "install_safe_handlers", lambda loop: None),
            (running, "loop_exception_handler", lambda loop, context: None),
            (running, "_dice", loop.choose.random),
            (client, "socket", sockets),
            (listener, "socket", sockets),
            (secrets, "token_bytes", lambda size=32: bytes_of.randbytes(size)),
        ):
            stack.enter_context(patch.object(owner, name, value))
        yield


class Machine:
    """Runs one engine at a time over one disk."""

    def __init__(
        self, loop: VirtualLoop, network: Network, disk: Disk, site: Settings, load: Loaded
    ) -> None:
        self.loop, self.network, self.disk = loop, network, disk
        self.settings = Settings(site.site, "memory", GRACE_SECONDS)
        self.loaded = load
        self.process: _Process | None = None
        self.ghosts: list[_Process] = []
        self.faults: list[str] = []  # what an engine must never end with
        self.starts = 0
        self.note: Callable[[str], None] = lambda text: None

    @property
    def service(self) -> Any:
        """Return whom people ask; None: the engine does not run."""
        process = self.process
        return process.service if process is not None and process.ready else None

    @property
    def engine(self) -> Engine | None:
        """Return the engine, where one runs."""
        process = self.process
        return process.engine if process is not None and process.ready else None

    def start(self) -> None:
        """Start a process; it takes up what the disk has."""
        self.disk.contents = self.disk.contents.reopened()
        process = _Process(self.network, SimulatedStore(self.disk))
        self.process = process
        self.starts += 1
        context = process.context = contextvars.copy_context()
        context.run(HOST.set, process)
        ready = self._is_ready(process)
        process.engine = context.run(Engine, self.settings, ready, lambda: self.loaded)
        process.task = self.loop.create_task(process.engine.run(), context=context)
        process.task.add_done_callback(lambda task: self._ended(process, task))

    @staticmethod
    def _is_ready(process: _Process) -> Callable[[list[str]], None]:
        def announce(lines: list[str]) -> None:
            process.ready = True

        return announce

    def kill(self) -> None:
        """End the process as SIGKILL does: nothing it still does is seen by anybody."""
        process = self.process
        if process is None:
            return
        self.process = None
        process.die()
        process.store.die()
        self.ghosts.append(process)
        process.task.cancel()

    def stop(self) -> None:
        """Ask the process to end in order."""
        if self.process is not None:
            self.process.engine._stop.set()

    def _ended(self, process: _Process, task: "asyncio.Task[int]") -> None:
        if process in self.ghosts:
            self.ghosts.remove(process)
            if not task.cancelled():
                task.exception()
            return
        self.process = None
        process.die()
        process.store.die()
        error = None if task.cancelled() else task.exception()
        if isinstance(_innermost(error), StorageFailedError):
            pass  # it could not start; that is said, and it is started again
        elif error is not None:
            self.faults.append(f"the engine raised {said(error)}")
        elif not task.cancelled() and task.result() == EXIT_UNFORESEEN:
            self.faults.append(f"unforeseen: {said(process.engine._failure)}")
        self.note("ended")


def _innermost(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def said(error: BaseException | None) -> str:
    """Return what an error is and where it came from."""
    error = _innermost(error)
    where = ""
    step = error.__traceback__ if error is not None else None
    while step is not None:
        where = f"{step.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{step.tb_lineno}"
        step = step.tb_next
    return f"{type(error).__name__} {error} at {where}"
