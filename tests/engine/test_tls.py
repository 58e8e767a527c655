"""TLS through a whole engine: who may send to it, and to whom it sends."""

import asyncio
import contextlib
import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from engine.support import (
    END,
    START,
    Receiver,
    Running,
    Sender,
    Site,
    adt,
    free_port,
    metric,
    running,
    sender,
    until,
)
from engine.told import Told
from ifengine.telemetry.events import ConnectionRefused
from ifengine.telemetry.words import Refusal

RETRY = "retry: {first: 50ms, factor: 1, max: 50ms, jitter: 0}"


@dataclass
class Certificates:
    """One authority, a server's and a client's certificate of it, and those of a stranger."""

    folder: Path
    ca: trustme.CA
    server: trustme.LeafCert
    client: trustme.LeafCert
    stranger_ca: trustme.CA
    stranger: trustme.LeafCert

    def digest(self, leaf: trustme.LeafCert) -> str:
        pem = leaf.cert_chain_pems[0].bytes().decode()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("tls")
    ca, stranger_ca = trustme.CA(), trustme.CA()
    made = Certificates(
        folder,
        ca,
        ca.issue_cert("127.0.0.1"),
        ca.issue_cert("his.example"),
        stranger_ca,
        stranger_ca.issue_cert("127.0.0.1"),
    )
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("server", "client", "stranger"):
        leaf: trustme.LeafCert = getattr(made, name)
        leaf.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        for pem in leaf.cert_chain_pems:
            pem.write_to_path(str(folder / f"{name}.pem"), append=True)
    return made


def secured(site: Site, certificates: Certificates, *, listen: str = "", send: str = "") -> None:
    """Rewrite the site file: the listener, the sender or both speak TLS by these settings."""
    site.options["lab"] = RETRY
    site.write()
    path = site.folder / "ifengine.yaml"
    text = path.read_text()
    lines = []
    for line in text.splitlines():
        wanted = (listen, "listening") if "listen: mllp" in line else (send, "sending")
        if wanted[0] and "plaintext: test" in line:
            line = line.replace("plaintext: test", f"tls: {wanted[1]}")
        lines.append(line)
    lines.append("tls:")
    if listen:
        lines.append(f"  listening: {{{listen}}}")
    if send:
        lines.append(f"  sending: {{{send}}}")
    path.write_text("\n".join(lines).replace("FOLDER", str(certificates.folder)) + "\n")
    site.write = lambda: None  # type: ignore[method-assign]


LISTEN = "cert: FOLDER/server.pem, key: FOLDER/server.key, ca: FOLDER/ca.pem, client: required"


class SecureReceiver(Receiver):
    """A receiver behind TLS. ``connections`` counts those whose handshake ended."""

    def __init__(self, leaf: trustme.LeafCert, client_ca: trustme.CA | None = None) -> None:
        super().__init__()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(self.context)
        if client_ca is not None:
            client_ca.configure_trust(self.context)
            self.context.verify_mode = ssl.CERT_REQUIRED

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self.context
        )


async def connect(site: Site, context: ssl.SSLContext) -> Sender:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=context)
    return Sender(reader, writer)


def client(certificates: Certificates, leaf: trustme.LeafCert | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    certificates.ca.configure_trust(context)
    if leaf is not None:
        leaf.configure_cert(context)
    return context


async def tls_failures(engine: Running) -> float:
    text = (await engine.ask("metrics"))["text"]
    return metric(text, "ifengine_connection_failures_total", reason="tls")


async def test_only_a_sender_with_a_certificate_of_the_authority_is_heard(
    site: Site, lab: Receiver, certificates: Certificates, told: Told
) -> None:
    secured(site, certificates, listen=LISTEN)
    async with running(site) as engine:
        his = await connect(site, client(certificates, certificates.client))
        assert await his.send(adt("M1")) == "AA"
        his.close()
        for leaf in (None, certificates.stranger):
            refused = None
            try:
                refused = await connect(site, client(certificates, leaf))
                refused.writer.write(START + adt("BAD") + END)
                async with asyncio.timeout(3):
                    assert await refused.reader.read(100) == b""
            except (ssl.SSLError, ConnectionError):
                pass
            finally:
                if refused is not None:
                    refused.writer.transport.abort()
        await until(lambda: lab.ids == ["M1"])
        assert list(await engine.states()) == ["M1"]
        assert await engine.ask("messages.list", state="rejected") == []
        await until(lambda: has_failures(engine, 2))
    refused = [one for one in told.of(ConnectionRefused) if one.reason is Refusal.TLS]
    assert sum(one.count for one in refused) >= 2


async def has_failures(engine: Running, count: int) -> bool:
    return await tls_failures(engine) >= count


async def test_a_sender_without_tls_is_never_answered_by_a_secured_listener(
    site: Site, lab: Receiver, certificates: Certificates
) -> None:
    secured(site, certificates, listen=LISTEN)
    async with running(site) as engine:
        async with sender(site) as plain:
            plain.writer.write(START + adt("M1") + END)
            async with asyncio.timeout(3):
                answer = b""
                with contextlib.suppress(ConnectionError):
                    answer = await plain.reader.read(200)
            assert b"MSA" not in answer
        assert await engine.states() == {}
    assert lab.received == []


@pytest.mark.parametrize("old", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1])
async def test_an_old_version_of_tls_is_refused(
    site: Site, certificates: Certificates, old: ssl.TLSVersion
) -> None:
    secured(site, certificates, listen=LISTEN)
    context = client(certificates, certificates.client)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = old
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = old
    async with running(site):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(site, context)


