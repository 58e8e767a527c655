"""A small disk of its own, in memory, that somebody else fills and frees."""

import contextlib
import os
import subprocess
import threading
from pathlib import Path

from requirements import require

PAGE = 4096


class SmallDisk:
    """A tmpfs mounted over a folder, as long as the block lasts."""

    def __init__(self, folder: Path, mebibytes: int) -> None:
        self.folder = folder
        self.mebibytes = mebibytes
        self._filler = folder / "filler"
        self._greedy: threading.Thread | None = None
        self._stop = threading.Event()

    def __enter__(self) -> "SmallDisk":
        program = require("mount:tmpfs")
        self.folder.mkdir(mode=0o700, exist_ok=True)
        options = f"size={self.mebibytes}m,mode=0700"
        subprocess.run([program, "-t", "tmpfs", "-o", options, "none", self.folder], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.free()
        # whoever still has a file open keeps it; the name is gone at once
        subprocess.run(["umount", "-l", self.folder], check=True)

    @property
    def free_bytes(self) -> int:
        """What anybody could still write."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all room but this much; what others give up meanwhile stays free."""
        file = os.open(self._filler, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            step = 1 << 30
            while step >= PAGE:
                step = min(step, max(0, self.free_bytes - leave) // PAGE * PAGE) or PAGE
                if self.free_bytes - leave < PAGE:
                    return
                try:
                    os.posix_fallocate(file, os.fstat(file).st_size, step)
                except OSError:  # somebody else took some of it meanwhile
                    step //= 2
        finally:
            os.close(file)

    def fill_greedily(self) -> None:
        """Take all room, and whatever becomes free, until it is freed."""
        self._stop.clear()

        def take() -> None:
            while not self._stop.is_set():
                self.fill()
                self._stop.wait(0.01)

        self._greedy = threading.Thread(target=take, daemon=True)
        self._greedy.start()

    def free(self) -> None:
        """Give everything back."""
        if self._greedy is not None:
            self._stop.set()
            self._greedy.join()
            self._greedy = None
        with contextlib.suppress(FileNotFoundError):
            self._filler.unlink()
