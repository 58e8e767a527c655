"""A SQLite VFS that keeps what was written and synced, and the disks a power cut could leave.

Writes and truncations of a file are pending until a sync of that file makes them durable; its name
is in the folder when the folder was synced. A disk after a cut holds everything durable and any
subset of what is pending, each write whole, torn at sector borders, or garbled where a sector was
just being written. A sync makes durable what was written before it began: while it runs, another
thread may write.

The store's own VFS, ``cksmvfs``, lays checksums over pages, and takes the VFS that was the default
when it was loaded for the one below. So a second copy of it is loaded here over the journal.
"""

import os
import random
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import apsw.sqlite_extra
import pytest

from ifengine.store import sqlite_mark
from ifengine.store.sqlite_checksums import VFS, checked_vfs

JOURNALED = "cksmjnl"  # the same length as the name it stands for
_UNDER = "journal"

# ("w", name, bytes, offset) ("t", name, size) ("c", name) created ("d", name) deleted
# ("b", name, token) a sync began ("s", name, flags, token) it ended; without a token: both at once
# ("f",) the folder was synced ("ack", n)
Event = tuple[Any, ...]


class Journal:
    """What happened to the files of one folder. ``before`` raises to inject a fault."""

    def __init__(self, folder: Path, before: Callable[[str, str], None] | None = None) -> None:
        self.folder = str(folder.absolute())
        self.log: list[Event] = []
        self.order = threading.Lock()  # of the events as of the calls: two threads write
        self.before = before or (lambda kind, file: None)
        _hub().journals[self.folder] = self

    @property
    def vfs(self) -> str:
        """Return the name of the VFS to open the store with."""
        return JOURNALED

    def close(self) -> None:
        """Keep no account any more."""
        del _hub().journals[self.folder]


class JournalFile(apsw.VFSFile):
    def __init__(self, journal: Journal, filename: Any, flags: list[int]) -> None:
        path = _path(filename)
        is_new = not os.path.exists(path)
        super().__init__("unix", filename, flags)
        self.journal = journal
        self.name = os.path.basename(path)
        self.is_listed = not is_new
        if is_new:
            journal.log.append(("c", self.name))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - the name is of apsw
        self.journal.before("w", self.name)
        with self.journal.order:
            super().xWrite(data, offset)
            self.journal.log.append(("w", self.name, bytes(data), offset))

    def xTruncate(self, size: int) -> None:  # noqa: N802 - the name is of apsw
        self.journal.before("t", self.name)
        with self.journal.order:
            super().xTruncate(size)
            self.journal.log.append(("t", self.name, size))

    def xSync(self, flags: int) -> None:  # noqa: N802 - the name is of apsw
        token = object()
        with self.journal.order:
            self.journal.log.append(("b", self.name, token))
        self.journal.before("s", self.name)
        super().xSync(flags)
        self.journal.log.append(("s", self.name, flags, token))
        if not self.is_listed:  # os_unix.c: the first sync of a new log syncs its folder too
            self.is_listed = True
            self.journal.log.append(("f",))


