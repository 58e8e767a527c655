"""What the standard says of segments, fields, data types, structures and tables, 2.1 to 2.8.2.

A version is read from the text file that stands with the package when it is first asked for; its
segments and structures are taken apart one by one, when they are asked for.

Source: ``data/*.txt``, written by ``docs/generate_dictionary.py``.
"""

from functools import cache, lru_cache
from importlib import resources
from typing import Final, NamedTuple

from ifengine.hl7.groups import is_local
from ifengine.hl7.path import Path, parse_path
from ifengine.hl7.structures import Part, names_of, parse_structure

__all__ = [
    "DataType",
    "FieldDef",
    "SegmentDef",
    "StructureDef",
    "TableDef",
    "data_type",
    "describe",
    "field",
    "nearest_version",
    "problem_of_path",
    "segment",
    "segments",
    "structure",
    "structure_of",
    "structures",
    "table",
    "versions",
]

_VERSIONS: Final = (
    "2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2",
)  # fmt: skip
_WITHOUT_VERSION: Final = "2.5.1"  # read for a message that does not say one
VARIES: Final = "varies"  # OBX-5: another field says the type
_UNFINISHED: Final = "~"
_MOST_SHOWN: Final = 24


class FieldDef(NamedTuple):
    """A field of a segment, or a component of a data type."""

    number: int
    name: str
    data_type: str  # "varies": another field says it
    required: bool = False
    repetitions: int = 1  # at the most; 0: without end
    length: int = 0  # of one repetition, in characters; 0: not said
    table: str = ""  # "0001"
    withdrawn: bool = False


class SegmentDef(NamedTuple):
    """A segment. A number that is not in ``fields`` was withdrawn in this version."""

    name: str
    title: str
    fields: dict[int, FieldDef]

    @property
    def last(self) -> int:
        """The number of the last field."""
        return max(self.fields, default=0)


class DataType(NamedTuple):
    """A data type; a primitive one has no components."""

    name: str
    title: str
    components: dict[int, FieldDef]


class TableDef(NamedTuple):
    """A table. Where it is not ``complete``, others than ``values`` are good too."""

    number: str
    name: str
    values: frozenset[str]
    complete: bool


class StructureDef(NamedTuple):
    """A message structure: ``ADT_A01``."""

    name: str
    parts: tuple[Part, ...]


def versions() -> tuple[str, ...]:
    """Return the versions there are, oldest first."""
    return _VERSIONS


@lru_cache(maxsize=64)
def nearest_version(version: str) -> str:
    """Return the version to read for MSH-12.1: the same, else the one before, else the oldest.

    2.5.1 for one that cannot be read.
    """
    if version in _VERSIONS:
        return version
    wanted = _numbers(version)
    if not wanted:
        return _WITHOUT_VERSION
    before = [known for known in _VERSIONS if _numbers(known) <= wanted]
    return before[-1] if before else _VERSIONS[0]


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    good = all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts)
    return tuple(int(part) for part in parts) if good else ()


def segment(version: str, name: str) -> SegmentDef | None:
    """Return a segment, None where the version does not have it."""
    return _read(nearest_version(version)).segment(name)


def field(version: str, name: str, number: int) -> FieldDef | None:
    """Return a field of a segment, counted from 1; None where there is none."""
    found = segment(version, name)
    return None if found is None else found.fields.get(number)


def data_type(version: str, name: str) -> DataType | None:
    """Return a composite data type; None for a primitive one, or where there is none."""
    return _read(nearest_version(version)).data_type(name)


def structure(version: str, name: str) -> StructureDef | None:
    """Return a message structure by its name: ``ADT_A01``."""
    return _read(nearest_version(version)).structure(name)


def structures(version: str) -> tuple[str, ...]:
    """Return the names of all structures of a version."""
    return _read(nearest_version(version)).names("M")


def segments(version: str) -> tuple[str, ...]:
    """Return the names of all segments of a version."""
    return _read(nearest_version(version)).names("S")


def structure_of(version: str, code: str, event: str) -> StructureDef | None:
    """Return the structure of a message type and event, by table 0354: ADT and A04 give ADT_A01."""
    known = _read(nearest_version(version))
    for name in names_of(code, event):
        found = known.structure(name)
        if found is not None:
            return found
    return None


def table(version: str, number: str) -> TableDef | None:
    """Return a table by its number, ``0001``; None where the data has no values for it."""
    return _read(nearest_version(version)).table(number)


# --- in words -------------------------------------------------------------------------------


def describe(path_text: str, version: str) -> list[str]:
    """Return what the standard says of a path, in lines: ``PID``, ``PID-8``, ``OBX-5.1``.

    One line says it where the standard has no such place.

    Raises:
        NotationError: the text is no path.
    """
    path = parse_path(path_text)
    at = nearest_version(version)
    if is_local(path.segment):
        return [f"{path.segment} is a segment of the site's own: the standard says nothing of it"]
    problem = problem_of_path(at, path)
    found = segment(at, path.segment)
    if found is None or problem:
        return [problem]
    if path.field is None:
        lines = [f"{found.name} {found.title}, HL7 {at}, {found.last} fields".replace(" ,", ",")]
        return lines + [_line(f"{found.name}-", part) for part in found.fields.values()]
    part, where = found.fields[path.field], f"{found.name}-{path.field}"
    lines = []
    for number in (path.component, path.subcomponent):
        kind = data_type(at, part.data_type)
        if number is None or kind is None:
            break
        lines.append(f"{where} {part.name}: {kind.name} {kind.title}".rstrip())
        part, where = kind.components[number], f"{where}.{number}"
    return [f"{where} {part.name}, HL7 {at}", *_details(part, at), *lines, *_parts(part, where, at)]


