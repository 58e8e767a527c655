"""The messages of the crash tests, and what the channel must make of them, written independently.

Everything follows from (connection, number), so that sender and oracle agree without asking the
engine. Every message differs from every other in its content, not only in its control id.
"""

import hashlib
from dataclasses import dataclass

PATIENTS_PER_CONNECTION = 5
BIG_EVERY = 53
BIG_BYTES = 60_000
EVENTS = (b"A01", b"A08", b"A02", b"A08", b"A03")


@dataclass(frozen=True)
class Made:
    """One message: its id, its patient, the bytes to send and the bytes to expect."""

    control_id: str
    key: str
    content: bytes
    expected: dict[str, bytes]  # destination -> bytes


def make(connection: int, number: int) -> Made:
    """Return message ``number`` of a connection; patients belong to one connection each."""
    control = f"K{connection}-{number:07d}"
    key = f"{connection:02d}{number * 7 % PATIENTS_PER_CONNECTION:03d}"
    event = EVENTS[number % len(EVENTS)]
    filler = b"x" * (BIG_BYTES if number % BIG_EVERY == BIG_EVERY - 1 else 40)

    def build(receiver: bytes, family: bytes, national: bytes, kin: bool) -> bytes:
        segments = [
            b"MSH|^~\\&|HIS|MERCY|%s|MERCY|20260105101500||ADT^%s|%s|P|2.5.1"
            % (receiver, event, control.encode()),
            b"EVN|%s|20260105101500" % event,
            b"PID|1||%s^^^MERCY^MR||%s^Test||19700101|F|||||||||||%s|L"
            % (key.encode(), family, national),
            b"NK1|1|Kin^Of^%d|SPO" % number,
            b"PV1|1|I|4WEST^401^A",
            b"ZZZ|%d|%s" % (number, filler),
        ]
        if not kin:
            del segments[3]
        return b"\r".join(segments) + b"\r"

    family = b"Person-%d-of-%d" % (number, connection)
    return Made(
        control,
        key,
        build(b"IE", family, b"900-00-%04d" % (number % 10_000), kin=True),
        {
            "east": build(b"EAST", family.upper(), b"", kin=False),
            "west": build(b"IE", family.upper(), b"", kin=True),
        },
    )


def digest(content: bytes) -> str:
    """Return what the logs keep of a content."""
    return hashlib.sha256(content).hexdigest()[:24]


CHANNEL = """\
ifengine: 1
channel: crossing
about: Two receivers, one behind four lanes by patient, one behind a single lane.
from: feed
types: [ADT^A01, ADT^A02, ADT^A03, ADT^A08]
ignore_types: {identity: no merges in this feed}
order_by: patient
steps:
  - upper: PID-5.1
  - clear: PID-19
to:
  east:
    connection: east
    lanes: 4
    steps:
      - set: {MSH-5: EAST}
      - delete_segments: NK1
    retry: {first: 50ms, factor: 1.5, max: 400ms, refused: 100000, in_doubt: 100000}
  west:
    connection: west
    retry: {first: 50ms, factor: 1.5, max: 400ms, refused: 100000, in_doubt: 100000}
"""
