"""A folder as a source: files in, messages to a receiver, files away."""

import asyncio
import os
from pathlib import Path

import pytest

from engine.support import Receiver, Running, Site, adt, running, sender, until

HEAD = """\
ifengine: 1
channel: hub
from:
  files: {dir: hub/in, stable_for: 50ms, every: 50ms, done: hub/done, bad: hub/bad}
%s
to:
  lab: {connection: to-lab}
"""
FHS = rb"FHS|^~\&|HUB|RIVER|IE|RIVER|20260105" + b"\r"
BHS = rb"BHS|^~\&|HUB|RIVER|IE|RIVER|20260105||b1" + b"\r"


@pytest.fixture
async def lab():  # type: ignore[no-untyped-def]
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def site(tmp_path: Path, lab: Receiver) -> Site:
    made = Site(tmp_path / "site", {"lab": lab}, head="")
    made.channels["hub"] = HEAD % "unbatch: {check_counts: yes}"
    return made


def drop(site: Site, name: str, content: bytes) -> None:
    """Write a file as a sender does that does not know of temporary names."""
    folder = site.folder / "hub" / "in"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def batch(*messages: bytes, count: int | None = None) -> bytes:
    said = len(messages) if count is None else count
    return FHS + BHS + b"".join(messages) + b"BTS|%d\rFTS|1\r" % said


def names(site: Site, folder: str) -> list[str]:
    found = site.folder / "hub" / folder
    return sorted(os.listdir(found)) if found.exists() else []


async def states(engine: Running) -> list[tuple[str, dict[str, str]]]:
    rows = await engine.ask("messages.list", limit=1000, channel="hub")
    return [(r["control_id"], {d["name"]: d["state"] for d in r["destinations"]}) for r in rows]


async def test_a_file_is_delivered_in_its_order_and_moves_to_done(
    site: Site, lab: Receiver
) -> None:
    sent = [adt(f"M{n}") for n in range(40)]
    drop(site, "night.hl7", batch(*sent))
    async with running(site) as engine:
        await until(lambda: len(lab.received) == 40)
        assert lab.received == sent
        await until(lambda: names(site, "done") == ["night.hl7"])
        assert names(site, "in") == names(site, "bad") == []
        assert await engine.letters() == []


async def test_a_file_whose_counts_do_not_agree_is_one_dead_letter_and_goes_to_bad(
    site: Site, lab: Receiver
) -> None:
    drop(site, "night.hl7", batch(adt("M1"), adt("M2"), count=3))
    drop(site, "other.hl7", batch(adt("M3")))
    async with running(site) as engine:
        await until(lambda: lab.ids == ["M3"])
        await until(lambda: names(site, "bad") == ["night.hl7"])
        (group,) = await engine.letters()
        assert (group["count"], group["channel"]) == (1, "hub")
        assert group["reason"] == "BTS-1 does not agree with the messages of its batch"


async def test_a_bad_message_in_a_good_file_is_set_aside_alone(site: Site, lab: Receiver) -> None:
    torn = b"MSH|^~\\&|HIS\rPID|1\r"
    training = adt("M2", msh="|T|2.5.1")
    drop(site, "night.hl7", batch(adt("M1"), torn, training, adt("M3")))
    async with running(site) as engine:
        await until(lambda: lab.ids == ["M1", "M3"])
        await until(lambda: names(site, "done") == ["night.hl7"])
        reasons = sorted(group["reason"] for group in await engine.letters())
        assert reasons == ["processing id not accepted", "short_msh"]


async def test_an_empty_batch_is_taken_and_makes_nothing(site: Site, lab: Receiver) -> None:
    drop(site, "none.hl7", FHS + BHS + b"BTS|0\rFTS|1\r")
    async with running(site) as engine:
        await until(lambda: (site.folder / "hub/done/none.hl7").exists())
        assert await states(engine) == []
        assert await engine.letters() == []


