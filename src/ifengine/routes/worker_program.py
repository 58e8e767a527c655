"""The program that runs in a worker process: one file of the site, one function call after another.

It is started by its path with ``python -I -S`` and imports nothing of the engine. Requests and
replies are frames (four bytes of length, four bytes of the length of a JSON head, the head, a
message) on the socket it is started with as standard input.

The walls are the operating system's: limits on memory, files and processes, and what the unit of
the service allows. What is refused here beside them (clocks, sockets, processes) refuses mistakes,
not an enemy: code in a process can undo what the process does.
"""

import datetime
import importlib.abc
import importlib.util
import json
import linecache
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn

MEMORY_BYTES = 512 * 1024 * 1024
OPEN_FILES = 16
BEHIND_THE_ENGINE = 5  # of 19: a function that burns its whole time takes it from others last
MOST_LOOKED_UP = 10_000  # remembered answers of tables
MOST_NOTES = 20
LONGEST_TEXT = 500
_CHUNK = 256 * 1024
_SMALL = 16 * 1024  # what is read at first: a buffer that costs nothing to make
_REFUSED = ("socket.", "subprocess.", "os.fork", "os.posix_spawn", "os.exec", "os.system", "pty.")
# what may stand behind these in a process: too little memory, a stack that ran out, an exit
_SPENT = (MemoryError, RecursionError, SystemExit, KeyboardInterrupt)


class Refused(BaseException):
    """``ctx.reject`` and ``ctx.fail``: not caught by ``except Exception``."""

    def __init__(self, verb: str, text: str, answer: str) -> None:
        super().__init__(text)
        self.verb = verb
        self.answer = answer


class NotAllowedError(Exception):
    """A clock, a socket or a process was asked for."""


# --- no clock ---------------------------------------------------------------------------------------


_OF_THE_SITE: set[str] = set()  # names of the files whose code has no clock


def _without_clock(read: Callable[..., Any], *, needs: int = 0) -> Callable[..., Any]:
    """Return a clock that refuses the site's code; the library's own (``logging``) may read it.

    ``needs`` is how many arguments make it a function of a given time.
    """

    def asked(*given: Any, **named: Any) -> Any:
        caller = sys._getframe(1).f_code.co_filename
        if caller in _OF_THE_SITE and not (needs and len(given) >= needs):
            raise NotAllowedError("there is no clock here but ctx.now")
        return read(*given, **named)

    return asked


class _Moment(datetime.datetime):
    """``datetime`` without the clock."""

    now = staticmethod(_without_clock(datetime.datetime.now))  # noqa: TID251 - to refuse it
    utcnow = staticmethod(_without_clock(datetime.datetime.utcnow))
    today = staticmethod(_without_clock(datetime.datetime.today))


class _Day(datetime.date):
    """``date`` without the clock."""

    today = staticmethod(_without_clock(datetime.date.today))


# --- what the function is given -------------------------------------------------------------------


class Table:
    """A table of the site. The engine looks it up, as it does for ``lookup``."""

    def __init__(self, name: str, look: Callable[[list[str], str], dict[str, str] | None]) -> None:
        self.name = name
        self._look = look

    def lookup(self, *keys: str, at: str = "") -> dict[str, str] | None:
        """Return the result columns of the row for these keys; None where there is none."""
        return self._look([str(key) for key in keys], at)

    def __contains__(self, key: str) -> bool:
        return self.lookup(key) is not None


class Context:
    """``ctx``: the time of the message, tables, what the step said, and three ways to speak."""

    def __init__(self, head: dict[str, Any], look: Callable[[str], Table]) -> None:
        self.now = _Moment(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
            microseconds=head["now_us"]
        )
        self.args: dict[str, str] = dict(head["arguments"])
        self.segment: Any = None  # the current one, inside `for_each`
        self.notes: list[str] = []
        self._look = look

    def table(self, name: str) -> Table:
        """Return a table of the site; KeyError where there is none."""
        return self._look(name)

    def note(self, text: str) -> None:
        """Tell `ifengine try` what was done; no values of the message."""
        if len(self.notes) < MOST_NOTES:
            self.notes.append(str(text)[:LONGEST_TEXT])

    def reject(self, text: str, code: str = "AE") -> NoReturn:
        """Tell the sender no, where it still waits (AE or AR); else to the dead letters."""
        raise Refused("reject", str(text)[:LONGEST_TEXT], "AR" if code == "AR" else "AE")

    def fail(self, text: str) -> NoReturn:
        """To the dead letters."""
        raise Refused("fail", str(text)[:LONGEST_TEXT], "")


