"""Merges in a running engine: the barrier, late merges, contradictions, and taking one back."""

from typing import Any

import pytest

from engine.support import Receiver, Running, Site, ack, adt, running, sender, until
from ifengine.admin.client import CallError
from ifengine.routes.pipeline import Pipeline

HEAD = """\
types: [ADT^*]
order_by: patient
steps:
  - when: MSH-9.2 in [A40, A34]
    merge_patient: {keep: PID-3, retire: MRG-1}
"""
RESULTS = """\
ifengine: 1
channel: results
from: in
types: [ORU^*, ORM^*]
order_by: patient
steps:
  - resolve_patient: {in: PID-3(where .5 = MR), keep_old_in: PID-4}
"""
WAITING = """\
  - when: MSH-9.1 = ORM
    remember: {fact: order, per: ORC, key: ORC-2.1}
  - when: MSH-9.1 = ORU
    wait_for: {fact: order, per: OBR, key: OBR-2.1, up_to: 30m}
"""
TO_WARD = """\
to:
  ward:
    connection: to-ward
    types: [ORU^*]
    retry: {first: 50ms, max: 100ms, jitter: 0}
"""


@pytest.fixture
def site(site: Site, ward: Receiver) -> Site:
    site.receivers["ward"] = ward
    site.head = HEAD
    site.options["lab"] = "retry: {first: 50ms, max: 100ms, jitter: 0}"
    site.options["ward"] = "types: [ADT^A99]\nretry: {first: 50ms, max: 100ms, jitter: 0}"
    site.channels["results"] = RESULTS + TO_WARD
    return site


def a40(control: str, keep: str, prior: str) -> bytes:
    return adt(control, patient=keep, event="A40", extra=f"MRG|{prior}^^^RIVER^MR\r")


def oru(control: str, patient: str, order: str = "P1", name: str = "Sample^Sam") -> bytes:
    content = adt(control, patient=patient, event="R01", message_type="ORU")
    return content.replace(b"Sample^Sam", name.encode()) + f"OBR|1|{order}||K\r".encode()


def orm(control: str, order: str = "P1") -> bytes:
    content = adt(control, patient="Z", event="O01", message_type="ORM")
    return content + f"ORC|NW|{order}\r".encode()


def patients_at(receiver: Receiver) -> dict[str, str]:
    """Return control id -> PID-3.1 of what a receiver got."""
    found = {}
    for content in receiver.received:
        pid = next(line for line in content.split(b"\r") if line.startswith(b"PID"))
        found[content.split(b"|")[9].decode()] = pid.split(b"|")[3].split(b"^")[0].decode()
    return found


async def at(engine: Running, control: str, destination: str, state: str) -> None:
    async def is_so() -> bool:
        return (await engine.states()).get(control, {}).get(destination) == state

    await until(is_so)


def pipeline(engine: Running, name: str) -> Pipeline:
    found = engine.engine._built.pipelines.values()
    return next(one for one in found if one.channel.name == name)


async def test_a_result_under_a_retired_number_goes_out_under_the_survivors(
    site: Site, ward: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(a40("M1", "A", "B"))
        await his.send(a40("M2", "C", "A"))
        await his.send(oru("R1", "B"))
        await at(engine, "R1", "ward", "sent")
    async with running(site) as engine, sender(site) as his:  # and after a restart
        await his.send(oru("R2", "A"))
        await at(engine, "R2", "ward", "sent")
    assert patients_at(ward) == {"R1": "C", "R2": "C"}
    assert b"|C^^^RIVER^MR|B^^^RIVER^MR|" in ward.received[0]


async def test_a_result_waits_until_every_earlier_merge_of_another_channel_is_planned(
    site: Site, ward: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        merging, results = pipeline(engine, "adt"), pipeline(engine, "results")
        merging._calling = True  # as while another process works for it
        await his.send(oru("R0", "B"))
        await at(engine, "R0", "ward", "sent")  # received before the merge: waits for nothing
        await his.send(a40("M1", "A", "B"))
        await his.send(oru("R1", "B"))
        for _ in range(5):
            await engine.ask("status")
        assert results.unplanned == 1
        merging._calling = False
        merging.resume()
        await at(engine, "R1", "ward", "sent")
    assert patients_at(ward) == {"R0": "B", "R1": "A"}


async def test_a_paused_channel_that_merges_holds_no_result(site: Site, ward: Receiver) -> None:
    async with running(site) as engine, sender(site) as his:
        pipeline(engine, "adt")._calling = True
        await his.send(a40("M1", "A", "B"))
        await his.send(oru("R1", "B"))
        for _ in range(3):
            await engine.ask("status")
        assert ward.ids == []
        await engine.ask("channels.pause", name="adt", reason="looking at it")
        await at(engine, "R1", "ward", "sent")
    assert patients_at(ward) == {"R1": "B"}


async def test_a_late_merge_catches_up_with_a_parked_result(site: Site, ward: Receiver) -> None:
    site.channels["results"] = RESULTS + WAITING + TO_WARD
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("R1", "B"))
        await at(engine, "R1", "ward", "parked")
        await his.send(a40("M1", "A", "B"))
        await his.send(orm("O1"))
        await at(engine, "R1", "ward", "sent")
    assert patients_at(ward) == {"R1": "A"}


async def test_a_parked_result_of_a_merged_patient_starts_over_when_the_merge_is_planned(
    site: Site, ward: Receiver
) -> None:
    site.channels["results"] = RESULTS + WAITING + TO_WARD
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("R1", "B", name="Other^Sam"))
        await his.send(oru("R2", "X", name="Other^Sam"))
        await at(engine, "R2", "ward", "parked")
        await his.send(a40("M1", "A", "B"))  # the survivor is called otherwise
        await at(engine, "R1", "ward", "held")
        await at(engine, "R2", "ward", "parked")


