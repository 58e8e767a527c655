"""Delivery into a directory: temporary file, fsync, link, fsync of the directory; never a replacement."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from ifengine.routes.endpoints.base import LaneOwner, Parcel
from ifengine.routes.retry import Attempt, AttemptResult
from ifengine.store.folders import make_folder

NAME_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
NAME_LENGTH = 100


def is_safe_name(name: str) -> bool:
    """Return whether a file name stays inside its directory: ``[A-Za-z0-9._-]{1,100}``, no dot first."""
    return (
        0 < len(name) <= NAME_LENGTH
        and not name.startswith(".")
        and name.isascii()
        and NAME_BYTES.issuperset(name.encode())
    )


def write_once(directory: Path, name: str, content: bytes) -> bool:
    """Put a file on stable storage under a name that did not exist.

    Returns:
        False when the name exists with other bytes; the same bytes count as written, so that a
        repetition after a crash is no error.

    Raises:
        OSError: the directory cannot be written.
    """
    make_folder(directory)
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    temporary = f".{name}.part"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        handle = os.open(temporary, flags, 0o600, dir_fd=root)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, name, src_dir_fd=root, dst_dir_fd=root, follow_symlinks=False)
            except FileExistsError:
                same = _same(root, name, content)
                os.fsync(root)  # whoever wrote it may have crashed before the folder was synced
                return same
        finally:
            os.unlink(temporary, dir_fd=root)
        os.fsync(root)
        return True
    finally:
        os.close(root)


def _same(root: int, name: str, content: bytes) -> bool:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=root)
    except OSError:
        return False
    with os.fdopen(handle, "rb") as file:
        return file.read(len(content) + 1) == content


class FilesLane:
    """Writes one file per message, in a thread."""

    def __init__(
        self,
        directory: Path,
        owner: LaneOwner,
        loop: asyncio.AbstractEventLoop,
        spawn: Callable[..., object],
    ) -> None:
        self._directory = directory
        self._owner = owner
        self._loop = loop
        self._spawn = spawn

    @property
    def is_connected(self) -> bool:
        """A directory needs no connection."""
        return True

    def begin(self, parcel: Parcel) -> None:
        """Write one file."""
        if not is_safe_name(parcel.file_name):
            attempt = Attempt(
                AttemptResult.UNSENDABLE, "file name has characters that are not safe"
            )
            self._loop.call_soon(self._owner.attempt_ended, self, attempt)
            return
        self._spawn(self._write(parcel))

    async def _write(self, parcel: Parcel) -> None:
        try:
            written = await asyncio.to_thread(
                write_once, self._directory, parcel.file_name, parcel.content
            )
        except OSError:
            attempt = Attempt(AttemptResult.UNREACHABLE, "directory cannot be written")
        else:
            if written:
                attempt = Attempt(AttemptResult.ACCEPTED, "file")
            else:
                attempt = Attempt(AttemptResult.UNSENDABLE, "file exists with other content")
        self._owner.attempt_ended(self, attempt)

    def sweep(self, now: float) -> None:
        """A write has no deadline of its own: the thread ends."""

    async def close(self) -> None:
        """Nothing to close."""
