import json
from typing import Any

import pytest

from admin.world import CANARY, OPERATOR, READER, SECOND, START_US, World, adt, report
from ifengine.admin import replays
from ifengine.admin.masking import MASK
from ifengine.admin.request import RequestError
from ifengine.admin.runtime import DeadLetterRef
from ifengine.admin.service import Service
from ifengine.store.base import ExceptionState


async def ask(world: World, verb: str, **params: object) -> Any:
    return await Service(world).answer(verb, params, READER)


def refs(world: World, *seqs: int) -> tuple[DeadLetterRef, ...]:
    return tuple(DeadLetterRef(world.outbox, seq) for seq in seqs)


async def test_groups_are_by_place_and_reason_and_numbered_by_when_they_began(
    world: World,
) -> None:
    world.dead(1, since=50)
    world.dead(2, since=20, reason="no answer (timeout)")
    world.dead(3, since=40)
    assert await ask(world, "dlq.list") == [
        {
            "group": 1,
            "count": 1,
            "channel": "adt",
            "destination": "lab",
            "state": "dead_letter",
            "reason": "no answer (timeout)",
            "first": "2026-01-05T10:00:20.000Z",
            "last": "2026-01-05T10:00:20.000Z",
            "held_behind": 0,
            "merged_since": 0,
            "messages": ["2"],
        },
        {
            "group": 2,
            "count": 2,
            "channel": "adt",
            "destination": "lab",
            "state": "dead_letter",
            "reason": "answered AR",
            "first": "2026-01-05T10:00:40.000Z",
            "last": "2026-01-05T10:00:50.000Z",
            "held_behind": 0,
            "merged_since": 0,
            "messages": ["1", "3"],
        },
    ]


async def test_a_filter_does_not_change_the_number_of_a_group(world: World) -> None:
    world.dead(1, since=10)
    world.receive(2, adt("C2"))
    planned = world.queue(2, world.pharmacy)
    world.plan(2, planned)
    world.stuck(planned.seq, since=20)
    (shown,) = await ask(world, "dlq.list", dest="pharmacy")
    assert (shown["group"], shown["messages"]) == (2, ["2"])
    assert await ask(world, "dlq.list", channel="elsewhere") == []


async def test_what_waits_behind_a_dead_letter_is_counted_with_it(world: World) -> None:
    world.receive(1, adt("C1"))
    dead = world.queue(1, keys=b"aaaaaaaa", ordered=True)
    world.plan(1, dead)
    world.stuck(dead.seq)
    for inbox_id, keys in ((2, b"aaaaaaaa"), (3, b"bbbbbbbb"), (4, b"bbbbbbbbaaaaaaaa")):
        world.receive(inbox_id, adt(f"C{inbox_id}"))
        planned = world.queue(inbox_id, keys=keys, ordered=True)
        world.plan(inbox_id, planned)
        world.stuck(planned.seq, ExceptionState.BEHIND)
    (shown,) = await ask(world, "dlq.list")
    assert shown["held_behind"] == 2


async def test_a_discarded_dead_letter_stays_listed_as_discarded(world: World) -> None:
    world.dead(1)
    world.dead(2, reason="no answer (timeout)")
    done = await ask(world, "dlq.discard", ids=["1"], reason="test system")
    assert (done["asked"], done["discarded"], done["gone"]) == (1, 1, 0)
    (left,) = await ask(world, "dlq.list")
    assert left["messages"] == ["2"]
    (gone,) = await ask(world, "dlq.list", state="discarded")
    assert (gone["state"], gone["messages"], gone["reason"]) == ("discarded", ["1"], "answered AR")
    both = await ask(world, "dlq.list", state=["dead_letter", "discarded"])
    assert [(group["group"], group["state"]) for group in both] == [
        (1, "dead_letter"),
        (2, "discarded"),
    ]
    (message,) = await ask(world, "messages.list", state="discarded")
    assert message["id"] == "1"


