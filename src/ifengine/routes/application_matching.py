"""Which deliveries an application acknowledgment speaks of, and what it makes of them. Pure.

Listeners, connections that deliver and the tests of channels decide by this (safety-rules.md 4).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from ifengine.hl7.ack_reading import read_ack
from ifengine.routes.application_waiting import Early, Waiting

P = TypeVar("P")

COUNTED: Final = frozenset({"AA", "AE", "AR", "CE", "CR"})
"""MSA-1 that decide. CA says nothing about the application."""
SAYS_ALL: Final = "AA"
"""As the first answer: no second one is waited for."""


class Came(NamedTuple):
    """An application acknowledgment, whatever its message type: MSA-2, and what it says."""

    control_id: bytes
    answer: Early

    def __repr__(self) -> str:
        return f"<Came {self.answer.code}>"


class Fit(StrEnum):
    """What an acknowledgment is to the deliveries under its control id."""

    TAKEN = "taken"
    REPEATED = "repeated"  # it came before, or all have their answer
    AMBIGUOUS = "ambiguous"  # a yes, and several wait
    UNKNOWN = "unknown"  # nothing was sent under that id, as far as is remembered


def read_application(content: bytes, digest: str = "") -> Came | None:
    """Read a message of any type as an application acknowledgment; None: it is none.

    Args:
        content: any bytes.
        digest: by which the same bytes are known again.
    """
    found = read_ack(content)
    if found.code not in COUNTED or not found.control_id:
        return None
    error = found.error_codes[0] if found.error_codes else 0
    return Came(found.control_id, Early(found.code, digest, error, found.text))


def decides(content: bytes) -> bool:
    """Return whether MSA-1 says what became of a message; no accept acknowledgment does."""
    return read_ack(content).code in COUNTED


def match(found: Mapping[P, Waiting], answer: Early) -> tuple[Fit, Mapping[P, Waiting]]:
    """Return what an answer is, and the places that it counts for.

    Args:
        found: what is remembered under its control id, by place.
        answer: what it says.
    """
    if any(answer.digest in waiting.seen for waiting in found.values()):
        return Fit.REPEATED, {}
    is_refusal = answer.is_refusal
    concerned = {p: w for p, w in found.items() if w.concerned(is_refusal=is_refusal)}
    if not concerned:
        return Fit.REPEATED if found else Fit.UNKNOWN, {}
    if not is_refusal and sum(len(waiting.open()) for waiting in concerned.values()) > 1:
        # a yes that may be another's is nobody's; a no is everybody's
        return Fit.AMBIGUOUS, {}
    return Fit.TAKEN, concerned
