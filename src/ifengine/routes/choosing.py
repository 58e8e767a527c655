"""Which destinations of a channel take a message: `types`, `accept`, `follow`, `route`, `otherwise`.

Pure.
"""

from collections.abc import Mapping, Sequence

from ifengine.errors import EngineError
from ifengine.hl7.message import NULL
from ifengine.routes.config.models import ChannelConfig, DestinationConfig, FollowConfig
from ifengine.transforms.base import Reason, StepScope
from ifengine.transforms.memory import Key, Space


def rule(config: ChannelConfig, what: str, line: int) -> Reason:
    """Return a rule of a channel file as a reason."""
    text = f"{what}, {config.file}:{line}"
    return Reason(text, text)


def not_for(
    config: ChannelConfig, destination: DestinationConfig, scope: StepScope
) -> Reason | None:
    """Return the rule by which a destination does not take a message; None: it does."""
    name = destination.name
    if destination.types:
        header = scope.message.header
        code = header.message_code.decode("latin-1")
        event = header.trigger_event.decode("latin-1")
        if not any(pattern.admits(code, event) for pattern in destination.types):
            return rule(config, f"{name} types", destination.line)
    if destination.accept is None or destination.accept.holds(scope):
        return None
    follow = destination.follow
    if follow is not None and scope.memory.get(Space.VISIT, visit_of(follow, name, scope)):
        return None  # the rest of a visit that began here
    return rule(config, f"{name} accept", destination.accept_line)


def visit_of(follow: FollowConfig, destination: str, scope: StepScope) -> Key:
    """Return where it stands that a destination follows a visit."""
    value = follow.key.read(scope.message, scope) or ""
    return (scope.channel, destination, "" if value == NULL else value.strip())


def chooses(config: ChannelConfig, destinations: Sequence[DestinationConfig]) -> bool:
    """Whether one destination of a channel depends on what the others take."""
    return config.route == "first" or any(d.otherwise for d in destinations)


def passed_over(
    config: ChannelConfig, destinations: Sequence[DestinationConfig], scope: StepScope
) -> Mapping[str, Reason]:
    """Return which destinations would take a message, and do not get it, since others take it.

    Args:
        config: the channel.
        destinations: all that are enabled, in the order written, also where one is asked for.
        scope: the message as the channel's steps left it.
    """
    usual = [d for d in destinations if not d.otherwise and _takes(config, d, scope)]
    others = [d for d in destinations if d.otherwise and _takes(config, d, scope)]
    taking, passed = (usual, others) if usual else (others, [])
    if config.route == "first":
        taking, passed = taking[:1], [*taking[1:], *passed]
    if not taking:
        return {}
    taker = taking[0].name
    return {d.name: rule(config, f"{d.name}: {taker} takes it", d.line) for d in passed}


def _takes(config: ChannelConfig, destination: DestinationConfig, scope: StepScope) -> bool:
    try:
        return not_for(config, destination, scope) is None
    except EngineError:
        return True  # it is a dead letter there, for people to see
