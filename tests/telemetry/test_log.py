import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from ifengine.clock import ManualClock
from ifengine.errors import EngineError, FieldError
from ifengine.telemetry import log
from ifengine.telemetry.events import DeadLettered, name

CANARY = "CANARY7781"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level, raises = list(root.handlers), root.level, logging.raiseExceptions
    hook = sys.excepthook
    written = io.StringIO()
    log.configure(written, ManualClock())
    yield written
    root.handlers[:] = before
    root.setLevel(level)
    logging.raiseExceptions = raises
    sys.excepthook = hook


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_time_and_level(stream: io.StringIO) -> None:
    log.emit(DeadLettered(channel=name("adt"), destination=name("lab"), count=7))
    assert lines(stream) == [
        {
            "at": "2026-01-05T10:00:00.000Z",
            "level": "warning",
            "event": "dead_lettered",
            "channel": "adt",
            "destination": "lab",
            "count": 7,
        }
    ]


def test_a_foreign_logger_says_where_and_which_error_but_never_what(stream: io.StringIO) -> None:
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("asyncio").exception("read %s from socket", CANARY)
    logging.getLogger(f"odd {CANARY}\n").warning(CANARY)
    written = stream.getvalue()
    assert lines(stream)[0]["error"] == "ValueError"
    assert lines(stream)[0]["logger"] == "asyncio"
    assert len(lines(stream)) == 2
    # a logger's name is chosen by a program; only the message and the error are content
    assert written.count(CANARY) == 1
    assert "odd_CANARY7781_" in written


def test_our_own_logger_without_an_event_loses_its_text_too(stream: io.StringIO) -> None:
    log.LOGGER.error(CANARY)
    assert CANARY not in stream.getvalue()
    assert lines(stream)[0]["event"] == "foreign"


def test_a_foreign_logger_is_silent_below_warning(stream: io.StringIO) -> None:
    logging.getLogger("some.library").info("hello")
    assert stream.getvalue() == ""


def test_an_error_nobody_caught_says_its_type_and_never_its_values(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = CANARY
    try:
        int(secret)
    except ValueError as error:
        log.safe_excepthook(type(error), error, error.__traceback__)
    shown = capsys.readouterr().err + stream.getvalue()
    assert "ValueError" in shown
    assert CANARY not in shown


def test_an_error_of_ours_says_its_safe_text(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    error = FieldError("PID-7", "is not a date")
    log.safe_excepthook(type(error), error, None)
    assert capsys.readouterr().err == "ifengine: FieldError: PID-7: is not a date\n"


def test_an_interrupt_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    log.safe_excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "interrupted\n"


async def test_the_loop_reports_types_alone(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log.loop_exception_handler)

    def fails() -> None:
        raise RuntimeError(CANARY)

    loop.call_soon(fails)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    loop.call_exception_handler({"message": CANARY, "buffer": CANARY})
    loop.call_exception_handler({"message": CANARY, "exception": EngineError("the disk is gone")})
    shown = capsys.readouterr().err
    assert CANARY not in stream.getvalue() + shown
    assert [line["event"] for line in lines(stream)] == ["unforeseen", "foreign", "unforeseen"]
    assert lines(stream)[0]["error"] == "RuntimeError"
    assert str(lines(stream)[0]["place"]).rpartition(":")[2].isdigit()
    assert shown == "ifengine: EngineError: the disk is gone\n"


async def test_safe_handlers_are_installed_for_process_and_loop(stream: io.StringIO) -> None:
    loop = asyncio.get_running_loop()
    log.install_safe_handlers(loop)
    assert sys.excepthook is log.safe_excepthook
    assert loop.get_exception_handler() is log.loop_exception_handler
