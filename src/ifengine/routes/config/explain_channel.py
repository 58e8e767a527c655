"""A channel in plain sentences: what it takes, what it does, what happens when something fails.

Every key that is written has a sentence. One without a sentence of its own is shown with the
meaning that the table of keys gives it, so that nothing a channel does is left out.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from ifengine.routes.config.keys_channel import CHANNEL
from ifengine.routes.config.keys_destination import DESTINATION
from ifengine.routes.config.models import (
    ChannelConfig,
    DestinationConfig,
    NakReaction,
    Order,
    RetryConfig,
    SiteConfig,
    TypePattern,
)
from ifengine.routes.config.node_text import flow_text
from ifengine.routes.config.sections import Key
from ifengine.transforms.source import Entries, Items, Node, Text
from ifengine.transforms.table_of_steps import BY_VERB

# keys that the sentences below speak of, or that say nothing about what happens
_TOLD: Final = frozenset(
    {"ifengine", "channel", "about", "owner", "enabled", "from", "types", "accept", "ack"}
    | {"order_by", "dedupe", "no_match", "expect", "steps", "to", "tests", "shared"}
    | {"ignore_types"}
)
_TOLD_OF_DESTINATIONS: Final = frozenset(
    {"about", "enabled", "connection", "files", "types", "accept", "steps", "order", "retry"}
    | {"on_nak", "on_in_doubt", "ack_timeout", "lanes", "snapshot", "because"}
)
_ORDERS: Final[Mapping[Order, str]] = {
    Order.HOLD_KEY: "a dead or held message holds back later ones with its key; others go on",
    Order.SKIP_DEAD: "a dead message holds nothing back",
    Order.STRICT: "the first message that is not settled holds back all others",
    Order.NONE: "messages may overtake each other",
}
_REACTIONS: Final[Mapping[NakReaction, str]] = {
    NakReaction.RETRY: "is tried again",
    NakReaction.DEAD_LETTER: "goes to the dead letters",
    NakReaction.STOP: "stops the destination",
}
_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "m"), (1.0, "s"))


def explain_channel(site: SiteConfig, channel: ChannelConfig, written: Entries) -> list[str]:
    """Return the channel in lines of plain text.

    Args:
        site: its connections.
        channel: what was read from the file.
        written: the file's nodes, for steps and values as the analyst wrote them.
    """
    lines = [f"{channel.name}: {channel.about}" if channel.about else channel.name]
    if channel.owner:
        lines.append(f"Owner: {channel.owner}.")
    if not channel.enabled:
        lines.append("It is switched off: it takes nothing.")
    lines += ["", *_coming_in(site, channel, written)]
    steps = written.get("steps")
    if isinstance(steps, Items) and steps.items:
        lines += ["", "Once for every destination:", *_steps(steps, "  ")]
    to = written.get("to")
    for destination in channel.destinations:
        body = to.get(destination.name) if isinstance(to, Entries) else None
        inner = body if isinstance(body, Entries) else Entries((), written.position)
        lines += ["", *_destination(site, channel, destination, inner)]
    lines += ["", *_ends(channel, written)]
    return lines


def in_words(seconds: float | None) -> str:
    """Return a duration in its largest whole unit: ``5 s``, ``2 m``, ``7 d``."""
    if seconds is None:
        return "for ever"
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _coming_in(site: SiteConfig, channel: ChannelConfig, written: Entries) -> Iterator[str]:
    for name in channel.sources:
        listener = site.listeners.get(name)
        place = "" if listener is None else f", which listens on {listener.host}:{listener.port}"
        yield f"Messages come from {name}{place}."
    if channel.files_source is not None:
        files = channel.files_source
        yield (
            f"Messages come from files {files.pattern} in {files.directory}. A file counts when "
            f"it did not change for {in_words(files.stable_seconds)}; it then goes to {files.done}, "
            f"or to {files.bad} with a dead letter."
        )
    if channel.from_channels:
        giving = [
            other.name
            for other in site.channels
            if any(d.channel == channel.name for d in other.destinations)
        ]
        yield f"Messages come from other channels: {', '.join(giving) or 'none yet'}."
    yield f"It takes {_types(channel.types)}."
    if channel.accept is not None:
        yield (
            f"Of these only messages with {channel.accept.text}; the others are acknowledged, "
            "counted and go no further (filtered)."
        )
    for kind, why in channel.ignore_types.items():
        yield f"It leaves out {kind} events: {why}."
    yield from _answer(channel)
    yield (
        "The same message again (same sender, control id and bytes) within "
        f"{in_words(channel.dedupe_window_seconds)} is acknowledged and not delivered again."
    )
    dedupe = written.get("dedupe")
    if isinstance(dedupe, Entries) and dedupe.get("key") is not None:
        yield f"Beyond that, dedupe says {flow_text(dedupe)}."
    yield _order(channel)
    yield from _others(written, CHANNEL, _TOLD)


def _types(types: tuple[TypePattern, ...]) -> str:
    if not types:
        return "messages of every type"
    return ", ".join("every type" if t.code == "*" else f"{t.code}^{t.event}" for t in types)


def _answer(channel: ChannelConfig) -> Iterator[str]:
    ack = channel.ack
    if ack is None:
        yield (
            "The sender is answered AA (CA where MSH-15 asks for it) as soon as the message is on "
            "disk; what happens later is not the sender's concern."
        )
        return
    late = "with AR" if ack.on_timeout == "AR" else "not at all, and the connection is closed"
    yield (
        f"The sender waits for the answer of {ack.source}, {in_words(ack.timeout_seconds)} at most; "
        f"then it is answered {late}."
    )
    if ack.not_sent:
        yield f"A message that is not sent to {ack.source} is answered {ack.not_sent}."


def _order(channel: ChannelConfig) -> str:
    if channel.order_by is None:
        return "Messages are delivered in the order in which they came; no key keeps them together."
    if channel.order_by == "patient":
        return "Messages of one patient never overtake each other."
    paths = ", ".join(path if isinstance(path, str) else path.text for path in channel.order_by)
    return f"Messages with the same {paths} never overtake each other."


# --- steps --------------------------------------------------------------------------------------


def _steps(steps: Items, pad: str, prefix: str = "") -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        if isinstance(step, Entries):
            yield from _step(step, f"{prefix}{number}", pad)


def _step(step: Entries, number: str, pad: str) -> Iterator[str]:
    keys = {key.value: value for key, value in step}
    verbs = [name for name in keys if name in BY_VERB]
    if len(verbs) > 1 and "for_each" in verbs:
        verbs.remove("for_each")
    verb = verbs[0] if verbs else ""
    lead = []
    if "for_each" in keys and verb != "for_each":
        lead.append(f"for each {flow_text(keys['for_each'])}")
    if "when" in keys:
        lead.append(f"where {flow_text(keys['when'])}")
    head = f"{pad}{number}. {', '.join(lead)}{': ' if lead else ''}"
    match verb:
        case "choose":
            yield f"{head}the first of these that holds:"
            yield from _branches(keys, number, pad)
        case "for_each":
            yield f"{head}for each {flow_text(keys['for_each'])}:"
            yield from _inner(keys.get("do"), f"{pad}   ", f"{number}.")
        case _:
            row = BY_VERB.get(verb)
            value = "" if verb not in keys else flow_text(keys[verb])
            beside = (
                [f"{name}: {flow_text(keys[name])}" for name in row.beside if name in keys]
                if row
                else []
            )
            meaning = f"  ({row.meaning})" if row else ""
            yield f"{head}{' '.join([verb, value, *beside])}{meaning}"


def _branches(keys: Mapping[str, Node], number: str, pad: str) -> Iterator[str]:
    choices = keys["choose"]
    count = 0
    for branch in choices.items if isinstance(choices, Items) else ():
        if not isinstance(branch, Entries):
            continue
        count += 1
        when = branch.get("when")
        yield f"{pad}   where {'' if when is None else flow_text(when)}:"
        yield from _inner(branch.get("do"), f"{pad}     ", f"{number}.{count}.")
    if "otherwise" in keys:
        yield f"{pad}   otherwise:"
        yield from _inner(keys["otherwise"], f"{pad}     ", f"{number}.{count + 1}.")


def _inner(node: Node | None, pad: str, prefix: str) -> Iterator[str]:
    if isinstance(node, Items):
        yield from _steps(node, pad, prefix)


# --- destinations -------------------------------------------------------------------------------


def _destination(
    site: SiteConfig, channel: ChannelConfig, destination: DestinationConfig, body: Entries
) -> Iterator[str]:
    about = f" ({destination.about.rstrip('.')})" if destination.about else ""
    yield f"To {destination.name}{about}: {_target(site, destination)}"
    if not destination.enabled:
        yield "  It is switched off: nothing is planned for it."
    wants = []
    if destination.types:
        wants.append(f"of type {_types(destination.types)}")
    if destination.accept is not None:
        wants.append(f"with {destination.accept.text}")
    yield f"  It gets messages {' and '.join(wants)}." if wants else "  It gets every message."
    steps = body.get("steps")
    if isinstance(steps, Items) and steps.items:
        yield "  On its own copy:"
        yield from _steps(steps, "    ")
    lanes = f", {destination.lanes} at once" if destination.lanes > 1 else ""
    yield f"  Order: {_ORDERS[destination.order]}{lanes}."
    if destination.connection is not None:
        yield from _failures(destination)
    yield from (f"  {line}" for line in _others(body, DESTINATION, _TOLD_OF_DESTINATIONS))


def _target(site: SiteConfig, destination: DestinationConfig) -> str:
    if destination.connection is not None:
        sender = site.senders.get(destination.connection)
        place = "" if sender is None else f" at {sender.host}:{sender.port}"
        return f"over the connection {destination.connection}{place}."
    if destination.files is not None:
        return f"a file for each message in {destination.files.directory}."
    if destination.channel is not None:
        return f"the channel {destination.channel}."
    return "nowhere yet."


def _failures(destination: DestinationConfig) -> Iterator[str]:
    yield f"  {_retry(destination.retry)}"
    reactions: dict[NakReaction, list[str]] = {}
    for code, reaction in sorted(destination.on_nak.items()):
        reactions.setdefault(reaction, []).append(code)
    told = "; ".join(f"{' or '.join(codes)} {_REACTIONS[r]}" for r, codes in reactions.items())
    yield f"  Answered {told}."
    if destination.snapshot:
        listed, why = ", ".join(destination.snapshot), destination.because.rstrip(".")
        left_out = f"; steps leave out some: {why}" if why else ""
        yield f"  It wants every {listed} each time, and deletes what is missing{left_out}."
    if destination.on_in_doubt == "hold":
        yield "  Where no answer comes, the message is held for a person."
    else:
        yield "  Where no answer comes, the same bytes are sent again."
    if destination.ack_timeout_seconds is not None:
        yield f"  An answer is waited for {in_words(destination.ack_timeout_seconds)}."


def _retry(retry: RetryConfig) -> str:
    limits = []
    if retry.refused is not None:
        limits.append(f"{retry.refused} refusals")
    if retry.in_doubt is not None:
        limits.append(f"{retry.in_doubt} attempts without an answer")
    if retry.unreachable_seconds is not None:
        limits.append(f"{in_words(retry.unreachable_seconds)} without a connection")
    ends = f", until {' or '.join(limits)} make a dead letter" if limits else ", without an end"
    return (
        f"Tried again after {in_words(retry.first_seconds)}, each time {retry.factor:g} times as "
        f"long, {in_words(retry.max_seconds)} at most{ends}."
    )


def _ends(channel: ChannelConfig, written: Entries) -> Iterator[str]:
    fate = "goes to the dead letters" if channel.no_match == "dead_letter" else "is filtered"
    yield f"A message that no destination accepts {fate}."
    yield "A step that fails makes a dead letter: the message is kept, and a person looks."
    if channel.expect_every_seconds is not None:
        expect = written.get("expect")
        hours = expect.get("between") if isinstance(expect, Entries) else None
        between = f" between {hours.value}" if isinstance(hours, Text) else ""
        yield (
            f"No message for {in_words(channel.expect_every_seconds)}{between} raises the alarm "
            "of a silent channel."
        )
    tests = written.get("tests")
    count = len(tests.items) if isinstance(tests, Items) else 0
    yield f"It has {count} test{'' if count == 1 else 's'}."


def _others(written: Entries, rows: tuple[Key, ...], told: frozenset[str]) -> Iterator[str]:
    known = {row.name: row for row in rows}
    for key, value in written:
        row = known.get(key.value)
        if row is not None and key.value not in told:
            yield f"{key.value}: {flow_text(value)}  ({row.meaning.rstrip('.')})"
