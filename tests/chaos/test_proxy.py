"""The proxy between real sockets: what arrives on either side."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from chaos.support import proxy_to, serving
from engine.support import END, START, Receiver, Sender, ack, adt, code, until
from ifengine.chaos.acts import Amounts
from ifengine.chaos.certificates import STRANGER, bad_context
from ifengine.chaos.proxy import Contexts, Proxy
from ifengine.clock import SystemClock
from ifengine.mllp.tls import client_context, server_context


@pytest.fixture
async def lab() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@contextlib.asynccontextmanager
async def sending(proxy: Proxy, context: ssl.SSLContext | None = None) -> AsyncIterator[Sender]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", proxy.port, ssl=context, server_hostname="127.0.0.1" if context else None
    )
    try:
        yield Sender(reader, writer)
    finally:
        writer.transport.abort()


async def ended(sender: Sender, seconds: float = 10.0) -> bytes:
    """Return what is still said before the end; raises ConnectionResetError after a reset."""
    async with asyncio.timeout(seconds):
        return await sender.reader.read()


async def test_without_a_misbehaviour_everything_passes_in_order(lab: Receiver) -> None:
    proxy = proxy_to(lab.port)
    async with serving(proxy), sending(proxy) as his:
        for number in range(50):
            assert await his.send(adt(f"M{number}")) == "AA"
    assert lab.ids == [f"M{number}" for number in range(50)]
    assert (proxy.connections, proxy.requests, proxy.answers) == (1, 50, 50)
    assert not proxy.done


async def test_every_second_answer_is_dropped_and_counted(lab: Receiver) -> None:
    proxy = proxy_to(lab.port, "ack_dropped", every=2)
    async with serving(proxy), sending(proxy) as his:
        for number in range(4):
            his.writer.write(START + adt(f"M{number}") + END)
        answers = [await his.answer() for _ in range(2)]
        assert [b"|M0\r" in answers[0], b"|M2\r" in answers[1]] == [True, True]
        assert await his.is_silent()
    assert proxy.done == {"ack_dropped": 2}
    assert len(lab.received) == 4


async def test_swapped_answers_change_places_on_one_connection_and_between_two(
    lab: Receiver,
) -> None:
    proxy = proxy_to(lab.port, "acks_swapped", every=2, most=1)
    async with serving(proxy), sending(proxy) as his:
        for number in range(3):
            his.writer.write(START + adt(f"M{number}") + END)
        answers = [await his.answer() for _ in range(3)]
        assert [a.split(b"MSA|AA|")[1] for a in answers] == [b"M0\r", b"M2\r", b"M1\r"]
    proxy = proxy_to(lab.port, "acks_swapped", most=1)
    async with serving(proxy), sending(proxy) as his, sending(proxy) as hers:
        his.writer.write(START + adt("HIS") + END)
        await until(lambda: proxy.held is not None)
        hers.writer.write(START + adt("HERS") + END)
        assert b"|HERS\r" in await his.answer()
        assert b"|HIS\r" in await hers.answer()


async def test_half_an_answer_comes_before_the_close_and_the_rest_on_the_next_connection(
    lab: Receiver,
) -> None:
    proxy = proxy_to(lab.port, "ack_split", most=1)
    async with serving(proxy):
        async with sending(proxy) as his:
            his.writer.write(START + adt("M1") + END)
            first = await ended(his)
        async with sending(proxy) as his:
            rest = await his.reader.readuntil(END)
            assert first + rest == START + ack(adt("M1")) + END
            assert await his.send(adt("M2")) == "AA"


async def test_a_close_and_a_reset_are_told_apart(lab: Receiver) -> None:
    proxy = proxy_to(lab.port, "fin_after_request", "rst_mid_ack")
    async with serving(proxy):
        async with sending(proxy) as his:
            his.writer.write(START + adt("M1") + END)
            assert await ended(his) == b""
        async with sending(proxy) as his:
            his.writer.write(START + adt("M2") + END)
            with pytest.raises(ConnectionResetError):
                await ended(his)
    assert lab.ids == ["M1", "M2"]


async def test_a_message_that_is_lost_on_purpose_reaches_nobody(lab: Receiver) -> None:
    proxy = proxy_to(lab.port, "ack_wrong_id", "ack_duplicated", lose=True)
    async with serving(proxy), sending(proxy) as his:
        his.writer.write(START + adt("M1") + END)
        assert b"MSA|AA|NOBODY\r" in await his.answer()
        his.writer.write(START + adt("M2") + END)
        assert [code(await his.answer()) for _ in range(2)] == ["AA", "AA"]
    assert lab.ids == ["M2"]  # an answer that is a yes is a true one


async def test_a_lost_message_that_comes_again_is_not_taken_for_the_one_before(
    lab: Receiver,
) -> None:
    """Else the proxy itself would say yes to a message that nobody has."""
    proxy = proxy_to(lab.port, "ack_previous_id", lose=True, most=2)
    async with serving(proxy), sending(proxy) as his:
        for _ in range(2):
            his.writer.write(START + adt("M1") + END)
            assert b"MSA|AA|NOBODY\r" in await his.answer()
        assert await his.send(adt("M1")) == "AA"
    assert lab.ids == ["M1"]


async def test_who_never_answers_takes_messages_and_is_silent(lab: Receiver) -> None:
    proxy = proxy_to(lab.port, "never_answers", most=1)
    async with serving(proxy):
        async with sending(proxy) as his:
            for number in range(3):
                his.writer.write(START + adt(f"M{number}") + END)
            await until(lambda: len(lab.received) == 3)
            assert await his.is_silent()
        async with sending(proxy) as his:
            assert await his.send(adt("M4")) == "AA"


async def test_who_never_reads_lets_a_large_message_stick_and_notices_the_end(
    lab: Receiver,
) -> None:
    proxy = proxy_to(lab.port, "never_reads", most=1)
    async with serving(proxy):
        async with sending(proxy) as his:
            his.writer.write(START + b"x" * 30_000_000 + END)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await his.writer.drain()
        async with sending(proxy) as his:
            assert await his.send(adt("M1")) == "AA"
    assert len(lab.received) == 1


async def test_a_half_open_peer_heals_and_a_reset_one_is_forgotten(lab: Receiver) -> None:
    proxy = proxy_to(lab.port, "half_open", most=1, amounts=Amounts(heal=0.6))
    async with serving(proxy), sending(proxy) as his:
        his.writer.write(START + adt("M1") + END)
        await until(lambda: proxy.done["half_open"] == 1)
        async with sending(proxy) as gone:
            gone.writer.write(START + adt("GONE") + END)
            reset(gone)
        async with sending(proxy) as later:
            later.writer.write(START + adt("M2") + END)
            assert await later.is_silent(0.1)
            assert code(await later.answer()) == "AA"
        assert code(await his.answer()) == "AA"
    assert lab.ids == ["M1", "M2"]


def reset(sender: Sender) -> None:
    from ifengine.chaos.crossing import reset as with_reset

    with_reset(sender.writer)


async def test_flapping_resets_everybody_until_it_is_calm(lab: Receiver) -> None:
    proxy = proxy_to(lab.port, "flap", amounts=Amounts(flap=0.05))
    async with serving(proxy):
        for _ in range(3):
            async with sending(proxy) as his:
                with contextlib.suppress(ConnectionResetError):
                    assert await ended(his) == b""
        proxy.chooser.is_calm = True
        async with sending(proxy) as his:
            assert await his.send(adt("M1")) == "AA"
    assert proxy.done["flap"] >= 3


@pytest.mark.parametrize("limit", [0, 1, 30])
async def test_limited_answers_end_at_the_byte_and_requests_are_whole(
    lab: Receiver, limit: int
) -> None:
    amounts = Amounts(limit_bytes=limit)
    proxy = proxy_to(lab.port, "limit_data", sides="answers", amounts=amounts)
    async with serving(proxy), sending(proxy) as his:
        his.writer.write(START + adt("M1") + END)
        assert await ended(his) == (START + ack(adt("M1")) + END)[:limit]
    assert lab.ids == ["M1"]


async def test_the_network_can_be_slow_both_ways(lab: Receiver) -> None:
    amounts = Amounts(delay=0.1, bytes_per_second=2000, slice_bytes=10)
    proxy = proxy_to(lab.port, "latency", "bandwidth", "slicer", amounts=amounts)
    async with serving(proxy), sending(proxy) as his:
        begun = time.monotonic()
        assert await his.send(adt("M1")) == "AA"
        assert time.monotonic() - begun > 0.25
    assert lab.received == [adt("M1")]


@pytest.mark.parametrize("name", ["timeout", "reset_peer"])
async def test_a_connection_ends_by_itself_after_its_time(lab: Receiver, name: str) -> None:
    proxy = proxy_to(lab.port, name, amounts=Amounts(delay=0.1))
    async with serving(proxy), sending(proxy) as his:
        if name == "reset_peer":
            with pytest.raises(ConnectionResetError):
                await ended(his)
        else:
            his.writer.write(START + adt("M1") + END)
            assert await ended(his) == b""
    assert lab.received == []


async def test_a_slow_close_is_passed_on_late(lab: Receiver) -> None:
    proxy = proxy_to(lab.port, "slow_close", amounts=Amounts(delay=0.3), sides="answers")
    async with serving(proxy), sending(proxy) as his:
        assert await his.send(adt("M1")) == "AA"
        await lab.stop()
        begun = time.monotonic()
        assert await ended(his) == b""
        assert time.monotonic() - begun > 0.2


async def test_bytes_that_are_no_frame_pass_as_they_are(lab: Receiver) -> None:
    lab.answer = lambda content: ack(content)
    proxy = proxy_to(lab.port)
    async with serving(proxy), sending(proxy) as his:
        said = b"GET / HTTP/1.1\r\n\r\n" + START + adt("M1") + END
        his.writer.write(said)
        await until(lambda: bool(lab.received))
    # this receiver takes the first byte for a start and the last two for an end, whatever they are
    assert lab.received == [said[1 : -len(END)]]


async def test_a_receiver_that_is_away_closes_the_senders_connection() -> None:
    from engine.support import free_port

    proxy = proxy_to(free_port())
    async with serving(proxy), sending(proxy) as his:
        assert await ended(his) == b""


# --- TLS ----------------------------------------------------------------------------------------


async def test_bad_certificates_are_refused_a_good_one_is_taken_and_a_hang_hangs(
    lab: Receiver, tmp_path: Path
) -> None:
    ca = trustme.CA()
    good = tmp_path / "good.pem"
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(good))
    clock = SystemClock()
    contexts = Contexts(
        listen=server_context(cert=good),
        expired=bad_context(clock, name="localhost", expired=True),
        wrong=bad_context(clock, name=STRANGER, expired=False),
    )
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    proxy = proxy_to(lab.port, "tls_expired", "tls_wrong", "tls_hang", most=3, contexts=contexts)
    async with serving(proxy):
        for _ in range(2):
            with pytest.raises(ssl.SSLCertVerificationError):
                async with sending(proxy, trusting):
                    pass
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), sending(proxy, trusting):
                pass
        async with sending(proxy, trusting) as his:
            assert await his.send(adt("M1")) == "AA"
    assert lab.ids == ["M1"]
    assert proxy.done == {"tls_expired": 1, "tls_wrong": 1, "tls_hang": 1}


async def test_both_sides_may_speak_tls_and_misbehave_all_the_same(
    lab: Receiver, tmp_path: Path
) -> None:
    ca = trustme.CA()
    good = tmp_path / "good.pem"
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(good))
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    secure = await asyncio.start_server(lab._serve, "127.0.0.1", 0, ssl=server_context(cert=good))
    trusting = client_context(ca=tmp_path / "ca.pem")
    contexts = Contexts(listen=server_context(cert=good), send=trusting)
    port = secure.sockets[0].getsockname()[1]
    proxy = proxy_to(port, "code_ae", "rst_mid_ack", every=2, contexts=contexts)
    async with secure, serving(proxy), sending(proxy, trusting) as his:
        assert [await his.send(adt(f"M{n}")) for n in range(3)] == ["AA", "AE", "AA"]
        his.writer.write(START + adt("M3") + END)
        with pytest.raises(ConnectionResetError):
            await ended(his)
    assert lab.ids == ["M0", "M1", "M2", "M3"]


def test_an_expired_certificate_is_refused_for_being_expired() -> None:
    from ifengine.chaos import certificates

    seen: list[bytes] = []

    def remember(*, cert: Path) -> ssl.SSLContext:
        seen.append(cert.read_bytes())
        return server_context(cert=cert)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "server_context", remember)
        bad_context(SystemClock(), name="localhost", expired=True)
        bad_context(SystemClock(), name=STRANGER, expired=False)
    from cryptography import x509

    expired, wrong = (x509.load_pem_x509_certificate(pem) for pem in seen)
    assert (
        expired.not_valid_after_utc.timestamp()
        < time.time()
        < wrong.not_valid_after_utc.timestamp()
    )
