"""Times and promises that do not fit together: each is fine alone, and together they break a word.

Source: hl7-rules.md 3.2 and section 7, item 11; safety-rules.md 1, 6, 15, 17.
"""

from typing import Final

from ifengine.routes.config.channel_file import ChannelDraft
from ifengine.routes.config.message_types import admitted_identity_events
from ifengine.routes.config.models import Order
from ifengine.routes.config.sections import Section
from ifengine.routes.config.site_file import SiteDraft
from ifengine.transforms.source import Problems

_DAY: Final = 86_400.0
_KEPT: Final = 30 * _DAY  # messages
_KEPT_DEAD: Final = 180 * _DAY
_WINDOW: Final = 7 * _DAY
# what senders wait at most, where nobody changed it: most 30 s, none of those we know above a minute
_PATIENCE: Final = 60.0


def check_promises(channel: ChannelDraft, site: SiteDraft, problems: Problems) -> None:
    """Add what a channel promises and its times do not allow."""
    _check_patience(channel, problems)
    _check_window(channel, site, problems)
    _check_barrier(channel, problems)
    _check_overtaking(channel, problems)


def check_keeping(site: SiteDraft, problems: Problems) -> None:
    """Add what the site forgets too early."""
    keep: Section | None = site.section.get("keep")
    if keep is None:
        return
    messages, dead = keep.get("messages", _KEPT), keep.get("dead_letters", _KEPT_DEAD)
    if dead < messages:
        problems.warning(
            "W248",
            keep.at("dead_letters" if keep.says("dead_letters") else "messages"),
            "dead letters would be gone before messages that were delivered",
            "keep dead_letters longer: somebody still has to look at them",
        )


def _ack_timeout(channel: ChannelDraft) -> tuple[Section, float] | None:
    """Return how long the sender waits for a destination; None where it does not."""
    ack: Section | None = channel.section.get("ack")
    if ack is None or ack.get("when") != "delivered" or ack.get("timeout") is None:
        return None
    return ack, ack.get("timeout")


def _check_patience(channel: ChannelDraft, problems: Problems) -> None:
    waiting = _ack_timeout(channel)
    if waiting is not None and waiting[1] > _PATIENCE:
        problems.warning(
            "W247",
            waiting[0].at("timeout"),
            f"few senders wait {waiting[1]:g} s for an answer, and send again while this one holds",
            "a timeout below the sender's own, as in timeout: 25s",
        )


def _check_window(channel: ChannelDraft, site: SiteDraft, problems: Problems) -> None:
    """A repetition must be known for as long as somebody may still send it, and no longer kept."""
    dedupe: Section | None = channel.section.get("dedupe")
    if channel.section.says("dedupe") and (dedupe is None or dedupe.get("window", 1.0) is None):
        return
    window = _WINDOW if dedupe is None else dedupe.get("window", _WINDOW)
    waiting = _ack_timeout(channel)
    if waiting is not None and window <= waiting[1]:
        problems.error(
            "E248",
            channel.section.at("dedupe") if dedupe is None else dedupe.at("window"),
            f"a sender that waited {waiting[1]:g} s and sends again would not be known any more",
            "a window that is much longer than ack: timeout",
        )
    keep: Section | None = site.section.get("keep")
    kept = _KEPT if keep is None else keep.get("messages", _KEPT)
    if window > kept:
        said = dedupe is not None and dedupe.says("window")
        # without a word of the channel, the site's is what does not fit
        place = dedupe.at("window") if dedupe is not None and said else channel.position
        if not said and keep is not None:
            place = keep.at("messages")
        problems.warning(
            "W248",
            place,
            "a repetition would be dropped although nobody can look at the first one any more",
            "keep: messages: in ifengine.yaml longer than the window of dedupe",
        )


def _check_barrier(channel: ChannelDraft, problems: Problems) -> None:
    """A merge names two patients: a key made of one field lets it overtake the other's messages."""
    by_paths = isinstance(channel.order_by, tuple)
    if not by_paths or not channel.types or not channel.knows_types or not channel.enabled:
        return
    merged = [event for event in admitted_identity_events(channel.types) if event != "A24"]
    if not merged:
        return
    problems.warning(
        "W249",
        channel.section.at("order_by"),
        f"{merged[0]} names two patients, and this key sees one: the other's messages overtake it",
        "order_by: patient takes PID and MRG, so that a merge waits for both",
    )


def _check_overtaking(channel: ChannelDraft, problems: Problems) -> None:
    if channel.order_by is None:
        return
    for destination in channel.destinations:
        if destination.order is Order.NONE and destination.enabled:
            problems.warning(
                "W206",
                destination.section.at("order"),
                f'order_by does not hold at "{destination.name}": its messages may overtake each other',
                "skip_dead keeps the order and lets a dead letter hold nothing",
            )
