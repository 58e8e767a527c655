"""MSH alone, read from any bytes: enough to route a message, to answer it, or to refuse it with a name.

Nothing here raises on content. What cannot be read has a ``HeaderFault``, and what could be read
all the same stays readable, so that a negative answer reaches the sender.
"""

from enum import StrEnum

from ifengine.hl7.delimiters import DEFAULT_DELIMITERS, DelimiterFaultError, Delimiters

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
START_BLOCK, END_BLOCK = 0x0B, 0x1C
NULL_BYTES = b'""'

_USUAL_START = b"MSH|^~\\&|"  # with DEFAULT_DELIMITERS
_LINE_FEED = 0x0A
_LAST_FIELD = 18  # MSH-18; what follows is not read here
_EMPTY_FIELDS = [b""] * (_LAST_FIELD + 1)
_NOTHING = (b"", NULL_BYTES)  # a field that is not valued
_NEVER_ON_SUCCESS = frozenset({b"NE", b"ER", b""})


class HeaderFault(StrEnum):
    """Why a header cannot be served. The names are shown to operators."""

    EMPTY = "empty"  # nothing, or line ends only
    NO_MSH = "no_msh"  # the content does not begin with MSH
    BATCH = "batch"  # it begins with FHS or BHS
    BAD_DELIMITERS = "bad_delimiters"  # MSH-1 or MSH-2 missing, repeated or not punctuation
    SHORT_MSH = "short_msh"  # MSH ends before MSH-10
    FRAMING_BYTES = "framing_bytes"  # VT or FS in MSH: two frames may have run together
    NO_MESSAGE_TYPE = "no_message_type"  # MSH-9.1 is empty
    NO_CONTROL_ID = "no_control_id"  # MSH-10 is empty: no positive answer could be matched


class Header:
    """MSH-1 to MSH-18 of one message, as raw bytes, never unescaped, never decoded.

    ``fields[n - 1]`` is MSH-n for n from 2 to 18, ``b""`` where it is absent. ``bom``: a byte order
    mark stands before MSH. ``accept_ack`` and ``application_ack`` are MSH-15 and MSH-16.
    """

    __slots__ = (
        "accept_ack",
        "application_ack",
        "bom",
        "control_id",
        "delimiters",
        "fault",
        "fields",
        "message_code",
        "trigger_event",
    )

    def __init__(
        self, delimiters: Delimiters, fields: list[bytes], fault: HeaderFault | None, bom: bool
    ) -> None:
        """Take the segment split at the field separator: MSH-n is ``fields[n - 1]``."""
        if len(fields) < _LAST_FIELD:
            fields = fields + _EMPTY_FIELDS[len(fields) :]
        self.fields = fields
        self.delimiters = delimiters
        self.bom = bom
        parts = fields[8].split(delimiters.component, 2)
        self.message_code = code = parts[0]
        self.trigger_event = parts[1] if len(parts) > 1 else b""
        self.control_id = control_id = fields[9]
        self.accept_ack = fields[14]
        self.application_ack = fields[15]
        if fault is None:
            if code in _NOTHING:
                fault = HeaderFault.NO_MESSAGE_TYPE
            elif control_id in _NOTHING:
                fault = HeaderFault.NO_CONTROL_ID
        self.fault = fault

    def __repr__(self) -> str:
        return f"Header(fault={self.fault and self.fault.value!r})"

    def _first_component(self, number: int) -> bytes:
        return self.fields[number - 1].split(self.delimiters.component, 1)[0]

    @property
    def structure(self) -> bytes:
        """MSH-9.3."""
        parts = self.fields[8].split(self.delimiters.component, 3)
        return parts[2] if len(parts) > 2 else b""

    @property
    def sending_application(self) -> bytes:
        """MSH-3, all components."""
        return self.fields[2]

    @property
    def sending_facility(self) -> bytes:
        """MSH-4, all components."""
        return self.fields[3]

    @property
    def receiving_application(self) -> bytes:
        """MSH-5, all components."""
        return self.fields[4]

    @property
    def receiving_facility(self) -> bytes:
        """MSH-6, all components."""
        return self.fields[5]

    @property
    def timestamp(self) -> bytes:
        """MSH-7."""
        return self.fields[6]

    @property
    def processing_id(self) -> bytes:
        """MSH-11.1: ``P``, ``T`` or ``D``."""
        return self._first_component(11)

    @property
    def processing_mode(self) -> bytes:
        """MSH-11.2: ``A``, ``R``, ``I``, ``T`` or nothing."""
        value, delimiters = self.fields[10], self.delimiters
        if delimiters.component_code not in value:
            return b""
        return value.split(delimiters.component, 2)[1]

    @property
    def version(self) -> bytes:
        """MSH-12.1."""
        return self._first_component(12)

    @property
    def charset(self) -> bytes:
        """MSH-18 with all repetitions."""
        return self.fields[17]

    @property
    def enhanced_mode(self) -> bool:
        """Whether MSH-15 or MSH-16 is valued (2.8.1)."""
        accept, application = self.accept_ack, self.application_ack
        if not accept and not application:
            return False
        return accept not in _NOTHING or application not in _NOTHING

    @property
    def silent(self) -> bool:
        """Whether success is to be answered with nothing: valued, and neither AL nor SU is among them.

        A value that is not of table 0155 counts as AL, because an answer too many harms less than
        a sender that waits for ever.
        """
        if not self.enhanced_mode:
            return False
        conditions = (self.accept_ack, self.application_ack)
        return all(value in _NOTHING or value in _NEVER_ON_SUCCESS for value in conditions)


