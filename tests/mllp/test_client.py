"""The client with real sockets, on both loops."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from ifengine.mllp.client import ClientOptions, MllpClient, Outbound
from ifengine.mllp.framing import DecoderCounts, encode_frame
from mllp.peers import ClientNotes, Notes, Peer, client_of, listening, on_both_loops, until

Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def foreign(script: Script) -> AsyncIterator[int]:
    """Run a peer that does as the script says, then waits for the other side to close."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        peer = Peer(reader, writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await script(peer)
        await peer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in serving:
            if task is not None:
                await task


@on_both_loops
async def test_frames_go_out_and_answers_come_back_over_one_connection() -> None:
    receiver, notes = Notes(), ClientNotes()
    async with listening(receiver) as listener:
        client = client_of(listener.port, notes)
        client.connect()
        await notes.wait(1)
        assert client.is_connected
        for number in range(100):
            client.send(b"m%d" % number)
            await notes.wait(2 + number)
        client.close()
        await until(lambda: receiver.closed)
    assert notes.log == [
        ("connected", None),
        *(("frame", b"ACK m%d" % number) for number in range(100)),
        ("disconnected", "closed"),
    ]
    assert len(receiver.opened) == 1


@on_both_loops
async def test_it_connects_again_after_a_close() -> None:
    notes = ClientNotes()
    async with listening(Notes()) as listener:
        client = client_of(listener.port, notes)
        for round_number in (1, 2, 3):
            client.connect()
            await until(lambda: client.is_connected)
            client.send(b"m%d" % round_number)
            await until(lambda n=round_number: notes.log[-1] == ("frame", b"ACK m%d" % n))
            client.close("timeout")
            assert notes.log[-1] == ("disconnected", "timeout")
            assert not client.is_connected


@on_both_loops
async def test_nothing_listening_is_refused() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        notes = ClientNotes()
        client = client_of(unused.getsockname()[1], notes)
        client.connect()
        assert client.is_connecting
        assert await notes.wait(1) == [("disconnected", "refused")]
        assert not client.is_connecting


@on_both_loops
async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    notes = ClientNotes()
    client = client_of(1, notes, host="name.invalid")
    client.connect()
    assert await notes.wait(1) == [("disconnected", "unreachable")]


@on_both_loops
async def test_a_connect_that_takes_too_long_is_a_timeout() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        notes = ClientNotes()
        client = client_of(full.getsockname()[1], notes, connect_timeout_seconds=0.2)
        client.connect()
        assert await notes.wait(1) == [("disconnected", "timeout")]
        for filler in fillers:
            filler.close()


@on_both_loops
async def test_a_close_while_connecting_is_the_end_of_it() -> None:
    notes, receiver = ClientNotes(), Notes()
    async with listening(receiver) as listener:
        client = client_of(listener.port, notes)
        client.connect()
        client.close("stopped")
        assert notes.log == [("disconnected", "stopped")]
        client.connect()
        await until(lambda: client.is_connected)
        client.close()
        await asyncio.sleep(0.05)
    assert notes.log[1:] == [("connected", None), ("disconnected", "closed")]


@pytest.mark.parametrize("gives_task", [True, False])
@on_both_loops
async def test_the_owner_may_run_the_connecting_in_its_own_group(gives_task: bool) -> None:
    notes = ClientNotes()
    async with listening(Notes()) as listener, asyncio.TaskGroup() as group:

        def spawn(work: object) -> object:
            task = group.create_task(work)  # type: ignore[arg-type]
            return task if gives_task else None

        options = ClientOptions(name="lis", host="127.0.0.1", port=listener.port)
        client = MllpClient(options, notes, spawn)
        client.connect()
        client.close("stopped")
        client.connect()
        await until(lambda: client.is_connected)
        client.close()
    assert [name for name, _ in notes.log] == ["disconnected", "connected", "disconnected"]


@on_both_loops
async def test_a_peer_that_closes_while_idle_is_noticed_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.frame()

    notes = ClientNotes()
    async with foreign(script) as port:
        client = client_of(port, notes)
        client.connect()
        await notes.wait(1)
        client.send(b"ab")
        assert await notes.wait(2) == [("connected", None), ("disconnected", "closed")]
        with pytest.raises(ConnectionError, match="not connected"):
            client.send(b"cd")


