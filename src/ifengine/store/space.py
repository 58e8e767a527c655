"""Room on the disk of a store: a ballast that is given up when the disk is full, and made again.

SQLite needs room to delete and to move its log too, so a full disk could not be emptied by delivering.
The ballast is room that the engine holds for that moment, really allocated, in ``store.ballast``.
"""

import contextlib
import errno
import os
import threading
from pathlib import Path

import apsw

BALLAST = "store.ballast"
RETRY_SECONDS = 0.2  # how soon a transaction that found no room is tried again

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def is_no_room(error: BaseException) -> bool:
    """Return whether an error says that the disk is full, and nothing else.

    A sync that fails for want of room is none of these: what it leaves is in doubt.
    """
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return isinstance(error, apsw.FullError)


def is_no_room_to_open(error: BaseException) -> bool:
    """Return whether a store could not be opened for want of room: its index needs some too."""
    code = getattr(error, "extendedresult", 0)
    return is_no_room(error) or code == apsw.SQLITE_IOERR_SHMSIZE


class Space:
    """The ballast of one store, and whether a transaction waits for room. Used from any thread."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder``: of the store; None: it has no disk, and there is always room."""
        self.wanted_bytes = 0  # how large the ballast is to be; set by the engine
        self.is_full = False  # a transaction waits for room; written by the writer's thread
        self.released = 0  # how often the ballast was given up
        self._path = None if folder is None else folder / BALLAST
        self._given_up = threading.Event()

    @property
    def ballast_bytes(self) -> int:
        """How much the ballast holds now."""
        if self._path is None:
            return 0
        with contextlib.suppress(OSError):
            return self._path.stat().st_size
        return 0

    @property
    def missing_bytes(self) -> int:
        """How much of the ballast is not there: so much more must be free before senders are read."""
        return 0 if self._path is None else max(0, self.wanted_bytes - self.ballast_bytes)

    def make(self) -> bool:
        """Make the ballast as large as it is to be; blocks. False: there is no room for it."""
        if self._path is None or self.ballast_bytes == self.wanted_bytes:
            return True
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if self.wanted_bytes:
                    os.posix_fallocate(file, 0, self.wanted_bytes)
                os.ftruncate(file, self.wanted_bytes)
            finally:
                os.close(file)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> int:
        """Give the ballast up; returns how many bytes that freed."""
        freed = self.ballast_bytes
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self.released += freed > 0
        return freed

    # --- the writer's thread --------------------------------------------------------------------

    def ran_out(self) -> bool:
        """A transaction found no room: return when it is worth another try.

        Returns:
            False when nobody wants to wait any longer: the engine stops.
        """
        if self.release():
            return not self._given_up.is_set()
        self.is_full = True
        return not self._given_up.wait(RETRY_SECONDS)

    def found(self) -> None:
        """The transaction went through."""
        self.is_full = False

    # --- the engine -----------------------------------------------------------------------------

    def give_up(self) -> None:
        """Let whoever waits for room fail: the process is to end."""
        self._given_up.set()
