"""The search index behind the intake: control ids and patient identifiers as keyed hashes."""

from ifengine.errors import EngineError
from ifengine.hl7.header import read_header
from ifengine.hl7.identifiers import PATIENT_FIELDS, patient_identifiers
from ifengine.hl7.lines import only
from ifengine.hl7.message import Message
from ifengine.pieces import GIANT_BYTES
from ifengine.store.base import CursorKind, InboxKind, Reader
from ifengine.store.sealing import BlobKind, KeyRing

PAGE = 200
_INDEXED = frozenset({b"MSH", *(name.encode() for name, _ in PATIENT_FIELDS)})


def control_tag(ring: KeyRing, control_id: bytes) -> bytes:
    """Return the tag under which a control id (MSH-10, raw bytes) is found."""
    return ring.tag("control", control_id)


def patient_tag(ring: KeyRing, identifier: str) -> bytes:
    """Return the tag under which a patient identifier (CX-1) is found, whatever its authority."""
    return ring.tag("patient", identifier.strip().upper().encode("utf-8", "surrogateescape"))


def tags_of(ring: KeyRing, content: bytes) -> list[bytes]:
    """Return every tag of one message; what cannot be read has none."""
    header = read_header(content)
    tags = [control_tag(ring, header.control_id)] if header.control_id else []
    if header.fault is not None:
        return tags
    if len(content) >= GIANT_BYTES:
        content = only(content, _INDEXED)  # to take all of it apart would cost seconds
    try:
        identifiers = patient_identifiers(Message.parse(content))
    except EngineError:
        return tags
    tags += [patient_tag(ring, cx.number) for cx in identifiers]
    return list(dict.fromkeys(tags))


def next_tags(reader: Reader, ring: KeyRing) -> tuple[int, list[tuple[bytes, int]]]:
    """Return the cursor after the next page of messages, and their (tag, inbox id) pairs."""
    after = reader.cursor(CursorKind.INDEXER, 0)
    found: list[tuple[bytes, int]] = []
    rows = reader.inbox_range(after, PAGE)
    for row in rows:
        after = row.inbox_id
        if not row.sealed or row.kind is InboxKind.DUPLICATE:
            continue
        try:
            content = ring.open(BlobKind.INBOX, row.inbox_id, 0, row.sealed)
        except EngineError:
            continue  # a damaged message is found by its number
        found += [(tag, row.inbox_id) for tag in tags_of(ring, content)]
    return after, found
