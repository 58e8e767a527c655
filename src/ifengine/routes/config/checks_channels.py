"""What must hold where a channel hands its messages to another one."""

from collections.abc import Iterator, Sequence

from ifengine.routes.config.channel_file import ChannelDraft, DestinationDraft
from ifengine.routes.config.kinds import nearest
from ifengine.transforms.source import Problems

Handed = tuple[ChannelDraft, DestinationDraft]


def check_handing_over(
    channels: Sequence[ChannelDraft], problems: Problems, *, complete: bool
) -> None:
    """Add every problem of `to: {NAME: {channel: X}}`. ``complete``: every file could be read."""
    by_name = {channel.name: channel for channel in channels}
    handing = list(_handing(channels))
    for _, destination in handing:
        _check_target(destination, by_name, problems, complete=complete)
    _check_loops(handing, problems)
    if not complete:
        return
    taken = {destination.channel for _, destination in handing}
    for channel in channels:
        if channel.enabled and channel.from_channels and channel.name not in taken:
            problems.warning(
                "W262",
                channel.section.at("from"),
                f'no enabled channel hands messages to "{channel.name}"',
                f"to: {{NAME: {{channel: {channel.name}}}}} in another one",
            )


def _handing(channels: Sequence[ChannelDraft]) -> Iterator[Handed]:
    for channel in channels:
        for destination in channel.destinations:
            if channel.enabled and destination.enabled and destination.channel is not None:
                yield channel, destination


def _check_target(
    destination: DestinationDraft,
    by_name: dict[str, ChannelDraft],
    problems: Problems,
    *,
    complete: bool,
) -> None:
    name = destination.channel or ""
    place = destination.section.at("channel")
    other = by_name.get(name)
    if other is None:
        if complete:
            problems.error("E201", place, f'no channel "{name}"', nearest(name, list(by_name)))
        return
    if not other.enabled:
        problems.error("E262", place, f'"{name}" is not enabled', "what it gets would wait here")
    elif not other.from_channels:
        problems.error(
            "E262",
            place,
            f'"{name}" does not take messages from channels',
            f"from: channels in {other.file}, or from: [CONNECTION, channels]",
        )


def _check_loops(handing: Sequence[Handed], problems: Problems) -> None:
    """A message that comes back to a channel would go round for ever."""
    onward: dict[str, set[str]] = {}
    for channel, destination in handing:
        onward.setdefault(channel.name, set()).add(destination.channel or "")
    for channel, destination in handing:
        reached, waiting = set[str](), [destination.channel or ""]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += onward.get(name, ())
        if channel.name in reached:
            problems.error(
                "E263",
                destination.section.at("channel"),
                f'what goes to "{destination.channel}" comes back to "{channel.name}"',
                "messages would go round for ever",
            )


def check_control_ids(channels: Sequence[ChannelDraft], problems: Problems) -> None:
    """Where several senders meet at one receiver, its control ids should be the engine's.

    Source: safety-rules.md 19.

    Args:
        channels: those that are enabled.
        problems: gets them.
    """
    handing = list(_handing(channels))
    met: dict[str, set[str]] = {}
    warned: set[str] = set()
    for channel in channels:
        for destination in channel.destinations:
            name = destination.connection
            if name is None or not destination.enabled or mints(destination):
                continue
            senders = met.setdefault(name, set())
            senders |= _ids_of(channel, handing, set())
            if len(senders - {MINTED}) > 1 and name not in warned:
                warned.add(name)
                problems.warning(
                    "W219",
                    destination.position,
                    f'several sources meet at "{name}": their control ids (MSH-10) may be equal',
                    "control_id: mint gives each message one of the engine's own",
                )


MINTED = "the engine"


def mints(destination: DestinationDraft) -> bool:
    """Whether a destination gets control ids of the engine's own."""
    return bool(destination.section.get("control_id") == "mint")


def _ids_of(channel: ChannelDraft, handing: Sequence[Handed], seen: set[str]) -> set[str]:
    """Return who made the control ids of a channel's messages."""
    if channel.name in seen:
        return set()
    seen.add(channel.name)
    found = set(channel.sources)
    if channel.files_source is not None:
        found.add(f"files of {channel.name}")
    for other, destination in handing:
        if destination.channel == channel.name:
            found |= {MINTED} if mints(destination) else _ids_of(other, handing, seen)
    return found
