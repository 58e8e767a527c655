import base64
import json
from typing import Any

import pytest

from admin.world import CANARY, OPERATOR, READER, SECOND, START_US, World, adt
from ifengine.admin.masking import MASK
from ifengine.admin.request import RequestError
from ifengine.admin.service import Service
from ifengine.store.base import ExceptionState, Fate, InboxKind, NewAudit, PlannedFate

KEY_A, KEY_B = b"aaaaaaaa", b"bbbbbbbb"


async def ask(world: World, verb: str, **params: object) -> Any:
    return await Service(world).answer(verb, params, READER)


async def listed(world: World, **params: object) -> list[Any]:
    found: list[Any] = await ask(world, "messages.list", **params)
    return found


async def states(world: World, **params: object) -> dict[str, str]:
    return {entry["id"]: entry["state"] for entry in await listed(world, **params)}


def deliver(world: World, inbox_id: int, **queue: Any) -> int:
    world.receive(inbox_id, adt(f"C{inbox_id}"))
    planned = world.queue(inbox_id, **queue)
    world.plan(inbox_id, planned)
    return planned.seq


async def test_a_listed_message_has_the_fixed_fields(world: World) -> None:
    world.dead(7)
    (entry,) = await listed(world)
    assert entry == {
        "id": "7",
        "received_at": "2026-01-05T10:00:07.000Z",
        "channel": "adt",
        "type": "ADT^A01",
        "control_id": "C7",
        "patient": MASK,
        "state": "dead_letter",
        "reason": "answered AR",
        "config_version": 3,
        "origin": None,
        "destinations": [
            {
                "name": "lab",
                "state": "dead_letter",
                "attempts": 3,
                "reason": "answered AR",
                "code": "AR",
                "possible_duplicate": True,
            }
        ],
    }


async def test_every_kind_of_record_has_its_state_and_reason(world: World) -> None:
    world.receive(1, adt("C1"))
    world.receive(2, adt("C1"), kind=InboxKind.DUPLICATE, origin=1)
    world.receive(3, b"", kind=InboxKind.DUPLICATE, origin=1)
    world.receive(4, adt("C4"), kind=InboxKind.UNROUTED)
    world.receive(5, adt("C5"), kind=InboxKind.ACKNOWLEDGMENT)
    world.receive(6, b"GET / HTTP/1.1", kind=InboxKind.REJECTED, reason="no_start_block")
    found = {entry["id"]: entry for entry in await listed(world)}
    assert list(found) == ["6", "5", "4", "3", "2", "1"]
    assert {i: (e["state"], e["reason"]) for i, e in found.items()} == {
        "1": ("received", ""),
        "2": ("dropped", "duplicate"),
        "3": ("dropped", "duplicate"),
        "4": ("unrouted", ""),
        "5": ("dropped", "acknowledgment"),
        "6": ("rejected", "no_start_block"),
    }
    # a duplicate keeps no content: its type and id are those of the message it repeats
    assert (found["3"]["type"], found["3"]["control_id"], found["3"]["origin"]) == (
        "ADT^A01",
        "C1",
        "1",
    )
    assert (found["6"]["type"], found["6"]["control_id"], found["6"]["channel"]) == (None,) * 3


async def test_the_state_of_a_message_is_the_one_that_matters_most_to_an_operator(
    world: World,
) -> None:
    world.receive(1, adt("C1"))
    lab, pharmacy = world.queue(1), world.queue(1, world.pharmacy)
    archive = PlannedFate(world.archive, Fate.FILTERED, 0, 0, "accept, channels/adt.yaml:9")
    world.plan(1, lab, pharmacy, archive)
    world.sent(lab.seq)
    assert (await states(world))["1"] == "queued"
    world.stuck(pharmacy.seq)
    assert (await states(world))["1"] == "dead_letter"
    world.write_outcome_superseded(pharmacy.seq, 0)
    world.receive(2, adt("C2"))
    lab = world.queue(2)
    world.plan(2, lab, archive)
    world.sent(lab.seq)
    (entry, _) = await listed(world)
    assert entry["state"] == "sent"  # a destination that it was never for says nothing
    assert [d["state"] for d in entry["destinations"]] == ["sent", "filtered"]
    world.receive(3, adt("C3"))
    lab = world.queue(3)
    world.plan(3, lab, PlannedFate(world.archive, Fate.DROPPED, 0, 0, "duplicate"))
    world.sent(lab.seq, fate=Fate.DISCARDED)
    assert (await states(world))["3"] == "discarded"


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (ExceptionState.RETRYING, "retrying"),
        (ExceptionState.IN_DOUBT, "in_doubt"),
        (ExceptionState.HELD, "held"),
        (ExceptionState.DEAD_LETTER, "dead_letter"),
        (ExceptionState.BEHIND, "queued"),
    ],
)
async def test_an_exception_gives_the_destination_its_state(
    world: World, state: ExceptionState, shown: str
) -> None:
    world.stuck(deliver(world, 1), state)
    assert await states(world) == {"1": shown}
    assert await states(world, state=shown) == {"1": shown}


