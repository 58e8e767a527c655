"""``lookup``: replace a value by a table. A value without a row must be answered: ``missing``."""

from collections.abc import Mapping
from dataclasses import dataclass

from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.message import NULL, Message
from ifengine.hl7.path import NodeRef, Path
from ifengine.transforms.base import Action, ReasonError, StepScope, Uses
from ifengine.transforms.plain_fields import is_short
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Entries, Node, Text
from ifengine.transforms.tables import Table
from ifengine.transforms.template import Template
from ifengine.transforms.together import Short
from ifengine.transforms.writing import filled, targets, write_text

_EXAMPLE = "lookup: {table: ward, from: PV1-3.1, missing: dead_letter}"
_OPTIONAL = ("from", "keys", "to", "column", "at", "missing", "empty", "null")


@dataclass(frozen=True, slots=True)
class _Lookup:
    """What a lookup answers. None of ``missing`` is ``dead_letter``; ``keep`` is its own flag."""

    table: str
    column: int
    missing: Template | None
    keep: bool
    empty: Template | None
    null: Template | None
    at: Path | None  # the time for which a table with validity is asked

    def answer(self, scope: StepScope, values: tuple[str, ...]) -> str | None:
        """Return the text to write, None to leave the target as it is.

        Raises:
            ReasonError: there is no row and ``missing`` is ``dead_letter``.
        """
        if not any(values):
            return None if self.empty is None else self.empty.render(scope)
        if NULL in values:
            return None if self.null is None else self.null.render(scope)
        table, at = scope.tables[self.table], self.at
        found = table.lookup(values) if at is None else table.lookup(values, at.leaf(scope))
        if found is not None:
            return found[self.column]
        if self.missing is not None:
            return self.missing.render(scope)
        if self.keep:
            return None
        shown = ", ".join(f'"{value}"' for value in values)
        raise ReasonError(f"{self.table} has no entry", f"{self.table} has no entry for {shown}")


def build(value: Node, context: Context) -> Built | None:
    """Read ``{table, from or keys, to, column, at, missing, empty, null}``."""
    given = context.parameters(value, required=("table",), optional=_OPTIONAL, example=_EXAMPLE)
    if given is None:
        return None
    sources = _sources(given, context)
    target = _target(given, sources, context)
    at = read_time(given, context)
    table = read_table(given, sources, context)
    column = None if table is None else _column(table, given.get("column"), context)
    missing = _missing(given, context)
    if not sources or target is None or table is None or column is None or missing is None:
        return None
    replacement, keep = missing
    lookup = _Lookup(
        table.name,
        column,
        replacement,
        keep,
        _template(given.get("empty"), "empty", context),
        _template(given.get("null"), "null", context),
        at,
    )
    order = {name: number for number, name in enumerate(table.keys)}
    reads = [path for _, path in sorted(sources, key=lambda pair: order.get(pair[0], 0))]
    read = tuple(reads) if at is None else (*reads, at)
    uses = Uses(reads=read, writes=(target,), tables=(table.name,))
    if "to" not in given or reads == [target]:
        short = _short(target, lookup)
        in_place = _in_place(target, lookup)
        return Built(in_place, uses, table.name, short=() if short is None else (short,))
    return Built(_elsewhere(reads, target, lookup), uses, table.name)


def _in_place(path: Path, lookup: _Lookup) -> Action:
    """Replace every occurrence; of a composite one, the first leaf (safety-rules.md 21)."""

    def act(scope: StepScope) -> None:
        message = scope.message
        for i, f, r, c, s in filled(scope, path) or _empty_nodes(scope, path, lookup):
            value = message.text(i, f, r, c, s)
            if not value.isalnum():
                # parts, or text that looks so: the message can tell
                i, f, r, c, s = first_leaf(message, NodeRef(i, f, r, c, s))
                value = message.text(i, f, r, c, s)
            text = lookup.answer(scope, (value,))
            if text is not None and text != value:
                message.set_text(i, f, r, c, s, text)

    return act


def _short(path: Path, lookup: _Lookup) -> Short | None:
    """Return the short way for a code alone in its field, or in its component."""
    at, missing = path.every_at, lookup.missing
    if at is None or at[4] is not None or lookup.at is not None or not is_short(at[0], at[1]):
        return None
    if missing is not None and not missing.is_constant:
        return None
    field, c = at[1], at[3]
    name, column, keep, empty = lookup.table, lookup.column, lookup.keep, lookup.empty

    def change(fields: list[bytes], given: Delimiters, tables: Mapping[str, Table]) -> bool:
        value = fields[field] if field < len(fields) else b""
        if not value:
            return empty is None
        parts = [value]
        if c is not None and (c > 1 or not value.isalnum()):
            parts = value.split(given.component)
            if given.repetition_code in value or c > len(parts):
                return False
        place = 0 if c is None else c - 1
        if not parts[place].isalnum():
            return False
        found = tables[name].lookup((parts[place].decode(),))
        if found is not None:
            parts[place] = found[column].encode()
        elif missing is not None:
            parts[place] = missing.text.encode()
        else:
            return keep
        if not parts[place].isalnum():
            return False
        fields[field] = given.component.join(parts)
        return True

    return Short(at[0], change)


