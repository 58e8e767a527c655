"""What must hold where a message is split into several."""

from ifengine.routes.config.channel_file import ChannelDraft
from ifengine.routes.config.sections import Section
from ifengine.routes.splitting import PATIENT, SplitConfig
from ifengine.transforms.source import Problems


def split_from(section: Section) -> SplitConfig | None:
    """Return how a channel splits its messages; None: it does not."""
    said: Section | None = section.get("split_message")
    if said is None or said.get("by") is None:
        return None
    carried = said.get("carry")
    return SplitConfig(
        by=said.get("by"),
        carry=None if carried is None else frozenset(name for name, _ in carried),
        mints=said.get("control_id", "mint") == "mint",
    )


def check_split(channel: ChannelDraft, problems: Problems) -> None:
    """Add every problem of `split_message`."""
    ack: Section | None = channel.section.get("ack")
    waits = ack is not None and ack.get("when") == "delivered"
    if waits and channel.section.says("unbatch"):
        problems.error(
            "E260",
            channel.section.keys["unbatch"].position,
            "a batch is answered once, and its messages would each wait for a destination",
            "leave ack out, or take batches in another channel",
        )
    config, section = split_from(channel.section), channel.section.get("split_message")
    if config is None:
        return
    if waits:
        problems.error(
            "E260",
            channel.section.keys["split_message"].position,
            "the sender waits for one answer, and the parts get several",
            "leave ack out, or split in a channel behind this one",
        )
    if config.by != PATIENT and config.carry is not None and PATIENT not in config.carry:
        problems.error(
            "E261",
            section.at("carry"),
            "without PID all parts but the first would be nobody's",
            "carry: [PID, …]",
        )
    for destination in channel.destinations:
        if not config.mints and destination.enabled and destination.connection is not None:
            problems.warning(
                "W219",
                section.at("control_id"),
                f'all parts of a message go to "{destination.name}" under one control id (MSH-10)',
                "control_id: mint, unless the receiver wants it so",
            )
            break
