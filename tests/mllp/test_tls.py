"""TLS: who is refused, and that nothing leaks to those."""

import asyncio
import hashlib
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from ifengine.errors import SettingsError
from ifengine.mllp.framing import encode_frame
from ifengine.mllp.tls import certificate_expiry, client_context, is_pinned, server_context
from mllp.peers import (
    ClientNotes,
    Notes,
    certificates,
    client_of,
    listening,
    on_both_loops,
    peer_of,
    until,
)


def digest_of(path: Path) -> bytes:
    pem = path.read_text()
    begin = pem.index("-----BEGIN CERTIFICATE")
    return hashlib.sha256(
        ssl.PEM_cert_to_DER_cert(pem[begin:].split("-----END")[0] + "-----END CERTIFICATE-----\n")
    ).digest()


def server(**options: Any) -> ssl.SSLContext:
    return server_context(cert=certificates().server, **options)


async def one_exchange(listener_context: ssl.SSLContext, **options: Any) -> tuple[Notes, Any]:
    """Send one message; return what the receiver and the client wrote down."""
    receiver, notes = Notes(), ClientNotes()
    async with listening(receiver, ssl_context=listener_context) as listener:
        client = client_of(listener.port, notes, **options)
        client.connect()
        await notes.wait(1)
        if client.is_connected:
            client.send(b"CANARY")
            await notes.wait(2)
        client.close()
        await until(lambda: not listener._held_slots)
    return receiver, notes.log


@pytest.mark.parametrize("minimum", ["1.2", "1.3"])
@on_both_loops
async def test_a_peer_with_a_certificate_of_the_ca_is_served(minimum: str) -> None:
    context = client_context(ca=certificates().ca, minimum=minimum)
    receiver, log = await one_exchange(server(minimum=minimum), ssl_context=context)
    assert receiver.frames == [b"CANARY"]
    assert log == [("connected", None), ("frame", b"ACK CANARY"), ("disconnected", "closed")]


@on_both_loops
async def test_a_required_client_certificate_is_asked_for_and_checked() -> None:
    files = certificates()
    required = {"ca": files.ca, "client": "required"}
    good = client_context(ca=files.ca, cert=files.client)
    receiver, _ = await one_exchange(server(**required), ssl_context=good)
    assert receiver.frames == [b"CANARY"]
    for bad in (
        client_context(ca=files.ca),
        client_context(ca=files.ca, cert=files.stranger),
    ):
        receiver, log = await one_exchange(server(**required), ssl_context=bad)
        assert receiver.frames == receiver.opened == []
        assert not [entry for entry in log if entry[0] == "frame"]
        assert log[-1][0] == "disconnected"


@on_both_loops
async def test_an_optional_client_certificate_may_be_absent_but_not_wrong() -> None:
    files = certificates()
    optional = {"ca": files.ca, "client": "optional"}
    receiver, _ = await one_exchange(server(**optional), ssl_context=client_context(ca=files.ca))
    assert receiver.frames == [b"CANARY"]
    stranger = client_context(ca=files.ca, cert=files.stranger)
    receiver, _ = await one_exchange(server(**optional), ssl_context=stranger)
    assert receiver.frames == []


@pytest.mark.parametrize("cert", ["elsewhere", "stranger"])
@on_both_loops
async def test_a_server_of_another_name_or_ca_gets_no_message(cert: str) -> None:
    wrong = server_context(cert=getattr(certificates(), cert))
    receiver, log = await one_exchange(wrong, ssl_context=client_context(ca=certificates().ca))
    assert log == [("disconnected", "tls")]
    assert receiver.frames == []


@on_both_loops
async def test_a_server_name_of_its_own_is_checked_instead_of_the_host() -> None:
    elsewhere = server_context(cert=certificates().elsewhere)
    context = client_context(ca=certificates().ca)
    receiver, _ = await one_exchange(elsewhere, ssl_context=context, server_name="other.example")
    assert receiver.frames == [b"CANARY"]


@on_both_loops
async def test_a_pinned_certificate_needs_neither_ca_nor_name() -> None:
    files = certificates()
    pinned = (b"\0" * 32, digest_of(files.stranger))
    receiver, _ = await one_exchange(
        server_context(cert=files.stranger),
        ssl_context=client_context(pinned=pinned),
        pinned=pinned,
    )
    assert receiver.frames == [b"CANARY"]


@pytest.mark.parametrize("with_ca", [True, False])
@on_both_loops
async def test_another_certificate_than_the_pinned_one_gets_no_message(with_ca: bool) -> None:
    files = certificates()
    pinned = (digest_of(files.elsewhere),)
    context = client_context(pinned=pinned, ca=files.ca if with_ca else None)
    receiver, log = await one_exchange(server(), ssl_context=context, pinned=pinned)
    assert log == [("disconnected", "tls")]
    assert receiver.frames == []


@on_both_loops
async def test_pins_without_tls_never_fall_back_to_plaintext() -> None:
    notes, receiver = ClientNotes(), Notes()
    async with listening(receiver) as listener:
        client = client_of(listener.port, notes, pinned=(b"\0" * 32,))
        client.connect()
        assert await notes.wait(1) == [("disconnected", "tls")]


