"""Which segments belong together: names, what repeats, what stands under what, what would be orphaned.

Groups are found by a scan over the segment names in the order of the structures of the standard,
so that messages with extra, missing or local segments still have them.

Source: HL7 v2.9.1 chapters 3, 4, 6, 7, 10 (segment groups of ADT, ORM, OML, ORU, SIU).
"""

from collections.abc import Collection, Iterator, Sequence


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


STANDARD_SEGMENTS = _set(
    """
    ABS ACC ADD ADJ AFF AIG AIL AIP AIS AL1 APR ARQ ARV AUT BHS BLC BLG BPO BPX BTS BTX BUI
    CDM CDO CER CM0 CM1 CM2 CNS CON CSP CSR CSS CTD CTI CTR DB1 DEV DG1 DMI DON DPS DRG DSC DSP DST
    ECD ECR EDU EQL EQP EQU ERQ ERR EVN FAC FHS FT1 FTS GOL GP1 GP2 GT1 HXX IAM IAR IIM ILT IN1 IN2
    IN3 INV IPC IPR ISD ITM IVC IVT LAN LCC LCH LDP LOC LRL MCP MFA MFE MFI MRG MSA MSH NCK NDS NK1
    NPU NSC NST NTE OBR OBX ODS ODT OH1 OH2 OH3 OH4 OM1 OM2 OM3 OM4 OM5 OM6 OM7 OMC ORC ORG ORO OVR
    PAC PCE PCR PD1 PDA PDC PEO PES PID PKG PM1 PMT PR1 PRA PRB PRC PRD PRT PSG PSH PSL PSS PTH PV1
    PV2 PYE QAK QID QPD QRD QRF QRI RCP RDF RDT REL RF1 RFI RGS RMI ROL RQ1 RQD RXA RXC RXD RXE RXG
    RXO RXR RXV SAC SCD SCH SCP SDD SFT SGH SGT SHP SID SLT SPM SPR STF STZ TCC TCD TQ1 TQ2 TXA UAC
    UB1 UB2 URD URS VAR VND VTQ
    """
)

# Once a patient at the most in every structure that hospitals send. PID and MRG are among them: a
# message of several patients is stopped before its steps (safety-rules.md 10).
_ONCE = _set(
    "MSH EVN PID MRG PD1 PV1 PV2 MSA QAK QPD QRD QRF QRI RCP MFI SCH TXA ACC UB1 UB2 DRG DSC ARQ"
)
_GROUP_HEADS = frozenset({"ORC", "OBR"})

# what stands under a segment until the next one of its own name or of _ENDS
_UNDER: dict[str, frozenset[str]] = {
    "ORC": _set(
        "OBR OBX NTE TQ1 TQ2 SPM SAC RXO RXE RXR RXC RXA RXD RXG RXV CTD CTI TCD FT1 BLG PRT RQD RQ1 ODS ODT"
    ),
    "OBR": _set("OBX NTE TQ1 TQ2 SPM SAC CTD CTI TCD FT1 PRT"),
    "SPM": _set("OBX NTE SAC PRT"),
    "OBX": _set("NTE TCD PRT"),
    "IN1": _set("IN2 IN3"),
    "RXO": _set("RXR RXC NTE"),
    "RXE": _set("RXR RXC NTE TQ1 TQ2"),
    "RXA": _set("RXR OBX NTE"),
    "RGS": _set("AIS AIG AIL AIP NTE"),
    "PR1": frozenset({"ROL"}),
    "MFE": _set("STF PRA ORG OM1 OM2 OM3 OM4 OM5 OM6 LOC CDM"),
}
_ENDS: dict[str, frozenset[str]] = {
    "PID": frozenset(),
    "ORC": frozenset({"PID"}),
    "OBR": frozenset({"ORC", "PID"}),
    "SPM": frozenset({"OBR", "ORC", "PID"}),
    "OBX": frozenset({"SPM", "OBR", "ORC", "PID"}),
}
_OTHER_ENDS = frozenset({"OBR", "ORC", "PID"})
# a comment belongs to the nearest of these before it
_COMMENTED = _set(
    "MSH PID ORC OBR OBX SPM SAC RXO RXE RXA RXD RXG RXC RXR SCH AIS AIG AIL AIP NK1 MFE OM1 BPO IN1 AL1 DG1 PV1 PV2"
)
# whose first field is the set id, in some version from 2.1 on
_NUMBERED = _set(
    """
    AFF AIG AIL AIP AIS AL1 ARV BPO BPX BTX CER CM0 CM1 CM2 CON DB1 DG1 DSP EDU FT1 GT1 IAM ILT IN1
    IN3 IVT LAN NK1 NTE OBR OBX ORG PAC PCE PID PKG PR1 PV1 PYE REL RGS SPM TQ1 TQ2 TXA UB1 UB2 VND
    """
)
_BEHIND_PATIENT = frozenset({"MSH", "EVN", "SFT", "UAC"})

