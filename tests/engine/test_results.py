"""Late results and business duplicates, in a running engine: held, released, over a restart."""

from typing import Any

import pytest

from engine.support import Receiver, Running, Site, adt, running, sender, until

LATEST = """\
types: [ORU^*]
order_by: patient
steps:
  - latest_only: {per: OBR, key: [MSH-4, OBR-2, OBR-3, OBR-4], status: OBR-25,
                  order: [P, F], newer: OBR-22, for: 90d}
"""
DEDUPE = """\
types: [ORU^*]
order_by: patient
dedupe: {key: [OBR-2, OBR-4], per: OBR}
"""
TO = "retry: {first: 50ms, max: 100ms, jitter: 0}"
LATE = "later than a newer one"


@pytest.fixture
def site(site: Site) -> Site:
    site.options["lab"] = TO
    return site


def oru(control: str, *groups: tuple[str, str, str], value: str = "4") -> bytes:
    """Groups of (order, status, time)."""
    content = adt(control, event="R01", message_type="ORU")
    for number, (order, status, time) in enumerate(groups, 1):
        fields = ["OBR", str(number), order, "", "K"] + [""] * 17 + [time, "", "", status]
        content += f"{'|'.join(fields)}\rOBX|1|NM|K||{value}||||||{status}\r".encode()
    return content


async def at(engine: Running, control: str, state: str) -> None:
    async def is_so() -> bool:
        return (await engine.states()).get(control, {}).get("lab") == state

    await until(is_so)


async def replay(engine: Running, control: str, how: str = "reprocess", **more: Any) -> Any:
    row = await engine.row(control)
    given = {"ids": [row["id"]], "as": how, "reason": "the lab asked for it", **more}
    return await engine.ask("dlq.replay", **given)


def orders(content: bytes) -> list[str]:
    lines = content.decode().split("\r")
    return [line.split("|")[2] for line in lines if line.startswith("OBR")]


async def test_a_late_preliminary_is_held_and_goes_out_when_a_person_says_so(
    site: Site, lab: Receiver
) -> None:
    site.head = LATEST
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("F1", ("P1", "F", "202601051200")))
        await at(engine, "F1", "sent")
    async with running(site) as engine, sender(site) as his:  # what is newest outlives a restart
        await his.send(oru("P1", ("P1", "P", "202601051100")))
        await at(engine, "P1", "held")
        trace = await engine.ask("messages.trace", id=(await engine.row("P1"))["id"])
        assert trace["destinations"][0]["reason"] == LATE
        report = await replay(engine, "P1", dry_run=True)
        assert (report["going"], report["failed_again"]) == (1, 0)
        assert lab.ids == ["F1"]
        await replay(engine, "P1")
        await at(engine, "P1", "sent")
    assert lab.ids == ["F1", "P1"]
    assert lab.received[1] == oru("P1", ("P1", "P", "202601051100"))


async def test_only_the_late_group_is_held_and_only_it_goes_out_later(
    site: Site, lab: Receiver
) -> None:
    site.head = LATEST
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("F1", ("P1", "F", "202601051200")))
        await his.send(oru("M1", ("P1", "P", "202601051100"), ("P2", "P", "202601051100")))
        await at(engine, "M1", "held")
        await until(lambda: len(lab.received) == 2)
        assert orders(lab.received[1]) == ["P2"]
        shown = await engine.ask("messages.show", id=(await engine.row("M1"))["id"])
        assert [copy["changed"] for copy in shown["as_sent"]] == [True, True]
        (listed,) = await engine.ask("messages.list", state="held")
        assert (listed["control_id"], listed["reason"]) == ("M1", LATE)
    async with running(site) as engine:
        await replay(engine, "M1")
        await at(engine, "M1", "sent")
        assert [orders(content) for content in lab.received] == [["P1"], ["P2"], ["P1"]]
        trace = await engine.ask("messages.trace", id=(await engine.row("M1"))["id"])
        assert [event["event"] for event in trace["events"]].count("sent") == 2


async def test_a_dead_letter_that_is_late_by_now_does_not_go_however_often_it_is_replayed(
    site: Site, lab: Receiver
) -> None:
    site.head = LATEST.replace("steps:", "steps:\n  - {when: OBR-25 = P, fail: not yet}")
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("P1", ("P1", "P", "202601051100")))
        await at(engine, "P1", "dead_letter")  # it leaves nothing behind
        await his.send(oru("F1", ("P1", "F", "202601051200")))
    site.head = LATEST
    async with running(site) as engine:
        for _ in range(2):
            report = await replay(engine, "P1", allow_older=True)
            assert (report["going"], report["failed_again"]) == (0, 1)
            assert (await engine.row("P1"))["reason"] == LATE
        assert not [one for one in lab.ids if one == "P1"]


# --- business duplicates ----------------------------------------------------------------------------


async def test_a_message_that_says_the_same_again_is_dropped_also_after_a_restart(
    site: Site, lab: Receiver
) -> None:
    site.head = DEDUPE
    group = ("P1", "F", "202601051200")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(oru("F1", group)) == "AA"
        assert await his.send(oru("F2", group)) == "AA"  # another control id, nothing else
        await at(engine, "F1", "sent")
        await at(engine, "F2", "dropped")
        assert (await engine.row("F2"))["reason"] == "duplicate"
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("F3", group))
        await at(engine, "F3", "dropped")
        await his.send(oru("F4", group, value="5"))  # the same key, other content
        await at(engine, "F4", "sent")
        await his.send(oru("F5", group))  # what counts is the last content
        await at(engine, "F5", "sent")
        await his.send(oru("F6", group, ("P2", "F", "202601051200")))  # every group is in the key
        await at(engine, "F6", "sent")
    assert lab.ids == ["F1", "F4", "F5", "F6"]


async def test_a_dead_letter_is_repeated_by_nothing_and_its_repeat_goes_out(
    site: Site, lab: Receiver
) -> None:
    failing = DEDUPE + "steps:\n  - {when: OBR-25 = P, fail: not yet}\n"
    site.head = failing
    site.options["lab"] += "\norder: skip_dead"
    group = ("P1", "P", "202601051200")
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("A1", group))
        await at(engine, "A1", "dead_letter")
    site.head = DEDUPE
    async with running(site) as engine, sender(site) as his:
        await his.send(oru("A2", group))
        await at(engine, "A2", "sent")  # what failed in its steps claimed nothing
        report = await replay(engine, "A1", allow_older=True)
        assert report["going"] == 0  # by now it would be the repeat
    assert lab.ids == ["A2"]
