"""Ports for tests that listen: none that the system gives to outgoing connections.

A port of that range may be taken as the near end of any connection before the test listens, or while
what it tests is down; and a connection to it may even meet itself.
"""

import random
import socket
from pathlib import Path

LOWEST = 10_240
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_OUTGOING_FROM = 32_768  # where the system does not say
_TRIES = 1000
_given: set[int] = set()
_lot = random.SystemRandom()


def end_of_range(path: Path = _RANGE) -> int:
    """Return the first port that outgoing connections get."""
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _OUTGOING_FROM


def free_port() -> int:
    """Return a port that nobody listens on, another one each time."""
    end = end_of_range()
    for _ in range(_TRIES if end > LOWEST + _TRIES else 0):
        port = _lot.randrange(LOWEST, end)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    with socket.create_server(("127.0.0.1", 0)) as found:  # no room below: one of the system's
        return int(found.getsockname()[1])


def free_ports(count: int) -> list[int]:
    """Return several."""
    return [free_port() for _ in range(count)]


def _is_free(port: int) -> bool:
    try:
        # every address: a server of this machine may listen on all of them
        with socket.create_server(("", port)):
            return True
    except OSError:
        return False
