"""One worker process and what is said to it, for callers that wait by themselves.

The walls around a worker are those of the operating system: its own process and session, an empty
environment and folder, limits on memory, files and processes, and a kill when its time is over.
"""

import atexit
import contextlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple

from ifengine.clock import SystemClock
from ifengine.errors import EngineError
from ifengine.transforms.memory import Call, Reply

LOAD_SECONDS: Final = 10.0
MOST_BYTES: Final = 32 * 1024 * 1024  # of one frame of a worker
MOST_HEAD: Final = 4 * 1024 * 1024
_CHUNK: Final = 1024 * 1024
_PROGRAM: Final = importlib.util.find_spec("ifengine.routes.worker_program")
_KIND: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}|an exception")

Frame = tuple[dict[str, Any], bytes]
Conversation = Generator[bytes, Frame, Reply]


class Load(NamedTuple):
    """What a worker is started with: it runs this file and no other."""

    file: str
    source: str
    as_hl7: bool = False

    def __repr__(self) -> str:
        return f"<Load {self.file}>"


class WorkerError(EngineError):
    """A worker cannot be used any more. Its text is safe."""

    code = "worker"


class LoadError(WorkerError):
    """A file does not load: every call of it fails. ``full`` may hold what its code said."""

    def __init__(self, safe: str, full: str = "", line: int = 0) -> None:
        super().__init__(safe)
        self.full = full or safe
        self.line = line