# the order of an admission message; what is not here goes to the end
_ADMISSION_TEXT = (
    "MSH SFT UAC EVN PID PD1 NK1 PV1 PV2 DB1 AL1 DG1 DRG PR1 GT1 IN1 IN2 IN3 ACC UB1 UB2 PDA"
)
_ADMISSION_ORDER = _ADMISSION_TEXT.split()


def is_known_segment(name: str) -> bool:
    """Whether the standard has this segment, or it is a local one (``Z``)."""
    return name in STANDARD_SEGMENTS or name.startswith("Z")


def repeats(name: str) -> bool:
    """Whether a message may hold several of these, so that a bare name does not say which."""
    return name in STANDARD_SEGMENTS and name not in _ONCE


def is_group_head(name: str) -> bool:
    """Whether this heads a group; reading one without an index means the first."""
    return name in _GROUP_HEADS


def stands_under(child: str, parent: str) -> bool:
    """Whether the structures put this segment into the group of that one."""
    if parent == "PID":
        return child not in _BEHIND_PATIENT and child != "PID"
    return child in _UNDER.get(parent, ())


def children(names: Sequence[str], parent: int, child: str) -> list[int]:
    """Return the positions of the ``child`` segments that stand under the one at ``parent``."""
    head = names[parent]
    ends = _ENDS.get(head, _OTHER_ENDS)
    found: list[int] = []
    for position in range(parent + 1, len(names)):
        name = names[position]
        if name == head or name in ends:
            break
        if name == child and (child != "NTE" or owner_of_comment(names, position) == parent):
            found.append(position)
    return found


def owner_of_comment(names: Sequence[str], comment: int) -> int:
    """Return the position of the segment that an NTE speaks of."""
    for position in range(comment - 1, 0, -1):
        if names[position] in _COMMENTED:
            return position
    return 0


def seen_from(names: Sequence[str], current: int, wanted: str) -> list[int]:
    """Return what a bare segment name means while the segment at ``current`` is being worked on.

    The segment itself; those under it; the one before it that heads its group; or those of the
    same patient.
    """
    here = names[current]
    if wanted == here:
        return [current]
    if here != "PID" and stands_under(wanted, here):
        return children(names, current, wanted)
    if wanted == "PID" or stands_under(here, wanted) or (is_local(here) and wanted in _ENDS):
        return _head_before(names, current, wanted)
    if wanted in _BEHIND_PATIENT or here in _BEHIND_PATIENT:
        start, end = 0, len(names)
    else:
        start, end = _patient_span(names, current)
    return [position for position in range(start, end) if names[position] == wanted]


def _head_before(names: Sequence[str], current: int, wanted: str) -> list[int]:
    ends = _ENDS.get(wanted, _OTHER_ENDS)
    for position in range(current - 1, -1, -1):
        name = names[position]
        if name == wanted:
            return [position]
        if name in ends or (
            wanted == "ORC" and name == "OBR" and _is_second(names, position, current)
        ):
            break
    return []