# --- modules ---------------------------------------------------------------------------------------


def _made(spec: ModuleSpec | None) -> ModuleType:
    if spec is None or spec.loader is None:
        raise ImportError("a module without a loader")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _beside(name: str) -> ModuleType:
    """Return a module that stands beside this file: no folder is searched for modules here."""
    file = Path(__file__).with_name(f"{name}.py")
    return _made(importlib.util.spec_from_file_location(name, file))


_MESSAGES = _beside("worker_message")


# --- the process -----------------------------------------------------------------------------------


class Given(importlib.abc.InspectLoader):
    """Makes a module of the text that came over the socket."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text

    def get_source(self, fullname: str) -> str:
        """Return the text."""
        return self.text

    def get_code(self, fullname: str) -> Any:
        """Return the code, under the name of the file."""
        return self.source_to_code(self.text, self.file)


class Worker:
    """The loop: load once, then one reply to each request."""

    def __init__(self, link: int) -> None:
        self._link = link
        self._module = ModuleType("unloaded")
        self._file = ""
        self._tables: dict[str, Table] = {}
        self._known: dict[tuple[str, tuple[str, ...], str], dict[str, str] | None] = {}

    def serve(self) -> None:
        """Answer until the engine goes away."""
        while True:
            head, content = self._receive()
            if head["do"] == "load":
                self._send(self._load(head, content.decode("utf-8")))
                continue
            # a worker whose engine is gone must not outlive its call
            signal.setitimer(signal.ITIMER_REAL, head["seconds"])
            reply, changed = self._call(head, content)
            signal.setitimer(signal.ITIMER_REAL, 0)
            spent = reply.get("spent", False)
            self._send({"ticket": head["ticket"], **reply}, changed)
            if spent:
                return

    def _load(self, head: dict[str, Any], text: str) -> dict[str, Any]:
        self._file = head["file"]
        _OF_THE_SITE.add(self._file)
        spec = importlib.util.spec_from_loader("site_functions", Given(self._file, text))
        try:
            self._module = _made(spec)
            for name in head["functions"]:
                if not callable(getattr(self._module, name, None)):
                    return {"missing": name}
        except BaseException as error:  # noqa: BLE001 - whatever it raises is what it does not load by
            return self._failed(error)
        return {"ready": True}

    def _call(self, head: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        context = Context(head, self._table)
        charset: str = head["charset"]
        try:
            function = getattr(self._module, head["function"])
            text = content.decode(charset, "surrogateescape")
            if head["as_hl7"]:
                origins, written = _with_hl7(function, text, context, head["segment"])
            else:
                message = _MESSAGES.Message(text, charset)
                if head["segment"] is not None:
                    context.segment = list(message)[head["segment"]]
                function(message, context)
                origins, written = message.changes()
            lines = [(at, line.encode(charset, "surrogateescape")) for at, line in written]
        except Refused as refused:
            place = {"verb": refused.verb, "answer": refused.answer, "line": self._line(refused)}
            return {**place, "full": str(refused), "notes": context.notes}, b""
        except BaseException as error:  # noqa: BLE001 - a fault of the function costs its message only
            return self._failed(error), b""
        moved = None if origins == list(range(text.count("\r") + 1)) else origins
        done = {"origins": moved, "lines": [(at, len(line)) for at, line in lines]}
        return {**done, "notes": context.notes}, b"".join(line for _, line in lines)

    def _failed(self, error: BaseException) -> dict[str, Any]:
        kind = type(error)
        home = sys.modules.get(kind.__module__)
        # a class made on the way could be named after a patient
        is_named = getattr(home, kind.__qualname__, None) is kind
        is_named = is_named or getattr(self._module, kind.__qualname__, None) is kind
        try:
            full = str(error)[:LONGEST_TEXT]
        except BaseException:  # noqa: BLE001 - its own text may fail too
            full = ""
        line = self._line(error)
        if isinstance(error, SyntaxError) and error.filename == self._file:
            line = error.lineno or line
        return {
            "failed": kind.__name__ if is_named else "an exception",
            "line": line,
            "full": full,
            "spent": isinstance(error, _SPENT),
        }

    def _line(self, error: BaseException) -> int:
        """Return the last line of the site's file in a traceback, 0 where none is in it."""
        found, step = 0, error.__traceback__
        while isinstance(step, TracebackType):
            if step.tb_frame.f_code.co_filename == self._file:
                found = step.tb_lineno
            step = step.tb_next
        return found

    # --- tables -----------------------------------------------------------------------------

    def _table(self, name: str) -> Table:
        table = self._tables.get(name)
        if table is None:
            self._send({"table": name})
            if not self._receive()[0]["known"]:
                raise KeyError(f"there is no table {name}")

            def look(keys: list[str], at: str) -> dict[str, str] | None:
                return self._look(name, keys, at)

            table = self._tables[name] = Table(name, look)
        return table

    def _look(self, name: str, keys: list[str], at: str) -> dict[str, str] | None:
        asked = (name, tuple(keys), at)
        if asked not in self._known:
            if len(self._known) >= MOST_LOOKED_UP:
                self._known.clear()
            self._send({"look": name, "keys": keys, "at": at})
            self._known[asked] = self._receive()[0]["row"]
        return self._known[asked]

    # --- frames -----------------------------------------------------------------------------

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        # the engine says nothing before it has its reply: one read takes a small frame whole
        read = self._some(_SMALL)
        while len(read) < 4:
            read += self._some(4 - len(read))
        left = 4 + int.from_bytes(read[:4], "big") - len(read)
        parts = [read]
        while left > 0:
            part = self._some(min(left, _CHUNK))
            parts.append(part)
            left -= len(part)
        body = b"".join(parts) if len(parts) > 1 else read
        end = 8 + int.from_bytes(body[4:8], "big")
        head: dict[str, Any] = json.loads(body[8:end].decode())
        return head, body[end:]

    def _some(self, most: int) -> bytes:
        part = os.read(self._link, most)
        if not part:
            os._exit(0)  # the engine is gone
        return part

    def _send(self, head: dict[str, Any], content: bytes = b"") -> None:
        text = json.dumps(head).encode("utf-8", "backslashreplace")
        body = len(text).to_bytes(4, "big") + text + content
        left = memoryview(len(body).to_bytes(4, "big") + body)
        while left:
            left = left[os.write(self._link, left) :]


