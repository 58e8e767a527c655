"""A SQLite VFS that keeps what was written and synced, and the disks a power cut could leave.

Writes and truncations of a file are pending until a sync of that file makes them durable. A disk
after a cut holds everything durable and any subset of the pending ones, each whole or torn at
sector borders.
"""

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import apsw

Event = tuple[
    Any, ...
]  # ("w", name, bytes, offset) ("t", name, size) ("s", name, flags) ("ack", n)


class JournalFile(apsw.VFSFile):
    def __init__(self, vfs: "JournalVFS", filename: Any, flags: list[int]) -> None:
        super().__init__("", filename, flags)
        path = filename.filename() if isinstance(filename, apsw.URIFilename) else filename
        self.journal = vfs
        self.name = os.path.basename(path or "temp")

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - the name is of apsw
        self.journal.before("w", self.name)
        super().xWrite(data, offset)
        self.journal.log.append(("w", self.name, bytes(data), offset))

    def xTruncate(self, size: int) -> None:  # noqa: N802 - the name is of apsw
        self.journal.before("t", self.name)
        super().xTruncate(size)
        self.journal.log.append(("t", self.name, size))

    def xSync(self, flags: int) -> None:  # noqa: N802 - the name is of apsw
        self.journal.before("s", self.name)
        super().xSync(flags)
        self.journal.log.append(("s", self.name, flags))


class JournalVFS(apsw.VFS):
    """Keep a reference for as long as a connection uses it."""

    def __init__(self, name: str, before: Callable[[str, str], None] | None = None) -> None:
        self.log: list[Event] = []
        self.before = before or (lambda kind, file: None)
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> JournalFile:  # noqa: N802 - the name is of apsw
        return JournalFile(self, name, flags)

    def xDelete(self, name: str, sync_dir: bool) -> None:  # noqa: N802 - the name is of apsw
        super().xDelete(name, sync_dir)
        self.log.append(("d", os.path.basename(name)))


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


def images(
    base: dict[str, bytes], log: list[Event], cuts: list[int], rnd: random.Random
) -> Iterator[tuple[int, dict[str, bytearray], int]]:
    """Yield, for each cut in ascending order, (cut, files, highest acknowledged number)."""
    durable = {name: bytearray(content) for name, content in base.items()}
    pending: dict[str, list[Event]] = {}
    acknowledged = 0
    done = 0
    for cut in sorted(cuts):
        for event in log[done:cut]:
            if event[0] == "ack":
                acknowledged = event[1]
            elif event[0] == "s":
                target = durable.setdefault(event[1], bytearray())
                for write in pending.pop(event[1], ()):
                    apply(target, write)
            elif event[0] == "d":
                pending.pop(event[1], None)
                durable.pop(event[1], None)
            else:
                pending.setdefault(event[1], []).append(event)
        done = cut
        yield cut, _one(durable, pending, rnd), acknowledged


def _one(
    durable: dict[str, bytearray], pending: dict[str, list[Event]], rnd: random.Random
) -> dict[str, bytearray]:
    keep = rnd.choice((0, 0.1, 0.5, 0.9, 1))
    torn = rnd.choice((0, 0.2, 0.6))
    files = {}
    for name in durable.keys() | pending.keys():
        disk = files[name] = bytearray(durable.get(name, b""))
        for event in pending.get(name, ()):
            if rnd.random() < keep:
                apply(disk, event, rnd, rnd.choice((512, 4096)) if rnd.random() < torn else 0)
    return files
