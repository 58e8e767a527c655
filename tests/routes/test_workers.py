"""Workers under functions that hang, die, grow, print, fork and answer nonsense."""

import os
import signal
from collections.abc import AsyncIterator

import pytest

from ifengine.clock import SystemClock
from ifengine.hl7.message import Message
from ifengine.routes.worker_process import (
    Load,
    LoadError,
    WorkersNow,
    body_length,
    import_now,
    read_frame,
)
from ifengine.routes.worker_process import WorkerError as Unusable
from ifengine.routes.workers import Workers
from ifengine.transforms.memory import Call
from transforms.written import ORU, TABLES

FILE = "channels/python/hostile.py"
SOURCE = """
import os
import sys

count = []

def mark(msg, ctx):
    msg.segment("PID")["8"] = ctx.args.get("value", "M")

def hang(msg, ctx):
    if ctx.args["value"] == "hang":
        while True:
            pass
    mark(msg, ctx)

def grow(msg, ctx):
    return "x" * (10 * 1024 ** 3)

def fork(msg, ctx):
    os.fork()

def leave(msg, ctx):
    sys.exit(3)

def die(msg, ctx):
    os._exit(1)

def kill(msg, ctx):
    os.kill(os.getpid(), 9)

def recurse(msg, ctx):
    return recurse(msg, ctx)

def noise(msg, ctx):
    print("x" * 100_000)
    sys.stderr.write("y" * 100_000)
    os.write(1, b"z" * 100_000)
    mark(msg, ctx)

def huge(msg, ctx):
    msg.segment("PID")["30"] = "x" * (40 * 1024 * 1024)

def garbage(msg, ctx):
    for link in range(3, 10):
        try:
            os.write(link, b"\\x00\\x00\\x00\\x08nonsense")
        except OSError:
            pass

def tell(msg, ctx):
    raise ValueError(msg.field("PID-5"))

def named(msg, ctx):
    raise type("Fir", (Exception,), {})

def clock(msg, ctx):
    import datetime, time
    for read in (time.time, datetime.datetime.now, datetime.date.today, time.gmtime):
        try:
            read()
        except Exception:
            continue
        raise RuntimeError
    msg.segment("PID")["8"] = str(ctx.now.year)

def network(msg, ctx):
    import socket
    socket.socket()

def write(msg, ctx):
    with open("left", "w") as file:
        file.write("x")

def look(msg, ctx):
    row = ctx.table("ward").lookup("4WEST")
    none = ctx.table("ward").lookup("nowhere")
    msg.segment("PID")["8"] = f"{row['to']}{none}{'ICU' in ctx.table('ward')}"

def nowhere(msg, ctx):
    ctx.table("no-such-table")

def reject(msg, ctx):
    try:
        ctx.reject("because of " + msg.field("PID-5.1"), code="AR")
    except Exception:
        pass
"""


def call(function: str, value: str = "M", *, timeout_us: int = 2_000_000) -> Call:
    return Call(
        0, FILE, function, timeout_us, ORU.removesuffix(b"\r"), (("value", value),),
        source=SOURCE, now_us=1_767_607_200_000_000, tables=TABLES,
    )  # fmt: skip


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    pool = Workers(SystemClock(), most=2)
    yield pool
    await pool.close()
    assert pool.count == 0


def sex(lines: tuple[tuple[int, bytes], ...]) -> str:
    assert len(lines) == 1
    return lines[0][1].split(b"|")[8].decode()


def line_inside(function: str) -> int:
    """Return the line of what a function does first, or second where it begins with an import."""
    lines = SOURCE.splitlines()
    at = lines.index(f"def {function}(msg, ctx):") + 1
    return at + 1 + any(word in lines[at] for word in ("import", "try:"))


HOSTILE = [
    ("grow", f"MemoryError at {FILE}:"),
    ("fork", f"NotAllowedError at {FILE}:"),
    ("leave", f"SystemExit at {FILE}:"),
    ("die", f"{FILE} die: the worker: it ended"),
    ("kill", f"{FILE} kill: the worker: it ended"),
    ("recurse", f"RecursionError at {FILE}:"),
    ("garbage", f"{FILE} garbage: the worker: "),
    ("huge", f"{FILE} huge: the worker: it answered too much"),
    ("tell", f"ValueError at {FILE}:"),
    ("named", f"an exception at {FILE}:"),
    ("network", f"NotAllowedError at {FILE}:"),
    ("write", f"OSError at {FILE}"),
    ("nowhere", f"KeyError at {FILE}:"),
    ("reject", f"the function refused it at {FILE}:"),
    ("missing", f"AttributeError at {FILE}"),
]


