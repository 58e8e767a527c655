"""What a receiver may do wrong, and that none of it is ever taken for a yes (guarantees.md 1.5)."""

import asyncio
import hashlib
import socket
import ssl
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trustme

from engine.support import END, START, ack, adt, control_id, free_port
from ifengine.clock import SystemClock
from ifengine.mllp.client import ClientOptions
from ifengine.mllp.tls import client_context
from ifengine.routes.endpoints.mllp import MllpLane
from ifengine.routes.retry import AttemptResult
from routes.endpoints.harness import Driver, Handler, Peer, behaves, driving, framed, silent

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
ACCEPTED, REFUSED = AttemptResult.ACCEPTED, AttemptResult.REFUSED
IN_DOUBT, UNREACHABLE = AttemptResult.IN_DOUBT, AttemptResult.UNREACHABLE


def lane_to(port: int, **options: Any) -> Callable[[Driver], MllpLane]:
    def make(driver: Driver) -> MllpLane:
        values = {"connect_timeout_seconds": 2.0, **options}
        client = ClientOptions(name="to-lab", host="127.0.0.1", port=port, **values)
        return MllpLane(
            client, driver.owner, driver.clock, driver.spawn, asyncio.get_running_loop()
        )

    return make


# --- scripts: what one connection of the peer does ----------------------------------------------


def once_then_silent(reply: Callable[[bytes], bytes], *, yes: bool = False) -> Handler:
    """Answer the first message with given bytes, everything after it with nothing."""

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        content = await peer.request(reader)
        if yes:
            peer.confirmed.append(control_id(content))
        writer.write(reply(content))
        await silent(peer, reader, writer)

    return script


def answering(number: str, content: bytes) -> bytes:
    return framed(ack(content, answering=number))


def with_msa(msa: str) -> Callable[[bytes], bytes]:
    def reply(content: bytes) -> bytes:
        number = control_id(content)
        return framed(
            f"MSH|^~\\&|R|R|H|H|20260105||ACK|1|P|2.5\r{msa.format(id=number)}\r".encode()
        )

    return reply


NO_YES: dict[str, Callable[[bytes], bytes]] = {
    "wrong MSA-2": partial(answering, "OTHER"),
    "MSA-2 of a message of another connection": partial(answering, "M0"),
    "MSA-2 with a space behind": with_msa("MSA|AA|{id} "),
    "MSA-2 in another case": with_msa("MSA|AA|m1"),
    "MSA-2 cut": with_msa("MSA|AA|M"),
    "MSA-2 longer": with_msa("MSA|AA|{id}1"),
    "empty MSA-2": with_msa("MSA|AA|"),
    "missing MSA-2": with_msa("MSA|AA"),
    "nothing behind MSA": with_msa("MSA"),
    "no MSA at all": with_msa("ERR||PID^1^3|101|E"),
    "an unknown code": with_msa("MSA|OK|{id}"),
    "a code in small letters": with_msa("MSA|aa|{id}"),
    "an empty code": with_msa("MSA||{id}"),
    "two MSA that contradict": with_msa("MSA|AA|{id}\rMSA|AE|{id}"),
    "a message instead of an answer": lambda c: framed(adt("M1")),
    "the message itself": framed,
    "words without a frame": lambda c: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a frame without an end": lambda c: START + ack(c),
    "an empty frame": lambda c: START + END,
    "an answer without its start block": lambda c: ack(c) + END,
    "an answer larger than is read": lambda c: framed(ack(c) + b"ZZZ|" + b"x" * 2_000_000 + b"\r"),
    "nothing": lambda c: b"",
}


@pytest.mark.parametrize("reply", NO_YES.values(), ids=NO_YES.keys())
async def test_an_answer_that_is_none_leaves_the_message_in_doubt(
    reply: Callable[[bytes], bytes],
) -> None:
    async with (
        Peer([once_then_silent(reply), behaves]) as peer,
        driving(lane_to(peer.port)) as driver,
    ):
        first = await driver.carry(adt("M1"), timeout=0.15)
        assert first.result is IN_DOUBT
        assert not driver.lane.is_connected  # a late answer has nowhere to arrive
        again = await driver.carry(adt("M1"))
        assert again.result is ACCEPTED
        assert peer.connections == 2
        assert peer.received == [adt("M1"), adt("M1")]
        assert peer.confirmed == ["M1"]


