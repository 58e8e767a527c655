"""Finding messages in a running engine, indexed or not yet, and what the search leaves behind."""

from engine.support import Receiver, Running, Site, adt, running, sender, until
from ifengine.store.base import CursorKind


async def controls(engine: Running, **params: object) -> list[str]:
    rows = await engine.ask("messages.list", limit=100, **params)
    return [row["control_id"] for row in rows]


async def indexed_through(engine: Running) -> int:
    return await engine.engine.watch._parts.read(  # type: ignore[no-any-return]
        lambda reader: reader.cursor(CursorKind.INDEXER, 0)
    )


async def is_indexed(engine: Running, count: int) -> bool:
    return await indexed_through(engine) >= count


async def test_a_message_is_found_at_once_and_still_when_it_is_indexed(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        engine.engine.watch._indexing = True  # the index does not come to it yet
        for number in range(6):
            await his.send(adt(f"M{number}", patient=f"P{number % 2}"))
        for wanted in (False, True):
            assert await controls(engine, control_id="M3") == ["M3"]
            assert await controls(engine, patient="p1") == ["M5", "M3", "M1"]
            assert await controls(engine, patient="P0", control_id="M4") == ["M4"]
            assert await controls(engine, patient="P1", control_id="M4") == []
            assert await controls(engine, control_id="m3") == []
            assert await controls(engine, patient="P") == []
            assert await is_indexed(engine, 6) is wanted
            if not wanted:
                engine.engine.watch._indexing = False
                await until(lambda: is_indexed(engine, 6))


async def test_what_is_in_the_index_is_found_after_a_restart(site: Site, lab: Receiver) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", patient="77"))
        await until(lambda: is_indexed(engine, 1))
        await engine.stop()
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M2", patient="77"))
        assert await controls(engine, patient="77") == ["M2", "M1"]


async def test_a_refused_and_an_unrouted_message_are_found_by_their_control_id(
    site: Site, lab: Receiver
) -> None:
    site.head = "order_by: patient\ntypes: [ADT^A01]\nignore_types: {identity: test}"
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("TEST", msh="|T|2.5.1")) == "AR"
        assert await his.send(adt("OTHER", event="A03")) == "AA"
        for control, state in (("TEST", "rejected"), ("OTHER", "unrouted")):
            (row,) = await engine.ask("messages.list", control_id=control)
            assert row["state"] == state
    assert lab.received == []


async def test_a_search_by_patient_stands_in_the_audit_without_the_number(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", patient="CANARY77"))
        assert await controls(engine, patient="CANARY77") == ["M1"]
        rows = await engine.engine.watch._parts.read(lambda reader: reader.audit_after(0, 100))
        acts = [row for row in rows if row.actor != "engine"]
        assert acts, "a search by patient is on record"
        assert not any("CANARY77" in f"{row.object} {row.outcome}" for row in acts)
        assert not any(b"CANARY77" in row.detail for row in acts)
        assert (await engine.ask("audit.verify"))["ok"] is True
