"""The marker that the storage failed, and what the next start does before it trusts a byte.

After a sync that failed the kernel may hold pages as clean that never reached the disk: a process
that starts again would read them, believe them, and lose them later. Source: guarantees.md 1.2.
"""

import contextlib
import os
from pathlib import Path

from ifengine.errors import DiskFullError, StoreRefusedError
from ifengine.store.folders import sync_folder
from ifengine.store.sqlite_damage import failure_text

FILES = ("store.db", "store.db-wal", "store.mark")


class Suspect:
    """The marker, on another disk than the store where there is one. Used from any thread."""

    def __init__(self, path: Path | None) -> None:
        """``path``: of the marker; None: the store is on no disk."""
        self.path = path

    @property
    def is_there(self) -> bool:
        """Whether the storage failed in the last run."""
        return self.path is not None and self.path.exists()

    def drop(self, error: BaseException) -> None:
        """Mark that the storage failed, for whatever reason but a full disk. Never raises.

        Where not even the marker can be written, the next start still follows an unclean stop.
        """
        if self.path is None or isinstance(error, DiskFullError):
            return
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            file = os.open(self.path, flags, 0o600)
            try:
                os.write(file, f"{type(error).__name__} {failure_text(error)}\n".encode())
                os.fsync(file)
            finally:
                os.close(file)
            sync_folder(self.path.parent)

    def clear(self) -> None:
        """Take the marker away: what it speaks of was looked into, and is written down."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
                sync_folder(self.path.parent)


def forget_cached(folder: Path) -> None:
    """Let the kernel read the files of a store from the disk the next time.

    To be called before this process opens the store: closing a descriptor drops SQLite's locks.

    Raises:
        StoreRefusedError: the disk still does not take or give what it should.
    """
    for name in FILES:
        path = folder / name
        with contextlib.suppress(FileNotFoundError):
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fdatasync(file)  # what is still to be written cannot be let go of
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(file)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise StoreRefusedError(
                    f"{path}: the storage failed, and still does: {error.strerror}",
                    hint="look at the disk; nothing that was acknowledged is on another one",
                ) from None
