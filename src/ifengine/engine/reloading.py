"""Another configuration for a running engine: loaded, checked, tested, then switched at once.

A refused configuration changes nothing. The switch itself is one turn of the loop, between two
messages of every channel, so that each message is processed by exactly one version.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ifengine.admin.runtime import ReloadReport
from ifengine.engine.building import note_fanout
from ifengine.engine.switching import Switch
from ifengine.errors import EngineError
from ifengine.failpoints import fp
from ifengine.routes.config.compare import changes, needs_restart
from ifengine.routes.config.kept_files import pack
from ifengine.routes.config.loading import Loaded
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.config.render import render_problem
from ifengine.routes.config.tests_beside import read_test_files
from ifengine.routes.parts import Parts
from ifengine.routes.worker_process import call_now
from ifengine.store.base import ConfigVersionRow, NewAudit
from ifengine.store.sealing import BlobKind
from ifengine.telemetry.events import Reloaded, ReloadRefused, shortened
from ifengine.telemetry.log import emit
from ifengine.transforms.source import Severity

if TYPE_CHECKING:
    from ifengine.routes.channel_tests.run import ChannelReport

T = TypeVar("T")


@dataclass(slots=True)
class Reloader:
    """Reloads the site of one engine, one reload at a time."""

    parts: Parts
    switch: Switch
    load: Callable[[], Loaded]
    running: Loaded | None = None  # what the engine runs with, as it was read
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def remember_running(self, site: SiteConfig) -> None:
        """Read what the engine was started with, to compare the next configuration with it."""
        loaded = await self._in_thread(self.load)
        # files that changed since the start are no part of what runs: then nothing can be compared
        self.running = loaded if loaded.site and loaded.site.digest == site.digest else None

    async def reload(
        self, *, actor: str, reason: str, dry_run: bool = False, skip_tests: bool = False
    ) -> ReloadReport:
        """Load the site again and switch to it, unless something stands in the way."""
        async with self._lock:
            try:
                report = await self._reload(actor, reason, dry_run=dry_run, skip_tests=skip_tests)
            except EngineError as error:
                await self.switch.abandon()
                report = self._refuse([f"{error}" + (f" ({error.hint})" if error.hint else "")])
        version, who = report.version, shortened(actor)
        if report.done:
            emit(Reloaded(config_version=version, actor=who))
        elif report.refused and not dry_run:
            problems = len(report.refused)
            emit(ReloadRefused(config_version=version, actor=who, problems=problems))
        return report

    async def _reload(
        self, actor: str, reason: str, *, dry_run: bool, skip_tests: bool
    ) -> ReloadReport:
        loaded = await self._in_thread(self.load)
        wrong = _what_is_wrong(loaded)
        if wrong or loaded.site is None:
            return self._refuse(wrong)
        site, old = loaded.site, self.switch.site
        fixed = needs_restart(old, site)
        if fixed:
            return self._refuse([f"{name} changes only with a restart" for name in fixed])
        stuck = self.switch.in_the_way(site)
        if stuck:
            return self._refuse(stuck)
        tests = 0
        if not skip_tests:
            reports = await self._in_thread(lambda: _run_all(site))
            tests = sum(len(report.results) for report in reports)
            failed = _failures(reports)
            if failed:
                return self._refuse(failed)
        plan = changes(self.running, loaded) if self.running is not None else ()
        in_flight = self.switch.in_flight()
        if dry_run:
            return ReloadReport(
                version=self.parts.config_version, plan=plan, tests=tests, in_flight=in_flight
            )
        if self.parts.stopping:
            return self._refuse(["the engine is stopping"])
        version = await self._commit(loaded, site, actor, reason)
        await self.switch.to(site, version)
        self.running = loaded
        metrics = self.parts.metrics
        metrics.config_last_reload_successful.set(1)
        metrics.config_last_reload_success_timestamp_seconds.set(self.parts.clock.now_us() / 1e6)
        return ReloadReport(done=True, version=version, plan=plan, tests=tests, in_flight=in_flight)

    async def _commit(self, loaded: Loaded, site: SiteConfig, actor: str, reason: str) -> int:
        """Give the configuration its version, before any row carries it; bind what is new first."""
        parts = self.parts
        await self.switch.prepare(site)
        fp("reload.prepared")
        now_us = parts.clock.now_us()
        versions = await parts.read(lambda reader: reader.config_versions())
        newest = versions[-1] if versions else None
        same = newest is not None and newest.digest == site.digest
        version = (
            newest.version
            if same and newest is not None
            else (newest.version if newest is not None else 0) + 1
        )
        detail = b""
        if reason:
            detail = parts.ring.seal(BlobKind.AUDIT, now_us, 0, reason.encode())
        batch = parts.group.batch
        if not same:
            batch.config_versions.append(ConfigVersionRow(version, site.digest, now_us))
            sealed = parts.ring.seal(BlobKind.CONFIG, version, 0, pack(loaded))
            batch.config_contents.append((version, sealed))
        note_fanout(site, parts.names, version, batch)
        batch.audits.append(
            NewAudit(now_us, actor, "reload", f"config {version}", 0, "done", detail)
        )
        await parts.group.durable()
        fp("reload.version_committed")
        return version

    def _refuse(self, why: Iterable[str]) -> ReloadReport:
        self.parts.metrics.config_last_reload_successful.set(0)
        return ReloadReport(version=self.parts.config_version, refused=tuple(why))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self.parts.loop.run_in_executor(None, work)


def _what_is_wrong(loaded: Loaded) -> list[str]:
    errors = [p for p in loaded.problems if p.severity is Severity.ERROR]
    return [
        render_problem(problem, loaded.lines.get(problem.position.file, ()))
        for problem in (*errors, *loaded.unfilled)
    ]


def _run_all(site: SiteConfig) -> "list[ChannelReport]":
    from ifengine.routes.channel_tests.run import run_tests  # no start needs it: see engine/late.py

    reports = []
    for config in site.channels:
        if config.enabled and config.tests:
            files = read_test_files(site.directory, config.tests)
            reports.append(run_tests(site, config.name, files, call=call_now))
    return reports


def _failures(reports: "Iterable[ChannelReport]") -> list[str]:
    return [
        f'{report.file}: test "{result.case.name}" fails'
        for report in reports
        for result in report.results
        if not result.passed
    ]
