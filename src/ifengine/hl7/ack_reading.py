"""What a peer's acknowledgment says, read from any bytes."""

import re
from typing import NamedTuple

from ifengine.hl7.charset import DEFAULT_POLICY, OPAQUE, CharsetPolicy
from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.header import Header, HeaderFault, read_header
from ifengine.hl7.parts import part_of
from ifengine.hl7.tables import AckCode

_LINE_END = re.compile(rb"[\r\n]+")
_CODES = frozenset(code.value for code in AckCode)
_MOST_DIGITS = 5
# what can still be read as an acknowledgment: its MSH is there and one frame holds it alone
_TOLERATED = frozenset(
    {None, HeaderFault.SHORT_MSH, HeaderFault.NO_MESSAGE_TYPE, HeaderFault.NO_CONTROL_ID}
)


class Acknowledgment(NamedTuple):
    """A peer's answer.

    Attributes:
        is_ack: it has a readable MSH and an MSA segment.
        code: MSA-1; ``""`` where it is none of table 0008 or two MSA segments stand there:
            neither yes nor no.
        control_id: MSA-2, byte for byte.
        text: MSA-3, else ERR-8, else ERR-3.2: the peer's words, which may quote content.
        error_codes: numbers of table 0357, from ERR-3, else ERR-1, else MSA-6.
    """

    is_ack: bool
    code: str
    control_id: bytes
    text: str
    error_codes: tuple[int, ...]

    def __repr__(self) -> str:
        return f"<Acknowledgment {self.code} {self.error_codes}>"


NOT_AN_ACK = Acknowledgment(is_ack=False, code="", control_id=b"", text="", error_codes=())


def read_ack(content: bytes, *, charset: CharsetPolicy = DEFAULT_POLICY) -> Acknowledgment:
    """Read an acknowledgment. Never raises; what cannot be read is empty."""
    header = read_header(content)
    if header.fault not in _TOLERATED:
        return NOT_AN_ACK
    separator = header.delimiters.field
    lines = _LINE_END.split(content) if b"\n" in content else content.split(b"\r")
    begin = b"MSA" + separator
    found = [line.split(separator) for line in lines if line.startswith(begin)]
    if not found:
        return NOT_AN_ACK
    msa = found[0]
    code = msa[1].strip().decode("ascii", "replace")
    if code not in _CODES or len(found) > 1:
        code = ""
    if len(msa) == 3 and b"ERR" not in content:
        return Acknowledgment(True, code, msa[2], "", ())  # as nearly every one is
    errors = [line.split(separator) for line in lines if line.startswith(b"ERR" + separator)]
    return Acknowledgment(
        is_ack=True,
        code=code,
        control_id=_nth(msa, 2),
        text=_text(header, msa, errors, charset),
        error_codes=_error_codes(header.delimiters, msa, errors) if errors or len(msa) > 6 else (),
    )


def _nth(fields: list[bytes], number: int) -> bytes:
    return fields[number] if number < len(fields) else b""


def _text(
    header: Header, msa: list[bytes], errors: list[list[bytes]], charset: CharsetPolicy
) -> str:
    delimiters = header.delimiters
    candidates = [_nth(msa, 3)]
    candidates += [_nth(error, 8) for error in errors]
    candidates += [part_of(_nth(error, 3), delimiters.component, 2) for error in errors]
    raw = next((value for value in candidates if value), b"")
    if not raw:
        return ""
    codec = charset.codec(header.charset, delimiters.repetition, bom=header.bom)
    # a set whose characters may hold delimiter bytes was not undone here: leave it opaque
    return (OPAQUE if codec.wide else codec).decode(delimiters.unescape(raw))


def _error_codes(
    delimiters: Delimiters, msa: list[bytes], errors: list[list[bytes]]
) -> tuple[int, ...]:
    component = delimiters.component
    places = [
        [part_of(_nth(error, 3), component, 1) for error in errors],
        [code for error in errors for code in _codes_of_err_1(delimiters, _nth(error, 1))],
        [part_of(_nth(msa, 6), component, 1)],
    ]
    for values in places:
        numbers = [int(value) for value in values if value.isdigit() and len(value) <= _MOST_DIGITS]
        if numbers:
            return tuple(dict.fromkeys(numbers))
    return ()


def _codes_of_err_1(delimiters: Delimiters, value: bytes) -> list[bytes]:
    repetition = delimiters.repetition
    repetitions = value.split(repetition) if repetition else [value]
    return [
        part_of(part_of(one, delimiters.component, 4), delimiters.subcomponent, 1)
        for one in repetitions
    ]
