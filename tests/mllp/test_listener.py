"""The listener with real sockets, on both loops."""

import asyncio
import ipaddress
import socket
import struct

import pytest

from ifengine.clock import ManualClock, SystemClock
from ifengine.mllp.framing import FramingFault, Tolerance, encode_frame
from ifengine.mllp.inbound import MAX_PENDING, Inbound
from ifengine.mllp.listener import ListenerOptions, MllpListener
from ifengine.mllp.sockets import plain_address
from mllp.peers import LOOPBACK, Notes, listening, on_both_loops, peer_of, until


@on_both_loops
async def test_pipelined_frames_are_answered_in_order() -> None:
    notes = Notes()
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        contents = [b"message %d" % number for number in range(2500)]
        peer.send(b"".join(map(encode_frame, contents)))
        answers = [await peer.frame() for _ in contents]
    assert answers == [b"ACK " + content for content in contents]
    assert notes.frames == contents


@on_both_loops
async def test_an_end_block_split_over_two_writes_is_answered_once() -> None:
    async with listening(Notes()) as listener, peer_of(listener.port) as peer:
        peer.send(b"\x0bfirst\x1c")
        await asyncio.sleep(0.05)
        peer.send(b"\r\x0bsecond\x1c\r")
        assert [await peer.frame(), await peer.frame()] == [b"ACK first", b"ACK second"]
        assert listener.counts.tolerated[Tolerance.MISSING_CR_AFTER_END_BLOCK] == 0


@on_both_loops
async def test_a_sender_without_cr_is_answered_after_a_short_silence() -> None:
    async with listening(Notes()) as listener, peer_of(listener.port) as peer:
        for content in (b"first", b"second"):
            peer.send(b"\x0b%b\x1c" % content)
            assert await peer.frame() == b"ACK " + content
        assert listener.counts.tolerated[Tolerance.MISSING_CR_AFTER_END_BLOCK] == 2


@on_both_loops
async def test_bytes_one_at_a_time_give_the_same_frames() -> None:
    async with listening(Notes()) as listener, peer_of(listener.port) as peer:
        for byte in encode_frame(b"slow") + encode_frame(b"sender"):
            peer.send(bytes([byte]))
            await asyncio.sleep(0.001)
        assert [await peer.frame(), await peer.frame()] == [b"ACK slow", b"ACK sender"]


@on_both_loops
async def test_silence_settles_a_frame_too() -> None:
    notes = Notes(answers=False)
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(encode_frame(b"one") + encode_frame(b"two"))
        await until(lambda: len(notes.owed) == 2)
        connection = notes.owed[0][0]
        connection.answer(b"", 1)
        connection.answer(encode_frame(b"ACK two"), 1)
        assert await peer.frame() == b"ACK two"
        assert connection.pending == listener.pending == 0


@on_both_loops
async def test_a_fault_is_handed_over_and_never_answered_and_earlier_frames_are() -> None:
    notes = Notes(answers=False)
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(encode_frame(b"good") + b"\x0blost end\x0bremnant\x1c\r" + encode_frame(b"late"))
        await until(lambda: notes.faults)
        assert notes.closed == []
        notes.answer_all()
        assert await peer.rest() == encode_frame(b"ACK good")
        await peer.close()
        await until(lambda: notes.closed)
    assert notes.frames == [b"good"]
    assert notes.faults == [
        (FramingFault.START_BLOCK_INSIDE_FRAME, b"\x0blost end\x0bremnant\x1c\r")
    ]
    assert listener.counts.faults[FramingFault.START_BLOCK_INSIDE_FRAME] == 1


@on_both_loops
async def test_a_close_with_unread_bytes_does_not_reset_away_the_last_answers() -> None:
    notes = Notes()
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(encode_frame(b"good") + b"stray\x1c\r" + b"#" * 4_000_000)
        await until(lambda: notes.faults)
        await asyncio.sleep(0.05)
        # A reset would raise here.
        assert await peer.reader.read() == encode_frame(b"ACK good")


@pytest.mark.parametrize(
    ("probe", "kept"),
    [(b"GET / HTTP/1.1\r\n\r\n", b"GET "), (b"\x16\x03\x01\x00\x05", b"\x16\x03")],
)
@on_both_loops
async def test_a_probe_of_another_protocol_is_closed_without_a_word(
    probe: bytes, kept: bytes
) -> None:
    notes = Notes()
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(probe)
        assert await peer.rest() == b""
    assert notes.faults == [(FramingFault.NOT_MLLP, kept)]


@on_both_loops
async def test_a_fault_of_one_connection_leaves_the_others_alone() -> None:
    async with listening(Notes()) as listener, peer_of(listener.port) as good:
        async with peer_of(listener.port) as bad:
            bad.send(b"no start block\x1c\r")
            assert await bad.rest() == b""
        good.send(encode_frame(b"still here"))
        assert await good.frame() == b"ACK still here"


