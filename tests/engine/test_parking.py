"""Results before their orders, in a running engine: parked, let go, timed out, restarted, killed."""

import random
from collections import Counter
from typing import Any

import pytest

from engine.support import (
    Receiver,
    Running,
    Site,
    ack,
    adt,
    let_pass,
    metric,
    running,
    sender,
    until,
)
from ifengine.admin.client import CallError
from ifengine.routes.pipeline import Pipeline

ORDERS = """\
types: [ORM^*]
order_by: patient
steps:
  - remember: {fact: order, per: ORC, key: ORC-2.1}
"""
RESULTS = """\
ifengine: 1
channel: results
from: in
types: [ORU^*]
order_by: patient
steps:
  - wait_for: {fact: order, per: OBR, key: OBR-2.1, up_to: UP_TO, then: THEN}
  - {when: $waited_out = yes, set: {MSH-8: LATE}}
to:
  ward:
    connection: to-ward
    retry: {first: 50ms, max: 100ms, jitter: 0}
"""


def results(up_to: str = "30m", then: str = "deliver") -> str:
    return RESULTS.replace("UP_TO", up_to).replace("THEN", then)


@pytest.fixture
def site(site: Site, ward: Receiver) -> Site:
    site.receivers["ward"] = ward
    site.head = ORDERS
    site.facts = "facts: {order: {for: 90d}}\n"
    site.options["lab"] = "retry: {first: 50ms, max: 100ms, jitter: 0}"
    site.options["ward"] = "types: [ADT^A99]\nretry: {first: 50ms, max: 100ms, jitter: 0}"
    site.channels["results"] = results()
    return site


def oru(control: str, *orders: str, patient: str = "700") -> bytes:
    content = adt(control, patient=patient, event="R01", message_type="ORU")
    return content + "".join(f"OBR|{i}|{o}||K\r" for i, o in enumerate(orders, 1)).encode()


def orm(control: str, *orders: str) -> bytes:
    content = adt(control, patient="9", event="O01", message_type="ORM")
    return content + "".join(f"ORC|NW|{order}\rOBR|1|{order}\r" for order in orders).encode()


async def at(engine: Running, control: str, state: str, destination: str = "ward") -> None:
    async def is_so() -> bool:
        return (await engine.states()).get(control, {}).get(destination) == state

    await until(is_so)


async def id_of(engine: Running, control: str) -> str:
    return str((await engine.row(control))["id"])


def pipeline(engine: Running, name: str = "results") -> Pipeline:
    found = engine.engine._built.pipelines.values()
    return next(one for one in found if one.channel.name == name)


def field(content: bytes, number: int) -> bytes:
    return content.split(b"\r")[0].split(b"|")[number - 1]


# --- waiting ----------------------------------------------------------------------------------------


async def test_a_result_waits_for_its_order_and_goes_out_once(site: Site, ward: Receiver) -> None:
    async with running(site) as engine, sender(site) as lab:
        assert await lab.send(oru("R1", "P1")) == "AA"
        await at(engine, "R1", "parked")
        assert ward.ids == []
        await lab.send(orm("O1", "P1"))  # of another channel: the site shares the fact
        await at(engine, "R1", "sent")
        await lab.send(oru("R2", "P1"))
        await at(engine, "R2", "sent")
        await lab.send(orm("O2", "P1"))  # once more: nothing waits for it now
        await at(engine, "O2", "sent", "lab")
        assert ward.ids == ["R1", "R2"]
        assert field(ward.received[0], 8) == b""
        assert len(pipeline(engine).parking) == 0


async def test_a_fact_of_one_channel_is_unknown_to_another(site: Site, ward: Receiver) -> None:
    site.facts = ""
    async with running(site) as engine, sender(site) as lab:
        await lab.send(orm("O1", "P1"))
        await at(engine, "O1", "sent", "lab")
        await lab.send(oru("R1", "P1"))
        await at(engine, "R1", "parked")


async def test_a_result_of_several_orders_waits_for_all_of_them(site: Site, ward: Receiver) -> None:
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "P1", "P2"))
        await at(engine, "R1", "parked")
        await lab.send(orm("O1", "P1"))
        await at(engine, "O1", "sent", "lab")
        await lab.send(oru("R2", "P3"))
        await at(engine, "R2", "parked")
        assert (await engine.states())["R1"] == {"ward": "parked"}
        await lab.send(orm("O2", "P2"))
        await at(engine, "R1", "sent")
        assert (await engine.states())["R2"] == {"ward": "parked"}


