"""Named places where a crash test ends, stops, holds up or fails the engine.

Off, which is always outside such a test, a point costs one look at a global (ADR 0025). On, it
says so on standard error before it acts. Source: guarantees.md 1.4.
"""

import errno
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, NoReturn, Protocol

from ifengine.errors import SettingsError

VARIABLE = "IFENGINE_FAILPOINTS"
MOST_DELAY_SECONDS = 60.0


class Point(NamedTuple):
    """Where a point stands, and what was done when it is reached."""

    module: str
    meaning: str


_INTAKE, _PIPELINE = "routes/intake.py", "routes/pipeline.py"
_INBOUND, _CLIENT = "mllp/inbound.py", "mllp/client.py"
_COMMIT, _WRITE, _SQLITE = "store/commit_points.py", "store/sqlite_write.py", "store/sqlite.py"
_GIANTS = "store/sqlite_giants.py"
_LOG, _MOVER = "store/sqlite_log.py", "store/sqlite_mover.py"
_SCHEMA, _CHECKSUMS = "store/sqlite_schema.py", "store/sqlite_checksums.py"
_LETTERS, _RUNNING = "routes/dead_letters.py", "engine/running.py"
_RELOADING, _SWITCHING = "engine/reloading.py", "engine/switching.py"

POINTS: Mapping[str, Point] = {
    "intake.accept": Point("mllp/listener.py", "a connection was accepted, and nothing read of it"),
    "intake.mid_frame": Point(_INBOUND, "a part of a frame was read"),
    "intake.frame_done": Point(_INBOUND, "a whole frame was read"),
    "intake.parsed": Point(_INTAKE, "its header was read and its gate decided"),
    "intake.sealed": Point(_INTAKE, "its content was sealed"),
    "intake.msg_inserted": Point(_WRITE, "its row was written, before the commit"),
    "intake.pre_commit": Point(_COMMIT, "all rows of its batch were written, before the commit"),
    "intake.post_commit_pre_ack": Point(_INTAKE, "its commit returned, before its acknowledgment"),
    "intake.mid_ack": Point(_INBOUND, "a part of its acknowledgment left"),
    "intake.post_ack": Point(_INBOUND, "its acknowledgment left, before its steps"),
    "process.claimed": Point(_PIPELINE, "a message was taken for its steps"),
    "process.transformed": Point(_PIPELINE, "its steps have run"),
    "process.fanout_inserted": Point(_WRITE, "its deliveries were written, before the commit"),
    "process.pre_commit": Point(_COMMIT, "its plan was written, before the commit"),
    "process.post_commit": Point(_PIPELINE, "its plan was committed, before its deliveries go"),
    "deliver.connected": Point(_CLIENT, "a receiver was reached, before anything is sent"),
    "deliver.mid_write": Point(_CLIENT, "a part of a message left"),
    "deliver.written": Point(_CLIENT, "a message left"),
    "deliver.ack_read": Point(_CLIENT, "bytes of a receiver came"),
    "deliver.ack_checked": Point("routes/endpoints/mllp.py", "its answer was matched"),
    "deliver.pre_commit": Point(_COMMIT, "the end of an attempt was written, before the commit"),
    "deliver.post_commit": Point("routes/delivery.py", "the end of an attempt was committed"),
    "dead.pre_move": Point(_COMMIT, "a dead letter was written, before the commit"),
    "dead.post_move": Point(_COMMIT, "a dead letter was committed, before anybody hears"),
    "replay.authz": Point("admin/replays.py", "a replay was allowed"),
    "replay.audited": Point(_LETTERS, "its rows and its audit record wait for the commit"),
    "replay.enqueued": Point(_LETTERS, "it was committed, before the outbox hears"),
    "parking.pre_commit": Point(_COMMIT, "a parked message was written, before the commit"),
    "memory.pre_commit": Point(_COMMIT, "what a step remembers was written, before the commit"),
    "merge.pre_commit": Point(_COMMIT, "a merge was written, before the commit"),
    "store.post_commit": Point(_SQLITE, "a commit returned in the writing thread"),
    "store.move_before": Point(_MOVER, "the log is about to be copied beside the commits"),
    "store.move_after": Point(_MOVER, "the log was copied, the pages not synced"),
    "store.ckpt_before": Point(_LOG, "the rest of the log is about to be moved"),
    "store.ckpt_after": Point(_LOG, "all of the log was moved, and not noted"),
    "store.upgrade_pre_commit": Point(_SCHEMA, "a step of the schema was made, before its commit"),
    "store.upgrade_post_commit": Point(_SCHEMA, "a step of the schema was committed"),
    "store.upgrade_vacuumed": Point(_CHECKSUMS, "an older store was written anew, with checksums"),
    "store.giant_piece": Point(_COMMIT, "a piece of a giant was committed, its message not"),
    "store.giant_swept": Point(_GIANTS, "some pieces of a giant of nobody were removed"),
    "store.purge_mid": Point(_WRITE, "deliveries of old messages were removed, the messages not"),
    "audit.appended": Point(_WRITE, "an audit record was written and its head proven"),
    "audit.sign_before": Point(_WRITE, "an audit record was written, its head not proven"),
    "keys.dek_minted": Point(_RUNNING, "the data keys of this run were made, in memory"),
    "keys.dek_committed": Point(_RUNNING, "the data keys of this run were committed"),
    "reload.prepared": Point(_RELOADING, "what is new was made and bound"),
    "reload.version_committed": Point(_RELOADING, "the new version was committed, not in force"),
    "reload.standing": Point(_SWITCHING, "the channels concerned stand still"),
    "reload.switched": Point(_SWITCHING, "every channel goes by the new rules"),
}