def _is_second(names: Sequence[str], order: int, current: int) -> bool:
    """Whether the segment at ``current`` has an OBR behind this one: the ORC before is not its."""
    return "OBR" in names[order + 1 : current + 1]


def is_local(name: str) -> bool:
    """Whether this is a segment of the site's own."""
    return name[0] == "Z"


def _patient_span(names: Sequence[str], current: int) -> tuple[int, int]:
    start = current
    while start > 0 and names[start] != "PID":
        start -= 1
    end = current + 1
    while end < len(names) and names[end] != "PID":
        end += 1
    return start, end


def has_set_id(name: str) -> bool:
    """Whether field 1 of this segment counts; a local one may."""
    return name in _NUMBERED or is_local(name)


def takes_comments(name: str) -> bool:
    """Whether an NTE behind this segment speaks of it."""
    return name in _COMMENTED


def comments_of(names: Sequence[str], owner: int) -> list[int]:
    """Return the positions of the comments that speak of the segment at ``owner``."""
    found: list[int] = []
    for position in range(owner + 1, len(names)):
        if names[position] == "NTE":
            if owner_of_comment(names, position) == owner:
                found.append(position)
        elif names[position] in _COMMENTED:
            break
    return found


def end_of_block(names: Sequence[str], head: int) -> int:
    """Return the position behind a segment and all that goes where it goes.

    That is what stands under it without a gap, comments and local segments included.
    """
    own = names[head]
    under, ends = _UNDER.get(own, frozenset()), _ENDS.get(own, _OTHER_ENDS)
    for position in range(head + 1, len(names)):
        name = names[position]
        if name == own or name in ends:
            return position
        belongs = name in under or is_local(name)
        if name == "NTE":
            belongs = owner_of_comment(names, position) >= head
        if not belongs:
            return position
    return len(names)


def numbered_under(names: Sequence[str], position: int) -> int:
    """Return the position of the segment under which this one's set id counts; 0 is the message.

    Orders are numbered through for a patient, whatever stands before each (OBR-1, HL7 4.5.3.1).
    """
    name = names[position]
    if name == "NTE":
        return owner_of_comment(names, position)
    for before in range(position - 1, 0, -1):
        other = names[before]
        if name == "OBR" and other == "ORC":
            continue
        if other != name and stands_under(name, other):
            return before
    return 0


def orphans(names: Sequence[str], deleted: Collection[int]) -> list[int]:
    """Return the positions that would stay without the segment they belong to.

    A comment that would slide to another segment is one, an OBX without its OBR is another.
    """
    found: set[int] = set()
    for head in deleted:
        name = names[head]
        if name in _UNDER and name != "ORC":
            found.update(_left_under(names, head, deleted))
    if "NTE" in names:
        for position, name in enumerate(names):
            commented = name == "NTE" and position not in deleted
            if commented and owner_of_comment(names, position) in deleted:
                found.add(position)
    return sorted(found)


def _left_under(names: Sequence[str], head: int, deleted: Collection[int]) -> Iterator[int]:
    """Yield what stands under a segment and is not deleted with it; comments have their own rule."""
    own = names[head]
    under, ends = _UNDER[own], _ENDS.get(own, _OTHER_ENDS)
    for position in range(head + 1, len(names)):
        name = names[position]
        if name in under and name != "NTE" and position not in deleted:
            yield position
        if name == own or name in ends:
            return


def place_for(names: Sequence[str], name: str) -> int:
    """Return where a new segment of this name goes: the position it would have."""
    if name not in _ADMISSION_ORDER:
        return len(names)
    before = frozenset(_ADMISSION_ORDER[: _ADMISSION_ORDER.index(name) + 1])
    last = max((at for at, present in enumerate(names) if present in before), default=0)
    return last + 1
