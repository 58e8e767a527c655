"""``channels list``, ``pause``, ``resume``, and the status of the whole engine."""

from ifengine.admin.request import Caller, Params, RequestError
from ifengine.admin.runtime import ChannelStatus, OutboxStatus, Runtime
from ifengine.clock import rfc3339


async def listing(runtime: Runtime, params: Params, caller: Caller) -> list[dict[str, object]]:
    """Answer ``channels.list``."""
    return [_shown(channel) for channel in runtime.channels()]


def _shown(channel: ChannelStatus) -> dict[str, object]:
    outboxes = channel.outboxes
    oldest = [outbox.oldest_us for outbox in outboxes if outbox.oldest_us]
    return {
        "name": channel.name,
        "state": channel.state,
        "note": channel.note,
        "last_received": _time(channel.last_received_us),
        "received_last_hour": channel.received_last_hour,
        "unplanned": channel.unplanned,
        "waiting": channel.unplanned + sum(outbox.waiting for outbox in outboxes),
        "oldest": _time(min(oldest, default=0)),
        "parked": channel.parked,
        "parked_since": _time(channel.parked_since_us),
        "held": sum(outbox.held for outbox in outboxes),
        "dead": sum(outbox.dead for outbox in outboxes),
        "destinations": [_destination(outbox) for outbox in outboxes],
    }


def _destination(outbox: OutboxStatus) -> dict[str, object]:
    return {
        "name": outbox.destination,
        "outbox": outbox.outbox,
        "waiting": outbox.waiting,
        "held": outbox.held,
        "dead": outbox.dead,
        "oldest": _time(outbox.oldest_us),
        "connected": outbox.connected,
        "blocked": outbox.blocked,
    }


def _time(at_us: int) -> str | None:
    return rfc3339(at_us) if at_us else None


async def pause(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``channels.pause``: messages are still received and acknowledged."""
    name = _existing(runtime, params)
    await runtime.pause_channel(name, actor=caller.actor, reason=params.needed("reason"))
    return _state(runtime, name)


async def resume(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``channels.resume``."""
    name = _existing(runtime, params)
    await runtime.resume_channel(name, actor=caller.actor)
    return _state(runtime, name)


def _existing(runtime: Runtime, params: Params) -> str:
    name = params.needed("name")
    if all(channel.name != name for channel in runtime.channels()):
        raise RequestError(
            "not_found", "there is no channel of this name", hint="ifengine channels list"
        )
    return name


def _state(runtime: Runtime, name: str) -> dict[str, object]:
    states = {channel.name: channel.state for channel in runtime.channels()}
    return {"name": name, "state": states.get(name, "stopped")}


async def status(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``status``."""
    ready, in_the_way = runtime.ready()
    return {
        "site": runtime.site.site,
        "environment": runtime.site.environment,
        "config_version": runtime.config_version,
        "started_at": rfc3339(runtime.started_us),
        "live": runtime.live(),
        "ready": ready,
        "in_the_way": in_the_way,
        "listeners": [
            {
                "name": listening.name,
                "host": listening.host,
                "port": listening.port,
                "tls": listening.tls,
                "connections": listening.connections,
                "paused": listening.paused,
            }
            for listening in runtime.listening()
        ],
    }


async def metrics(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``metrics``: the same text as the metrics port."""
    return {"text": runtime.metrics_text().decode("utf-8")}
