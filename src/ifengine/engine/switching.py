"""The switch of a running engine from one site to another.

What is new is made and bound beforehand. Then, in one turn of the loop, every channel, listener
and outbox takes the new rules. What is gone is drained: channels plan what they accepted, outboxes
send what was planned, and dead letters stay in reach.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ifengine.engine.building import (
    Built,
    OutboxRules,
    Pairs,
    client_options,
    connect,
    feeding,
    file_source,
    lanes_for,
    listener_options,
    make_channel_parts,
    make_outbox,
    make_pipeline,
    register_names,
    takes_answers,
    unmatched_outbox,
)
from ifengine.engine.pausing import IntakePause
from ifengine.errors import EngineError
from ifengine.failpoints import fp
from ifengine.mllp.listener import ListenerOptions, MllpListener
from ifengine.routes.channel import Channel
from ifengine.routes.channel_intake import ChannelIntake
from ifengine.routes.config.models import ListenConnection, SiteConfig
from ifengine.routes.delivery import Outbox
from ifengine.routes.file_source import FileSource
from ifengine.routes.intake import Intake
from ifengine.routes.intake_load import IntakeLoad
from ifengine.routes.parts import Parts
from ifengine.routes.pipeline import Pipeline
from ifengine.routes.whole import whole
from ifengine.store.base import NameKind

STOP_LISTENER_SECONDS = 5.0


class BindError(EngineError):
    """A new listener could not be bound: nothing was changed."""

    code = "bind"


@dataclass(slots=True)
class _Prepared:
    """What the next site needs and the running engine does not have."""

    channels: dict[str, Channel] = field(default_factory=dict)
    listeners: list[MllpListener] = field(default_factory=list)
    pipelines: dict[int, Pipeline] = field(default_factory=dict)  # of new channels
    options: dict[str, ListenerOptions] = field(default_factory=dict)  # certificates are read


class Switch:
    """Brings one running engine to other sites, one after the other."""

    def __init__(
        self,
        parts: Parts,
        built: Built,
        site: SiteConfig,
        load: IntakeLoad,
        pause: IntakePause,
    ) -> None:
        self.site = site
        self._parts = parts
        self._built = built
        self._load = load
        self._pause = pause
        self._next: _Prepared | None = None
        self._draining: dict[int, Pipeline] = {}
        self.replays = asyncio.Lock()  # held while letters are sent again; set by the runtime
        self.after: list[Callable[[SiteConfig], None]] = []

    # --- before -------------------------------------------------------------------------------

    def in_flight(self) -> int:
        """Return how many accepted messages have no plan yet."""
        return sum(pipeline.unplanned for pipeline in self._built.pipelines.values())

    def in_the_way(self, site: SiteConfig) -> list[str]:
        """Return why channels cannot go: what is parked in them could never start over."""
        staying = {channel.name for channel in site.channels if channel.enabled}
        found = []
        for pipeline in self._built.pipelines.values():
            name = pipeline.channel.name
            if name in staying:
                continue
            if len(pipeline.parking):
                found.append(f"{name} cannot go: {len(pipeline.parking)} messages are parked in it")
            elif pipeline.paused and (pipeline.unplanned or not pipeline.is_counted):
                found.append(f"{name} cannot go: it is paused with {pipeline.unplanned} messages")
        return found

    async def prepare(self, site: SiteConfig) -> None:
        """Make and bind what is new. Whatever can fail fails here, before anything is changed.

        Raises:
            BindError: an address is taken.
            SettingsError: a certificate or key cannot be used.
        """
        parts = self._parts
        prepared = _Prepared(
            channels={c.name: Channel(c, site) for c in site.channels if c.enabled}
        )
        self._next = prepared
        register_names(site, parts.names, parts.group.batch)
        for pairs in feeding(list(prepared.channels.values())).values():
            connection = site.senders.get(pairs[0][1].connection or "")
            if connection is not None:
                client_options(connection)
        await self._bind(site, prepared)

    async def _bind(self, site: SiteConfig, prepared: _Prepared) -> None:
        parts = self._parts
        running = {listener.name: listener for listener in self._built.listeners}
        for name, connection in site.listeners.items():
            if not _is_used(name, prepared.channels.values()):
                continue
            before = running.get(name)
            options = prepared.options[name] = listener_options(connection)
            if before is not None and _same_address(before, connection):
                continue
            number = parts.names.number(NameKind.LISTENER, name)
            receiver = Intake(parts, connection, number, (), self._load)
            listener = MllpListener(options, receiver, parts.clock)
            try:
                await listener.start()
            except OSError as error:
                raise BindError(f"{name}: cannot listen: {error.strerror or error}") from None
            listener.pause_reading()
            prepared.listeners.append(listener)

    async def abandon(self) -> None:
        """Close what was bound for a site that is not switched to after all."""
        prepared, self._next = self._next, None
        for listener in prepared.listeners if prepared is not None else ():
            await listener.stop(0.0)

    # --- the switch -----------------------------------------------------------------------------

    async def to(self, site: SiteConfig, version: int) -> None:
        """Switch. ``prepare`` was called with this site, and its version is on stable storage.

        No replay runs meanwhile: it would feed an outbox that begins anew, or decide by one version
        and be written down under another.
        """
        prepared = self._next
        if prepared is None:
            raise EngineError("nothing was prepared")
        async with self.replays:
            with whole(self._parts):
                await self._switch(site, version, prepared)

    async def _switch(self, site: SiteConfig, version: int, prepared: _Prepared) -> None:
        parts, built = self._parts, self._built
        rules = feeding(list(prepared.channels.values()))
        await self._new_outboxes(site, rules)
        await self._new_pipelines(site, prepared)
        changed = [
            (outbox, pairs)
            for name, pairs in rules.items()
            if (outbox := self._outbox_named(name)) is not None
            and built.rules.get(outbox.number) != OutboxRules(site, pairs).fixed
        ]
        standing = [
            pipeline
            for pipeline in built.pipelines.values()
            if any(
                target.outbox is outbox
                for outbox, _ in changed
                for target in pipeline.writer.targets.values()
            )
        ]
        for pipeline in standing:
            await pipeline.stand_still()
        if parts.answers is not None:
            parts.answers.stand_still()
        try:
            fp("reload.standing")
            for outbox, pairs in changed:
                await self._rebuild(site, outbox, pairs)
            # from here to the end of this turn nothing is awaited
            parts.config_version = version
            self._take_rules(site, rules)
            gone = self._take_channels(site, prepared)
            closing = self._take_listeners(site, prepared)
            self.site = site
            for after in self.after:
                after(site)
            fp("reload.switched")
        finally:
            for pipeline in standing:
                pipeline.go()
            if parts.answers is not None:
                parts.answers.go()
        for outbox in built.outboxes.values():
            outbox.pump()
        for listener in prepared.listeners:
            if not self._pause.is_on():
                listener.resume_reading()
        for listener in closing:
            parts.spawn(self._stop_listener(listener))
        for pipeline in gone:
            self._draining[pipeline.number] = pipeline
        self._next = None

    def _outbox_named(self, name: str) -> Outbox | None:
        number = self._parts.names.number(NameKind.OUTBOX, name)
        return self._built.outboxes.get(number)

    async def _new_outboxes(self, site: SiteConfig, rules: dict[str, Pairs]) -> None:
        """Make what is missing. There may be rows of a former time: they go out first."""
        parts, built = self._parts, self._built
        for name, pairs in rules.items():
            outbox = self._outbox_named(name)
            if outbox is None:
                outbox = make_outbox(site, parts, name, pairs)
                outbox.begin_clean()
                await outbox.recover()
                built.rules[outbox.number] = OutboxRules(site, pairs).fixed
                self._enter(outbox)
            for channel, destination in pairs:
                built.outbox_of[f"{channel.name}.{destination.name}"] = outbox
        for channel in {channel for pairs in rules.values() for channel, _ in pairs}:
            outbox = unmatched_outbox(parts, channel)
            if outbox.number not in built.outboxes:
                outbox.begin_clean()
                await outbox.recover()
                self._enter(outbox)
            built.outbox_of[outbox.name] = built.outboxes[outbox.number]

    async def _new_pipelines(self, site: SiteConfig, prepared: _Prepared) -> None:
        parts, built = self._parts, self._built
        running = {pipeline.channel.name for pipeline in built.pipelines.values()}
        for name, channel in prepared.channels.items():
            if name not in running:
                number = parts.names.number(NameKind.CHANNEL, name)
                pipeline = make_pipeline(site, parts, channel, number, built)
                await pipeline.recover(parts.numbers.inbox_id)
                prepared.pipelines[number] = pipeline

    def _enter(self, outbox: Outbox) -> None:
        self._built.outboxes[outbox.number] = outbox
        self._parts.group.before_commit.append(outbox.collect)

    async def _rebuild(self, site: SiteConfig, outbox: Outbox, pairs: Pairs) -> None:
        made = OutboxRules(site, pairs)
        await outbox.rebuild(made.schedule(), made.destinations(self._parts))
        outbox.add_lanes(lanes_for(site, self._parts, pairs[0][1], outbox))
        self._built.rules[outbox.number] = made.fixed

    def _take_rules(self, site: SiteConfig, rules: dict[str, Pairs]) -> None:
        """Give every outbox the destinations of the new site; those that are gone are drained."""
        for name, pairs in rules.items():
            outbox = self._outbox_named(name)
            if outbox is not None:
                outbox.take_destinations(OutboxRules(site, pairs).destinations(self._parts))
                for channel, destination in pairs:
                    self._built.outbox_of[f"{channel.name}.{destination.name}"] = outbox

    def _take_channels(self, site: SiteConfig, prepared: _Prepared) -> list[Pipeline]:
        parts, built = self._parts, self._built
        by_name = {p.channel.name: p for p in built.pipelines.values()}
        for number, pipeline in prepared.pipelines.items():
            built.pipelines[number] = pipeline
            built.intakes[number] = ChannelIntake(parts, pipeline.channel, number, pipeline)
        for name, channel in prepared.channels.items():
            number = parts.names.number(NameKind.CHANNEL, name)
            made = make_channel_parts(site, parts, channel, number, built)
            pipeline = built.pipelines[number]
            pipeline.switch(channel, made.writer, made.charset, made.charsets)
            built.intakes[number].switch(channel)
            self._draining.pop(number, None)
        gone = [p for p in by_name.values() if p.channel.name not in prepared.channels]
        self._take_file_sources(prepared)
        connect(parts, built)
        return gone

    def _take_file_sources(self, prepared: _Prepared) -> None:
        parts, built = self._parts, self._built
        kept: list[FileSource] = []
        for source in built.file_sources:
            channel = prepared.channels.get(source.channel)
            if channel is not None and channel.config.files_source == source.source:
                source.switch(channel.config)
                kept.append(source)
            else:
                source.stopped = True
        running = {source.channel for source in kept}
        for name, channel in prepared.channels.items():
            if channel.config.files_source is not None and name not in running:
                number = parts.names.number(NameKind.CHANNEL, name)
                new = file_source(parts, built.intakes[number])
                self._pause.hold(new)
                kept.append(new)
                parts.spawn(new.run())
        built.file_sources[:] = kept

    def _take_listeners(self, site: SiteConfig, prepared: _Prepared) -> list[MllpListener]:
        """Give every listener its channels; return those that close."""
        parts, built = self._parts, self._built
        new = {listener.name: listener for listener in prepared.listeners}
        closing: list[MllpListener] = []
        kept: list[MllpListener] = []
        for listener in built.listeners:
            connection = site.listeners.get(listener.name)
            used = _is_used(listener.name, prepared.channels.values())
            if connection is None or not used or listener.name in new:
                closing.append(listener)
            else:
                listener.update(prepared.options[listener.name])
                kept.append(listener)
        built.listeners[:] = [*kept, *prepared.listeners]
        for listener in built.listeners:
            receiver = listener.receiver
            if isinstance(receiver, Intake):
                intakes = [
                    built.intakes[parts.names.number(NameKind.CHANNEL, name)]
                    for name, channel in prepared.channels.items()
                    if listener.name in channel.config.sources
                ]
                receiver.switch(site.listeners[listener.name], intakes)
        return closing

    @staticmethod
    async def _stop_listener(listener: MllpListener) -> None:
        await listener.stop(STOP_LISTENER_SECONDS)

    # --- afterwards -----------------------------------------------------------------------------

    def tidy(self) -> None:
        """Forget channels that are gone and have nothing left; called each second.

        Outboxes stay until the next start: dead letters in them are still within reach.
        """
        built = self._built
        for number, pipeline in list(self._draining.items()):
            if not pipeline.is_counted:
                continue
            if pipeline.unplanned == 0 and not len(pipeline.parking):
                del self._draining[number]
                if built.pipelines.get(number) is pipeline:
                    del built.pipelines[number], built.intakes[number]


def _is_used(listener: str, channels: Iterable[Channel]) -> bool:
    channels = list(channels)
    taken = any(listener in channel.config.sources for channel in channels)
    return taken or takes_answers(listener, channels)


def _same_address(listener: MllpListener, connection: ListenConnection) -> bool:
    return (listener.options.host, listener.options.port) == (connection.host, connection.port)
