"""Old traffic through other rules, against a real engine: what differs is found, nothing changes."""

import json
from typing import Any

import pytest

from engine.support import Receiver, Running, Site, adt, running, sender, until
from ifengine.cli.shadow import candidate_files

MARK = "order_by: patient\nsteps: [{set: {MSH-8: %s}}, {upper: PID-5.1}]"
DEDUPE = "order_by: patient\ndedupe: {key: [PID-3], window: 1h}"
PYTHON = "order_by: patient\nsteps: [{python: {file: mark.py, function: mark}}]"


async def shadow(engine: Running, **said: object) -> Any:
    engine.site.write()
    return await engine.ask(
        "shadow", channel="adt", files=candidate_files(engine.site.folder), **said
    )


async def test_the_same_rules_differ_in_nothing_and_a_changed_value_is_found_without_being_told(
    site: Site, lab: Receiver
) -> None:
    site.head = MARK % "AVALUE"
    async with running(site) as engine, sender(site) as his:
        for number in range(3):
            await his.send(adt(f"M{number}"))
        await until(lambda: len(lab.received) == 3)
        same = await shadow(engine)
        assert (same["compared"], same["same"], same["different"]) == (3, 3, 0)
        before = await engine.ask("messages.list")
        site.head = MARK % "BVALUE"
        other = await shadow(engine)
        assert (other["compared"], other["different"]) == (3, 3)
        [rule] = other["rules"]
        assert (rule["destination"], rule["kind"], rule["path"]) == ("lab", "~", "MSH-8")
        assert rule["step"].startswith("step 1 set")
        assert rule["messages"] == 3
        told = json.dumps(other)
        for value in ("AVALUE", "BVALUE", "SAMPLE", "Sample", "700", "19800215"):
            assert value not in told
        assert await engine.ask("messages.list") == before
        assert [row["version"] for row in await engine.ask("config.history")] == [1]
        assert len(lab.received) == 3
        assert (await engine.ask("audit.verify"))["ok"] is True


async def test_what_a_step_leaves_counts_for_the_messages_behind_it_alone(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        for number, patient in enumerate(("700", "700", "800")):
            await his.send(adt(f"M{number}", patient=patient))
        await until(lambda: len(lab.received) == 3)
        site.head = DEDUPE
        for _ in range(2):  # a run leaves nothing for the next one
            found = await shadow(engine)
            assert (found["same"], found["different"]) == (2, 1)
            [kind] = found["kinds"]
            assert (kind["was"], kind["now"]) == ("queued", "dropped")
        assert (await engine.ask("config.reload"))["done"] is True
        for number, patient in enumerate(("900", "900")):
            await his.send(adt(f"N{number}", patient=patient))
        await until(lambda: len(lab.received) == 4)
        found = await shadow(engine, limit=2)
        assert (found["same"], found["different"]) == (2, 0)


async def test_functions_of_the_candidate_run_in_the_workers(site: Site, lab: Receiver) -> None:
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: len(lab.received) == 1)
        (site.folder / "channels" / "python").mkdir()
        (site.folder / "channels" / "python" / "mark.py").write_text(
            'def mark(msg, ctx):\n    msg.set("PID-8", "F")\n'
        )
        site.head = PYTHON
        found = await shadow(engine)
        [rule] = found["rules"]
        assert (rule["path"], rule["messages"]) == ("PID-8", 1)


async def test_a_candidate_with_mistakes_is_refused_with_their_places(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine:
        site.head = "stepps: []"
        with pytest.raises(Exception, match=r"channels/adt\.yaml:4"):
            await shadow(engine)
        with pytest.raises(Exception, match="not that of a file"):
            await engine.ask("shadow", channel="adt", files=["../etc/x", ""])
        site.head = "order_by: patient"
        engine.site.write()
        files = candidate_files(engine.site.folder)
        with pytest.raises(Exception, match="no enabled channel"):
            await engine.ask("shadow", channel="other", files=files)
