"""Socket options and names that listener and client share."""

import ipaddress
import socket
import struct
from typing import Protocol

KEEPALIVE_IDLE_SECONDS = 60
KEEPALIVE_INTERVAL_SECONDS = 10
KEEPALIVE_PROBES = 6
USER_TIMEOUT_MILLISECONDS = 60_000


def tune(connection: socket.socket) -> None:
    """Send small answers at once, and notice a peer that is gone without a word.

    Keepalive covers the silent connection, the user timeout the one with bytes under way;
    options that the platform does not have are left out.
    """
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, amount in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MILLISECONDS),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, amount)


class Lingering(Protocol):
    """A socket, or what a transport gives for it."""

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...


def forget_unsent(connection: Lingering, wanted: bool = True) -> None:
    """Choose how a connection ends: with a reset that throws away what was written, or in order.

    After an ordinary close, and after the death of a process, the kernel goes on trying for a
    long time to deliver what the peer has not confirmed: when a network comes back, the bytes of
    a given-up attempt would arrive behind newer messages.
    """
    linger = struct.pack("ii", int(wanted), 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address a peer has; IPv4 that arrived on an IPv6 socket counts as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def shown(host: str, port: int) -> str:
    """Return ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