async def test_show_says_stage_reason_and_attempts_and_the_peer_text_only_with_a_reason(
    world: World,
) -> None:
    seq = world.dead(1)
    (letter,) = await ask(world, "dlq.show", id="1")
    assert letter["letter"] == f"{world.outbox}-{seq}"
    assert (letter["stage"], letter["reason"], letter["code"]) == ("delivery", "answered AR", "AR")
    assert (letter["refusals"], letter["in_doubt"], letter["config_version"]) == (2, 1, 3)
    assert letter["detail"] == MASK
    assert [(a["number"], a["result"]) for a in letter["attempts"]] == [(1, "ar")]
    assert world.audits() == []
    (letter,) = await ask(world, "dlq.show", id="1", phi=True, reason="ticket 4411")
    assert letter["detail"] == CANARY
    assert [act.action for act in world.audits()] == ["dead_letter.viewed"]


async def test_a_message_that_is_no_dead_letter_has_none_to_show(world: World) -> None:
    world.receive(1, adt("C1"))
    with pytest.raises(RequestError, match="not a dead letter"):
        await ask(world, "dlq.show", id="1")


# --- replay ---------------------------------------------------------------------------------------


async def test_a_replay_is_passed_on_as_asked(world: World) -> None:
    first, second = world.dead(1), world.dead(2)
    world.dead(3, reason="no answer (timeout)")
    done = await ask(
        world, "dlq.replay", ids=["2", "1"], **{"as": "stored"}, allow_older=True, reason=" why "
    )
    assert world.replays == [
        {
            "letters": refs(world, first, second),  # the oldest message first
            "how": "stored",
            "allow_older": True,
            "dry_run": False,
            "actor": "tester",
            "reason": "why",
        }
    ]
    assert (done["asked"], done["going"], done["as"], done["config_version"]) == (2, 2, "stored", 3)
    assert done["sample"][0] == {
        "letter": f"{world.outbox}-{first}",
        "id": "1",
        "channel": "adt",
        "destination": "lab",
        "reason": "answered AR",
    }


async def test_reprocess_is_the_default(world: World) -> None:
    world.dead(1)
    await ask(world, "dlq.replay", all=True, reason="why")
    assert world.replays[0]["how"] == "reprocess"
    with pytest.raises(RequestError, match="as: must be"):
        await ask(world, "dlq.replay", all=True, reason="why", **{"as": "edited"})


async def test_a_preview_needs_no_reason_and_its_letters_name_exactly_these(world: World) -> None:
    first = world.dead(1)
    preview = await ask(world, "dlq.replay", group=1, dry_run=True)
    assert world.replays[-1]["dry_run"] is True
    world.dead(2)  # joins the group after the preview
    await ask(world, "dlq.replay", letters=preview["letters"], reason="why")
    assert world.replays[-1]["letters"] == refs(world, first)


async def test_a_letter_that_is_gone_since_the_preview_is_passed_on_to_be_counted(
    world: World,
) -> None:
    seq = world.dead(1)
    await ask(world, "dlq.discard", ids=["1"], reason="why")
    done = await ask(world, "dlq.discard", letters=[f"{world.outbox}-{seq}"], reason="why")
    assert (done["asked"], done["discarded"], done["gone"]) == (1, 0, 1)
    with pytest.raises(RequestError, match="references of a preview"):
        await ask(world, "dlq.discard", letters=["../x"], reason="why")


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"dest": "lab"},
        {"limit": 5},
        {"ids": ["1"], "group": 1},
        {"group": 1, "all": True},
        {"ids": ["1"], "channel": "adt"},
    ],
)
async def test_dead_letters_are_named_in_exactly_one_way(
    world: World, params: dict[str, object]
) -> None:
    world.dead(1)
    for verb in ("dlq.replay", "dlq.discard"):
        with pytest.raises(RequestError, match="in one way"):
            await ask(world, verb, reason="why", **params)
    assert world.replays == []
    assert world.discards == []


