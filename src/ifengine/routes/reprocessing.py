"""A dead or held delivery through the rules of today."""

from ifengine.hl7.message import Message
from ifengine.routes.channel import MessageContext, Plan
from ifengine.routes.collecting import ContentsNeededError
from ifengine.routes.letters import FoundLetter
from ifengine.routes.members import ReadCollection, read_for
from ifengine.routes.parts import Parts
from ifengine.routes.pipeline import Pipeline
from ifengine.routes.received import Received
from ifengine.routes.splitting import part_number
from ifengine.transforms.base import CallNeededError
from ifengine.transforms.memory import Reply


async def process_again(
    parts: Parts,
    item: FoundLetter,
    pipeline: Pipeline,
    name: str,
    *,
    dry_run: bool,
    released: bool,
) -> Plan:
    """Run a channel over a message again: what it would remember is not (safety-rules.md 27).

    Only a number that it draws for the first time is: no other message may get it.
    """
    inbox_id = item.delivery.inbox_id
    part = part_number(item.delivery.part)
    replies: dict[int, Reply] = {}
    members: dict[int, Received] = {}
    while True:
        memory = None
        if parts.memories is not None:
            at_us = parts.steady.of(inbox_id, item.received_us)
            memory = parts.memories.scratch(inbox_id, at_us, is_replay=True)
        context = MessageContext(
            str(inbox_id), item.received_us, memory, replies, released=released,
            alike=parts.retired.alike if parts.retired else None,
            onward=parts.retired.onward if parts.retired else None,
            collection=ReadCollection(inbox_id, members, pipeline.charset_of),
        )  # fmt: skip
        message = Message.parse(item.content, charset=pipeline.charset)
        try:
            decision = pipeline.channel.process(message, context, only=name, part=part)
        except CallNeededError as needed:
            replies[needed.call.number] = await parts.call(needed.call)
            continue
        except ContentsNeededError as missing:
            members.update(await read_for(parts, missing.inbox_ids))
            continue
        if decision.changes and parts.memories is not None and not dry_run:
            # in this turn of the loop: nobody else draws in between
            parts.memories.write(parts.group.batch, decision.changes)
        if decision.documents:
            await parts.keep_documents(decision.documents)
        # a part alone keeps the keys of its letter
        return tuple(p._replace(keys=None) for p in decision.plan) if part else decision.plan