async def test_an_answer_to_a_message_never_sent_here_ends_the_connection_at_once() -> None:
    script = once_then_silent(partial(answering, "OTHER"))
    async with Peer([script]) as peer, driving(lane_to(peer.port)) as driver:
        driver.begin(adt("M1"), timeout=60.0)
        attempt = await driver.ended(5.0)
        assert (attempt.result, attempt.label) == (IN_DOUBT, "foreign")
        assert not driver.lane.is_connected


async def test_an_answer_that_names_no_message_or_no_decision_ends_the_connection_at_once() -> None:
    for msa in ("MSA|AA|", "MSA|OK|{id}"):
        script = once_then_silent(with_msa(msa))
        async with Peer([script]) as peer, driving(lane_to(peer.port)) as driver:
            driver.begin(adt("M1"), timeout=60.0)
            assert (await driver.ended(5.0)).result is IN_DOUBT


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
async def test_a_refusal_is_a_refusal_with_its_numbers_and_the_connection_stays(code: str) -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        content = await peer.request(reader)
        writer.write(framed(ack(content, code, error="101")))
        await behaves(peer, reader, writer)

    async with Peer([script]) as peer, driving(lane_to(peer.port)) as driver:
        refused = await driver.carry(adt("M1"))
        assert (refused.result, refused.code, refused.label) == (REFUSED, code, code.lower())
        assert refused.error_codes == (101,)
        assert (await driver.carry(adt("M2"))).result is ACCEPTED
        assert peer.connections == 1


YES: dict[str, Callable[[bytes], bytes]] = {
    "AA": lambda c: framed(ack(c)),
    "CA": lambda c: framed(ack(c, "CA")),
    "CA, then AA": lambda c: framed(ack(c, "CA")) + framed(ack(c)),
    "AA twice in one segment": lambda c: framed(ack(c)) * 2,
    "AA and one that nobody asked for": lambda c: framed(ack(c)) + answering("OTHER", c),
    "AA, then AE": lambda c: framed(ack(c)) + framed(ack(c, "AE")),
    "junk before the start block": lambda c: b"\r\n junk " + framed(ack(c)),
    "no carriage return behind the end block": lambda c: framed(ack(c))[:-1],
    "an ignorable frame before": lambda c: framed(adt("Q1")) + framed(ack(c)),
}


@pytest.mark.parametrize("reply", YES.values(), ids=YES.keys())
async def test_a_yes_settles_its_own_message_and_never_the_next(
    reply: Callable[[bytes], bytes],
) -> None:
    async with (
        Peer([once_then_silent(reply, yes=True), silent]) as peer,
        driving(lane_to(peer.port)) as driver,
    ):
        assert (await driver.carry(adt("M1"), timeout=2.0)).result is ACCEPTED
        assert (await driver.carry(adt("M2"), timeout=0.15)).result is IN_DOUBT
        assert peer.confirmed == ["M1"]
        assert peer.received == [adt("M1"), adt("M2")]


async def test_an_answer_may_come_one_byte_at_a_time() -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        while True:
            content = await peer.request(reader)
            peer.confirmed.append(control_id(content))
            for byte in framed(ack(content)):
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0)

    async with Peer([script]) as peer, driving(lane_to(peer.port)) as driver:
        for number in range(3):
            assert (await driver.carry(adt(f"M{number}"), timeout=3.0)).result is ACCEPTED
        assert peer.connections == 1


async def test_an_answer_that_comes_too_late_is_never_credited_to_the_next_message() -> None:
    release = asyncio.Event()

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        content = await peer.request(reader)
        await release.wait()
        writer.write(framed(ack(content)))
        await asyncio.sleep(1)

    async with Peer([script, silent]) as peer, driving(lane_to(peer.port)) as driver:
        assert (await driver.carry(adt("M1"), timeout=0.1)).result is IN_DOUBT
        driver.begin(adt("M2"), timeout=0.3)
        release.set()
        assert (await driver.ended()).result is IN_DOUBT
        assert peer.connections == 2


