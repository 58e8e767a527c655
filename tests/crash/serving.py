"""A site in a temporary folder and ``ifengine serve`` on it as a child process that may be killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ports import free_ports as free_ports

RESTART_LIMIT_SECONDS = 15.0  # command-line.md: starts again within 15 s after a SIGKILL


def wait_until(what: str, condition: Any, seconds: float = 20.0) -> None:
    """Wait for a condition; fail by name."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


class Site:
    """A site directory and the process that serves it."""

    def __init__(
        self,
        folder: Path,
        *,
        listen: Mapping[str, str],
        send: Mapping[str, int],
        channels: Mapping[str, str],
        extra: str = "",
        store: str = "{path: var/store, reserve: 16MiB}",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """``listen``: name -> more keys of the connection; ``send``: name -> port of the receiver."""
        self.folder = folder
        self.environ = {**os.environ, **(environ or {})}
        (folder / "channels").mkdir(parents=True)
        ports = free_ports(len(listen) + 1)
        self.metrics_port = ports.pop()
        self.ports = dict(zip(listen, ports, strict=True))
        lines = [
            "ifengine: 1",
            "site: proof",
            "environment: test",
            f"store: {store}",
            'keys: {kek: "file:var/keys/kek"}',
            f'listen: {{admin: "unix:var/admin.sock", metrics: "127.0.0.1:{self.metrics_port}"}}',
            "identity: {patient: {path: PID-3, type: MR, authority: [MERCY]}}",
            extra,
            "connections:",
        ]
        for name, more in listen.items():
            lines.append(
                f"  {name}: {{listen: mllp, host: 127.0.0.1, port: {self.ports[name]}, "
                f"plaintext: loopback test{more}}}"
            )
        for name, port in send.items():
            lines.append(
                f"  {name}: {{send: mllp, host: 127.0.0.1, port: {port}, plaintext: loopback test}}"
            )
        (folder / "ifengine.yaml").write_text("\n".join(lines) + "\n")
        for name, text in channels.items():
            (folder / "channels" / f"{name}.yaml").write_text(text)
        self.log = folder / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.logged = 0  # where the present process's lines begin
        done = self.command("keys", "init")
        assert done.returncode == 0, done.stderr

    def command(
        self, *words: str, given: str | None = None, seconds: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run ``ifengine WORDS --site ...`` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "ifengine", *words, "--site", str(self.folder)],
            capture_output=True, text=True, input=given, timeout=seconds, env=self.environ,
        )  # fmt: skip

    def json(self, *words: str) -> Any:
        """Run a command with ``-o json`` and return its document."""
        done = self.command(*words, "-o", "json")
        assert done.returncode == 0, f"{words}: exit {done.returncode}: {done.stderr[-2000:]}"
        return json.loads(done.stdout)

    def spawn(self) -> None:
        """Start the process without waiting."""
        self.logged = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ifengine", "serve", "--site", str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environ,
            )  # fmt: skip

    def is_ready(self) -> bool:
        """Return whether the present process has printed its line ``ready``."""
        assert self.process is not None
        with self.log.open("rb") as log:
            log.seek(self.logged)
            text = log.read()
        if re.search(rb"^ready\b", text, re.MULTILINE):
            return True
        if self.process.poll() is not None:
            tail = text.decode(errors="replace")[-3000:]
            raise AssertionError(f"serve ended with {self.process.returncode}:\n{tail}")
        return False

    def start(self) -> float:
        """Start and wait for ``ready``; return how many seconds it took."""
        started = time.monotonic()
        self.spawn()
        wait_until("serve prints ready", self.is_ready, RESTART_LIMIT_SECONDS)
        return time.monotonic() - started

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def close(self) -> None:
        """End whatever still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