async def test_a_dead_merge_holds_both_patients_and_nobody_else(site: Site, lab: Receiver) -> None:
    lab.answer = lambda content: ack(content, "AE" if b"|M1|" in content else "AA")
    async with running(site) as engine, sender(site) as his:
        await his.send(a40("M1", "A", "B"))
        await at(engine, "M1", "lab", "dead_letter")
        for control, patient in (("KEEP", "A"), ("PRIOR", "B"), ("OTHER", "X")):
            await his.send(adt(control, patient=patient, event="A08"))
        await at(engine, "OTHER", "lab", "sent")
        await at(engine, "KEEP", "lab", "held")
        await at(engine, "PRIOR", "lab", "held")
        lab.answer = ack
        await replay(engine, "M1")
        await at(engine, "PRIOR", "lab", "sent")
        await at(engine, "KEEP", "lab", "sent")
    assert lab.ids == ["M1", "OTHER", "M1", "KEEP", "PRIOR"]


@pytest.mark.parametrize("after", ["A", "B"])
@pytest.mark.parametrize("patient", ["A", "B"])
async def test_what_is_stuck_under_either_number_holds_what_comes_under_either(
    site: Site, ward: Receiver, patient: str, after: str
) -> None:
    ward.answer = lambda content: ack(content, "AE" if b"|R1|" in content else "AA")
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("R1", patient))
        await at(engine, "R1", "ward", "dead_letter")
        await his.send(a40("M1", "A", "B"))
        # the merge goes elsewhere; who names the survivor waits for what was there as the other
        await his.send(oru("R2", after))
        await his.send(oru("R3", "X"))
        await at(engine, "R3", "ward", "sent")
        await at(engine, "R2", "ward", "held")


async def replay(engine: Running, control: str, **params: Any) -> Any:
    number = (await engine.row(control))["id"]
    return await engine.ask("dlq.replay", ids=[number], reason="a test", **params)


async def test_a_dead_letter_of_a_merged_patient_is_flagged_and_only_reprocessed(
    site: Site, ward: Receiver
) -> None:
    ward.answer = lambda content: ack(content, "AE")
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("R1", "B"))
        await at(engine, "R1", "ward", "dead_letter")
        (group,) = await engine.letters()
        assert group["merged_since"] == 0
        await his.send(a40("M1", "A", "B"))
        await at(engine, "M1", "lab", "sent")
        (group,) = await engine.letters()
        assert group["merged_since"] == 1
        (letter,) = await engine.ask("dlq.show", id=group["messages"][0])
        assert letter["merged_since"] is True
        ward.answer = ack
        report = await replay(engine, "R1", **{"as": "stored"})
        assert (report["going"], report["merged"]) == (0, 1)
        report = await replay(engine, "R1", **{"as": "stored", "allow_older": True})
        assert report["merged"] == 1
        report = await replay(engine, "R1")
        assert report["going"] == 1
        await at(engine, "R1", "ward", "sent")
    assert patients_at(ward) == {"R1": "A"}


async def test_an_older_letter_of_a_merged_patient_is_older_than_what_the_survivor_got(
    site: Site, ward: Receiver
) -> None:
    site.channels["results"] = RESULTS + TO_WARD + "    order: skip_dead\n"
    site.options["ward"] = "types: [MDM^*]\norder: skip_dead"
    site.options["lab"] = ""
    ward.answer = lambda content: ack(content, "AE" if b"|R1|" in content else "AA")
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("R1", "B"))
        await at(engine, "R1", "ward", "dead_letter")
        await his.send(a40("M1", "A", "B"))
        await his.send(oru("R2", "A"))
        await at(engine, "R2", "ward", "sent")
        report = await replay(engine, "R1")
        assert (report["going"], report["older"]) == (0, 1)


async def frozen(engine: Running) -> list[Any]:
    return await engine.ask("patients.list", frozen=True)  # type: ignore[no-any-return]


