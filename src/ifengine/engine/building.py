"""From a site to its parts: channels, outboxes, lanes, pipelines, intakes, listeners."""

import ipaddress
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ifengine.engine.answering import let_senders_wait
from ifengine.errors import SettingsError
from ifengine.hl7.charset import CharsetPolicy
from ifengine.mllp.client import ClientOptions
from ifengine.mllp.framing import Tolerance
from ifengine.mllp.listener import ListenerOptions, MllpListener
from ifengine.mllp.tls import client_context, server_context
from ifengine.routes.application_answers import ApplicationAnswers
from ifengine.routes.channel import UNMATCHED, Channel
from ifengine.routes.channel_intake import ChannelIntake
from ifengine.routes.config.models import (
    ChannelConfig,
    DestinationConfig,
    ListenConnection,
    Order,
    RetryConfig,
    SendConnection,
    SiteConfig,
    TlsConfig,
)
from ifengine.routes.delivery import Outbox
from ifengine.routes.destination import Destination
from ifengine.routes.endpoints.base import Lane
from ifengine.routes.endpoints.channels import ChannelLane
from ifengine.routes.endpoints.files import FilesLane
from ifengine.routes.endpoints.mllp import MllpLane
from ifengine.routes.file_source import FileSource
from ifengine.routes.identity import Barrier
from ifengine.routes.intake import Intake
from ifengine.routes.intake_load import IntakeLoad
from ifengine.routes.lanes import Schedule
from ifengine.routes.parts import Parts
from ifengine.routes.pipeline import Pipeline
from ifengine.routes.planning import PlanWriter, Target
from ifengine.routes.retry import Policy
from ifengine.routes.waiting_senders import WaitingSenders
from ifengine.store.balance import written_fanout
from ifengine.store.base import Batch, NameKind
from ifengine.store.names import Names
from ifengine.store.tally import fanout_setting
from ifengine.transforms.memory import Change, Space


@dataclass(slots=True)
class Built:
    """Every part of a running site."""

    pipelines: dict[int, Pipeline] = field(default_factory=dict)
    outboxes: dict[int, Outbox] = field(default_factory=dict)
    intakes: dict[int, ChannelIntake] = field(default_factory=dict)  # by channel number
    listeners: list[MllpListener] = field(default_factory=list)
    file_sources: list[FileSource] = field(default_factory=list)
    outbox_of: dict[str, Outbox] = field(default_factory=dict)  # by CHANNEL.DESTINATION
    rules: dict[int, tuple[object, ...]] = field(default_factory=dict)  # OutboxRules.fixed
    senders: dict[int, WaitingSenders] = field(default_factory=dict)  # by channel number

    def is_counted(self) -> bool:
        """Return whether all that waited at the start is in the counts that are shown."""
        return all(one.is_counted for one in self.outboxes.values()) and all(
            one.is_counted for one in self.pipelines.values()
        )


def outbox_name(channel: str, destination: DestinationConfig) -> str:
    """Return which outbox a destination feeds: its connection's, or one of its own."""
    return destination.connection or f"{channel}.{destination.name}"


def files_name(channel: str) -> str:
    """Return the name under which a channel's folder stands among the listeners."""
    return f"{channel}.files"


def register_names(site: SiteConfig, names: Names, batch: Batch) -> None:
    """Give every configured name its number, before any row carries it."""
    for listener in site.listeners:
        names.add(NameKind.LISTENER, listener, batch)
    for channel in site.channels:
        if channel.files_source is not None:
            names.add(NameKind.LISTENER, files_name(channel.name), batch)
        names.add(NameKind.CHANNEL, channel.name, batch)
        for destination in channel.destinations:
            if destination.channel is not None:
                names.add(NameKind.LISTENER, f"{channel.name}.{destination.name}", batch)
            if destination.application is not None and not destination.application.on:
                # where its answers come in, beside the connections that listen
                names.add(NameKind.LISTENER, outbox_name(channel.name, destination), batch)
            names.add(NameKind.DESTINATION, f"{channel.name}.{destination.name}", batch)
            names.add(NameKind.OUTBOX, outbox_name(channel.name, destination), batch)
        names.add(NameKind.DESTINATION, f"{channel.name}.{UNMATCHED}", batch)
        names.add(NameKind.OUTBOX, f"{channel.name}.{UNMATCHED}", batch)


