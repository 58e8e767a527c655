"""What must hold where destinations are chosen: `route: first`, `otherwise`."""

from ifengine.routes.config.channel_file import ChannelDraft, DestinationDraft
from ifengine.transforms.source import Problems


def check_choice(channel: ChannelDraft, problems: Problems) -> None:
    """Add every destination that no message can reach, and an `otherwise` without siblings."""
    enabled = [d for d in channel.destinations if d.enabled]
    usual = [d for d in enabled if not is_otherwise(d)]
    others = [d for d in enabled if is_otherwise(d)]
    first = channel.section.get("route") == "first"
    if others and not usual:
        problems.error(
            "E264",
            others[0].section.at("otherwise"),
            "otherwise means what no sibling takes, and there is none",
            "leave it out",
        )
        return
    taker = next((d for d in usual if _takes_all(d)), None)
    if taker is None:
        return
    behind = usual[usual.index(taker) + 1 :] if first else []
    for destination in (*behind, *others):
        problems.error(
            "E264",
            destination.position,
            f'no message can reach "{destination.name}": "{taker.name}" takes every one',
            f"write accept or types at {taker.name}"
            + (", or put it last" if first and destination in behind else ""),
        )


def is_otherwise(destination: DestinationDraft) -> bool:
    """Whether a destination gets only what no sibling takes."""
    return bool(destination.section.get("otherwise", False))


def _takes_all(destination: DestinationDraft) -> bool:
    # what could not be read says nothing
    section = destination.section
    return not section.says("accept") and not section.says("types")
