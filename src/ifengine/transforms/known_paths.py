"""Whether a path can mean anything: what the versions of HL7 and the declared types have."""

from functools import lru_cache

from ifengine.hl7 import dictionary, groups
from ifengine.hl7.path import Path
from ifengine.transforms.source import Position, Problems

# most sites speak it; a path that it has costs no other version's data
_LIKELY = "2.5.1"


def fault_of(path: Path) -> str:
    """Return why no version of HL7 has such a place: "PID has 40 fields in 2.8.2"; else nothing.

    Segments of the site's own, those the dictionary does not know, and ``.5`` are never a fault:
    what nobody has described cannot be judged.
    """
    if path.is_relative or path.field is None or not groups.is_known_segment(path.segment):
        return ""
    plain = f"{path.segment}-{path.field}"
    for part in (path.component, path.subcomponent):
        plain += "" if part is None else f".{part}"
    return _fault(path.segment, plain)


@lru_cache(maxsize=4096)
def _fault(segment: str, plain: str) -> str:
    if not dictionary.problem_of_path(_LIKELY, plain):
        return ""
    fault = ""
    for version in dictionary.versions():
        if dictionary.segment(version, segment) is None:
            continue
        fault = dictionary.problem_of_path(version, plain)
        if not fault:
            return ""
    return fault


@lru_cache(maxsize=512)
def segments_of(code: str, event: str) -> frozenset[str] | None:
    """Return every segment that a message of this type may have in some version.

    ``*`` as the event is every event of the type. None where a structure is not known, or leaves
    open what stands in it.
    """
    found: set[str] = set()
    for version in dictionary.versions():
        for structure in _structures(version, code, event):
            found.update(name for part in structure.parts for name in part.segments())
    if not found or "*ANY" in found:
        return None
    return frozenset(found)


def _structures(version: str, code: str, event: str) -> list[dictionary.StructureDef]:
    if event != "*":
        one = dictionary.structure_of(version, code, event)
        return [] if one is None else [one]
    names = [name for name in dictionary.structures(version) if name.partition("_")[0] == code]
    made = [dictionary.structure(version, name) for name in names]
    return [structure for structure in made if structure is not None]


def check_place(
    path: Path,
    at: Position,
    segments: frozenset[str] | None,
    problems: Problems,
    *,
    is_read: bool = True,
) -> None:
    """Warn about a place that no version of HL7 has, or that the channel's types never have.

    Args:
        path: what is read or written.
        at: where it is written.
        segments: those that the channel's types can have; None where nobody knows.
        problems: gets W304 and W306; receivers and senders have fields and segments of their own,
            so that neither is an error.
        is_read: False for what is written: it may make the segment that it needs.
    """
    fault = fault_of(path)
    if fault:
        problems.warning("W304", at, f"{path.text} means nothing: {fault}", "is it a typing error?")
        return
    name = path.segment
    if not is_read or segments is None or name in segments:
        return
    if name in groups.STANDARD_SEGMENTS:
        problems.warning(
            "W306",
            at,
            f"no message of this channel's types has {name}",
            "see types:; what is not there reads as empty",
        )
