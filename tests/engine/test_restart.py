"""What a stop and a crash leave behind."""

import asyncio
from pathlib import Path

from engine.support import (
    Receiver,
    Running,
    Site,
    ack,
    adt,
    let_pass,
    running,
    sender,
    set_clock,
    until,
)
from engine.test_peers import crash
from ifengine.store.base import Fate

QUICK = "retry: {first: 50ms, factor: 1, max: 50ms, jitter: 0, refused: 3, in_doubt: 3}"


async def all_settled(engine: Running, count: int) -> bool:
    states = await engine.states()
    return len(states) == count and all(s == {"lab": "sent"} for s in states.values())


async def test_an_ordered_stop_leaves_nothing_in_doubt_and_repeats_nothing(
    site: Site, lab: Receiver
) -> None:
    lab.delay_seconds = 0.02
    async with running(site) as engine, sender(site) as his:
        for number in range(30):
            assert await his.send(adt(f"M{number:02}", patient=str(number))) == "AA"
        assert await engine.stop() == 0
    async with running(site) as engine:
        await until(lambda: all_settled(engine, 30))
        rows = await engine.ask("messages.list", limit=100)
        assert not any(d["possible_duplicate"] for row in rows for d in row["destinations"])
    assert lab.ids == [f"M{number:02}" for number in range(30)]