async def test_messages_that_wait_for_a_key_leave_in_the_order_in_which_they_came(
    site: Site, ward: Receiver
) -> None:
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "P1", "P2", patient="1"))
        await lab.send(oru("R2", "P1", patient="2"))
        await lab.send(oru("R3", "P2", patient="3"))
        await lab.send(oru("R4", "P1", patient="4"))
        await at(engine, "R4", "parked")
        await lab.send(orm("O1", "P1"))
        await at(engine, "O1", "sent", "lab")
        await lab.send(oru("R5", "P1", patient="5"))  # its order is there, R1 before it is not
        await at(engine, "R5", "parked")
        assert ward.ids == []
        await lab.send(orm("O2", "P2"))
        for control in ("R1", "R2", "R3", "R4", "R5"):
            await at(engine, control, "sent")
        for key in (("R1", "R2", "R4", "R5"), ("R1", "R3")):
            assert [one for one in ward.ids if one in key] == [*key]
        assert Counter(ward.ids).most_common(1)[0][1] == 1


async def test_a_parked_message_holds_no_order_key(site: Site, ward: Receiver) -> None:
    async with running(site) as engine, sender(site) as lab:
        await lab.send(orm("O1", "P2"))
        await at(engine, "O1", "sent", "lab")
        await lab.send(oru("R1", "P1", patient="700"))
        await lab.send(oru("R2", "P2", patient="700"))
        await at(engine, "R2", "sent")
        assert (await engine.states())["R1"] == {"ward": "parked"}


# --- time -------------------------------------------------------------------------------------------


async def test_an_order_that_never_comes_lets_its_result_go_late_and_marked(
    site: Site, ward: Receiver
) -> None:
    site.channels["results"] = results("300ms")
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "P1"))
        await at(engine, "R1", "sent")
        assert field(ward.received[0], 8) == b"LATE"
        await lab.send(orm("O1", "P1"))  # too late: it is gone
        await at(engine, "O1", "sent", "lab")
        assert ward.ids == ["R1"]


async def test_a_result_without_its_order_is_a_dead_letter_where_that_is_said(
    site: Site, ward: Receiver
) -> None:
    site.channels["results"] = results("300ms", "dead_letter")
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "P1"))
        await at(engine, "R1", "dead_letter")
        (group,) = await engine.letters()
        assert group["reason"] == "no order within 300ms"
        assert ward.ids == []


async def test_what_comes_when_the_time_ends_goes_out_once(site: Site, ward: Receiver) -> None:
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "P1"))
        await at(engine, "R1", "parked")
        results_of = pipeline(engine)
        (inbox_id,) = results_of.parking.all_waiting()
        # its order, its time and a person, all before its steps run again
        await engine.ask("channels.pause", name="results", reason="looking at it")
        await lab.send(orm("O1", "P1"))
        await at(engine, "O1", "sent", "lab")
        results_of.tick(1e12)
        await engine.ask("parked.release", ids=[str(inbox_id)], reason="the order is there")
        await engine.ask("channels.resume", name="results")
        await at(engine, "R1", "sent")
        await lab.send(oru("R2", "P1"))
        await at(engine, "R2", "sent")
        assert ward.ids == ["R1", "R2"]
        trace = await engine.ask("messages.trace", id=await id_of(engine, "R1"))
        runs = [event["run"] for event in trace["events"] if event["event"] == "planned"]
        assert runs == [0, 1]


async def test_a_paused_channel_lets_nothing_parked_go_until_it_goes_on(
    site: Site, ward: Receiver
) -> None:
    site.channels["results"] = results("1s")
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "P1"))
        await at(engine, "R1", "parked")
        await engine.ask("channels.pause", name="results", reason="looking at it")
        await lab.send(orm("O1", "P1"))
        await at(engine, "O1", "sent", "lab")
        pipeline(engine).tick(1e12)
        for _ in range(5):
            await engine.ask("status")
        assert (await engine.states())["R1"] == {"ward": "parked"}
        await engine.ask("channels.resume", name="results")
        await at(engine, "R1", "sent")
        assert ward.ids == ["R1"]
        assert field(ward.received[0], 8) == b""  # its order came, whatever the time says


