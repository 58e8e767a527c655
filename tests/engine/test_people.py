"""Pausing and resuming channels while messages come."""

import pytest

from engine.support import Receiver, Running, Site, adt, metric, running, sender, until
from ifengine.admin.client import CallError, UsageCallError


async def state_of(engine: Running, control: str) -> dict[str, str]:
    return (await engine.states()).get(control, {})


async def test_a_paused_channel_takes_messages_and_sends_none_until_it_is_resumed(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M0")) == "AA"
        await until(lambda: lab.ids == ["M0"])
        await engine.ask("channels.pause", name="adt", reason="upgrade")
        for number in range(1, 6):
            assert await his.send(adt(f"M{number}")) == "AA"
        (channel,) = await engine.ask("channels.list")
        assert channel["state"] == "paused"
        assert "upgrade" in channel["note"]
        text = (await engine.ask("metrics"))["text"]
        assert metric(text, "ifengine_channel_state", channel="adt", state="paused") == 1
        assert metric(text, "ifengine_channel_state", channel="adt", state="running") == 0
        assert lab.ids == ["M0"]
        await engine.ask("channels.resume", name="adt")
        await until(lambda: lab.ids == [f"M{n}" for n in range(6)])
        (channel,) = await engine.ask("channels.list")
        assert channel["state"] == "running"
        assert not channel["note"]


async def test_a_pause_stops_what_is_queued_and_leaves_the_other_channel_alone(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.receivers["ward"] = ward
    site.write()
    first = (site.folder / "channels" / "adt.yaml").read_text()
    head, _, _ = first.partition("to:\n")
    (site.folder / "channels" / "adt.yaml").write_text(
        head.replace("order_by", "types: [ADT^A01]\nignore_types: {identity: t}\norder_by")
        + "to:\n  lab: {connection: to-lab}\n"
    )
    (site.folder / "channels" / "other.yaml").write_text(
        head.replace("channel: adt", "channel: other").replace(
            "order_by", "types: [ADT^A08]\nignore_types: {identity: t}\norder_by"
        )
        + "to:\n  ward: {connection: to-ward}\n"
    )
    site.write = lambda: None  # type: ignore[method-assign]
    async with running(site) as engine, sender(site) as his:
        await engine.ask("channels.pause", name="adt", reason="upgrade")
        for number in range(4):
            assert await his.send(adt(f"A{number}")) == "AA"
            assert await his.send(adt(f"B{number}", event="A08")) == "AA"
        await until(lambda: ward.ids == [f"B{n}" for n in range(4)])
        assert lab.ids == []
        assert await state_of(engine, "A0") in ({}, {"lab": "received"}, {"lab": "queued"})
        await engine.ask("channels.resume", name="adt")
        await until(lambda: lab.ids == [f"A{n}" for n in range(4)])


async def test_a_pause_needs_a_reason_and_a_channel_that_exists(site: Site, lab: Receiver) -> None:
    async with running(site) as engine:
        with pytest.raises(UsageCallError):
            await engine.ask("channels.pause", name="adt")
        with pytest.raises(CallError) as caught:
            await engine.ask("channels.pause", name="nowhere", reason="test")
        assert caught.value.reason_code == "not_found"
        with pytest.raises(CallError) as caught:
            await engine.ask("channels.resume", name="nowhere")
        assert caught.value.reason_code == "not_found"
        (channel,) = await engine.ask("channels.list")
        assert channel["state"] == "running"


async def test_who_paused_and_resumed_stands_in_the_audit(site: Site, lab: Receiver) -> None:
    async with running(site) as engine:
        await engine.ask("channels.pause", name="adt", reason="upgrade of the laboratory")
        await engine.ask("channels.resume", name="adt")
        rows = await engine.engine.watch._parts.read(lambda reader: reader.audit_after(0, 100))
        acts = [(r.action, r.object, r.outcome) for r in rows if r.actor != "engine"]
        assert acts == [("pause", "adt", "done"), ("resume", "adt", "done")]
        assert not any(b"laboratory" in row.detail for row in rows)  # sealed
