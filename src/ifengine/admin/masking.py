"""Two views of a message's content. The masked one is built without reading a value.

Masked: which segments, which fields are valued, how often they repeat; every value is the same
six dots, whatever its length. A line that is not a segment of the standard, nor a Z segment, is
shown without its name: a broken message may hold text there.
"""

import base64
import itertools
from typing import TypedDict

from ifengine.errors import EngineError
from ifengine.hl7.charset import CharsetPolicy
from ifengine.hl7.message import Message

MASK = "••••••"
NO_NAME = "???"
MOST_FIELDS = 50_000  # shown of one message; a hostile one may have millions

# Chapters 2 to 17 of HL7 v2.9.1, with the segments that earlier versions had.
_SEGMENT_NAMES = """
    ABS ACC ADD ADJ AFF AIG AIL AIP AIS AL1 APR ARQ ARV AUT BHS BLC BLG BPO BPX BTS BTX BUI CDM
    CDO CER CM0 CM1 CM2 CNS CON CSP CSR CSS CTD CTI CTR DB1 DEV DG1 DMI DON DPS DRG DSC DSP DST
    ECD ECR EDU EQL EQP EQU ERQ ERR EVN FAC FHS FT1 FTS GOL GP1 GP2 GT1 IAM IAR IIM ILT IN1 IN2
    IN3 INV IPC IPR ISD ITM IVC IVT LAN LCC LCH LDP LOC LRL MCP MFA MFE MFI MRG MSA MSH NCK NDS
    NK1 NPU NSC NST NTE OBR OBX ODS ODT OH1 OH2 OH3 OH4 OM1 OM2 OM3 OM4 OM5 OM6 OM7 OM8 OMC ORC
    ORG OVR PAC PCE PCR PD1 PDA PDC PEO PES PID PKG PM1 PMT PR1 PRA PRB PRC PRD PRT PSG PSH PSL
    PSS PTH PV1 PV2 PYE QAK QID QPD QRD QRF QRI RCP RDF RDT REL RF1 RFI RGS RMI ROL RQ1 RQD RXA
    RXC RXD RXE RXG RXO RXR RXV SAC SCD SCH SCP SDD SFT SGH SGT SHP SID SLT SPM SPR STF STZ TCC
    TCD TQ1 TQ2 TXA UAC UB1 UB2 URD URS VAR VND VTQ
"""
_SEGMENTS = frozenset(_SEGMENT_NAMES.split())


class FieldView(TypedDict):
    """One valued field."""

    path: str
    value: str
    repetitions: int


class SegmentView(TypedDict):
    """One segment in its place."""

    segment: str
    fields: list[FieldView]


class ContentView(TypedDict, total=False):
    """Content as people see it; ``raw_base64`` only where reading was asked for and audited."""

    readable: bool
    cut: bool  # more than MOST_FIELDS fields are valued, the rest is not shown
    size: int
    segments: list[SegmentView]
    raw_base64: str


def masked(content: bytes) -> ContentView:
    """Return the structure of content without any value."""
    return _view(content, CharsetPolicy(), reveal=False)


def revealed(content: bytes, charset: CharsetPolicy) -> ContentView:
    """Return content with its values. Only after the reason was put into the audit log."""
    view = _view(content, charset, reveal=True)
    view["raw_base64"] = base64.b64encode(content).decode("ascii")
    return view


def _view(content: bytes, charset: CharsetPolicy, *, reveal: bool) -> ContentView:
    message = _parse(content, charset)
    segments: list[SegmentView] = []
    left = MOST_FIELDS
    names = [] if message is None else message.names()
    for i, name in enumerate(names):
        if message is None or left <= 0:
            break
        shown = name if reveal else segment_name(name)
        fields = (_revealed_fields if reveal else _masked_fields)(message, i, shown, left)
        left -= max(len(fields), 1)
        segments.append({"segment": shown, "fields": fields})
    return {
        "readable": message is not None,
        "cut": left <= 0,
        "size": len(content),
        "segments": segments,
    }


def _masked_fields(message: Message, i: int, name: str, most: int) -> list[FieldView]:
    return [
        {"path": f"{name}-{f}", "value": MASK, "repetitions": count}
        for f, count in _valued(message, i, most)
    ]


def _revealed_fields(message: Message, i: int, name: str, most: int) -> list[FieldView]:
    return [
        {"path": f"{name}-{f}", "value": printable(message.text(i, f)), "repetitions": count}
        for f, count in _valued(message, i, most)
    ]


def printable(text: str) -> str:
    """Return text that every JSON reader takes: undecodable bytes become hex escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def segment_name(name: str) -> str:
    """Return a segment's name if it is one, three question marks if it may be text."""
    standard = name in _SEGMENTS
    site_defined = len(name) == 3 and name[0] == "Z" and name.isascii() and name.isalnum()
    return name if standard or (site_defined and name == name.upper()) else NO_NAME


def _parse(content: bytes, charset: CharsetPolicy) -> Message | None:
    try:
        return Message.parse(content, charset=charset)
    except EngineError:
        return None


def _valued(message: Message, i: int, most: int) -> list[tuple[int, int]]:
    counts = ((f, message.repetition_count(i, f)) for f in range(1, message.field_count(i) + 1))
    return list(itertools.islice(((f, count) for f, count in counts if count), most))
