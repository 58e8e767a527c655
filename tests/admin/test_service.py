import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from admin.world import OPERATOR, READER, START_US, World, adt
from ifengine.admin import service as module
from ifengine.admin.audits import verified
from ifengine.admin.request import Caller, RequestError, Role
from ifengine.admin.runtime import Listening, OutboxStatus
from ifengine.admin.service import VERBS, Service
from ifengine.store.base import NewAudit

NOBODY = Caller("mallory", frozenset())


async def ask(world: World, verb: str, **params: object) -> Any:
    return await Service(world).answer(verb, params, READER)


def outbox(**fields: Any) -> OutboxStatus:
    values: dict[str, Any] = {
        "channel": "adt", "destination": "lab", "outbox": "lis", "waiting": 0, "held": 0,
        "dead": 0, "oldest_us": 0, "connected": True, "blocked": False,
    }  # fmt: skip
    return OutboxStatus(**(values | fields))


def act(number: int) -> NewAudit:
    return NewAudit(START_US + number, "dlee", "message.viewed", "adt", number, "ok", b"")


# --- the table ------------------------------------------------------------------------------------


def test_every_verb_is_documented_and_every_documented_one_exists() -> None:
    documented = {
        line.split(" ")[0] for line in (module.__doc__ or "").splitlines() if line[:1].isalpha()
    }
    assert set(VERBS) <= documented


@pytest.mark.parametrize("verb", sorted(VERBS))
async def test_no_verb_answers_a_user_without_roles(world: World, verb: str) -> None:
    with pytest.raises(RequestError) as raised:
        await Service(world).answer(verb, {}, NOBODY)
    assert raised.value.reason_code == "refused"
    reader_alone = Caller("reader", frozenset({Role.PHI_READER}))
    with pytest.raises(RequestError):
        await Service(world).answer(verb, {}, reader_alone)


@pytest.mark.parametrize("verb", sorted(VERBS))
async def test_a_parameter_a_verb_does_not_have_is_refused_without_its_value(
    world: World, verb: str
) -> None:
    with pytest.raises(RequestError, match="unknown parameter") as raised:
        await Service(world).answer(verb, {"secret": "CANARY"}, READER)
    assert "CANARY" not in str(raised.value) + raised.value.hint


async def test_an_unknown_verb_names_those_there_are(world: World) -> None:
    with pytest.raises(RequestError, match="no such verb") as raised:
        await ask(world, "engine.stop")
    assert "messages.list" in raised.value.hint


# --- channels -------------------------------------------------------------------------------------


async def test_channels_are_listed_with_their_queues(world: World) -> None:
    world.outboxes = (
        outbox(waiting=3, held=1, dead=2, oldest_us=START_US),
        outbox(destination="pharmacy", connected=False, blocked=True),
    )
    (shown,) = await ask(world, "channels.list")
    assert shown["destinations"][1] == {
        "name": "pharmacy",
        "outbox": "lis",
        "waiting": 0,
        "held": 0,
        "dead": 0,
        "oldest": None,
        "connected": False,
        "blocked": True,
    }
    del shown["destinations"]
    assert shown == {
        "name": "adt",
        "state": "running",
        "note": "",
        "last_received": "2026-01-05T10:00:00.000Z",
        "received_last_hour": 5,
        "unplanned": 1,
        "waiting": 4,  # the one not yet through the steps waits too
        "oldest": "2026-01-05T10:00:00.000Z",
        "parked": 2,
        "parked_since": "2026-01-05T10:00:00.000Z",
        "held": 1,
        "dead": 2,
    }


async def test_a_channel_is_paused_with_a_reason_and_resumed(world: World) -> None:
    with pytest.raises(RequestError, match="reason: is required"):
        await ask(world, "channels.pause", name="adt")
    with pytest.raises(RequestError, match="no channel of this name"):
        await ask(world, "channels.pause", name="adt2", reason="x")
    paused = await ask(world, "channels.pause", name="adt", reason="RIS upgrade")
    assert paused == {"name": "adt", "state": "paused"}
    assert (await ask(world, "channels.list"))[0]["note"] == "paused by tester"
    assert await ask(world, "channels.resume", name="adt") == {"name": "adt", "state": "running"}


async def test_status_and_metrics(world: World) -> None:
    status = await ask(world, "status")
    assert (status["site"], status["ready"], status["config_version"]) == ("mercy", True, 3)
    assert status["listeners"][0]["port"] == 2575
    assert await ask(world, "metrics") == {"text": "ifengine_up 1\n"}


# --- audit ----------------------------------------------------------------------------------------


