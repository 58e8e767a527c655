"""How much of the log a start must find again. Kept beside it, in ``store.mark``.

SQLite takes a log up to the first frame whose checksum is wrong, and what follows is gone without a
word: after a power cut that is right, for nothing behind it was acknowledged; where a bit flipped or
the file was cut or lost it is not. So each commit notes, after its sync, which log it stands in and
how many frames that log has. The note is not synced: it may be behind the log, never ahead of it.
Before a log is begun anew or cut, a note that nothing is needed is synced. One frame less is noted
than there are: with ``psow=0`` SQLite repeats the last frame to fill its sector, and syncs before
the repetition is whole. A commit that is missing misses two.

One sector: magic, the two salts of the log, its frames, a CRC-32 over them.
"""

import os
import struct
import zlib
from pathlib import Path

import apsw

from ifengine.errors import StoreRefusedError

MARK = "store.mark"

_MAGIC = b"IFMK\x01\0\0\0"
_NOTE = struct.Struct(">8s8sI")
_SUM = struct.Struct(">I")
_HEADER_BYTES = 32
_SALTS = slice(16, 24)
_MAGICS = (0x377F0682, 0x377F0683)
_NOTHING = bytes(8)


def write_at_start(file: int, content: bytes) -> None:
    """Write a note; a function of its own so that a test can keep count."""
    os.pwrite(file, content, 0)


def sync(file: int) -> None:
    """Put the note on stable storage."""
    os.fdatasync(file)


class LogMark:
    """The note about the log of one database. Used by the thread that writes it."""

    def __init__(self, database: Path) -> None:
        """Open the note, or make an empty one.

        Raises:
            OSError: it cannot be opened.
        """
        self._database = database
        self._log = database.with_name(database.name + "-wal")
        path = database.with_name(MARK)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # its room is there from now on: on a full disk a commit needs none for its note
            os.posix_fallocate(self._file, 0, _NOTE.size + _SUM.size)
        except OSError:
            os.close(self._file)
            raise
        self._salts = _NOTHING  # what names the present log; read when it is next written

    def check(self, connection: apsw.Connection) -> None:
        """Compare database and log, as SQLite took them up, with the note; before any write.

        A note that does not read tells nothing: it was being written when the power went.

        Raises:
            StoreRefusedError: part of what was acknowledged is missing.
            apsw.Error: the log cannot be looked at.
        """
        note = self._read()
        if note is None:
            return
        if not self._database.stat().st_size:  # the first commit comes after its first page
            raise StoreRefusedError(
                "the store is damaged: its database is gone or empty, and it had messages",
                hint=f"keep the files; restore the newest backup, or remove {MARK} to begin anew",
            )
        needed, salts = note
        found = 0
        if needed and self._log_salts() == salts:
            found, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        if found < needed:
            raise StoreRefusedError(
                f"the store is damaged: its log has {max(0, found)} of at least {needed} frames;"
                " messages that were acknowledged are missing",
                hint="keep the files; restore the newest backup, or remove "
                f"{MARK} to go on with what is there",
            )

    def committed(self, frames: int) -> None:
        """Note a commit that is on stable storage.

        Raises:
            OSError: the note cannot be written.
        """
        if self._salts == _NOTHING:
            self._salts = self._log_salts()
        self._write(max(0, frames - 1))

    def moved(self) -> None:
        """Note that all of the log is in the database: on stable storage when this returns.

        Raises:
            OSError: the note cannot be written or synced.
        """
        self._salts = _NOTHING  # the log may begin anew, under another name
        self._write(0)
        sync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write(self, needed: int) -> None:
        note = _NOTE.pack(_MAGIC, self._salts, needed)
        write_at_start(self._file, note + _SUM.pack(zlib.crc32(note)))

    def _read(self) -> tuple[int, bytes] | None:
        content = os.pread(self._file, _NOTE.size + _SUM.size, 0)
        note, check = content[: _NOTE.size], content[_NOTE.size :]
        if len(check) != _SUM.size or _SUM.unpack(check)[0] != zlib.crc32(note):
            return None
        magic, salts, needed = _NOTE.unpack(note)
        return (needed, salts) if magic == _MAGIC else None

    def _log_salts(self) -> bytes:
        """Return what names the present log; zeros where there is none."""
        try:
            with self._log.open("rb") as log:
                header = log.read(_HEADER_BYTES)
        except FileNotFoundError:
            return _NOTHING
        if len(header) < _HEADER_BYTES or int.from_bytes(header[:4], "big") not in _MAGICS:
            return _NOTHING
        return header[_SALTS]
