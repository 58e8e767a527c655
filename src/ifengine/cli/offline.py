"""Asking a store whose engine is not running: the same verbs, answered in this process.

The store's lock is taken first: no engine can be running on it, and none can start meanwhile.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ifengine.admin.access import Peer, caller_of
from ifengine.admin.request import RequestError
from ifengine.admin.runtime import (
    ChannelStatus,
    DeadLetterRef,
    Listening,
    ReloadReport,
    ReplayReport,
)
from ifengine.admin.service import Service
from ifengine.cli.failure import CommandError, ExitCode, refused
from ifengine.cli.options import Place
from ifengine.cli.site import load
from ifengine.clock import Clock, SystemClock
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.identity import Retired
from ifengine.routes.memory import Memories
from ifengine.routes.steady import Steady
from ifengine.store.base import Batch, Reader, Store
from ifengine.store.keys import FileKek
from ifengine.store.names import Names
from ifengine.store.registry import open_store
from ifengine.store.sealing import KeyRing
from ifengine.transforms.memory import Call, Change, Reply

T = TypeVar("T")

_CODES = {"usage": ExitCode.USAGE, "refused": ExitCode.REFUSED}


def answer_offline(place: Place, verb: str, params: Mapping[str, object]) -> object:
    """Run one verb, of those that only look, on the store itself.

    Raises:
        CommandError: there is no store, or the verb is refused as the engine would.
        StoreRefusedError: an engine runs on it.
    """
    site = load(place)
    if not site.store_path.is_dir():
        raise CommandError(
            f"{site.store_path}: there is no store yet", hint="ifengine serve makes it"
        )
    kek = FileKek(Path(site.kek.removeprefix("file:")))
    store = open_store("sqlite", site.store_path)
    try:
        runtime = _Stopped(store, kek, site)
        try:
            caller = caller_of(Peer(os.getpid(), os.getuid(), os.getgid()))
            given = {name: value for name, value in params.items() if value is not None}
            return asyncio.run(Service(runtime).answer(verb, given, caller))
        except RequestError as error:
            code = _CODES.get(error.reason_code, ExitCode.PROBLEMS)
            raise CommandError(str(error), code=code, hint=error.hint) from None
        finally:
            runtime.close()
    finally:
        store.close()


class _Stopped:
    """A store without its engine, as far as verbs that look need one. Satisfies ``Runtime``."""

    def __init__(self, store: Store, kek: FileKek, site: SiteConfig) -> None:
        self.site = site
        self.clock: Clock = SystemClock()
        self.steady = Steady(self.clock)
        self.started_us = self.clock.now_us()
        self._store = store
        self._reader = store.reader()
        self.steady.resume(self._reader)
        self.names = Names(self._reader.names())
        self.ring = KeyRing(store.store_id, self._reader.data_keys(), kek)
        memories = Memories(self.ring, self._reader)
        retired = Retired(memories, site.identity)
        retired.load(self._reader)
        self.memories: Memories | None = memories
        self.retired: Retired | None = retired
        store.protect_audit(self.ring.audit_mac)
        self.config_version = self._reader.counters().config_version

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()

    async def read(self, look: Callable[[Reader], T]) -> T:
        """Run ``look`` here: nothing else is under way."""
        return look(self._reader)

    async def call(self, call: Call) -> Reply:
        """Refuse: functions of a site run beside an engine."""
        raise _needs_engine()

    async def commit(self, fill: Callable[[Batch], None]) -> None:
        """Write one batch, with a data key of this process where it seals something."""
        batch = Batch()
        now_us = self.clock.now_us()
        if self.ring.needs_new_key(now_us):
            next_id = self._reader.counters().key_id + 1
            batch.data_keys += self.ring.start_keys(next_id, now_us)
        fill(batch)
        done = threading.Event()
        failed: list[BaseException | None] = []

        def finished(error: BaseException | None) -> None:
            failed.append(error)
            done.set()

        self._store.submit(batch, finished)
        done.wait()
        if failed[0] is not None:
            raise failed[0]

    def channels(self) -> Sequence[ChannelStatus]:
        """Nothing runs."""
        return ()

    def listening(self) -> Sequence[Listening]:
        """Nothing listens."""
        return ()

    def metrics_text(self) -> bytes:
        """Nothing is measured."""
        return b""

    def live(self) -> bool:
        """Return False: there is no engine."""
        return False

    def ready(self) -> tuple[bool, str]:
        """Return False: there is no engine."""
        return False, "no engine is running"

    def problems(self) -> Sequence[tuple[str, str, str]]:
        """Return the one thing that is known."""
        return (("fail", "engine", "no engine is running"),)

    async def pause_channel(self, name: str, *, actor: str, reason: str) -> None:
        """Refuse: it takes an engine."""
        raise _needs_engine()

    async def resume_channel(self, name: str, *, actor: str) -> None:
        """Refuse: it takes an engine."""
        raise _needs_engine()

    async def remember(self, changes: Sequence[Change], fill: Callable[[Batch], None]) -> None:
        """Refuse: it takes an engine."""
        raise _needs_engine()

    def let_go(self, inbox_ids: Sequence[int], *, expire: bool) -> Sequence[int]:
        """Refuse: only an engine lets messages go on."""
        raise _needs_engine()

    async def reload(
        self, *, actor: str, reason: str, dry_run: bool, skip_tests: bool
    ) -> ReloadReport:
        """Refuse: it takes an engine."""
        raise _needs_engine()

    async def replay(
        self,
        letters: Sequence[DeadLetterRef],
        *,
        how: str,
        allow_older: bool,
        dry_run: bool,
        actor: str,
        reason: str,
        sender_was_refused: bool,
    ) -> ReplayReport:
        """Refuse: it takes an engine."""
        raise _needs_engine()

    async def discard(
        self, letters: Sequence[DeadLetterRef], *, actor: str, reason: str
    ) -> Sequence[DeadLetterRef]:
        """Refuse: it takes an engine."""
        raise _needs_engine()


def _needs_engine() -> CommandError:
    return refused("this needs a running engine", "ifengine serve")
