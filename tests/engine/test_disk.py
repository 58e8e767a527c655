"""A full disk and a whole engine: who reads and who does not; what is left after the storage failed."""

import os
from pathlib import Path
from typing import Any

import pytest

from engine.support import (
    Receiver,
    Running,
    Site,
    adt,
    free_port,
    metric,
    running,
    sender,
    until,
)
from ifengine.errors import StorageFailedError
from ifengine.store.sqlite import SqliteStore

MIB = 1 << 20


@pytest.fixture
async def lab() -> Any:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def site(tmp_path: Path, lab: Receiver) -> Site:
    return Site(tmp_path / "site", {"lab": lab})


class Room:
    """Free space as the engine sees it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.free = 10**12
        patch.setattr("ifengine.engine.watch.os.statvfs", self._look)

    def _look(self, path: object) -> Any:
        room = self

        class Seen:
            f_frsize = 1
            f_bavail = f_bfree = f_blocks = room.free

        return Seen()


async def value(engine: Running, name: str, **labels: str) -> float:
    return metric((await engine.ask("metrics"))["text"], name, **labels)


async def test_the_ballast_is_made_at_the_start_and_again_when_there_is_room_for_it_and_the_reserve(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(monkeypatch)
    ballast = site.folder / "var" / "store" / "store.ballast"
    async with running(site) as engine, sender(site) as his:
        await until(ballast.exists)
        assert ballast.stat().st_size == MIB  # no more than the reserve, where none is said
        room.free = MIB + MIB // 2  # above the reserve, below reserve and ballast
        engine.engine.watch._store.space.release()

        async def is_low() -> bool:
            return await value(engine, "ifengine_intake_paused", reason="disk") == 1

        await until(is_low)
        assert await value(engine, "ifengine_disk_ballast_bytes") == 0
        found = await engine.ask("doctor", check="disk")
        assert [(row["level"], row["text"]) for row in found if "ballast" in row["text"]] == [
            ("fail", "the ballast was given up: 1 MiB are missing")
        ]
        his.writer.write(b"\x0b" + adt("M1") + b"\x1c\r")
        assert await his.is_silent(0.5)
        assert not ballast.exists()
        room.free = 3 * MIB
        assert b"|M1" in await his.answer(20)
        await until(ballast.exists)
        await until(lambda: lab.ids == ["M1"])


async def test_while_the_disk_is_low_folders_are_not_read_and_a_reload_starts_no_reading(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(monkeypatch)
    arriving = site.folder / "arriving"
    arriving.mkdir(parents=True)
    site.channels["folder"] = (
        "ifengine: 1\nchannel: folder\n"
        "from:\n  files: {dir: arriving, stable_for: 50ms, every: 50ms, done: done, bad: bad}\n"
        'to:\n  lab:\n    files: {dir: out, name: "${msg.id}.hl7"}\n'
    )
    async with running(site) as engine:
        room.free = 0

        async def is_low() -> bool:
            return await value(engine, "ifengine_intake_paused", reason="disk") == 1

        await until(is_low)
        (arriving / "one.hl7").write_bytes(adt("F1"))
        text = (site.folder / "ifengine.yaml").read_text()
        again = free_port()
        changed = text.replace(f"port: {site.port}", f"port: {again}")
        assert changed != text
        (site.folder / "ifengine.yaml").write_text(changed)
        await engine.ask("config.reload")
        site.port = again
        async with sender(site) as his:
            his.writer.write(b"\x0b" + adt("M1") + b"\x1c\r")
            assert await his.is_silent(1.5)
            assert lab.ids == []
            assert (arriving / "one.hl7").exists()
            room.free = 10**12
            assert b"|M1" in await his.answer(20)
            await until(lambda: lab.ids == ["M1"])
            await until(lambda: not (arriving / "one.hl7").exists())


async def test_after_the_storage_failed_the_next_start_reads_anew_writes_it_down_and_goes_on(
    site: Site, lab: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = site.folder / "var" / "store.suspect"  # beside the admin socket
    async with running(site) as engine, sender(site) as his:
        assert await value(engine, "ifengine_store_suspect") == 0
        assert await his.send(adt("M1")) == "AA"

        def fails(self: SqliteStore, job: object) -> None:
            raise OSError(5, os.strerror(5))

        monkeypatch.setattr(SqliteStore, "_transact", fails)
        his.writer.write(b"\x0b" + adt("M2") + b"\x1c\r")
        assert await engine.task == 75
        assert marker.exists()
    monkeypatch.undo()
    opened: list[bool] = []
    make = SqliteStore.__init__

    def noting(self: SqliteStore, folder: Path, **given: Any) -> None:
        opened.append(bool(given.get("suspect")))
        make(self, folder, **given)

    monkeypatch.setattr(SqliteStore, "__init__", noting)
    async with running(site) as engine, sender(site) as his:
        assert opened == [True]
        assert not marker.exists()
        assert await value(engine, "ifengine_store_suspect") == 1
        reader = engine.engine.watch._store.reader()
        records = reader.audit_after(0, 100)
        reader.close()
        assert [row.outcome for row in records if row.action == "storage_failed"] == [
            "read again, whole"
        ]
        assert await his.send(adt("M2")) == "AA"
    async with running(site) as engine:
        assert opened == [True, False]
        assert await value(engine, "ifengine_store_suspect") == 0
    assert "M2" not in capsys.readouterr().err


async def test_a_stop_on_a_full_disk_ends_in_its_time_with_75_and_no_marker(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import apsw

    async with running(site, grace_seconds=1.0) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"

        def full(self: SqliteStore, job: object) -> None:
            raise apsw.exception_for(apsw.SQLITE_FULL)

        monkeypatch.setattr(SqliteStore, "_transact", full)
        his.writer.write(b"\x0b" + adt("M2") + b"\x1c\r")
        assert await his.is_silent(0.5)
        assert not engine.task.done()  # it waits for room

        async def says_full() -> bool:
            return await value(engine, "ifengine_disk_full") == 1

        await until(says_full)
        assert await engine.stop() == 75
    assert not (site.folder / "var" / "store.suspect").exists()
    assert "the disk is full" in capsys.readouterr().err
    assert issubclass(type(engine.engine._failure), StorageFailedError)
