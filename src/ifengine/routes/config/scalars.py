"""Text to values: durations, sizes, ports, addresses. Pure; errors never quote the text."""

import ipaddress
import re
from typing import NamedTuple

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365.25 * 86400.0}
BYTES = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d|y)")
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(KiB|MiB|GiB)")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?")
_TIME_RANGE = re.compile(
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]-(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)"
)
_TYPE = re.compile(r"(\*|[A-Z][A-Z0-9]{2})(?:\^(\*|[A-Z][A-Z0-9]{2}))?")
YES = frozenset({"yes", "true", "on"})
NO = frozenset({"no", "false", "off"})


class ScalarError(Exception):
    """A text is not what its key wants. ``message`` goes on after the quoted text."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class HostPort(NamedTuple):
    """Where to listen or to connect."""

    host: str
    port: int


def parse_words(text: str) -> str:
    """Return a text that says something."""
    if not text.strip():
        raise ScalarError("says nothing")
    return text


def parse_yes_no(text: str) -> bool:
    """Return True for yes, true, on; False for no, false, off; any case."""
    lowered = text.lower()
    if lowered in YES:
        return True
    if lowered in NO:
        return False
    raise ScalarError("is not yes or no")


def parse_processing_mode(text: str) -> str:
    """Return a mode of a historical load: archive, restore, initial (table 0207)."""
    if text not in ("A", "R", "I"):
        raise ScalarError("is not a mode of a historical load", "A, R or I: table 0207")
    return text


def parse_duration(text: str) -> float:
    """Return seconds of ``500ms``, ``5s``, ``2m``, ``1h``, ``30d``, ``7y`` (365.25 days)."""
    found = _DURATION.fullmatch(text)
    if found is None:
        number = re.fullmatch(r"[0-9.]+", text)
        hint = f"add a unit: {text}s" if number else "units are ms s m h d y, as in 30s or 7d"
        raise ScalarError("is not a duration", hint)
    return float(found[1]) * SECONDS[found[2]]


def parse_positive_duration(text: str) -> float:
    """Return seconds, more than none."""
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ScalarError("must be longer than nothing")
    return seconds


def parse_size(text: str) -> int:
    """Return bytes of ``512KiB``, ``20MiB``, ``2GiB``."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ScalarError("is not a size", "units are KiB MiB GiB, as in 20MiB")
    return int(float(found[1]) * BYTES[found[2]])


def parse_positive_size(text: str) -> int:
    """Return bytes, at least one."""
    size = parse_size(text)
    if size < 1:
        raise ScalarError("must be more than nothing")
    return size


def parse_whole(low: int, high: int, text: str) -> int:
    """Return a whole number between two bounds."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise ScalarError(f"is not a whole number from {low} to {high}")
    return int(text)


def parse_number(low: float, high: float, text: str) -> float:
    """Return a number between two bounds."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not low <= float(text) <= high:
        raise ScalarError(f"is not a number from {low:g} to {high:g}")
    return float(text)


def parse_port(text: str) -> int:
    """Return a TCP port; 0 lets the system choose one."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ScalarError("is not a port", "a port is a number from 0 to 65535")
    return int(text)


def parse_name(text: str) -> str:
    """Return a name that can be a command's argument, a metric's label and a file's name."""
    if not _NAME.fullmatch(text):
        raise ScalarError(
            "is not a name", "small letters, digits and hyphens, a letter first, 63 at most"
        )
    return text


def parse_host(text: str) -> str:
    """Return a host name or an IP address; no port, no scheme."""
    if "://" in text:
        raise ScalarError("is not a host", "leave out the scheme: host and port only")
    try:
        address = str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        address = ""
    # the zone of an address (%eth0) is taken as it stands, blanks and line ends with it
    if address and address.isprintable() and " " not in address:
        return address
    if not _HOST.fullmatch(text):
        hint = "write the port under `port:`" if ":" in text else ""
        raise ScalarError("is not a host name or an address", hint)
    return text


def parse_host_port(text: str) -> HostPort:
    """Return host and port of ``127.0.0.1:9464`` or ``[::1]:9464``."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ScalarError("is not HOST:PORT", "as in 127.0.0.1:9464")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ScalarError("is not HOST:PORT", "an IPv6 address stands in brackets: [::1]:9464")
    return HostPort(parse_host(host), parse_port(port))


def parse_unix(text: str) -> str:
    """Return the path of ``unix:PATH``."""
    if not text.startswith("unix:") or len(text) == len("unix:"):
        raise ScalarError("is not a Unix socket", "as in unix:var/admin.sock")
    return text.removeprefix("unix:")


def parse_network(text: str) -> str:
    """Return a network in CIDR form; one address is a network of one."""
    if "%" in text:  # the zone of an address: no peer is compared by it
        raise ScalarError("is not a network", "leave out the zone: fe80::1")
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        inside = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ScalarError("is not a network", "as in 10.20.0.0/16 or 10.20.1.7") from None
    raise ScalarError("has address bits beyond its prefix", f"the network is {inside}")


def parse_time_range(text: str) -> str:
    """Return hours of a day such as ``06:00-22:00``."""
    if not _TIME_RANGE.fullmatch(text):
        raise ScalarError("is not a time range", "as in 06:00-22:00")
    return text


def parse_type(text: str) -> tuple[str, str]:
    """Return message code and trigger event of ``ADT^A01``, ``ADT^*``, ``ACK`` or ``*``."""
    found = _TYPE.fullmatch(text)
    if found is None:
        parts = text.split("^")
        if len(parts) > 2 and _TYPE.fullmatch("^".join(parts[:2])):
            raise ScalarError(
                "is not a message type",
                f"only code and trigger event are compared: {parts[0]}^{parts[1]}",
            )
        if _TYPE.fullmatch(text.upper()):
            raise ScalarError("is not a message type", f"in capitals: {text.upper()}")
        raise ScalarError("is not a message type", "as in ADT^A01, ADT^* or *")
    return found[1], found[2] or "*"


def parse_fingerprint(text: str) -> bytes:
    """Return the 32 bytes of a SHA-256 digest in hexadecimal, colons allowed."""
    plain = text.replace(":", "").removeprefix("sha256")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", plain):
        raise ScalarError("is not a SHA-256 digest", "64 hexadecimal digits of the certificate")
    return bytes.fromhex(plain)
