"""Patient identifiers: the CX values of PID-3 and MRG-1."""

from typing import NamedTuple

from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.header import NULL_BYTES
from ifengine.hl7.message import NULL, Message

# where a message names a patient: the survivor and the prior identifier
PATIENT_FIELDS = (("PID", 3), ("MRG", 1))

Authority = tuple[str, str, str]
_NO_AUTHORITY: Authority = ("", "", "")


class CX(NamedTuple):
    """One identifier with what makes it unambiguous.

    ``authority`` holds all components of the assigning authority (HD): namespace, universal id,
    universal id type; ``("", "", "")`` where none is written. Values are unescaped text.
    """

    number: str
    authority: Authority
    identifier_type: str

    def __repr__(self) -> str:
        return "CX()"


def identifiers(message: Message, i: int, f: int) -> list[CX]:
    """Return the CX values of one field; repetitions without a number, or with null, are left out."""
    field = message.raw(i, f)
    delimiters = message.delimiters
    if field.isascii() and delimiters.escape_code not in field and not message.codec.wide:
        return _read_plain(field, delimiters)
    return _read_any(message, i, f)


def patient_identifiers(message: Message) -> list[CX]:
    """Return the identifiers of every PID-3 and MRG-1 in the message, each once, in order."""
    found: list[CX] = []
    for name, f in PATIENT_FIELDS:
        for i in message.indexes(name):
            found += identifiers(message, i, f)
    return found if len(found) < 2 else list(dict.fromkeys(found))


def _read_plain(field: bytes, delimiters: Delimiters) -> list[CX]:
    """Read ASCII without escapes, as nearly every identifier is: one split for each level."""
    found: list[CX] = []
    repetition, component = delimiters.repetition, delimiters.component
    for one in field.split(repetition) if repetition else [field]:
        number, *parts = one.split(component, 5)
        if number and number != NULL_BYTES:
            count = len(parts)
            authority = _authority(parts[2], delimiters) if count > 2 else _NO_AUTHORITY
            identifier_type = _unless_null(parts[3].decode()) if count > 3 else ""
            found.append(CX(number.decode(), authority, identifier_type))
    return found


def _authority(assigned: bytes, delimiters: Delimiters) -> Authority:
    if delimiters.subcomponent_code not in assigned:
        return (_unless_null(assigned.decode()), "", "")
    parts = [_unless_null(part.decode()) for part in assigned.split(delimiters.subcomponent, 3)]
    return (parts[0], parts[1], parts[2] if len(parts) > 2 else "")


def _read_any(message: Message, i: int, f: int) -> list[CX]:
    found: list[CX] = []
    for r in range(1, message.repetition_count(i, f) + 1):
        number = message.text(i, f, r, 1)
        if number and number != NULL:
            first, second, third = (_unless_null(message.text(i, f, r, 4, s)) for s in (1, 2, 3))
            identifier_type = _unless_null(message.text(i, f, r, 5))
            found.append(CX(number, (first, second, third), identifier_type))
    return found


def _unless_null(value: str) -> str:
    return "" if value == NULL else value