def read_header(content: bytes) -> Header:
    """Read MSH from the bytes of a frame. Never raises: see ``Header.fault``.

    A byte order mark and line ends before MSH are skipped. The segment ends at the first CR or LF.
    """
    if content.startswith(_USUAL_START):
        end = content.find(b"\r")
        line = content[:end] if end >= 0 else content
        if _LINE_FEED not in line and START_BLOCK not in line and END_BLOCK not in line:
            fields = line.split(b"|", _LAST_FIELD)
            fault = HeaderFault.SHORT_MSH if len(fields) < 10 else None
            return Header(DEFAULT_DELIMITERS, fields, fault, False)
    return _read_any_header(content)


def _read_any_header(content: bytes) -> Header:
    """Read what does not begin as nearly every message does, or does not go on so."""
    if content.startswith(b"MSH"):
        start, bom = 0, False
    else:
        start, bom = message_start(content)
        if not content.startswith(b"MSH", start):
            return _unreadable(content, start, bom)
    end = content.find(b"\r", start)
    if end < 0:
        end = len(content)
    line_feed = content.find(b"\n", start, end)
    if line_feed >= 0:
        end = line_feed
    separator = content[start + 3 : start + 4]
    line = content[start:end]
    fields = line.split(separator, _LAST_FIELD) if separator and end > start + 3 else [line]
    try:
        delimiters = Delimiters.read(separator, fields[1] if len(fields) > 1 else b"")
    except DelimiterFaultError:
        return _with_bad_delimiters(separator, fields, bom)
    fault = None
    if START_BLOCK in line or END_BLOCK in line:
        fault = HeaderFault.FRAMING_BYTES
    elif len(fields) < 10:
        fault = HeaderFault.SHORT_MSH
    return Header(delimiters, fields, fault, bom)


def message_start(content: bytes) -> tuple[int, bool]:
    """Return where the first segment begins, and whether a byte order mark stands before it."""
    bom = content.startswith(BYTE_ORDER_MARK)
    start = len(BYTE_ORDER_MARK) if bom else 0
    while content[start : start + 1] in (b"\r", b"\n"):
        start += 1
    return start, bom


def _unreadable(content: bytes, start: int, bom: bool) -> Header:
    if start == len(content):
        fault = HeaderFault.EMPTY
    elif content.startswith((b"FHS", b"BHS"), start):
        fault = HeaderFault.BATCH
    else:
        fault = HeaderFault.NO_MSH
    return Header(DEFAULT_DELIMITERS, [b"MSH"], fault, bom)


def _with_bad_delimiters(separator: bytes, fields: list[bytes], bom: bool) -> Header:
    """Keep the fields where MSH-1 alone can be trusted; parts of them cannot be told."""
    try:
        delimiters = Delimiters.read(separator, DEFAULT_DELIMITERS.msh2)
    except DelimiterFaultError:
        delimiters, fields = DEFAULT_DELIMITERS, [b"MSH"]
    return Header(delimiters, fields, HeaderFault.BAD_DELIMITERS, bom)
