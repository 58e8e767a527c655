"""Certificates that no peer should accept: expired, or of somebody else."""

import os
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ifengine.clock import MICROSECONDS, Clock
from ifengine.mllp.tls import server_context

STRANGER = "stranger.invalid"


def bad_context(clock: Clock, *, name: str, expired: bool) -> ssl.SSLContext:
    """Return a server's context with a fresh certificate that nobody signed.

    Args:
        clock: says what today is.
        name: whose certificate it says it is.
        expired: whether it ended yesterday.
    """
    today = datetime.fromtimestamp(clock.now_us() / MICROSECONDS, UTC)
    end = today - timedelta(days=1) if expired else today + timedelta(days=30)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=30))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    # the library reads keys from files only; this one opens nothing and is gone at once
    handle, path = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(pem)
        return server_context(cert=Path(path))
    finally:
        os.unlink(path)
