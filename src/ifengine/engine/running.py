"""The life of an engine: open, recover, listen, run, drain, close."""

import asyncio
import gc
import os
import secrets
import signal
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from ifengine.admin.server import AdminServer
from ifengine.clock import Clock, SystemClock
from ifengine.engine.answering import ended_clean, recover_outboxes, suspects_of
from ifengine.engine.auto_reload import AutoReload, reload_and_tell
from ifengine.engine.building import Built, build, connect, note_fanout, register_names
from ifengine.engine.ending import exit_code, first_error
from ifengine.engine.gauges import Gauges
from ifengine.engine.keeping import keeper
from ifengine.engine.late import LateService
from ifengine.engine.life import Life, start_lines
from ifengine.engine.opening import open_with_room
from ifengine.engine.pausing import IntakePause
from ifengine.engine.records import audit_counter, audit_gauge, audit_received, suspect_record
from ifengine.engine.reloading import Reloader
from ifengine.engine.runtime import EngineRuntime
from ifengine.engine.switching import Switch
from ifengine.engine.telling import Teller
from ifengine.engine.watch import Watch
from ifengine.errors import EngineError, StorageFailedError
from ifengine.failpoints import fp
from ifengine.routes.awaited import AwaitedFacts
from ifengine.routes.config.kept_files import sealed_files
from ifengine.routes.config.loading import Loaded, load_site
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.documents import DocumentStore
from ifengine.routes.identity import Retired
from ifengine.routes.intake_load import IntakeLoad
from ifengine.routes.memory import Memories
from ifengine.routes.parts import Numbers, Parts
from ifengine.routes.workers import Workers
from ifengine.settings import Settings, read_settings
from ifengine.store.base import Batch, ConfigVersionRow, NewAudit, Reader, Store
from ifengine.store.group import GroupCommit
from ifengine.store.keys import FileKek
from ifengine.store.names import Names
from ifengine.store.registry import open_store
from ifengine.store.sealing import KeyRing
from ifengine.store.suspect import Suspect
from ifengine.telemetry.http import MetricsServer
from ifengine.telemetry.log import (
    goes_through,
    install_safe_handlers,
    loop_exception_handler,
)
from ifengine.telemetry.metrics import Metrics

T = TypeVar("T")

BOOKKEEPING = ("ifengine.routes.", "ifengine.store.", "ifengine.engine.")
CLEAN_STOP = "clean_stop"
DRAIN_STEP_SECONDS = 0.01

Announce = Callable[[list[str]], None]


