"""The audit chain: canonical form, links, verification. Pure.

Each record carries SHA-256(previous digest || canonical record). A record that was changed, added
or removed in the middle breaks the chain. A cut tail is found by the head, (seq, digest) under a
MAC, which a store rewrites in the transaction of every record. Without a copy outside the machine
a rollback of the whole store to an earlier state cannot be seen.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ifengine.store.base import AuditRow, NewAudit, Reader

HEAD_SETTING = "audit_head"
CHUNK_ROWS = 1000
GENESIS = bytes(32)

# (seq, digest) -> 16 bytes; KeyRing.audit_mac
AuditMac = Callable[[int, bytes], bytes]

_FORMAT = b"ifengine audit 1"
_NUMBERS = struct.Struct(">QqQ")
_LENGTH = struct.Struct(">I")


class Head(NamedTuple):
    """The newest link; seq 0 is a chain without records."""

    seq: int
    digest: bytes


EMPTY = Head(0, GENESIS)


class AuditReport(NamedTuple):
    """What a verification found. ``problem`` is ``""`` when the log is whole."""

    records: int
    first_bad: int  # seq, 0: none
    problem: str


def canonical(seq: int, record: NewAudit | AuditRow) -> bytes:
    """Return the bytes a digest covers: every part has its length before it, so none can shift."""
    parts = [_FORMAT, _NUMBERS.pack(seq, record.at_us, record.inbox_id)]
    for text in (record.actor, record.action, record.object, record.outcome):
        encoded = text.encode("utf-8", "surrogatepass")
        parts += (_LENGTH.pack(len(encoded)), encoded)
    parts += (_LENGTH.pack(len(record.detail)), record.detail)
    return b"".join(parts)


def link(head: Head, record: NewAudit) -> AuditRow:
    """Return the row that continues the chain after ``head``."""
    seq = head.seq + 1
    digest = hashlib.sha256(head.digest + canonical(seq, record)).digest()
    return AuditRow(
        seq,
        record.at_us,
        record.actor,
        record.action,
        record.object,
        record.inbox_id,
        record.outcome,
        record.detail,
        head.digest,
        digest,
    )


def verify(rows: Iterable[AuditRow], previous: Head = EMPTY) -> int | None:
    """Return the seq at which the chain after ``previous`` breaks first, None when it does not.

    For a missing record it is the number that should have come.
    """
    seq, digest = previous
    for row in rows:
        seq += 1
        if row.seq != seq or not hmac.compare_digest(row.previous, digest):
            return seq
        digest = hashlib.sha256(digest + canonical(seq, row)).digest()
        if not hmac.compare_digest(row.digest, digest):
            return seq
    return None


def head_text(head: Head, mac: AuditMac | None) -> str:
    """Return the setting that fixes the head: seq, digest and MAC in hex, joined by colons."""
    proof = b"" if mac is None else mac(head.seq, head.digest)
    return f"{head.seq}:{head.digest.hex()}:{proof.hex()}"


def head_problem(text: str | None, newest: Head, mac: AuditMac | None) -> str:
    """Compare the kept head with the newest record found; ``""`` when they agree.

    Args:
        text: the kept setting, None when there is none.
        newest: the last record of a chain that verified.
        mac: None compares the numbers only (the keys are not at hand).
    """
    if text is None:
        return "" if newest == EMPTY else "the head of the audit log is missing"
    if not hmac.compare_digest(text.split(":")[0].encode(), str(newest.seq).encode()):
        return "records at the end of the audit log were removed or added"
    expected = head_text(newest, mac)
    if mac is None:
        text = text.rpartition(":")[0] + ":"
    if not hmac.compare_digest(text.encode(), expected.encode()):
        return "the head of the audit log was not written by this engine"
    return ""


def _chunks(reader: Reader) -> Iterable[Sequence[AuditRow]]:
    seq = 0
    while rows := reader.audit_after(seq, CHUNK_ROWS):
        yield rows
        seq = rows[-1].seq


def verify_log(reader: Reader, mac: AuditMac | None) -> AuditReport:
    """Verify the whole log of a store, in chunks, and its head.

    The writer may add records meanwhile: a head that is ahead of the rows is read again.
    """
    newest = EMPTY
    for rows in _chunks(reader):
        bad = verify(rows, newest)
        if bad is not None:
            problem = f"audit record {bad} was changed, added or removed"
            return AuditReport(newest.seq, bad, problem)
        newest = Head(rows[-1].seq, rows[-1].digest)
    text = reader.setting(HEAD_SETTING)
    while later := reader.audit_after(newest.seq, CHUNK_ROWS):
        # records came between the two reads: follow them, then read the head again
        bad = verify(later, newest)
        if bad is not None:
            return AuditReport(newest.seq, bad, f"audit record {bad} was changed, added or removed")
        newest = Head(later[-1].seq, later[-1].digest)
        text = reader.setting(HEAD_SETTING)
    if text is None and newest == EMPTY and reader.counters().inbox_id:
        return AuditReport(0, 1, "the audit log is missing")
    problem = head_problem(text, newest, mac)
    return AuditReport(newest.seq, newest.seq + 1 if problem else 0, problem)