def note_fanout(site: SiteConfig, names: Names, version: int, batch: Batch) -> None:
    """Write down which destinations each channel has in a version: what its plans owe (G11)."""
    fanout = {
        names.number(NameKind.CHANNEL, channel.name): [
            names.number(NameKind.DESTINATION, f"{channel.name}.{destination.name}")
            for destination in channel.destinations
            if destination.enabled
        ]
        for channel in site.channels
        if channel.enabled
    }
    batch.settings[fanout_setting(version)] = written_fanout(fanout)


def build(site: SiteConfig, parts: Parts, load: IntakeLoad) -> Built:
    """Make the parts of a site; nothing is bound or connected yet.

    Raises:
        SettingsError: a certificate or key cannot be used.
    """
    built = Built()
    channels = [Channel(c, site) for c in site.channels if c.enabled]
    _add_outboxes(site, parts, channels, built)
    by_listener: dict[str, list[ChannelIntake]] = {name: [] for name in site.listeners}
    for channel in channels:
        number = parts.names.number(NameKind.CHANNEL, channel.name)
        pipeline = make_pipeline(site, parts, channel, number, built)
        built.pipelines[number] = pipeline
        intake = ChannelIntake(parts, channel, number, pipeline)
        built.intakes[number] = intake
        for source in channel.config.sources:
            by_listener[source].append(intake)
        if channel.config.files_source is not None:
            built.file_sources.append(file_source(parts, intake))
    for name, intakes in by_listener.items():
        if intakes or takes_answers(name, channels):
            connection = site.listeners[name]
            number = parts.names.number(NameKind.LISTENER, name)
            receiver = Intake(parts, connection, number, intakes, load)
            built.listeners.append(
                MllpListener(listener_options(connection), receiver, parts.clock)
            )
    return built


def takes_answers(listener: str, channels: Iterable[Channel]) -> bool:
    """Return whether application acknowledgments come in at a listening connection."""
    return any(
        destination.application is not None and destination.application.on == listener
        for channel in channels
        for destination in channel.destinations
    )


def wait_for_answers(parts: Parts, built: Built) -> None:
    """Say where the application acknowledgments of each outbox come in."""
    if parts.memories is None:
        return
    if parts.answers is None:
        parts.answers = ApplicationAnswers(parts, parts.memories, built.outboxes)
    rules = {
        outbox.number: [d.application for d in outbox.destinations.values() if d.application]
        for outbox in built.outboxes.values()
    }
    parts.answers.take_rules(rules)


def connect(parts: Parts, built: Built) -> None:
    """Tell every channel what the steps of one of them remembered, and let it wait for merges."""
    memories, retired = parts.memories, parts.retired
    raise_barriers(built)
    let_senders_wait(parts, built.pipelines, built.outboxes, built.senders)
    wait_for_answers(parts, built)

    def remembered(changes: Sequence[Change]) -> None:
        if memories is None:
            return
        tags = [
            memories.tag(change.space, change.key)
            for change in changes
            if change.space is Space.FACT and change.remembered is not None
        ]
        if parts.awaited is not None:
            parts.awaited.noted(changes)
        if tags:
            for pipeline in built.pipelines.values():
                pipeline.remembered(tags)
        concerned = retired.changed(changes) if retired is not None else ()
        if concerned:
            for pipeline in built.pipelines.values():
                pipeline.merged(frozenset(pipeline.writer.hashed(tuple(concerned)) or ()))

    parts.remembered = remembered
    parts.entrances = built.intakes


def raise_barriers(built: Built) -> None:
    """Let channels that resolve patients wait for those that merge them (safety-rules.md 12).

    To be called again when a channel came or went.
    """
    pipelines = list(built.pipelines.values())
    merging = [pipeline for pipeline in pipelines if pipeline.channel.merges]
    resolving = [pipeline for pipeline in pipelines if pipeline.channel.resolves]

    def advanced() -> None:
        for pipeline in resolving:
            pipeline.wake()

    for pipeline in pipelines:
        waits = pipeline.channel.resolves and any(other is not pipeline for other in merging)
        pipeline.may_plan = Barrier(merging, pipeline).may_plan if waits else None
        pipeline.advanced = advanced if pipeline.channel.merges and resolving else None


class ChannelParts(NamedTuple):
    """What a pipeline works with beside its channel."""

    writer: PlanWriter
    charset: CharsetPolicy
    charsets: dict[int, CharsetPolicy]


