"""What a document is, by its first bytes: never by what the message says of it."""

import re
from typing import Final

UNKNOWN: Final = "bin"

# ending of the file name -> type and subtype of an RP (tables 0191 and 0291); empty: as it was sent
TYPES: Final[dict[str, tuple[str, str]]] = {
    "pdf": ("AP", "PDF"),
    "jpeg": ("IM", "JPEG"),
    "png": ("IM", "PNG"),
    "gif": ("IM", "GIF"),
    "tiff": ("IM", "TIFF"),
    "dicom": ("IM", "DICOM"),
    "rtf": ("AP", "RTF"),
    "cda": ("TEXT", "x-hl7-cda-level-one"),
    "xml": ("TEXT", "XML"),
    "text": ("TEXT", "PLAIN"),
    UNKNOWN: ("", ""),
}
_SIGNATURES = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"{\\rtf", "rtf"),
)
_PDF_WITHIN = 1024  # readers take a PDF that begins this late
_DICOM_AT = 128
_LOOKED_AT = 4096
_NOT_IN_TEXT = frozenset(range(32)) - frozenset(b"\t\n\r\f")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CLINICAL_DOCUMENT = re.compile(rb"<(?:[A-Za-z][\w.-]*:)?ClinicalDocument[\s>]")


def detect_type(content: bytes) -> str:
    """Return a key of ``TYPES``."""
    for signature, found in _SIGNATURES:
        if content.startswith(signature):
            return found
    if content[_DICOM_AT : _DICOM_AT + 4] == b"DICM":
        return "dicom"
    if b"%PDF-" in content[:_PDF_WITHIN]:
        return "pdf"
    return _detect_text(content)


def _detect_text(content: bytes) -> str:
    start = content.removeprefix(_BYTE_ORDER_MARK)
    head = start[:_LOOKED_AT]
    if head.lstrip().startswith(b"<?xml") or _CLINICAL_DOCUMENT.search(head):
        return "cda" if _CLINICAL_DOCUMENT.search(head) else "xml"
    if not head or not _NOT_IN_TEXT.isdisjoint(head):
        return UNKNOWN
    try:
        start.decode("utf-8")
    except UnicodeDecodeError:
        return UNKNOWN
    return "text"