async def test_filters_select(world: World) -> None:
    first = world.dead(1, adt("C1", "A08"))
    second = world.dead(2, adt("C2", "A01"))
    third = world.dead(3, adt("C3", "A08"))
    since = START_US + 2 * SECOND
    for params, expected in (
        ({"type": "ADT^A08"}, (first, third)),
        ({"since_us": since}, (second, third)),
        ({"since_us": since, "type": "ADT^A08"}, (third,)),
        ({"until_us": since}, (first,)),
        ({"channel": "adt", "limit": 2}, (first, second)),
        ({"channel": "adt", "dest": "pharmacy"}, ()),
        ({"all": True, "dest": "lab"}, (first, second, third)),
    ):
        await ask(world, "dlq.replay", dry_run=True, **params)
        assert world.replays[-1]["letters"] == refs(world, *expected), params


async def test_an_id_without_a_dead_letter_is_said_before_anything_happens(world: World) -> None:
    world.dead(1)
    world.receive(2, adt("C2"))
    with pytest.raises(RequestError, match="1 of 2 messages have no dead letter"):
        await ask(world, "dlq.replay", ids=["1", "2"], reason="why")
    with pytest.raises(RequestError, match="no such group"):
        await ask(world, "dlq.replay", group=2, reason="why")
    assert world.replays == []


async def test_a_held_delivery_is_let_go_by_its_id_and_not_by_a_filter(world: World) -> None:
    world.receive(1, adt("C1"))
    planned = world.queue(1)
    world.plan(1, planned)
    world.stuck(planned.seq, ExceptionState.HELD)
    await ask(world, "dlq.replay", ids=["1"], reason="the receiver says it has nothing")
    assert world.replays[-1]["letters"] == refs(world, planned.seq)
    await ask(world, "dlq.replay", all=True, reason="why")
    assert world.replays[-1]["letters"] == ()


async def test_what_stays_behind_is_counted_by_why(world: World) -> None:
    seqs = [world.dead(i, adt(f"C{i}", "A40" if i == 2 else "A01")) for i in range(1, 7)]
    one, merge, keyless, older, gone, filtered = refs(world, *seqs)
    world.report = lambda letters: report(
        going=[one],
        unordered=[merge, keyless],
        older=[older],
        gone=[gone],
        filtered=[filtered],
    )
    done = await ask(world, "dlq.replay", all=True, reason="why")
    counts = {name: done[name] for name in ("asked", "going", "older", "unordered", "identity")}
    assert counts == {"asked": 6, "going": 1, "older": 1, "unordered": 1, "identity": 1}
    assert (done["gone"], done["filtered"], done["failed_again"]) == (1, 1, 0)
    assert (done["older_messages"], done["identity_messages"]) == (["4"], ["2"])


@pytest.mark.parametrize("verb", ["dlq.replay", "dlq.discard"])
async def test_a_reason_is_required(world: World, verb: str) -> None:
    world.dead(1)
    with pytest.raises(RequestError, match="reason: is required"):
        await ask(world, verb, all=True)


async def test_more_than_the_limit_does_not_go_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "MOST_REPLAYED_AT_ONCE", 2)
    for inbox_id in (1, 2, 3):
        world.dead(inbox_id)
    with pytest.raises(RequestError, match="at most 2 go at once") as raised:
        await ask(world, "dlq.replay", all=True, reason="why")
    assert raised.value.reason_code == "refused"
    await ask(world, "dlq.replay", all=True, dry_run=True)
    await ask(world, "dlq.replay", all=True, limit=2, reason="why")
    assert [len(call["letters"]) for call in world.replays] == [3, 2]


async def test_an_operator_replays_without_reading_content(world: World) -> None:
    world.dead(1)
    answer = await Service(world).answer("dlq.replay", {"all": True, "reason": "why"}, OPERATOR)
    assert CANARY not in json.dumps(answer)