def _details(part: FieldDef, version: str) -> list[str]:
    kind = data_type(version, part.data_type)
    title = f" {kind.title}" if kind is not None and kind.title else ""
    by = "another field says the type" if part.data_type == VARIES else f"{part.data_type}{title}"
    lines = [f"type: {by}", f"use: {_use(part)}"]
    if part.length:
        lines.append(f"length: {part.length} at the most, in characters")
    if part.table:
        listed = table(version, part.table)
        values = "" if listed is None else ": " + _some(sorted(listed.values), listed.complete)
        name = "" if listed is None else f" {listed.name}"
        lines.append(f"table: {part.table}{name}{values}")
    return lines


def _use(part: FieldDef) -> str:
    if part.withdrawn:
        return "withdrawn"
    said = "required" if part.required else "optional"
    if part.repetitions == 1:
        return said
    return f"{said}, repeats" + (f" up to {part.repetitions} times" if part.repetitions else "")


def _some(values: list[str], complete: bool) -> str:
    shown = values[:_MOST_SHOWN]
    more = len(values) - len(shown)
    end = f" and {more} more" if more else "" if complete else " and others"
    return " ".join(shown) + end


def _parts(part: FieldDef, where: str, version: str) -> list[str]:
    kind = data_type(version, part.data_type)
    return [] if kind is None else [_line(f"{where}.", one) for one in kind.components.values()]


def _line(prefix: str, part: FieldDef) -> str:
    numbered = f", table {part.table}" if part.table else ""
    return f"{prefix}{part.number} {part.name}: {part.data_type}, {_use(part)}{numbered}"


def problem_of_path(version: str, path: Path | str) -> str:
    """Return why the standard has no such place, empty where it has: "PID has 39 fields in 2.5.1".

    Local segments, and what stands in a field whose type another field says, are always there.

    Raises:
        NotationError: a text that is no path.
    """
    path = parse_path(path) if isinstance(path, str) else path
    at = nearest_version(version)
    name = path.segment
    if not name or is_local(name):
        return ""
    found = segment(at, name)
    if found is None:
        return f"{name} is no segment of {at}"
    if path.field is None:
        return ""
    part = found.fields.get(path.field)
    if part is None and path.field > found.last:
        return f"{name} has {found.last} fields in {at}"
    if part is None:
        return f"{name}-{path.field} was withdrawn before {at}"
    where = f"{name}-{path.field}"
    for number in (path.component, path.subcomponent):
        if number is None or part.data_type == VARIES:
            break
        kind = data_type(at, part.data_type)
        if kind is None:
            return "" if number == 1 else f"{where} ({part.data_type}) has no components in {at}"
        if number not in kind.components:
            last = max(kind.components)
            return f"{where} ({kind.name}) has {last} components in {at}"
        part, where = kind.components[number], f"{where}.{number}"
    return ""


# --- reading --------------------------------------------------------------------------------


class _Version:
    """One version: the lines of its file, and which of them defines what."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._at: dict[str, int] = {}
        for number, line in enumerate(self._lines):
            if line[1:2] == " " and line[0] != "#":
                # "S PID Patient Identification", "T 0001 Administrative Sex|A|F"
                end = line.find(" ", 2)
                self._at[line if end < 0 else line[:end]] = number
        self._segments: dict[str, SegmentDef | None] = {}
        self._types: dict[str, DataType | None] = {}
        self._structures: dict[str, StructureDef | None] = {}
        self._tables: dict[str, TableDef | None] = {}

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of all of a kind: S, D, M or T."""
        return tuple(key[2:] for key in self._at if key[0] == kind)

    def segment(self, name: str) -> SegmentDef | None:
        """Return a segment."""
        if name not in self._segments and (at := self._at.get(f"S {name}")) is not None:
            self._segments[name] = SegmentDef(name, self._lines[at][6:], self._fields(at))
        return self._segments.get(name)

    def data_type(self, name: str) -> DataType | None:
        """Return a composite data type."""
        if name not in self._types and (at := self._at.get(f"D {name}")) is not None:
            title = self._lines[at][3 + len(name) :]
            self._types[name] = DataType(name, title, self._fields(at))
        return self._types.get(name)

    def structure(self, name: str) -> StructureDef | None:
        """Return a message structure."""
        if name not in self._structures and (at := self._at.get(f"M {name}")) is not None:
            parts = parse_structure(self._lines[at][3 + len(name) :])
            self._structures[name] = StructureDef(name, parts)
        return self._structures.get(name)

    def table(self, number: str) -> TableDef | None:
        """Return a table."""
        if number not in self._tables and (at := self._at.get(f"T {number}")) is not None:
            title, *values = self._lines[at][7:].split("|")
            complete = values[0] != _UNFINISHED
            listed = frozenset(values if complete else values[1:])
            self._tables[number] = TableDef(number, title, listed, complete)
        return self._tables.get(number)

    def _fields(self, at: int) -> dict[int, FieldDef]:
        found: dict[int, FieldDef] = {}
        for line in self._lines[at + 1 :]:
            if not line[:1].isdigit():
                break
            made = _field(line)
            found[made.number] = made
        return found


def _field(line: str) -> FieldDef:
    """Read ``3|Patient Identifier List|CX|R|*|250|``; what is empty at the end may be left out."""
    number, name, kind, said, most, length, numbered = (line + "||||||").split("|")[:7]
    return FieldDef(
        number=int(number),
        name=name,
        data_type=kind,
        required=said == "R",
        repetitions=0 if most == "*" else int(most or 1),
        length=int(length or 0),
        table=numbered,
        withdrawn=said == "X",
    )


@cache
def _read(version: str) -> _Version:
    file = resources.files("ifengine.hl7").joinpath("data", f"{version}.txt")
    return _Version(file.read_text(encoding="utf-8"))
