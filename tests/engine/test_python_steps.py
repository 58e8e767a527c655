"""Steps in Python in a running engine: real messages, real workers, functions that misbehave."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from engine.support import Receiver, Running, Site, adt, running, sender, until

FILE = "channels/python/marks.py"
SKIP = "order: skip_dead\nretry: {first: 50ms, max: 100ms, jitter: 0}"
STEPS = "order_by: patient\nsteps:\n  - python: {file: marks.py, function: %s, timeout: %s}"
MARKING = """\
import os

def mark(msg, ctx):
    event = msg.field("ZXX-1")
    if event == "HANG":
        while True:
            pass
    if event == "KILL":
        os.kill(os.getpid(), 9)
    if event == "REJECT":
        ctx.reject("not wanted: " + msg.field("PID-5.1"), code="AR")
    if event == "FAIL":
        ctx.fail("not possible: " + msg.field("PID-5.1"))
    if event == "RAISE":
        raise ValueError(msg.field("PID-5.1"))
    msg.set("MSH-8", "ok")
"""
VERSIONED = """\
import time

def first(msg, ctx):
    time.sleep(0.02)  # so that a reload finds messages whose run has begun
    msg.set("MSH-8", "v%(number)d")

def second(msg, ctx):
    msg.set("PID-8", "v%(number)d")
