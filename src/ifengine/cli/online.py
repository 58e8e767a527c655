"""``check --online``: are the places of a site there? Nothing of HL7 is sent."""

import errno
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ifengine.clock import MICROSECONDS, SystemClock
from ifengine.errors import SettingsError

if TYPE_CHECKING:
    from ifengine.routes.config.models import ListenConnection, SendConnection, SiteConfig

_AT_ONCE = 16
_SOON_DAYS = 30


class Seen(NamedTuple):
    """What became of one connection. ``level`` is ok, warn or fail."""

    name: str
    address: str
    level: str
    text: str

    def as_json(self) -> dict[str, str]:
        """Return the shape of ``check --online -o json``."""
        return dict(self._asdict())


def look(site: "SiteConfig") -> list[Seen]:
    """Connect to every connection that sends, and bind every address that listens; in file order.

    A TLS connection makes its handshake and is closed. A listener that is in use counts as good
    where the site's own engine answers.
    """
    running = _engine_answers(site.admin_socket)
    asked: list[Callable[[], Seen]] = [
        *(partial(_listen, connection, running) for connection in site.listeners.values()),
        *(partial(_send, connection) for connection in site.senders.values()),
    ]
    if not asked:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(asked))) as pool:
        return list(pool.map(lambda ask: ask(), asked))


def _engine_answers(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1.0)
            link.connect(str(path))
    except OSError:
        return False
    return True


def _listen(connection: "ListenConnection", running: bool) -> Seen:
    from ifengine.engine.building import listener_options
    from ifengine.mllp.tls import certificate_expiry

    name, address = connection.name, f"{connection.host}:{connection.port}"
    try:
        listener_options(connection)
        tls = connection.tls
        ends = None if tls is None or tls.cert is None else certificate_expiry(tls.cert)
    except SettingsError as error:
        return Seen(name, address, "fail", str(error))
    certificate = ("ok", "plaintext") if ends is None else _certificate(ends)
    try:
        found = socket.getaddrinfo(
            connection.host, connection.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, at in dict.fromkeys(found):
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(at)
                listener.listen(1)
    except socket.gaierror:
        return Seen(name, address, "fail", "the address is not known here")
    except OSError as error:
        if error.errno == errno.EADDRINUSE and running:
            return Seen(name, address, certificate[0], f"in use by this engine, {certificate[1]}")
        return Seen(name, address, "fail", f"cannot listen: {error.strerror}")
    return Seen(name, address, certificate[0], f"free to listen, {certificate[1]}")


def _send(connection: "SendConnection") -> Seen:
    from ifengine.engine.building import client_options
    from ifengine.mllp.tls import is_pinned

    name, address = connection.name, f"{connection.host}:{connection.port}"

    def failed(text: str) -> Seen:
        return Seen(name, address, "fail", text)

    clock = SystemClock()
    begun = clock.monotonic()
    try:
        options = client_options(connection)
        seconds = connection.connect_timeout_seconds
        with socket.create_connection((connection.host, connection.port), seconds) as link:
            took = f"connected {(clock.monotonic() - begun) * 1000:.0f} ms"
            if options.ssl_context is None:
                return Seen(name, address, "ok", f"{took}, plaintext")
            server_name = options.server_name or connection.host
            with options.ssl_context.wrap_socket(link, server_hostname=server_name) as secured:
                certificate = secured.getpeercert(True)
                version = secured.version() or "TLS"
    except SettingsError as error:
        return failed(str(error))
    except socket.gaierror:
        return failed("the name cannot be resolved")
    except ConnectionRefusedError:
        return failed("refused")
    except TimeoutError:
        return failed(f"no answer within {connection.connect_timeout_seconds:g} s")
    except ssl.SSLCertVerificationError as error:
        return failed(f"the certificate is not trusted: {error.verify_message}")
    except ssl.SSLError as error:
        return failed(f"no TLS: {error.reason or 'the handshake failed'}")
    except OSError as error:
        return failed(error.strerror or "the connection failed")
    if options.pinned and not is_pinned(certificate, options.pinned):
        return failed("the certificate is not one of the pinned ones")
    level, told = _certificate(_ends(certificate))
    return Seen(name, address, level, f"{took}, {version.replace('TLSv', 'TLS ')}, {told}")


def _ends(certificate: bytes | None) -> datetime:
    from cryptography import x509

    if certificate is None:
        return datetime.fromtimestamp(0, UTC)
    return x509.load_der_x509_certificate(certificate).not_valid_after_utc


def _certificate(ends: datetime) -> tuple[str, str]:
    """Return the level and the words for a certificate that ends then."""
    now = datetime.fromtimestamp(SystemClock().now_us() / MICROSECONDS, UTC)
    days = (ends - now).days
    if days < 0:
        return "fail", "its certificate has ended"
    return "warn" if days < _SOON_DAYS else "ok", f"its certificate ends in {days} days"