@on_both_loops
async def test_a_peer_that_closes_inside_a_frame_leaves_a_record() -> None:
    notes = Notes()
    async with listening(notes) as listener:
        async with peer_of(listener.port) as peer:
            peer.send(encode_frame(b"whole") + b"\x0bhalf")
            assert await peer.frame() == b"ACK whole"
        await until(lambda: notes.closed)
    assert notes.faults == [(FramingFault.TRUNCATED, b"\x0bhalf")]


@on_both_loops
async def test_a_reset_inside_a_frame_leaves_a_record() -> None:
    notes = Notes()
    async with listening(notes) as listener:
        async with peer_of(listener.port) as peer:
            peer.send(b"\x0bhalf")
            await until(lambda: notes.opened)
            await asyncio.sleep(0.05)
            linger = struct.pack("ii", 1, 0)
            peer.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
        await until(lambda: notes.closed)
    assert notes.faults == [(FramingFault.TRUNCATED, b"\x0bhalf")]


@on_both_loops
async def test_a_sender_that_closes_its_half_still_gets_its_answers() -> None:
    notes = Notes(answers=False)
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(encode_frame(b"a1") + encode_frame(b"b2"))
        peer.writer.write_eof()
        await until(lambda: len(notes.owed) == 2)
        await asyncio.sleep(0.02)
        notes.answer_all()
        assert await peer.rest() == encode_frame(b"ACK a1") + encode_frame(b"ACK b2")
        await until(lambda: notes.closed)


@on_both_loops
async def test_answers_to_a_peer_that_is_gone_are_without_effect() -> None:
    notes = Notes(answers=False)
    async with listening(notes) as listener:
        async with peer_of(listener.port) as peer:
            peer.send(encode_frame(b"ab"))
            await until(lambda: notes.owed)
            connection = notes.owed[0][0]
            connection.abort()
        await until(lambda: notes.closed)
        notes.answer_all()
        connection.refuse_and_close()
        assert connection.pending == 0
        assert listener.connections == 0


@on_both_loops
async def test_refuse_and_close_gives_no_answer_but_keeps_the_earlier_ones() -> None:
    notes = Notes(answers=False)
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(b"".join(encode_frame(b"m%d" % n) for n in range(3)))
        await until(lambda: len(notes.owed) == 3)
        connection = notes.owed[0][0]
        connection.answer(encode_frame(b"ACK m0"))
        connection.refuse_and_close()
        connection.answer(encode_frame(b"ACK m1"))
        assert await peer.rest() == encode_frame(b"ACK m0")


@on_both_loops
async def test_an_address_outside_the_allow_list_is_closed_before_a_byte_is_read() -> None:
    notes = Notes()
    elsewhere = (ipaddress.ip_network("10.0.0.0/8"),)
    async with listening(notes, allow=elsewhere) as listener, peer_of(listener.port) as peer:
        peer.send(encode_frame(b"hello"))
        assert await peer.rest() == b""
        assert listener.counts.not_allowed == 1
    assert notes.opened == []


@on_both_loops
async def test_an_address_on_the_allow_list_is_served() -> None:
    async with listening(Notes(), allow=LOOPBACK) as listener, peer_of(listener.port) as peer:
        peer.send(encode_frame(b"hello"))
        assert await peer.frame() == b"ACK hello"


def test_ipv4_that_arrives_over_ipv6_is_compared_as_ipv4() -> None:
    assert plain_address("::ffff:10.1.2.3") == ipaddress.ip_address("10.1.2.3")
    assert plain_address("fe80::1%eth0") == ipaddress.ip_address("fe80::1")


@pytest.mark.parametrize(
    ("limit", "count"),
    [("max_connections", "over_limit"), ("max_connections_per_address", "over_address_limit")],
)
@on_both_loops
async def test_connections_over_a_limit_are_closed_and_a_free_place_is_given_again(
    limit: str, count: str
) -> None:
    notes = Notes()
    async with (
        listening(notes, **{limit: 2}) as listener,
        peer_of(listener.port) as first,
        peer_of(listener.port),
    ):
        await until(lambda: listener.connections == 2)
        async with peer_of(listener.port) as third:
            await until(lambda: getattr(listener.counts, count) == 1)
            assert await third.rest() == b""
        await first.close()
        await until(lambda: listener.connections == 1)
        async with peer_of(listener.port) as fourth:
            fourth.send(encode_frame(b"place"))
            assert await fourth.frame() == b"ACK place"


