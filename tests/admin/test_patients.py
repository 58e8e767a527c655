"""What people ask about patients, and decide: masked, one identifier at a time, audited."""

from typing import Any

import pytest

from admin.world import CANARY, OPERATOR, READER, START_US, World
from ifengine.admin.request import RequestError
from ifengine.admin.service import Service
from ifengine.store.sealing import BlobKind
from ifengine.transforms.identity import Identifier, freeze, learn, retire
from ifengine.transforms.memory import Scratch


def mr(number: str, namespace: str = "MERCY") -> Identifier:
    return (namespace, "", "", "MR", number)


A, B, C = mr("A"), mr("B"), mr("C")


async def kept(world: World, *acts: Any) -> None:
    """Let the crosswalk hold what some acts on a memory leave."""
    memory = Scratch(7, START_US, world.memories)
    for act in acts:
        act(memory)
    await world.remember(memory.changes(), lambda batch: None)


def merged(prior: Identifier, survivor: Identifier) -> Any:
    written = ((survivor[4],), ("",), ("",), (survivor[0],), ("MR",))
    return lambda memory: retire(memory, prior, survivor, written)


def frozen(*identifiers: Identifier) -> Any:
    return lambda memory: freeze(memory, identifiers, "a merge reverses another")


async def ask(world: World, verb: str, caller: Any = READER, **params: Any) -> Any:
    return await Service(world).answer(verb, params, caller)


def pid(number: str, authority: str = "MERCY", pid4: str = "") -> bytes:
    return (
        f"MSH|^~\\&|A|B|C|D|20260105||ORU^R01|1|P|2.5\r"
        f"PID|1||{number}^^^{authority}^MR|{pid4}|{CANARY}\r"
    ).encode()


async def test_what_became_of_a_number_is_shown_masked_and_audited(world: World) -> None:
    await kept(world, merged(B, A), merged(C, B), lambda m: learn(m, A, {"PID-5.1": CANARY}))
    (one,) = await ask(world, "patients.show", OPERATOR, number="b ")
    assert one == {
        "identifier": "••••••",
        "retired": True,
        "survivor": "••••••",
        "chain": [{"to": "••••••", "by": "7", "at": "2026-01-05T10:00:00.000Z"}],
        "merged_into_it": ["••••••"],
        "frozen": None,
        "known": {},
    }
    (one,) = await ask(world, "patients.show", OPERATOR, number="A")
    assert one["known"] == {"PID-5.1": "••••••"}
    assert len(one["merged_into_it"]) == 2
    acts = [(row.action, row.object, row.detail) for row in world.audits()]
    assert acts == [("patients.searched", "patient", b"")] * 2


async def test_values_are_shown_for_a_reason_to_who_may_read_them(world: World) -> None:
    await kept(world, merged(B, A), lambda m: learn(m, A, {"PID-5.1": "Fir"}), frozen(A))
    with pytest.raises(RequestError, match="may not read"):
        await ask(world, "patients.show", OPERATOR, number="A", phi=True, reason="x")
    with pytest.raises(RequestError, match="reason"):
        await ask(world, "patients.show", number="A", phi=True)
    (one,) = await ask(world, "patients.show", number="A", phi=True, reason="ticket 1")
    assert (one["identifier"], one["known"]) == ("A^^^MERCY^MR", {"PID-5.1": "Fir"})
    assert one["merged_into_it"] == ["B^^^MERCY^MR"]
    assert one["frozen"] == "a merge reverses another"
    assert world.audits()[-1].action == "patient.viewed"


@pytest.mark.parametrize("number", ["Q", "Q^^^MERCY^MR"])
async def test_a_number_of_which_nothing_is_known_is_not_found(world: World, number: str) -> None:
    with pytest.raises(RequestError, match="nothing is known") as error:
        await ask(world, "patients.show", number=number)
    assert number not in str(error.value)


async def test_a_number_that_is_not_the_sites_is_refused(world: World) -> None:
    with pytest.raises(RequestError, match="not an identifier of the site"):
        await ask(world, "patients.show", number="7^^^OTHER^MR")


async def test_every_authority_under_which_messages_named_a_number_is_looked_at(
    world: World,
) -> None:
    full = ("MERCY", "1.2.3", "ISO", "MR", "B")
    await kept(world, frozen(B, full))
    world.receive(1, pid("B", "MERCY&1.2.3&ISO"), indexed=True)
    found = await ask(world, "patients.show", number="B", phi=True, reason="x")
    assert {one["identifier"] for one in found} == {"B^^^MERCY^MR", "B^^^MERCY&1.2.3&ISO^MR"}
    with pytest.raises(RequestError, match="2 identifiers with this number") as error:
        await ask(world, "patients.resolve", number="B", reason="x")
    assert "NUMBER^^^AUTHORITY^TYPE" in error.value.hint
    await ask(world, "patients.resolve", number="B^^^MERCY&1.2.3&ISO^MR", reason="x")
    await ask(world, "patients.resolve", number="B", reason="x")