async def test_what_a_function_does_costs_its_own_message_only(workers: Workers) -> None:
    for function, reason in HOSTILE:
        reply = await workers.call(call("mark"))
        assert sex(reply.lines) == "M", function
        failed = await workers.call(call(function))
        assert failed.content is None, function
        assert failed.reason.startswith(reason), (function, failed.reason)
        if " at " in reason and reason[-1] == ":":
            assert failed.reason == f"{reason}{line_inside(function)}"
        assert "Fir" not in failed.reason + repr(failed)
    after = await workers.call(call("mark", "F"))
    assert sex(after.lines) == "F"


async def test_noise_tables_and_the_time_of_the_message_do_no_harm(workers: Workers) -> None:
    assert sex((await workers.call(call("noise", "N"))).lines) == "N"
    assert sex((await workers.call(call("look"))).lines) == "W4NoneTrue"
    assert sex((await workers.call(call("clock"))).lines) == "2026"


async def test_a_refusal_says_its_answer_and_keeps_its_words_sealed(workers: Workers) -> None:
    reply = await workers.call(call("reject"))
    assert (reply.verb, reply.answer) == ("reject", "AR")
    assert reply.full.endswith("because of Fir")


async def test_of_a_thousand_messages_those_that_hang_cost_themselves_alone(
    workers: Workers,
) -> None:
    answered = []
    for number in range(1000):
        hangs = number % 100 == 50
        timeout_us = 60_000 if hangs else 5_000_000
        value = "hang" if hangs else str(number)
        reply = await workers.call(call("hang", value, timeout_us=timeout_us))
        answered.append("late" if reply.content is None else sex(reply.lines))
    assert answered == ["late" if n % 100 == 50 else str(n) for n in range(1000)]


async def test_a_worker_has_the_processor_after_the_engine(workers: Workers) -> None:
    await workers.call(call("mark"))
    (worker,) = workers._idle
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    theirs = os.getpriority(os.PRIO_PROCESS, worker.process.pid)
    assert theirs == min(19, ours + 5)


async def test_a_worker_that_is_killed_while_it_is_idle_costs_nothing(workers: Workers) -> None:
    await workers.call(call("mark"))
    process = workers._idle[0].process
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert sex((await workers.call(call("mark", "F"))).lines) == "F"


async def test_a_file_that_does_not_load_is_not_tried_at_every_message(workers: Workers) -> None:
    bad = call("mark")._replace(source="import os\nos._exit(1)\n")
    first = await workers.call(bad)
    assert first.reason == f"{FILE}: the worker ended while it loaded the file"
    pause = next(iter(workers._pauses.values()))
    pause.until = SystemClock().monotonic() + 100
    assert (await workers.call(bad)).reason == first.reason
    assert pause.seconds == 1.0
    pause.until = 0.0
    await workers.call(bad)
    assert next(iter(workers._pauses.values())).seconds == 2.0


async def test_no_more_processes_than_allowed_whatever_files_there_are(workers: Workers) -> None:
    for number in range(4):
        other = call("mark")._replace(source=SOURCE + f"# {number}\n")
        assert sex((await workers.call(other)).lines) == "M"
        assert workers.count <= 2


def test_commands_call_and_import_without_a_loop() -> None:
    now = WorkersNow()
    try:
        assert sex(now.call(call("mark", "F")).lines) == "F"
        assert now.call(call("hang", "hang", timeout_us=50_000)).reason.endswith("within 50ms")
        assert sex(now.call(call("mark", "U")).lines) == "U"
    finally:
        now.close()
    import_now(Load(FILE, SOURCE), ("mark",))
    with pytest.raises(LoadError, match='no function "marc"'):
        import_now(Load(FILE, SOURCE), ("marc",))
    with pytest.raises(LoadError, match=f"ModuleNotFoundError at {FILE}:") as error:
        import_now(Load(FILE, "\nimport hl7\n"), ())
    assert error.value.line == 2


def test_a_function_may_ask_for_the_message_of_the_hl7_library() -> None:
    pytest.importorskip("hl7")
    source = "def f(msg, ctx):\n    msg.segment('PID')[5] = 'F'\n"
    now = WorkersNow()
    try:
        reply = now.call(call("f")._replace(source=source, as_hl7=True))
    finally:
        now.close()
    assert reply.content is not None, reply.full
    at, line = reply.lines[0]
    assert (Message.parse(ORU).names()[at], line.split(b"|")[5]) == ("PID", b"F")


@pytest.mark.parametrize(
    "body", [b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x09{}", b"\x00\x00\x00\x01{"]
)
def test_frames_that_are_none_are_refused(body: bytes) -> None:
    with pytest.raises(Unusable):
        read_frame(body)


def test_a_frame_says_no_more_than_a_worker_may() -> None:
    for start in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"):
        with pytest.raises(Unusable):
            body_length(start)
