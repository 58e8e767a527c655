"""Message structures: their parts, and which one a message type and event have.

Source: HL7 v2.8.2 chapters 3 to 17 (abstract message syntax), table 0354.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

ANY_SEGMENT: Final = "*ANY"  # where a structure leaves it open


class Part(NamedTuple):
    """A segment (no ``parts``) or a group of a structure."""

    name: str
    required: bool
    repeats: bool
    parts: tuple["Part", ...] = ()
    choice: bool = False  # one of ``parts`` stands there, not all in order

    def segments(self) -> Iterator[str]:
        """Yield the names of the segments in it, in order."""
        if not self.parts:
            yield self.name
        for part in self.parts:
            yield from part.segments()


_SIGNS: Final = {"?": (False, False), "*": (False, True), "+": (True, True)}
_OPENED: Final = "(<"
_CLOSED: Final = ")>"


def parse_structure(text: str) -> tuple[Part, ...]:
    """Read ``MSH PID? ORDER( ORC CHOICE< OBR RXO > )+``."""
    open_groups: list[tuple[str, list[Part]]] = [("", [])]
    for word in text.split():
        if word[-1] in _OPENED:
            open_groups.append((word, []))
            continue
        name, (required, repeats) = word, (True, False)
        if word[-1] in _SIGNS:
            name, (required, repeats) = word[:-1], _SIGNS[word[-1]]
        if name in _CLOSED:
            opened, inner = open_groups.pop()
            made = Part(opened[:-1], required, repeats, tuple(inner), opened[-1] == "<")
        else:
            made = Part(name, required, repeats)
        open_groups[-1][1].append(made)
    return tuple(open_groups[0][1])


# Table 0354. Structure -> the events that have it; where versions differ an event stands several
# times, and the first structure that the version has counts: A28 is ADT_A05 since 2.4.
_EVENTS_TEXT: Final = """
    ADT_A05 A05 A14 A28 A31
    ADT_A01 A01 A04 A08 A13 A05 A14 A28 A31
    ADT_A02 A02
    ADT_A21 A21 A22 A23 A25 A26 A27 A29 A32 A33
    ADT_A02 A21 A22 A23 A25 A26 A27 A29 A32 A33
    ADT_A06 A06 A07
    ADT_A15 A15
    ADT_A09 A09 A10 A11 A15
    ADT_A30 A30 A34 A35 A36 A46 A47 A48 A49
    ADT_A24 A24 A37
    ADT_A39 A39 A40 A41 A42
    ADT_A44 A44
    ADT_A43 A43 A44
    ADT_A50 A50 A51
    ADT_A52 A52 A53
    ADT_A54 A54 A55
    ADT_A61 A61 A62
    BAR_P05 P05
    BAR_P01 P01 P05
    MDM_T01 T01 T03 T05 T07 T09 T11
    MDM_T02 T02 T04 T06 T08 T10
    MFK_M01 M01 M02 M03 M04 M05 M06 M07 M08 M09 M10 M11 M12 M13 M14 M15 M16 M17
    MFQ_M01 M01 M02 M03 M04 M05 M06
    SIU_S12 S12 S13 S14 S15 S16 S17 S18 S19 S20 S21 S22 S23 S24 S26 S27
    SRM_S01 S01 S02 S03 S04 S05 S06 S07 S08 S09 S10 S11
    SRR_S01 S01 S02 S03 S04 S05 S06 S07 S08 S09 S10 S11
    ORU_R30 R30 R31 R32
    ORU_R01 R01
    RDE_O11 O11 O25
    RDE_O01 O01
    RRE_O12 O12 O26
    REF_I12 I12 I13 I14 I15
    RRI_I12 I12 I13 I14 I15
    RQA_I08 I08 I09 I10 I11
    RPA_I08 I08 I09 I10 I11
    RQI_I01 I01 I02 I03
    RPI_I01 I01 I02 I03
    PPR_PC1 PC1 PC2 PC3
    PPP_PCB PCB PCC PCD
    PGL_PC6 PC6 PC7 PC8
    PPG_PCG PCG PCH PCJ
    PEX_P07 P07 P08
    CRM_C01 C01 C02 C03 C04 C05 C06 C07 C08
    CSU_C09 C09 C10 C11 C12
    PMU_B01 B01 B02
    PMU_B04 B04 B05 B06
    QBP_Q21 Q21 Q22 Q23 Q24 Q25
    RSP_K21 K21 K22
    RSP_K23 K23 K24
    EAC_U07 U07
    ESU_U01 U01
    LSU_U12 U12 U13
    QCN_J01 J01 J02
"""


def _events() -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for line in _EVENTS_TEXT.strip().splitlines():
        name, *events = line.split()
        for event in events:
            key = (name[:3], event)
            found[key] = (*found.get(key, ()), name)
    return found


_EVENTS: Final = _events()


def names_of(code: str, event: str) -> tuple[str, ...]:
    """Return the names that the structure of a type and event may have, the likeliest first."""
    if code == "ACK":
        return ("ACK",)
    # 2.1 and 2.2 have a structure for each event; so have most types later
    return (f"{code}_{event}", *_EVENTS.get((code, event), ()), code)
