"""Worker processes for ``python:`` steps, as the engine uses them: a few, started when asked for."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from ifengine.clock import Clock
from ifengine.routes.worker_process import (
    LOAD_SECONDS,
    Conversation,
    Load,
    LoadError,
    WorkerError,
    WorkerProcess,
    body_length,
    calling,
    failed,
    is_spent,
    loading,
    read_frame,
)
from ifengine.transforms.memory import Call, Reply

MOST_WORKERS: Final = 4
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
START_ATTEMPTS: Final = 4
_CHUNK: Final = 256 * 1024


@dataclass(slots=True)
class _Pause:
    """A file that does not load is not tried again for a while: until when, and how it failed."""

    until: float
    seconds: float
    error: LoadError


class Workers:
    """A pool. A worker runs one file; the one that was not used for longest makes place.

    Files and tables come with the call: a reload needs no new pool.
    """

    def __init__(self, clock: Clock, *, most: int = MOST_WORKERS) -> None:
        self._clock = clock
        self._most = most
        self._slots = asyncio.Semaphore(most)
        self._idle: deque[WorkerProcess] = deque()  # the least used first
        self._busy: set[WorkerProcess] = set()
        self._pauses: dict[Load, _Pause] = {}
        self._closed = False

    @property
    def count(self) -> int:
        """How many processes there are."""
        return len(self._idle) + len(self._busy)

    async def call(self, call: Call) -> Reply:
        """Return what a function of the site answers, within its timeout once it has a worker."""
        load = Load(call.file, call.source, call.as_hl7)
        async with self._slots:
            if self._closed:
                return Reply(None, "the workers are stopped")
            try:
                worker = await self._ready(load, call.function)
            except LoadError as error:
                return Reply(None, str(error), error.full)
            except WorkerError as error:
                return failed(call, error)
            return await self._run(worker, call)

    async def _run(self, worker: WorkerProcess, call: Call) -> Reply:
        keep = False
        try:
            async with asyncio.timeout(call.timeout_us / 1e6):
                reply = await _ask(worker, calling(call))
            keep = not is_spent(reply)
        except (WorkerError, TimeoutError) as error:
            return failed(call, error)
        finally:
            self._busy.discard(worker)
            if keep and not self._closed:
                self._idle.append(worker)
            else:
                await _ended(worker)
        return reply

    # --- starting and stopping ----------------------------------------------------------------

    async def _ready(self, load: Load, function: str) -> WorkerProcess:
        """Return a worker that has loaded this file, a new one where none is idle."""
        for worker in [worker for worker in self._idle if worker.load == load]:
            self._idle.remove(worker)
            if worker.is_quiet:
                self._busy.add(worker)
                return worker
            await _ended(worker)
        pause = self._pauses.get(load)
        if pause is not None and self._clock.monotonic() < pause.until:
            raise pause.error
        while self._idle and self.count >= self._most:
            await _ended(self._idle.popleft())
        return await self._start(load, function)

    async def _start(self, load: Load, function: str) -> WorkerProcess:
        worker = await self._spawn(load)
        self._busy.add(worker)
        is_loaded = False
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await _ask(worker, loading(load, (function,)))
            is_loaded = True
        except TimeoutError:
            raise self._refused(
                load, LoadError(f"{load.file} does not load within {LOAD_SECONDS:g}s")
            ) from None
        except LoadError as error:
            raise self._refused(load, error) from None
        except WorkerError:
            ended = LoadError(f"{load.file}: the worker ended while it loaded the file")
            raise self._refused(load, ended) from None
        finally:
            if not is_loaded:
                self._busy.discard(worker)
                await _ended(worker)
        self._pauses.pop(load, None)
        return worker

    async def _spawn(self, load: Load) -> WorkerProcess:
        """Start a process. That there is none to have is no fault of the message: try again."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_SECONDS
        for _ in range(START_ATTEMPTS - 1):
            try:
                return await loop.run_in_executor(None, WorkerProcess, load)
            except (WorkerError, OSError):
                await self._clock.sleep(pause)
                pause *= 2
        try:
            return await loop.run_in_executor(None, WorkerProcess, load)
        except OSError:
            raise WorkerError("no worker can be started") from None

    def _refused(self, load: Load, error: LoadError) -> LoadError:
        before = self._pauses.get(load)
        seconds = FIRST_PAUSE_SECONDS
        if before is not None:
            seconds = min(before.seconds * 2, LONGEST_PAUSE_SECONDS)
        self._pauses[load] = _Pause(self._clock.monotonic() + seconds, seconds, error)
        return error

    async def close(self) -> None:
        """End every worker; a call that is under way fails."""
        self._closed = True
        workers = [*self._idle, *self._busy]
        self._idle.clear()
        for worker in workers:
            if worker in self._busy:
                worker.process.kill()  # who waits for it ends it
            else:
                await _ended(worker)


async def _ask(worker: WorkerProcess, conversation: Conversation) -> Reply:
    """Hold a conversation with a worker.

    Raises:
        WorkerError: it ended, or what it answers is none.
    """
    loop = asyncio.get_running_loop()
    link = worker.link
    if link.gettimeout() != 0.0:
        link.setblocking(False)
    request = next(conversation)
    try:
        while True:
            await loop.sock_sendall(link, request)
            answer = bytearray()
            needed = 4
            while len(answer) < needed:
                part = await loop.sock_recv(link, min(max(needed - len(answer), 65536), _CHUNK))
                if not part:
                    raise WorkerError("it ended")
                answer += part
                if needed == 4 and len(answer) >= 4:
                    needed = 4 + body_length(bytes(answer[:4]))
            if len(answer) > needed:
                raise WorkerError("it answered more than it was asked")
            try:
                request = conversation.send(read_frame(bytes(answer[4:])))
            except StopIteration as done:
                reply: Reply = done.value
                return reply
    except TimeoutError:
        raise
    except OSError:
        raise WorkerError("it ended") from None


async def _ended(worker: WorkerProcess) -> None:
    await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, worker.end))
