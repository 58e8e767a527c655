"""SIGKILL between the pieces of a giant and its message: nothing is promised, nothing half is left (G1)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from crash.failing import KILLED
from crash.people import ask, listed
from crash.serving import Site
from crash.watching import watch_balance
from engine.support import END, START, adt, code
from engine.test_isolation import RoomyReceiver
from ifengine.failpoints import VARIABLE
from ifengine.pieces import GIANT_BYTES
from ifengine.store.sqlite_checksums import checked_vfs

PATIENCE = 60.0
CHANNEL = """\
ifengine: 1
channel: ward
from: in
ignore_types: {identity: no merges here}
order_by: patient
steps: [{upper: PID-5.1}]
to:
  lab: {connection: lab, retry: {first: 20ms, max: 100ms}}
"""
LARGE = adt("G1", patient="1") + b"ZZZ|" + b"x" * (GIANT_BYTES + GIANT_BYTES // 3) + b"\r"
PIECES = 3  # of it, and of the copy that the steps make


class Ward:
    """One engine as a child process, a receiver here, and a giant to send."""

    def __init__(self, folder: Path) -> None:
        self.lab = RoomyReceiver()
        self.site = Site(
            folder / "site",
            listen={"in": ""}, send={"lab": self.lab.port}, channels={"ward": CHANNEL},
        )  # fmt: skip
        self.database = self.site.folder / "var" / "store" / "store.db"

    async def start(self, armed: str = "") -> None:
        self.site.environ[VARIABLE] = armed
        await asyncio.to_thread(self.site.start)

    async def send(self) -> bytes:
        """Send the giant; return its answer, empty where there was none."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.site.ports["in"])
        answer = b""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(START + LARGE + END)
            async with asyncio.timeout(PATIENCE):
                answer = await reader.readuntil(END)
        writer.close()
        return answer

    async def killed(self) -> None:
        process = self.site.process
        assert process is not None
        assert await asyncio.to_thread(process.wait, PATIENCE) == KILLED

    def look(self, statement: str) -> Any:
        connection = apsw.Connection(
            str(self.database), flags=apsw.SQLITE_OPEN_READONLY, vfs=checked_vfs()
        )
        connection.set_busy_timeout(5000)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def pieces(self) -> list[tuple[int, int]]:
        """Return every giant with how many pieces it has."""
        found: list[tuple[int, int]] = self.look(
            "SELECT giant, count(*) FROM giant_piece GROUP BY giant ORDER BY giant"
        )
        return found

    async def until(self, what: str, condition: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.02)
        assert condition(), what


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    made = Ward(tmp_path)
    await made.lab.start()
    try:
        yield made
    finally:
        made.site.close()
        await made.lab.stop()


@pytest.mark.crash
async def test_a_kill_between_the_pieces_of_a_giant_and_its_message_leaves_nothing_of_it(
    ward: Ward,
) -> None:
    for number in range(1, PIECES + 1):
        await ward.start(f"store.giant_piece=kill@{number}")
        assert await ward.send() == b""
        await ward.killed()
        assert ward.look("SELECT count(*) FROM inbox") == [(0,)]
        assert ward.pieces()[-1][1] == number
    # and while the pieces of nobody are removed
    ward.site.environ[VARIABLE] = "store.giant_swept=kill@1"
    await asyncio.to_thread(ward.site.spawn)
    await ward.killed()
    await ward.start()
    await ward.until("the pieces of nobody are gone", lambda: ward.pieces() == [])
    assert listed(ward.site) == []
    assert code(await ward.send()) == "AA"
    await ward.until("it is delivered", lambda: len(ward.lab.received) == 1)
    assert ward.lab.received == [LARGE.replace(b"Sample", b"SAMPLE")]
    assert len(listed(ward.site)) == 1
    assert ward.site.stop() == 0


@pytest.mark.crash
async def test_a_kill_between_the_pieces_of_a_changed_giant_and_its_delivery_loses_nothing(
    ward: Ward,
) -> None:
    await ward.start(f"store.giant_piece=kill@{PIECES + 2}")
    assert code(await ward.send()) == "AA"
    await ward.killed()
    assert ward.look("SELECT count(*) FROM inbox") == [(1,)]
    assert ward.look("SELECT count(*) FROM copy") == [(0,)]
    assert [count for _, count in ward.pieces()] == [PIECES, 2]
    await ward.start()
    with watch_balance(ward.database) as watch:
        await ward.until("it is delivered", lambda: len(ward.lab.received) == 1)
        await ward.until(
            "what the kill left is gone", lambda: [n for _, n in ward.pieces()] == [PIECES] * 2
        )
    watch.assert_even()
    assert ward.lab.received == [LARGE.replace(b"Sample", b"SAMPLE")]
    assert ask(ward.site, "tally")["even"]
    assert ward.site.stop() == 0