"""


def write(site: Site, text: str) -> None:
    file = site.folder / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def told(control: str, what: str, **said: Any) -> bytes:
    """A message that says what its function is to do."""
    return adt(control, extra=f"ZXX|{what}\r", **said)


def field(content: bytes, segment: bytes, number: int) -> bytes:
    line = next(line for line in content.split(b"\r") if line.startswith(segment + b"|"))
    at = number - 1 if segment == b"MSH" else number
    return line.split(b"|")[at]


async def state(engine: Running, control: str) -> str:
    return (await engine.states()).get(control, {}).get("lab", "")


async def is_dead(engine: Running, control: str) -> bool:
    return await state(engine, control) == "dead_letter"


async def is_sent(engine: Running, control: str) -> bool:
    return await state(engine, control) == "sent"


async def trace(engine: Running, control: str) -> str:
    row = await engine.row(control)
    return str(await engine.ask("messages.trace", id=row["id"]))


async def test_functions_that_hang_die_and_refuse_cost_their_own_message_and_order_is_kept(
    site: Site, lab: Receiver
) -> None:
    write(site, MARKING)
    site.head = STEPS % ("mark", "300ms")
    site.options["lab"] = SKIP
    bad = {4: "HANG", 9: "KILL", 12: "REJECT", 17: "FAIL", 22: "RAISE", 23: "HANG"}
    async with running(site) as engine, sender(site) as his:
        for number in range(30):
            assert await his.send(told(f"M{number}", bad.get(number, "GO"))) == "AA"
        good = [f"M{number}" for number in range(30) if number not in bad]
        await until(lambda: len(lab.received) == len(good))
        assert lab.ids == good
        assert {field(content, b"MSH", 8) for content in lab.received} == {b"ok"}
        for number in bad:
            await until(lambda number=number: is_dead(engine, f"M{number}"))
        # the reasons name a place, never what the message or the function said
        reasons = {number: await trace(engine, f"M{number}") for number in bad}
        assert "no answer within 300ms" in reasons[4]
        assert "the worker: it ended" in reasons[9]
        assert f"the function refused it at {FILE}:11" in reasons[12]
        assert f"the function failed it at {FILE}:13" in reasons[17]
        assert f"ValueError at {FILE}:15" in reasons[22]
        assert "Sample" not in "".join(reasons.values())


async def test_a_worker_that_is_killed_between_two_messages_is_replaced(
    site: Site, lab: Receiver
) -> None:
    write(site, MARKING)
    site.head = STEPS % ("mark", "5s")
    async with running(site) as engine, sender(site) as his:
        killed = set()
        for number in range(5):
            await his.send(told(f"M{number}", "GO"))
            await until(lambda number=number: len(lab.received) == number + 1)
            (worker,) = engine.engine._workers._idle
            killed.add(worker.process.pid)
            os.kill(worker.process.pid, signal.SIGKILL)
            os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT)
        assert len(killed) == 5
        assert lab.ids == [f"M{number}" for number in range(5)]
        assert await engine.letters() == []


async def test_a_sender_that_still_waits_is_told_no_by_the_function(
    site: Site, lab: Receiver
) -> None:
    write(site, MARKING)
    site.head = STEPS % ("mark", "5s") + "\nack: {when: delivered, from: lab, timeout: 9s}"
    site.options["lab"] = "ack_timeout: 5s"
    async with running(site), sender(site) as his:
        assert await his.send(told("M1", "REJECT")) == "AR"
        assert await his.send(told("M2", "GO")) == "AA"
        await until(lambda: lab.ids == ["M2"])


async def test_the_workers_end_with_the_engine(site: Site, lab: Receiver) -> None:
    write(site, MARKING)
    site.head = STEPS % ("mark", "5s")
    async with running(site) as engine, sender(site) as his:
        assert engine.engine._workers.count == 0  # none before a step asks for one
        await his.send(told("M1", "GO"))
        await until(lambda: lab.ids == ["M1"])
        (worker,) = engine.engine._workers._idle
        assert Path(worker.folder).is_dir()
    assert worker.process.poll() is not None
    assert not Path(worker.folder).exists()


async def test_each_message_is_processed_by_exactly_one_version_of_a_function(
    site: Site, lab: Receiver
) -> None:
    """A function changes while messages are under way: both steps of each are of one version."""
    write(site, VERSIONED % {"number": 1})
    step = "  - python: {file: marks.py, function: %s, timeout: 10s}\n"
    site.head = "order_by: patient\nsteps:\n" + step % "first" + (step % "second").rstrip()
    sent = 0
    async with running(site) as engine, sender(site) as his:
        for number in range(2, 7):
            for _ in range(8):  # accepted before the reload, some of them processed behind it
                assert await his.send(adt(f"M{sent}")) == "AA"
                sent += 1
            if number == 2:  # some of the first are processed, however slowly a worker starts
                await until(lambda: len(lab.received) > 0)
            write(site, VERSIONED % {"number": number})
            report = await engine.ask("config.reload")
            assert (report["done"], report["version"]) == (True, number)
        await his.send(adt(f"M{sent}"))
        sent += 1
        await until(lambda: len(lab.received) == sent)
        assert lab.ids == [f"M{number}" for number in range(sent)]
        seen = [(field(c, b"MSH", 8), field(c, b"PID", 8)) for c in lab.received]
        assert all(one == other for one, other in seen)
        versions = [int(one[1:]) for one, _ in seen]
        assert versions == sorted(versions)
        assert versions[0] == 1
        assert versions[-1] == 6
        rows = await engine.ask("messages.list", limit=1000)
        recorded = {row["control_id"]: row["config_version"] for row in rows}
        assert [recorded[control] for control in lab.ids] == versions


async def test_a_file_that_does_not_load_is_refused_by_a_reload_and_the_old_function_stays(
    site: Site, lab: Receiver
) -> None:
    write(site, MARKING)
    site.head = STEPS % ("mark", "5s")
    async with running(site) as engine, sender(site) as his:
        for wrong in ("def mark(msg, ctx:\n", "def other(msg, ctx):\n    pass\n"):
            write(site, wrong)
            report = await engine.ask("config.reload")
            assert (report["done"], report["version"]) == (False, 1)
            assert report["refused"]
        await his.send(told("M1", "GO"))
        await until(lambda: lab.ids == ["M1"])
        assert field(lab.received[0], b"MSH", 8) == b"ok"


async def test_a_corrected_function_lets_a_dead_letter_through_when_it_is_processed_again(
    site: Site, lab: Receiver
) -> None:
    write(site, MARKING)
    site.head = STEPS % ("mark", "5s")
    async with running(site) as engine, sender(site) as his:
        await his.send(told("M1", "RAISE"))
        await his.send(told("M2", "GO"))  # of the same patient: it waits behind
        await until(lambda: is_dead(engine, "M1"))
        row = await engine.row("M1")

        async def replay() -> Any:
            return await engine.ask(
                "dlq.replay", ids=[row["id"]], reason="corrected", **{"as": "reprocess"}
            )

        assert (await replay())["failed_again"] == 1
        assert lab.received == []
        write(site, MARKING.replace('raise ValueError(msg.field("PID-5.1"))', "pass"))
        assert (await engine.ask("config.reload"))["done"] is True
        assert (await replay())["going"] == 1
        await until(lambda: lab.ids == ["M1", "M2"])
        assert [field(content, b"MSH", 8) for content in lab.received] == [b"ok", b"ok"]


SLOWLY = "import time\n\ndef mark(msg, ctx):\n    time.sleep(0.3)\n"


async def test_a_replay_whose_function_takes_its_time_is_written_as_a_whole_while_others_come(
    site: Site, lab: Receiver
) -> None:
    write(site, MARKING)
    site.head = "types: [ADT^*]\n" + STEPS % ("mark", "5s")  # others are kept, and taken nowhere
    async with running(site) as engine, sender(site) as his:
        for number in range(3):
            await his.send(told(f"M{number}", "RAISE", event="A08", patient=f"{number}"))
        await until(lambda: is_dead(engine, "M2"))
        write(site, SLOWLY)
        assert (await engine.ask("config.reload"))["done"] is True
        replay = asyncio.ensure_future(
            engine.ask("dlq.replay", all=True, reason="corrected", **{"as": "reprocess"})
        )
        number = 0
        while not replay.done():  # each of these takes a commit of its own
            await his.send(adt(f"N{number}", event="R01", message_type="ORU"))
            number += 1
            await asyncio.sleep(0.01)
        assert (await replay)["going"] == 3
        assert number > 3
        await until(lambda: {"M0", "M1", "M2"} <= set(lab.ids))
        for name in ("M0", "M1", "M2"):
            await until(lambda name=name: is_sent(engine, name))
        assert await engine.ask("dlq.list") == []
    async with running(site) as engine:
        await until(lambda: is_sent(engine, "M0"))
        assert sum(one.startswith("M") for one in lab.ids) == 3