async def test_frozen_numbers_are_listed_and_nothing_else_ever_is(world: World) -> None:
    await kept(world, frozen(A, B), merged(C, A))
    with pytest.raises(RequestError, match="only frozen"):
        await ask(world, "patients.list")
    rows = await ask(world, "patients.list", OPERATOR, frozen=True)
    assert [row["identifier"] for row in rows] == ["••••••"] * 2
    assert world.audits() == []
    rows = await ask(world, "patients.list", frozen=True, phi=True, reason="x")
    assert {row["identifier"] for row in rows} == {"A^^^MERCY^MR", "B^^^MERCY^MR"}
    assert [row.action for row in world.audits()] == ["patient.viewed"]


async def test_a_decision_needs_a_reason_and_its_record_seals_who_it_was_about(
    world: World,
) -> None:
    await kept(world, frozen(A))
    with pytest.raises(RequestError, match="reason"):
        await ask(world, "patients.resolve", number="A")
    report = await ask(world, "patients.resolve", number="A", reason="asked the ward")
    assert report == {"resolved": True, "was": "a merge reverses another"}
    (act,) = world.audits()
    assert (act.action, act.object, act.outcome) == ("patient.resolved", "patient", "done")
    detail = world.ring.open(BlobKind.AUDIT, act.at_us, act.inbox_id, act.detail)
    assert detail == b"A^^^MERCY^MR: asked the ward"
    with pytest.raises(RequestError, match="is not frozen"):
        await ask(world, "patients.resolve", number="A", reason="again")


async def test_a_person_writes_a_merge_that_no_message_could(world: World) -> None:
    world.receive(9, pid("B"))
    params = {"number": "B", "survivor": "A^^^MERCY&1.2&ISO^MR", "reason": "by phone"}
    assert await ask(world, "patients.merge", **params) == {"merged": True}
    assert await ask(world, "patients.merge", **params) == {"merged": False}
    (one,) = await ask(world, "patients.show", number="B", phi=True, reason="x")
    assert one["survivor"] == "A^^^MERCY&1.2&ISO^MR"
    assert one["chain"][0]["by"] == "9"  # later than every message that is there
    assert [act.action for act in world.audits()][:1] == ["patient.merged"]


async def test_a_persons_merge_that_contradicts_is_refused_and_freezes_nothing(
    world: World,
) -> None:
    await kept(world, merged(B, A))
    with pytest.raises(RequestError, match="reverses another"):
        await ask(world, "patients.merge", number="A", survivor="B", reason="x")
    with pytest.raises(RequestError, match="is the same"):
        await ask(world, "patients.merge", number="A", survivor="a", reason="x")
    assert await ask(world, "patients.list", frozen=True) == []


async def test_what_went_through_a_merge_is_read_from_what_was_sent(world: World) -> None:
    await kept(world, merged(B, A), merged(C, B))
    cases: dict[int, tuple[bytes, bytes | None]] = {
        1: (pid("B"), pid("A", pid4="B^^^MERCY^MR")),  # rewritten
        2: (pid("C"), pid("A")),  # through another merge and this one
        3: (pid("B"), None),  # sent as it came
        4: (pid("B"), pid("B") + b"NTE|1\r"),  # changed elsewhere
        5: (pid("A"), pid("A") + b"NTE|1\r"),  # the survivor's own
        6: (pid("B", "OTHER"), pid("A", "OTHER")),  # another's number
    }
    for number, (received, sent) in cases.items():
        world.receive(number, received, indexed=True)
        planned = world.queue(number, copy=sent)
        world.plan(number, planned)
        world.sent(planned.seq)
    preview = await ask(world, "patients.unmerge", number="B", dry_run=True)
    assert [(row["id"], row["destination"], row["state"]) for row in preview["messages"]] == [
        ("1", "lab", "sent"), ("2", "lab", "sent"),
    ]  # fmt: skip
    assert (preview["removed"], preview["by"]) == (False, "7")
    assert CANARY not in repr(preview)
    assert world.audits() == []
    only = await ask(world, "patients.unmerge", number="C", reason="x")
    assert [row["id"] for row in only["messages"]] == ["2"]
    report = await ask(world, "patients.unmerge", number="B", reason="two people")
    assert report["removed"]
    with pytest.raises(RequestError, match="is not retired"):
        await ask(world, "patients.unmerge", number="B", reason="again")
    assert world.audits()[-1].inbox_id == 7


async def test_files_are_looked_into_behind_their_name(world: World) -> None:
    await kept(world, merged(B, A))
    world.receive(1, pid("B"), indexed=True)
    planned = world.queue(1, world.archive, copy=b"1.hl7\0" + pid("A"))
    world.plan(1, planned)
    preview = await ask(world, "patients.unmerge", number="B", dry_run=True)
    assert [row["destination"] for row in preview["messages"]] == ["archive"]


async def test_dead_letters_of_a_merged_patient_are_flagged(world: World) -> None:
    world.dead(3, pid("B"))
    world.dead(4, pid("Q"))
    world.dead(5, b"no message")
    assert [group["merged_since"] for group in await ask(world, "dlq.list")] == [0]
    await kept(world, merged(B, A))  # by message 7
    assert [group["merged_since"] for group in await ask(world, "dlq.list")] == [1]
    flags = [(await ask(world, "dlq.show", id=str(n)))[0]["merged_since"] for n in (3, 4)]
    assert flags == [True, False]


async def test_a_site_that_does_not_say_who_is_one_patient_has_nothing_to_decide(
    world: World,
) -> None:
    world.retired.identity = None
    with pytest.raises(RequestError, match="does not say who is one patient"):
        await ask(world, "patients.show", number="A")
