"""What message types mean to the checks: overlap, identity events, required segments. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from ifengine.routes.config.models import TypePattern
from ifengine.transforms.known_paths import segments_of

# Merges, moves, links, changes of identifiers. Source: safety-rules.md 13; HL7 v2.9.1, 3.6.2
IDENTITY_EVENTS: Final = tuple(
    f"A{n:02}" for n in (18, 24, 30, 34, 35, 36, 37, *range(39, 48), 49, 50, 51)
)

# types for which a second delivery does harm: an order, a charge (safety-rules.md 3)
_ONCE_ONLY: Final = ("ORM", "RDE", "DFT", "BAR")

# Segments that the abstract message structure requires wherever its patient group stands.
# Source: HL7 v2.5.1, chapters 3, 4, 6, 7, 9, 10
_ADMISSION: Final = ("MSH", "EVN", "PID", "PV1")
_MERGE: Final = ("MSH", "EVN", "PID", "MRG")
_BY_EVENT: Final[dict[tuple[str, str], Sequence[str]]] = {
    ("ADT", "A18"): ("MSH", "EVN", "PID", "MRG", "PV1"),
    ("ADT", "A20"): ("MSH", "EVN", "NPU"),
    ("ADT", "A24"): ("MSH", "EVN", "PID"),
    ("ADT", "A30"): _MERGE,
    ("ADT", "A37"): ("MSH", "EVN", "PID"),
    ("ADT", "A50"): ("MSH", "EVN", "PID", "MRG", "PV1"),
    ("ADT", "A51"): ("MSH", "EVN", "PID", "MRG", "PV1"),
    **{("ADT", f"A{n:02}"): _MERGE for n in (34, 35, 36, *range(39, 48), 49)},
}
_BY_CODE: Final[dict[str, Sequence[str]]] = {
    # what every admission message has; A20 and the merges differ and stand above
    "ADT": ("MSH", "EVN", "PID"),
    "ORM": ("MSH", "ORC"),
    "ORU": ("MSH", "OBR"),
    "OML": ("MSH", "ORC"),
    "OMG": ("MSH", "ORC", "OBR"),
    "RDE": ("MSH", "ORC", "RXE"),
    "SIU": ("MSH", "SCH", "RGS"),
    "MDM": ("MSH", "EVN", "PID", "PV1", "TXA"),
    "DFT": ("MSH", "EVN", "PID", "FT1"),
    "BAR": ("MSH", "EVN", "PID"),
    "VXU": ("MSH", "PID"),
}
_WITHOUT_VISIT: Final = frozenset({"A20", "A29", *IDENTITY_EVENTS})


def overlap(first: Sequence[TypePattern], second: Sequence[TypePattern]) -> TypePattern | None:
    """Return a type that both admit, None where there is none. No patterns: every type."""
    every = (TypePattern(code="*", event="*"),)
    for one in first or every:
        for two in second or every:
            both = _meet(one, two)
            if both is not None:
                return both
    return None


def _meet(one: TypePattern, two: TypePattern) -> TypePattern | None:
    if "*" not in (one.code, two.code) and one.code != two.code:
        return None
    if "*" not in (one.event, two.event) and one.event != two.event:
        return None
    code = two.code if one.code == "*" else one.code
    return TypePattern(code=code, event=two.event if one.event == "*" else one.event)


def shown(pattern: TypePattern) -> str:
    """Return a pattern as it is written."""
    return "every type" if pattern.code == "*" else f"{pattern.code}^{pattern.event}"


def admitted_identity_events(types: Sequence[TypePattern]) -> tuple[str, ...]:
    """Return the identity events that these types admit, in order."""
    return tuple(
        event
        for event in IDENTITY_EVENTS
        if not types or any(pattern.admits("ADT", event) for pattern in types)
    )


def names_adt_events(types: Iterable[TypePattern]) -> bool:
    """Whether single ADT events are picked out."""
    return any(pattern.code == "ADT" and pattern.event != "*" for pattern in types)


def has_once_only(types: Sequence[TypePattern]) -> bool:
    """Whether orders or charges can pass, of which a second copy does harm."""
    return not types or any(
        pattern.code in ("*", *_ONCE_ONLY)
        or (pattern.code.startswith("OM") and len(pattern.code) == 3)
        for pattern in types
    )


def required_segments(pattern: TypePattern) -> Sequence[str]:
    """Return the segments that every message admitted here must have; MSH where not known."""
    exact = _BY_EVENT.get((pattern.code, pattern.event))
    if exact is not None:
        return exact
    if pattern.code == "ADT" and pattern.event == "*":
        return ("MSH", "EVN")  # A20 has no patient
    if pattern.code == "ADT" and pattern.event not in _WITHOUT_VISIT:
        return _ADMISSION
    return _BY_CODE.get(pattern.code, ("MSH",))


def segments_of_types(types: Sequence[TypePattern]) -> frozenset[str] | None:
    """Return every segment that messages of these types can have; None where that is not known."""
    found: frozenset[str] = frozenset()
    for pattern in types:
        own = None if pattern.code == "*" else segments_of(pattern.code, pattern.event)
        if own is None:
            return None
        found |= own
    return found or None