@on_both_loops
async def test_a_reset_is_reported_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.frame()
        peer.writer.transport.abort()

    notes = ClientNotes()
    async with foreign(script) as port:
        client = client_of(port, notes)
        client.connect()
        await notes.wait(1)
        client.send(b"ab")
        assert (await notes.wait(2))[1][0] == "disconnected"
        await asyncio.sleep(0.05)
        assert len(notes.log) == 2


@on_both_loops
async def test_a_connection_that_is_given_up_is_reset_so_that_nothing_arrives_behind() -> None:
    """An ordinary close would let the kernel try for minutes to deliver what the peer has not read."""
    ends: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.frame()
        try:
            await peer.reader.read()
            ends.append("closed")
        except ConnectionResetError:
            ends.append("reset")

    for give_up in (True, False):
        notes = ClientNotes()
        async with foreign(script) as port:
            client = client_of(port, notes)
            client.connect()
            await notes.wait(1)
            client.send(b"ab")
            await asyncio.sleep(0.05)
            if give_up:
                client.abort()
            else:
                client.close()
    assert ends == ["reset", "closed"]


KILLED = """
import asyncio, os, signal, sys
from ifengine.mllp.client import ClientOptions, MllpClient

class Events:
    def connected(self, client):
        client.send(b"ab")
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGKILL)
    def frame_received(self, client, content): ...
    def unframed_received(self, client, data): ...
    def disconnected(self, client, reason): ...

async def main():
    MllpClient(ClientOptions(name="x", host="127.0.0.1", port=int(sys.argv[1])), Events()).connect()
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_process_that_is_killed_leaves_no_bytes_to_the_kernel_that_arrive_late() -> None:
    ends: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.frame()
        try:
            await peer.reader.read()
            ends.append("closed")
        except ConnectionResetError:
            ends.append("reset")

    async with foreign(script) as port:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(port))
        async with asyncio.timeout(30):
            assert await child.wait() == -signal.SIGKILL
    assert ends == ["reset"]


async def exchange(
    answer: bytes, count: int, *, slowly: bool = False, wait: bool = True, **options: object
) -> list[tuple[str, object]]:
    """Send one frame to a peer that answers so; return the log after ``count`` entries."""

    async def script(peer: Peer) -> None:
        await peer.frame()
        for chunk in [answer[at : at + 1] for at in range(len(answer))] if slowly else [answer]:
            peer.send(chunk)
            await asyncio.sleep(0.001)
        if wait:
            await peer.rest()

    notes = ClientNotes()
    async with foreign(script) as port:
        client = client_of(port, notes, **options)
        client.connect()
        await notes.wait(1)
        client.send(b"MSH|1")
        await notes.wait(count)
        await asyncio.sleep(0.02)
        client.close("timeout")
    return notes.log[1:]


@pytest.mark.parametrize("slowly", [False, True])
@on_both_loops
async def test_junk_before_an_answer_is_reported_and_the_answer_kept(slowly: bool) -> None:
    assert await exchange(b"login: \x0bMSA|AA\r\x1c\r", 3, slowly=slowly) == [
        ("unframed", b"login: "),
        ("frame", b"MSA|AA\r"),
        ("disconnected", "timeout"),
    ]


@on_both_loops
async def test_two_answers_in_one_segment_are_two_frames() -> None:
    assert await exchange(encode_frame(b"CA") + encode_frame(b"AA"), 3) == [
        ("frame", b"CA"),
        ("frame", b"AA"),
        ("disconnected", "timeout"),
    ]


@on_both_loops
async def test_an_answer_without_cr_is_taken_after_a_short_silence() -> None:
    assert await exchange(b"\x0bMSA|AA\r\x1c", 2) == [
        ("frame", b"MSA|AA\r"),
        ("disconnected", "timeout"),
    ]


@on_both_loops
async def test_an_answer_without_framing_is_reported_when_the_owner_gives_up() -> None:
    async def script(peer: Peer) -> None:
        await peer.frame()
        peer.send(b"MSH|ack\rMSA|AA|1\r")
        await peer.rest()

    notes = ClientNotes()
    async with foreign(script) as port:
        client = client_of(port, notes)
        client.connect()
        await notes.wait(1)
        client.send(b"MSH|1")
        await until(lambda: client._link is not None and client._link._decoder.is_mid_frame)
        assert len(notes.log) == 1
        client.close("timeout")
    assert notes.log[1:] == [
        ("unframed", b"MSH|ack\rMSA|AA|1\r"),
        ("disconnected", "timeout"),
    ]


@pytest.mark.parametrize(
    ("answer", "kept", "reason", "wait"),
    [
        (b"MSH|ack\rMSA|AA|1\r\x1c\r", b"MSH|ack\rMSA|AA|1\r\x1c", "framing", True),
        (b"\x0bMSA\x0bMSA|AA\r\x1c\r", b"\x0bMSA\x0bMSA|AA\r\x1c\r", "framing", True),
        (b"\x0b" + b"x" * 5000, b"\x0b" + b"x" * 1000, "framing", True),
        (b"\x0bMSA|A", b"\x0bMSA|A", "closed", False),
        (b"MSA|A", b"MSA|A", "closed", False),
    ],
)
@on_both_loops
async def test_a_broken_answer_is_reported_and_ends_the_connection(
    answer: bytes, kept: bytes, reason: str, wait: bool
) -> None:
    log = await exchange(answer, 3, wait=wait, max_answer_bytes=1000)
    assert log == [("unframed", kept), ("disconnected", reason)]


@on_both_loops
async def test_nothing_of_a_closed_connection_is_reported_afterwards() -> None:
    late = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.frame()
        await late.wait()
        peer.send(encode_frame(b"late answer"))
        await peer.rest()

    notes = ClientNotes()
    async with foreign(script) as port:
        client = client_of(port, notes)
        client.connect()
        await notes.wait(1)
        client.send(b"first")
        client.close("timeout")
        client.connect()
        late.set()
        await notes.wait(3)
        client.send(b"second")
        await notes.wait(4)
        client.close()
    assert [entry for entry in notes.log if entry[0] == "frame"] == [("frame", b"late answer")]
    assert notes.log.index(("frame", b"late answer")) == 3


@on_both_loops
async def test_an_owner_that_closes_from_within_a_report_is_told_the_end_once() -> None:
    class Closes(ClientNotes):
        def frame_received(self, client: MllpClient, content: bytes) -> None:
            super().frame_received(client, content)
            client.close("foreign")

    async def script(peer: Peer) -> None:
        await peer.frame()
        peer.send(encode_frame(b"one") + encode_frame(b"two") + b"rest")
        await peer.rest()

    notes = Closes()
    async with foreign(script) as port:
        client = client_of(port, notes)
        client.connect()
        await notes.wait(1)
        client.send(b"ab")
        await until(lambda: not client.is_connected)
        await asyncio.sleep(0.02)
    assert [name for name, _ in notes.log].count("disconnected") == 1
    assert [value for name, value in notes.log if name == "frame"] == [b"one"]


@on_both_loops
async def test_content_that_cannot_be_framed_is_not_sent() -> None:
    receiver, notes = Notes(), ClientNotes()
    async with listening(receiver) as listener:
        client = client_of(listener.port, notes)
        client.connect()
        await notes.wait(1)
        with pytest.raises(ValueError, match="framing byte 0x1C at offset 1"):
            client.send(b"a\x1cb")
        with pytest.raises(RuntimeError, match="already"):
            client.connect()
        client.send(b"good")
        await notes.wait(2)
        client.abort()
    assert receiver.frames == [b"good"]
    assert receiver.faults == []


def test_a_peer_that_is_not_proven_yet_can_report_nothing() -> None:
    notes = ClientNotes()
    link = Outbound(client_of(1, notes), 1000, DecoderCounts())
    link.data_received(encode_frame(b"early") + b"junk\x1c")
    link.eof_received()
    link.connection_lost(None)
    assert notes.log == []
    assert link.lost == "closed"