def make_channel_parts(
    site: SiteConfig, parts: Parts, channel: Channel, number: int, built: Built
) -> ChannelParts:
    """Return what writes a channel's plans, and how its messages are read."""
    names = parts.names
    targets = {}
    for destination in channel.destinations:
        full = f"{channel.name}.{destination.name}"
        targets[destination.name] = Target(
            built.outbox_of[full],
            names.number(NameKind.DESTINATION, full),
            destination.files is not None,
        )
    unmatched = f"{channel.name}.{UNMATCHED}"
    targets[UNMATCHED] = Target(
        built.outbox_of[unmatched], names.number(NameKind.DESTINATION, unmatched), False
    )
    charsets = {}
    for source in channel.config.sources:
        listener = site.listeners[source]
        charsets[names.number(NameKind.LISTENER, source)] = CharsetPolicy(
            forced=listener.charset_forced, default=listener.charset_default
        )
    charsets.update(_handed_over(site, names, channel.name))
    charset = next(iter(charsets.values()), CharsetPolicy())
    return ChannelParts(PlanWriter(parts, channel.name, number, targets), charset, charsets)


def _handed_over(site: SiteConfig, names: Names, channel: str) -> dict[int, CharsetPolicy]:
    """Return how to read what other channels hand over: as they read it themselves."""
    found = {}
    for other in site.channels:
        for destination in other.destinations:
            if destination.channel == channel and other.enabled:
                number = names.number(NameKind.LISTENER, f"{other.name}.{destination.name}")
                found[number] = _charset_of(site, other)
    return found


def _charset_of(site: SiteConfig, channel: ChannelConfig) -> CharsetPolicy:
    if channel.sources:
        listener = site.listeners[channel.sources[0]]
        return CharsetPolicy(forced=listener.charset_forced, default=listener.charset_default)
    for other in site.channels:
        # `check` refuses loops
        if other.enabled and any(d.channel == channel.name for d in other.destinations):
            return _charset_of(site, other)
    return CharsetPolicy()


def make_pipeline(
    site: SiteConfig, parts: Parts, channel: Channel, number: int, built: Built
) -> Pipeline:
    """Return what runs a channel; its outboxes are there."""
    made = make_channel_parts(site, parts, channel, number, built)
    return Pipeline(parts, channel, made.writer, made.charset, made.charsets)


def file_source(parts: Parts, intake: ChannelIntake) -> FileSource:
    """Return what looks at a channel's folder."""
    listener = parts.names.number(NameKind.LISTENER, files_name(intake.channel.name))
    return FileSource(parts, intake, listener)


Pairs = list[tuple[Channel, DestinationConfig]]


def feeding(channels: list[Channel]) -> dict[str, Pairs]:
    """Return, by outbox, the destinations that feed it, in the order of the site."""
    found: dict[str, Pairs] = {}
    for channel in channels:
        for destination in channel.destinations:
            name = outbox_name(channel.name, destination)
            found.setdefault(name, []).append((channel, destination))
    return found


@dataclass(frozen=True, slots=True)
class OutboxRules:
    """How one outbox works. Those that share a connection agree on it: `check` sees to that."""

    site: SiteConfig
    pairs: Pairs

    @property
    def fixed(self) -> tuple[object, ...]:
        """What an outbox cannot change at work: its order, its lanes and where it goes."""
        channel, first = self.pairs[0]
        ordered = channel.config.order_by is not None
        folder = first.files.directory if first.files is not None else None
        place = self.site.senders.get(first.connection or "")
        return (first.order, ordered, first.lanes, first.settle, place, folder, first.channel)

    @property
    def urgent(self) -> bool:
        """Whether an outcome is on disk before the next message leaves."""
        return self.pairs[0][1].settle == "strict"

    def schedule(self) -> Schedule:
        """Return an empty schedule of this order."""
        channel, first = self.pairs[0]
        return Schedule(
            order=first.order,
            ordered=channel.config.order_by is not None,
            lanes=first.lanes,
            strict_settle=self.urgent,
        )

    def destinations(self, parts: Parts) -> list[Destination]:
        """Return the destinations, with nothing counted yet."""
        return [self._destination(parts, *pair) for pair in self.pairs]

    def _destination(
        self, parts: Parts, owner: Channel, destination: DestinationConfig
    ) -> Destination:
        connection = self.site.senders.get(destination.connection or "")
        timeout = destination.ack_timeout_seconds
        if timeout is None:
            timeout = connection.ack_timeout_seconds if connection is not None else 30.0
        return Destination(
            channel=owner.name,
            name=destination.name,
            number=parts.names.number(NameKind.DESTINATION, f"{owner.name}.{destination.name}"),
            channel_number=parts.names.number(NameKind.CHANNEL, owner.name),
            policy=Policy(
                destination.retry,
                destination.on_nak,
                destination.on_in_doubt,
                destination.duplicate_answer,
            ),
            stop_after=destination.stop_after,
            application=destination.application,
            ack_timeout_seconds=timeout,
            is_files=destination.files is not None,
        )