class WorkerProcess:
    """A process that has not loaded anything yet, and the socket to it."""

    def __init__(self, load: Load) -> None:
        if _PROGRAM is None or _PROGRAM.origin is None:
            raise WorkerError("the program of the workers is not there")
        self.load = load
        self.folder = tempfile.mkdtemp(prefix="ifengine-worker-")
        self.link, theirs = socket.socketpair()
        # the library for `as: hl7` stands among the packages; the others see none
        apart = ["-I"] if load.as_hl7 else ["-I", "-S"]
        try:
            with theirs:
                self.process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                    [sys.executable, *apart, "-B", "-X", "utf8", _PROGRAM.origin],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=self.folder,
                    env={},
                    start_new_session=True,
                )
        except OSError:
            self.link.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise WorkerError("no worker can be started") from None

    @property
    def is_quiet(self) -> bool:
        """Whether it lives and says nothing: it can be asked."""
        if self.link.gettimeout() != 0.0:
            self.link.setblocking(False)  # with a timeout it would wait for it
        try:
            self.link.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def end(self) -> None:
        """Kill it with all that it started, and take its folder away."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5.0)
        self.link.close()
        shutil.rmtree(self.folder, ignore_errors=True)


# --- what is said ---------------------------------------------------------------------------------


def frame(head: dict[str, Any], content: bytes = b"") -> bytes:
    """Return one request."""
    text = json.dumps(head).encode()
    return b"".join(
        (
            (4 + len(text) + len(content)).to_bytes(4, "big"),
            len(text).to_bytes(4, "big"),
            text,
            content,
        )
    )


def body_length(start: bytes) -> int:
    """Return how many bytes follow the first four of a frame.

    Raises:
        WorkerError: more than a worker may say.
    """
    length = int.from_bytes(start, "big")
    if not 4 <= length <= MOST_BYTES:
        raise WorkerError("it answered too much")
    return length


def read_frame(body: bytes) -> Frame:
    """Return a frame's head and content.

    Raises:
        WorkerError: it is none.
    """
    end = 4 + int.from_bytes(body[:4], "big")
    if end > min(len(body), MOST_HEAD):
        raise WorkerError("its answer cannot be read")
    try:
        head = json.loads(body[4:end].decode())
    except (ValueError, RecursionError):
        raise WorkerError("its answer cannot be read") from None
    if not isinstance(head, dict):
        raise WorkerError("its answer cannot be read")
    return head, body[end:]


def loading(load: Load, functions: tuple[str, ...]) -> Conversation:
    """Let a new worker load its file.

    Raises:
        LoadError: it does not load, or has no such function.
    """
    head = {"do": "load", "file": load.file, "functions": functions}
    answer, _ = yield frame(head, load.source.encode("utf-8", "replace"))
    if answer.get("ready") is True:
        return Reply(b"")
    if "missing" in answer:
        missing = next((name for name in functions if name == answer["missing"]), "")
        raise LoadError(f'{load.file} has no function "{missing}"')
    safe, line = _failure(answer, load)
    raise LoadError(safe, f"{safe}: {_text(answer.get('full'))}", line)


def calling(call: Call) -> Conversation:
    """Let a loaded worker do one call; it may look up tables on the way.

    Raises:
        WorkerError: its answer cannot be read: it is not to be asked again.
    """
    ticket = secrets.token_hex(8)
    request = {
        "do": "call",
        "ticket": ticket,
        "function": call.function,
        "charset": call.charset,
        "now_us": call.now_us,
        "arguments": call.arguments,
        "as_hl7": call.as_hl7,
        "segment": call.segment,
        # by itself it ends a little after the engine would have ended it
        "seconds": call.timeout_us / 1e6 * 2 + 1,
    }
    head, content = yield frame(request, call.content)
    while "ticket" not in head:
        head, content = yield frame(_looked_up(call, head))
    if head["ticket"] != ticket:
        raise WorkerError("it answered something else")
    try:
        return _reply(call, head, content)
    except (KeyError, ValueError, TypeError, AttributeError):
        raise WorkerError("its answer cannot be read") from None


def _looked_up(call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    if "table" in asked:
        return {"known": asked["table"] in call.tables if _is_name(asked["table"]) else False}
    name, keys, at = asked.get("look"), asked.get("keys"), asked.get("at")
    if not _is_name(name) or not isinstance(keys, list) or not isinstance(at, str):
        raise WorkerError("its answer cannot be read")
    table = call.tables.get(str(name))
    if table is None or len(keys) != len(table.keys):
        return {"row": None}
    found = table.lookup([str(key) for key in keys], at)
    return {"row": None if found is None else dict(zip(table.results, found, strict=False))}


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def _reply(call: Call, head: dict[str, Any], content: bytes) -> Reply:
    notes = tuple(_text(note) for note in head.get("notes", ()))
    load = Load(call.file, call.source)
    if "failed" in head:
        safe, _ = _failure(head, load)
        return Reply(None, safe, f"{safe}: {_text(head.get('full'))}", notes=notes)
    if "verb" in head:
        verb = "reject" if head["verb"] == "reject" else "fail"
        what = "refused" if verb == "reject" else "failed"
        safe = f"the function {what} it at {_place(head, load)}"
        answer = "AR" if head["answer"] == "AR" else "AE"
        return Reply(None, safe, f"{safe}: {_text(head.get('full'))}", verb, notes, answer)
    origins = head["origins"]
    moved = None if origins is None else tuple(int(origin) for origin in origins)
    lines, end = [], 0
    for at, length in head["lines"]:
        if int(length) < 0:
            raise ValueError("a length below zero")
        lines.append((int(at), content[end : end + int(length)]))
        end += int(length)
    if end != len(content):
        raise ValueError("lengths that do not add up")
    return Reply(b"", notes=notes, origins=moved, lines=tuple(lines))


def _failure(head: dict[str, Any], load: Load) -> tuple[str, int]:
    """Return ``TypeName at FILE:LINE``, which is all that may be said, and the line."""
    kind = head.get("failed")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        kind = "an exception"
    return f"{kind} at {_place(head, load)}", _line(head, load)


def _place(head: dict[str, Any], load: Load) -> str:
    line = _line(head, load)
    return f"{load.file}:{line}" if line else load.file


def _line(head: dict[str, Any], load: Load) -> int:
    line = head.get("line")
    last = load.source.count("\n") + 1
    return line if isinstance(line, int) and 0 < line <= last else 0


def _text(value: object) -> str:
    return value[:500] if isinstance(value, str) else ""


def is_spent(head_reply: Reply) -> bool:
    """Whether the worker that gave this reply has ended or should: memory, stack, an exit."""
    kind = head_reply.reason.partition(" ")[0]
    return kind in ("MemoryError", "RecursionError", "SystemExit", "KeyboardInterrupt")


# --- asking, and waiting for it ------------------------------------------------------------------


def ask(worker: WorkerProcess, conversation: Conversation, seconds: float) -> Reply:
    """Hold a conversation with a worker, blocking.

    Raises:
        TimeoutError: it did not answer in time.
        WorkerError: it ended, or what it answers is none.
    """
    until = _CLOCK.monotonic() + seconds
    request = next(conversation)
    try:
        while True:
            _within(worker, until)
            worker.link.sendall(request)
            length = body_length(_receive(worker, 4, until))
            answer = read_frame(_receive(worker, length, until))
            try:
                request = conversation.send(answer)
            except StopIteration as done:
                reply: Reply = done.value
                return reply
    except TimeoutError:
        raise
    except OSError:
        raise WorkerError("it ended") from None


def _receive(worker: WorkerProcess, count: int, until: float) -> bytes:
    parts = []
    while count:
        _within(worker, until)
        part = worker.link.recv(min(count, _CHUNK))
        if not part:
            raise WorkerError("it ended")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _within(worker: WorkerProcess, until: float) -> None:
    left = until - _CLOCK.monotonic()
    if left <= 0:
        raise TimeoutError
    worker.link.settimeout(left)


_CLOCK: Final = SystemClock()


class WorkersNow:
    """Workers for commands, which have nothing else to do meanwhile: one to a file."""

    def __init__(self) -> None:
        self._workers: dict[Load, WorkerProcess] = {}

    def call(self, call: Call) -> Reply:
        """Return what the function of the site answers."""
        load = Load(call.file, call.source, call.as_hl7)
        try:
            worker = self._workers.get(load)
            if worker is None or not worker.is_quiet:
                self._end(load)
                worker = self._workers[load] = started(load, (call.function,))
            reply = ask(worker, calling(call), call.timeout_us / 1e6)
        except LoadError as error:
            return Reply(None, str(error), error.full)
        except (WorkerError, TimeoutError) as error:
            self._end(load)
            return failed(call, error)
        if is_spent(reply):
            self._end(load)
        return reply

    def _end(self, load: Load) -> None:
        worker = self._workers.pop(load, None)
        if worker is not None:
            worker.end()

    def close(self) -> None:
        """End every worker."""
        for load in list(self._workers):
            self._end(load)


def failed(call: Call, error: WorkerError | TimeoutError) -> Reply:
    """Return the reply to a call whose worker did not give one."""
    if isinstance(error, TimeoutError):
        return Reply(
            None, f"{call.file} {call.function}: no answer within {call.timeout_us // 1000}ms"
        )
    return Reply(None, f"{call.file} {call.function}: the worker: {error}")


def started(load: Load, functions: tuple[str, ...]) -> WorkerProcess:
    """Return a worker that has loaded its file.

    Raises:
        LoadError: it does not load.
        WorkerError: no worker can be started.
    """
    worker = WorkerProcess(load)
    try:
        ask(worker, loading(load, functions), LOAD_SECONDS)
    except TimeoutError:
        worker.end()
        raise LoadError(f"{load.file} does not load within {LOAD_SECONDS:g}s") from None
    except LoadError:
        worker.end()
        raise
    except WorkerError:
        worker.end()
        raise LoadError(f"{load.file}: the worker ended while it loaded the file") from None
    return worker


def import_now(load: Load, functions: tuple[str, ...]) -> None:
    """Load a file in a worker, to see whether it can be.

    Raises:
        LoadError: it does not load, or has no such function.
        WorkerError: no worker can be started.
    """
    started(load, functions).end()


def _for_commands() -> Callable[[Call], Reply]:
    workers: list[WorkersNow] = []

    def call_now(call: Call) -> Reply:
        """Return what a function of the site answers; blocks for as long as it may take."""
        if not workers:
            workers.append(WorkersNow())
            atexit.register(workers[0].close)
        return workers[0].call(call)

    return call_now


call_now: Final = _for_commands()
