"""The running engine as its admin service sees it. Satisfies ``admin.runtime.Runtime``."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from ifengine.admin.request import RequestError
from ifengine.admin.runtime import (
    ChannelStatus,
    DeadLetterRef,
    Listening,
    OutboxStatus,
    ReloadReport,
    ReplayReport,
)
from ifengine.clock import Clock
from ifengine.engine.building import Built
from ifengine.engine.gauges import Gauges
from ifengine.engine.reloading import Reloader
from ifengine.engine.watch import Watch
from ifengine.errors import EngineError
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.dead_letters import DeadLetters
from ifengine.routes.letters import Letter
from ifengine.routes.parts import Parts
from ifengine.routes.pipeline import Pipeline
from ifengine.settings import Settings
from ifengine.store.base import Batch, NewAudit, Reader
from ifengine.store.names import Names
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.telemetry.events import ChannelPaused, ChannelResumed, shortened
from ifengine.telemetry.log import emit
from ifengine.transforms.memory import Call, Change, Reply

T = TypeVar("T")

MIB = 1024 * 1024
HOUR_US = 3600 * 1_000_000
PAUSED = "paused:"  # setting: a pause outlives a restart


class EngineRuntime:
    """Answers for a running site."""

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        built: Built,
        watch: Watch,
        gauges: Gauges,
        *,
        paused_listeners: Callable[[], bool],
        reloader: Reloader,
    ) -> None:
        self.reloader = reloader
        self.site = settings.site
        self.config_version = parts.config_version
        self.started_us = parts.clock.now_us()
        self.clock: Clock = parts.clock
        self.steady = parts.steady
        self.ring: KeyRing = parts.ring
        self.names: Names = parts.names
        self.memories = parts.memories
        self.retired = parts.retired
        self._parts = parts
        self._built = built
        self._watch = watch
        self._gauges = gauges
        self._paused_listeners = paused_listeners
        self._letters = DeadLetters(parts, built.outboxes, built.pipelines)
        reloader.switch.replays = self._letters.one_at_a_time
        self.is_ready = False

    def switched(self, site: SiteConfig) -> None:
        """Answer for another configuration from now on."""
        self.site = site
        self.config_version = self._parts.config_version

    async def reload(
        self, *, actor: str, reason: str, dry_run: bool, skip_tests: bool
    ) -> ReloadReport:
        """Load, check and test the site again, and switch to it unless something is in the way."""
        return await self.reloader.reload(
            actor=actor, reason=reason, dry_run=dry_run, skip_tests=skip_tests
        )

    async def read(self, look: Callable[[Reader], T]) -> T:
        """Run ``look`` in the reading thread."""
        return await self._parts.read(look)

    async def call(self, call: Call) -> Reply:
        """Let a worker run a function."""
        return await self._parts.call(call)

    async def commit(self, fill: Callable[[Batch], None]) -> None:
        """Write with the next batch, and wait for the disk."""
        await self._parts.group.write(fill)

    async def remember(self, changes: Sequence[Change], fill: Callable[[Batch], None]) -> None:
        """Write what a person changed of what steps remember, and wait for the disk."""
        memories, group = self._parts.memories, self._parts.group
        if memories is None:
            raise EngineError("nothing is remembered here")
        batch = group.batch
        memories.write(batch, changes)
        fill(batch)
        self._parts.remembered(changes)
        await group.durable()

    # --- looking ------------------------------------------------------------------------------

    def channels(self) -> Sequence[ChannelStatus]:
        """Return every enabled channel, in the order of the site."""
        found = []
        for number, pipeline in self._built.pipelines.items():
            intake = self._built.intakes[number]
            found.append(
                ChannelStatus(
                    name=pipeline.channel.name,
                    state="paused" if pipeline.paused else "running",
                    note=pipeline.note,
                    last_received_us=intake.last_received_us,
                    received_last_hour=intake.recent.total(self.clock.monotonic()),
                    unplanned=pipeline.unplanned,
                    parked=len(pipeline.parking),
                    parked_since_us=self._shown(pipeline.parking.oldest_us()),
                    outboxes=tuple(self._outboxes_of(number)),
                )
            )
        return found

    def _outboxes_of(self, channel: int) -> list[OutboxStatus]:
        found = []
        for outbox in self._built.outboxes.values():
            for destination in outbox.destinations.values():
                if destination.channel_number == channel and not destination.is_quiet:
                    found.append(
                        OutboxStatus(
                            channel=destination.channel,
                            destination=destination.name,
                            outbox=outbox.name,
                            waiting=destination.waiting,
                            held=destination.held,
                            dead=destination.dead,
                            oldest_us=outbox.oldest_us(destination),
                            connected=outbox.up is not False,
                            blocked=outbox.is_blocked(),
                        )
                    )
        return found

    def listening(self) -> Sequence[Listening]:
        """Return every listener that is bound."""
        return [
            Listening(
                name=listener.name,
                host=listener.options.host,
                port=listener.port,
                tls=listener.options.ssl_context is not None,
                connections=listener.connections,
                paused=listener.is_paused,
            )
            for listener in self._built.listeners
        ]

    def metrics_text(self) -> bytes:
        """Return all families, gauges brought up to date."""
        self._gauges.update()
        return self._parts.metrics.render()

    def live(self) -> bool:
        """Return whether the loop turns: it does when this is answered."""
        return True

    def ready(self) -> tuple[bool, str]:
        """Return whether messages can be taken, and what is in the way."""
        if self._parts.group.error is not None:
            return False, "the storage failed"
        if self._parts.stopping:
            return False, "the engine is stopping"
        if not self.is_ready:
            return False, "the engine is starting"
        if self._watch.disk.full:
            return False, "the disk is full: a commit waits for room"
        if self._watch.disk.low:
            return False, "the disk is below its reserve"
        if self._paused_listeners():
            return False, "the intake waits for the disk"
        return True, ""

    def problems(self) -> Sequence[tuple[str, str, str]]:
        """Return (level, check, text) for ``doctor``."""
        rows: list[tuple[str, str, str]] = []
        for outbox in self._built.outboxes.values():
            if outbox.up is False:
                rows.append(("fail", "destinations", f"{outbox.name} does not answer"))
            elif outbox.stopped:
                rows.append(("fail", "destinations", f"{outbox.name} stopped on a refusal"))
        for pipeline in self._built.pipelines.values():
            if pipeline.paused:
                rows.append(("warn", "channels", f"{pipeline.channel.name} is paused"))
        for source in self._built.file_sources:
            if source.failed:
                rows.append(("fail", "channels", f"{source.channel}: its folder: {source.failed}"))
        disk = self._watch.disk
        if disk.full:
            rows.append(("fail", "disk", "the disk is full: a commit waits for room"))
        if disk.low and disk.missing_bytes:  # else it is being made
            missing = disk.missing_bytes // MIB
            rows.append(("fail", "disk", f"the ballast was given up: {missing} MiB are missing"))
        if self.steady.is_doubtful:
            hours = self.steady.doubt_us / HOUR_US
            text = f"the wall clock is {hours:+,.1f} h from where it was: ifengine clock show"
            rows.append(("fail", "clock", text))
        else:
            rows.append(("ok", "clock", f"believed, set {self.steady.jumps} times in this run"))
        lag = self._watch.lag.seconds
        text = f"stood still for at most {lag:.3f} s in the last minute"
        rows.append(("warn" if lag > 0.5 else "ok", "loop", text))
        return rows

    def _shown(self, steady_us: int) -> int:
        return self.steady.shown_us(steady_us) if steady_us else 0

    # --- acting -------------------------------------------------------------------------------

    def _pipeline(self, name: str) -> Pipeline:
        for pipeline in self._built.pipelines.values():
            if pipeline.channel.name == name:
                return pipeline
        raise RequestError(
            "not_found", "no enabled channel of that name", hint="ifengine channels list"
        )

    async def pause_channel(self, name: str, *, actor: str, reason: str) -> None:
        """Stop planning and delivering a channel's messages; they are still received."""
        pipeline = self._pipeline(name)
        now_us = self.clock.now_us()
        sealed = self.ring.seal(BlobKind.AUDIT, now_us, 0, reason.encode())
        note = self.ring.seal(
            BlobKind.CONFIG, pipeline.number, 0, f"paused by {actor}: {reason}".encode()
        )

        def fill(batch: Batch) -> None:
            batch.settings[PAUSED + name] = note.hex()
            batch.audits.append(NewAudit(now_us, actor, "pause", name, 0, "done", sealed))

        self.set_paused(pipeline, f"paused by {actor}: {reason}")
        await self.commit(fill)
        emit(ChannelPaused(channel=shortened(name), actor=shortened(actor)))

    async def resume_channel(self, name: str, *, actor: str) -> None:
        """Go on with a paused channel."""
        pipeline = self._pipeline(name)
        now_us = self.clock.now_us()

        def fill(batch: Batch) -> None:
            batch.settings[PAUSED + name] = ""
            batch.audits.append(NewAudit(now_us, actor, "resume", name, 0, "done", b""))

        await self.commit(fill)
        emit(ChannelResumed(channel=shortened(name), actor=shortened(actor)))
        pipeline.note = ""
        pipeline.resume()
        for outbox in self._built.outboxes.values():
            if self._feeds(pipeline, outbox):
                outbox.resume()

    def set_paused(self, pipeline: Pipeline, note: str) -> None:
        """Pause in memory: the steps, and the outboxes that only this channel feeds."""
        pipeline.paused = True
        pipeline.note = note
        for outbox in self._built.outboxes.values():
            feeding = {d.channel_number for d in outbox.destinations.values()}
            if self._feeds(pipeline, outbox) and all(
                self._built.pipelines[number].paused for number in feeding
            ):
                outbox.paused = True

    @staticmethod
    def _feeds(pipeline: Pipeline, outbox: object) -> bool:
        return any(target.outbox is outbox for target in pipeline.writer.targets.values())

    async def restore_pauses(self) -> None:
        """Pause what was paused before a restart."""
        for pipeline in self._built.pipelines.values():
            key = PAUSED + pipeline.channel.name
            stored = await self.read(lambda reader, key=key: reader.setting(key))  # type: ignore[misc]
            if stored:
                sealed = bytes.fromhex(stored)
                note = self.ring.open(BlobKind.CONFIG, pipeline.number, 0, sealed)
                self.set_paused(pipeline, note.decode())

    def let_go(self, inbox_ids: Sequence[int], *, expire: bool) -> Sequence[int]:
        """Let parked messages go on; returns those that were parked."""
        going: set[int] = set()
        for pipeline in self._built.pipelines.values():
            going.update(pipeline.let_go(inbox_ids, expire=expire))
        return sorted(going)

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
        """Send dead letters again."""
        result = await self._letters.replay(
            [Letter(ref.outbox, ref.seq) for ref in letters],
            how=how,
            allow_older=allow_older,
            dry_run=dry_run,
            actor=actor,
            reason=reason,
            sender_was_refused=sender_was_refused,
        )
        return ReplayReport(
            going=_refs(result.going),
            older=_refs(result.older),
            unordered=_refs(result.unordered),
            gone=_refs(result.gone),
            filtered=_refs(result.filtered),
            failed_again=_refs(result.failed_again),
            merged=_refs(result.merged),
        )

    async def discard(
        self, letters: Sequence[DeadLetterRef], *, actor: str, reason: str
    ) -> Sequence[DeadLetterRef]:
        """Settle dead letters as discarded."""
        asked = [Letter(ref.outbox, ref.seq) for ref in letters]
        return _refs(await self._letters.discard(asked, actor=actor, reason=reason))


def _refs(letters: Sequence[Letter]) -> tuple[DeadLetterRef, ...]:
    return tuple(DeadLetterRef(letter.outbox, letter.seq) for letter in letters)
