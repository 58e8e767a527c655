"""What a listener may hold of unfinished frames, and peers that vanish, with real sockets, on both loops."""

import asyncio
import socket
import struct

import pytest

from ifengine.clock import ManualClock
from ifengine.mllp.framing import encode_frame
from ifengine.mllp.inbound import _BY_WRITING, Inbound
from mllp.peers import Notes, listening, on_both_loops, peer_of, until

MEGABYTE = 1024 * 1024
ROOM = 8 * MEGABYTE


@on_both_loops
async def test_at_the_bound_the_largest_of_the_address_that_holds_most_is_closed() -> None:
    notes = Notes()
    limits = {"max_unfinished_bytes": 3 * MEGABYTE, "max_content_bytes": 2 * MEGABYTE}
    async with (
        listening(notes, **limits) as listener,
        peer_of(listener.port, local_addr=("127.0.0.9", 0), limit=ROOM) as modest,
        peer_of(listener.port, limit=ROOM) as small,
        peer_of(listener.port, limit=ROOM) as large,
    ):
        modest.send(b"\x0b" + b"x" * (3 * MEGABYTE // 2))  # the largest of all, alone
        await until(lambda: listener.unfinished > MEGABYTE)
        small.send(encode_frame(b"first") + b"\x0b" + b"x" * (MEGABYTE // 2))
        await until(lambda: listener.unfinished > 3 * MEGABYTE // 2 + MEGABYTE // 2)
        large.send(encode_frame(b"second") + b"\x0b" + b"x" * (5 * MEGABYTE // 4))
        await until(lambda: listener.counts.over_memory == 1)
        # what was whole is answered first
        assert await large.rest() == encode_frame(b"ACK second")
        assert listener.counts.over_memory == 1
        modest.send(b"\x1c\r")
        small.send(b"\x1c\r")
        assert len(await modest.frame()) == len(b"ACK ") + 3 * MEGABYTE // 2
        assert await small.frame() == b"ACK first"
        assert len(await small.frame()) == len(b"ACK ") + MEGABYTE // 2
        assert listener.unfinished == 0
    assert notes.faults == []  # what was given up is nobody's message


@on_both_loops
async def test_a_frame_as_long_as_allowed_has_room_whatever_the_bound_is() -> None:
    limits = {"max_unfinished_bytes": 1, "max_content_bytes": 4 * MEGABYTE}
    async with listening(Notes(), **limits) as listener, peer_of(listener.port, limit=ROOM) as peer:
        peer.send(encode_frame(b"x" * (4 * MEGABYTE)))
        assert len(await peer.frame()) == 4 * MEGABYTE + len(b"ACK ")
        assert listener.counts.over_memory == 0


@on_both_loops
async def test_what_was_taken_or_lost_is_no_longer_counted_nor_kept() -> None:
    notes = Notes()
    async with listening(notes) as listener:
        async with peer_of(listener.port, limit=ROOM) as peer:
            whole = encode_frame(b"x" * MEGABYTE)
            peer.send(whole)
            await peer.frame()
            (connection,) = notes.opened
            # an idle connection keeps nothing of the last message
            assert len(connection._decoder._buffer) == 0
            peer.send(whole[: MEGABYTE // 2])
            await until(lambda: listener.unfinished == MEGABYTE // 2)
            peer.send(whole[MEGABYTE // 2 :] + b"\x0bbegun")
            await peer.frame()
            await until(lambda: listener.unfinished == len(b"\x0bbegun"))
            assert len(connection._decoder._buffer) <= 64 * 1024 + len(b"\x0bbegun")
        await until(lambda: listener.connections == 0)
        assert listener.unfinished == 0


@on_both_loops
async def test_a_connection_that_is_held_is_counted_too() -> None:
    notes = Notes()
    async with listening(notes) as listener, peer_of(listener.port, limit=ROOM) as peer:
        peer.send(b"\x0bbegun")
        await until(lambda: listener.unfinished == 6)
        listener.pause_reading()
        await asyncio.sleep(0)
        listener.resume_reading()
        peer.send(b"\x1c\r")
        assert await peer.frame() == b"ACK begun"
        assert listener.unfinished == 0


@on_both_loops
async def test_a_peer_that_is_gone_before_the_loop_hears_of_it_is_no_fault_of_ours() -> None:
    """A reset between two turns of the loop: the end of its connection finds no connection."""
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    class Resets(Notes):
        def frame_received(self, connection: Inbound, content: bytes) -> None:
            super().frame_received(connection, content)
            raw.close()
            connection.end()
            loop.call_soon(connection.answer, b"")  # the way of a commit: nobody catches there

    notes = Resets(answers=False)
    async with listening(notes) as listener:
        await asyncio.to_thread(raw.connect, ("127.0.0.1", listener.port))
        raw.sendall(encode_frame(b"last"))
        await until(lambda: notes.closed)
        assert listener.connections == 0


@on_both_loops
async def test_a_peer_that_does_not_read_is_soon_not_read_either_and_then_closed() -> None:
    """Not after megabytes: what the kernel takes of answers for it is bounded too."""
    notes, clock = Notes(), ManualClock()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    async with listening(notes, clock, frame_timeout_seconds=30.0) as listener:
        await loop.sock_connect(raw, ("127.0.0.1", listener.port))
        frame = encode_frame(b"x" * 1024)
        flood = loop.create_task(loop.sock_sendall(raw, frame * 20_000))
        await until(lambda: notes.opened and notes.opened[0]._held & _BY_WRITING)
        assert len(notes.frames) < 1000
        listener.sweep()
        clock.advance(31)
        listener.sweep()
        assert listener.timeouts["write"] == 1
        await until(lambda: listener.connections == 0)
        with pytest.raises(ConnectionError):
            await flood
    raw.close()
