"""``unit``: a value in another unit, by a table of factors. Decimal throughout.

As many digits count after as before: nothing is made more exact by a conversion. A limit (``>500``)
stays one, and is rounded to the safe side.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as with_
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from decimal import Context as Arithmetic
from typing import NamedTuple

from ifengine.hl7.message import NULL, Message
from ifengine.hl7.path import NodeRef, Path, Where, Which
from ifengine.hl7.quantities import read_number
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.steps.lookup_values import read_keys
from ifengine.transforms.table_rules import factor_of
from ifengine.transforms.tables import Table

_EXAMPLE = (
    "unit: {value: [OBX-5, OBX-7], unit: OBX-6, to: mmol/L, table: units, keys: {code: OBX-3.1}}"
)
_EXACT = Arithmetic(prec=120)  # no value and no factor has more digits than fit
_NUMBER = r"[+-]?[0-9]{1,40}(?:[.,][0-9]{1,40})?"
_ONE = re.compile(rf"(?P<sign>(?:<=|>=|<|>|≤|≥)?[ ]*)(?P<number>{_NUMBER})")
_RANGE = re.compile(rf"(?P<low>{_NUMBER})(?P<between>[ ]*-[ ]*)(?P<high>{_NUMBER})")
# what is below a limit is below the next number up, and the other way round
_ROUNDING = {"<": ROUND_CEILING, "≤": ROUND_CEILING, ">": ROUND_FLOOR, "≥": ROUND_FLOOR}
_COMPARATORS = ("", "=", "<", "<=", ">", ">=")
_OWN_KEYS = ("from", "to")


class Conversion(NamedTuple):
    """The new value is the old one times ``factor`` plus ``offset``."""

    factor: Decimal
    offset: Decimal

    def number(self, number: str, rounding: str = ROUND_HALF_UP) -> str | None:
        """Return a number in the new unit, None where the text is none.

        With an offset (temperatures) the decimals stay, else the significant digits.
        """
        value = read_number(number)
        if value is None:
            return None
        made = _EXACT.add(_EXACT.multiply(value, self.factor), self.offset)
        exponent = int(value.as_tuple().exponent)
        if not self.offset and value:
            exponent = made.adjusted() - len(value.as_tuple().digits) + 1
        rounded = made.quantize(Decimal(1).scaleb(exponent), rounding, context=_EXACT)
        if rounded and not self.offset and rounded.adjusted() > made.adjusted():
            # 99.6 with two digits is 100, not 1.0E2 with a digit more
            rounded = rounded.quantize(Decimal(1).scaleb(exponent + 1), rounding, context=_EXACT)
        return format(rounded or abs(rounded), "f")  # no minus before a zero

    def text(self, text: str) -> str | None:
        """Return a number, a limit or a range in the new unit; None where it is none of these."""
        one = _ONE.fullmatch(text)
        if one is not None:
            sign = one["sign"]
            number = self.number(one["number"], _ROUNDING.get(sign[:1], ROUND_HALF_UP))
            return None if number is None else sign + number
        both = _RANGE.fullmatch(text)
        low = None if both is None else self.number(both["low"])
        high = None if both is None else self.number(both["high"])
        if both is None or low is None or high is None:
            return None
        return low + both["between"] + high


Write = tuple[NodeRef, str]


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one ``unit`` does to one segment."""

    values: tuple[Path, ...]
    unit: Path
    to: str
    table: str
    # where each key column is read; `from` and `to` are known
    keys: tuple[tuple[str, Path | None], ...]
    factor: int
    offset: int | None
    keep: bool

    def apply(self, scope: StepScope, i: int, nodes: Sequence[NodeRef]) -> None:
        """Convert the values of one segment, all or none, and write the new unit.

        Raises:
            ReasonError: the unit is not in the table, or a value is no number.
        """
        message = scope.message
        now = message.text(i, *self._place(), self.unit.component or 1, 1)
        if now in ("", NULL, self.to):
            return
        row = scope.tables[self.table].lookup(self._keys(scope, now))
        if row is None:
            if not self.keep:
                rule = f"{self.table} has no factor to {self.to}"
                raise ReasonError(rule, f'{rule} from "{now}"')
            return
        offset = "" if self.offset is None else row[self.offset]
        conversion = Conversion(
            factor_of(row[self.factor]) or Decimal(1), factor_of(offset or "0") or Decimal(0)
        )
        writes: list[Write] = []
        for node in nodes:
            made = _converted(message, node, conversion)
            if made is None:
                if self.keep:
                    return
                raise ReasonError(f"{node_name(message, node)} is no number that has a unit")
            writes += made
        if writes:
            for node, text in writes:
                message.set_text(*node, text)
            self._write_unit(message, i)

    def _place(self) -> tuple[int, int]:
        number = self.unit.repetition
        return self.unit.field or 1, number if isinstance(number, int) else 1

    def _keys(self, scope: StepScope, now: str) -> tuple[str, ...]:
        own = {"from": now, "to": self.to}
        return tuple(own[name] if path is None else path.leaf(scope) for name, path in self.keys)

    def _write_unit(self, message: Message, i: int) -> None:
        """Write the code; a text and an alternate of the old unit would no longer be true."""
        f, r = self._place()
        message.set_text(i, f, r, 1, None, self.to)
        for component in (2, 4, 5, 6):
            message.set_raw(i, f, r, component, None, b"")


