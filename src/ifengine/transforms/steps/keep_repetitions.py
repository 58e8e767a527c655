"""``keep_repetitions``: keep the repetitions of a field for which a condition holds."""

from ifengine.hl7.message import NULL
from ifengine.hl7.path import Where
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node

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
    bare = path.every_at is not None

    def act(scope: StepScope) -> None:
        message = scope.message
        alone = bare and scope.segment is None
        for i in message.each(path.segment) if alone else path.positions(message, scope):
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
    return Built(act, uses)
