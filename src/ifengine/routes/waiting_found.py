"""Which senders waited when the engine stopped: read back from the store at the start."""

import json
from collections.abc import Mapping
from typing import Any

from ifengine.errors import SealError
from ifengine.routes.delivery import Outbox
from ifengine.routes.lanes import EntryState
from ifengine.routes.memory import Memories
from ifengine.routes.outbox_loading import ASIDE, load_one
from ifengine.routes.waiting_senders import Found, Place
from ifengine.store.base import Batch, ExceptionState, Fate, InboxKind, PlanRow, Reader, StateRow
from ifengine.transforms.memory import Space

PAGE = 500

_COUNTED_AS = {
    ExceptionState.DEAD_LETTER: EntryState.DEAD,
    ExceptionState.HELD: EntryState.HELD,
}


def find_waiting(
    reader: Reader, memories: Memories, outboxes: Mapping[int, Outbox]
) -> tuple[list[Found], Batch]:
    """Return the messages whose senders waited, and what is to be forgotten because none did.

    Args:
        reader: of the store.
        memories: opens what is sealed.
        outboxes: by number.
    """
    found: list[Found] = []
    stale = Batch()
    after = b""
    while rows := reader.states(Space.WAITING, after, PAGE):
        after = rows[-1].key
        for row in rows:
            one = _found(reader, memories, outboxes, row)
            if one is None:
                stale.states.append((row.space, row.key))
            else:
                found.append(one)
    found.sort(key=lambda one: one.inbox_id)
    return found, stale


def _found(
    reader: Reader, memories: Memories, outboxes: Mapping[int, Outbox], row: StateRow
) -> Found | None:
    inbox = reader.inbox(row.inbox_id)
    if inbox is None or inbox.kind is not InboxKind.MESSAGE:
        return None  # a repetition: what it repeats is answered
    try:
        value: dict[str, Any] = json.loads(memories.open(row)[1].value)
    except SealError:
        return None  # changed: nothing is believed, and the message goes on as any other
    plans = reader.plans(row.inbox_id)
    made = Found(
        inbox_id=row.inbox_id,
        channel=inbox.channel,
        received_us=inbox.received_us,
        state=str(value["state"]),
        guard_key=bytes.fromhex(value["guard"]),
        claim=None if value["claim"] is None else tuple(value["claim"]),
        is_planned=bool(plans),
    )
    for plan in plans[:1]:
        made.places = _places(reader, outboxes, plan)
    return made


def _places(reader: Reader, outboxes: Mapping[int, Outbox], plan: PlanRow) -> list[Place]:
    places = []
    for fate in plan.fates:
        outbox = outboxes.get(fate.outbox)
        if fate.fate is not Fate.QUEUED or outbox is None:
            continue
        entry = load_one(reader, fate.outbox, fate.seq)
        if entry is None:
            continue  # settled
        exception = reader.exception(fate.outbox, fate.seq)
        state, aside = EntryState.WAITING, False
        if exception is not None:
            state = _COUNTED_AS.get(exception.state, EntryState.WAITING)
            aside = exception.stage == ASIDE
        places.append(Place(outbox, entry, state, aside and state is EntryState.HELD))
    return places
