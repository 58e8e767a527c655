"""JSON lines on standard error, one an event; and handlers for errors that show no values."""

import asyncio
import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import fields
from types import FrameType, TracebackType
from typing import Any, TextIO

from ifengine.clock import Clock, SystemClock, rfc3339
from ifengine.errors import EngineError
from ifengine.telemetry.events import Event, Foreign, Level, Unforeseen, shortened

LOGGER = logging.getLogger("ifengine")

_LEVELS: Mapping[Level, int] = {
    Level.INFO: logging.INFO,
    Level.WARNING: logging.WARNING,
    Level.ERROR: logging.ERROR,
}
_CLOCK: Clock = SystemClock()


def emit(event: Event) -> None:
    """Write one event."""
    LOGGER.log(_LEVELS[event.level], event.event, extra={"ifengine_event": event})


class JsonLines(logging.Formatter):
    """Writes events. A record of any other kind loses its message and its arguments."""

    def __init__(self, clock: Clock = _CLOCK) -> None:
        super().__init__()
        self._clock = clock

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of ASCII JSON; control characters cannot get in."""
        event = getattr(record, "ifengine_event", None)
        if not isinstance(event, Event):
            event = _foreign(record)
        shown: dict[str, object] = {
            "at": rfc3339(self._clock.now_us()),
            "level": event.level.value,
            "event": event.event,
        }
        for field in fields(event):
            shown[field.name] = getattr(event, field.name)
        return json.dumps(shown, separators=(",", ":"))


def _foreign(record: logging.LogRecord) -> Foreign:
    error = record.exc_info[0] if record.exc_info and record.exc_info[0] else None
    return Foreign(
        logger=shortened(record.name),
        foreign_level=shortened(record.levelname.lower()),
        place=shortened(f"{record.module}:{record.lineno}"),
        error=shortened(error.__name__ if error else ""),
    )


def configure(stream: TextIO | None = None, clock: Clock = _CLOCK) -> logging.Handler:
    """Send every logger of the process, our own and foreign ones, through :class:`JsonLines`.

    Foreign loggers are heard from WARNING on. Returns the handler.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines(clock))
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(logging.INFO)
    # a broken pipe under the log must not print a traceback with the record's arguments
    logging.raiseExceptions = False
    return handler


# --- errors nobody caught -------------------------------------------------------------------------


def describe(error: BaseException) -> str:
    """Return the safe text of an error of ours, else its type alone."""
    if isinstance(error, EngineError):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__


def unforeseen(error: BaseException) -> Unforeseen:
    """Return the event for an error: its type, and the last line of our own code it went through."""
    return Unforeseen(
        error=shortened(type(error).__name__), place=shortened(_place(error.__traceback__))
    )


def _place(traceback: TracebackType | None) -> str:
    place = ""
    while traceback is not None:
        frame: FrameType = traceback.tb_frame
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] == "ifengine" or not place:
            place = f"{module}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def goes_through(error: BaseException, modules: tuple[str, ...]) -> bool:
    """Return whether an error passed through one of these modules (prefixes of their names)."""
    traceback = error.__traceback__
    while traceback is not None:
        if str(traceback.tb_frame.f_globals.get("__name__", "")).startswith(modules):
            return True
        traceback = traceback.tb_next
    return False


def safe_excepthook(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Stand in for ``sys.excepthook``: no values, no locals, no text of foreign errors."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return
    sys.stderr.write(f"ifengine: {describe(error)}\n")
    emit(unforeseen(error))


def loop_exception_handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Stand in for asyncio's handler, whose context holds reprs of buffers and arguments."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        if isinstance(error, EngineError):
            sys.stderr.write(f"ifengine: {describe(error)}\n")
        emit(unforeseen(error))
    else:
        emit(
            Foreign(
                logger=shortened("asyncio"),
                foreign_level=shortened("error"),
                place=shortened(""),
                error=shortened(""),
            )
        )


def install_safe_handlers(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Install the handlers of this module for the process and, if given, for a loop."""
    configure()
    sys.excepthook = safe_excepthook
    if loop is not None:
        loop.set_exception_handler(loop_exception_handler)