@on_both_loops
async def test_an_idle_connection_is_closed_at_its_deadline_and_not_before() -> None:
    clock, notes = ManualClock(), Notes()
    async with (
        listening(notes, clock, idle_timeout_seconds=60) as listener,
        peer_of(listener.port) as peer,
    ):
        peer.send(encode_frame(b"ab"))
        assert await peer.frame() == b"ACK ab"
        listener.sweep()
        clock.advance(59)
        listener.sweep()
        assert listener.counts.timeouts["idle"] == 0
        clock.advance(1)
        listener.sweep()
        assert await peer.rest() == b""
        assert listener.counts.timeouts == {"idle": 1, "frame": 0, "write": 0}
    assert notes.faults == []


@on_both_loops
async def test_a_connection_that_waits_for_an_answer_is_not_idle() -> None:
    clock, notes = ManualClock(), Notes(answers=False)
    async with (
        listening(notes, clock, idle_timeout_seconds=60) as listener,
        peer_of(listener.port) as peer,
    ):
        peer.send(encode_frame(b"ab"))
        await until(lambda: notes.owed)
        for _ in range(3):
            clock.advance(100)
            listener.sweep()
        notes.answer_all()
        assert await peer.frame() == b"ACK ab"


@on_both_loops
async def test_a_frame_that_stops_arriving_is_recorded_and_its_connection_closed() -> None:
    clock, notes = ManualClock(), Notes()
    async with (
        listening(notes, clock, frame_timeout_seconds=30) as listener,
        peer_of(listener.port) as peer,
    ):
        peer.send(b"\x0bhalf")
        connection = await _first(notes)
        await until(lambda: connection._decoder.is_mid_frame)
        listener.sweep()
        clock.advance(29)
        listener.sweep()
        assert notes.faults == []
        clock.advance(1)
        listener.sweep()
        assert await peer.rest() == b""
        assert listener.counts.timeouts["frame"] == 1
    assert notes.faults == [(FramingFault.TRUNCATED, b"\x0bhalf")]


@on_both_loops
async def test_a_frame_that_drips_in_has_a_deadline_for_the_whole() -> None:
    clock, notes = ManualClock(), Notes()
    async with (
        listening(notes, clock, frame_timeout_seconds=30, frame_total_seconds=100) as listener,
        peer_of(listener.port) as peer,
    ):
        peer.send(b"\x0b")
        connection = await _first(notes)
        for drops in range(1, 20):
            peer.send(b"x")
            await until(lambda d=drops: len(connection._decoder._buffer) > d or notes.faults)
            listener.sweep()
            if notes.faults:
                break
            clock.advance(10)
        assert len(notes.faults) == 1
        assert 100 <= clock.monotonic() <= 110


async def _first(notes: Notes) -> Inbound:
    await until(lambda: notes.opened)
    return notes.opened[0]


@on_both_loops
async def test_a_pause_takes_no_frame_and_loses_none() -> None:
    notes = Notes()
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        await until(lambda: notes.opened)
        listener.pause_reading()
        peer.send(b"".join(encode_frame(b"m%03d" % n) for n in range(500)))
        async with peer_of(listener.port) as newcomer:
            newcomer.send(encode_frame(b"new"))
            await asyncio.sleep(0.05)
            assert notes.frames == []
            listener.resume_reading()
            assert [await peer.frame() for _ in range(500)] == [
                b"ACK m%03d" % n for n in range(500)
            ]
            assert await newcomer.frame() == b"ACK new"


@on_both_loops
async def test_a_pause_from_within_a_frame_holds_the_rest_of_the_chunk() -> None:
    class PausesAtOnce(Notes):
        def frame_received(self, connection: Inbound, content: bytes) -> None:
            super().frame_received(connection, content)
            if len(self.frames) % 3 == 0:
                listener.pause_reading()

    notes = PausesAtOnce()
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(b"".join(encode_frame(b"m%d" % n) for n in range(9)))
        for seen in (3, 6, 9):
            await until(lambda s=seen: len(notes.frames) == s)
            await asyncio.sleep(0.01)
            assert len(notes.frames) == seen
            listener.resume_reading()
        assert [await peer.frame() for _ in range(9)] == [b"ACK m%d" % n for n in range(9)]


@on_both_loops
async def test_too_many_unanswered_frames_stop_reading_and_none_is_dropped() -> None:
    notes = Notes(answers=False)
    total = 3 * MAX_PENDING
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(b"".join(encode_frame(b"m%05d" % n) for n in range(total)))
        await until(lambda: len(notes.owed) == MAX_PENDING)
        await asyncio.sleep(0.05)
        assert listener.pending == MAX_PENDING
        answers = []
        while len(answers) < total:
            await until(lambda: notes.owed)
            assert listener.pending <= MAX_PENDING
            count = len(notes.owed)
            notes.answer_all()
            answers += [await peer.frame() for _ in range(count)]
    assert answers == [b"ACK m%05d" % n for n in range(total)]