async def test_what_waits_behind_a_dead_letter_of_its_key_is_held(world: World) -> None:
    dead = deliver(world, 1, keys=KEY_A, ordered=True)
    same = deliver(world, 2, keys=KEY_A + KEY_B, ordered=True)
    through = deliver(world, 3, keys=KEY_B, ordered=True)
    other = deliver(world, 4, keys=b"cccccccc", ordered=True)
    keyless = deliver(world, 5, ordered=True)
    after = deliver(world, 6, keys=b"dddddddd", ordered=True)
    world.stuck(dead)
    for seq in (same, through, other, keyless, after):
        world.stuck(seq, ExceptionState.BEHIND, reason="")
    assert await states(world) == {
        "1": "dead_letter",
        "2": "held",
        "3": "held",  # behind 2, which shares a key with the dead letter
        "4": "queued",
        "5": "held",  # without a key: waits for everything
        "6": "held",  # and holds everything
    }
    assert set(await states(world, state="held")) == {"2", "3", "5", "6"}
    assert set(await states(world, state=["queued"])) == {"4"}


async def test_a_dead_letter_holds_nothing_where_the_destination_skips_dead(world: World) -> None:
    dead = deliver(world, 1, destination=world.pharmacy, keys=KEY_A, ordered=True)
    retrying = deliver(world, 2, destination=world.pharmacy, keys=KEY_A, ordered=True)
    behind = deliver(world, 3, destination=world.pharmacy, keys=KEY_A, ordered=True)
    world.stuck(dead)
    world.stuck(retrying, ExceptionState.RETRYING)
    world.stuck(behind, ExceptionState.BEHIND)
    assert await states(world) == {"1": "dead_letter", "2": "retrying", "3": "queued"}


async def test_a_replay_is_followed_to_where_it_stands(world: World) -> None:
    first = world.dead(1)
    again = world.queue(1, origin_seq=first)
    world.write_outcome_superseded(first, again.seq)
    assert await states(world) == {"1": "queued"}
    world.sent(again.seq)
    (entry,) = await listed(world)
    assert (entry["state"], entry["destinations"][0]["attempts"]) == ("sent", 2)


async def test_the_newest_run_decides_about_a_destination(world: World) -> None:
    world.receive(1, adt("C1"))
    lab, pharmacy = world.queue(1), world.queue(1, world.pharmacy)
    world.plan(1, lab, pharmacy)
    world.stuck(lab.seq)
    world.sent(pharmacy.seq)
    again = world.queue(1, run=1, origin_seq=lab.seq)
    world.plan(1, again, run=1)
    world.write_outcome_superseded(lab.seq, again.seq)
    world.sent(again.seq, fate=Fate.EXPIRED)
    (entry,) = await listed(world)
    assert {d["name"]: d["state"] for d in entry["destinations"]} == {
        "lab": "expired",
        "pharmacy": "sent",
    }


async def test_filters_narrow_and_paging_reaches_every_message_once(world: World) -> None:
    for inbox_id in range(1, 31):
        world.receive(inbox_id, adt(f"C{inbox_id}", "A01" if inbox_id % 2 else "A08"))
    assert len(await listed(world, type="ADT^A08")) == 15
    assert len(await listed(world, type="ADT^*")) == 30
    assert await listed(world, type="ORU^R01") == []
    since = START_US + 10 * SECOND
    found = await listed(world, since_us=since, until_us=since + 5 * SECOND)
    assert [entry["id"] for entry in found] == ["14", "13", "12", "11", "10"]
    assert await listed(world, channel="elsewhere") == []
    assert len(await listed(world, channel="adt")) == 30
    seen: list[str] = []
    before = 0
    while page := await listed(world, limit=7, before=before):
        seen += [entry["id"] for entry in page]
        before = int(page[-1]["id"])
    assert seen == [str(i) for i in range(30, 0, -1)]


async def test_dest_with_state_asks_for_the_state_there(world: World) -> None:
    world.receive(1, adt("C1"))
    lab, pharmacy = world.queue(1), world.queue(1, world.pharmacy)
    world.plan(1, lab, pharmacy)
    world.sent(lab.seq)
    assert await states(world, dest="lab", state="sent") == {"1": "queued"}
    assert await states(world, dest="pharmacy", state="sent") == {}
    assert await states(world, dest="nowhere") == {}


