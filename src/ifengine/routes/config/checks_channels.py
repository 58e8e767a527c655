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
