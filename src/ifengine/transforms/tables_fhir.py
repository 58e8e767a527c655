"""Code tables from a FHIR ConceptMap in JSON, of R4 or R5.

One row for each code with a target. The key is the code, ``from``; where the groups of the map come
from several coding systems, ``code`` and ``system``. The results are ``to``, ``text`` and
``to_system``, as ``translate`` wants them, and ``relation``. Coding systems are named as HL7 v2 names
them (table 0396), so that they can be compared with OBX-3.3; one without such a name keeps its address.

Source: HL7 FHIR R4 and R5, ConceptMap; HL7 v2 table 0396.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ifengine.transforms.json_places import JsonPath, path_text, places_of
from ifengine.transforms.source import Position, Problems, Severity
from ifengine.transforms.table_rules import ANY, EVERYWHEN, Row
from ifengine.transforms.tables import Table

_RESULTS: Final = ("to", "text", "to_system", "relation")

# relations that say: this is not the target
_NO_TARGET: Final = frozenset({"unmatched", "disjoint", "not-related-to"})
# relations by which the target says more than the source did
_SAYS_MORE: Final = frozenset(
    {"narrower", "specializes", "inexact", "source-is-broader-than-target"}
)
_RELATIONS: Final = (
    _NO_TARGET
    | _SAYS_MORE
    | {"relatedto", "equivalent", "equal", "wider", "subsumes"}
    | {"related-to", "source-is-narrower-than-target"}
)
_SYSTEMS: Final = {
    "http://loinc.org": "LN",
    "http://snomed.info/sct": "SCT",
    "http://unitsofmeasure.org": "UCUM",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RXNORM",
    "http://hl7.org/fhir/sid/icd-10": "I10",
    "http://hl7.org/fhir/sid/icd-10-cm": "I10C",
    "http://www.cms.gov/Medicare/Coding/ICD10": "I10P",
    "http://hl7.org/fhir/sid/icd-9-cm": "I9C",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://www.ama-assn.org/go/cpt": "C4",
    "http://www.whocc.no/atc": "ATC",
    "http://dicom.nema.org/resources/ontology/DCM": "DCM",
    "urn:iso:std:iso:3166": "ISO3166_1",
    "urn:ietf:bcp:47": "BCP47",
}
_V2_TABLE: Final = (
    "http://terminology.hl7.org/CodeSystem/v2-",
    "http://hl7.org/fhir/v2/",
)
_FURTHER: Final = ("dependsOn", "product")


_Item = tuple[dict[str, Any], JsonPath]


class _Fault(NamedTuple):
    """A mistake at a path of the file."""

    path: JsonPath
    code: str
    message: str
    hint: str
    severity: Severity


@dataclass(slots=True)
class _Reading:
    """What was read of a map so far."""

    rows: list[Row] = field(default_factory=list)
    places: list[JsonPath] = field(default_factory=list)  # of each row
    faults: list[_Fault] = field(default_factory=list)
    echoes: bool = False
    nothing: set[tuple[str, ...]] = field(default_factory=set)  # said to have no target

    def error(self, path: JsonPath, message: str, hint: str = "", code: str = "E407") -> None:
        """Add an error."""
        self.faults.append(_Fault(path, code, message, hint, Severity.ERROR))

    def warning(self, path: JsonPath, message: str, hint: str) -> None:
        """Add a warning."""
        self.faults.append(_Fault(path, "W407", message, hint, Severity.WARNING))

    def items(self, holder: Mapping[str, Any], key: str, path: JsonPath) -> Iterator[_Item]:
        """Yield the maps of a list, with their paths; what is none is an error."""
        found = holder.get(key, [])
        if not isinstance(found, list):
            self.error((*path, key), "this is a list", f'"{key}": [ … ]')
            return
        for number, item in enumerate(found):
            at = (*path, key, number)
            if isinstance(item, dict):
                yield item, at
            else:
                self.error(at, "this is an object", "{ … }")

    def text(
        self, holder: Mapping[str, Any], key: str, path: JsonPath, *, needed: bool = False
    ) -> str | None:
        """Return a text; None after adding an error, ``""`` where there may be none."""
        found = holder.get(key)
        if found is None and not needed:
            return ""
        if not isinstance(found, str) or (needed and not found.strip()):
            rule = "is missing" if found is None else "is not a text"
            self.error((*path, key) if key in holder else path, f"{key} {rule}")
            return None
        if not found.isprintable():
            self.error((*path, key), f"{key} holds a control character", code="E404")
            return None
        return found.strip()


def read_concept_map(name: str, text: str, file: str, problems: Problems) -> Table:
    """Read a ConceptMap; every mistake is added to ``problems`` at its line, with its path.

    Returns:
        The table, as far as it could be read.
    """
    document = _parsed(text, file, problems)
    reading = _Reading()
    keys: tuple[str, ...] = ("from",)
    if document is not None:
        if document.get("resourceType") != "ConceptMap":
            at = ("resourceType",) if "resourceType" in document else ()
            reading.error(at, "this is no ConceptMap", '"resourceType": "ConceptMap"')
        groups = list(reading.items(document, "group", ()))
        sources = {_system(group.get("source")) for group, _ in groups}
        if len(sources) > 1:
            keys = ("code", "system")
        for group, path in groups:
            _read_group(group, path, reading, several=len(sources) > 1)
        if not reading.rows and not reading.faults:
            place = Position(file, 1, 1)
            problems.warning("W401", place, "the table has no rows", 'they stand in "group"')
    rows = _without_doubles(reading)
    _report(reading.faults, text, file, problems)
    echo = 0 if reading.echoes else None
    none = frozenset(reading.nothing.difference(row.keys for row in rows))
    return Table.of_rows(name, keys, _RESULTS, rows, timed=False, echoes=echo, nothing=none)


class _DoubleKeyError(Exception):
    """A key stands twice in one object."""


def _parsed(text: str, file: str, problems: Problems) -> dict[str, Any] | None:
    start = Position(file, 1, 1)
    try:
        found = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        place = Position(file, error.lineno, error.colno)
        problems.error("E407", place, f"this is not JSON: {error.msg}")
    except RecursionError:
        problems.error("E407", start, "the file is nested too deep")
    except _DoubleKeyError as error:
        problems.error("E407", start, f'"{error}" stands twice in one object')
    except ValueError:
        problems.error("E407", start, "a number in this file is too long")
    else:
        if isinstance(found, dict):
            return found
        problems.error("E407", start, "this is no ConceptMap", '{"resourceType": "ConceptMap"}')
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _DoubleKeyError(next(key for key in keys if keys.count(key) > 1)[:40])
    return found


def _system(address: object) -> str:
    """Return a coding system as HL7 v2 names it."""
    if not isinstance(address, str):
        return ""
    plain = address.partition("|")[0]  # a version may follow
    for start in _V2_TABLE:
        if plain.startswith(start):
            return "HL7" + plain.removeprefix(start).strip("/")
    return _SYSTEMS.get(plain, plain)


def _read_group(
    group: Mapping[str, Any], path: JsonPath, reading: _Reading, *, several: bool
) -> None:
    source, target = reading.text(group, "source", path), reading.text(group, "target", path)
    if source is None or target is None:
        return
    here = _Group(_system(source), _system(target), several)
    for element, at in reading.items(group, "element", path):
        code = reading.text(element, "code", at, needed=True)
        if code is not None:
            _read_element(element, code, at, here, reading)
    unmapped = group.get("unmapped")
    if isinstance(unmapped, dict):
        _read_unmapped(unmapped, (*path, "unmapped"), here, reading)
    elif unmapped is not None:
        reading.error((*path, "unmapped"), "this is an object", '{"mode": "fixed", "code": "U"}')


class _Group(NamedTuple):
    """From which coding system to which, and whether the map has several to come from."""

    source: str
    target: str
    several: bool

    def keys(self, code: str) -> tuple[str, ...]:
        """Return the keys of a row."""
        return (code, self.source) if self.several else (code,)


def _read_element(
    element: Mapping[str, Any], code: str, path: JsonPath, here: _Group, reading: _Reading
) -> None:
    if "valueSet" in element:
        reading.error((*path, "valueSet"), "value sets are not expanded", "name the codes")
    mapped = False
    for target, at in reading.items(element, "target", path):
        key = "relationship" if "relationship" in target else "equivalence"
        relation = reading.text(target, key, at)
        if relation is None or relation in _NO_TARGET:
            continue
        if relation and relation not in _RELATIONS:
            reading.error((*at, key), f'"{relation}" is no {key}', "equivalent")
            continue
        for name in _FURTHER:
            if target.get(name):
                hint = "a CSV can have several key columns"
                reading.error((*at, name), f"{name} is not followed", hint)
        to = reading.text(target, "code", at, needed=True)
        display = reading.text(target, "display", at)
        if to is None or display is None:
            continue
        if relation in _SAYS_MORE:
            reading.warning((*at, key), "the target says more than the source", "is it meant?")
        row = Row(here.keys(code), (to, display, here.target, relation), EVERYWHEN, 0)
        _add(row, (*at, "code"), reading)
        mapped = True
    if not mapped and ("target" in element or element.get("noMap") is True):
        reading.nothing.add(here.keys(code))  # `unmapped` is for what the map does not name


def _read_unmapped(
    unmapped: Mapping[str, Any], path: JsonPath, here: _Group, reading: _Reading
) -> None:
    mode = reading.text(unmapped, "mode", path, needed=True)
    if mode in ("provided", "use-source-code"):
        reading.echoes = True
        row = Row(here.keys(ANY), (ANY, "", here.source, ""), EVERYWHEN, 0)
        _add(row, path, reading)
    elif mode == "fixed":
        code = reading.text(unmapped, "code", path, needed=True)
        display = reading.text(unmapped, "display", path)
        if code is not None and display is not None:
            row = Row(here.keys(ANY), (code, display, here.target, ""), EVERYWHEN, 0)
            _add(row, (*path, "code"), reading)
    elif mode == "other-map":
        reading.error((*path, "mode"), "another map is not followed", "put its rows into this one")
    elif mode is not None:
        reading.error((*path, "mode"), f'"{mode}" is no mode of unmapped', "fixed")


def _add(row: Row, path: JsonPath, reading: _Reading) -> None:
    of_unmapped = "unmapped" in path[-2:]
    if (row.keys[0] == ANY and not of_unmapped) or (row.results[0] == ANY and path[-1] == "code"):
        reading.error(path, 'the code "*" cannot be told from "every code"')
        return
    reading.rows.append(row)
    reading.places.append(path)


def _without_doubles(reading: _Reading) -> list[Row]:
    """Report a code with two targets: which one counts?"""
    first: dict[tuple[str, ...], JsonPath] = {}
    rows: list[Row] = []
    for row, path in zip(reading.rows, reading.places, strict=True):
        if row.keys in first:
            hint = f"the first is {path_text(first[row.keys])}"
            reading.error(path, "two rows have the same keys", hint, code="E403")
        else:
            first[row.keys] = path
            rows.append(row)
    return rows


def _report(faults: list[_Fault], text: str, file: str, problems: Problems) -> None:
    if not faults:
        return
    places = places_of(text, [fault.path for fault in faults], file)
    for fault in faults:
        tell: Callable[..., None] = (
            problems.error if fault.severity is Severity.ERROR else problems.warning
        )
        where = f"{path_text(fault.path)}: " if fault.path else ""
        tell(fault.code, places[fault.path], where + fault.message, fault.hint)
