"""A site's own rules for ``validate``: what must be there, must not, how long, from which table.

A rule for a bare field or component takes the place of what the dictionary says there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ifengine.hl7.ack import Hl7ErrorCode
from ifengine.hl7.groups import repeats
from ifengine.hl7.message import NULL, Message
from ifengine.hl7.path import NodeRef, Path, Which, holds_something
from ifengine.transforms.tables import Table
from ifengine.transforms.validation_segments import in_table

ANY: Final = "any"  # `table: any`, `length: any`: what the dictionary says does not count here

# code, path, the node (its segment may be -1: there is none), rule
Report = Callable[[Hl7ErrorCode, Path, NodeRef | None, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRule:
    """What holds at one path. None: nothing is said of it."""

    path: Path
    required: bool | None = None
    forbidden: bool = False
    length: tuple[int, int] | None = None  # characters of one repetition; (0, 0): any
    table: str = ""  # "any", four digits of a table of HL7, or a table of the site

    @property
    def own_table(self) -> str:
        """The table of the site that is needed, empty where it is none."""
        return "" if self.table == ANY or self.table.isdigit() else self.table

    def check(
        self, message: Message, version: str, tables: Mapping[str, Table], report: Report
    ) -> None:
        """Report every place that breaks the rule."""
        if self.path.field is None:
            self._check_segment(message, report)
            return
        nodes = self.path.nodes(message, None, every=True)
        if self.required:
            self._check_required(message, nodes, report)
        for node in nodes:
            text = message.text(*node)
            if text:
                self._check_value(text, node, version, tables, report)

    def _check_segment(self, message: Message, report: Report) -> None:
        there = self.path.positions(message)
        if self.required and not there:
            report(Hl7ErrorCode.SEGMENT_SEQUENCE, self.path, None, "is required and missing")
        for position in there if self.forbidden else ():
            node = NodeRef(position, 0, None, None, None)
            report(Hl7ErrorCode.SEGMENT_SEQUENCE, self.path, node, "must not be there")

    def _check_required(self, message: Message, nodes: list[NodeRef], report: Report) -> None:
        positions = self.path.positions(message)
        name, number = self.path.segment, self.path.field or 0
        rule = "is required and empty"
        if not positions and not repeats(name):
            # a segment that stands once is asked for with its field
            report(Hl7ErrorCode.REQUIRED_FIELD_MISSING, self.path, None, rule)
        for position in positions:
            here = [node for node in nodes if node.segment == position]
            empty = [node for node in here if not holds_something(message, node)]
            each = self.path.repetition in (None, Which.ALL)
            if not here:
                empty = [NodeRef(position, number, None, self.path.component, None)]
            elif not each and len(empty) < len(here):
                empty = []
            for node in empty:
                report(Hl7ErrorCode.REQUIRED_FIELD_MISSING, self.path, node, rule)

    def _check_value(
        self, text: str, node: NodeRef, version: str, tables: Mapping[str, Table], report: Report
    ) -> None:
        if self.forbidden:
            report(Hl7ErrorCode.DATA_TYPE, self.path, node, "must be empty")
        if text == NULL:
            return
        least, most = self.length or (0, 0)
        if len(text) < least:
            report(Hl7ErrorCode.DATA_TYPE, self.path, node, f"is shorter than {least} characters")
        if most and len(text) > most:
            report(Hl7ErrorCode.DATA_TYPE, self.path, node, f"is longer than {most} characters")
        if self.table and not self._is_in_table(text, version, tables):
            rule = f"is not in table {self.table}"
            report(Hl7ErrorCode.TABLE_VALUE_NOT_FOUND, self.path, node, rule)

    def _is_in_table(self, text: str, version: str, tables: Mapping[str, Table]) -> bool:
        if self.own_table:
            return tables[self.table].contains(text)
        return self.table == ANY or in_table(version, self.table, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Rules for some message types; none: for every type."""

    types: tuple[tuple[str, str], ...]  # MSH-9.1 and MSH-9.2, "*" for any
    rules: tuple[ProfileRule, ...]

    def admits(self, code: str, event: str) -> bool:
        """Whether a message of this type is meant."""
        wanted = self.types
        return not wanted or any(c in ("*", code) and e in ("*", event) for c, e in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """``channels/profiles/NAME.yaml``."""

    name: str
    sets: tuple[RuleSet, ...]
    local: frozenset[str] = frozenset()  # local segments that `strict` admits

    def tables(self) -> tuple[str, ...]:
        """Return the tables of the site that its rules read."""
        found = {rule.own_table for rules in self.sets for rule in rules.rules}
        return tuple(sorted(found - {""}))

    def rules_for(self, code: str, event: str) -> tuple[ProfileRule, ...]:
        """Return the rules that hold for a type, in the order of the file."""
        return tuple(rule for one in self.sets if one.admits(code, event) for rule in one.rules)


def releases(rules: tuple[ProfileRule, ...]) -> frozenset[tuple[str, str, int, int]]:
    """Return where rules take the place of the dictionary: segment, what, field, component."""
    found: set[tuple[str, str, int, int]] = set()
    for rule in rules:
        path = rule.path
        if path.field is None or not path.is_bare or path.repetition not in (None, Which.ALL):
            continue
        said = (
            ("required", rule.required is not None),
            ("length", rule.length is not None),
            ("table", bool(rule.table)),
        )
        place = (path.field, path.component or 0)
        found.update((path.segment, what, *place) for what, is_said in said if is_said)
    return frozenset(found)
