"""Tables of keys, and the reader they drive: one row per key is all a new key needs.

The same rows answer "did you mean", the reference of keys, and the schema for editors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ifengine.routes.config.filled import shorten
from ifengine.routes.config.kinds import BAD, Kind, Raw, nearest, not_yet
from ifengine.transforms.source import Entries, Node, Position, Problems, Text


class Status(StrEnum):
    """What this release makes of a key."""

    USED = "used"
    LATER = "later"  # part of the language, refused: leaving it out would change what happens
    NOTED = "noted"  # part of the language, harmless without effect: a warning


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: its kind, its default and example as an analyst writes them, what it means."""

    name: str
    kind: Kind
    default: str = ""
    meaning: str
    example: str
    required: bool = False
    status: Status = Status.USED


def later(*names: str) -> tuple[Key, ...]:
    """Return rows for keys of the language that this release does not have."""
    return tuple(
        Key(
            name=name,
            kind=Raw("a value"),
            meaning="Comes with a later release.",
            example="",
            status=Status.LATER,
        )
        for name in names
    )


@dataclass(slots=True)
class Section:
    """One map, read: good values by key, and where each was written."""

    position: Position
    values: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Text] = field(default_factory=dict)
    meant: set[str] = field(default_factory=set)  # keys that a misspelt one probably is

    def get(self, name: str, default: Any = None) -> Any:
        """Return a key's value; the default where it is absent or was bad."""
        return self.values.get(name, default)

    def says(self, name: str) -> bool:
        """Whether the key is written, well or badly."""
        return name in self.keys

    def tries(self, name: str) -> bool:
        """Whether the key is written, or one that is probably this one misspelt."""
        return name in self.keys or name in self.meant

    def at(self, name: str) -> Position:
        """Return where the key's value stands; the section's own place where it is absent."""
        node = self.nodes.get(name)
        return self.position if node is None else node.position

    def line(self, name: str) -> int:
        """Return the line of the key; 0 where it is absent."""
        key = self.keys.get(name)
        return 0 if key is None else key.position.line


@dataclass(frozen=True, slots=True)
class SectionKind:
    """A map with the keys of a table."""

    rows: tuple[Key, ...]
    says: str = "a map"

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return the Section."""
        if not isinstance(node, Entries):
            problems.error("E104", node.position, f'"{key}" takes {self.says}')
            return BAD
        return read_section(self.rows, node, problems)


@dataclass(frozen=True, slots=True)
class NamedSections:
    """A map of names to maps, as a dict of ``name: Section``."""

    names: Kind
    rows: tuple[Key, ...]
    says: str

    def read(self, key: str, node: Node, problems: Problems) -> Any:
        """Return every entry whose name is good."""
        if not isinstance(node, Entries):
            problems.error("E104", node.position, f'"{key}" takes {self.says}')
            return BAD
        found: dict[str, Section] = {}
        for name, body in node:
            good = self.names.read(key, name, problems) is not BAD
            if not isinstance(body, Entries):
                problems.error(
                    "E104", body.position, f'"{shorten(name.value)}" takes a map of keys'
                )
                continue
            section = read_section(self.rows, body, problems)
            section.position = name.position
            if good:
                found[name.value] = section
        return found


def read_section(rows: Sequence[Key], node: Entries, problems: Problems) -> Section:
    """Read a map by its table of keys; every mistake becomes a problem.

    E101 unknown key, E102 missing key, E190 a key of a later release; kinds add their own.
    """
    section = Section(node.position)
    known = {row.name: row for row in rows}
    spelled = [row.name for row in rows if row.status is not Status.LATER]
    # a key that must be there and is not is meant more likely than any other
    absent = [row.name for row in rows if row.required and node.get(row.name) is None]
    for key, value in node:
        row = known.get(key.value)
        if row is None:
            hint = ""
            if problems.takes_hints:
                hint = nearest(key.value, absent) or nearest(key.value, spelled)
            # the key that was meant is not also reported missing
            section.meant.update(name for name in spelled if f'"{name}"' in hint)
            problems.error("E101", key.position, f'"{shorten(key.value)}" is not known here', hint)
        elif row.status is Status.LATER:
            problems.error("E190", key.position, not_yet(key.value))
        else:
            if row.status is Status.NOTED:
                problems.warning("W190", key.position, not_yet(key.value), "it has no effect yet")
            section.keys[key.value] = key
            section.nodes[key.value] = value
            read = row.kind.read(key.value, value, problems)
            if read is not BAD:
                section.values[key.value] = read
    for row in rows:
        if row.required and not section.tries(row.name):
            problems.error(
                "E102",
                node.position,
                f'"{row.name}" is missing',
                f"as in {row.name}: {row.example}",
            )
    return section