@on_both_loops
async def test_a_tls_client_gives_a_plaintext_port_nothing_but_its_hello() -> None:
    notes, receiver = ClientNotes(), Notes()
    async with listening(receiver) as listener:
        client = client_of(listener.port, notes, ssl_context=client_context(ca=certificates().ca))
        client.connect()
        assert await notes.wait(1) == [("disconnected", "tls")]
        await until(lambda: receiver.faults)
    assert receiver.faults == [("not_mllp", b"\x16\x03")]


@on_both_loops
async def test_plaintext_on_a_tls_port_reaches_nobody_and_gets_no_answer() -> None:
    receiver = Notes()
    async with (
        listening(receiver, ssl_context=server()) as listener,
        peer_of(listener.port) as peer,
    ):
        peer.send(encode_frame(b"CANARY"))
        reply = await peer.rest()
        assert b"ACK" not in reply
        assert b"CANARY" not in reply
        await until(lambda: listener.counts.tls_failures == 1)
        assert listener._held_slots == 0
    assert receiver.opened == receiver.frames == receiver.faults == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
@on_both_loops
async def test_tls_1_1_is_refused() -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(certificates().ca)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    receiver = Notes()
    async with listening(receiver, ssl_context=server()) as listener:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", listener.port, ssl=old)
        await until(lambda: listener.counts.tls_failures == 1)
    assert receiver.opened == []


@on_both_loops
async def test_a_handshake_that_hangs_is_ended_and_gives_its_place_back() -> None:
    async with (
        listening(Notes(), ssl_context=server(), handshake_timeout_seconds=0.1) as listener,
        peer_of(listener.port) as peer,
    ):
        assert await peer.rest() == b""
        await until(lambda: listener.counts.tls_failures == 1)
        assert listener._held_slots == 0


@on_both_loops
async def test_a_stop_does_not_wait_for_a_handshake_that_hangs() -> None:
    loop = asyncio.get_running_loop()
    async with (
        listening(Notes(), ssl_context=server()) as listener,
        peer_of(listener.port),
    ):
        await until(lambda: listener._handshakes)
        began = loop.time()
        assert await listener.stop(5)
        assert loop.time() - began < 2


@on_both_loops
async def test_the_allow_list_comes_before_the_handshake() -> None:
    elsewhere = (ipaddress.ip_network("10.0.0.0/8"),)
    async with (
        listening(Notes(), ssl_context=server(), allow=elsewhere) as listener,
        peer_of(listener.port) as peer,
    ):
        peer.send(b"\x16\x03\x01")
        assert await peer.rest() == b""
        assert (listener.counts.not_allowed, listener.counts.tls_failures) == (1, 0)


@on_both_loops
async def test_pipelined_frames_and_a_stop_work_under_tls_too() -> None:
    receiver = Notes(answers=False)
    context = client_context(ca=certificates().ca)
    async with (
        listening(receiver, ssl_context=server()) as listener,
        peer_of(listener.port, ssl=context) as peer,
    ):
        peer.send(b"".join(encode_frame(b"m%d" % n) for n in range(100)))
        await until(lambda: len(receiver.owed) == 100)
        stopping = asyncio.get_running_loop().create_task(listener.stop(5))
        await asyncio.sleep(0.01)
        receiver.answer_all()
        assert [await peer.frame() for _ in range(100)] == [b"ACK m%d" % n for n in range(100)]
        await peer.close()
        assert await stopping


def test_an_expiry_is_read_from_the_certificate(tmp_path: Path) -> None:
    at = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    path = tmp_path / "cert.pem"
    issued = trustme.CA().issue_cert("a.example", not_after=at)
    issued.private_key_and_cert_chain_pem.write_to_path(path)
    assert certificate_expiry(path) == at
    assert certificate_expiry(certificates().ca) > at + timedelta(days=1)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    junk, absent = tmp_path / "junk.pem", tmp_path / "absent.pem"
    junk.write_text("not a certificate")
    files = certificates()
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    for path in (junk, absent):
        for use in (
            lambda p=path: server_context(cert=p),
            lambda p=path: server_context(cert=files.server, ca=p),
            lambda p=path: client_context(ca=p),
            lambda p=path: certificate_expiry(p),
        ):
            with pytest.raises(SettingsError, match=path.name):
                use()
    with pytest.raises(SettingsError, match=r"encrypted\.pem"):
        server_context(cert=files.server, key=encrypted)
    with pytest.raises(SettingsError, match="private key"):
        server_context(cert=files.server, key=files.client)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match="without a ca"):
        server(client="required")
    with pytest.raises(SettingsError, match="none, optional or required"):
        server(client="maybe")
    with pytest.raises(SettingsError, match=r"1\.2 or 1\.3"):
        server(minimum="1.1")


def test_a_missing_certificate_is_not_a_pinned_one() -> None:
    assert not is_pinned(None, (hashlib.sha256(b"").digest(),))
    assert not is_pinned(b"", (hashlib.sha256(b"").digest(),))
    assert is_pinned(b"der", (hashlib.sha256(b"der").digest(),))