async def test_a_registration_under_a_retired_number_freezes_it_until_a_person_decides(
    site: Site, ward: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(a40("M1", "A", "B"))
        await his.send(adt("N1", patient="B", event="A04"))
        await his.send(oru("R1", "B"))
        await at(engine, "R1", "ward", "held")
        (one,) = await frozen(engine)
        assert one["identifier"] == "••••••"
        assert one["by"] == (await engine.row("N1"))["id"]
        (told,) = await engine.ask("patients.list", frozen=True, phi=True, reason="a test")
        assert told["identifier"] == "B^^^RIVER^MR"
        assert (await engine.ask("patients.resolve", number="B", reason="a typing error"))[
            "resolved"
        ]
        assert await frozen(engine) == []
        with pytest.raises(CallError, match="not frozen"):
            await engine.ask("patients.resolve", number="B", reason="again")
        assert (await replay(engine, "R1"))["going"] == 1
        await at(engine, "R1", "ward", "sent")
    assert patients_at(ward) == {"R1": "A"}


async def test_a_merge_that_reverses_another_is_held_and_a_person_turns_it_round(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(a40("M1", "A", "B"))
        await his.send(a40("M2", "B", "A"))
        await at(engine, "M2", "lab", "held")
        assert len(await frozen(engine)) == 2
        for patient in ("A", "B"):
            await his.send(oru(f"R{patient}", patient))
            await at(engine, f"R{patient}", "ward", "held")
        with pytest.raises(CallError, match="frozen"):
            await engine.ask("patients.merge", number="A", survivor="B", reason="turned round")
        await engine.ask("patients.unmerge", number="B", reason="turned round")
        for number in ("A", "B"):
            await engine.ask("patients.resolve", number=number, reason="turned round")
        # a replay does not write it: the merge waits for the person's own
        assert (await replay(engine, "M2"))["failed_again"] >= 1
        report = await engine.ask("patients.merge", number="A", survivor="B", reason="so it is")
        assert report["merged"]
        assert (await replay(engine, "M2"))["going"] == 1
        await at(engine, "M2", "lab", "sent")
        for control in ("RA", "RB"):
            await replay(engine, control, allow_older=True)
            await at(engine, control, "ward", "sent")
    assert lab.ids == ["M1", "M2"]
    assert patients_at(ward) == {"RA": "B", "RB": "B"}


async def test_taking_a_merge_back_lists_what_went_through_it(site: Site, ward: Receiver) -> None:
    async with running(site) as engine, sender(site) as his:
        for content in (oru("R0", "B"), a40("M1", "A", "B"), a40("M2", "B", "D"), oru("R1", "B"),
                        oru("R2", "D"), oru("R3", "A"), oru("R4", "X")):  # fmt: skip
            await his.send(content)
        await at(engine, "R4", "ward", "sent")
        await at(engine, "R2", "ward", "sent")
        ids = {control: (await engine.row(control))["id"] for control in ("R1", "R2", "M1")}
        preview = await engine.ask("patients.unmerge", number="B", dry_run=True)
        assert preview["by"] == ids["M1"]
        expected = [(ids["R1"], "results", "ward", "sent"), (ids["R2"], "results", "ward", "sent")]
        listed = [
            tuple(row[key] for key in ("id", "channel", "destination", "state"))
            for row in preview["messages"]
        ]
        assert listed == expected
        with pytest.raises(CallError, match="reason"):
            await engine.ask("patients.unmerge", number="B")
        (shown,) = await engine.ask("patients.show", number="B")
        assert shown["retired"]
        report = await engine.ask("patients.unmerge", number="B", reason="not the same person")
        assert report["messages"] == preview["messages"]
        with pytest.raises(CallError, match="not retired"):
            await engine.ask("patients.unmerge", number="B", reason="again")
        await his.send(oru("R5", "D"))  # still into B, and no further
        await at(engine, "R5", "ward", "sent")
        trace = await engine.ask("messages.trace", id=ids["M1"], phi=True, reason="the record")
    acts = [event["action"] for event in trace["events"] if event["event"] == "audit"]
    assert "patient.unmerged" in acts
    assert patients_at(ward) == {"R0": "B", "R1": "A", "R2": "A", "R3": "A", "R4": "X", "R5": "B"}


async def test_merges_and_results_under_load_need_no_order_of_their_channels(
    site: Site, ward: Receiver
) -> None:
    async with running(site), sender(site) as his, sender(site) as lis:
        contents: list[tuple[Any, bytes]] = []
        for n in range(40):
            contents += [(his, a40(f"M{n}", f"A{n}", f"B{n}")), (lis, oru(f"R{n}", f"B{n}"))]
        for to, content in contents:
            await to.send(content)
        await until(lambda: len(ward.received) == 40)
    assert patients_at(ward) == {f"R{n}": f"A{n}" for n in range(40)}
