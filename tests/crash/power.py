"""The power of one engine, cut: a killed process, and files as the last syncs left them.

``shim.c`` keeps an account of what stood where each write went; ``lose`` takes writes back that no
sync made durable: all of them, or all after some point of each file, and entries of folders that
were not synced.
"""

import errno
import shutil
import struct
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from crash.serving import Site
from requirements import require

SOURCE = Path(__file__).with_name("shim.c")
_HEAD = struct.Struct("=c3xIQQQQ")


class Record(NamedTuple):
    """One record of the account; see shim.c."""

    kind: str
    path: str
    data: bytes
    offset: int
    size: int
    account: int  # of a sync: how long the account was when it began
    at: int  # place in the account


def build_shim(folder: Path) -> Path:
    """Compile the shim, or skip the test where there is no compiler."""
    made = folder / "shim.so"
    words = [str(require("program:cc")), "-O2", "-shared", "-fPIC", "-o", str(made), str(SOURCE)]
    subprocess.run([*words, "-ldl", "-lpthread"], check=True)
    return made


class Power:
    """The account of one site's files, the switches of the shim, and the cut."""

    def __init__(self, site: Site, folder: Path, shim: Path) -> None:
        """Watch what the processes of ``site`` do below its folder ``var`` from the next on."""
        self.account = folder / "account"
        self.account.mkdir()
        self.log = self.account / "log"
        site.environ.update(
            LD_PRELOAD=str(shim),
            SHIM_FOLDER=str((site.folder / "var").absolute()),
            SHIM_ACCOUNT=str(self.account.absolute()),
        )

    def switch(self, name: str, *, on: bool, value: str = "") -> None:
        """Let calls fail, lie or take long; see shim.c."""
        if on:
            (self.account / name).write_text(value)
        else:
            (self.account / name).unlink(missing_ok=True)

    def lose(self, lot: Random, *, all_of_it: bool = False) -> Counter[str]:
        """Bring the disk to what a power cut leaves, and begin a new account.

        To be called when no process writes any more. Returns how many writes and entries were lost,
        and how many of the writes were kept although no sync came after them.
        """
        done: Counter[str] = Counter()
        writes, entries = unsynced(read_account(self.log))
        for path, records in writes.items():
            kept = 0 if all_of_it or lot.random() < 0.5 else lot.randint(0, len(records))
            done["writes kept"] += kept
            for record in reversed(records[kept:]):
                done["writes lost"] += take_back(Path(path), record)
        for path in reversed(entries):
            if all_of_it or lot.random() < 0.5:
                done["entries lost"] += remove(Path(path))
        self.log.unlink(missing_ok=True)
        return done


def read_account(log: Path) -> Iterator[Record]:
    """Yield the records; one that the kill cut short had not happened."""
    content = log.read_bytes() if log.exists() else b""
    at = 0
    while at + _HEAD.size <= len(content):
        place = at
        kind, path_bytes, data_bytes, offset, size, account = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        if at + path_bytes + data_bytes > len(content):
            return
        path = content[at : at + path_bytes].decode()
        at += path_bytes
        data = content[at : at + data_bytes]
        yield Record(kind.decode(), path, data, offset, size, account, place)
        at += data_bytes


def unsynced(records: Iterator[Record]) -> tuple[dict[str, list[Record]], list[str]]:
    """Return the writes of each file, and the new entries, that no sync made durable."""
    writes: dict[str, list[Record]] = defaultdict(list)
    entries: dict[str, int] = {}
    for record in records:
        if record.kind in "wt":
            writes[record.path].append(record)
        elif record.kind == "s":
            mine = writes[record.path]
            writes[record.path] = [one for one in mine if one.at >= record.account]
        elif record.kind == "c":
            entries[record.path] = record.at
        elif record.kind == "f":
            for path, at in list(entries.items()):
                if str(Path(path).parent) == record.path and at < record.account:
                    del entries[path]
    return writes, list(entries)


def take_back(path: Path, record: Record) -> bool:
    """Undo one write or cut; False where the file is gone."""
    try:
        with path.open("r+b") as file:
            file.seek(record.offset)
            file.write(record.data)
            file.truncate(record.size)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise
    return True


def remove(path: Path) -> bool:
    """Take an entry out of its folder; False where it was gone already."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
    else:
        return False
    return True
