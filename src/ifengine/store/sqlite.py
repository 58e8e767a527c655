"""The embedded store: SQLite in WAL mode, one thread that writes, every commit on stable storage.

A second thread copies what was committed from the log into the database, see ``sqlite_mover``.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import apsw

from ifengine.errors import DiskFullError, StorageFailedError, StoreFullError, StoreRefusedError
from ifengine.failpoints import fp
from ifengine.store.audit import AuditMac
from ifengine.store.base import Batch
from ifengine.store.commit_points import after_commit, before_commit
from ifengine.store.space import Space, is_no_room, is_no_room_to_open
from ifengine.store.sqlite_damage import failure_text
from ifengine.store.sqlite_files import WriterLock, prepare_database, prepare_folder
from ifengine.store.sqlite_giants import Sweep
from ifengine.store.sqlite_log import Log
from ifengine.store.sqlite_mark import LogMark
from ifengine.store.sqlite_mover import Mover
from ifengine.store.sqlite_read import SqliteReader
from ifengine.store.sqlite_schema import (
    check_library,
    check_start,
    look_through,
    mark_clean,
    migrate,
    migrations,
    open_writer,
)
from ifengine.store.sqlite_write import PURGE_CHUNK, SqliteWriter
from ifengine.store.suspect import forget_cached

_IDLE_SECONDS = 0.25
_NEWEST_SHARE = 0.125  # of the last commit in what commits took lately

Finished = Callable[[BaseException | None], None]


class _Job(NamedTuple):
    """One transaction: a batch, a part of a purge or of a sweep. None: a wish of ``checkpoint`` or ``close``."""

    batch: Batch | None = None
    purge: tuple[int, ...] = ()
    ended_us: int | None = None  # of a purge
    finished: Finished | None = None
    sweep: bool = False
    stop: bool = False

    @property
    def writes(self) -> bool:
        return self.batch is not None or bool(self.purge) or self.sweep or self.finished is not None


def _noted(mark: LogMark, connection: apsw.Connection, database: str, pages: int) -> int:
    mark.committed(pages)
    return apsw.SQLITE_OK


class SqliteStore:
    """A store in one folder. Satisfies ``store.base.Store``.

    After the first error it writes nothing any more: a failed COMMIT is in doubt, and only a
    restart can tell what is on the disk. A full disk is no such error: the transaction was rolled
    back, and is tried again until there is room (ADR 0028).
    """

    def __init__(self, folder: Path, *, vfs: str | None = None, suspect: bool = False) -> None:
        """Open or make the store.

        Args:
            folder: holds ``store.db``, its log and index, and ``store.lock``.
            vfs: name of a SQLite VFS for the writer, for fault tests.
            suspect: the storage failed in the last run: everything is read from the disk, not
                from what the kernel remembers, and looked through.

        Raises:
            StoreRefusedError: another writer, an unsafe SQLite, a damaged or newer store.
            StoreFullError: no room on the disk, not even with the ballast given up.
        """
        check_library(apsw.sqlite_lib_version())
        prepare_folder(folder)
        self.space = Space(folder)
        self.failing: Callable[[BaseException], None] = lambda error: None
        self.commit_seconds = 0.0
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = WriterLock(folder)
        self._is_suspect = suspect
        try:
            if suspect:
                forget_cached(folder)
            try:
                self._path = prepare_database(folder)
                self._connection = self._open(vfs)
            except StoreFullError:
                if not self.space.release():
                    raise
                self._path = prepare_database(folder)
                self._connection = self._open(vfs)
        except BaseException:
            self._lock.release()
            raise
        self._gate = threading.Lock()  # orders submit against close
        self._closed = False
        self._failure: StorageFailedError | None = None
        self._truncate_wanted = False
        self._plan_sweep()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    def _open(self, vfs: str | None) -> apsw.Connection:
        try:
            with contextlib.ExitStack() as undo:
                connection = self._opened(vfs, undo)
                undo.pop_all()
        except apsw.Error as error:
            kind = StoreFullError if is_no_room_to_open(error) else StoreRefusedError
            raise kind(f"{self._path}: {failure_text(error)}") from None
        except OSError as error:
            kind = StoreFullError if is_no_room(error) else StoreRefusedError
            raise kind(f"{self._path}: {error.strerror}") from None
        return connection

    def _opened(self, vfs: str | None, undo: contextlib.ExitStack) -> apsw.Connection:
        self._mark = mark = LogMark(self._path)
        undo.callback(mark.close)
        # of the pages, to sync them; closing it drops SQLite's locks, so it outlives the connection
        self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        undo.callback(os.close, self._file)
        connection = open_writer(self._path, vfs, mark)
        undo.callback(connection.close)
        connection.set_wal_hook(partial(_noted, mark))  # until the log is followed
        steps = migrations()
        migrate(connection, steps)
        self.store_id = check_start(connection, steps)
        if self._is_suspect:
            look_through(connection)
        mover = Mover(self._path, vfs, self._file, ended=lambda: self._jobs.put(_Job()))
        undo.callback(mover.stop)
        self._log = Log(connection, mark, mover, self.space)
        mark_clean(connection, False)
        self._writer = SqliteWriter(connection)
        self._sweep = Sweep(self._writer.giants)
        return connection

    # --- any thread ---------------------------------------------------------------------------

    def submit(self, batch: Batch, finished: Finished) -> None:
        """Write a batch; see ``store.base.Store``."""
        self._put(_Job(batch=batch, finished=finished))

    def purge(
        self, inbox_ids: Iterable[int], finished: Finished, ended_us: int | None = None
    ) -> None:
        """Remove messages, in transactions of ``PURGE_CHUNK``; other batches may come between."""
        ids = tuple(inbox_ids)
        chunks = [ids[i : i + PURGE_CHUNK] for i in range(0, len(ids), PURGE_CHUNK)] or [()]
        with self._gate:
            for chunk in chunks[:-1]:
                self._jobs.put(_Job(purge=chunk, ended_us=ended_us))
            self._put_open(_Job(purge=chunks[-1], finished=finished, ended_us=ended_us))

    def checkpoint(self) -> None:
        """Ask for the log to be moved into the database, and cut, when nothing else waits."""
        self._truncate_wanted = True
        self._put(_Job())

    @property
    def is_behind(self) -> bool:
        """Whether the log is long, and being moved."""
        return self._log.is_behind

    def protect_audit(self, mac: AuditMac) -> None:
        """Prove the head of the audit log with this MAC from the next record on."""
        self._writer.mac = mac

    def reader(self) -> SqliteReader:
        """Open a reader of its own; close it after use."""
        return SqliteReader(self._path)

    def close(self) -> None:
        """Finish what was submitted, then close. Blocks."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._jobs.put(_Job(stop=True))
        self._thread.join()

    def _put(self, job: _Job) -> None:
        with self._gate:
            self._put_open(job)

    def _put_open(self, job: _Job) -> None:
        if not self._closed:
            self._jobs.put(job)
        elif job.finished is not None:
            job.finished(StorageFailedError("the store is closed"))

    # --- the writer's thread --------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while True:
                job = self._next_job()
                if job.stop:
                    break
                if job.writes:
                    self._write(job)
                self._tend_log()
                self._plan_sweep()
        finally:
            self._end()

    def _next_job(self) -> _Job:
        """Return the next job; while none waits, do what should not stand between two commits."""
        with contextlib.suppress(queue.Empty):
            return self._jobs.get_nowait()
        if self._failure is None and not self._log.is_at_rest(self._truncate_wanted):
            if not self._truncate_wanted:
                with contextlib.suppress(queue.Empty):
                    return self._jobs.get(timeout=_IDLE_SECONDS)
            self._rest_log()
        return self._jobs.get()

    def _write(self, job: _Job) -> None:
        self._check_log()
        error: BaseException | None = self._failure
        if error is None:
            try:
                self._transact_with_room(job)
            except Exception as cause:  # noqa: BLE001 - whatever it was, the batch is in doubt
                error = self._fail("commit", cause)
        if job.sweep:
            self._sweep.is_due = False
        if job.finished is not None:
            if job.batch is None and self._sweep:
                self._sweep.waiting.append(job.finished)
            else:
                self._tell(job.finished, error)
        if error is not None or not self._sweep:
            self._end_sweep(error)

    def _tell(self, finished: Finished, error: BaseException | None) -> None:
        try:
            finished(error)
        except Exception as cause:  # noqa: BLE001 - whoever waits did not hear: stop here
            self._fail("callback", cause)

    def _plan_sweep(self) -> None:
        """Let the next step of a sweep wait its turn: what was submitted before it goes first.

        While the log is long it waits for the end of the round, which wakes the writer.
        """
        if self._sweep and not self._sweep.is_due and not self._log.is_behind and not self._failure:
            self._sweep.is_due = True
            self._jobs.put(_Job(sweep=True))

    def _end_sweep(self, error: BaseException | None) -> None:
        waiting, self._sweep.waiting = self._sweep.waiting, []
        for finished in waiting:
            self._tell(finished, error)

    def _transact_with_room(self, job: _Job) -> None:
        """Write one transaction; while the disk is full, nothing else is written but it.

        Its frames may stand in the log without a sync. The same transaction overwrites them, or
        the next start finds it whole: nobody has heard that it failed.
        """
        while True:
            try:
                self._transact(job)
            except apsw.FullError:
                self._roll_back()
                if not self.space.ran_out():
                    raise
            else:
                self.space.found()
                return

    def _transact(self, job: _Job) -> None:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        head = self._writer.head
        self._writer.gone = []
        if job.batch is not None:
            head = self._writer.apply(job.batch)
            before_commit(job.batch)
        elif job.purge:
            self._writer.purge(job.purge, job.ended_us)
        elif job.sweep:
            self._sweep.step()
        began = time.monotonic()
        run("COMMIT")
        took = time.monotonic() - began
        self.commit_seconds += (took - self.commit_seconds) * _NEWEST_SHARE
        self._writer.head = head
        if job.sweep:
            self._sweep.committed()
        else:
            self._sweep.add(self._writer.gone)
        fp("store.post_commit")
        if job.batch is not None:
            after_commit(job.batch)

    def _fail(self, what: str, cause: BaseException) -> StorageFailedError:
        """Abandon the transaction and refuse every later one."""
        self._log.give_up()
        self._roll_back()
        kind = DiskFullError if is_no_room(cause) else StorageFailedError
        failure = kind(f"{what} failed: {failure_text(cause)}")
        if self._failure is None:
            self._failure = failure
            self.failing(failure)
        return failure

    def _roll_back(self) -> None:
        # SQLite has usually rolled back by itself: a statement more would commit on its own
        if self._connection.in_transaction:
            with contextlib.suppress(apsw.Error):
                self._connection.execute("ROLLBACK")

    # --- the log --------------------------------------------------------------------------------

    def _check_log(self) -> None:
        with self._failing_log():
            self._log.check()

    def _tend_log(self) -> None:
        with self._failing_log():
            if self._failure is None:
                self._log.tend()

    def _rest_log(self) -> None:
        with self._failing_log():
            if self._log.rest():
                self._truncate_wanted = False

    @contextlib.contextmanager
    def _failing_log(self) -> Iterator[None]:
        try:
            yield
        except (apsw.Error, OSError) as cause:
            self._fail("checkpoint", cause)

    def _end(self) -> None:
        """Close; after a failure nothing is written any more, and the next start looks closer."""
        try:
            if self._failure is None:
                mark_clean(self._connection, True)
                self._log.end()
        except (apsw.Error, OSError) as cause:
            self._fail("close", cause)
        finally:
            self._end_sweep(self._failure)  # the next start goes on with it
            self._log.stop()
            with contextlib.suppress(apsw.Error):
                self._connection.close()
            os.close(self._file)
            self._mark.close()
            self._lock.release()