def build(value: Node, context: Context) -> Built | None:
    """Read ``{value, unit, to, table, keys, missing}``."""
    given = context.parameters(
        value,
        required=("value", "unit", "to", "table"),
        optional=("keys", "missing"),
        example=_EXAMPLE,
    )
    if given is None:
        return None
    read = [context.in_place(text) for text in context.texts(given["value"], "path")]
    values = tuple(path for path in read if path is not None)
    unit_text, to = context.text(given["unit"], "unit"), context.text(given["to"], "to")
    unit = None if unit_text is None else context.in_place(unit_text)
    missing = context.word(given.get("missing"), "missing", ("dead_letter", "keep"), "dead_letter")
    if not values or unit is None or to is None or missing is None:
        return None
    if not _stand_together(given, values, unit, context):
        return None
    inside = with_(context, loops=(*context.loops, unit.segment))
    keys = dict(read_keys(given["keys"], inside)) if "keys" in given else {}
    table = _table(given["table"], to.value, keys, context)
    if table is None:
        return None
    _warn_of_range(values, context)
    made = _Unit(
        values,
        unit,
        to.value,
        table.name,
        tuple((name, keys.get(name)) for name in table.keys),
        table.column("factor") or 0,
        table.column("offset"),
        missing == "keep",
    )

    def act(scope: StepScope) -> None:
        by_segment: dict[int, list[NodeRef]] = {}
        for path in values:
            for node in path.nodes(scope.message, scope, every=True):
                by_segment.setdefault(node.segment, []).append(node)
        around = scope.segment
        try:
            for i, nodes in by_segment.items():
                scope.segment = i
                made.apply(scope, i, nodes)
        finally:
            scope.segment = around

    uses = Uses(reads=tuple(keys.values()), writes=(*values, unit), tables=(table.name,))
    return Built(act, uses, table.name)


def _stand_together(
    given: dict[str, Node], values: tuple[Path, ...], unit: Path, context: Context
) -> bool:
    """Whether values and unit are whole fields of one segment."""
    if any(path.segment != unit.segment for path in values):
        at, rule = given["unit"].position, "a value and its unit stand in one segment"
        context.error("E306", at, rule, _EXAMPLE)
        return False
    if unit.component not in (None, 1) or isinstance(unit.repetition, Which | Where):
        at = given["unit"].position
        context.error("E306", at, "unit names the field of the unit", f"{unit.head}-{unit.field}")
        return False
    if any(path.subcomponent is not None for path in values):
        context.error("E306", given["value"].position, "value names fields", _EXAMPLE)
        return False
    return True


def _warn_of_range(values: tuple[Path, ...], context: Context) -> None:
    fields = {path.field for path in values if path.segment == "OBX"}
    if fields and 5 in fields and 7 not in fields:
        message = "the reference range (OBX-7) keeps the old unit"
        context.problems.warning("W312", context.at, message, "value: [OBX-5, OBX-7]")


def _table(node: Node, to: str, keys: dict[str, Path], context: Context) -> Table | None:
    text = context.text(node, "table")
    table = None if text is None else context.table(text.value, text, timed=False)
    if text is None or table is None:
        return None
    if table.column("factor") is None or not set(_OWN_KEYS) <= set(table.keys):
        message = f'table "{table.name}" is none of factors'
        context.error("E308", text.position, message, "from,to,factor or code,from,to,factor")
        return None
    others = [name for name in table.keys if name not in _OWN_KEYS]
    if sorted(others) != sorted(keys):
        message = f'table "{table.name}" needs keys for: {", ".join(others) or "nothing else"}'
        context.error("E308", text.position, message, "keys: {code: OBX-3.1}")
        return None
    place = table.keys.index("to")
    if not any(row[place] == to for row in table.rows):
        message = f'table "{table.name}" has no row to "{to}"'
        context.error("E308", text.position, message, "units are compared as they are written")
        return None
    return table


def node_name(message: Message, node: NodeRef) -> str:
    """Return a place without occurrence: ``OBX-5``."""
    return f"{message.names()[node.segment]}-{node.field}"


def _converted(message: Message, node: NodeRef, conversion: Conversion) -> list[Write] | None:
    """Return what to write for one repetition, None where it cannot be converted."""
    i, f, r, c, _ = node
    raw = message.raw(i, f, r, c)
    if not raw or raw == NULL.encode():
        return []
    component = message.delimiters.component
    if c is None and component and component in raw:
        return _structured(message, node, conversion)
    text = conversion.text(message.text(i, f, r, c).strip(" "))
    return None if text is None else [(node, text)]


def _structured(message: Message, node: NodeRef, conversion: Conversion) -> list[Write] | None:
    """Return what to write for an SN: comparator, number, separator, number.

    A ratio or an open-ended list of numbers has no unit to convert.
    """
    i, f, r, _, _ = node
    comparator, _, between, _ = (message.text(i, f, r, c, 1) for c in range(1, 5))
    further = message.raw(i, f, r).split(message.delimiters.component)[4:]
    if comparator not in _COMPARATORS or between not in ("", "-") or any(further):
        return None
    writes: list[Write] = []
    for c in (2, 4):
        number = message.text(i, f, r, c, 1)
        if not number and c == 4:
            continue
        text = conversion.number(number, _ROUNDING.get(comparator[:1], ROUND_HALF_UP))
        if text is None:
            return None
        writes.append((NodeRef(i, f, r, c, None), text))
    return writes
