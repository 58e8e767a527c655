"""`acks:` of a destination: what MSH-15 and MSH-16 ask its receiver for (HL7 2.9.2). Pure."""

from collections.abc import Mapping
from typing import Final

from ifengine.hl7.message import Message

MSH_15, MSH_16 = 15, 16
# table 0155: AL always, NE never
ASKED: Final[Mapping[str, tuple[bytes, bytes]]] = {
    "original": (b"", b""),
    "accept": (b"AL", b"NE"),
    "accept+application": (b"AL", b"AL"),
}


def asking_for(acks: str, copy: Message, received: Message) -> Message:
    """Return a destination's copy with MSH-15 and MSH-16 as its receiver is to be asked.

    Args:
        acks: a key of ``ASKED``.
        copy: what the destination's steps left; it may be ``received`` itself.
        received: the channel's message, never changed here: other destinations have it too.

    Raises:
        FieldError: the message has no room for them.
    """
    accept, application = ASKED[acks]
    wanted = {MSH_15: accept, MSH_16: application}
    differing = {f: value for f, value in wanted.items() if copy.raw(0, f) != value}
    if not differing:
        return copy
    if copy is received:
        copy = received.copy()
    for field, value in differing.items():
        copy.set_raw(0, field, None, None, None, value)
    return copy
