"""What must hold where application acknowledgments come later (safety-rules.md 4)."""

from collections.abc import Iterator, Sequence
from typing import Final

from ifengine.routes.config.channel_file import ChannelDraft, DestinationDraft
from ifengine.routes.config.checks_channels import mints
from ifengine.routes.config.kinds import nearest
from ifengine.routes.config.sections import Section
from ifengine.routes.config.site_file import SiteDraft
from ifengine.transforms.source import Problems

SAME: Final = "same"
BOTH: Final = "accept+application"
_SHORTEST: Final = 1.0
_LONGEST: Final = 7 * 86_400.0
_WITHIN: Final = 600.0
_KEPT: Final = 30 * 86_400.0


def check_application(
    channels: Sequence[ChannelDraft], site: SiteDraft, problems: Problems
) -> None:
    """Add every problem of `acks: accept+application` and `application_ack`.

    Args:
        channels: those that are enabled.
        site: for connections, and how long messages are kept.
        problems: gets them.
    """
    asking: dict[str, list[DestinationDraft]] = {}
    for channel in channels:
        for destination in channel.destinations:
            if not destination.enabled:
                continue
            rule = _rule(destination, problems)
            if rule is None:
                continue
            _check_time(rule, site, problems)
            on = rule.get("on", SAME)
            if on != SAME and _is_listener(on, rule, site, problems):
                asking.setdefault(on, []).append(destination)
    for on, destinations in asking.items():
        _check_ids(on, destinations, problems)


def answered_on(channels: Sequence[ChannelDraft]) -> Iterator[str]:
    """Yield the connections where application acknowledgments of enabled channels come in."""
    for channel in channels:
        for destination in channel.destinations if channel.enabled else ():
            rule: Section | None = destination.section.get("application_ack")
            if rule is not None and destination.enabled:
                yield rule.get("on", SAME)


def _rule(destination: DestinationDraft, problems: Problems) -> Section | None:
    """Return what a destination says; one key without the other is a problem."""
    section = destination.section
    rule: Section | None = section.get("application_ack")
    asks = section.get("acks") == BOTH
    if destination.files is not None:
        return None  # a folder does not answer: said already
    if (asks or rule is not None) and destination.channel is not None:
        key = "application_ack" if rule is not None else "acks"
        problems.error(
            "E102",
            section.keys[key].position,
            f'"{key}" wants a receiver that answers, and "{destination.name}" is a channel',
            "leave it out",
        )
        return None
    if asks and not section.says("application_ack"):
        problems.error(
            "E271",
            section.at("acks"),
            "nobody would wait for the application acknowledgment that is asked for",
            "application_ack: {on: same, within: 10m}",
        )
    if rule is not None and not asks and (section.get("acks") or not section.says("acks")):
        problems.error(
            "E271",
            section.keys["application_ack"].position,
            "the receiver is not asked for an application acknowledgment",
            f"acks: {BOTH}",
        )
    return rule


def _check_time(rule: Section, site: SiteDraft, problems: Problems) -> None:
    within = rule.get("within", _WITHIN)
    if not _SHORTEST <= within <= _LONGEST:
        problems.error(
            "E271", rule.at("within"), "an application acknowledgment is missed after 1s to 7d"
        )
        return
    keep: Section | None = site.section.get("keep")
    kept = _KEPT if keep is None else keep.get("messages", _KEPT)
    if within >= kept:
        problems.error(
            "E271",
            rule.at("within"),
            "the message may be forgotten before its application acknowledgment is missed",
            "keep: messages: in ifengine.yaml longer than within",
        )


def _is_listener(on: str, rule: Section, site: SiteDraft, problems: Problems) -> bool:
    if on in site.listeners:
        return True
    if on in site.senders:
        problems.error(
            "E202",
            rule.at("on"),
            f'"{on}" sends; application acknowledgments come in at one that listens',
            "on: same, where they come back on the connection that delivers",
        )
    elif on not in site.places:
        known = [SAME, *site.listeners]
        problems.error("E201", rule.at("on"), f'no connection "{on}"', nearest(on, known))
    return False


def _check_ids(on: str, destinations: Sequence[DestinationDraft], problems: Problems) -> None:
    """Where two receivers answer at one place, MSA-2 alone must tell their answers apart."""
    if len({destination.connection for destination in destinations}) < 2:
        return
    for destination in destinations:
        if not mints(destination):
            problems.error(
                "E272",
                destination.section.at("application_ack"),
                f'several receivers answer at "{on}": equal control ids (MSH-10) would mix them up',
                "control_id: mint at each of them, or a connection of its own for each",
            )