def _empty_nodes(scope: StepScope, path: Path, lookup: _Lookup) -> list[NodeRef]:
    """Return where ``empty:`` writes when the field has no repetition at all."""
    return [] if lookup.empty is None else targets(scope, path)


def first_leaf(message: Message, node: NodeRef) -> NodeRef:
    """Return the first leaf of a node: itself where it has no parts."""
    given = message.delimiters
    raw = message.raw(*node)
    i, f, r, c, s = node
    if c is None and given.component and given.component in raw:
        c = 1
    if s is None and given.subcomponent and given.subcomponent in message.raw(i, f, r, c):
        c, s = c or 1, 1
    return NodeRef(i, f, r, c, s)


def _elsewhere(reads: list[Path], target: Path, lookup: _Lookup) -> Action:
    def act(scope: StepScope) -> None:
        values = tuple(path.leaf(scope) for path in reads)
        text = lookup.answer(scope, values)
        if text is None:
            return
        write_text(scope, target, text)

    return act


def read_time(given: dict[str, Node], context: Context) -> Path | None:
    """Return the path of the time for which a table with validity is asked."""
    text = context.text(given["at"], "at") if "at" in given else None
    return None if text is None else context.reads(text)


def read_keys(node: Node, context: Context) -> list[tuple[str, Path]]:
    """Return the paths that give the keys, with the names of their columns."""
    if not isinstance(node, Entries):
        context.error("E104", node.position, "keys names columns", "keys: {code: OBX-3.1}")
        return []
    read = [
        (name.value, context.reads(text))
        for name, value in node
        if (text := context.text(value, "path")) is not None
    ]
    return [(name, path) for name, path in read if path is not None]


def _sources(given: dict[str, Node], context: Context) -> list[tuple[str, Path]]:
    """Return the paths that give the keys, with the name of their column (empty for ``from``)."""
    one, several = given.get("from"), given.get("keys")
    if (one is None) == (several is None):
        context.error("E102", context.at, "lookup needs one of from and keys", _EXAMPLE)
        return []
    if several is not None:
        return read_keys(several, context)
    text = context.text(one, "from") if one is not None else None
    if text is None:
        return []
    path = context.in_place(text) if "to" not in given else context.reads(text)
    return [] if path is None else [("", path)]


def _target(
    given: dict[str, Node], sources: list[tuple[str, Path]], context: Context
) -> Path | None:
    node = given.get("to")
    if node is not None:
        text = context.text(node, "to")
        return None if text is None else context.writes(text)
    if "keys" in given:
        context.error("E102", context.at, "lookup with keys needs to", "to: OBX-3.1")
        return None
    return sources[0][1] if sources else None


def read_table(
    given: dict[str, Node], sources: list[tuple[str, Path]], context: Context
) -> Table | None:
    """Return the table, whose key columns must be those that the sources give."""
    text, timed = context.text(given["table"], "table"), "at" in given
    if text is None:
        return None
    names = [name for name, _ in sources]
    if not names or names == [""]:
        return context.table(text.value, text, keys=1, timed=timed)
    table = context.table(text.value, text, timed=timed)
    if table is not None and sorted(names) != sorted(table.keys):
        message = f'these are not the keys of table "{table.name}"'
        context.error("E308", text.position, message, ", ".join(table.keys))
        return None
    return table


def _column(table: Table, node: Node | None, context: Context) -> int | None:
    text = context.text(node, "column") if node is not None else None
    name = "to" if text is None else text.value
    column = table.column(name)
    if column is None:
        at = context.at if text is None else text.position
        listed = ", ".join(table.results)
        context.error("E308", at, f'table "{table.name}" has no result column "{name}"', listed)
    return column


def _missing(given: dict[str, Node], context: Context) -> tuple[Template | None, bool] | None:
    node = given.get("missing")
    if node is None:
        hint = "missing: dead_letter, keep or a text"
        context.error("E102", context.at, "lookup needs missing: what if there is no row?", hint)
        return None
    if isinstance(node, Text) and node.value in ("dead_letter", "keep"):
        return None, node.value == "keep"
    template = _template(node, "missing", context)
    return None if template is None else (template, False)


def _template(node: Node | None, what: str, context: Context) -> Template | None:
    text = None if node is None else context.text(node, what)
    return None if text is None else context.template(text)
