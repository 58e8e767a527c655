"""``validate`` at work: a message against the dictionary, and against the profile of the site.

Source: channel-language.md, decision 9. Lenient: structure and required segments. Standard: required
fields, repetition and data types as well. Strict: lengths, table values, required components, and
what the dictionary does not have (extra fields and components, local segments) as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ifengine.hl7 import dictionary
from ifengine.hl7.ack import ErrorLocation, Hl7ErrorCode
from ifengine.hl7.groups import is_known_segment, is_local
from ifengine.hl7.message import Message
from ifengine.hl7.path import NodeRef, Path
from ifengine.transforms.tables import Table
from ifengine.transforms.validation_findings import MOST_FINDINGS, Finding
from ifengine.transforms.validation_profile import Profile, ProfileRule, releases
from ifengine.transforms.validation_segments import Level, Place, check_segment
from ifengine.transforms.validation_structure import structure_for, structure_named


class _EnoughError(Exception):
    """As many findings as are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What a message is compared with. Empty ``structure`` and ``version``: as the message says."""

    structure: str = ""
    version: str = ""
    level: Level = Level.STANDARD
    profile: Profile | None = None

    def findings(self, message: Message, tables: Mapping[str, Table]) -> list[Finding]:
        """Return the rules that a message breaks, in the order of its segments, 50 at the most."""
        version = dictionary.nearest_version(self.version or message.text(0, 12, 1, 1, 1))
        run = _Run(message, version, self)
        try:
            run.check_structure(self.structure)
            run.check_segments()
            run.check_profile(tables)
        except _EnoughError:
            pass
        return run.found


class _Run:
    """One message being compared."""

    def __init__(self, message: Message, version: str, validation: Validation) -> None:
        self.message = message
        self.version = version
        self.level = validation.level
        self.profile = validation.profile
        self.names = message.names()
        self.found: list[Finding] = []
        self.code, self.event, self.said = (message.text(0, 9, 1, part, 1) for part in (1, 2, 3))
        self.rules: tuple[ProfileRule, ...] = ()
        if self.profile is not None:
            self.rules = self.profile.rules_for(self.code, self.event)
        self.releases = releases(self.rules)

    def report(self, code: Hl7ErrorCode, location: ErrorLocation, rule: str) -> None:
        """Keep a finding."""
        self.found.append(Finding(code, location, rule))
        if len(self.found) >= MOST_FINDINGS:
            raise _EnoughError

    def released(self, *place: str | int) -> bool:
        """Whether the profile says more of a place than the dictionary."""
        return place in self.releases

    def location(self, position: int, at: Place = (0, 0, 0, 0)) -> ErrorLocation:
        """Return a place as ERR-2 has it."""
        name = self.names[position]
        return ErrorLocation(name, self.names[: position + 1].count(name), *at)

    # --- structure ----------------------------------------------------------------------------

    def check_structure(self, name: str) -> None:
        """Report segments that are missing, or stand where they cannot."""
        if name:
            structure = structure_named(self.version, name)
        else:
            structure = structure_for(self.version, self.code, self.event, self.said)
        if structure is None:
            rule = f"{self.version} has no structure for this type"
            self.report(Hl7ErrorCode.SEGMENT_SEQUENCE, ErrorLocation("MSH", 1, 9), rule)
            return
        for position, segment, rule in structure.faults(self.names, MOST_FINDINGS):
            if position < 0:
                where = ErrorLocation(segment if len(segment) == 3 else "")
                told = rule if where.segment else f"{segment} {rule}"
                self.report(Hl7ErrorCode.SEGMENT_SEQUENCE, where, told)
            elif is_known_segment(segment):
                self.report(Hl7ErrorCode.SEGMENT_SEQUENCE, self.location(position), rule)
            else:
                # the first word of a stray line looks like a name: it is content
                told = f"segment {position + 1} of the message {rule}"
                self.report(Hl7ErrorCode.SEGMENT_SEQUENCE, ErrorLocation(""), told)

    # --- fields -------------------------------------------------------------------------------

    def check_segments(self) -> None:
        """Report what of the fields breaks the standard."""
        strict = self.level is Level.STRICT
        if self.level is Level.LENIENT:
            return
        for position, name in enumerate(self.names):
            if is_local(name):
                if strict and (self.profile is None or name not in self.profile.local):
                    rule = f"segment {position + 1} of the message is a local one"
                    self.report(Hl7ErrorCode.SEGMENT_SEQUENCE, ErrorLocation(""), rule)
                continue

            def report(code: Hl7ErrorCode, at: Place, rule: str, position: int = position) -> None:
                self.report(code, self.location(position, at), rule)

            check_segment(
                self.message, (name, position), self.version, self.level, self.released, report
            )

    # --- profile ------------------------------------------------------------------------------

    def check_profile(self, tables: Mapping[str, Table]) -> None:
        """Report what breaks the rules of the site."""
        for rule in self.rules:
            rule.check(self.message, self.version, tables, self._report_rule)

    def _report_rule(self, code: Hl7ErrorCode, path: Path, node: NodeRef | None, rule: str) -> None:
        if node is None:
            where = ErrorLocation(path.segment, 1, path.field or 0, 0, path.component or 0)
        else:
            at = (node.field, node.repetition or 0, node.component or 0, node.subcomponent or 0)
            where = self.location(node.segment, at)
        self.report(code, where, f"{rule} (profile {self.profile.name})" if self.profile else rule)
