"""The tally of random histories says what the listing says; faults are named by their ids."""

import random
from collections import Counter
from typing import Any

import pytest

from admin.world import READER, SECOND, START_US, World, adt
from ifengine.admin.request import RequestError
from ifengine.admin.service import VERBS, Service
from ifengine.admin.tally import first_since
from ifengine.store.base import ExceptionState, Fate, InboxKind, NameKind, PlannedFate
from ifengine.store.memory import MemoryStore
from ifengine.store.names import Names
from store.histories import ACTS, History

# safety-rules.md, one list for everything
STATES = (
    "received queued retrying in_doubt parked held dead_letter rejected discarded dropped"
    " filtered unrouted expired sent"
)
NUMBERED = Names(
    [
        (1, NameKind.CHANNEL, "adt"),
        (8, NameKind.CHANNEL, "other"),
        (5, NameKind.DESTINATION, "adt.lab"),
        (6, NameKind.DESTINATION, "adt.pharmacy"),
        (7, NameKind.DESTINATION, "adt.archive"),
        (9, NameKind.DESTINATION, "adt.unmatched"),
        (10, NameKind.DESTINATION, "other.one"),
        *((number, NameKind.OUTBOX, f"outbox {number}") for number in (2, 3, 4, 11)),
    ]
)


async def ask(world: World, verb: str = "tally", **params: object) -> Any:
    return await Service(world).answer(verb, params, READER)


def by_place(answer: Any) -> dict[tuple[str, str], dict[str, int]]:
    return {
        (row["channel"], row["destination"]): row["states"]
        for row in answer["rows"]
        if row["destination"] and row["states"]
    }


@pytest.mark.parametrize("seed", range(8))
async def test_the_listing_and_the_tally_of_a_history_agree(world: World, seed: int) -> None:
    lot = random.Random(seed)
    world.store, world.names = MemoryStore(), NUMBERED
    history = History(world.store, parts=False)
    for _ in range(120):
        act = lot.choice([act for act in ACTS if act is not History.purge])
        act(history, lot.randrange(1000))
        if lot.random() < 0.9:
            continue
        answer = await ask(world)
        assert answer["even"], answer
        listed: Counter[tuple[str, str, str]] = Counter()
        messages: Counter[str] = Counter()
        for record in await ask(world, "messages.list", limit=1000):
            messages[record["state"]] += 1
            for destination in record["destinations"]:
                listed[record["channel"], destination["name"], destination["state"]] += 1
        counted = Counter(
            {
                (channel, name, state): count
                for (channel, name), states in by_place(answer).items()
                for state, count in states.items()
            }
        )
        assert counted == listed
        received = sum(row["states"].get("received", 0) for row in answer["rows"])
        assert received == messages["received"]


async def test_a_state_named_anywhere_is_one_of_the_list(world: World) -> None:
    states = {fate.name.lower() for fate in Fate}
    assert states == set(STATES.split())
    for number, kind in enumerate(InboxKind, 1):
        world.receive(number, adt(f"C{number}"), kind=kind, channel=world.channel)
    answer = await ask(world)
    for row in answer["rows"]:
        assert set(row["states"]) <= states
    (row,) = answer["rows"]
    assert row["states"] == {"received": 1, "rejected": 1, "dropped": 2, "unrouted": 1}
    assert (row["total"], row["planned"], row["residue"]) == (5, 0, 0)


async def test_a_record_in_two_states_is_named_by_its_ids(world: World) -> None:
    seq = world.dead(7)
    world.plan_to(7)
    world.sent(seq)  # and its exception is left
    answer = await ask(world, verify=True)
    assert not answer["even"]
    (fault,) = [one for one in answer["named"] if "ended" in one["what"]]
    assert (fault["id"], fault["channel"], fault["destination"]) == ("7", "adt", "lab")
    assert "named" not in await ask(world)


async def test_only_what_came_since_counts_and_a_channel_that_is_none_is_refused(
    world: World,
) -> None:
    for inbox_id in range(1, 30):
        world.receive(inbox_id, adt(f"C{inbox_id}"))
    answer = await ask(world, since_us=START_US + 20 * SECOND)
    assert answer["rows"][0]["total"] == 10
    assert answer["since"] == "2026-01-05T10:00:20.000Z"
    for since in range(32):
        first = first_since(world.store.reader().tally(), START_US + since * SECOND)
        assert first == min(max(since, 1), 30)
    with pytest.raises(RequestError):
        await ask(world, channel="nobody")
    assert VERBS["tally"].params == {"channel", "since_us", "verify"}


async def test_what_waits_behind_a_dead_letter_counts_as_held(world: World) -> None:
    fates: list[PlannedFate] = []
    for inbox_id in (1, 2):
        world.receive(inbox_id, adt(f"C{inbox_id}"))
        fates.append(world.queue(inbox_id, keys=b"aaaaaaaa", ordered=True))
        world.plan(inbox_id, fates[-1])
        world.plan_to(inbox_id)
    world.stuck(fates[0].seq)
    world.stuck(fates[1].seq, ExceptionState.BEHIND)
    states = by_place(await ask(world))
    assert states == {("adt", "lab"): {"dead_letter": 1, "held": 1}}


@pytest.mark.parametrize("verb", ["tally", "messages.list", "dlq.replay"])
async def test_a_time_beyond_the_calendar_is_a_mistake_of_who_asks(world: World, verb: str) -> None:
    world.dead(1)
    reason = {"reason": "try"} if verb == "dlq.replay" else {}
    with pytest.raises(RequestError, match="beyond the calendar") as refused:
        await ask(world, verb, since_us=253_402_300_800_000_000, **reason)
    assert refused.value.reason_code == "usage"
