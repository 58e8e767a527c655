"""A flood that shares a commit with others is answered behind them (G9)."""

from pathlib import Path

import pytest

from engine.support import END, START, Receiver, Site, adt, code, running, sender, until
from ifengine.mllp.inbound import Inbound
from ifengine.store.group import GroupCommit

FLOOD = 40
PATIENCE = 60.0


async def test_of_what_one_commit_holds_who_sent_least_is_answered_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = Receiver()
    await ward.start()
    site = Site(tmp_path / "site", {"ward": ward})
    answered: list[int] = []
    real_answer, real_flush = Inbound.answer, GroupCommit._flush
    held = False

    def answer(self: Inbound, frames: bytes, count: int = 1) -> None:
        answered.append(count)
        real_answer(self, frames, count)

    def flush(self: GroupCommit) -> None:
        if held:
            self._scheduled = False
        else:
            real_flush(self)

    monkeypatch.setattr(Inbound, "answer", answer)
    monkeypatch.setattr(GroupCommit, "_flush", flush)
    try:
        async with running(site) as run, sender(site) as busy, sender(site) as quiet:
            built = run.engine._pause.built
            assert built is not None
            (listener,) = built.listeners
            await until(lambda: listener.connections == 2, PATIENCE)
            held = True
            flood = [adt(f"F{n:02}", patient=str(n)) for n in range(FLOOD)]
            busy.writer.write(b"".join(START + content + END for content in flood))
            await until(lambda: listener.pending == FLOOD, PATIENCE)
            quiet.writer.write(START + adt("Q1") + END)
            await until(lambda: listener.pending == FLOOD + 1, PATIENCE)
            held = False
            assert run.engine.watch is not None
            run.engine.watch._parts.group.soon()
            assert code(await quiet.answer(PATIENCE)) == "AA"
            for content in flood:  # in their order, and each its own
                assert content.split(b"|")[9] in await busy.answer(PATIENCE)
            assert answered == [1, FLOOD]
            await until(lambda: len(ward.ids) == FLOOD + 1, PATIENCE)
    finally:
        await ward.stop()
