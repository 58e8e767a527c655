"""What must hold between connections and channels: names, directions, ports, shared outboxes."""

from collections.abc import Iterator, Sequence

from ifengine.routes.config.channel_file import ChannelDraft, DestinationDraft
from ifengine.routes.config.checks_application import answered_on, check_application
from ifengine.routes.config.checks_channels import check_control_ids, check_handing_over
from ifengine.routes.config.kinds import nearest
from ifengine.routes.config.message_types import overlap, shown
from ifengine.routes.config.site_file import SiteDraft
from ifengine.routes.config.sources import CHANNELS
from ifengine.transforms.source import Items, Position, Problems, Text

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def check_site(
    site: SiteDraft, channels: Sequence[ChannelDraft], problems: Problems, *, complete: bool
) -> None:
    """Add every problem that only shows when channels and connections are seen together.

    ``complete``: every channel file could be read, so what nobody uses is really unused.
    """
    for channel in channels:
        _check_source(channel, site, problems)
        for destination in channel.destinations:
            _check_target(destination, site, problems)
    enabled = [channel for channel in channels if channel.enabled]
    _check_overlaps(enabled, problems)
    _check_outboxes(enabled, problems)
    check_control_ids(enabled, problems)
    check_application(enabled, site, problems)
    _check_ports(site, problems)
    check_handing_over(channels, problems, complete=complete)
    if CHANNELS in site.places:
        problems.error(
            "E103",
            site.places[CHANNELS],
            '"channels" cannot name a connection',
            "in `from:` it stands for the channels of the site",
        )
    if complete:
        _check_unused(site, channels, problems)
        _check_enabled(site, channels, problems)


def _check_source(channel: ChannelDraft, site: SiteDraft, problems: Problems) -> None:
    for name in channel.sources:
        _check_source_name(name, channel, site, problems)


def _check_source_name(
    name: str, channel: ChannelDraft, site: SiteDraft, problems: Problems
) -> None:
    if name in site.listeners:
        return
    written = channel.section.nodes["from"]
    items = written.items if isinstance(written, Items) else (written,)
    said = [item for item in items if isinstance(item, Text) and item.value == name]
    place = said[0].position if said else written.position
    if name in site.senders:
        problems.error("E202", place, f'"{name}" sends; a channel receives from one that listens')
    elif name not in site.places:
        problems.error(
            "E201", place, f'no connection "{name}"', nearest(name, list(site.listeners))
        )


def _check_target(destination: DestinationDraft, site: SiteDraft, problems: Problems) -> None:
    name = destination.connection
    if name is None or name in site.senders:
        return
    place = destination.section.at("connection")
    if name in site.listeners:
        problems.error("E202", place, f'"{name}" listens; a destination needs one that sends')
    elif name not in site.places:
        problems.error("E201", place, f'no connection "{name}"', nearest(name, list(site.senders)))


def _check_overlaps(channels: Sequence[ChannelDraft], problems: Problems) -> None:
    """One message has one channel."""
    for later, channel in enumerate(channels):
        for other in channels[:later]:
            shared = [name for name in channel.sources if name in other.sources]
            known = shared and channel.knows_types and other.knows_types
            both = overlap(channel.types, other.types) if known else None
            if both is not None:
                key = "types" if channel.section.says("types") else "from"
                problems.error(
                    "E203",
                    channel.section.at(key),
                    f'"{other.name}" takes {shown(both)} from "{shared[0]}" too',
                    "one message has one channel: make their types distinct",
                )


def _settings(channel: ChannelDraft, destination: DestinationDraft) -> dict[str, object]:
    return {
        "order_by": channel.order_by_text,
        "order": destination.order,
        "lanes": destination.lanes,
        "settle": destination.settle,
    }


def _check_outboxes(channels: Sequence[ChannelDraft], problems: Problems) -> None:
    """A send connection owns one outbox, so all that feed it agree (safety-rules.md 19)."""
    first: dict[str, tuple[ChannelDraft, DestinationDraft]] = {}
    for channel, destination in _feeding(channels):
        name = destination.connection or ""
        if name not in first:
            first[name] = (channel, destination)
            continue
        other_channel, other = first[name]
        mine, theirs = _settings(channel, destination), _settings(other_channel, other)
        for key in (key for key in mine if mine[key] != theirs[key]):
            section = channel.section if key == "order_by" else destination.section
            place = section.at(key) if section.says(key) else destination.position
            problems.error(
                "E204",
                place,
                f'"{name}" has one queue, and "{key}" differs from {other_channel.name}/{other.name}',
                f"see {_where(other.position)}; all that feed a connection say the same",
            )


def _feeding(
    channels: Sequence[ChannelDraft],
) -> Iterator[tuple[ChannelDraft, DestinationDraft]]:
    for channel in channels:
        for destination in channel.destinations:
            if destination.enabled and destination.connection is not None:
                yield channel, destination


def _where(place: Position) -> str:
    return f"{place.file}:{place.line}"


def _check_ports(site: SiteDraft, problems: Problems) -> None:
    taken: list[tuple[str, int, str]] = []
    listen = site.section.get("listen")
    metrics = None if listen is None else listen.get("metrics")
    if metrics is None:
        taken.append(("127.0.0.1", 9464, "metrics"))
    else:
        taken.append((metrics.host, metrics.port, "metrics"))
    for name, listener in site.listeners.items():
        for host, port, owner in taken:
            same_host = host == listener.host or host in _EVERYWHERE or listener.host in _EVERYWHERE
            if port and port == listener.port and same_host:
                problems.error(
                    "E216",
                    site.connections[name].at("port"),
                    f'port {port} is taken by "{owner}"',
                    "one port of one address has one listener",
                )
                break
        taken.append((listener.host, listener.port, name))


def _check_unused(site: SiteDraft, channels: Sequence[ChannelDraft], problems: Problems) -> None:
    used = {name for channel in channels if channel.enabled for name in channel.sources}
    used |= {name for name in answered_on(channels) if name in site.listeners}
    if used - set(site.places) or any(not _says_source(channel) for channel in channels):
        return  # a name that is wrong was meant for one of them
    for name in site.listeners:
        if name not in used:
            problems.warning(
                "W224",
                site.places[name],
                f'no enabled channel receives from "{name}"',
                "its messages would all be unrouted",
            )


def _says_source(channel: ChannelDraft) -> bool:
    return bool(channel.sources) or channel.files_source is not None or channel.from_channels


def _check_enabled(site: SiteDraft, channels: Sequence[ChannelDraft], problems: Problems) -> None:
    names = [channel.name for channel in channels]
    for name, (_, key) in site.enabled.items():
        if name not in names:
            problems.error("E201", key.position, f'no channel "{name}"', nearest(name, names))