def _with_hl7(
    function: Callable[..., object], text: str, context: Context, segment: int | None
) -> tuple[list[int], list[tuple[int, str]]]:
    """Call a function that wants an ``hl7.Message``."""
    hl7 = importlib.import_module("hl7")
    message = hl7.parse(text + "\r")
    before = {id(one): (at, str(one)) for at, one in enumerate(message)}
    kept = list(message)  # their ids are theirs for as long as they are here
    if segment is not None:
        context.segment = kept[segment]
    function(message, context)
    after = [(*before.get(id(one), (-1, "")), str(one)) for one in message]
    written = [(at, line) for at, (_, old, line) in enumerate(after) if old != line]
    return [origin for origin, _, _ in after], written


def _audit(event: str, _: object) -> None:
    if event.startswith(_REFUSED):
        raise NotAllowedError("no process and no network here")


def limit() -> int:
    """Put up what the process itself can, and return the socket to the engine."""
    link = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)  # what the function prints goes nowhere
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    os.nice(BEHIND_THE_ENGINE)
    for name in ("time", "time_ns", "ctime", "clock_gettime", "clock_gettime_ns"):
        setattr(time, name, _without_clock(getattr(time, name)))
    for name in ("localtime", "gmtime"):
        setattr(time, name, _without_clock(getattr(time, name), needs=1))
    linecache.getlines = lambda *_: []
    vars(datetime).update(datetime=_Moment, date=_Day)
    sys.addaudithook(_audit)
    return link


if __name__ == "__main__":
    Worker(limit()).serve()
