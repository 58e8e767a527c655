"""Patient identifiers: the CX values of PID-3 and MRG-1."""

from dataclasses import dataclass, field

from ifengine.hl7.message import NULL, Message

# where a message names a patient: the survivor and the prior identifier
PATIENT_FIELDS = (("PID", 3), ("MRG", 1))


@dataclass(frozen=True, slots=True)
class CX:
    """One identifier with what makes it unambiguous.

    ``authority`` holds all components of the assigning authority (HD): namespace, universal id,
    universal id type; ``("", "", "")`` where none is written. Values are unescaped text.
    """

    number: str = field(repr=False)
    authority: tuple[str, str, str] = field(repr=False)
    identifier_type: str = field(repr=False)


def identifiers(message: Message, i: int, f: int) -> list[CX]:
    """Return the CX values of one field; repetitions without a number, or with null, are left out."""
    found = []
    for r in range(1, message.repetition_count(i, f) + 1):
        number = message.text(i, f, r, 1)
        if number and number != NULL:
            authority = tuple(_unless_null(message.text(i, f, r, 4, s)) for s in (1, 2, 3))
            identifier_type = _unless_null(message.text(i, f, r, 5))
            found.append(CX(number, authority, identifier_type))  # type: ignore[arg-type]
    return found


def patient_identifiers(message: Message) -> list[CX]:
    """Return the identifiers of every PID-3 and MRG-1 in the message, each once, in order."""
    found: dict[CX, None] = {}
    for name, f in PATIENT_FIELDS:
        for i in message.indexes(name):
            found |= dict.fromkeys(identifiers(message, i, f))
    return list(found)


def _unless_null(value: str) -> str:
    return "" if value == NULL else value