class Action(StrEnum):
    """What a point does: end by SIGKILL, SIGSTOP itself, sleep, or raise as the system would."""

    KILL = "kill"
    STOP = "stop"
    DELAY = "delay"
    ERROR = "error"


_ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "timeout": errno.ETIMEDOUT}
_RULE = re.compile(
    r"(?P<name>[a-z_.]+)=(?P<action>[a-z]+)(?::(?P<value>[A-Za-z0-9.]+))?(?:@(?P<at>[1-9]\d{0,6}))?"
)
_HOW = "NAME=kill, stop, delay:SECONDS or error:EIO, ENOSPC, timeout, each with @N or not; by ;"


@dataclass(slots=True)
class Armed:
    """One point as it was asked for: acts once, at the n-th time it is reached."""

    name: str
    action: Action
    left: int = 1  # how often it is still to be reached
    seconds: float = 0.1
    error: int = errno.EIO

    def reach(self) -> None:
        """Count, and act when it is time.

        Raises:
            OSError: the action is an error; a timeout is a TimeoutError.
        """
        self.left -= 1
        if self.left:
            return
        os.write(2, f"failpoint {self.name} {self.action}\n".encode())
        match self.action:
            case Action.KILL:
                _end()
            case Action.STOP:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Action.DELAY:
                time.sleep(self.seconds)  # noqa: TID251 - it is this thread that is to stand still
            case Action.ERROR:
                raise OSError(self.error, f"failpoint {self.name}")


_armed: Mapping[str, list[Armed]] | None = None


def fp(name: str) -> None:
    """Mark a point of the table; nothing happens unless it is armed.

    Raises:
        OSError: it is armed with an error.
    """
    if _armed is not None:
        _reach(name)


def is_armed() -> bool:
    """Whether any point is; to keep work for points alone off the usual way."""
    return _armed is not None


def _reach(name: str) -> None:
    for one in (_armed or {}).get(name, ()):
        one.reach()


def _end() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    while True:  # a signal to oneself is pending until the next return to this thread
        signal.pause()


# --- arming ---------------------------------------------------------------------------------------


def arm(text: str, *, environment: str) -> None:
    """Arm what the variable asks for; empty text arms nothing.

    Raises:
        SettingsError: the site is no test site, or the text is not written as it must be.
    """
    global _armed
    if not text:
        _armed = None
        return
    if environment != "test":
        raise SettingsError(
            f"{VARIABLE} makes the engine fail on purpose",
            hint="only a site with `environment: test` may use it",
        )
    armed: dict[str, list[Armed]] = {}
    for one in read_plan(text):
        armed.setdefault(one.name, []).append(one)
    _armed = armed
    sys.stderr.write(f"failpoints armed: {len(armed)}\n")


def read_plan(text: str) -> list[Armed]:
    """Read ``NAME=ACTION[:VALUE][@N];...``.

    Raises:
        SettingsError: unknown name, action or value. Names the place by its number.
    """
    plan = []
    for number, part in enumerate(text.split(";"), 1):
        found = _RULE.fullmatch(part.strip())
        if found is None or found["name"] not in POINTS or found["action"] not in set(Action):
            raise SettingsError(f"{VARIABLE}: number {number} names no point or action", hint=_HOW)
        one = Armed(found["name"], Action(found["action"]), int(found["at"] or 1))
        value = found["value"]
        if value is not None and not _take_value(one, value):
            raise SettingsError(f"{VARIABLE}: number {number} has no such value", hint=_HOW)
        plan.append(one)
    return plan


def _take_value(one: Armed, value: str) -> bool:
    if one.action is Action.ERROR and value in _ERRORS:
        one.error = _ERRORS[value]
        return True
    if one.action is Action.DELAY and re.fullmatch(r"\d{1,2}(\.\d{1,3})?", value):
        one.seconds = float(value)
        return one.seconds <= MOST_DELAY_SECONDS
    return False


# --- writes in two parts --------------------------------------------------------------------------


class Writes(Protocol):
    """What is needed of an asyncio transport."""

    def write(self, data: bytes) -> None:
        """Write soon."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...

    def get_write_buffer_size(self) -> int:
        """Return how much is not written yet."""
        ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the socket, or what else is known."""
        ...


def write_through(transport: Writes, data: bytes, mid: str, done: str) -> None:
    """Write, past two points: one in the middle and one behind. Off, this is ``transport.write``.

    An error there ends the connection, as one of the system would.
    """
    if _armed is None or not {mid, done} & _armed.keys():
        transport.write(data)
        return
    middle = len(data) // 2
    try:
        _write_now(transport, data[:middle])
        _reach(mid)
        _write_now(transport, data[middle:])
        _reach(done)
    except OSError:
        transport.abort()


def _write_now(transport: Writes, data: bytes) -> None:
    """Give bytes to the kernel before this returns, where nothing else waits to be written."""
    if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
        transport.write(data)
        return
    try:
        sent = os.write(transport.get_extra_info("socket").fileno(), data)
    except BlockingIOError:
        sent = 0
    if sent < len(data):
        transport.write(data[sent:])
