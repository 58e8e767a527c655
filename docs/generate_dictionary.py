"""Writes src/ifengine/hl7/data: what the standard says of segments, types, structures and tables.

``python docs/generate_dictionary.py FOLDER``; FOLDER holds the JSON of hl7-dictionary
(``segments-2.5.1.json`` and so on). Segments, fields, data types, structures and tables come from
hl7apy; names as the standard writes them and lengths, which hl7apy does not have, from
hl7-dictionary. A test compares what stands there with hl7apy.
"""

import importlib
import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click

DATA = Path(__file__).resolve().parents[1] / "src" / "ifengine" / "hl7" / "data"

# version -> the version of hl7-dictionary that says its names and lengths
VERSIONS: Mapping[str, str] = {
    "2.1": "2.1", "2.2": "2.2", "2.3": "2.3", "2.3.1": "2.3.1", "2.4": "2.4", "2.5": "2.5",
    "2.5.1": "2.5.1", "2.6": "2.6", "2.7": "2.7", "2.8": "2.7.1", "2.8.1": "2.7.1", "2.8.2": "2.7.1",
}  # fmt: skip
HEAD = """\
# HL7 v{version}: segments (S), data types (D), message structures (M) and tables (T).
# Written by docs/generate_dictionary.py from hl7apy {hl7apy} (Copyright (c) 2012-2018, CRS4) and
# hl7-dictionary 1.0.1 (Copyright (c) 2015 Fernando Serrano), both under the MIT licence: NOTICE
# S and D: number|name|type|R required, X withdrawn|repetitions, * without end|length|table
# T: number name|values, after a ~ where the list is not complete. ? * + as in a pattern.
"""
ANY_SEGMENT = "ANYHL7SEGMENT"
# chapters 16 and 17: groups of which hl7apy says that only one of their segments can stand there
NOT_CHOICES = ("EHC_", "QBP_E", "RSP_E", "SDR_")
REQUIRED = 2  # hl7-dictionary: 1 is optional
NO_VALUES = frozenset({"not present", "<null>"})  # how some tables speak of an empty field
# one or two words; anything else is a remark, a range or a pattern, and the table is not complete
# What both packages have otherwise than the standard's own text: version ("" is every one), field
# -> what to write. docs/validation-differences.md says why.
CORRECTIONS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("2.3", "ORC-7"): {"required": False},
    ("2.3", "OBR-27"): {"required": False, "repeats": True},
    ("", "OBX-2"): {"length": 3},
}
_CODE = re.compile(r"[A-Za-z0-9][\w.+/*%&-]*( [A-Z0-9][\w-]*)?|[<>#*]")
_PATTERN = re.compile(r"n{3,}|z{3,}|\.\.|_")
_SMALL = frozenset({"of", "and", "or", "the", "to", "for", "in", "on", "with", "by", "from", "at"})
_CAPITALS = frozenset({"ID", "SSN", "DRG", "UB", "VIP", "EDI", "ICD", "DNA", "CPU", "OID", "NDC"})


def ascii_only(text: str) -> str:
    """Return a name without the dashes and quotes that were read in a wrong character set."""
    for wrong in ("\u0432\u0402\u201c", "\u0432\u0402\u201d", "\u2013"):
        text = text.replace(wrong, "-")
    text = text.replace("\u0432\u0402\u2122", "'").replace("\u2019", "'")
    return " ".join(text.encode("ascii", "ignore").decode().replace("|", "/").split())


def plain(name: str) -> str:
    """Return what of a name counts when two are compared."""
    return re.sub(r"[^A-Z0-9]", "", name.upper())


def readable(name: str) -> str:
    """Return ``DATE_TIME_OF_BIRTH`` as a person writes it."""
    words = name.replace("_", " ").split()
    said = [w if w in _CAPITALS else w.lower() if w.lower() in _SMALL else w.title() for w in words]
    return " ".join(said)


class Names:
    """What hl7-dictionary says of one version."""

    def __init__(self, folder: Path, version: str) -> None:
        self.segments: dict[str, Any] = json.loads(
            (folder / f"segments-{version}.json").read_text()
        )
        self.types: dict[str, Any] = json.loads((folder / f"datatypes-{version}.json").read_text())
        # lengths of a later version count only where nothing else changed
        self.version = version

    def part(self, whole: Mapping[str, Any] | None, key: str, number: int) -> Mapping[str, Any]:
        """Return a field or component, empty where there is none."""
        parts = [] if whole is None else whole[key]
        return parts[number - 1] if number <= len(parts) else {}


