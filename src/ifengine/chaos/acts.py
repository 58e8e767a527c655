"""What a misbehaviour does to a connection, as values: the shell performs them in order."""

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True)
class Say:
    """Write these bytes."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing on this connection for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Keep:
    """Write these bytes as the first ones of the next connection."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Hold this answer until the next one; each then goes where the other belongs."""

    frame: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Blackout:
    """Pass nothing in either direction, on any connection, for a while."""

    seconds: float


class End(Enum):
    """How a connection ends, or goes on without a word."""

    CLOSE = "close"  # FIN
    RESET = "reset"  # RST
    SILENCE = "silence"  # it stays, and no answer passes any more


Act = Say | Wait | Keep | Exchange | Blackout | End


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much of each; times in seconds.

    Attributes:
        delay: how long what is late is late.
        jitter: at most this is added to ``delay``, by lot.
        bytes_per_second: of ``bandwidth``.
        slice_bytes: of ``slicer``.
        limit_bytes: of ``limit_data``.
        heal: how long ``half_open`` lasts.
        flap: between two resets of ``flap``.
        huge_bytes: size of ``huge_ack``.
    """

    delay: float = 1.0
    jitter: float = 0.0
    bytes_per_second: int = 1024
    slice_bytes: int = 16
    limit_bytes: int = 64
    heal: float = 10.0
    flap: float = 0.2
    huge_bytes: int = 64 * 1024 * 1024