async def test_a_late_answer_on_a_connection_that_stayed_is_ignored() -> None:
    """The answer to M1 comes twice, the second one while M2 is under way."""

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        first = await peer.request(reader)
        peer.answer(writer, first)
        second = await peer.request(reader)
        writer.write(framed(ack(first)))
        await writer.drain()
        await asyncio.sleep(0.05)
        peer.answer(writer, second)
        await silent(peer, reader, writer)

    async with Peer([script]) as peer, driving(lane_to(peer.port)) as driver:
        assert (await driver.carry(adt("M1"), timeout=2.0)).result is ACCEPTED
        assert (await driver.carry(adt("M2"), timeout=2.0)).result is ACCEPTED
        assert driver.owner.ignored == ["late"]
        assert peer.confirmed == ["M1", "M2"]


async def test_answers_swapped_between_two_connections_settle_neither() -> None:
    arrived: dict[int, bytes] = {}
    both = asyncio.Event()

    def script(number: int) -> Handler:
        async def run(peer: Peer, reader: Reader, writer: Writer) -> None:
            arrived[number] = await peer.request(reader)
            if len(arrived) == 2:
                both.set()
            await both.wait()
            writer.write(framed(ack(arrived[3 - number])))
            await asyncio.sleep(1)

        return run

    async with (
        Peer([script(1), script(2)]) as peer,
        driving(lane_to(peer.port)) as one,
        driving(lane_to(peer.port)) as two,
    ):
        one.begin(adt("M1"))
        two.begin(adt("M2"))
        assert (await one.ended()).result is IN_DOUBT
        assert (await two.ended()).result is IN_DOUBT
        assert one.owner.ignored == two.owner.ignored == ["foreign"]


async def test_two_lanes_with_one_control_id_each_need_their_own_answer() -> None:
    async with (
        Peer([behaves, silent]) as peer,
        driving(lane_to(peer.port)) as one,
        driving(lane_to(peer.port)) as two,
    ):
        assert (await one.carry(adt("SAME", patient="1"))).result is ACCEPTED
        assert (await two.carry(adt("SAME", patient="2"), timeout=0.15)).result is IN_DOUBT


async def test_a_control_id_used_again_gets_a_connection_of_its_own() -> None:
    async with Peer([behaves]) as peer, driving(lane_to(peer.port)) as driver:
        for patient in "12":
            assert (await driver.carry(adt("SAME", patient=patient))).result is ACCEPTED
        assert (await driver.carry(adt("NEXT"))).result is ACCEPTED
        assert peer.connections == 2


# --- connections that break ---------------------------------------------------------------------