# --- restart ----------------------------------------------------------------------------------------


async def test_facts_and_parked_messages_survive_a_restart(site: Site, ward: Receiver) -> None:
    async with running(site) as engine, sender(site) as lab:
        await lab.send(orm("O1", "P1"))
        await lab.send(oru("R2", "P2", patient="2"))
        await lab.send(oru("R3", "P2", patient="3"))
        await at(engine, "R3", "parked")
        before = await engine.ask("parked.list")
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "P1"))
        await at(engine, "R1", "sent")
        after = await engine.ask("parked.list")
        assert [(one["id"], one["since"], one["until"]) for one in before] == [
            (one["id"], one["since"], one["until"]) for one in after
        ]
        await lab.send(orm("O2", "P2"))
        await at(engine, "R2", "sent")
        await at(engine, "R3", "sent")
    assert ward.ids == ["R1", "R2", "R3"]


async def test_time_goes_on_while_the_engine_is_down(site: Site, ward: Receiver) -> None:
    site.channels["results"] = results("600ms")
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "P1"))
        await at(engine, "R1", "parked")
    until_at = engine.engine._clock.monotonic() + 0.6
    await until(lambda: engine.engine._clock.monotonic() > until_at)
    async with running(site) as engine:
        await at(engine, "R1", "sent")
    assert field(ward.received[0], 8) == b"LATE"


async def test_an_engine_killed_at_any_moment_ends_each_parked_message_once(
    site: Site, ward: Receiver
) -> None:
    dice = random.Random(4)
    sent: list[str] = []
    orders: list[str] = []
    for turn in range(5):
        async with running(site) as engine, sender(site) as lab:
            for n in range(4):
                control = f"R{turn}.{n}"
                assert await lab.send(oru(control, f"P{turn}.{n}", patient=control)) == "AA"
                sent.append(control)
            for n in range(4):
                assert await lab.send(orm(f"O{turn}.{n}", f"P{turn}.{n}")) == "AA"
                orders.append(f"O{turn}.{n}")
                if dice.random() < 0.3:
                    break
            await engine.kill()
    async with running(site) as engine, sender(site) as lab:
        for turn in range(5):
            for n in range(4):
                if f"O{turn}.{n}" not in orders:
                    await lab.send(orm(f"O{turn}.{n}", f"P{turn}.{n}"))
        for control in sent:
            await at(engine, control, "sent")
        for control in sent:
            trace = await engine.ask("messages.trace", id=await id_of(engine, control))
            ends = [e for e in trace["events"] if e["event"] == "sent"]
            plans = [e for e in trace["events"] if e["event"] == "planned"]
            assert len(ends) == 1
            assert 1 <= len(plans) <= 2
            doubtful = any(d["possible_duplicate"] for d in trace["destinations"])
            assert ward.ids.count(control) == 1 or doubtful
    assert set(ward.ids) == set(sent)


# --- people -----------------------------------------------------------------------------------------


async def test_what_is_parked_is_counted_and_listed_with_its_reason_and_its_end(
    site: Site, ward: Receiver
) -> None:
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "CANARY77"))
        await lab.send(oru("R2", "P2"))
        await at(engine, "R2", "parked")
        listed = {one["name"]: one["parked"] for one in await engine.ask("channels.list")}
        assert listed == {"adt": 0, "results": 2}
        rows = await engine.ask("messages.list", state="parked")
        assert [row["control_id"] for row in rows] == ["R2", "R1"]
        assert rows[0]["reason"] == "waiting for order"
        first, second = await engine.ask("parked.list", fact="order", channel="results")
        assert (first["fact"], first["step"]) == ("order", "step 1 wait_for")
        assert first["until"] <= second["until"]
        assert await engine.ask("parked.list", fact="visit") == []
        number = await id_of(engine, "R1")
        shown = await engine.ask("parked.show", id=number)
        assert shown["waits"][0]["detail"] == "••••••"
        assert "CANARY77" not in str([rows, first, second, shown])
        shown = await engine.ask("parked.show", id=number, phi=True, reason="ticket 1")
        assert shown["waits"][0]["detail"] == "waiting for order CANARY77"
        text = str((await engine.ask("metrics"))["text"])
        assert metric(text, "ifengine_parked_messages", channel="results", fact="order") == 2
        await lab.send(orm("O1", "P2"))
        await at(engine, "R2", "sent")
        text = str((await engine.ask("metrics"))["text"])
        assert metric(text, "ifengine_parked_messages", channel="results", fact="order") == 1