async def test_after_a_crash_all_that_was_acknowledged_arrives_and_repeats_are_marked(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda c: None if len(lab.received) >= 10 else ack(c)
    async with running(site) as engine:
        async with sender(site) as his:
            for number in range(30):
                assert await his.send(adt(f"M{number:02}", patient=str(number))) == "AA"
            await until(lambda: len(lab.received) == 10)
        await engine.kill()
    lab.answer = ack
    async with running(site) as engine:
        await until(lambda: all_settled(engine, 30))
        rows = await engine.ask("messages.list", limit=100)
        marked = {
            row["control_id"]
            for row in rows
            for d in row["destinations"]
            if d["possible_duplicate"]
        }
    repeated = {c for c in lab.ids if lab.ids.count(c) > 1}
    assert "M09" in repeated
    assert repeated <= marked
    assert len(marked) <= 32
    assert list(dict.fromkeys(lab.ids)) == [f"M{number:02}" for number in range(30)]


async def test_what_a_dead_letter_holds_stays_held_over_a_restart(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda c: ack(c, "AE" if b"|M1|" in c else "AA")
    async with running(site) as engine, sender(site) as his:
        for control in ("M1", "M2", "M3"):
            await his.send(adt(control))
        await until(lambda: lab.ids == ["M1"])
        await engine.stop()
    lab.answer = ack
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M4"))
        await asyncio.sleep(0.3)
        assert lab.ids == ["M1"]
        group = (await engine.letters())[0]
        await engine.ask("dlq.replay", ids=group["messages"], reason="again")
        await until(lambda: lab.ids == ["M1", "M1", "M2", "M3", "M4"])


async def test_a_replay_that_waits_is_found_again_before_what_it_holds(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda c: ack(c, "AE" if b"|M1|" in c else "AA")
    async with running(site, grace_seconds=0.5) as engine, sender(site) as his:
        for control in ("M1", "M2"):
            await his.send(adt(control))
        await until(lambda: lab.ids == ["M1"])
        await asyncio.sleep(0.1)
        await lab.stop()
        group = (await engine.letters())[0]
        await engine.ask("dlq.replay", ids=group["messages"], reason="again")
        await engine.stop()
    lab.answer = ack
    await lab.start()
    async with running(site):
        await until(lambda: lab.ids == ["M1", "M1", "M2"])


async def test_a_pause_outlives_a_restart_and_messages_are_still_taken(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine, sender(site) as his:
        await engine.ask("channels.pause", name="adt", reason="laboratory upgrade")
        assert await his.send(adt("M1")) == "AA"
        await engine.stop()
    async with running(site) as engine, sender(site) as his:
        channel = (await engine.ask("channels.list"))[0]
        assert channel["state"] == "paused"
        assert "laboratory upgrade" in channel["note"]
        assert await his.send(adt("M2")) == "AA"
        await asyncio.sleep(0.2)
        assert lab.received == []
        await engine.ask("channels.resume", name="adt")
        await until(lambda: lab.ids == ["M1", "M2"])


async def test_a_backlog_larger_than_memory_leaves_in_order(site: Site, lab: Receiver) -> None:
    await lab.stop()
    count = 3000
    async with running(site) as engine, sender(site) as his:
        frames = [b"\x0b" + adt(f"M{n:05}", patient=str(n % 7)) + b"\x1c\r" for n in range(count)]
        for start in range(0, count, 500):
            his.writer.write(b"".join(frames[start : start + 500]))
            for _ in range(500):
                await his.answer()
        assert (await engine.ask("channels.list"))[0]["waiting"] >= 0
        await lab.start()
        await until(lambda: len(lab.received) == count, 60.0)
    assert lab.ids == [f"M{n:05}" for n in range(count)]


async def test_retention_forgets_what_is_settled_and_spares_the_rest(
    site: Site, lab: Receiver
) -> None:
    from ifengine.engine.watch import Watch

    lab.answer = lambda c: ack(c, "AE" if b"|DEAD|" in c else "AA")
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("OLD1", patient="1"))
        await his.send(adt("DEAD", patient="2"))
        await his.send(adt("OLD2", patient="3"))
        await his.send(adt("NEW", patient="4"))
        await until(lambda: len(lab.ids) == 4)
        await asyncio.sleep(0.2)
        watch: Watch = engine.engine.watch
        let_pass(watch._parts, days=31)
        set_clock(watch._parts, days=31)
        assert await watch.purge() == 0  # until a person says that it is right
        watch._parts.steady.accept(time_passed=False)
        purged = await watch.purge()
        assert purged == 2
        left = await engine.states()
        assert set(left) == {"DEAD", "NEW"}


async def test_files_are_written_once_under_their_name(tmp_path: Path, lab: Receiver) -> None:
    channel = (
        "ifengine: 1\nchannel: adt\nfrom: in\nto:\n  disk:\n"
        '    files: {dir: var/out, name: "${msg.id}.hl7"}\n'
    )
    site = Site(tmp_path / "site", {})
    site.write()
    (site.folder / "channels" / "adt.yaml").write_text(channel)
    site.write = lambda: None  # type: ignore[method-assign]
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        out = site.folder / "var" / "out"
        await until(lambda: out.exists() and len(list(out.glob("*.hl7"))) == 1)
        assert (out / "1.hl7").read_bytes() == adt("M1")
        (out / "2.hl7").write_bytes(b"somebody else's")
        await his.send(adt("M2"))
        await until(lambda: dead(engine))
        assert (out / "2.hl7").read_bytes() == b"somebody else's"
    assert Fate.SENT > Fate.DEAD_LETTER


async def dead(engine: Running) -> bool:
    return [g["reason"] for g in await engine.letters()] == ["file exists with other content"]


async def test_what_a_crash_left_in_doubt_stays_marked_over_an_ordered_stop(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda content: None  # it takes the message and says nothing
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        await until(lambda: lab.ids == ["M1"])
        await crash(engine)
    await lab.stop()
    async with running(site, grace_seconds=0.5) as engine:  # nobody is there to settle it
        await engine.stop()
    lab.answer = ack
    await lab.start()
    async with running(site) as engine:
        await until(lambda: lab.ids == ["M1", "M1"])
        await until(lambda: all_settled(engine, 1))
        row = (await engine.ask("messages.list"))[0]
        assert row["destinations"][0]["possible_duplicate"] is True


async def test_what_a_crash_left_in_doubt_stays_marked_in_a_queue_that_a_reload_makes_anew(
    site: Site, lab: Receiver
) -> None:
    lab.answer = lambda content: None
    site.options["lab"] = QUICK
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])
        await crash(engine)
    await lab.stop()
    async with running(site) as engine:
        site.options["lab"] = QUICK + "\nlanes: 2"
        site.write()
        assert (await engine.ask("config.reload", skip_tests=True))["done"]
        lab.answer = ack
        await lab.start()
        await until(lambda: all_settled(engine, 1))
        assert (await engine.row("M1"))["destinations"][0]["possible_duplicate"] is True
