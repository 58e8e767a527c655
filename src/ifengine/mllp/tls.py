"""TLS for MLLP: 1.2 or later, by CA with host name, or by pinned certificate."""

import hashlib
import hmac
import ssl
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from ifengine.errors import SettingsError

_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


def server_context(
    *,
    cert: Path,
    key: Path | None = None,
    ca: Path | None = None,
    client: str = "none",
    minimum: str = "1.2",
) -> ssl.SSLContext:
    """Return the context of a listener.

    Args:
        cert: certificate chain, PEM; holds the key too where ``key`` is not given.
        key: private key, PEM, without a passphrase.
        ca: who signs client certificates.
        client: ``none``, ``optional`` (checked where given) or ``required``.
        minimum: lowest TLS version, ``1.2`` or ``1.3``.

    Raises:
        SettingsError: a file cannot be used, or the settings contradict each other.
    """
    if client not in _CLIENT:
        raise SettingsError("client certificates are none, optional or required")
    if client != "none" and ca is None:
        raise SettingsError("client certificates cannot be checked without a ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, minimum)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_chain(context, cert, key)
    if ca is not None:
        _load_ca(context, ca)
    context.verify_mode = _CLIENT[client]
    return context


def client_context(
    *,
    ca: Path | None = None,
    pinned: Collection[bytes] = (),
    cert: Path | None = None,
    key: Path | None = None,
    minimum: str = "1.2",
) -> ssl.SSLContext:
    """Return the context of an outbound connection.

    With ``ca`` the peer's chain and host name are checked; with ``pinned`` the owner compares
    the certificate itself (see ``is_pinned``), so that neither CA nor name is needed; with both
    the chain is checked, the name is not. With neither, the machine's CAs are trusted.

    Raises:
        SettingsError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context, minimum)
    if pinned:
        context.check_hostname = False
        if ca is None:
            context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs()
    if ca is not None:
        _load_ca(context, ca)
    if cert is not None:
        _load_chain(context, cert, key)
    return context


def is_pinned(certificate: bytes | None, pinned: Collection[bytes]) -> bool:
    """Return whether the SHA-256 digest of this certificate (DER) is one of the pinned ones."""
    if not certificate:
        return False
    digest = hashlib.sha256(certificate).digest()
    return any(hmac.compare_digest(digest, known) for known in pinned)


def certificate_expiry(path: Path) -> datetime:
    """Return when the first certificate of the chain in this file to end does so, UTC.

    Raises:
        SettingsError: the file cannot be read or holds no certificate.
    """
    from cryptography import x509  # slow to import; a site without certificates starts without it

    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise SettingsError(f"{path}: holds no PEM certificate") from None
    return min(certificate.not_valid_after_utc for certificate in chain)


def _harden(context: ssl.SSLContext, minimum: str) -> None:
    if minimum not in _MINIMUM:
        raise SettingsError("the lowest TLS version is 1.2 or 1.3")
    context.minimum_version = _MINIMUM[minimum]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_chain(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    for path in (cert, key):
        _require_readable(path)
    try:
        # Without a callback an encrypted key would ask on the terminal and hang a service.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, ValueError):
        used = f"{cert} and {key}" if key is not None else str(cert)
        raise SettingsError(
            f"{used}: not a PEM certificate with its private key",
            hint="the key must belong to the first certificate and have no passphrase",
        ) from None


def _load_ca(context: ssl.SSLContext, ca: Path) -> None:
    _require_readable(ca)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError:
        raise SettingsError(f"{ca}: holds no PEM certificate") from None


def _require_readable(path: Path | None) -> None:
    if path is None:
        return
    try:
        path.open("rb").close()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