def reset(writer: Writer) -> None:
    """Close with RST."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("part", [0, 1, 30, -2, -1])
@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_a_connection_that_ends_before_the_whole_answer_leaves_doubt(
    part: int, end: str
) -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        content = await peer.request(reader)
        answer = framed(ack(content))[:-1]  # even the end block may lack its carriage return
        writer.write(answer[:part] if part else b"")
        await writer.drain()
        await asyncio.sleep(0.02)
        if end == "rst":
            reset(writer)

    async with Peer([script, behaves]) as peer, driving(lane_to(peer.port)) as driver:
        assert (await driver.carry(adt("M1"), timeout=2.0)).result is IN_DOUBT
        assert (await driver.carry(adt("M1"), timeout=2.0)).result is ACCEPTED
        assert peer.connections == 2


async def test_an_answer_split_over_a_reconnect_is_no_answer() -> None:
    async def first(peer: Peer, reader: Reader, writer: Writer) -> None:
        content = await peer.request(reader)
        writer.write(framed(ack(content))[:40])
        await writer.drain()

    async def second(peer: Peer, reader: Reader, writer: Writer) -> None:
        content = await peer.request(reader)
        writer.write(framed(ack(content))[40:])
        await silent(peer, reader, writer)

    async with Peer([first, second]) as peer, driving(lane_to(peer.port)) as driver:
        assert (await driver.carry(adt("M1"), timeout=1.0)).result is IN_DOUBT
        assert (await driver.carry(adt("M1"), timeout=0.15)).result is IN_DOUBT
        assert peer.confirmed == []


async def test_a_receiver_that_never_reads_does_not_get_a_whole_message_after_the_timeout() -> None:
    """What was given up must not arrive later, behind newer messages of the same patient."""
    released = asyncio.Event()
    seen = bytearray()
    large = adt("M1", extra="ZZZ|" + "x" * 12_000_000 + "\r")

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await released.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        while data := await reader.read(65536):
            seen.extend(data)

    async with Peer([script, behaves]) as peer, driving(lane_to(peer.port)) as driver:
        assert (await driver.carry(large, timeout=0.3)).result is IN_DOUBT
        assert (await driver.carry(large, timeout=5.0)).result is ACCEPTED
        assert (await driver.carry(adt("M2"), timeout=5.0)).result is ACCEPTED
        released.set()
        async with asyncio.timeout(5):
            await peer.ended.wait()
        assert END not in bytes(seen)


async def test_a_receiver_that_hangs_up_at_once_gets_the_message_on_the_next_connection() -> None:
    async def hangs_up(peer: Peer, reader: Reader, writer: Writer) -> None:
        return

    async with Peer([hangs_up, behaves]) as peer, driving(lane_to(peer.port)) as driver:
        first = await driver.carry(adt("M1"))
        assert first.result in (IN_DOUBT, UNREACHABLE)
        assert (await driver.carry(adt("M1"))).result is ACCEPTED


async def test_nobody_listening_is_unreachable_and_counts_as_nothing_sent() -> None:
    async with driving(lane_to(free_port())) as driver:
        attempt = await driver.carry(adt("M1"))
        assert (attempt.result, attempt.label) == (UNREACHABLE, "refused")


async def test_a_connection_lost_while_idle_costs_no_attempt() -> None:
    idle = asyncio.Event()

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        peer.answer(writer, await peer.request(reader))
        await writer.drain()
        await idle.wait()

    async with Peer([script, behaves]) as peer, driving(lane_to(peer.port)) as driver:
        assert (await driver.carry(adt("M1"))).result is ACCEPTED
        idle.set()
        async with asyncio.timeout(2):
            while driver.lane.is_connected:
                await asyncio.sleep(0.01)
        assert len(driver.owner.attempts) == 1
        assert (await driver.carry(adt("M2"))).result is ACCEPTED


# --- the message itself -------------------------------------------------------------------------


async def test_a_message_that_forbids_an_answer_is_settled_by_silence_alone() -> None:
    quiet = adt("M1", msh="|P|2.5.1|||NE|NE")
    async with Peer([silent]) as peer, driving(lane_to(peer.port)) as driver:
        attempt = await driver.carry(quiet, timeout=0.1)
        assert (attempt.result, attempt.label) == (ACCEPTED, "none")


async def test_a_message_that_forbids_an_answer_is_in_doubt_when_its_connection_ends() -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await peer.request(reader)

    quiet = adt("M1", msh="|P|2.5.1|||NE|NE")
    async with Peer([script]) as peer, driving(lane_to(peer.port)) as driver:
        assert (await driver.carry(quiet, timeout=1.0)).result is IN_DOUBT


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize(
    "content",
    [adt("M1") + b"\x1c\rMSH|", b"no header at all", adt(""), b""],
    ids=["framing bytes inside", "no header", "no control id", "empty"],
)
async def test_what_cannot_travel_ends_once_and_sends_nothing(
    content: bytes, connected: bool
) -> None:
    async with Peer([behaves]) as peer, driving(lane_to(peer.port)) as driver:
        sent = 0
        if connected:
            assert (await driver.carry(adt("M0"))).result is ACCEPTED
            sent = 1
        attempt = await driver.carry(content)
        assert attempt.result is AttemptResult.UNSENDABLE
        await driver.settle_down()
        assert len(driver.owner.attempts) == sent + 1
        assert (await driver.carry(adt("M2"))).result is ACCEPTED
        assert [control_id(c) for c in peer.received] == ["M0"] * sent + ["M2"]


async def test_what_cannot_travel_ends_once_even_when_the_lane_closes_at_that_moment() -> None:
    async with Peer([behaves]) as peer, driving(lane_to(peer.port)) as driver:
        assert (await driver.carry(adt("M0"))).result is ACCEPTED
        driver.begin(adt("M1") + b"\x1c\rMSH|")
        await driver.lane.close()
        await driver.settle_down()
        assert len(driver.owner.attempts) == 2


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA, name: str = "127.0.0.1") -> tuple[ssl.SSLContext, bytes]:
    """Return a server's context and the digest of its certificate."""
    issued = authority.issue_cert(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    pem = issued.cert_chain_pems[0].bytes().decode()
    return context, hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()


async def test_a_wrong_pin_never_sends_a_byte_of_hl7(authority: trustme.CA) -> None:
    got = bytearray()

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        while data := await reader.read(1024):
            got.extend(data)

    context, right = tls_server(authority)
    async with Peer([script], ssl=context) as peer:
        pins = (hashlib.sha256(b"another certificate").digest(),)
        make = lane_to(peer.port, ssl_context=client_context(pinned=pins), pinned=pins)
        async with driving(make) as driver:
            attempt = await driver.carry(adt("M1"), timeout=1.0)
            assert (attempt.result, attempt.label) == (UNREACHABLE, "tls")
        assert bytes(got) == b""
    async with Peer([behaves], ssl=context) as peer:
        make = lane_to(peer.port, ssl_context=client_context(pinned=(right,)), pinned=(right,))
        async with driving(make) as driver:
            assert (await driver.carry(adt("M1"), timeout=2.0)).result is ACCEPTED


@pytest.mark.parametrize("fault", ["another authority", "another name"])
async def test_a_certificate_of_another_never_sees_hl7(
    authority: trustme.CA, fault: str, tmp_path: Any
) -> None:
    got = bytearray()

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        while data := await reader.read(1024):
            got.extend(data)

    trusted = authority if fault == "another name" else trustme.CA()
    ca = tmp_path / "ca.pem"
    trusted.cert_pem.write_to_path(str(ca))
    name = "elsewhere.example" if fault == "another name" else "127.0.0.1"
    context, _ = tls_server(authority, name)
    async with Peer([script], ssl=context) as peer:
        make = lane_to(peer.port, ssl_context=client_context(ca=ca))
        async with driving(make) as driver:
            attempt = await driver.carry(adt("M1"), timeout=1.0)
            assert (attempt.result, attempt.label) == (UNREACHABLE, "tls")
    assert bytes(got) == b""


async def test_a_handshake_that_hangs_is_unreachable_within_its_time() -> None:
    async def hangs(peer: Peer, reader: Reader, writer: Writer) -> None:
        while data := await reader.read(1024):
            assert b"MSH" not in data
            peer.raw += len(data)

    async with Peer([hangs]) as peer:
        make = lane_to(
            peer.port,
            ssl_context=client_context(pinned=(b"x" * 32,)),
            pinned=(b"x" * 32,),
            connect_timeout_seconds=0.3,
        )
        clock = SystemClock()
        started = clock.monotonic()
        async with driving(make) as driver:
            attempt = await driver.carry(adt("M1"), timeout=30.0)
            assert attempt.result is UNREACHABLE
            assert clock.monotonic() - started < 3
        assert peer.raw > 0  # its hello, and nothing else


async def test_a_receiver_that_speaks_no_tls_is_never_answered_in_plain_words() -> None:
    async def plain(peer: Peer, reader: Reader, writer: Writer) -> None:
        data = await reader.read(65536)
        peer.received.append(data)
        writer.write(framed(ack(adt("M1"))))
        await reader.read(65536)

    async with Peer([plain]) as peer:
        make = lane_to(
            peer.port, ssl_context=client_context(pinned=(b"x" * 32,)), pinned=(b"x" * 32,)
        )
        async with driving(make) as driver:
            attempt = await driver.carry(adt("M1"), timeout=1.0)
            assert (attempt.result, attempt.label) == (UNREACHABLE, "tls")
        assert not any(b"MSH" in data for data in peer.received)
