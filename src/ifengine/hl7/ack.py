"""Acknowledgments: which are due, and what stands in them. A peer's are read by ``ack_reading``.

Source: HL7 v2.9.1, 2.8 (original and enhanced mode), 2.13.1 (MSA), 2.14.5 (ERR).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

from ifengine.clock import MICROSECONDS, as_datetime
from ifengine.hl7.ack_reading import Acknowledgment, read_ack
from ifengine.hl7.delimiters import (
    DEFAULT_DELIMITERS,
    FRAMING_BYTES,
    Delimiters,
    stamp_between,
)
from ifengine.hl7.header import NULL_BYTES, Header, HeaderFault
from ifengine.hl7.tables import AckCode, AckCondition, Hl7ErrorCode, Severity

__all__ = [
    "AckCode",
    "AckError",
    "Acknowledgment",
    "Answer",
    "ErrorLocation",
    "Hl7ErrorCode",
    "Severity",
    "Verdict",
    "accepted",
    "answers",
    "due_answers",
    "read_ack",
    "refusal_of",
]

APPLICATION_SUFFIX = b"A"  # an application acknowledgment in enhanced mode is a message of its own
ACKNOWLEDGMENT_TYPES = frozenset({b"ACK", b"MCF"})  # never answered themselves

MOST_MSA_3 = 80
MOST_ERR_8 = 250


class Verdict(Enum):
    """What intake decided about one message."""

    COMMITTED = auto()  # in safe storage, or there already as a duplicate
    UNACCEPTABLE_HEADER = auto()  # R: type, processing id, version or sender is not served here
    INVALID_CONTENT = auto()  # E: the content breaks a rule


class ErrorLocation(NamedTuple):
    """ERR-2 (ERL): where in the message. Numbers count from 1; 0 means not given."""

    segment: str
    sequence: int = 1
    field: int = 0
    repetition: int = 0
    component: int = 0
    subcomponent: int = 0


@dataclass(frozen=True, slots=True)
class AckError:
    """One error of a negative answer. ``location`` None: the fault is not in the message.

    ``text`` goes to the sender as it is: safe text, never content.
    """

    code: Hl7ErrorCode
    location: ErrorLocation | None = None
    text: str = ""


class Answer(NamedTuple):
    """A message to send back, and its MSA-1."""

    code: AckCode
    content: bytes


_COMMITTED = Verdict.COMMITTED
_CODES: dict[Verdict, tuple[AckCode, AckCode]] = {  # accept (commit) and application
    Verdict.COMMITTED: (AckCode.CA, AckCode.AA),
    Verdict.UNACCEPTABLE_HEADER: (AckCode.CR, AckCode.AR),
    Verdict.INVALID_CONTENT: (AckCode.CE, AckCode.AE),
}

_FAULTS: dict[HeaderFault, AckError] = {
    HeaderFault.NO_MSH: AckError(
        Hl7ErrorCode.SEGMENT_SEQUENCE, None, "the message does not begin with MSH"
    ),
    HeaderFault.BATCH: AckError(
        Hl7ErrorCode.UNSUPPORTED_MESSAGE_TYPE, None, "batches are not accepted here"
    ),
    HeaderFault.BAD_DELIMITERS: AckError(
        Hl7ErrorCode.DATA_TYPE, ErrorLocation("MSH", 1, 2), "MSH-1 or MSH-2 cannot delimit"
    ),
    HeaderFault.SHORT_MSH: AckError(
        Hl7ErrorCode.REQUIRED_FIELD_MISSING, ErrorLocation("MSH", 1, 10), "MSH ends before MSH-10"
    ),
    HeaderFault.FRAMING_BYTES: AckError(
        Hl7ErrorCode.DATA_TYPE, ErrorLocation("MSH", 1), "MSH holds a framing byte"
    ),
    HeaderFault.NO_MESSAGE_TYPE: AckError(
        Hl7ErrorCode.REQUIRED_FIELD_MISSING, ErrorLocation("MSH", 1, 9), "MSH-9 is empty"
    ),
    HeaderFault.NO_CONTROL_ID: AckError(
        Hl7ErrorCode.REQUIRED_FIELD_MISSING, ErrorLocation("MSH", 1, 10), "MSH-10 is empty"
    ),
}
# MSH may hold VT or FS: a delimiter that cannot delimit is found before they are looked for
_MAY_NOT_FRAME = frozenset({HeaderFault.FRAMING_BYTES, HeaderFault.BAD_DELIMITERS})
_REFUSED_OUTRIGHT = 200  # table 0357: from here on the fault is not one of the content


def refusal_of(fault: HeaderFault) -> tuple[Verdict, AckError]:
    """Return how a header with this fault is refused. ``EMPTY`` is answered with nothing at all."""
    error = _FAULTS.get(fault, _FAULTS[HeaderFault.NO_MSH])
    outright = error.code >= _REFUSED_OUTRIGHT
    return Verdict.UNACCEPTABLE_HEADER if outright else Verdict.INVALID_CONTENT, error


# --- which answers are due ------------------------------------------------------------------


@lru_cache(maxsize=256)
def _due(msh15: bytes, msh16: bytes, verdict: Verdict) -> tuple[AckCode, ...]:
    """Return the codes to send, in order, after the outcome is known (table in hl7-rules.md 2.2)."""
    accept, application = _CODES[verdict]
    msh15, msh16 = (b"" if value == NULL_BYTES else value for value in (msh15, msh16))
    if not msh15 and not msh16:
        return (application,)
    success = verdict is Verdict.COMMITTED
    codes = []
    if _wanted(msh15, success):
        codes.append(accept)
        if not success:
            return (accept,)  # what was not accepted is not processed: the exchange ends here
    if _wanted(msh16, success):
        codes.append(application)
    return tuple(codes)


def _wanted(condition: bytes, success: bool) -> bool:
    # in enhanced mode an empty one is NE; an unknown value counts as AL, because a sender left
    # waiting does more harm than an answer too many
    match condition.decode("ascii", "replace"):
        case "" | AckCondition.NEVER:
            return False
        case AckCondition.ON_SUCCESS:
            return success
        case AckCondition.ON_ERROR:
            return not success
        case _:
            return True


def waits_for_outcome(header: Header) -> bool:
    """Return whether the sender learns, after the commit, that a message was refused.

    In original mode it always does. In enhanced mode where MSH-16 asks for an answer on errors; or,
    without an accept acknowledgment, on success: then silence is the refusal.
    """
    if not header.enhanced_mode:
        return True
    accept, application = header.accept_ack, header.application_ack
    accept, application = (b"" if v == NULL_BYTES else v for v in (accept, application))
    if _wanted(application, success=False):
        return True
    return _wanted(application, success=True) and not _wanted(accept, success=True)


def application_answer_is_due(header: Header, *, success: bool) -> bool:
    """Return whether the sender wants the application acknowledgment of this outcome."""
    if not header.enhanced_mode:
        return True
    wanted = header.application_ack
    return _wanted(b"" if wanted == NULL_BYTES else wanted, success)


def due_answers(
    header: Header,
    verdict: Verdict,
    *,
    at_us: int,
    control_id: bytes,
    error: AckError | None = None,
    sender: tuple[bytes, bytes] | None = None,
) -> list[Answer]:
    """Return the messages to send back on the same connection, in order; ``[]`` is silence.

    Original mode has one (AA, AE or AR). Enhanced mode has the accept acknowledgment by MSH-15 and
    then the application acknowledgment by MSH-16, a message with a control id of its own. After CE
    or CR nothing follows. An acknowledgment is never answered. A header with a fault is never
    answered positively, whatever the verdict.

    Args:
        header: of the message that is answered.
        verdict: the outcome.
        at_us: the time of the answer, for MSH-7.
        control_id: MSH-10 of the first answer: characters that need no escape.
        error: of a negative answer; by default the header's fault, else 207.
        sender: MSH-3 and MSH-4 of the answer, encoded; by default the receiver of the message.
    """
    fault = header.fault
    if header.message_code in ACKNOWLEDGMENT_TYPES:
        return []
    if fault is not None:
        if fault is HeaderFault.EMPTY:
            return []
        verdict, error = _refused(fault, verdict, error)
    codes = _due(header.accept_ack, header.application_ack, verdict)
    if not codes:
        return []
    if verdict is not _COMMITTED and error is None:
        error = AckError(Hl7ErrorCode.INTERNAL_ERROR)
    if error is None and len(codes) == 1 and not header.enhanced_mode:
        return [Answer(codes[0], compose(header, codes[0], at_us, control_id, sender=sender))]
    answers = []
    for code in codes:
        if code in APPLICATION_CODES and header.enhanced_mode:
            control_id = control_id + APPLICATION_SUFFIX
        answers.append(Answer(code, _write(header, code, at_us, control_id, error, sender)))
    return answers


def accepted(header: Header, *, at_us: int, control_id: bytes) -> Answer | None:
    """Return the accept acknowledgment of an application acknowledgment that is stored.

    It is a message of its own and may ask for one by MSH-15; nothing else answers it. An accept
    acknowledgment is never answered: the caller tells the two apart by MSA-1.

    Source: 2.8.3.2; hl7-rules.md 2.2.
    """
    wanted = b"" if header.accept_ack == NULL_BYTES else header.accept_ack
    if header.fault is not None or not _wanted(wanted, success=True):
        return None
    return Answer(AckCode.CA, _write(header, AckCode.CA, at_us, control_id, None, None))


def answers(
    header: Header,
    verdict: Verdict,
    *,
    at_us: int,
    control_id: bytes,
    error: AckError | None = None,
    sender: tuple[bytes, bytes] | None = None,
) -> list[bytes]:
    """Return the contents of ``due_answers``."""
    due = due_answers(
        header, verdict, at_us=at_us, control_id=control_id, error=error, sender=sender
    )
    return [answer.content for answer in due]


APPLICATION_CODES = frozenset({AckCode.AA, AckCode.AE, AckCode.AR})


def _refused(
    fault: HeaderFault, verdict: Verdict, error: AckError | None
) -> tuple[Verdict, AckError]:
    by_fault, fault_error = refusal_of(fault)
    return by_fault if verdict is Verdict.COMMITTED else verdict, error or fault_error


# --- what stands in an answer ---------------------------------------------------------------


class _Rules(NamedTuple):
    """What differs between versions."""

    structure: bool  # MSH-9.3
    error_fields: bool  # ERR-2, ERR-3, ERR-4, ERR-8 in place of ERR-1
    text: bool  # MSA-3


@lru_cache(maxsize=64)
def _rules(version: bytes, component: bytes) -> _Rules:
    """Return the rules of MSH-12; those of the oldest versions where MSH-12.1 cannot be read."""
    parts = version.split(component, 1)[0].split(b".")
    numbers = tuple(int(part) for part in parts if part.isdigit() and len(part) < 5)
    if not numbers or len(numbers) != len(parts):
        numbers = (2, 1)
    since_2_5 = numbers >= (2, 5)
    return _Rules(since_2_5, since_2_5, numbers < (2, 7))


# one second's text: the answers of a second share it
_stamp: tuple[int, bytes] = (-1, b"")


def _timestamp(at_us: int) -> bytes:
    """Return MSH-7 to the second, with the offset that says UTC."""
    global _stamp
    second = at_us // MICROSECONDS
    if _stamp[0] != second:
        text = as_datetime(second * MICROSECONDS).strftime("%Y%m%d%H%M%S+0000")
        _stamp = (second, text.encode("ascii"))
    return _stamp[1]


def _write(
    header: Header,
    code: AckCode,
    at_us: int,
    control_id: bytes,
    error: AckError | None,
    sender: tuple[bytes, bytes] | None,
) -> bytes:
    if error is None:
        return compose(header, code, at_us, control_id, sender=sender)
    delimiters = header.delimiters
    coded = (b"%d" % error.code, error.code.text.encode("ascii"), b"HL70357")
    text = _text(error.text, MOST_ERR_8, delimiters)
    err = error_segment(header, coded, Severity.ERROR.value.encode(), error.location, text)
    short = _text(error.text, MOST_MSA_3, delimiters)
    return compose(header, code, at_us, control_id, text=short, errors=(err,), sender=sender)


def compose(
    header: Header,
    code: AckCode,
    at_us: int,
    control_id: bytes,
    *,
    text: bytes = b"",
    errors: Sequence[bytes] = (),
    sender: tuple[bytes, bytes] | None = None,
) -> bytes:
    """Return an answer in the version and with the delimiters of the message it answers.

    Args:
        header: of the message.
        code: MSA-1.
        at_us: for MSH-7.
        control_id: MSH-10: characters that need no escape.
        text: MSA-3, encoded; left out where the version has none.
        errors: ERR segments, of ``error_segment``.
        sender: MSH-3 and MSH-4, encoded; by default the receiver of the message.
    """
    delimiters = header.delimiters
    copied = header.fields
    rules = _rules(copied[11], delimiters.component)
    if header.fault in _MAY_NOT_FRAME:
        copied = [_without_framing(value) for value in copied]
    application, facility = sender or (copied[4], copied[5])
    separator = delimiters.field
    control_id_of_sender = copied[9]
    stamp = _timestamp(at_us)
    if delimiters is not DEFAULT_DELIMITERS:
        stamp = stamp_between(stamp, separator + delimiters.msh2)
    msh = [
        b"MSH",
        delimiters.msh2,
        application,
        facility,
        copied[2],
        copied[3],
        stamp,
        b"",
        _message_type(header, rules),
        control_id,
        copied[10],
        copied[11],
    ]
    enhanced = header.enhanced_mode
    if copied[17] or enhanced:
        # an answer in enhanced mode says itself that nothing is to be sent back
        never = AckCondition.NEVER.value.encode() if enhanced else b""
        msh += (b"", b"", never, never)
        if copied[17]:
            msh += (b"", copied[17])
    msa = [b"MSA", code.encode(), control_id_of_sender]
    if rules.text and text:
        msa.append(text)
    if not errors:
        return b"%b\r%b\r" % (separator.join(msh), separator.join(msa))
    return b"\r".join([separator.join(msh), separator.join(msa), *errors, b""])


def _message_type(header: Header, rules: _Rules) -> bytes:
    component = header.delimiters.component
    event, fault = header.trigger_event, header.fault
    if fault is not None and fault in _MAY_NOT_FRAME:
        event = b"" if fault is HeaderFault.FRAMING_BYTES else _without_framing(event)
    if not event or event == NULL_BYTES:
        return b"ACK"
    if rules.structure:
        return b"ACK" + component + event + component + b"ACK"
    return b"ACK" + component + event


def _without_framing(value: bytes) -> bytes:
    """Return nothing for a field that could not be framed: an echo of half of it matches no one."""
    return b"" if any(code in value for code in FRAMING_BYTES) else value


def _text(text: str, most: int, delimiters: Delimiters) -> bytes:
    """Return our own text in ASCII, at home in every character set, as one value."""
    plain = text[:most].encode("ascii", "replace")
    return delimiters.escape(plain) if delimiters.escape_character else b""


def error_segment(
    header: Header,
    coded: Sequence[bytes],
    severity: bytes,
    location: ErrorLocation | None,
    text: bytes,
) -> bytes:
    """Return an ERR segment as the version of the message has it.

    Args:
        header: of the message that is answered.
        coded: ERR-3: code, text and coding system, encoded.
        severity: ERR-4.
        location: where in the message; None: not said.
        text: ERR-8, encoded.
    """
    delimiters = header.delimiters
    separator, component = delimiters.field, delimiters.component
    if not _rules(header.fields[11], component).error_fields:
        parts = [b"", b"", b""]
        if location is not None:
            parts = [location.segment.encode("ascii"), _number(location.sequence)]
            parts.append(_number(location.field))
        # without subcomponent delimiter only the code itself can be told
        inner = delimiters.subcomponent.join(coded) if delimiters.subcomponent else coded[0]
        return b"ERR" + separator + component.join([*parts, inner])
    where = b""
    if location is not None:
        numbers = [_number(value) for value in location[1:]]
        where = component.join([location.segment.encode("ascii"), *numbers]).rstrip(component)
    fields = [b"ERR", b"", where, component.join(coded), severity]
    if text:
        fields += [b"", b"", b"", text]
    return separator.join(fields)


def _number(value: int) -> bytes:
    return b"%d" % value if value else b""