async def test_a_person_lets_a_parked_message_go_and_that_is_on_record(
    site: Site, ward: Receiver
) -> None:
    site.channels["results"] = results(then="dead_letter")
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "P1"))
        await lab.send(oru("R2", "P2"))
        await at(engine, "R2", "parked")
        with pytest.raises(CallError, match="reason: is required"):
            await engine.ask("parked.release", ids=[await id_of(engine, "R1")])
        asked: list[Any] = [await id_of(engine, "R1"), "99999"]
        done = await engine.ask("parked.release", ids=asked, reason="the order is on paper")
        assert done == {"going": asked[:1], "gone": ["99999"]}
        await at(engine, "R1", "sent")
        assert field(ward.received[0], 8) == b"LATE"
        trace = await engine.ask("messages.trace", id=asked[0])
        acts = [event for event in trace["events"] if event["event"] == "audit"]
        assert [act["action"] for act in acts] == ["parked.released"]
        done = await engine.ask(
            "parked.expire", ids=[await id_of(engine, "R2")], reason="will never come"
        )
        await at(engine, "R2", "dead_letter")
        assert ward.ids == ["R1"]
        with pytest.raises(CallError, match="not parked"):
            await engine.ask("parked.show", id=asked[0])


async def test_a_purge_leaves_parked_messages_alone(site: Site) -> None:
    async with running(site) as engine, sender(site) as lab:
        await lab.send(oru("R1", "P1"))
        await lab.send(orm("O8", "P8"))
        await lab.send(orm("O9", "P9"))  # the newest always stays
        await at(engine, "R1", "parked")
        await at(engine, "O9", "sent", "lab")
        watch = engine.engine.watch
        let_pass(watch._parts, days=400)
        watch._start_purge()
        await until(lambda: not watch._purging)
        states = await engine.states()
        assert states["R1"] == {"ward": "parked"}
        assert "O8" not in states
        await lab.send(orm("O1", "P1"))
        await at(engine, "R1", "sent")


# --- facts that count once delivered ----------------------------------------------------------------

ONCE_DELIVERED = ORDERS.replace("key: ORC-2.1", "key: ORC-2.1, once: delivered")


async def test_a_fact_that_counts_once_delivered_counts_when_its_message_was_taken(
    site: Site, ward: Receiver, lab: Receiver
) -> None:
    site.head = ONCE_DELIVERED
    await lab.stop()
    async with running(site) as engine, sender(site) as his:
        await his.send(orm("O1", "P1"))
        await his.send(oru("R1", "P1"))
        await at(engine, "R1", "parked")
        assert (await engine.states())["O1"]["lab"] == "queued"
    async with running(site) as engine:  # what is waited for survives a restart
        for _ in range(3):
            await engine.ask("status")
        assert (await engine.states())["R1"] == {"ward": "parked"}
        await lab.start()
        await at(engine, "R1", "sent")
        assert lab.ids == ["O1"]
        assert field(ward.received[0], 8) == b""
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("R2", "P1"))  # and so does the fact
        await at(engine, "R2", "sent")


async def test_a_fact_of_a_message_that_was_refused_counts_when_a_person_has_it_delivered(
    site: Site, ward: Receiver, lab: Receiver
) -> None:
    site.head = ONCE_DELIVERED
    lab.answer = lambda content: ack(content, "AE" if not allowed else "AA")
    allowed: list[bool] = []
    async with running(site) as engine, sender(site) as his:
        await his.send(orm("O1", "P1"))
        await at(engine, "O1", "dead_letter", "lab")
        await his.send(oru("R1", "P1"))
        await at(engine, "R1", "parked")
        allowed.append(True)
        number = await id_of(engine, "O1")
        await engine.ask("dlq.replay", **{"ids": [number], "as": "reprocess", "reason": "fixed"})
        await at(engine, "R1", "sent")
        assert ward.ids == ["R1"]
