"""The folder of a store: who may read it, and who writes it."""

import contextlib
import fcntl
import os
from pathlib import Path

from ifengine.errors import StoreFullError, StoreRefusedError
from ifengine.store.folders import make_folder, sync_folder
from ifengine.store.space import is_no_room

DATABASE = "store.db"
LOCK = "store.lock"


def prepare_folder(folder: Path) -> None:
    """Make the folder, or close it to everybody but its owner.

    Raises:
        StoreRefusedError: it cannot be made, or belongs to somebody else.
    """
    try:
        make_folder(folder)
        folder.chmod(0o700)
    except OSError as error:
        raise StoreRefusedError(f"{folder}: {error.strerror}") from None


def prepare_database(folder: Path) -> Path:
    """Make an empty database file for the owner alone; close an existing one to others.

    An existing file is never opened here: closing any descriptor of it would drop the POSIX locks
    that SQLite holds in this process. SQLite gives its log and index the mode of the database.
    """
    path = folder / DATABASE
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        # SQLite syncs the entries of its logs, not of the file; a crash may have come before ours
        sync_folder(folder)
        for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"):
            if (folder / name).exists():
                (folder / name).chmod(0o600)
    except OSError as error:
        kind = StoreFullError if is_no_room(error) else StoreRefusedError
        raise kind(f"{path}: {error.strerror}") from None
    return path


class WriterLock:
    """The right to write a store. Ends with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            StoreRefusedError: another writer lives; its process id is named.
        """
        path = folder / LOCK
        try:
            self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreRefusedError(f"{path}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            self._file = None
            raise StoreRefusedError(
                f"{folder}: the store is written by process {holder or 'unknown'}",
                hint="stop that process first; one engine writes a store",
            ) from None
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the name
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the right back. The file stays: removing it would let two writers lock two files."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
