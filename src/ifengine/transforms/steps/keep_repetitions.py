"""``keep_repetitions``: keep the repetitions of a field for which a condition holds."""

from ifengine.hl7.delimiters import Delimiters
from ifengine.hl7.message import NULL
from ifengine.hl7.parts import leaves_of
from ifengine.hl7.path import Path, Where
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.plain_fields import is_short
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.together import Short

_EXAMPLE = '{in: PID-3, where: ".5 in [MR, PI]"}'
_NULL = NULL.encode()
# without one of these nobody knows whose message it is: a filter that empties them fails
# (safety-rules.md 22)
_NEEDED = frozenset({("PID", 3), ("PID", 5), ("MRG", 1), ("OBR", 4), ("OBX", 3)})


def build(value: Node, context: Context) -> Built | None:
    """Read ``{in, where}``; ``.5`` in the condition is a part of the repetition."""
    return build_filter(value, context, keep=True)


def build_filter(value: Node, context: Context, *, keep: bool) -> Built | None:
    """Read ``{in, where}`` of a verb that keeps, or drops, the repetitions that fit."""
    example = f"{context.verb}: {_EXAMPLE}"
    given = context.parameters(value, required=("in", "where"), example=example)
    if given is None:
        return None
    where_text, in_text = context.text(given["where"], "where"), context.text(given["in"], "in")
    if where_text is None or in_text is None:
        return None
    where = context.condition(where_text, relative=True)
    path = context.in_place(in_text)
    if where is None or path is None:
        return None
    if path.component is not None or path.repetition is not None:
        hint = f"{path.head}-{path.field}"
        context.error("E306", in_text.at(0), f"{context.verb} works on a whole field", hint)
        return None
    field = path.field or 1
    needed = (path.segment, field) in _NEEDED
    wanted = Where(where.part)

    def act(scope: StepScope) -> None:
        message = scope.message
        for i in path.positions(message, scope):
            count = message.repetition_count(i, field)
            if count == 0 or (count == 1 and message.raw(i, field) == _NULL):
                continue
            fitting = wanted.chosen(message, scope, i, field)
            kept = fitting if keep else [r for r in range(1, count + 1) if r not in fitting]
            if len(kept) == count:
                continue
            if needed and not kept:
                raise ReasonError(f"{path.text}: no repetition would be left")
            message.remove_repetitions(i, field, kept)

    reads = tuple(read for read in where.paths() if not read.is_relative)
    uses = Uses(
        reads=reads, writes=(path,), tables=where.table_names(), reads_variables=where.variables()
    )
    short = _short(path, wanted, keep=keep, needed=needed)
    return Built(act, uses, short=() if short is None else (short,))


def _short(path: Path, wanted: Where, *, keep: bool, needed: bool) -> Short | None:
    choice, at = wanted.choice, path.every_at
    if choice is None or at is None or not is_short(at[0], at[1]):
        return None
    field = at[1]
    texts = frozenset(text.encode() for text in choice.texts)
    stays = choice.negated != keep  # whether one of the texts is what stays

    def change(fields: list[bytes], given: Delimiters, _: object) -> bool:
        value = fields[field] if field < len(fields) else b""
        if not value or value == _NULL:
            return True
        if not value.isascii() or given.escape_code in value:
            return False
        several = given.repetition_code in value
        found = value.split(given.repetition) if several else [value]
        leaves = leaves_of(value, given, choice.component, choice.subcomponent)
        kept = [one for one, leaf in zip(found, leaves, strict=True) if (leaf in texts) == stays]
        if needed and not kept:
            return False
        fields[field] = given.repetition.join(kept)
        return True

    return Short(at[0], change)