class _Hub(apsw.VFS):
    """Gives each file to the journal of its folder."""

    def __init__(self) -> None:
        self.journals: dict[str, Journal] = {}
        super().__init__(_UNDER, "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - of apsw
        journal = self.journals.get(os.path.dirname(_path(name)))
        if journal is None:
            return apsw.VFSFile("unix", name, flags)
        return JournalFile(journal, name, flags)

    def xDelete(self, name: str, sync_dir: bool) -> None:  # noqa: N802 - the name is of apsw
        super().xDelete(name, sync_dir)
        journal = self.journals.get(os.path.dirname(name))
        if journal is not None:
            journal.log.append(("d", os.path.basename(name)))
            if sync_dir:
                journal.log.append(("f",))


def _path(filename: Any) -> str:
    path = filename.filename() if isinstance(filename, apsw.URIFilename) else filename
    return path or "temp"


_made: list[_Hub] = []


def _hub() -> _Hub:
    """Return the one hub of this process; loads the second copy of ``cksmvfs`` over it."""
    if not _made:
        checked_vfs()  # the store's own copy first: it must not stand over a journal
        default = apsw.vfs_names()[0]
        hub = _Hub()
        content = Path(apsw.sqlite_extra.path("cksumvfs")).read_bytes()
        renamed = content.replace(VFS.encode() + b"\0", JOURNALED.encode() + b"\0")
        assert renamed != content
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "cksumvfs.so"
            copy.write_bytes(renamed)
            connection = apsw.Connection(":memory:", vfs="unix")
            connection.enable_load_extension(True)
            connection.load_extension(str(copy), "sqlite3_cksumvfs_init")
            connection.close()
        apsw.set_default_vfs(default)
        _made.append(hub)
    return _made[0]


def journal_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store's note about its log, which it writes itself, appear in the journals too."""
    write, sync = sqlite_mark.write_at_start, sqlite_mark.sync

    def place(file: int) -> tuple[Journal | None, str]:
        path = os.readlink(f"/proc/self/fd/{file}")
        return _hub().journals.get(os.path.dirname(path)), os.path.basename(path)

    def write_at_start(file: int, content: bytes) -> None:
        write(file, content)
        journal, name = place(file)
        if journal is not None:
            journal.log.append(("w", name, content, 0))

    def synced(file: int) -> None:
        sync(file)
        journal, name = place(file)
        if journal is not None:
            journal.log.append(("s", name, 0))

    monkeypatch.setattr(sqlite_mark, "write_at_start", write_at_start)
    monkeypatch.setattr(sqlite_mark, "sync", synced)


# --- disks ----------------------------------------------------------------------------------------


def apply(disk: bytearray, event: Event, rnd: random.Random | None = None, sector: int = 0) -> None:
    """Bring a write or truncation to a disk; with a sector size some sectors do not make it."""
    if event[0] == "t":
        del disk[event[2] :]
        return
    data, start = event[2:]
    end = start + len(data)
    disk.extend(bytes(max(0, end - len(disk))))
    if rnd is None or not sector:
        disk[start:end] = data
        return
    for border in range(start // sector * sector, end, sector):
        low, high = max(border, start), min(border + sector, end)
        if rnd.random() < 0.5:
            disk[low:high] = data[low - start : high - start]


def garble(disk: bytearray, event: Event, rnd: random.Random, sector: int) -> None:
    """Leave one sector that a write touched full of nonsense, also beyond the bytes of the write."""
    data, start = event[2:]
    borders = range(start // sector * sector, start + len(data), sector)
    low = rnd.choice(borders)
    high = min(low + sector, len(disk))
    disk[low:high] = rnd.randbytes(max(0, high - low))


@dataclass
class Image:
    """What one cut left, and what had been promised by then."""

    cut: int
    files: dict[str, bytearray]
    acknowledged: int  # the highest number in an ("ack", n)
    damage: list[str] = field(default_factory=list)  # kinds: torn, garbled, dropped, unlisted


@dataclass
class _Disk:
    durable: dict[str, bytearray]
    pending: dict[str, list[Event]] = field(default_factory=dict)
    syncing: dict[Any, list[Event]] = field(default_factory=dict)  # what was pending when one began
    unlisted: set[str] = field(default_factory=set)  # created, and the folder not synced since
    removed: dict[str, bytearray] = field(default_factory=dict)  # may still be listed

    def take(self, event: Event) -> None:
        """Let one event of the log happen."""
        kind, *rest = event
        if kind == "b":
            self.syncing[rest[1]] = list(self.pending.get(rest[0], ()))
        elif kind == "s":
            self._synced(rest[0], rest[2] if len(rest) > 2 else None)
        elif kind == "c":
            self.unlisted.add(rest[0])
            self.durable[rest[0]] = bytearray()
        elif kind == "d":
            self.pending.pop(rest[0], None)
            gone = self.durable.pop(rest[0], None)
            if gone is not None and rest[0] not in self.unlisted:
                self.removed[rest[0]] = gone
            self.unlisted.discard(rest[0])
        elif kind == "f":
            self.unlisted.clear()
            self.removed.clear()
        elif kind in "wt":
            self.pending.setdefault(rest[0], []).append(event)

    def _synced(self, name: str, token: Any) -> None:
        pending = self.pending.pop(name, [])
        began = self.syncing.pop(token, pending)
        target = self.durable.setdefault(name, bytearray())
        # in order: what an overlapping sync made durable already is no longer pending
        covered = {id(event) for event in began}
        for event in pending:
            if id(event) in covered:
                apply(target, event)
        left = [event for event in pending if id(event) not in covered]
        if left:
            self.pending[name] = left

    def cut(self, rnd: random.Random, garbling: bool) -> tuple[dict[str, bytearray], list[str]]:
        """Return one of the disks that a power cut could leave now."""
        keep = rnd.choice((0, 0.1, 0.5, 0.9, 1))
        torn = rnd.choice((0, 0.2, 0.6))
        files: dict[str, bytearray] = {}
        damage = set()
        for name in sorted(self.durable.keys() | self.pending.keys()):
            if name in self.unlisted and rnd.random() < 0.5:
                damage.add("unlisted")
                continue
            disk = files[name] = bytearray(self.durable.get(name, b""))
            pending = self.pending.get(name, ())
            for event in pending:
                if rnd.random() >= keep:
                    damage.add("dropped")
                    continue
                sector = rnd.choice((512, 4096)) if rnd.random() < torn else 0
                if sector:
                    damage.add("torn")
                apply(disk, event, rnd, sector)
            written = [event for event in pending if event[0] == "w"]
            if garbling and written and rnd.random() < 0.3:
                garble(disk, rnd.choice(written), rnd, rnd.choice((512, 4096)))
                damage.add("garbled")
        for name, content in self.removed.items():
            if name not in files and rnd.random() < 0.5:
                files[name] = bytearray(content)
                damage.add("undeleted")
        return files, sorted(damage)


def images(
    base: dict[str, bytes],
    log: list[Event],
    cuts: list[int],
    rnd: random.Random,
    *,
    garbling: bool = True,
) -> Iterator[Image]:
    """Yield what each cut leaves, in ascending order of the cuts."""
    disk = _Disk({name: bytearray(content) for name, content in base.items()})
    acknowledged = done = 0
    for cut in sorted(cuts):
        for event in log[done:cut]:
            if event[0] == "ack":
                acknowledged = event[1]
            else:
                disk.take(event)
        done = cut
        files, damage = disk.cut(rnd, garbling)
        yield Image(cut, files, acknowledged, damage)


def chosen_cuts(
    log: list[Event], count: int, rnd: random.Random, *, entries: bool = False
) -> list[int]:
    """Half of the cuts anywhere; a quarter right after an acknowledgment, one right before a sync.

    ``entries``: right after a file was made or deleted, instead of after an acknowledgment.
    """
    kinds = ("c", "d") if entries else ("ack",)
    after = [i + 1 for i, event in enumerate(log) if event[0] in kinds]
    before = [i for i, event in enumerate(log) if event[0] == "s"]
    cuts = [rnd.randint(0, len(log)) for _ in range(count // 2)]
    aimed = count - len(cuts)
    cuts += [rnd.choice(after) for _ in range(aimed // 2)]
    return cuts + [rnd.choice(before) for _ in range(aimed - aimed // 2)]


def damage_shown(counts: Counter[str]) -> str:
    """Return how many disks had which kind of damage, for the ledger."""
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