async def test_states_that_are_not_settled_are_found_past_the_cursors(world: World) -> None:
    for inbox_id in range(1, 6):
        world.sent(deliver(world, inbox_id))
    deliver(world, 6)
    world.receive(7, adt("C7"))
    assert await states(world, state="queued") == {"6": "queued"}
    assert await states(world, state="received") == {"7": "received"}
    assert await states(world, state=["queued", "sent"]) == {
        str(i): "sent" if i < 6 else "queued" for i in range(1, 7)
    }


async def test_a_search_finds_what_is_indexed_and_what_is_not_yet(world: World) -> None:
    world.receive(1, adt("SAME", patient="p-1"), indexed=True)
    world.receive(2, adt("OTHER", patient="p-2"), indexed=True)
    world.receive(3, adt("SAME", patient="p-2"))
    assert set(await states(world, control_id="SAME")) == {"1", "3"}
    assert set(await states(world, patient="P-2 ")) == {"2", "3"}
    assert set(await states(world, patient="p-2", control_id="SAME")) == {"3"}
    assert await listed(world, control_id="NOBODY") == []
    assert await listed(world, patient="p-1", state="sent") == []


async def test_a_search_by_patient_is_on_record_without_the_identifier(world: World) -> None:
    world.receive(1, adt("C1", patient="p-1"))
    await listed(world, patient="p-1")
    (act,) = world.audits()
    assert (act.actor, act.action, act.object) == ("tester", "messages.searched", "patient")
    assert "p-1" not in repr(act)


@pytest.mark.parametrize(
    "params",
    [
        {"state": "lost"},
        {"limit": 0},
        {"limit": 2001},
        {"limit": "many"},
        {"since_us": -1},
        {"patient": ["x"]},
        {"nonsense": 1},
    ],
)
async def test_a_wrong_parameter_is_said_without_its_value(
    world: World, params: dict[str, object]
) -> None:
    with pytest.raises(RequestError) as raised:
        await ask(world, "messages.list", **params)
    assert raised.value.reason_code == "usage"
    for value in params.values():
        assert f" {value} " not in f" {raised.value} "


# --- masking --------------------------------------------------------------------------------------


async def test_nothing_masked_holds_a_value(world: World) -> None:
    world.receive(1, adt("C1"))
    changed, same = world.queue(1, copy=adt("C1")), world.queue(1, world.pharmacy)
    file = world.queue(1, world.archive, copy=f"{CANARY}.hl7\0".encode() + adt("C1"))
    world.plan(1, changed, same, file)
    world.stuck(changed.seq)
    world.receive(2, CANARY.encode(), kind=InboxKind.REJECTED, reason="no_start_block")
    world.receive(3, adt("C3").replace(b"ADT^A01", CANARY.encode()), kind=InboxKind.UNROUTED)
    world.audit(NewAudit(START_US, "dlee", "message.viewed", "adt", 1, "ok", b"sealed"))
    answers = [
        await ask(world, "messages.list"),
        *[await ask(world, "messages.show", id=str(i)) for i in (1, 2, 3)],
        *[await ask(world, "messages.trace", id=str(i)) for i in (1, 2, 3)],
        await ask(world, "dlq.list"),
        await ask(world, "dlq.show", id="1"),
        await ask(world, "doctor"),
        await ask(world, "keys.status"),
    ]
    assert CANARY not in json.dumps(answers)
    assert "700123" not in json.dumps(answers)


async def test_the_masked_view_shows_structure(world: World) -> None:
    world.receive(1, adt("C1"))
    shown = await ask(world, "messages.show", id="1")
    assert shown["readable"] is True
    assert shown["phi"] is False
    assert "raw_base64" not in shown
    segments = {segment["segment"]: segment["fields"] for segment in shown["segments"]}
    assert set(segments) <= {"MSH", "EVN", "PID", "ZPI", "???"}
    pid = {field["path"]: field for field in segments["PID"]}
    assert set(pid) == {"PID-1", "PID-2", "PID-3", "PID-5", "PID-7", "PID-8"}
    assert pid["PID-3"] == {"path": "PID-3", "value": MASK, "repetitions": 2}
    assert {field["value"] for fields in segments.values() for field in fields} == {MASK}


