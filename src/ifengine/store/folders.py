"""Folders whose own entries outlive a power cut: a file is found again only through them."""

import contextlib
import os
from pathlib import Path

_MODE = 0o700
_settled: set[Path] = set()  # folders whose entries this process has synced


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on stable storage.

    Raises:
        OSError: it cannot be opened or synced.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, for the owner alone, each entry on stable storage.

    The entry of a folder that is there already is synced too, once in a process: whoever made it
    may not have come so far.

    Raises:
        OSError: it cannot be made.
    """
    folder = folder.absolute()
    missing = []
    above = folder
    while not above.is_dir():
        missing.append(above)
        above = above.parent
    if not missing and folder in _settled:
        return
    with contextlib.suppress(PermissionError):  # not ours to look into: others made it
        sync_folder(above.parent)
    for made in reversed(missing):
        with contextlib.suppress(FileExistsError):
            made.mkdir(mode=_MODE)
        sync_folder(made.parent)
    _settled.add(folder)