def _add_outboxes(site: SiteConfig, parts: Parts, channels: list[Channel], built: Built) -> None:
    for name, pairs in feeding(channels).items():
        outbox = make_outbox(site, parts, name, pairs)
        built.outboxes[outbox.number] = outbox
        built.rules[outbox.number] = OutboxRules(site, pairs).fixed
        for channel, destination in pairs:
            built.outbox_of[f"{channel.name}.{destination.name}"] = outbox
    for channel in channels:
        outbox = unmatched_outbox(parts, channel)
        built.outboxes[outbox.number] = outbox
        built.outbox_of[outbox.name] = outbox


def make_outbox(site: SiteConfig, parts: Parts, name: str, pairs: Pairs) -> Outbox:
    """Return an outbox with its ways out, empty."""
    rules = OutboxRules(site, pairs)
    outbox = Outbox(
        parts,
        name=name,
        number=parts.names.number(NameKind.OUTBOX, name),
        schedule=rules.schedule(),
        destinations={d.number: d for d in rules.destinations(parts)},
        urgent_settle=rules.urgent,
    )
    outbox.add_lanes(lanes_for(site, parts, pairs[0][1], outbox))
    return outbox


def lanes_for(
    site: SiteConfig, parts: Parts, destination: DestinationConfig, outbox: Outbox
) -> list[Lane]:
    """Return the ways out of an outbox."""
    if destination.files is not None:
        return [FilesLane(destination.files.directory, outbox, parts.loop, parts.spawn)]
    if destination.channel is not None:
        number = parts.names.number(NameKind.CHANNEL, destination.channel)
        listener = parts.names.number(NameKind.LISTENER, outbox.name)
        return [
            ChannelLane(
                parts,
                outbox,
                lambda: parts.entrances.get(number),
                source=outbox.name,
                listener=listener,
            )
            for _ in range(destination.lanes)
        ]
    connection = site.senders[destination.connection or ""]
    options = client_options(connection)
    return [
        MllpLane(options, outbox, parts.clock, parts.spawn, parts.loop)
        for _ in range(destination.lanes)
    ]


def unmatched_outbox(parts: Parts, channel: Channel) -> Outbox:
    """The outbox without a way out, where a message waits that no destination accepts."""
    name = f"{channel.name}.{UNMATCHED}"
    number = parts.names.number(NameKind.DESTINATION, name)
    destination = Destination(
        channel=channel.name,
        name=UNMATCHED,
        number=number,
        channel_number=parts.names.number(NameKind.CHANNEL, channel.name),
        policy=Policy(RetryConfig(), {}, "resend"),
        ack_timeout_seconds=0.0,
    )
    return Outbox(
        parts,
        name=name,
        number=parts.names.number(NameKind.OUTBOX, name),
        schedule=Schedule(order=Order.SKIP_DEAD, ordered=False, lanes=1, strict_settle=False),
        destinations={number: destination},
        urgent_settle=False,
    )


def listener_options(connection: ListenConnection) -> ListenerOptions:
    """Return how a connection listens."""
    return ListenerOptions(
        name=connection.name,
        host=connection.host,
        port=connection.port,
        ssl_context=_server_tls(connection.tls),
        allow=tuple(ipaddress.ip_network(network) for network in connection.allow),
        max_content_bytes=connection.max_message_bytes,
        max_unfinished_bytes=connection.max_unfinished_bytes,
        max_connections=connection.max_connections,
        max_connections_per_address=connection.max_connections_per_address,
        idle_timeout_seconds=connection.idle_timeout_seconds,
        frame_timeout_seconds=connection.frame_timeout_seconds,
        tolerate=frozenset(Tolerance(name) for name in connection.tolerate),
    )


def _server_tls(tls: TlsConfig | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    if tls.cert is None:
        raise SettingsError(f"tls {tls.name}: a listener needs a certificate")
    return server_context(
        cert=tls.cert, key=tls.key, ca=tls.ca, client=tls.client, minimum=tls.minimum
    )


def client_options(connection: SendConnection) -> ClientOptions:
    """Return how a connection sends."""
    tls = connection.tls
    context = None
    if tls is not None:
        context = client_context(
            ca=tls.ca, pinned=tls.pinned, cert=tls.cert, key=tls.key, minimum=tls.minimum
        )
    return ClientOptions(
        name=connection.name,
        host=connection.host,
        port=connection.port,
        ssl_context=context,
        pinned=tls.pinned if tls is not None else (),
        server_name=tls.server_name if tls is not None else None,
        connect_timeout_seconds=connection.connect_timeout_seconds,
    )