async def test_content_is_shown_with_a_reason_and_on_record_before(world: World) -> None:
    world.receive(1, adt("C1"))
    planned = world.queue(1, copy=adt("C1", patient="CHANGED"))
    file = world.queue(1, world.archive, copy=b"name.hl7\0" + adt("C1", patient="FILED"))
    world.plan(1, planned, file)
    shown = await ask(world, "messages.show", id="1", phi=True, reason="ticket 4411")
    assert base64.b64decode(shown["raw_base64"]) == adt("C1")
    values = {f["path"]: f["value"] for s in shown["segments"] for f in s["fields"]}
    assert values["PID-7"] == CANARY
    lab, archive = shown["as_sent"]
    assert (lab["destination"], lab["changed"]) == ("lab", True)
    assert base64.b64decode(lab["raw_base64"]) == adt("C1", patient="CHANGED")
    assert base64.b64decode(archive["raw_base64"]) == adt("C1", patient="FILED")
    (act,) = world.audits()
    assert (act.actor, act.action, act.inbox_id) == ("tester", "message.viewed", 1)
    assert b"ticket" not in act.detail
    traced = await ask(world, "messages.trace", id="1", phi=True, reason="again")
    assert "ticket 4411" in json.dumps(traced)


async def test_content_that_was_not_put_on_record_is_not_shown(world: World) -> None:
    world.receive(1, adt("C1"))
    world.store.fail_next_commit = True
    with pytest.raises(AssertionError):  # of the fake's commit
        await ask(world, "messages.show", id="1", phi=True, reason="ticket")


async def test_content_needs_a_reason_and_a_reader(world: World) -> None:
    world.receive(1, adt("C1"))
    for verb in ("messages.show", "messages.trace"):
        with pytest.raises(RequestError, match="reason: is required"):
            await ask(world, verb, id="1", phi=True, reason="  ")
        with pytest.raises(RequestError, match="may not read content"):
            await Service(world).answer(verb, {"id": "1", "phi": True, "reason": "x"}, OPERATOR)
    assert world.audits() == []


async def test_bytes_that_are_no_message_are_shown_as_bytes_only_to_a_reader(world: World) -> None:
    world.receive(1, b"\xff\xfegarbage", kind=InboxKind.REJECTED, reason="no_start_block")
    masked = await ask(world, "messages.show", id="1")
    assert (masked["readable"], masked["segments"], masked["size"]) == (False, [], 9)
    shown = await ask(world, "messages.show", id="1", phi=True, reason="ticket")
    assert base64.b64decode(shown["raw_base64"]) == b"\xff\xfegarbage"


async def test_bytes_outside_the_character_set_are_shown_escaped(world: World) -> None:
    world.receive(1, adt("C1").replace(b"|P|2.5", b"|P|2.5|\xe9"))
    shown = await ask(world, "messages.show", id="1", phi=True, reason="ticket")
    values = {f["path"]: f["value"] for s in shown["segments"] for f in s["fields"]}
    assert values["MSH-13"] == "\\xe9"
    json.dumps(shown, ensure_ascii=False).encode("utf-8")


async def test_a_damaged_body_is_listed_and_says_so(world: World) -> None:
    world.receive(1, adt("C1"))
    world.ring = World(world.folder / "other").ring  # of another store: nothing opens
    (entry,) = await listed(world)
    assert (entry["type"], entry["control_id"], entry["state"]) == (None, None, "received")
    assert (await ask(world, "messages.show", id="1"))["readable"] is False


async def test_a_trace_tells_everything_in_order(world: World) -> None:
    first = world.dead(1)
    again = world.queue(1, origin_seq=first)
    world.write_outcome_superseded(first, again.seq)
    world.sent(again.seq)
    traced = await ask(world, "messages.trace", id="1")
    told = [event["event"] for event in traced["events"]]
    assert told == ["received", "planned", "sent", "attempt", "replayed"]
    attempt = traced["events"][3]
    assert (attempt["destination"], attempt["result"], attempt["detail"]) == ("lab", "ar", MASK)
    assert attempt["seconds"] == 0.0025
    times = [event["at"] for event in traced["events"]]
    assert times == sorted(times)
    full = await ask(world, "messages.trace", id="1", phi=True, reason="ticket")
    details = [event.get("detail") for event in full["events"] if event["event"] == "attempt"]
    assert details == [CANARY]


@pytest.mark.parametrize("verb", ["messages.show", "messages.trace", "dlq.show"])
async def test_an_unknown_message_is_not_found(world: World, verb: str) -> None:
    with pytest.raises(RequestError) as raised:
        await ask(world, verb, id="99")
    assert raised.value.reason_code == "not_found"
    with pytest.raises(RequestError, match="not a message id"):
        await ask(world, verb, id="PID-3")