async def delivers(site: Site, receiver: Receiver, control: str = "M1") -> None:
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt(control)) == "AA"
        await until(lambda: receiver.ids == [control])
        await until(lambda: is_sent(engine, control))


async def is_sent(engine: Running, control: str) -> bool:
    return (await engine.states()).get(control) == {"lab": "sent"}


async def test_a_receiver_proven_by_its_authority_gets_messages_and_sees_our_certificate(
    tmp_path: Path, certificates: Certificates
) -> None:
    receiver = SecureReceiver(certificates.server, certificates.ca)
    await receiver.start()
    site = Site(tmp_path / "site", {"lab": receiver})
    own = "ca: FOLDER/ca.pem, cert: FOLDER/client.pem, key: FOLDER/client.key"
    secured(site, certificates, send=own)
    await delivers(site, receiver)
    await receiver.stop()


async def test_a_receiver_proven_by_its_pinned_certificate_gets_messages_without_an_authority(
    tmp_path: Path, certificates: Certificates
) -> None:
    receiver = SecureReceiver(certificates.stranger)
    await receiver.start()
    site = Site(tmp_path / "site", {"lab": receiver})
    pin = certificates.digest(certificates.stranger)
    secured(site, certificates, send=f'pinned: ["{pin}"]')
    await delivers(site, receiver)
    await receiver.stop()


@pytest.mark.parametrize("proof", ["ca", "pin", "own certificate"])
async def test_a_receiver_that_cannot_be_proven_never_gets_a_byte_of_hl7(
    tmp_path: Path, certificates: Certificates, proof: str
) -> None:
    got: list[bytes] = []
    tried = asyncio.Event()

    class Recording(SecureReceiver):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                got.append(await reader.read(1000))
            except (ConnectionError, ssl.SSLError):
                got.append(b"")
            finally:
                writer.transport.abort()
                tried.set()

    stranger = proof == "ca"
    leaf = certificates.stranger if stranger else certificates.server
    receiver = Recording(leaf, certificates.ca if proof == "own certificate" else None)
    await receiver.start()
    site = Site(tmp_path / "site", {"lab": receiver})
    wrong_pin = "ab" * 32
    send = {
        "ca": "ca: FOLDER/ca.pem",
        "pin": f'pinned: ["{wrong_pin}"]',
        "own certificate": "ca: FOLDER/ca.pem",
    }[proof]
    secured(site, certificates, send=send)
    async with running(site, grace_seconds=0.5) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        if proof == "own certificate":
            # TLS 1.3: our side is done before the receiver says that it wants a certificate
            await until(lambda: tries(engine, 1))
        else:
            await until(lambda: tries(engine, 3))
        assert (await engine.states())["M1"]["lab"] in ("queued", "in_doubt")
        assert await engine.letters() == []
    assert not any(b"MSH" in data for data in got)
    await receiver.stop()


async def tries(engine: Running, count: int) -> bool:
    text = (await engine.ask("metrics"))["text"]
    return metric(text, "ifengine_deliveries_total", destination="lab") >= count


async def test_a_receiver_that_hangs_in_the_handshake_delays_nobody_else(
    tmp_path: Path, certificates: Certificates
) -> None:
    hung = await asyncio.start_server(hang, "127.0.0.1", port := free_port())
    ward = Receiver()
    await ward.start()
    dead = Receiver(port=port)
    site = Site(tmp_path / "site", {"lab": dead, "ward": ward})
    secured(site, certificates, send="ca: FOLDER/ca.pem")
    path = site.folder / "ifengine.yaml"
    lines = path.read_text().splitlines()
    for at, line in enumerate(lines):
        if "to-ward" in line:
            lines[at] = line.replace("tls: sending", "plaintext: test")
    path.write_text("\n".join(lines) + "\n")
    async with running(site, grace_seconds=0.5), sender(site) as his:
        for number in range(20):
            assert await his.send(adt(f"M{number:02}")) == "AA"
        await until(lambda: ward.ids == [f"M{number:02}" for number in range(20)])
    await ward.stop()
    hung.close()


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1000):
            assert b"MSH" not in data
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
