"""`reload: auto`: the engine looks at its files itself, and reloads when they have come to rest.

Files are looked at, not read, until something about them differs. What was refused is tried again
only after the next change: a person must have been there in between.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ifengine.engine.reloading import Reloader
from ifengine.routes.config.loading import SITE_FILE, Loaded
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.parts import Parts

STABLE_SECONDS = 2.0
ACTOR = "reload: auto"

Look = dict[str, tuple[int, int, int]]  # path: time of change (ns), size, inode


def look_at(directory: Path) -> Look:
    """Return how the files of a site stand: the site file, its overlays, all below channels."""
    found: Look = {}
    for path in _paths(directory):
        try:
            state = path.stat()
        except OSError:
            continue  # it went between listing and looking: the next look sees that
        found[str(path)] = (state.st_mtime_ns, state.st_size, state.st_ino)
    return found


def _paths(directory: Path) -> Iterator[Path]:
    yield directory / SITE_FILE
    for folder in ("env", "channels"):
        for place, folders, names in os.walk(directory / folder):
            folders[:] = [name for name in folders if not name.startswith((".", "__"))]
            # editors keep what is not saved yet in hidden files
            yield from (Path(place) / name for name in names if not name.startswith("."))


class AutoReload:
    """Watches the files of one running engine's site. ``turn`` is called about once a second."""

    def __init__(
        self,
        parts: Parts,
        site: SiteConfig,
        load: Callable[[], Loaded],
    ) -> None:
        """Take how the site is loaded; ``reloader`` is given later, as it loads through this."""
        self.reloader: Reloader | None = None
        self._parts = parts
        self._load = load
        self._directory = site.directory
        self._is_on = site.reload_auto
        self._looking = False
        self._read: Look | None = None  # how files stood right before they were last read
        self._tried: Look | None = None  # how they stood when last switched to, or refused
        self._seen: Look | None = None
        self._seen_at = 0.0

    def load(self) -> Loaded:
        """Load the site, and keep how its files stood before anything of them was read."""
        self._read = look_at(self._directory)
        return self._load()

    def started(self, *, unchanged: bool) -> None:
        """The engine runs. ``unchanged``: with the files as they were last read."""
        self._tried = self._read if unchanged else None

    def switched(self, site: SiteConfig) -> None:
        """The engine runs with what was last read, whoever asked for it."""
        self._tried = self._read
        self._is_on = site.reload_auto

    def turn(self) -> None:
        """Look at the files, unless that is off or the last look is still under way."""
        if self._is_on and not self._looking:
            self._looking = True
            self._parts.spawn(self._look())

    async def _look(self) -> None:
        parts = self._parts
        try:
            seen = await parts.loop.run_in_executor(None, look_at, self._directory)
            now = parts.clock.monotonic()
            if seen == self._tried:
                self._seen = seen
            elif seen != self._seen:
                self._seen, self._seen_at = seen, now
            elif now - self._seen_at >= STABLE_SECONDS and not parts.stopping:
                self._tried = seen
                if self.reloader is not None:
                    await reload_and_tell(self.reloader, ACTOR)
        finally:
            self._looking = False


async def reload_and_tell(reloader: Reloader, actor: str) -> None:
    """Reload, and write what that did where the start was told: nobody waits for an answer."""
    report = await reloader.reload(actor=actor, reason="")
    lines = report.refused or (f"config {report.version}", *report.plan)
    head = "reload refused, nothing was changed" if report.refused else "reloaded"
    sys.stderr.write("".join(f"{line}\n" for line in (head, *lines)))
