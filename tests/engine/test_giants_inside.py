"""Giants that come in on no connection: out of files, and from one channel to another (G7)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.support import END, START, Site, adt, code, running, sender, until
from engine.test_channel_to_channel import FIRST, SECOND
from engine.test_file_source import HEAD as HUB
from engine.test_file_source import batch, drop, names
from engine.test_giants import IN_PIECES, PATIENCE, edit, giant
from engine.test_isolation import RoomyReceiver
from ifengine.store.base import Batch
from ifengine.store.giants import STORED_BYTES
from ifengine.store.sqlite import SqliteStore

# what is beside a giant in a commit here: some small messages
BESIDE = 20_000


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of content each commit carries."""
    found: list[int] = []
    real = SqliteStore.submit

    def submit(self: SqliteStore, batch: Batch, finished: Callable[..., None]) -> None:
        found.append(
            sum(len(piece.body) for piece in batch.pieces)
            + sum(len(entry.sealed) for entry in batch.inbox)
            + sum(len(sealed) for _, sealed in batch.copies)
        )
        real(self, batch, finished)

    monkeypatch.setattr(SqliteStore, "submit", submit)
    return found


async def test_giants_out_of_a_file_are_stored_in_pieces_in_the_order_of_the_file(
    tmp_path: Path, carried: list[int]
) -> None:
    lab = RoomyReceiver()
    await lab.start()
    site = Site(tmp_path / "site", {"lab": lab}, head="")
    site.channels["hub"] = HUB % "unbatch: {check_counts: yes}"
    sent = [adt("M1"), giant("G2"), adt("M3"), giant("G4"), adt("M5")]
    drop(site, "night.hl7", batch(*sent))
    try:
        async with running(site) as engine:
            await until(lambda: len(lab.received) == len(sent), PATIENCE)
            assert lab.received == sent
            await until(lambda: names(site, "done") == ["night.hl7"], PATIENCE)
            drop(site, "again.hl7", sent[1])  # a repeat: its pieces go
            await until(lambda: "again.hl7" in names(site, "done"), PATIENCE)
            assert await engine.letters() == []
    finally:
        await lab.stop()
    assert edit(site, IN_PIECES) == [(1, 2), (1, 4)]
    assert max(carried) <= STORED_BYTES + BESIDE


async def test_a_giant_goes_from_one_channel_to_the_other_in_pieces(
    tmp_path: Path, carried: list[int]
) -> None:
    ward = RoomyReceiver()
    await ward.start()
    site = Site(tmp_path / "site", {"ward": ward}, head="types: [SIU^*]\norder_by: patient")
    site.channels["first"] = FIRST.replace("from: in\n", "from: in\ntypes: [ADT^*]\n")
    site.channels["second"] = SECOND
    sent = [adt("M1", patient="1"), giant("G2"), adt("M3", patient="1")]
    try:
        async with running(site) as engine, sender(site) as his:
            for content in sent:
                his.writer.write(START + content + END)
                assert code(await his.answer(PATIENCE)) == "AA"
            await until(lambda: len(ward.received) == len(sent), PATIENCE)
            assert ward.received == [one.replace(b"|IE|", b"|MIDDLE|") for one in sent]
            assert await engine.letters() == []
    finally:
        await ward.stop()
    # as it came, as the first channel changed it, and as the second one got it
    assert sorted(kind for kind, _ in edit(site, IN_PIECES)) == [1, 1, 2]
    assert max(carried) <= STORED_BYTES + BESIDE
