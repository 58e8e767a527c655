"""The log of the writer's connection: how long it is, what of it was moved, when it starts again.

The mover copies most of it while commits go on. The writer moves the little that is left, right behind
the answers of a commit, and lets the log start again from its beginning (ADR 0030).
"""

import contextlib

import apsw

from ifengine.failpoints import fp
from ifengine.store.space import Space
from ifengine.store.sqlite_mark import LogMark
from ifengine.store.sqlite_mover import Mover
from ifengine.store.sqlite_schema import BUSY_MS

WAL_PAGES = 4000  # a log longer than this is moved, beside the commits
REST_PAGES = 256  # so few are moved between two commits: 2 MB
LONG_PAGES = 8000  # at such a log what is large waits for the end of a round
MOST_PAGES = 16_000  # a log longer than this is moved between two commits, however long that takes
RETRY_PAGES = 1000  # how much it grows before a move that a reader held up is tried again
_NEARER = 0.75  # a round that left more than this share of the last one gained nothing


class Log:
    """Moves the log of one connection. Used by the thread that writes it.

    ``check``, ``tend``, ``rest`` and ``end`` raise ``apsw.Error`` or ``OSError`` when the storage failed.
    """

    def __init__(
        self, connection: apsw.Connection, mark: LogMark, mover: Mover, space: Space
    ) -> None:
        """Follow the commits of a connection; before the first of this run."""
        # how long the log is; 0: all of it is in the database, and noted so. After a crash it has
        # what that left, and a start that finds nothing to change commits nothing.
        found, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        self.pages = max(0, found)
        self._connection = connection
        self._mark = mark
        self._mover = mover
        self._space = space
        self._length = self.pages  # at the last commit
        self._longest = self.pages  # since it was last cut: the size of its file
        self._left = 0  # pages not in the database when the round began
        self._begin_at = WAL_PAGES
        self._is_tried = False  # since the last commit, at rest
        connection.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, database: str, pages: int) -> int:
        # called when the commit is on stable storage
        self._mark.committed(pages)
        if pages <= self._length:  # it started again
            self._begin_at = WAL_PAGES
        self.pages = self._length = pages
        self._longest = max(self._longest, pages)
        self._is_tried = False
        return apsw.SQLITE_OK

    # --- between two commits --------------------------------------------------------------------

    def tend(self) -> None:
        """Do what is due behind a commit: begin a round, or take note of the end of one."""
        if not self._mover.is_busy and self.pages >= self._begin_at:
            self._begin()
        if self._mover.has_ended or (self._mover.is_busy and self.pages >= MOST_PAGES):
            self._end_round()

    @property
    def is_behind(self) -> bool:
        """Whether a round is under way that what is written meanwhile should not outgrow. Any thread."""
        return self._mover.is_busy and self.pages >= LONG_PAGES

    def check(self) -> None:
        """Raise what a round failed with: nothing is to be committed after that."""
        if self._mover.has_failed:
            self._end_round()

    def is_at_rest(self, cut: bool) -> bool:
        """Whether ``rest`` has nothing to do: nothing to move or to ``cut``, or it was tried."""
        return self._is_tried or not (self.pages or cut or self._longest > 2 * WAL_PAGES)

    def rest(self) -> bool:
        """Do what is due when no commit waits: move all, then cut; returns whether all is done."""
        if self._mover.is_busy:
            return False  # its end wakes the writer
        self._is_tried = True
        if self.pages:
            self._begin()
            return False
        self._cut()
        return True

    def end(self) -> None:
        """Move all and cut: the store is about to close."""
        self._settle()
        if self.pages:
            self._begin()
            self._settle()
        if not self.pages:
            self._cut()

    def give_up(self) -> None:
        """Move nothing any more: the storage failed. Does not wait."""
        self._mover.give_up()

    def stop(self) -> None:
        """End the mover; before the connection is closed."""
        self._mover.stop()

    # --- moving -----------------------------------------------------------------------------------

    def _settle(self) -> None:
        while self._mover.is_busy:
            self._end_round()

    def _begin(self) -> None:
        self._left = self.pages
        self._mover.begin()

    def _end_round(self) -> None:
        try:
            moved = self._mover.end()
        except (apsw.BusyError, apsw.FullError) as cause:
            self._hold(cause)
            return
        left = self.pages - moved
        if left <= REST_PAGES or self.pages >= MOST_PAGES:
            self._finish(moved)
        elif left <= self._left * _NEARER:
            self._left = left
            self._mover.begin()
        else:
            self._begin_at = self._later(self.pages)

    def _later(self, pages: int) -> int:
        """Return how long the log is at the next try: it may grow meanwhile, not over its bound."""
        later = max(WAL_PAGES, pages + RETRY_PAGES)
        return later if pages >= MOST_PAGES else min(later, MOST_PAGES)

    def _finish(self, moved: int) -> None:
        """Move the rest, and note it: the next commit starts the log from its beginning."""
        pages = self.pages
        fp("store.ckpt_before")
        if moved < pages:
            try:
                pages, moved = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            except (apsw.BusyError, apsw.FullError) as cause:
                self._hold(cause)
                return
        fp("store.ckpt_after")
        # where a reader keeps the log from starting again, it may grow before the next try
        self._begin_at = self._later(pages)
        if moved == pages:
            self._mark.moved()
            self.pages = 0
            self._is_tried = False

    def _hold(self, cause: apsw.Error) -> None:
        # no room: all of it stays readable in the log, and what was moved is moved again
        self._begin_at = self._later(self.pages)
        if isinstance(cause, apsw.FullError) and self._space.release():
            self._begin()

    def _cut(self) -> None:
        self._connection.set_busy_timeout(0)  # a reader's look must not hold up the intake
        try:
            with contextlib.suppress(apsw.BusyError, apsw.FullError):
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._length = self._longest = 0
                self._begin_at = WAL_PAGES
        finally:
            self._connection.set_busy_timeout(BUSY_MS)
