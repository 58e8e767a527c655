"""A frame of a megabyte and more waits at its connection until its receiver takes it."""

from ifengine.mllp.framing import encode_frame
from ifengine.mllp.giants import Giant
from ifengine.mllp.inbound import Inbound
from ifengine.pieces import GIANT_BYTES
from mllp.peers import Notes, listening, on_both_loops, peer_of, until

LARGE = b"g" * (GIANT_BYTES + 7)


class Patient(Notes):
    """Takes giants when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Inbound] = []

    def giant_waits(self, connection: Inbound) -> None:
        self.waiting.append(connection)

    def take(self) -> Giant | None:
        connection = self.waiting.pop(0)
        giant = connection.take_giant()
        if giant is not None:
            self.frames.append(giant.content())
            connection.answer(encode_frame(b"ACK giant"))
            connection.go_on()
        return giant


@on_both_loops
async def test_what_follows_a_giant_on_its_connection_waits_for_it_and_other_connections_do_not() -> (
    None
):
    notes = Patient()
    async with (
        listening(notes) as listener,
        peer_of(listener.port) as slow,
        peer_of(listener.port) as quick,
    ):
        slow.send(encode_frame(b"before") + encode_frame(LARGE) + encode_frame(b"behind"))
        await until(lambda: notes.waiting)
        quick.send(encode_frame(b"other"))
        assert await quick.frame() == b"ACK other"
        assert await slow.frame() == b"ACK before"
        assert notes.frames == [b"before", b"other"]
        assert listener.unfinished >= len(LARGE)  # it counts where peers are bounded
        assert listener.pending == 0
        assert notes.take() is not None
        await until(lambda: len(notes.frames) == 4)
        assert notes.frames[2:] == [LARGE, b"behind"]
        assert listener.unfinished == 0


@on_both_loops
async def test_a_giant_is_not_taken_while_its_listener_is_paused_and_waits_anew_afterwards() -> (
    None
):
    notes = Patient()
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(encode_frame(LARGE) + encode_frame(b"behind"))
        await until(lambda: notes.waiting)
        listener.pause_reading()
        assert notes.take() is None
        assert notes.frames == []
        listener.resume_reading()
        await until(lambda: notes.waiting)
        assert notes.take() is not None
        await until(lambda: notes.frames == [LARGE, b"behind"])


@on_both_loops
async def test_at_the_bound_of_unfinished_frames_a_giant_that_waits_is_given_up_unanswered() -> (
    None
):
    notes = Patient()
    async with (
        listening(
            notes, max_content_bytes=2 * GIANT_BYTES, max_unfinished_bytes=4 * GIANT_BYTES
        ) as listener,
        peer_of(listener.port) as first,
        peer_of(listener.port) as second,
        peer_of(listener.port) as third,
    ):
        peers = first, second, third
        for peer in peers:
            peer.send(encode_frame(LARGE + b"x" * (GIANT_BYTES // 2)))
        await until(lambda: listener.counts.over_memory == 1)
        # the one that was given up may have been waiting already
        await until(lambda: len([one for one in notes.waiting if one.unfinished]) == 2)
        taken = [notes.take() for _ in range(len(notes.waiting))]
        assert len([giant for giant in taken if giant is not None]) == 2
        assert len(notes.frames) == 2


@on_both_loops
async def test_a_giant_with_a_start_block_inside_is_a_fault_and_is_not_taken() -> None:
    notes = Patient()
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(b"\x0b" + LARGE + b"\x0b" + LARGE + b"\x1c\r")
        await until(lambda: notes.waiting)
        assert notes.take() is None
        await until(lambda: len(notes.faults) == 1)
        assert await peer.rest() == b""
        assert notes.frames == []


@on_both_loops
async def test_a_listener_that_stops_takes_no_giant_that_waits() -> None:
    notes = Patient()
    async with listening(notes) as listener, peer_of(listener.port) as peer:
        peer.send(encode_frame(LARGE))
        await until(lambda: notes.waiting)
        assert await listener.stop(1)
        assert notes.take() is None
        assert await peer.rest() == b""
    assert notes.frames == []