async def test_a_whole_chain_verifies_and_the_result_is_told(world: World) -> None:
    world.audit(*(act(number) for number in range(2500)))
    told: list[bool] = []
    answer = await Service(world, audit_verified=told.append).answer("audit.verify", {}, READER)
    assert answer == {"ok": True, "records": 2500, "first_bad": None, "problem": ""}
    assert told == [True]


@pytest.mark.parametrize("damage", ["changed", "removed", "cut tail", "no head"])
async def test_a_damaged_log_does_not_verify(world: World, damage: str) -> None:
    world.audit(*(act(number) for number in range(1500)))
    whole = world.store.reader().audit_after(0, 10_000)

    class Damaged(World):
        async def read(self, look: Any) -> Any:
            return look(_DamagedReader(world, damage))

    broken = Damaged(world.folder / "x")
    broken.ring = world.ring
    report = await verified(broken)
    expected = {"changed": 1200, "removed": 1200, "cut tail": 1500, "no head": 1501}[damage]
    assert len(whole) == 1500
    assert report.first_bad == expected
    assert report.problem


class _DamagedReader:
    def __init__(self, world: World, damage: str) -> None:
        self._reader = world.store.reader()
        self._damage = damage

    def audit_after(self, seq: int, limit: int) -> Sequence[Any]:
        rows = self._reader.audit_after(0, 100_000)
        if self._damage == "changed":
            rows = [r._replace(actor="mallory") if r.seq == 1200 else r for r in rows]
        if self._damage == "removed":
            rows = [r for r in rows if r.seq != 1200]
        if self._damage == "cut tail":
            rows = rows[:-1]
        return [r for r in rows if r.seq > seq][:limit]

    def setting(self, key: str) -> str | None:
        return None if self._damage == "no head" else self._reader.setting(key)


async def test_an_empty_log_beside_messages_is_a_missing_log(world: World) -> None:
    assert (await verified(world)).problem == ""
    world.receive(1, adt("C1"))
    assert (await verified(world)).problem == "the audit log is missing"


async def test_keys_status_shows_ages_and_never_a_key(world: World) -> None:
    world.clock.advance(3600)
    shown = await ask(world, "keys.status")
    assert [key["purpose"] for key in shown["keys"]] == ["index", "content"]
    assert {key["age_seconds"] for key in shown["keys"]} == {3600}
    assert set(shown["keys"][0]) == {
        "key_id", "purpose", "kek_id", "created_at", "age_seconds", "seals", "current",
    }  # fmt: skip
    assert shown["kek"].endswith("/keys/kek")


# --- doctor ---------------------------------------------------------------------------------------


def levels(findings: list[dict[str, str]]) -> dict[str, str]:
    return {finding["check"]: finding["level"] for finding in findings}


async def test_a_healthy_engine_has_nothing_but_ok(world: World) -> None:
    world.outboxes = (outbox(),)
    findings = await ask(world, "doctor")
    assert levels(findings) == dict.fromkeys(
        ("configuration", "store", "audit", "disk", "keys", "listeners", "destinations"), "ok"
    )
    assert all(set(finding) == {"level", "check", "text"} for finding in findings)


async def test_each_fault_is_found_by_its_check(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(name: str) -> list[str]:
        return [finding["level"] for finding in await ask(world, "doctor", check=name)]

    world.found_problems = [("fail", "clock", "off by 3 s"), ("odd", "other", "x")]
    assert await check("clock") == ["fail"]
    assert await check("other") == ["fail"]
    object.__setattr__(world.site, "reserve_bytes", 2**60)
    assert await check("disk") == ["fail"]
    object.__setattr__(world.site, "store_path", Path("/nonexistent"))
    assert await check("disk") == ["fail"]
    world.clock.advance(3 * 86_400)
    assert await check("keys") == ["warn"]
    monkeypatch.setattr(World, "listening", lambda self: ())
    assert await check("listeners") == ["fail"]
    paused = Listening(name="adt-in", host="", port=1, tls=False, connections=0, paused=True)
    monkeypatch.setattr(World, "listening", lambda self: [paused])
    assert await check("listeners") == ["fail"]
    for fields, level in (
        ({"blocked": True}, "fail"),
        ({"connected": False, "waiting": 2}, "fail"),
        ({"connected": False}, "ok"),
        ({"dead": 1}, "warn"),
    ):
        world.outboxes = (outbox(**fields),)
        assert await check("destinations") == [level], fields


async def test_an_unknown_check_is_not_found(world: World) -> None:
    with pytest.raises(RequestError, match="no check of this name"):
        await ask(world, "doctor", check="weather")


async def test_every_answer_is_json(world: World) -> None:
    world.dead(1)
    for verb in VERBS:
        if VERBS[verb].params <= {"check", "channel", "dest", "state"}:
            json.dumps(await Service(world).answer(verb, {}, OPERATOR))
