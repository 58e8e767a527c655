"""Batches: ``[FHS] { [BHS] { MSH… } [BTS] } [FTS]`` split into messages, with their counts.

Source: HL7 v2.5.1 2.10.3; hl7-rules.md 2.12. Messages keep their bytes as they came. A batch of no
messages is legal, and is not the same as no batch.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ifengine.clock import as_datetime
from ifengine.hl7.delimiters import stamp_between
from ifengine.hl7.header import BYTE_ORDER_MARK

_LINE = re.compile(rb"[^\r\n]*(?:\r\n?|\n|$)")
_ENVELOPE = frozenset({b"FHS", b"BHS", b"BTS", b"FTS"})
_COUNT = re.compile(rb"0*([0-9]{1,9})")


class BatchFault(StrEnum):
    """Why a batch cannot be taken as it is: a closed vocabulary, safe to show."""

    BATCH_COUNT = "BTS-1 does not agree with the messages of its batch"
    FILE_COUNT = "FTS-1 does not agree with the batches of the file"
    NOT_A_COUNT = "BTS-1 or FTS-1 is not a number"
    NO_END = "a batch or file header without its trailer"
    NO_START = "a trailer without its header"
    STRAY = "a segment outside every message"


@dataclass(frozen=True, slots=True)
class Batch:
    """What a file or frame holds. ``faults`` are those that ``check_counts`` refuses."""

    messages: tuple[bytes, ...] = field(repr=False)
    batches: int
    is_batch: bool  # whether there was any envelope segment
    faults: tuple[BatchFault, ...] = ()
    control_id: bytes = b""  # BHS-11 of the first batch, else FHS-11
    header: bytes = field(default=b"", repr=False)  # the first BHS, else FHS


@dataclass(slots=True)
class _Splitter:
    messages: list[bytes] = field(default_factory=list)
    faults: list[BatchFault] = field(default_factory=list)
    batches: int = 0
    in_batch: int = 0  # messages since the last BHS, or since the start
    file_open: bool = False
    batch_open: bool = False
    seen_batch: bool = False
    file_header: bytes = b""
    batch_header: bytes = b""

    def envelope(self, name: bytes, line: bytes) -> None:
        match name:
            case b"FHS":
                if self.file_open:
                    self.faults.append(BatchFault.NO_END)
                self.file_open, self.batches = True, 0
                self.file_header = self.file_header or line
            case b"BHS":
                if self.batch_open:
                    self.faults.append(BatchFault.NO_END)
                self.batch_open, self.in_batch, self.seen_batch = True, 0, True
                self.batches += 1
                self.batch_header = self.batch_header or line
            case b"BTS":
                if not self.batch_open:
                    self.faults.append(BatchFault.NO_START)
                self._agree(line, self.in_batch, BatchFault.BATCH_COUNT)
                self.batch_open = False
            case _:
                if not self.file_open:
                    self.faults.append(BatchFault.NO_START)
                if self.batch_open:
                    self.faults.append(BatchFault.NO_END)
                    self.batch_open = False
                # a file without BHS is one batch (FHS, messages, FTS)
                found = self.batches if self.seen_batch else min(1, self.in_batch)
                self._agree(line, found, BatchFault.FILE_COUNT)
                self.file_open = False

    def _agree(self, line: bytes, found: int, fault: BatchFault) -> None:
        written = line[4:].split(line[3:4], 1)[0] if len(line) > 3 else b""
        if not written:
            return  # the count is optional
        match = _COUNT.fullmatch(written.strip())
        if match is None:
            self.faults.append(BatchFault.NOT_A_COUNT)
        elif int(match[1]) != found:
            self.faults.append(fault)


def is_batch(content: bytes) -> bool:
    """Whether this begins with a batch or file header."""
    return _without_mark(content).lstrip(b"\r\n \t")[:3] in (b"FHS", b"BHS")


def split_batch(content: bytes) -> Batch:
    """Split a file or frame into its messages; without envelope, at each MSH.

    Returns:
        Messages with their bytes, line ends included. What is no segment of a message stands in
        ``faults``; counts that are not written agree with anything.
    """
    found = _Splitter()
    content = _without_mark(content)
    start = -1  # of the message that is open
    with_envelope = False
    for match in _LINE.finditer(content):
        line = match[0]
        name = line[:3]
        if name == b"MSH":
            if start >= 0:
                found.messages.append(content[start : match.start()])
            start = match.start()
            found.in_batch += 1
        elif _is_envelope(line):
            if start >= 0:
                found.messages.append(content[start : match.start()])
                start = -1
            with_envelope = True
            found.envelope(name, line.rstrip(b"\r\n"))
        elif start < 0 and line.strip():
            found.faults.append(BatchFault.STRAY)
    if start >= 0:
        found.messages.append(content[start:])
    if found.file_open or found.batch_open:
        found.faults.append(BatchFault.NO_END)
    header = found.batch_header or found.file_header
    return Batch(
        tuple(found.messages),
        found.batches,
        with_envelope,
        tuple(dict.fromkeys(found.faults)),
        _field(header, 11),
        header,
    )


def batch_of_answers(
    header: bytes, answers: Sequence[bytes], *, at_us: int, control_id: bytes
) -> bytes:
    """Return a batch of acknowledgments that refers to the batch it answers (BHS-12).

    Args:
        header: the BHS, or the FHS, of the batch that is answered.
        answers: one message each, in the order of the messages they answer; perhaps none.
        at_us: the time of the answer, for BHS-7.
        control_id: BHS-11 of the answer.
    """
    separator = header[3:4]
    stamp = as_datetime(at_us).strftime("%Y%m%d%H%M%S+0000").encode("ascii")
    fields = [
        b"BHS",
        _field(header, 2),
        _field(header, 5),
        _field(header, 6),
        _field(header, 3),
        _field(header, 4),
        stamp_between(stamp, separator + _field(header, 2)),
        b"",
        b"",
        b"",
        control_id,
        _field(header, 11),
    ]
    trailer = b"BTS" + separator + b"%d" % len(answers)
    return b"\r".join((separator.join(fields), b"".join(answers) + trailer, b""))


def _field(header: bytes, number: int) -> bytes:
    """Return a field of FHS or BHS, numbered as in MSH: field 1 is the separator."""
    fields = header.split(header[3:4]) if len(header) > 3 else []
    return fields[number - 1] if number <= len(fields) else b""


def _is_envelope(line: bytes) -> bool:
    """Whether this is a header or trailer segment: its name alone, or a separator behind it."""
    if line[:3] not in _ENVELOPE:
        return False
    rest = line[3:].rstrip(b"\r\n")
    return not rest or not rest[:1].isalnum()


def _without_mark(content: bytes) -> bytes:
    return content.removeprefix(BYTE_ORDER_MARK)
