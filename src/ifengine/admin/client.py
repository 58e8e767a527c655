"""Ask a running engine over its Unix socket. Synchronous, light to import: for the command line.

One connection a call: one JSON line ``{"verb": …, …}`` out, one JSON line ``{"ok": …}`` or
``{"error": {"code": …, "text": …, "hint": …}}`` back. Verbs and shapes: :mod:`ifengine.admin.service`.
"""

import contextlib
import json
import socket
from pathlib import Path
from typing import ClassVar

from ifengine.errors import EngineError

MOST_LISTED = 2000  # messages in one answer; longer lists are asked for page by page
MOST_ANSWER_BYTES = 512 * 1024 * 1024
TIMEOUT_SECONDS = 120.0
_CHUNK = 256 * 1024


class CallError(EngineError):
    """The engine answered with an error.

    ``reason_code`` is one of ``usage not_found failed internal``; ``exit_code`` is the one of
    command-line.md.
    """

    code: ClassVar[str] = "call"
    exit_code = 1

    def __init__(self, text: str, *, hint: str = "", reason_code: str = "failed") -> None:
        super().__init__(text, hint=hint)
        self.reason_code = reason_code


class UsageCallError(CallError):
    """A parameter is missing, unknown or of the wrong form."""

    exit_code = 2


class NotReachableError(CallError):
    """No engine answers on the socket."""

    exit_code = 3


class RefusedError(CallError):
    """The engine will not do this for this user, or not in this way."""

    exit_code = 4


_ERRORS: dict[str, type[CallError]] = {"usage": UsageCallError, "refused": RefusedError}


def call(
    socket_path: Path, verb: str, *, timeout_seconds: float = TIMEOUT_SECONDS, **params: object
) -> object:
    """Run one verb and return what stands under ``ok``; parameters that are None are left out.

    A ``messages.list`` of more than MOST_LISTED is asked for in pages and returned as one list.

    Raises:
        NotReachableError: nobody answers, or not in time.
        RefusedError: this user may not, or the act is refused by a rule.
        UsageCallError: wrong parameters.
        CallError: any other error of the engine.
    """
    given = {name: value for name, value in params.items() if value is not None}
    limit = given.get("limit")
    if verb == "messages.list" and isinstance(limit, int) and limit > MOST_LISTED:
        return _paged(socket_path, verb, timeout_seconds, given, limit)
    return _one_call(socket_path, verb, timeout_seconds, given)


def _paged(
    socket_path: Path, verb: str, timeout_seconds: float, given: dict[str, object], limit: int
) -> list[object]:
    found: list[object] = []
    while len(found) < limit:
        asked = min(MOST_LISTED, limit - len(found))
        page = _one_call(socket_path, verb, timeout_seconds, {**given, "limit": asked})
        if not isinstance(page, list):
            break
        found += page
        if len(page) < asked:
            break
        given["before"] = int(page[-1]["id"])
    return found


def _one_call(
    socket_path: Path, verb: str, timeout_seconds: float, given: dict[str, object]
) -> object:
    request = {"verb": verb} | given
    line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
    answer = _exchange(socket_path, line, timeout_seconds)
    try:
        parsed = json.loads(answer)
    except ValueError:
        raise NotReachableError(
            f"{socket_path}: what answers is not an engine", reason_code="unreachable"
        ) from None
    if isinstance(parsed, dict) and "ok" in parsed:
        return parsed["ok"]
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if not isinstance(error, dict):
        raise NotReachableError(
            f"{socket_path}: what answers is not an engine", reason_code="unreachable"
        )
    reason_code = str(error.get("code", "failed"))
    kind = _ERRORS.get(reason_code, CallError)
    raise kind(str(error.get("text", "")), hint=str(error.get("hint", "")), reason_code=reason_code)


def _exchange(path: Path, line: bytes, timeout_seconds: float) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(str(path))
            # a user who may do nothing is answered before anything is read
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(line)
            return _read_line(connection)
        except FileNotFoundError:
            problem = "there is no such socket"
        except ConnectionRefusedError:
            problem = "nobody listens there any more"
        except PermissionError:
            raise RefusedError(
                f"{path}: this user may not open the engine's socket",
                hint="run as the user the engine runs as",
                reason_code="refused",
            ) from None
        except TimeoutError:
            problem = f"no answer within {timeout_seconds:g} s"
        except OSError as error:
            problem = error.strerror or "the connection failed"
    raise NotReachableError(
        f"{path}: {problem}", hint="is `ifengine serve` running?", reason_code="unreachable"
    )


def _read_line(connection: socket.socket) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := connection.recv(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if chunk.endswith(b"\n"):
            return b"".join(chunks)
        if size > MOST_ANSWER_BYTES:
            raise OSError(0, "the answer is too large")
    raise OSError(0, "the engine closed the connection without an answer")
