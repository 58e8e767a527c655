"""``translate``: another code for a coded element; the one that came goes to its alternate place.

Source: HL7 v2.9.1 2A.2.13 CWE (and CE before 2.6): 1 to 3 code, text and coding system, 4 to 6 the
same of the alternate, 10 to 12 of the second alternate. safety-rules.md 24.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from ifengine.hl7.message import NULL, Message
from ifengine.hl7.path import NodeRef, Path
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.lookup_values import read_keys, read_table, read_time
from ifengine.transforms.tables import Table

_EXAMPLE = (
    "translate: {at: OBX-3, table: lab_to_loinc, missing: keep, "
    "keys: {code: OBX-3.1, system: OBX-3.3, unit: OBX-6.1}}"
)
_OPTIONAL = ("keys", "time", "alternate")
_NULL = NULL.encode()
_OWN = 4  # the first component of the usual alternate
# `alternate:` -> the first component of the old code
_PLACES = {"": _OWN, "replace": _OWN, "7-9": 7, "10-12": 10}
# what CWE says of a code in further components, by the first component of the code: version,
# identifiers of the coding system and of the value set, version of the value set
_FURTHER = {1: (7, 14, 15, 16), 4: (8, 17, 18, 19), 10: (13, 20, 21, 22)}


class _Columns(NamedTuple):
    """Where the results stand in the table."""

    code: int
    text: int
    system: int


@dataclass(frozen=True, slots=True)
class _Translation:
    """What one ``translate`` does to one repetition."""

    at: Path
    keys: tuple[Path, ...]
    table: str
    time: Path | None
    columns: _Columns
    systems: frozenset[str]
    keep: bool
    alternate: str

    def apply(self, scope: StepScope, node: NodeRef) -> None:
        """Translate one coded element; empty, null and what is translated already stay.

        Raises:
            ReasonError: there is no row and ``missing`` is ``dead_letter``, or the place of the old
                code holds another one.
        """
        message = scope.message
        code, system = _part(message, node, 1), _part(message, node, 3)
        if code in ("", NULL):
            return
        values = tuple(self._value(scope, node, path) for path in self.keys)
        table = scope.tables[self.table]
        found = table.lookup(values, self.time.leaf(scope) if self.time is not None else "")
        if found is None or not found[self.columns.code]:
            if system in self.systems or self.keep:
                return
            shown = ", ".join(f'"{value}"' for value in values)
            raise ReasonError(
                f"{self.table} has no entry", f"{self.table} has no entry for {shown}"
            )
        target = found[self.columns.system]
        if target and target == system:
            return
        new = (found[self.columns.code], found[self.columns.text], target)
        if (code, system) != (new[0], new[2]):
            _write(message, node, new, self._place(message, node, new))

    def _value(self, scope: StepScope, node: NodeRef, path: Path) -> str:
        """Return a key: of this repetition where the path names the coded element itself."""
        at = self.at
        if path.segment == at.segment and path.field == at.field and path.repetition is None:
            i, f, r, _, _ = node
            return scope.message.text(i, f, r, path.component or 1, path.subcomponent or 1)
        return path.leaf(scope)

    def _place(self, message: Message, node: NodeRef, new: tuple[str, str, str]) -> int:
        """Return the first component of where the old code goes."""
        old = (_part(message, node, 1), _part(message, node, 3))
        place = _PLACES[self.alternate]
        free = _is_free(message, node, _OWN, (old, (new[0], new[2])))
        if free or self.alternate == "replace":
            return _OWN
        if self.alternate and _is_free(message, node, place, (old,)):
            return place
        last = place + 2
        raise ReasonError(f"{self.at.text} holds another code in components {place} to {last}")


def build(value: Node, context: Context) -> Built | None:
    """Read ``{at, table, missing, keys, time, alternate}``."""
    given = context.parameters(
        value, required=("at", "table", "missing"), optional=_OPTIONAL, example=_EXAMPLE
    )
    if given is None:
        return None
    at = _element(given["at"], context)
    missing = context.word(given["missing"], "missing", ("dead_letter", "keep"), "")
    alternate = _alternate(given, context)
    if at is None or missing is None or alternate is None:
        return None
    # a key in the same segment is that of the segment whose code is translated
    inside = replace(context, loops=(*context.loops, at.segment))
    keys = read_keys(given["keys"], inside) if "keys" in given else []
    asked = {"table": given["table"]} | ({"at": given["time"]} if "time" in given else {})
    time = read_time(asked, inside)
    table = read_table(asked, keys, context)
    columns = None if table is None else _columns(table, given["table"], context)
    if table is None or columns is None or ("keys" in given and not keys):
        return None
    order = {name: number for number, name in enumerate(table.keys)}
    paths = tuple(path for _, path in sorted(keys, key=lambda pair: order[pair[0]]))
    made = _Translation(
        at,
        paths or (at,),
        table.name,
        time,
        columns,
        table.cells(columns.system) - {""},
        missing == "keep",
        alternate,
    )

    def act(scope: StepScope) -> None:
        around = scope.segment
        try:
            for node in at.nodes(scope.message, scope, every=True):
                scope.segment = node.segment
                made.apply(scope, node)
                scope.segment = around
        finally:
            scope.segment = around

    reads = paths if time is None else (*paths, time)
    return Built(act, Uses(reads=reads, writes=(at,), tables=(table.name,)), table.name)


def _element(node: Node, context: Context) -> Path | None:
    text = context.text(node, "at")
    path = None if text is None else context.in_place(text)
    if text is None or path is None:
        return None
    if path.component is not None:
        hint = f"{path.head}-{path.field}"
        context.error("E306", text.at(0), "translate works on a whole coded element", hint)
        return None
    return path


def _alternate(given: dict[str, Node], context: Context) -> str | None:
    if "alternate" not in given:
        return ""
    words = tuple(word for word in _PLACES if word)
    return context.word(given["alternate"], "alternate", words, "")


def _columns(table: Table, node: Node, context: Context) -> _Columns | None:
    found = [table.column(name) for name in ("to", "text", "to_system")]
    code, text, system = found
    if code is None or text is None or system is None:
        message = f'table "{table.name}" needs the result columns to, text and to_system'
        context.error("E308", node.position, message, ", ".join(table.results))
        return None
    return _Columns(code, text, system)


def _part(message: Message, node: NodeRef, component: int) -> str:
    return message.text(node.segment, node.field, node.repetition, component, 1)


def _is_free(
    message: Message, node: NodeRef, first: int, codes: tuple[tuple[str, str], ...]
) -> bool:
    """Whether three components are empty, or hold one of these codes."""
    raw = [message.raw(*node[:3], component) for component in range(first, first + 3)]
    if not any(part and part != _NULL for part in raw):
        return True
    return (_part(message, node, first), _part(message, node, first + 2)) in codes


def _write(message: Message, node: NodeRef, new: tuple[str, str, str], place: int) -> None:
    """Put the old code to its place and the new one to the front."""
    i, f, r, _, _ = node
    for offset in range(3):
        old = message.raw(i, f, r, 1 + offset)
        message.set_raw(i, f, r, place + offset, None, old)
    for old_at, new_at in zip(_FURTHER[1], _FURTHER.get(place, ()), strict=False):
        message.set_raw(i, f, r, new_at, None, message.raw(i, f, r, old_at))
    for old_at in _FURTHER[1]:
        if place != old_at:  # 7 to 9 hold the old code now
            message.set_raw(i, f, r, old_at, None, b"")
    for offset, text in enumerate(new, 1):
        message.set_text(i, f, r, offset, None, text)
