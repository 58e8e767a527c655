"""Copies the log into the database while the writer goes on: a thread with connections of its own.

SQLite lets one connection move frames that are committed while another appends. Three things are kept
here (ADR 0030). The log does not start again behind the writer's back: a read transaction, the pin,
is held from before a round until the writer takes note of its end; so the note about the log is
true at every instant, see ``sqlite_mark``. Pages are synced here, not by the writer, who would have
to wait for them. And nobody waits for a lock: there is one mover, and the writer moves nothing while
it is busy.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import apsw

from ifengine.failpoints import fp
from ifengine.store.sqlite_schema import open_mover, open_reader


def sync(file: int) -> None:
    """Put what was written of the database on stable storage."""
    os.fdatasync(file)


class Mover:
    """Rounds of moving the log of one database. All methods are for the writer's thread."""

    def __init__(self, path: Path, vfs: str | None, file: int, ended: Callable[[], None]) -> None:
        """Open the connections.

        Args:
            path: of the database.
            vfs: see ``sqlite.SqliteStore``.
            file: a descriptor of it. SQLite syncs the pages at the end of a log only.
            ended: called at the end of each round, in the mover's thread.

        Raises:
            StoreRefusedError: a pragma did not take effect.
            apsw.Error: the database cannot be opened.
        """
        self.is_busy = False  # from ``begin`` until ``end``
        self._file = file
        self._ended = ended
        self._rounds: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._done = threading.Event()
        self._given_up = False
        self._moved = 0
        self._error: Exception | None = None
        with contextlib.ExitStack() as undo:
            self._pin = open_reader(path)
            undo.callback(self._pin.close)
            self._connection = open_mover(path, vfs)
            undo.callback(self._connection.close)
            undo.pop_all()
        self._thread = threading.Thread(target=self._work, name="store-mover", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Begin a round: copy what the log holds now, as far as no reader needs it to stay."""
        self.is_busy = True
        self._moved = 0
        self._done.clear()
        self._rounds.put(True)

    @property
    def has_ended(self) -> bool:
        """Whether the round is over, and waits for ``end``."""
        return self.is_busy and self._done.is_set()

    @property
    def has_failed(self) -> bool:
        """Whether the round is over, and ``end`` will raise."""
        return self.has_ended and self._error is not None

    def end(self) -> int:
        """Take note of the end of a round; waits for it. The log may start again from now on.

        Returns:
            How many pages of the log are in the database. Where that is all of them, SQLite has
            synced them, and the next commit would begin the log anew.

        Raises:
            apsw.FullError, apsw.BusyError: nothing was moved, and nothing is lost.
            apsw.Error: it failed.
            OSError: the same.
        """
        self._done.wait()
        self.is_busy = False
        error, self._error = self._error, None
        if self._pin.in_transaction:
            self._pin.execute("COMMIT")
        if error is not None:
            raise error
        return self._moved

    def give_up(self) -> None:
        """Copy not one page more: the storage failed. Does not wait."""
        self._given_up = True
        self._connection.interrupt()

    def stop(self) -> None:
        """End the thread behind its round, and close its connections."""
        self._rounds.put(False)
        self._thread.join()
        for connection in (self._pin, self._connection):
            with contextlib.suppress(apsw.Error):
                connection.close()

    # --- the mover's thread ---------------------------------------------------------------------

    def _work(self) -> None:
        while self._rounds.get():
            try:
                self._move()
            except Exception as cause:  # noqa: BLE001 - the writer raises it
                self._error = cause
            self._done.set()
            self._ended()

    def _move(self) -> None:
        self._pin.execute("BEGIN")
        self._pin.execute("SELECT 1 FROM sqlite_schema LIMIT 1").get  # noqa: B018 - reads
        fp("store.move_before")
        if self._given_up:
            return
        _, moved = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        fp("store.move_after")
        try:
            sync(self._file)
        except OSError:
            # also for want of room: what a failed sync leaves is in doubt
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC) from None
        self._moved = moved
