"""What the tests of the command line share: sites on disk, a stand-in engine, a way to run."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ifengine.cli.main import run

SITE = """\
ifengine: 1
site: elm
environment: test
connections:
  adt-in: {listen: mllp, port: 2575, plaintext: a test on one machine}
  lab-out: {send: mllp, host: 127.0.0.1, port: 6661, plaintext: a test on one machine}
"""

CHANNEL = """\
ifengine: 1
channel: adt
from: adt-in
types: [ADT^A01, ADT^A08]
ignore_types: {identity: this test has no merges}
order_by: [PID-3.1]
steps:
  - upper: PID-5.1
to:
  lab:
    connection: lab-out
"""

ADT = (
    b"MSH|^~\\&|REG|ELM|ENG|ELM|20260105120000||ADT^A01^ADT_A01|C1|P|2.5.1\r"
    b"EVN||20260105120000\r"
    b"PID|1||7001^^^ELM^MR||Quill^Ada||19700101|F\r"
    b"PV1|1|I|4W\r"
)


class Ended(NamedTuple):
    """A command that has run."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def here(
    *args: str, cwd: Path | None = None, given: str | bytes | None = None, **environ: str
) -> Ended:
    """Run the command in this process: as `ifengine`, without the time to start one."""
    data = given.encode() if isinstance(given, str) else given or b""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.delenv("IFENGINE_SITE", raising=False)
        for name, value in environ.items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        code = run(args)
        told = []
        for stream in (out, err):
            stream.flush()
            told.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Ended(code, told[0], told[1])


def ifengine(
    *args: str,
    cwd: Path | None = None,
    given: str | bytes | None = None,
    timeout: float = 20,
    **environ: str,
) -> Ended:
    """Run the real command in a process of its own, without a terminal."""
    data = given.encode() if isinstance(given, str) else given
    done = subprocess.run(
        [sys.executable, "-m", "ifengine", *args],
        cwd=cwd,
        input=data if data is not None else b"",
        capture_output=True,
        timeout=timeout,
        env={**os.environ, "PYTHONUTF8": "1", **environ},
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def write_site(folder: Path, *, site: str = SITE, channel: str = CHANNEL) -> Path:
    (folder / "channels" / "samples").mkdir(parents=True, exist_ok=True)
    (folder / "ifengine.yaml").write_text(site)
    (folder / "channels" / "adt.yaml").write_text(channel)
    (folder / "channels" / "samples" / "adt_a01.hl7").write_bytes(ADT)
    return folder


Answers = dict[str, Any]


class StandIn:
    """Answers on the site's admin socket like an engine and remembers what it was asked."""

    def __init__(self, path: Path, answers: Answers) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self.asked: list[dict[str, Any]] = []
        self._answers = answers
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                request = json.loads(connection.makefile("rb").readline())
                self.asked.append(request)
                connection.sendall(json.dumps(self._reply(request)).encode() + b"\n")

    def _reply(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = self._answers.get(request["verb"])
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            answer = answer(request)
        if isinstance(answer, Refusal):
            return {"error": {"code": answer.code, "text": answer.text, "hint": answer.hint}}
        return {"ok": answer}

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


class Refusal(NamedTuple):
    code: str
    text: str
    hint: str = ""


@contextmanager
def stand_in(site: Path, **answers: Any) -> Any:
    """Run a stand-in; keywords are verbs with __ for the dot."""
    engine = StandIn(
        site / "var" / "admin.sock", {name.replace("__", "."): a for name, a in answers.items()}
    )
    try:
        yield engine
    finally:
        engine.close()


def verbs(asked: Sequence[dict[str, Any]]) -> list[str]:
    return [request["verb"] for request in asked]