@on_both_loops
async def test_a_peer_that_does_not_read_its_answers_stops_being_read_and_is_ended() -> None:
    class LongAnswers(Notes):
        def frame_received(self, connection: Inbound, content: bytes) -> None:
            self.frames.append(content)
            connection.answer(encode_frame(b"A" * 20_000))

    clock, notes = ManualClock(), LongAnswers()
    async with (
        listening(notes, clock, frame_timeout_seconds=30) as listener,
        peer_of(listener.port, limit=1024) as peer,
    ):
        for _ in range(20):
            peer.send(encode_frame(b"x" * 50) * 1000)
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        taken = len(notes.frames)
        await asyncio.sleep(0.1)
        assert len(notes.frames) == taken < 20_000
        transport = notes.opened[0]._transport
        assert transport is not None
        assert transport.get_write_buffer_size() < 200_000
        listener.sweep()
        clock.advance(30)
        listener.sweep()
        await until(lambda: notes.closed)
        assert listener.counts.timeouts["write"] == 1


@on_both_loops
async def test_a_stop_answers_what_was_handed_over_and_nothing_else() -> None:
    notes = Notes(answers=False)
    async with listening(notes) as listener:
        async with peer_of(listener.port) as busy, peer_of(listener.port) as partial:
            busy.send(b"".join(encode_frame(b"m%d" % n) for n in range(50)))
            partial.send(b"\x0bhalf")
            await until(lambda: len(notes.owed) == 50 and len(notes.opened) == 2)
            port = listener.port
            stopping = asyncio.get_running_loop().create_task(listener.stop(5))
            await asyncio.sleep(0.01)
            busy.send(encode_frame(b"too late"))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            notes.answer_all()
            assert await busy.rest() == b"".join(encode_frame(b"ACK m%d" % n) for n in range(50))
            assert await partial.rest() == b""
        assert await stopping
        assert listener.connections == 0
    assert len(notes.frames) == 50
    assert notes.faults == []


@on_both_loops
async def test_a_stop_under_load_answers_every_frame_that_was_handed_over() -> None:
    loop = asyncio.get_running_loop()

    class Later(Notes):
        def frame_received(self, connection: Inbound, content: bytes) -> None:
            self.frames.append(content)
            loop.call_later(0.003, connection.answer, encode_frame(b"ACK " + content))

    async def send(port: int, name: int) -> list[bytes]:
        acknowledged = []
        async with peer_of(port) as peer:
            try:
                for number in range(100_000):
                    peer.send(encode_frame(b"%d-%d" % (name, number)))
                    acknowledged.append(await peer.frame())
            except (asyncio.IncompleteReadError, ConnectionError):
                return acknowledged
        raise AssertionError("never stopped")

    notes = Later()
    async with listening(notes) as listener:
        senders = [loop.create_task(send(listener.port, name)) for name in range(8)]
        await until(lambda: len(notes.frames) > 200)
        assert await listener.stop(5)
        acknowledged = [answer for sender in senders for answer in await sender]
    assert sorted(acknowledged) == sorted(b"ACK " + content for content in notes.frames)


@on_both_loops
async def test_a_stop_that_is_not_answered_in_time_says_so_and_closes_all_the_same() -> None:
    notes = Notes(answers=False)
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(encode_frame(b"ab"))
        await until(lambda: notes.owed)
        assert await listener.stop(0.05) is False
        assert await peer.rest() == b""
        assert listener.connections == 0
        assert await listener.stop(0.05) is True


@on_both_loops
async def test_an_address_in_use_is_named_in_the_error() -> None:
    async with listening(Notes()) as listener:
        options = ListenerOptions(name="second", host="127.0.0.1", port=listener.port)
        second = MllpListener(options, Notes(), SystemClock())
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{listener.port}: "):
            await second.start()


@on_both_loops
async def test_too_many_open_files_cost_a_pause_and_not_the_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ifengine.mllp.listener.ACCEPT_PAUSE_SECONDS", 0.02)

    class Scarce(socket.socket):
        failures = 2

        def accept(self) -> tuple[socket.socket, object]:
            if Scarce.failures:
                Scarce.failures -= 1
                raise OSError(24, "Too many open files")
            return super().accept()

    monkeypatch.setattr("ifengine.mllp.listener.socket.socket", Scarce)
    async with listening(Notes()) as listener:
        async with peer_of(listener.port) as peer:
            peer.send(encode_frame(b"patient"))
            assert await peer.frame() == b"ACK patient"
        assert listener.counts.accept_errors == 2


@on_both_loops
async def test_many_flaps_leave_no_connection_behind() -> None:
    notes = Notes()
    async with listening(notes) as listener:
        for _ in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.transport.abort()
        await until(lambda: len(notes.closed) == len(notes.opened) and not listener.connections)
        await until(lambda: listener._held_slots == 0)
        assert listener._by_address == {}
        assert not listener._handshakes
