"""A message made free of what identifies a person: only what ``deidentify_fields.SAFE`` names stays."""

from dataclasses import dataclass

from ifengine.hl7.message import NULL, Message
from ifengine.hl7.path import NodeRef, Path
from ifengine.transforms.base import StepScope
from ifengine.transforms.deidentify_fields import COMMENTS, SAFE, Rule
from ifengine.transforms.deidentify_names import MakeNames, Names, Parts
from ifengine.transforms.deidentify_rules import (
    FREE_TEXT_TYPES,
    TREATMENTS,
    Piece,
    Repetition,
    patient_of,
)

_NULL = NULL.encode()
_FIRST_FIELD = {"MSH": 3}  # MSH-1 and MSH-2 are the delimiters
_RECORD_NUMBER = "MR"


@dataclass(frozen=True, slots=True)
class Deidentifier:
    """One vetted profile over a whole message.

    Args:
        make_names: pseudonyms and dates for one message.
        keep: places that stay as they are, every occurrence.
        free_text: whether comments and text results stay as they are.
    """

    make_names: MakeNames
    keep: tuple[Path, ...] = ()
    free_text: bool = False

    def __call__(self, scope: StepScope) -> None:
        """Take out everything that is not known to be safe.

        Raises:
            FieldError: a kept value cannot be written again; the message is half changed.
        """
        message = scope.message
        names = self.make_names(scope)
        kept = self._kept(message, scope)
        stays = {node.segment for node, _ in kept}
        patients = _patients(message)
        gone: list[int] = []
        for i, segment in enumerate(message.names()):
            names.about(patients[i])
            rules = SAFE.get(segment)
            if (rules is None or (segment in COMMENTS and not self.free_text)) and i not in stays:
                gone.append(i)
            else:
                self._segment(message, i, segment, names)
        for node, raw in kept:
            message.set_raw(*node, raw)
        scope.delete_segments(gone)
        message.discard_stray_lines()

    def _kept(self, message: Message, scope: StepScope) -> list[tuple[NodeRef, bytes]]:
        nodes = [node for path in self.keep for node in path.nodes(message, scope, every=True)]
        return [(node, raw) for node in nodes if (raw := message.raw(*node))]

    def _segment(self, message: Message, i: int, segment: str, names: Names) -> None:
        rules = SAFE.get(segment, {})
        # what one rule reads in a neighbour (OBX-2 for OBX-5) must still be there
        results: list[tuple[int, list[tuple[int, Piece]]]] = []
        for f in range(_FIRST_FIELD.get(segment, 1), message.field_count(i) + 1):
            raw = message.raw(i, f)
            rule = rules.get(f)
            if not raw or (rule is not None and (raw == _NULL or self._is_text(message, i, rule))):
                continue
            results.append((f, [] if rule is None else _pieces(message, i, f, rule, names)))
        for f, pieces in results:
            message.set_raw(i, f, None, None, None, b"")
            for r, (component, subcomponent, text) in pieces:
                if text:
                    message.set_text(i, f, r, component, subcomponent, text)

    def _is_text(self, message: Message, i: int, rule: Rule) -> bool:
        """Whether this is free text that is to stay."""
        if not self.free_text:
            return False
        return rule is Rule.COMMENT or (
            rule is Rule.VALUE and message.text(i, 2, 1, 1, 1) in FREE_TEXT_TYPES
        )


def _pieces(message: Message, i: int, f: int, rule: Rule, names: Names) -> list[tuple[int, Piece]]:
    treat = TREATMENTS.get(rule)
    if treat is None:
        return []
    return [
        (r, piece)
        for r in range(1, message.repetition_count(i, f) + 1)
        for piece in treat(Repetition(message, i, f, r), names)
    ]


def _patients(message: Message) -> list[Parts | None]:
    """Return whose each segment is: of the PID before it; before the first, of that one."""
    owners: list[Parts | None] = []
    current: Parts | None = None
    for i, name in enumerate(message.names()):
        if name == "PID":
            current = _identifier(message, i)
        owners.append(current)
    first = message.first("PID")
    if first > 0:
        owners[:first] = [owners[first]] * first
    return owners


def _identifier(message: Message, i: int) -> Parts | None:
    """Return the identifier by which one patient's dates are shifted: the record number first.

    The order of the repetitions does not count, so that every sender's messages move alike.
    """
    count = message.repetition_count(i, 3)
    found = [patient_of(Repetition(message, i, 3, r)) for r in range(1, count + 1)]
    filled = [parts for parts in found if parts is not None]
    return min(filled, key=lambda parts: (parts[-1] != _RECORD_NUMBER, parts), default=None)
