"""`reload: auto`: files that changed and came to rest are taken; what is refused is tried once."""

import asyncio
import os
from pathlib import Path

import pytest

from engine.support import Receiver, Running, Site, adt, running, sender, until
from ifengine.engine.auto_reload import look_at

MARK = "order_by: patient\nsteps: [{set: {MSH-8: %s}}]"


def marks(lab: Receiver) -> list[bytes]:
    return [content.split(b"\r")[0].split(b"|")[7] for content in lab.received]


async def versions(engine: Running) -> list[int]:
    return [row["version"] for row in await engine.ask("config.history")]


async def until_version(engine: Running, version: int) -> None:
    async with asyncio.timeout(30):
        while (await versions(engine))[0] != version:
            await asyncio.sleep(0.1)


async def test_files_that_changed_are_taken_and_a_refused_one_waits_for_the_next_change(
    site: Site, lab: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    site.facts = "reload: auto\n"
    site.head = MARK % "A"
    async with running(site) as engine, sender(site) as his:
        await his.send(adt("M1"))
        site.head = "stepps: []"
        site.write()
        told = ""
        async with asyncio.timeout(30):
            while "reload refused" not in told:
                await asyncio.sleep(0.1)
                told += capsys.readouterr().err
        assert await versions(engine) == [1]
        site.head = MARK % "B"
        site.write()
        await until_version(engine, 2)
        told += capsys.readouterr().err
        assert told.count("reload refused") == 1
        await his.send(adt("M2"))
        await until(lambda: len(lab.received) == 2)
        assert marks(lab) == [b"A", b"B"]


async def test_what_ran_is_kept_from_the_start_and_two_versions_can_be_compared(
    site: Site, lab: Receiver
) -> None:
    site.head = MARK % "A"
    async with running(site) as engine:
        site.head = MARK % "B"
        site.write()
        assert (await engine.ask("config.reload"))["version"] == 2
        answer = await engine.ask("config.diff", old=1)
        assert (answer["old"], answer["new"]) == (1, 2)
        [change] = answer["changes"]
        assert change["path"] == "channels.adt.steps[1].set.MSH-8"
        assert (change["before"], change["after"]) == ("A", "B")
        back = await engine.ask("config.diff", old=2, new=1)
        assert [(c["before"], c["after"]) for c in back["changes"]] == [("B", "A")]
        assert (await engine.ask("config.diff", old=2, new=2))["changes"] == []
        with pytest.raises(Exception, match="are not kept"):
            await engine.ask("config.diff", old=9)


def test_a_look_sees_changed_new_and_gone_files_and_no_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "channels" / "tables").mkdir(parents=True)
    site, table = tmp_path / "ifengine.yaml", tmp_path / "channels" / "tables" / "t.csv"
    site.write_text("a")
    seen = [look_at(tmp_path)]
    table.write_text("b")
    seen.append(look_at(tmp_path))
    os.utime(table, ns=(1, 1))
    seen.append(look_at(tmp_path))
    table.unlink()
    seen.append(look_at(tmp_path))
    assert seen[3] == seen[0]
    assert len(seen[1]) == 2
    assert seen[1] != seen[2]
    (tmp_path / "channels" / ".t.csv.swp").write_text("not saved yet")
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "store").write_text("not of the configuration")
    assert look_at(tmp_path) == seen[0]