def line(
    number: int,
    ref: Any,
    limits: tuple[int, int],
    said: Mapping[str, Any],
    right: Mapping[str, Any],
) -> str:
    """Return one field or component; ``right`` is what both packages have wrong.

    Where the two differ, the one that asks less counts: a refused order costs more than a lax check.
    """
    least, most = limits
    if len(ref) > 6:  # RX1-30 of 2.1 has two types
        ref = (*ref[:3], *ref[4:])
    data_type = ref[2] or ""
    same = said.get("datatype") == data_type
    name = said.get("desc", "") if plain(said.get("desc", "")) == plain(ref[3]) else ""
    length = said.get("len", 0) if same and said.get("len") not in (65536, 99999) else 0
    required = least > 0 and said.get("opt", REQUIRED) == REQUIRED
    endless = most == -1 or (most == 1 and same and said.get("rep") == 0)
    length = right.get("length", length) if length else 0
    optionality = "X" if most == 0 else "R" if right.get("required", required) else ""
    repetitions = "*" if right.get("repeats", endless) else "" if most <= 1 else str(most)
    table = ref[4].removeprefix("HL7") if ref[4] else ""
    data_type = data_type.upper() if data_type != "varies" else data_type
    text = f"{ascii_only(name) or readable(ref[3])}|{data_type}|{optionality}|{repetitions}|{length or ''}|{table}"
    return f"{number}|{text.rstrip('|')}"


def segments(module: ModuleType, names: Names, version: str) -> Iterator[str]:
    """Yield every segment with its fields. A number that is not there was withdrawn."""
    for name, shape in sorted(module.SEGMENTS.items()):
        if len(name) != 3:
            continue
        said = names.segments.get(name)
        yield f"S {name} {ascii_only(said['desc']) if said else ''}".rstrip()
        for part in shape[1] if len(shape) == 2 else ():
            _, ref, limits, _ = part
            number = int(part[0].partition("_")[2])  # numbers may be left out
            right = {**CORRECTIONS.get(("", f"{name}-{number}"), {})}
            right |= CORRECTIONS.get((version, f"{name}-{number}"), {})
            yield line(number, ref, limits, names.part(said, "fields", number), right)


def data_types(module: ModuleType, names: Names) -> Iterator[str]:
    """Yield every composite type with its components."""
    for name, parts in sorted(module.DATATYPES_STRUCTS.items()):
        said = names.types.get(name)
        yield f"D {name} {ascii_only(said['desc']) if said else ''}".rstrip()
        for number, (_, ref, limits, _) in enumerate(parts, 1):
            yield line(number, ref, limits, names.part(said, "subfields", number), {})


def structures(module: ModuleType) -> Iterator[str]:
    """Yield every message structure in one line."""
    for name, shape in sorted(module.MESSAGES.items()):
        yield f"M {name} {' '.join(parts(module, shape, name + '_'))}"


def parts(module: ModuleType, shape: Any, prefix: str) -> Iterator[str]:
    """Yield the parts of a structure or group: ``PID``, ``NK1*``, ``ORDER( ORC OBR? )+``."""
    for name, ref, (least, most), kind in shape[1]:
        sign = "*" if least == 0 and most != 1 else "+" if most != 1 else "" if least else "?"
        if kind == "SEG":
            yield ("*ANY" if name == ANY_SEGMENT else name) + sign
            continue
        inner = ref or module.GROUPS[name]
        if not inner[1]:  # a group whose content the query defines
            yield "*ANY*"
            continue
        choice = inner[0] == "choice" and not name.startswith(NOT_CHOICES)
        opened, closed = "<>" if choice else "()"
        yield name.removeprefix(prefix) + opened
        yield from parts(module, inner, prefix)
        yield closed + sign


def tables(module: ModuleType) -> Iterator[str]:
    """Yield every table that has values."""
    for key, (name, values) in sorted(getattr(module, "TABLES", {}).items()):
        codes = [value.replace("\xa0", " ").replace("\xc2", "").strip() for value in values]
        codes = [c for c in dict.fromkeys(codes) if c and c.lower() not in NO_VALUES]
        good = [c for c in codes if _CODE.fullmatch(c) and not _PATTERN.search(c)]
        if re.fullmatch(r"HL7\d{4}", key) and good:
            unfinished = "" if len(good) == len(codes) else "~|"
            yield f"T {key[3:]} {ascii_only(name)}|{unfinished}{'|'.join(good)}"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def generate(folder: Path) -> None:
    """Write the data of every version."""
    for version, similar in VERSIONS.items():
        module = importlib.import_module("hl7apy.v" + version.replace(".", "_"))
        names = Names(folder, similar)
        found = [
            *segments(module, names, version), *data_types(module, names), *structures(module), *tables(module),
        ]  # fmt: skip
        head = HEAD.format(version=version, hl7apy=importlib.metadata.version("hl7apy"))
        text = head + "\n".join(found) + "\n"
        (DATA / f"{version}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    generate()
