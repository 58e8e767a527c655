"""A disk in memory: what a commit wrote is there once its sync returned, and a crash may come before.

A batch that was submitted takes effect at one virtual moment and is reported at a later one. Between
the two lies the doubt of every crash: it may be there although nobody heard so.
"""

from collections.abc import Callable, Iterable
from typing import Any

from ifengine.errors import StorageFailedError
from ifengine.store.base import Batch
from ifengine.store.memory import MemoryStore
from ifengine.store.memory_read import MemoryReader
from simulation.loop import InOrder, VirtualLoop

Finished = Callable[[BaseException | None], None]


class Disk:
    """What outlives processes."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.contents = MemoryStore()
        self.commit_seconds = 0.002
        self.fails = 0.0  # probability that a commit fails, and with it the storage
        self.failures = 0
        self.commits = 0


class SimulatedStore:
    """A store as one process has it open. Satisfies ``store.base.Store``."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.alive = True
        self.store_id = disk.contents.store_id
        self._writer = InOrder(disk.loop)
        self._failure: StorageFailedError | None = None
        self._pending = 0

    def __getattr__(self, name: str) -> Any:
        """Whatever else a store offers is that of the disk."""
        if name.startswith("__") or name == "disk":
            raise AttributeError(name)
        return getattr(self.disk.contents, name)

    def die(self) -> None:
        """Write nothing more, and tell nobody anything."""
        self.alive = False
        self._writer.forget()

    def submit(self, batch: Batch, finished: Finished) -> None:
        """Write a batch some time from now."""
        self._do(lambda done: self.disk.contents.submit(batch, done), finished)

    def purge(
        self, inbox_ids: Iterable[int], finished: Finished, ended_us: int | None = None
    ) -> None:
        """Remove messages some time from now."""
        ids = tuple(inbox_ids)
        self._do(lambda done: self.disk.contents.purge(ids, done, ended_us), finished)

    def _do(self, write: Callable[[Finished], None], finished: Finished) -> None:
        disk, choose = self.disk, self.disk.loop.choose
        errors: list[BaseException | None] = []

        def apply() -> None:
            if self._failure is None and choose.random() < disk.fails:
                disk.failures += 1
                self._failure = StorageFailedError("commit failed: SQLITE_IOERR_FSYNC")
                if choose.random() < 0.5:
                    write(lambda error: None)  # it may be there all the same
            if self._failure is None:
                write(errors.append)
                disk.commits += 1
            else:
                errors.append(self._failure)

        def tell() -> None:
            if self.alive:
                finished(errors[0])

        if self.alive:
            self._writer.after(choose.random() * disk.commit_seconds, apply)
            self._writer.after(choose.random() * disk.commit_seconds, tell)

    def protect_audit(self, mac: Callable[[int, bytes], bytes]) -> None:
        """Prove the head of the audit log from now on."""
        if self.alive:
            self.disk.contents.protect_audit(mac)

    def reader(self) -> MemoryReader:
        """Return a look at what is on the disk."""
        return self.disk.contents.reader()

    def checkpoint(self) -> None:
        """There is no log."""

    def close(self) -> None:
        """Finish what was submitted."""
        while self.alive and len(self._writer):
            self._writer._next()
        self.alive = False
