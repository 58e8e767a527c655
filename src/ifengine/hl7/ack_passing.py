"""A receiver's answer, passed on to the sender that waits for it, or kept to be told again.

What is told (code, text, errors) is read from one message and written in the version, delimiters
and character set of another. Source: HL7 v2.9.1, 2.13.1 (MSA), 2.14.5 (ERR).
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ifengine.hl7.ack import (
    APPLICATION_SUFFIX,
    MOST_ERR_8,
    MOST_MSA_3,
    AckError,
    Answer,
    ErrorLocation,
    application_answer_is_due,
    compose,
    error_segment,
)
from ifengine.hl7.charset import DEFAULT_POLICY
from ifengine.hl7.delimiters import Delimiters, NoEscapeCharacterError
from ifengine.hl7.header import Header, read_header
from ifengine.hl7.parts import part_of
from ifengine.hl7.tables import AckCode, Severity

MOST_ERRORS = 20
_MOST_CODED = 80
_LINE_END = re.compile(rb"[\r\n]+")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_SEVERITIES = frozenset(severity.value for severity in Severity)


@dataclass(frozen=True, slots=True)
class ToldError:
    """One ERR segment, without its form. ``location`` None: not said."""

    code: str = field(repr=False)
    meaning: str = field(default="", repr=False)
    system: str = field(default="", repr=False)
    severity: str = "E"
    location: ErrorLocation | None = None
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """What a sender is told.

    Attributes:
        code: AA, AE or AR; ``""`` is silence, and the connection is closed.
        text: MSA-3; may quote content.
        errors: ERR.
        whole: the receiver's answer as it came, for `answer: whole`; empty: ours is written.
    """

    code: str
    text: str = field(default="", repr=False)
    errors: tuple[ToldError, ...] = ()
    whole: bytes = field(default=b"", repr=False)

    @property
    def is_positive(self) -> bool:
        """Whether the sender need not send the message again."""
        return self.code == AckCode.AA


SILENCE = Told("")


def told_of(code: str, text: str, errors: Iterable[AckError] = ()) -> Told:
    """Return an answer of our own making."""
    told = tuple(
        ToldError(
            str(int(error.code)), error.code.text, "HL70357", location=error.location,
            text=error.text,
        )
        for error in errors
    )  # fmt: skip
    return Told(code, text, told)


# --- reading ----------------------------------------------------------------------------------


def read_told(content: bytes, code: str, *, whole: bool = False) -> Told:
    """Return what a receiver's answer says. Never raises; what cannot be read is left out.

    Args:
        content: the answer, with a readable MSH and an MSA.
        code: AA, AE or AR, as it counts.
        whole: it is to be passed as it came.
    """
    if whole:
        return Told(code, whole=content)
    header = read_header(content)
    separator = header.delimiters.field
    lines = [line.split(separator) for line in _LINE_END.split(content)]
    msa = next((line for line in lines if line[0] == b"MSA"), [])
    reader = _Reader(header)
    errors = [reader.error(line) for line in lines if line[0] == b"ERR"]
    found = tuple(error for error in errors if error is not None)
    return Told(code, reader.text(_nth(msa, 3)), found[:MOST_ERRORS])


class _Reader:
    """Values of one answer as text."""

    def __init__(self, header: Header) -> None:
        self._delimiters = header.delimiters
        codec = DEFAULT_POLICY.codec(header.charset, header.delimiters.repetition, bom=header.bom)
        self._name = "ascii" if codec.wide else codec.name

    def text(self, raw: bytes) -> str:
        return self._delimiters.unescape(raw).decode(self._name, "surrogateescape")

    def error(self, fields: Sequence[bytes]) -> ToldError | None:
        """Return one ERR segment; None where it says nothing."""
        component, inner = self._delimiters.component, self._delimiters.subcomponent
        coded, where = _nth(fields, 3), _nth(fields, 2)
        if coded:
            parts = [self.text(part_of(coded, component, n)) for n in (1, 2, 3)]
            place = [part_of(where, component, n) for n in range(1, 7)]
        else:
            first = _nth(fields, 1)
            if self._delimiters.repetition:
                first = first.split(self._delimiters.repetition)[0]
            place = [part_of(first, component, n) for n in range(1, 4)]
            fourth = part_of(first, component, 4)
            parts = [self.text(part_of(fourth, inner, n) if inner else fourth) for n in (1, 2, 3)]
            parts = parts if inner else [parts[0], "", ""]
        severity = self.text(_nth(fields, 4))
        text = self.text(_nth(fields, 8) or _nth(fields, 7))
        if not (parts[0] or parts[1] or text):
            return None
        return ToldError(
            parts[0],
            parts[1],
            parts[2],
            severity if severity in _SEVERITIES else Severity.ERROR.value,
            _location(place),
            text,
        )


def _location(parts: Sequence[bytes]) -> ErrorLocation | None:
    segment = parts[0].decode("latin-1")
    if not _SEGMENT.fullmatch(segment):
        return None
    numbers = [int(part) if part.isdigit() and len(part) < 5 else 0 for part in parts[1:]]
    numbers[0] = numbers[0] or 1
    return ErrorLocation(segment, *numbers)


def _nth(fields: Sequence[bytes], number: int) -> bytes:
    return fields[number] if number < len(fields) else b""


# --- writing ----------------------------------------------------------------------------------


def write_told(header: Header, told: Told, *, at_us: int, control_id: bytes) -> Answer | None:
    """Return the application acknowledgment; None where the sender gets none.

    Args:
        header: of the message that is answered: version, delimiters, MSH-10, MSH-18 count.
        told: what is said.
        at_us: for MSH-7.
        control_id: MSH-10, as of the accept acknowledgment: in enhanced mode a suffix is added.
    """
    if not told.code or not application_answer_is_due(header, success=told.is_positive):
        return None
    code = AckCode(told.code)
    if told.whole:
        return Answer(code, _with_control_id(told.whole, header))
    if header.enhanced_mode:
        control_id += APPLICATION_SUFFIX
    writer = _Writer(header)
    errors = [
        error_segment(
            header,
            [writer.text(part, _MOST_CODED) for part in (error.code, error.meaning, error.system)],
            error.severity.encode(),
            error.location,
            writer.text(error.text, MOST_ERR_8),
        )
        for error in told.errors
    ]
    text = writer.text(told.text, MOST_MSA_3)
    return Answer(code, compose(header, code, at_us, control_id, text=text, errors=errors))


class _Writer:
    """Text as values of an answer to one message."""

    def __init__(self, header: Header) -> None:
        self._delimiters = header.delimiters
        codec = DEFAULT_POLICY.codec(header.charset, header.delimiters.repetition, bom=header.bom)
        # in a wide set a byte of a character may look like a delimiter
        self._name = "ascii" if codec.wide else codec.name

    def text(self, text: str, most: int) -> bytes:
        """Return one value: no control characters, and no character that the set lacks."""
        plain = "".join(sign if sign.isprintable() else "?" for sign in text[:most])
        return _escaped(plain.encode(self._name, "replace"), self._delimiters)


def _escaped(raw: bytes, delimiters: Delimiters) -> bytes:
    try:
        return delimiters.escape(raw)
    except NoEscapeCharacterError:
        return b""


def _with_control_id(content: bytes, header: Header) -> bytes:
    """Return a receiver's answer with the sender's control id in MSA-2."""
    answered = read_header(content)
    separator = answered.delimiters.field
    lines = content.split(b"\r")
    for at, line in enumerate(lines):
        start = len(line) - len(line.lstrip(b"\n"))
        fields = line[start:].split(separator)
        if fields[0] == b"MSA":
            own = header.control_id
            if answered.delimiters != header.delimiters:
                own = _escaped(header.delimiters.unescape(own), answered.delimiters)
            fields += [b""] * (3 - len(fields))
            fields[2] = own
            lines[at] = line[:start] + separator.join(fields)
            break
    return b"\r".join(lines)


# --- keeping ----------------------------------------------------------------------------------


def told_text(told: Told) -> str:
    """Return what was told as it is remembered."""
    value: dict[str, Any] = {"code": told.code}
    if told.text:
        value["text"] = told.text
    if told.errors:
        value["errors"] = [
            [e.code, e.meaning, e.system, e.severity, e.location, e.text] for e in told.errors
        ]
    if told.whole:
        value["whole"] = told.whole.decode("latin-1")
    return json.dumps(value)


def told_again(text: str) -> Told:
    """Return what ``told_text`` kept."""
    value: dict[str, Any] = json.loads(text)
    errors = tuple(
        ToldError(code, meaning, system, severity, place and ErrorLocation(*place), said)
        for code, meaning, system, severity, place, said in value.get("errors", ())
    )
    whole = str(value.get("whole", "")).encode("latin-1")
    return Told(value["code"], value.get("text", ""), errors, whole)
