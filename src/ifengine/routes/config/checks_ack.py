"""What must hold where a sender waits for a destination's answer (safety-rules.md 1 and 2)."""

from collections.abc import Iterator

from ifengine.routes.config.channel_file import ChannelDraft, DestinationDraft, step_nodes
from ifengine.routes.config.kinds import nearest
from ifengine.routes.config.sections import Section
from ifengine.routes.config.site_file import SiteDraft
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text

DEFAULT_ACK_TIMEOUT_SECONDS = 30.0
_MAY_STOP = frozenset({"drop", "latest_only"})


def check_ack(channel: ChannelDraft, site: SiteDraft, problems: Problems) -> None:
    """Add every problem of `ack:`, and of steps that speak to a sender who does not wait."""
    section: Section | None = channel.section.get("ack")
    if section is None or section.get("when", "stored") == "stored":
        # what is written wrongly is reported already, and says nothing about what was meant
        misread = channel.section.says("ack") and section is None
        if section is not None and section.says("when") and section.get("when") is None:
            misread = True
        if not misread:
            _check_stored(section, problems)
            _check_rejects(channel, None, problems)
        return
    if channel.files_source is not None:
        problems.error(
            "E243",
            section.at("when"),
            "a folder has no sender that waits for an answer",
            "leave ack out: a file is taken once it is on disk",
        )
    source = _answering(channel, section, problems)
    if not section.says("timeout"):
        problems.error(
            "E102",
            section.position,
            '"timeout" is missing',
            "below the time after which the sender itself gives up, as in timeout: 25s",
        )
    if source is None:
        return
    _check_timeouts(section, source, site, problems)
    _check_not_sent(channel, section, source, problems)
    _check_rejects(channel, source.name, problems)


def _check_stored(section: Section | None, problems: Problems) -> None:
    if section is None:
        return
    for name in ("from", "timeout", "else", "not_sent", "answer"):
        if section.says(name):
            problems.error(
                "E102",
                section.at(name),
                f'"{name}" wants a sender that waits',
                "say when: delivered, or leave it out",
            )
            return


def _answering(
    channel: ChannelDraft, section: Section, problems: Problems
) -> DestinationDraft | None:
    """Return the destination that answers."""
    if not section.says("from"):
        problems.error(
            "E102",
            section.position,
            '"from" is missing',
            "which destination answers, as in from: ris",
        )
    name = section.get("from")
    if name is None:
        return None
    by_name = {destination.name: destination for destination in channel.destinations}
    found = by_name.get(name)
    if found is None:
        problems.error(
            "E201",
            section.at("from"),
            f'"{name}" is no destination of this channel',
            nearest(name, list(by_name)),
        )
    elif not found.enabled:
        problems.error(
            "E243", section.at("from"), f'"{name}" is not enabled: nobody would ever answer'
        )
        return None
    elif found.section.get("acks", "original") != "original":
        problems.error(
            "E243",
            found.section.at("acks"),
            f'"{name}" would only answer that it stored the message',
            "acks: original: the answer says what became of it",
        )
    return found


def _check_timeouts(
    section: Section, source: DestinationDraft, site: SiteDraft, problems: Problems
) -> None:
    """The destination must be given up before the sender is, or the sender is never told why."""
    timeout = section.get("timeout")
    if source.section.says("retry") or source.section.says("on_nak"):
        which = "retry" if source.section.says("retry") else "on_nak"
        problems.warning(
            "W245",
            source.section.at(which),
            f"{which} has no effect on messages whose sender waits",
            "one attempt decides, and the sender itself sends again",
        )
    if timeout is None or source.files is not None:
        return
    connection = site.senders.get(source.connection or "")
    own = source.section.get("ack_timeout")
    if own is None:
        own = DEFAULT_ACK_TIMEOUT_SECONDS if connection is None else connection.ack_timeout_seconds
    if own >= timeout:
        problems.error(
            "E245",
            section.at("timeout"),
            f'the sender is given up after {timeout:g} s, "{source.name}" only after {own:g} s',
            f"ack_timeout: at {source.name}, shorter than the timeout here",
        )


def _check_not_sent(
    channel: ChannelDraft, section: Section, source: DestinationDraft, problems: Problems
) -> None:
    if section.says("not_sent"):
        return
    why = next(_may_stop(channel, source), None)
    if why is not None:
        problems.error(
            "E244",
            section.position,
            f'"{source.name}" does not get every message ({why}): what does the sender hear then?',
            "not_sent: AA (it was taken) or not_sent: AR (it goes nowhere)",
        )


def _may_stop(channel: ChannelDraft, source: DestinationDraft) -> Iterator[str]:
    """Yield what can keep a message from a destination, apart from errors."""
    if channel.accept is not None:
        yield "accept"
    if source.accept is not None:
        yield f"accept of {source.name}"
    if source.types:
        yield f"types of {source.name}"
    for step in (*channel.steps.all(), *source.steps.all()):
        if step.verb in _MAY_STOP or step.uses.waits:
            yield step.label


def _check_rejects(channel: ChannelDraft, source: str | None, problems: Problems) -> None:
    """`reject` speaks to a sender: only where one waits, and before it has its answer."""
    if source is None:
        for place in _rejects(channel.section):
            problems.error(
                "E246",
                place,
                "the sender has its answer already: nobody hears a reject",
                "ack: {when: delivered, …} lets it wait; or fail: a dead letter",
            )
    for destination in channel.destinations:
        if destination.name == source:
            continue
        for place in _rejects(destination.section):
            problems.error(
                "E246",
                place,
                f'nobody waits for "{destination.name}": its steps cannot tell the sender',
                "reject in the channel's steps; or fail: a dead letter here",
            )


def _rejects(section: Section) -> Iterator[Position]:
    """Yield where `reject` is written, nested steps included."""
    todo: list[Node] = list(reversed(step_nodes(section)))
    while todo:
        node = todo.pop()
        if isinstance(node, Items):
            todo.extend(reversed(node.items))
        elif isinstance(node, Entries):
            for key, value in node:
                if key.value == "reject":
                    yield key.position
                elif not isinstance(value, Text):
                    todo.append(value)
