"""Every connection has its turn, however much another sends: real sockets, both loops."""

import asyncio
from typing import Any

import pytest

from ifengine.mllp.framing import encode_frame
from ifengine.mllp.inbound import BYTES_A_TURN, FRAMES_A_TURN, Inbound
from ifengine.pieces import GIANT_BYTES
from mllp.peers import Notes, listening, on_both_loops, peer_of, until


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


@on_both_loops
async def test_of_a_giant_no_more_is_read_in_a_turn_of_the_loop_than_the_others_can_wait_for() -> (
    None
):
    loop, read, turns = asyncio.get_running_loop(), [0], 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if len(notes.frames) < 1:
            read.append(0)
            loop.call_soon(turn)

    notes = Notes()
    received, largest = Inbound.data_received, 0

    def data_received(self: Inbound, data: bytes) -> None:
        nonlocal largest
        if self.unfinished >= GIANT_BYTES:
            read[-1] += len(data)
            largest = max(largest, len(data))
        received(self, data)

    content = b"x" * (24 * GIANT_BYTES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inbound, "data_received", data_received)
        async with (
            listening(notes, max_content_bytes=32 * GIANT_BYTES) as listener,
            peer_of(listener.port) as peer,
        ):
            turn()
            peer.send(encode_frame(content))
            await until(lambda: len(notes.frames) == 1, 30)
    assert notes.frames == [content]
    assert sum(read) > 20 * GIANT_BYTES
    assert max(read) <= BYTES_A_TURN + largest