def run(site: SiteConfig, *, announce: Announce, load: Callable[[], Loaded] | None = None) -> int:
    """Run a site until SIGTERM or SIGINT.

    Args:
        site: a checked site.
        announce: gets the lines to show once every listener is bound.
        load: reads the site again, for a reload; None: from its directory, without overlay.

    Returns:
        The exit code: 0 after an ordered stop, 75 when the storage failed, 1 after a fault of
        our own.

    Raises:
        EngineError: the engine could not start; nothing was bound.
    """
    settings = read_settings(site, os.environ)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(Engine(settings, announce, load).run())
    except ExceptionGroup as group:
        # a task failed: what is foreseen has a safe text, of anything else only its type is told
        foreseen, unforeseen = group.split(EngineError)
        if unforeseen is not None or foreseen is None:
            raise
        raise first_error(foreseen) from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class Engine:
    """One process that serves one site."""

    def __init__(
        self,
        settings: Settings,
        announce: Announce,
        load: Callable[[], Loaded] | None = None,
    ) -> None:
        self._settings = settings
        directory = settings.site.directory
        self._load_site = load or (lambda: load_site(directory, environ=os.environ))
        self._announce = announce
        self._clock: Clock = SystemClock()
        self._life = Life(self._clock)
        self._stop = asyncio.Event()
        self._workers = Workers(self._clock)  # none runs before a step asks for one
        self._failure: BaseException | None = None
        self._abandon_open_batch: Callable[[], None] = lambda: None
        self._pause = IntakePause()
        on_disk = settings.store_kind != "memory"
        self._suspect = Suspect(settings.site.suspect if on_disk else None)
        self._was_suspect = False
        self._admin_server: AdminServer | None = None
        self._metrics_server: MetricsServer | None = None

    async def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        loop = asyncio.get_running_loop()
        install_safe_handlers(loop)
        loop.set_exception_handler(self._unforeseen)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_by, number)
        with self._life:
            return await self._run(loop)

    async def _run(self, loop: asyncio.AbstractEventLoop) -> int:
        store = await open_with_room(self._open, self._stop)
        store.failing = self._suspect.drop
        giving_up = loop.create_task(self._give_up_late(store))
        reading = ThreadPoolExecutor(1, "store-reader")
        try:
            reader = await loop.run_in_executor(reading, store.reader)
            try:
                return await self._serve(loop, store, reader, reading)
            finally:
                await loop.run_in_executor(reading, reader.close)
        finally:
            reading.shutdown()
            giving_up.cancel()
            store.space.give_up()  # what waits for room now waits in vain
            await loop.run_in_executor(None, store.close)

    # --- starting -----------------------------------------------------------------------------

    def _open(self) -> Store:
        kind, folder = self._settings.store_kind, self._settings.site.store_path
        self._was_suspect = self._suspect.is_there
        if self._was_suspect:
            return open_store(kind, folder, suspect=True)
        return open_store(kind, folder)

    async def _give_up_late(self, store: Store) -> None:
        """Let a commit that waits for room fail when the time to stop is over."""
        await self._stop.wait()
        await self._clock.sleep(self._settings.stop_grace_seconds)
        store.space.give_up()

    async def _serve(
        self,
        loop: asyncio.AbstractEventLoop,
        store: Store,
        reader: Reader,
        reading: ThreadPoolExecutor,
    ) -> int:
        async def read(look: Callable[[Reader], T]) -> T:
            return await loop.run_in_executor(reading, look, reader)

        group = GroupCommit(store, loop, self._clock, failed=self._storage_failed)
        self._abandon_open_batch = group.give_up
        kek = FileKek(self._settings.kek_path)
        ring = KeyRing(store.store_id, await read(lambda r: r.data_keys()), kek)
        store.protect_audit(ring.audit_mac)
        metrics = Metrics()
        group.commit_took = metrics.store_commit_duration_seconds.observe
        counters = await read(lambda r: r.counters())
        async with asyncio.TaskGroup() as tasks:
            parts = Parts(
                loop=loop,
                clock=self._clock,
                group=group,
                ring=ring,
                names=Names(await read(lambda r: r.names())),
                metrics=metrics,
                read=read,
                spawn=lambda work: tasks.create_task(self._watched(work)),
                dice=_dice,
                numbers=Numbers.after(counters),
            )
            await self._first_commit(parts)
            looking = store.reader()  # for the loop's own thread: what steps remember
            built = self._built = await self._build(parts, looking)
            watch = Watch(self._settings, parts, store, built, self._pause.set)
            gauges = Gauges(self._settings, parts, built, watch)
            reloader = self._reloader(parts, built, watch)
            runtime = EngineRuntime(
                self._settings,
                parts,
                built,
                watch,
                gauges,
                paused_listeners=self._pause.is_on,
                reloader=reloader,
            )
            reloader.switch.after += (runtime.switched, gauges.switched)
            collecting = [outbox.collect for outbox in built.outboxes.values()]
            group.before_commit += (audit_received, *collecting, audit_counter(metrics))
            self.watch = watch
            try:
                await self._start(parts, built, runtime, watch)
                await self._stop.wait()
                return await self._end(parts, built, watch)
            except BaseException:
                parts.stopping = True
                await self._abandon(built)
                raise
            finally:
                looking.close()

    async def _build(self, parts: Parts, looking: Reader) -> Built:
        """Make the parts of the site, over what its steps remember."""
        site = self._settings.site
        parts.memories = Memories(parts.ring, looking)
        parts.call = self._workers.call
        parts.awaited = AwaitedFacts(parts.memories)
        await parts.read(parts.awaited.load)
        parts.retired = Retired(parts.memories, site.identity)
        await parts.read(parts.retired.load)
        self._intake_load = IntakeLoad(lambda paused: self._pause.set("backlog", paused))
        built = self._pause.built = build(site, parts, self._intake_load)
        self._keep_documents(parts, site)
        connect(parts, built)
        return built

    @staticmethod
    def _keep_documents(parts: Parts, site: SiteConfig) -> None:
        if site.documents:
            documents = DocumentStore(site.documents, parts.ring)
            parts.keep_documents = keeper(parts, documents)

    def _reloader(self, parts: Parts, built: Built, watch: Watch) -> Reloader:
        site = self._settings.site
        switch = Switch(parts, built, site, self._intake_load, self._pause)

        def switched(site: SiteConfig) -> None:
            self._settings = replace(self._settings, site=site)
            watch.settings = self._settings
            watch.disk.reserve_bytes = site.reserve_bytes
            if parts.retired is not None:
                parts.retired.identity = site.identity
            self._keep_documents(parts, site)

        switch.after.append(switched)
        watch.tidy = switch.tidy
        auto = self._auto = AutoReload(parts, site, self._load_site)
        switch.after.append(auto.switched)
        watch.auto = auto.turn
        auto.reloader = Reloader(parts, switch, auto.load)
        return auto.reloader

    async def _first_commit(self, parts: Parts) -> None:
        """Time, keys, names, the configuration's version and the mark that this run has begun."""
        await parts.read(parts.steady.resume)
        parts.group.before_commit.append(parts.steady.mark)
        now_us = self._clock.now_us()
        site = self._settings.site
        batch = parts.group.batch
        keys = parts.ring.start_keys(parts.numbers.key_id + 1, now_us)
        parts.numbers.key_id += len(keys)
        batch.data_keys.extend(keys)
        fp("keys.dek_minted")
        register_names(site, parts.names, batch)
        versions, clean = await parts.read(lambda r: (r.config_versions(), r.setting(CLEAN_STOP)))
        parts.unclean, parts.suspects = clean == "0", suspects_of(clean)
        latest = versions[-1] if versions else None
        if latest is None or latest.digest != site.digest:
            version = (latest.version if latest else 0) + 1
            batch.config_versions.append(ConfigVersionRow(version, site.digest, now_us))
            parts.config_version = version
            loaded = await parts.loop.run_in_executor(None, self._load_site)
            batch.config_contents += sealed_files(loaded, site.digest, version, parts.ring)
        else:
            parts.config_version = latest.version
        note_fanout(site, parts.names, parts.config_version, batch)
        batch.settings[CLEAN_STOP] = "0"
        batch.audits.append(
            NewAudit(
                now_us,
                "engine",
                "start",
                f"config {parts.config_version}",
                0,
                "unclean" if parts.unclean else "clean",
                b"",
            )
        )
        if self._was_suspect:
            batch.audits.append(suspect_record(now_us))
        await parts.group.durable()
        parts.metrics.store_suspect.set(self._was_suspect)
        if self._was_suspect:
            self._suspect.clear()
        fp("keys.dek_committed")

    async def _start(
        self, parts: Parts, built: Built, runtime: EngineRuntime, watch: Watch
    ) -> None:
        site = self._settings.site
        head = parts.numbers.inbox_id
        await recover_outboxes(parts, built.outboxes, built.senders)
        await runtime.restore_pauses()
        recovered = 0
        for pipeline in built.pipelines.values():
            await pipeline.recover(head)
            recovered += pipeline.unplanned
        watch.look_at_disk()
        service = LateService(runtime, audit_verified=audit_gauge(parts.metrics))
        admin = AdminServer(site.admin_socket, runtime, service)
        await admin.start()
        self._admin_server = admin
        metrics = MetricsServer(
            site.metrics_host,
            site.metrics_port,
            runtime.metrics_text,
            runtime.live,
            runtime.ready,
        )
        await metrics.start()
        self._metrics_server = metrics
        for listener in built.listeners:
            await listener.start()
            if self._pause.is_on():
                listener.pause_reading()
        # nothing after this can refuse the start: what waits may leave
        for outbox in built.outboxes.values():
            outbox.pump()
        for source in built.file_sources:
            parts.spawn(source.run())
        parts.spawn(watch.run())
        await runtime.reloader.remember_running(site)
        self._auto.started(unchanged=runtime.reloader.running is not None)
        parts.loop.add_signal_handler(
            signal.SIGHUP, lambda: parts.spawn(reload_and_tell(runtime.reloader, "SIGHUP"))
        )
        _settle_memory()
        runtime.is_ready = True
        parts.spawn(service.load(self._stop))
        self._announce(start_lines(site, parts, built, recovered, metrics.port))
        self._begin_to_tell(parts, built, watch)

    def _begin_to_tell(self, parts: Parts, built: Built, watch: Watch) -> None:
        self._teller = Teller(parts, built, watch, self._pause)
        watch.tell = self._teller.look
        self._teller.look()
        self._life.started(self._settings.site, parts, built, suspect=self._was_suspect)

    # --- running ------------------------------------------------------------------------------

    def _stop_by(self, number: signal.Signals) -> None:
        self._life.asked(number)
        self._stop.set()

    def _storage_failed(self, error: BaseException) -> None:
        if self._failure is None:  # what fails after a fault of ours follows from that
            self._life.storage_failed(error)
        self._suspect.drop(error)
        self._failure = self._failure or error
        self._stop.set()

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task; a store that cannot be written or read any more stops the engine in order."""
        try:
            await work
        except StorageFailedError as error:
            self._storage_failed(error)

    def _unforeseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Stop when our own bookkeeping broke: what it lost count of is found again at the start.

        A fault met while reading from a peer ends that peer's connection and nothing else.
        """
        loop_exception_handler(loop, context)
        error = context.get("exception")
        if isinstance(error, BaseException) and goes_through(error, BOOKKEEPING):
            self._failure = self._failure or error
            self._abandon_open_batch()  # it may hold half of what broke off
            self._stop.set()

    # --- stopping -----------------------------------------------------------------------------

    async def _end(self, parts: Parts, built: Built, watch: Watch) -> int:
        """Drain in the direction messages flow; returns the exit code."""
        deadline = self._clock.monotonic() + self._settings.stop_grace_seconds
        self._life.stopping(self._failure)
        self._pause.ended, late = True, list[str]()
        failed = self._failure is not None  # nothing is drained: memory is not to be trusted
        for listener in built.listeners:
            left = 0.0 if failed else max(0.5, deadline - self._clock.monotonic())
            if not await listener.stop(left) and not failed:
                late.append(listener.name)
        parts.stopping = True  # no new steps, no new deliveries
        while not failed and self._clock.monotonic() < deadline:
            if not any(outbox.under_way for outbox in built.outboxes.values()):
                break
            watch.tick(self._clock.monotonic())
            await self._clock.sleep(DRAIN_STEP_SECONDS)
        for outbox in built.outboxes.values():
            if outbox.under_way:
                late.append(outbox.name)
            await outbox.close()
        if not failed:
            await self._last_commit(parts, late)
        await self._close_servers()
        self._teller.look(last=True)
        return self._life.stopped(exit_code(self._failure, late))

    async def _abandon(self, built: Built) -> None:
        """Close what is open, after a failure: nothing is drained, nothing more is promised."""
        if not self._pause.ended:
            for listener in built.listeners:
                await listener.stop(0.0)
        for outbox in built.outboxes.values():
            await outbox.close()
        await self._close_servers()

    async def _close_servers(self) -> None:
        await self._workers.close()
        if self._admin_server is not None:
            await self._admin_server.stop()
        if self._metrics_server is not None:
            await self._metrics_server.stop()

    async def _last_commit(self, parts: Parts, late: Sequence[str]) -> None:
        def fill(batch: Batch) -> None:
            batch.settings[CLEAN_STOP] = ended_clean(self._built.outboxes)
            batch.audits.append(
                NewAudit(
                    self._clock.now_us(),
                    "engine",
                    "stop",
                    " ".join(late),
                    0,
                    "late" if late else "drained",
                    b"",
                )
            )

        try:
            await parts.group.durable()
            await parts.group.write(fill)
        except StorageFailedError as error:
            self._failure = error


def _settle_memory() -> None:
    """Keep the cycle collector away from what stays, and from every few messages.

    The hot path makes no cycles; by default the collector would look after each 700 new objects,
    that is after every message or two.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _dice() -> float:
    """Return a uniform number in [0, 1), for the jitter of retries."""
    return secrets.randbits(32) / 2**32
