"""Joins the senders that wait for answers with the channels and the outboxes they wait for."""

from collections.abc import Mapping

from ifengine.routes.delivery import Outbox
from ifengine.routes.parts import Parts
from ifengine.routes.pipeline import Pipeline
from ifengine.routes.waiting_found import find_waiting
from ifengine.routes.waiting_senders import WaitingSenders
from ifengine.store.base import NameKind, Reader
from ifengine.transforms.memory import Space


def let_senders_wait(
    parts: Parts,
    pipelines: Mapping[int, Pipeline],
    outboxes: Mapping[int, Outbox],
    senders: dict[int, WaitingSenders],
) -> None:
    """Give every channel that answers by a destination the place where its senders wait.

    To be called at the start and after each reload: who waits already keeps waiting.

    Args:
        parts: of the engine.
        pipelines: by channel number.
        outboxes: by number.
        senders: by channel number; filled.
    """
    memories = parts.memories
    if memories is None:
        return
    for number, pipeline in pipelines.items():
        config = pipeline.channel.config
        waiting = senders.get(number)
        if waiting is None:
            if config.ack is None:
                continue
            waiting = senders[number] = WaitingSenders(parts, memories, number)
        source = 0
        if config.ack is not None:
            source = parts.names.number(NameKind.DESTINATION, f"{config.name}.{config.ack.source}")
        waiting.take_rules(config, source)
        pipeline.senders = waiting
    if senders:
        for outbox in outboxes.values():
            outbox.senders = senders


async def recover_outboxes(
    parts: Parts, outboxes: Mapping[int, Outbox], senders: Mapping[int, WaitingSenders]
) -> None:
    """Find what is unsettled in every outbox. Nothing leaves one before all have found theirs.

    What one destination answers a waiting sender ends or frees deliveries of other outboxes.
    """
    await _restore_waiting(parts, outboxes, senders)
    if parts.answers is not None:
        await parts.answers.recover()
    for outbox in outboxes.values():
        outbox.paused = True
    for outbox in outboxes.values():
        await outbox.recover()
    for outbox in outboxes.values():
        outbox.paused = False
    if parts.answers is not None:
        parts.answers.go()


def ended_clean(outboxes: Mapping[int, Outbox]) -> str:
    """Return what a run that ends in order leaves: 1, and the outboxes that hold suspects.

    What may have been sent before a crash stays suspect until it is settled, over any number of
    ordered stops.
    """
    return " ".join(["1", *(str(n) for n, one in outboxes.items() if one.has_suspects())])


def suspects_of(stop: str | None) -> frozenset[int]:
    """Return the outboxes that :func:`ended_clean` named."""
    return frozenset(int(number) for number in (stop or "").split()[1:])


async def _restore_waiting(
    parts: Parts, outboxes: Mapping[int, Outbox], senders: Mapping[int, WaitingSenders]
) -> None:
    """Take up the messages whose senders waited when the engine stopped, before any is sent."""
    memories = parts.memories
    if memories is None:
        return

    def look(reader: Reader) -> bool:
        return bool(reader.states(Space.WAITING, b"", 1))

    if not await parts.read(look):
        return
    found, stale = await parts.read(lambda reader: find_waiting(reader, memories, outboxes))
    batch = parts.group.batch
    batch.states.extend(stale.states)
    for one in found:
        waiting = senders.get(one.channel)
        if waiting is not None:
            waiting.restore(one)
    parts.group.soon()