async def test_a_file_that_still_grows_is_not_taken(site: Site, lab: Receiver) -> None:
    site.channels["hub"] = site.channels["hub"].replace("stable_for: 50ms", "stable_for: 400ms")
    whole = batch(adt("M1"), adt("M2"))
    async with running(site):
        for end in range(10, len(whole), 30):
            drop(site, "slow.hl7", whole[:end])
            await asyncio.sleep(0.02)
        drop(site, "slow.hl7", whole)
        await until(lambda: lab.ids == ["M1", "M2"])
        await until(lambda: names(site, "done") == ["slow.hl7"])


async def test_the_same_messages_in_a_second_file_are_not_delivered_again(
    site: Site, lab: Receiver
) -> None:
    drop(site, "a.hl7", batch(adt("M1"), adt("M2")))
    async with running(site):
        await until(lambda: names(site, "done") == ["a.hl7"])
        drop(site, "b.hl7", batch(adt("M1"), adt("M2"), adt("M3")))
        await until(lambda: names(site, "done") == ["a.hl7", "b.hl7"])
        await until(lambda: lab.ids == ["M1", "M2", "M3"])


async def test_a_file_of_a_name_that_is_taken_keeps_both(site: Site, lab: Receiver) -> None:
    drop(site, "a.hl7", batch(adt("M1")))
    async with running(site):
        await until(lambda: names(site, "done") == ["a.hl7"])
        drop(site, "a.hl7", batch(adt("M2")))
        await until(lambda: len(names(site, "done")) == 2)
        await until(lambda: lab.ids == ["M1", "M2"])


async def all_sent(engine: Running) -> bool:
    return all(found == {"lab": "sent"} for _, found in await states(engine))


async def test_a_crash_between_the_commit_and_the_move_delivers_nothing_twice(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # control ids that come with ever new contents switch the guard off: only the mark helps then
    many = [adt("SAME", patient=str(n)) for n in range(8)]
    drop(site, "night.hl7", batch(*many))
    from ifengine.routes.file_source import FileSource

    with monkeypatch.context() as patched:
        patched.setattr(FileSource, "_move", _full)
        async with running(site) as engine:
            await until(lambda: len(lab.received) == 8)
            await until(lambda: all_sent(engine))  # on disk: or a crash sends it again
            await engine.kill()
    assert names(site, "in") == ["night.hl7"]
    async with running(site):
        await until(lambda: names(site, "done") == ["night.hl7"])
        await asyncio.sleep(0.2)
        assert lab.received == many


def _full(self: object, found: object, folder: Path, number: int) -> None:
    raise OSError(28, "No space left on device")


async def test_a_folder_that_cannot_be_read_harms_nothing_and_is_read_again(
    site: Site, lab: Receiver
) -> None:
    async with running(site) as engine:
        inbox = site.folder / "hub" / "in"
        await until(inbox.exists)
        inbox.rmdir()
        await asyncio.sleep(0.2)
        (source,) = engine.engine._built.file_sources  # type: ignore[union-attr]
        await until(lambda: source.failed != "")
        drop(site, "a.hl7", batch(adt("M1")))
        await until(lambda: lab.ids == ["M1"])
        assert source.failed == ""


@pytest.mark.parametrize("content", [batch(adt("M1")), adt("M1") + adt("M2")])
async def test_without_unbatch_a_file_of_several_messages_is_one_dead_letter(
    site: Site, lab: Receiver, content: bytes
) -> None:
    site.channels["hub"] = HEAD % ""
    drop(site, "a.hl7", content)
    drop(site, "b.hl7", adt("M9"))
    async with running(site) as engine:
        await until(lambda: lab.ids == ["M9"])
        await until(lambda: names(site, "bad") == ["a.hl7"])
        (group,) = await engine.letters()
        assert group["reason"].startswith("several messages in one file")


async def test_a_folder_that_cannot_be_made_stops_nothing_and_doctor_says_so(
    site: Site, lab: Receiver
) -> None:
    site.write()
    (site.folder / "hub").write_text("a file where the folder should be")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])

        async def told() -> bool:
            return any("hub: its folder" in row["text"] for row in await engine.ask("doctor"))

        await until(told)
        (site.folder / "hub").unlink()
        drop(site, "a.hl7", batch(adt("M2")))
        await until(lambda: lab.ids == ["M1", "M2"])
