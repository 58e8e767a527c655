"""Every connection has its turn, however much another sends: real sockets, both loops."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

import pytest

from ifengine.mllp.framing import encode_frame
from ifengine.mllp.inbound import FRAMES_A_TURN, Inbound
from ifengine.mllp.turns import BYTES_A_TURN, LONG_BYTES, ReadingTurns
from mllp.peers import Notes, listening, on_both_loops, peer_of, until

MIB = 1024 * 1024


@on_both_loops
async def test_a_burst_on_one_connection_lets_the_others_have_their_turn() -> None:
    notes = Notes()
    async with (
        listening(notes) as listener,
        peer_of(listener.port) as busy,
        peer_of(listener.port) as quiet,
    ):
        await until(lambda: listener.connections == 2)
        busy.send(b"".join(encode_frame(b"b%d" % n) for n in range(2000)))
        quiet.send(encode_frame(b"quiet"))
        for _ in range(2000):
            await busy.frame()
        assert await quiet.frame() == b"ACK quiet"
    assert notes.frames.index(b"quiet") <= 2 * FRAMES_A_TURN
    assert [f for f in notes.frames if f != b"quiet"] == [b"b%d" % n for n in range(2000)]


@on_both_loops
async def test_who_had_no_turn_before_the_engine_was_full_is_the_first_the_next_time() -> None:
    class Fills(Notes):
        """Full after ten frames, as an engine whose disk is slow."""

        listener: Any = None

        def frame_received(self, connection: Inbound, content: bytes) -> None:
            super().frame_received(connection, content)
            if len(self.frames) % 10 == 0:
                self.listener.pause_reading()

    notes = Fills()
    async with listening(notes) as listener, peer_of(listener.port) as busy:
        notes.listener = listener
        await until(lambda: listener.connections == 1)
        async with peer_of(listener.port) as also, peer_of(listener.port) as quiet:
            await until(lambda: listener.connections == 3)
            listener.pause_reading()
            for peer in (busy, also):
                peer.send(b"".join(encode_frame(b"%d" % n) for n in range(500)))
            quiet.send(encode_frame(b"quiet"))
            resumed = 0
            while b"quiet" not in notes.frames:
                if listener.is_paused:
                    resumed += 1
                    listener.resume_reading()
                await asyncio.sleep(0.01)  # what is in the sockets is read, if it may be
                assert len(notes.frames) < 1000, "read when the others had nothing more"
            assert resumed <= 12
            while len(notes.frames) < 1001:
                listener.resume_reading()
                await asyncio.sleep(0)


@pytest.mark.parametrize("many", [1, 12])
@on_both_loops
async def test_of_long_messages_no_more_is_read_in_a_turn_of_the_loop_than_others_can_wait_for(
    many: int,
) -> None:
    loop, read = asyncio.get_running_loop(), [0]

    def turn() -> None:
        if len(notes.frames) < many:
            read.append(0)
            loop.call_soon(turn)

    notes = Notes()
    received, largest = Inbound.data_received, 0

    def data_received(self: Inbound, data: bytes) -> None:
        nonlocal largest
        if self.unfinished >= LONG_BYTES:
            read[-1] += len(data)
            largest = max(largest, len(data))
        received(self, data)

    contents = [b"%02d" % n + b"x" * (24 * MIB // many) for n in range(many)]
    async with AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(Inbound, "data_received", data_received)
        listener = await stack.enter_async_context(
            listening(notes, max_content_bytes=32 * MIB, max_unfinished_bytes=64 * MIB)
        )
        peers = [await stack.enter_async_context(peer_of(listener.port)) for _ in contents]
        await until(lambda: listener.connections == many, 30)
        turn()
        for peer, content in zip(peers, contents, strict=True):
            peer.send(encode_frame(content))
        await until(lambda: len(notes.frames) == many, 60)
    assert sorted(notes.frames) == contents
    assert sum(read) > 16 * MIB
    # each begins without having waited
    assert max(read) <= BYTES_A_TURN + (many + 1) * largest
    assert median(size for size in read if size) <= BYTES_A_TURN + 2 * largest


def test_who_waits_longest_for_a_turn_is_the_first_and_who_reads_little_waits_for_nobody() -> None:
    class One:
        def __init__(self, name: str) -> None:
            self.name = name

        def read_on(self) -> None:
            went.append(self.name)

    went: list[str] = []
    due: list[Callable[[], None]] = []
    turns = ReadingTurns(due.append)
    assert turns.may_go_on(One("little"), 1000)
    for name in "abcd":
        assert not turns.may_go_on(One(name), BYTES_A_TURN // 2 + 1) or name == "a"
    assert len(due) == 1
    due.pop(0)()
    assert went == ["b", "c"]  # together as much as a turn
    due.pop(0)()
    assert went == ["b", "c", "d"]
    assert due == []
    assert turns.may_go_on(One("e"), BYTES_A_TURN - 1)
