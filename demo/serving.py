"""A copy of the example site on free ports, and ``ifengine`` as a person would call it."""

import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FOLDER = 70  # the path of a Unix socket has room for 107 characters
READY_SECONDS = 60.0


class DemoError(Exception):
    """The demonstration did not go as it must."""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, below those that outgoing connections get."""
    lot = random.SystemRandom()
    sockets: list[socket.socket] = []
    for _ in range(1000 * count):
        if len(sockets) == count:
            break
        with suppress(OSError):
            sockets.append(socket.create_server(("127.0.0.1", lot.randrange(10_240, 32_768))))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    if len(ports) < count:
        raise DemoError(f"there are no {count} free ports")
    return ports


def take_folder() -> tuple[Path, TextIO]:
    """Return the folder for this run and the lock that keeps it, held as long as it is open."""
    folder = ROOT / "var" / "demo"
    folder.parent.mkdir(exist_ok=True)
    lock = (folder.parent / "demo.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except OSError:
        free = False  # another demonstration runs there
    if not free or len(str(folder)) > LONGEST_FOLDER:
        folder = Path(tempfile.gettempdir()) / f"ifengine-demo-{os.getpid()}"
    return folder, lock


def copy_site(
    sources: Sequence[str], receivers: Mapping[str, int]
) -> tuple["Site", dict[str, int]]:
    """Copy the site of the repository; an overlay gives it free ports.

    ``sources``: connections that listen; ``receivers``: connection -> port. Returns the site and
    the port of each source.
    """
    folder, lock = take_folder()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "ifengine.yaml", folder)
    shutil.copytree(ROOT / "channels", folder / "channels")
    metrics, *ports = free_ports(1 + len(sources))
    listen = dict(zip(sources, ports, strict=True))
    lines = ["# Written by the demonstration: the same site on free ports.", "connections:"]
    lines += [f"  {name}: {{port: {port}}}" for name, port in {**listen, **receivers}.items()]
    lines += [f"listen: {{metrics: 127.0.0.1:{metrics}}}", ""]
    (folder / "env").mkdir()
    (folder / "env" / "demo.yaml").write_text("\n".join(lines))
    return Site(folder, lock), listen


class Site:
    """The copied site and the process that serves it."""

    def __init__(self, folder: Path, lock: TextIO) -> None:
        self.folder = folder
        self.lock = lock
        self.log = folder / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    def command_line(self, *words: str) -> list[str]:
        """Return how ``ifengine WORDS`` is called here."""
        return [
            sys.executable, "-m", "ifengine", *words, "--site", str(self.folder), "--env", "demo",
        ]  # fmt: skip

    def run(self, *words: str, seconds: float = 60.0) -> str:
        """Run a command, which must succeed; return what it printed."""
        done = subprocess.run(
            self.command_line(*words), capture_output=True, text=True, timeout=seconds
        )
        if done.returncode != 0:
            raise DemoError(
                f"ifengine {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def json(self, *words: str) -> Any:
        """Run a command with ``-o json`` and return its document."""
        return json.loads(self.run(*words, "-o", "json"))

    def start(self) -> float:
        """Serve; return after how many seconds it was ready."""
        started = time.monotonic()
        begins = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            # a session of its own: Ctrl-C reaches the demonstration alone, which then stops it
            self.process = subprocess.Popen(
                self.command_line("serve"), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        while True:
            text = self.log.read_bytes()[begins:].decode(errors="replace")
            if re.search(r"^ready\b", text, re.MULTILINE):
                return time.monotonic() - started
            if self.process.poll() is not None:
                raise DemoError(f"serve ended with {self.process.returncode}:\n{text[-3000:]}")
            if time.monotonic() - started > READY_SECONDS:
                raise DemoError(
                    f"serve was not ready within {READY_SECONDS:.0f} s:\n{text[-3000:]}"
                )
            time.sleep(0.02)

    def kill(self) -> int:
        """SIGKILL; return the process id it had."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        return self.process.pid

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        """End whatever still runs; a folder outside the repository does not stay."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if not self.folder.is_relative_to(ROOT):
            shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.close()
