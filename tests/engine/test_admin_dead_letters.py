"""Dead letters and held messages in a person's hands, asked for over the admin socket."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from engine.support import Receiver, Running, Site, ack, adt, metric, running, sender, until

SKIP = "order: skip_dead\nretry: {first: 50ms, max: 100ms, jitter: 0}"


def refusing(*controls: str, code: str = "AE"):  # type: ignore[no-untyped-def]
    def answer(content: bytes) -> bytes:
        refused = any(f"|{control}|".encode() in content for control in controls)
        return ack(content, code if refused else "AA")

    return answer


async def is_at(engine: Running, control: str, state: str, destination: str = "lab") -> bool:
    return (await engine.states()).get(control, {}).get(destination) == state


async def dead(engine: Running, *controls: str) -> None:
    """Wait until these are dead letters."""
    for control in controls:
        await until(lambda control=control: is_at(engine, control, "dead_letter"))  # type: ignore[misc]


async def ids(engine: Running, *controls: str) -> list[str]:
    rows = await engine.ask("messages.list", limit=1000)
    by_control = {row["control_id"]: row["id"] for row in reversed(rows)}
    return [by_control[control] for control in controls]


async def replay(engine: Running, *controls: str, **params: Any) -> Any:
    named = await ids(engine, *controls)
    return await engine.ask("dlq.replay", **{"ids": named, "reason": "corrected", **params})


async def audit_of(engine: Running, control: str, action: str) -> list[dict[str, Any]]:
    (number,) = await ids(engine, control)
    shown = await engine.ask("messages.trace", id=number, phi=True, reason="look at the record")
    return [e for e in shown["events"] if e["event"] == "audit" and e["action"] == action]


def counted(report: Any) -> dict[str, int]:
    """Return what became of the letters, without the zeros."""
    names = ("going", "older", "unordered", "gone", "filtered", "failed_again", "identity")
    return {name: report[name] for name in names if report[name]}


# --- older than what the destination has --------------------------------------------------------


async def test_a_message_older_than_the_destinations_last_of_its_patient_is_held_back(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = SKIP
    lab.answer = refusing("OLD", "ALONE")
    async with running(site) as engine, sender(site) as his:
        for control, patient in (("OLD", "700"), ("ALONE", "701"), ("NEW", "700")):
            await his.send(adt(control, patient=patient))
        await dead(engine, "OLD", "ALONE")
        await until(lambda: is_at(engine, "NEW", "sent"))
        lab.answer = ack
        report = await replay(engine, "OLD", "ALONE")
        assert counted(report) == {"going": 1, "older": 1}
        assert report["older_messages"] == await ids(engine, "OLD")
        await until(lambda: is_at(engine, "ALONE", "sent"))
        assert await is_at(engine, "OLD", "dead_letter")
        assert lab.ids == ["OLD", "ALONE", "NEW", "ALONE"]
        # nobody reads in the audit that it was sent
        assert [a["outcome"] for a in await audit_of(engine, "OLD", "replay")] == ["older"]
        assert [a["outcome"] for a in await audit_of(engine, "ALONE", "replay")] == ["done"]
        report = await replay(engine, "OLD", allow_older=True)
        assert counted(report) == {"going": 1}
        await until(lambda: lab.ids[-1] == "OLD")


async def test_a_message_older_than_one_that_waits_to_leave_is_held_back_too(
    site: Site, lab: Receiver
) -> None:
    """The replay would leave behind it: the older one would be the last the receiver hears."""
    site.options["lab"] = SKIP
    lab.answer = refusing("OLD")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("OLD"))
        await dead(engine, "OLD")
        await lab.stop()
        await his.send(adt("NEW"))
        await until(lambda: is_at(engine, "NEW", "queued"))
        report = await replay(engine, "OLD")
        assert counted(report) == {"older": 1}
        lab.answer = ack
        await lab.start()
        await until(lambda: is_at(engine, "NEW", "sent"))
        assert lab.ids == ["OLD", "NEW"]


async def test_a_newer_message_that_is_tried_again_counts_as_about_to_leave(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "order: skip_dead\nretry: {first: 30s, jitter: 0, refused: never}"
    lab.answer = lambda c: ack(c, "AE" if b"|OLD|" in c else "AR")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("OLD"))
        await dead(engine, "OLD")
        await his.send(adt("NEW"))
        await until(lambda: is_at(engine, "NEW", "retrying"))
        assert counted(await replay(engine, "OLD", dry_run=True)) == {"older": 1}


async def test_a_newer_message_that_is_itself_dead_holds_nothing_back(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = SKIP
    lab.answer = refusing("OLD", "NEW")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("OLD"))
        await his.send(adt("NEW"))
        await dead(engine, "OLD", "NEW")
        lab.answer = ack
        assert counted(await replay(engine, "OLD", "NEW")) == {"going": 2}
        await until(lambda: lab.ids == ["OLD", "NEW", "OLD", "NEW"])


async def test_a_key_that_is_held_leaves_in_the_order_in_which_it_was_received(
    site: Site, lab: Receiver
) -> None:
    lab.answer = refusing("M1")
    async with running(site) as engine, sender(site) as his:
        for control in ("M1", "M2", "M3"):
            await his.send(adt(control))
        await dead(engine, "M1")
        lab.answer = ack
        # what M1 holds is newer and waits: it leaves behind M1, so M1 is not too old
        assert counted(await replay(engine, "M1")) == {"going": 1}
        await until(lambda: lab.ids == ["M1", "M1", "M2", "M3"])


# --- many at once -------------------------------------------------------------------------------


async def test_without_a_key_a_bulk_is_refused_and_a_single_message_goes(
    site: Site, lab: Receiver
) -> None:
    site.head = "types: [ADT^A01]\nignore_types: {identity: test}"
    site.options["lab"] = SKIP
    lab.answer = refusing("M1", "M2", "M3")
    async with running(site) as engine, sender(site) as his:
        for control in ("M1", "M2", "M3"):
            await his.send(adt(control))
        await dead(engine, "M1", "M2", "M3")
        lab.answer = ack
        assert counted(await replay(engine, "M1", "M2")) == {"unordered": 2}
        assert lab.ids == ["M1", "M2", "M3"]
        assert counted(await replay(engine, "M3")) == {"going": 1}
        assert counted(await replay(engine, "M1", "M2", allow_older=True)) == {"going": 2}
        await until(lambda: lab.ids == ["M1", "M2", "M3", "M3", "M1", "M2"])


@pytest.mark.parametrize("event", ["A18", "A24", "A34", "A40", "A47", "A51"])
async def test_an_identity_event_is_never_part_of_a_bulk(
    site: Site, lab: Receiver, event: str
) -> None:
    site.options["lab"] = SKIP
    lab.answer = refusing("MERGE", "PLAIN")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("MERGE", patient="1", event=event, extra="MRG|2^^^RIVER^MR\r"))
        await his.send(adt("PLAIN", patient="3"))
        await dead(engine, "MERGE", "PLAIN")
        lab.answer = ack
        for allow in (False, True):
            report = await replay(engine, "MERGE", "PLAIN", allow_older=allow, dry_run=True)
            assert counted(report) == {"going": 1, "identity": 1}
            assert report["identity_messages"] == await ids(engine, "MERGE")
        assert counted(await replay(engine, "MERGE")) == {"going": 1}
        await until(lambda: lab.ids == ["MERGE", "PLAIN", "MERGE"])


# --- stored and reprocess -----------------------------------------------------------------------

WARD = "order_by: patient\nsteps:\n  - lookup: {table: ward, from: PV1-3.1, missing: dead_letter}"


def with_ward(control: str, ward: str = "9EAST", patient: str = "700") -> bytes:
    return adt(control, patient=patient, extra=f"PV1|1|I|{ward}^1\r")


def write_table(site: Site, *rows: str) -> None:
    folder = site.folder / "channels" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ward.csv").write_text("from,to\n" + "".join(f"{row}\n" for row in rows))


async def test_a_corrected_table_lets_a_message_through_that_its_steps_refused(
    site: Site, lab: Receiver
) -> None:
    site.head = WARD
    write_table(site, "4WEST,W4")
    async with running(site) as engine, sender(site) as his:
        await his.send(with_ward("M1"))
        await his.send(with_ward("M2", "4WEST"))
        await dead(engine, "M1")
        before = await engine.row("M1")
        assert counted(await replay(engine, "M1", **{"as": "stored"})) == {"failed_again": 1}
        assert counted(await replay(engine, "M1")) == {"failed_again": 1}
        assert await engine.row("M1") == before
        assert lab.received == []
        await engine.stop()
    write_table(site, "4WEST,W4", "9EAST,E9")
    async with running(site) as engine:
        report = await replay(engine, "M1")
        assert counted(report) == {"going": 1}
        await until(lambda: lab.ids == ["M1", "M2"])
        assert b"PV1|1|I|E9^1" in lab.received[0]
        assert b"PV1|1|I|W4^1" in lab.received[1]


async def test_a_number_belongs_to_one_message_also_when_a_replay_draws_it(
    site: Site, lab: Receiver
) -> None:
    """What failed before it had a number draws one on its replay; what had one keeps it."""
    counted_steps = (
        "steps:\n  - counter: {name: n, to: MSH-13}\n"
        "  - lookup: {table: ward, from: PV1-3.1, missing: dead_letter}"
    )
    site.options["lab"] = f"{SKIP}\n{counted_steps}"
    site.head = "order_by: patient"
    write_table(site, "4WEST,W4")
    lab.answer = refusing("M3")
    async with running(site) as engine, sender(site) as his:
        for control, ward in (("M1", "9EAST"), ("M2", "4WEST"), ("M3", "4WEST")):
            await his.send(with_ward(control, ward, patient=control))
        await dead(engine, "M1", "M3")
        await until(lambda: is_at(engine, "M2", "sent"))
        await engine.stop()
    write_table(site, "4WEST,W4", "9EAST,E9")
    lab.answer = ack
    async with running(site) as engine, sender(site) as his:
        await replay(engine, "M1", "M3", dry_run=True, **{"as": "reprocess"})
        await replay(engine, "M1", **{"as": "reprocess"})
        await replay(engine, "M3", **{"as": "reprocess"})
        await his.send(with_ward("M4", "4WEST", patient="M4"))
        await until(lambda: len(lab.received) == 5)
    numbers = [(c.split(b"|")[9], c.split(b"\r")[0].split(b"|")[12]) for c in lab.received]
    assert sorted(numbers) == [
        (b"M1", b"3"), (b"M2", b"1"), (b"M3", b"2"), (b"M3", b"2"), (b"M4", b"4"),
    ]  # fmt: skip


async def test_stored_sends_the_bytes_of_then_and_reprocess_those_of_todays_channel(
    site: Site, lab: Receiver
) -> None:
    site.head = "order_by: patient\nsteps:\n  - set: {MSH-5: THEN}"
    lab.answer = refusing("M1", "M2")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", patient="1"))
        await his.send(adt("M2", patient="2"))
        await dead(engine, "M1", "M2")
        await engine.stop()
    site.head = "order_by: patient\nsteps:\n  - set: {MSH-5: TODAY}"
    lab.answer = ack
    async with running(site) as engine:
        await replay(engine, "M1", **{"as": "stored"})
        await replay(engine, "M2", **{"as": "reprocess"})
        await until(lambda: len(lab.received) == 4)
    sent = {content.split(b"|")[9]: content.split(b"|")[4] for content in lab.received[2:]}
    assert sent == {b"M1": b"THEN", b"M2": b"TODAY"}
    assert {content.split(b"|")[4] for content in lab.received[:2]} == {b"THEN"}


async def test_a_message_that_is_not_wanted_any_more_is_filtered_and_lets_its_patient_go(
    site: Site, lab: Receiver
) -> None:
    lab.answer = refusing("M1")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", event="A08"))
        await his.send(adt("M2"))
        await dead(engine, "M1")
        await engine.stop()
    site.options["lab"] = "types: [ADT^A01]"
    lab.answer = ack
    async with running(site) as engine:
        assert counted(await replay(engine, "M1")) == {"filtered": 1}
        await until(lambda: is_at(engine, "M2", "sent"))
        assert await is_at(engine, "M1", "filtered")
        assert await engine.letters() == []
        assert lab.ids == ["M1", "M2"]
        outcomes = [a["outcome"] for a in await audit_of(engine, "M1", "replay")]
        assert outcomes == ["filtered"]


async def test_a_message_that_fails_again_stays_with_the_new_reason_and_is_counted_once(
    site: Site, lab: Receiver
) -> None:
    lab.answer = refusing("M1")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await dead(engine, "M1")
        assert [g["reason"] for g in await engine.letters()] == ["answered AE"]
        await engine.stop()
    site.head = "order_by: patient\nsteps:\n  - require: {PV1-2: no patient class}"
    async with running(site) as engine:
        assert counted(await replay(engine, "M1")) == {"failed_again": 1}
        groups = await engine.letters()
        assert [(g["count"], "patient class" in g["reason"]) for g in groups] == [(1, True)]
        (number,) = await ids(engine, "M1")
        shown = (await engine.ask("dlq.show", id=number))[0]
        assert shown["config_version"] == 2
        assert shown["step"]
        text = (await engine.ask("metrics"))["text"]
        assert metric(text, "ifengine_dead_letters", channel="adt", destination="lab") == 1
        await engine.ask("dlq.discard", ids=[number], reason="test")
        text = (await engine.ask("metrics"))["text"]
        lines = [line for line in text.splitlines() if line.startswith("ifengine_dead_letters{")]
        assert {line.rsplit(" ", 1)[1] for line in lines} == {"0.0"}
    assert lab.ids == ["M1"]


@pytest.mark.parametrize("how", ["stored", "reprocess"])
async def test_a_letter_whose_destination_is_gone_stays_and_disturbs_no_other(
    site: Site, lab: Receiver, ward: Receiver, how: str
) -> None:
    site.receivers["ward"] = ward
    lab.answer = refusing("M1")
    ward.answer = refusing("M1")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await dead(engine, "M1")
        await until(lambda: is_at(engine, "M1", "dead_letter", "ward"))
        await engine.stop()
    del site.receivers["lab"]
    ward.answer = ack
    async with running(site) as engine:
        report = await replay(engine, "M1", **{"as": how})
        assert counted(report) == {"going": 1, "failed_again": 1}
        await until(lambda: ward.ids == ["M1", "M1"])
        await until(lambda: is_at(engine, "M1", "sent", "ward"))
        assert [g["destination"] for g in await engine.letters()] == ["lab"]
    assert lab.ids == ["M1"]


async def test_a_destination_that_moved_to_another_connection_gets_its_replay_there(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    lab.answer = refusing("M1")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await dead(engine, "M1")
        await engine.stop()
    site.settings()
    for name in ("ifengine.yaml", "channels/adt.yaml"):
        path = site.folder / name
        text = (
            path.read_text().replace("to-lab", "to-new-lab").replace(str(lab.port), str(ward.port))
        )
        path.write_text(text)
    site.write = lambda: None  # type: ignore[method-assign]
    async with running(site) as engine:
        assert counted(await replay(engine, "M1")) == {"going": 1}
        await until(lambda: ward.ids == ["M1"])
        await until(lambda: is_at(engine, "M1", "sent"))
        assert await engine.letters() == []


# --- looking first, lineage, audit --------------------------------------------------------------


async def test_a_dry_run_changes_nothing(site: Site, lab: Receiver) -> None:
    lab.answer = refusing("M1")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await his.send(adt("M2"))
        await dead(engine, "M1")
        await until(lambda: holds(engine, 1))
        before = (await engine.row("M1"), await engine.letters(), await engine.states())
        lab.answer = ack
        for how in ("stored", "reprocess"):
            report = await replay(engine, "M1", dry_run=True, **{"as": how})
            assert counted(report) == {"going": 1}
            assert report["dry_run"] is True
        preview = await engine.ask("dlq.discard", ids=await ids(engine, "M1"), dry_run=True)
        assert (preview["asked"], preview["discarded"]) == (1, 0)
        after = (await engine.row("M1"), await engine.letters(), await engine.states())
        assert before == after
        assert await audit_of(engine, "M1", "replay") == []
        assert lab.ids == ["M1"]


async def holds(engine: Running, count: int) -> bool:
    return [group["held_behind"] for group in await engine.letters()] == [count]


async def test_what_a_replay_does_stands_in_the_trace_with_who_and_why(
    site: Site, lab: Receiver
) -> None:
    lab.answer = refusing("M1")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await dead(engine, "M1")
        lab.answer = ack
        await replay(engine, "M1", reason="ticket 4711: ward opened")
        await until(lambda: is_at(engine, "M1", "sent"))
        (number,) = await ids(engine, "M1")
        shown = await engine.ask("messages.trace", id=number)
        story = [e["event"] for e in shown["events"] if e["event"] != "audit"]
        assert story[:3] == ["received", "planned", "attempt"]
        assert sorted(story[3:-1]) == ["planned", "replayed"]
        assert story[-1] == "sent"
        runs = [e["run"] for e in shown["events"] if e["event"] == "planned"]
        assert runs == [0, 1]
        (act,) = [e for e in shown["events"] if e["event"] == "audit" and e["action"] == "replay"]
        assert act["actor"]
        assert "ticket" not in str(shown)  # sealed: shown only with a reason of one's own
        (act,) = await audit_of(engine, "M1", "replay")
        assert act["detail"] == "ticket 4711: ward opened"
        assert (await engine.ask("audit.verify"))["ok"] is True


async def test_every_letter_of_a_bulk_has_a_record_of_its_own(site: Site, lab: Receiver) -> None:
    controls = [f"M{n}" for n in range(5)]
    lab.answer = refusing(*controls)
    async with running(site) as engine, sender(site) as his:
        for number, control in enumerate(controls):
            await his.send(adt(control, patient=str(number)))
        await dead(engine, *controls)
        lab.answer = ack
        group = (await engine.letters())[0]
        assert group["count"] == 5
        await engine.ask("dlq.replay", group=1, reason="all of them")
        for control in controls:
            acts = await audit_of(engine, control, "replay")
            assert [(a["outcome"], a["detail"]) for a in acts] == [("done", "all of them")]
        await until(lambda: lab.ids == controls * 2)


async def test_two_who_replay_the_same_letter_at_once_send_it_once(
    site: Site, lab: Receiver
) -> None:
    lab.answer = refusing("M1")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await dead(engine, "M1")
        lab.answer = ack
        preview = await replay(engine, "M1", dry_run=True)
        reports = await asyncio.gather(
            *(
                engine.ask("dlq.replay", letters=preview["letters"], reason=f"person {n}")
                for n in range(6)
            )
        )
        assert sum(r["going"] for r in reports) == 1
        assert sum(r["gone"] for r in reports) == 5
        await until(lambda: is_at(engine, "M1", "sent"))
        await his.send(adt("LAST"))
        await until(lambda: is_at(engine, "LAST", "sent"))
        assert lab.ids == ["M1", "M1", "LAST"]


async def test_a_replay_and_a_discard_at_once_do_one_of_the_two(site: Site, lab: Receiver) -> None:
    lab.answer = refusing("M1")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await dead(engine, "M1")
        lab.answer = ack
        letters = (await replay(engine, "M1", dry_run=True))["letters"]
        replayed, discarded = await asyncio.gather(
            engine.ask("dlq.replay", letters=letters, reason="again"),
            engine.ask("dlq.discard", letters=letters, reason="no"),
        )
        assert replayed["going"] + discarded["discarded"] == 1
        await his.send(adt("LAST"))
        await until(lambda: is_at(engine, "LAST", "sent"))
        assert lab.ids == (["M1", "M1", "LAST"] if replayed["going"] else ["M1", "LAST"])


async def test_a_replay_never_overtakes_what_waits_for_the_same_receiver(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "retry: {first: 50ms, max: 100ms, jitter: 0}"
    lab.answer = refusing("DEAD")
    others = [f"W{n}" for n in range(5)]
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("DEAD", patient="x"))
        await dead(engine, "DEAD")
        await lab.stop()
        for number, control in enumerate(others):
            await his.send(adt(control, patient=str(number)))
        await until(lambda: all_queued(engine, others))
        assert counted(await replay(engine, "DEAD")) == {"going": 1}
        lab.answer = ack
        await lab.start()
        await until(lambda: lab.ids == ["DEAD", *others, "DEAD"])


async def all_queued(engine: Running, controls: Sequence[str]) -> bool:
    states = await engine.states()
    return all(states.get(control) == {"lab": "queued"} for control in controls)


# --- unmatched, and held ------------------------------------------------------------------------

ONLY_A01 = "accept: EVN-1 = A01"


async def test_a_message_no_destination_accepts_waits_and_goes_once_one_does(
    site: Site, lab: Receiver
) -> None:
    site.head = "order_by: patient\nno_match: dead_letter"
    site.options["lab"] = ONLY_A01
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", event="A08"))
        await until(lambda: is_at(engine, "M1", "dead_letter", "unmatched"))
        groups = await engine.letters()
        assert [(g["destination"], g["reason"]) for g in groups] == [
            ("unmatched", "no destination accepts it")
        ]
        assert counted(await replay(engine, "M1")) == {"failed_again": 1}
        assert len(await engine.letters()) == 1
        await engine.stop()
    site.options["lab"] = "accept: EVN-1 in [A01, A08]"
    async with running(site) as engine:
        assert counted(await replay(engine, "M1")) == {"going": 1}
        await until(lambda: lab.ids == ["M1"])
        await until(lambda: is_at(engine, "M1", "sent", "lab"))
        assert await engine.letters() == []


async def test_a_destination_added_later_gets_what_waited_and_a_failing_one_a_letter_of_its_own(
    site: Site, lab: Receiver, ward: Receiver
) -> None:
    site.head = "order_by: patient\nno_match: dead_letter"
    site.options["lab"] = ONLY_A01
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", event="A08"))
        await until(lambda: is_at(engine, "M1", "dead_letter", "unmatched"))
        await engine.stop()
    site.receivers["ward"] = ward
    site.options["lab"] = "steps:\n  - require: {PV1-2: no patient class}"
    async with running(site) as engine:
        assert counted(await replay(engine, "M1")) == {"going": 1}
        await until(lambda: ward.ids == ["M1"])
        await until(lambda: is_at(engine, "M1", "sent", "ward"))
        # the one whose steps fail is not lost from sight
        assert [g["destination"] for g in await engine.letters()] == ["lab"]
        assert await is_at(engine, "M1", "dead_letter", "lab")
    assert lab.received == []


async def test_a_message_held_in_doubt_goes_when_a_person_lets_it(
    site: Site, lab: Receiver
) -> None:
    site.options["lab"] = "ack_timeout: 150ms\non_in_doubt: hold"
    lab.answer = lambda c: None if len(lab.received) == 1 else ack(c)
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await his.send(adt("M2"))
        await until(lambda: is_at(engine, "M1", "held"))
        assert await engine.letters() == []
        assert counted(await replay(engine, "M1")) == {"going": 1}
        await until(lambda: lab.ids == ["M1", "M1", "M2"])
        await until(lambda: is_at(engine, "M1", "sent"))
        destination = (await engine.row("M1"))["destinations"][0]
        assert destination["possible_duplicate"] is True  # it may have arrived the first time


async def test_a_message_of_a_historical_mode_goes_when_a_person_lets_it(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", msh="|P^R|2.5.1"))
        await his.send(adt("M2"))
        await until(lambda: is_at(engine, "M1", "held"))
        await until(lambda: is_at(engine, "M2", "held"))
        assert counted(await replay(engine, "M1")) == {"going": 1}
        await until(lambda: lab.ids == ["M1", "M2"])
        destination = (await engine.row("M1"))["destinations"][0]
        assert destination["possible_duplicate"] is False


async def test_a_discarded_held_message_lets_its_patient_go_on(site: Site, lab: Receiver) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1", msh="|P^I|2.5.1"))
        await his.send(adt("M2"))
        await until(lambda: is_at(engine, "M1", "held"))
        done = await engine.ask(
            "dlq.discard", ids=await ids(engine, "M1"), reason="an old load of data"
        )
        assert done["discarded"] == 1
        await until(lambda: lab.ids == ["M2"])
        assert await is_at(engine, "M1", "discarded")
        acts = await audit_of(engine, "M1", "discard")
        assert [a["detail"] for a in acts] == ["an old load of data"]
