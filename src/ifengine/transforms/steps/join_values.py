"""``join``: many values to one: several fields, or the same field of the segments of a group."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ifengine.hl7 import groups
from ifengine.hl7.message import NULL
from ifengine.hl7.path import NodeRef, Path, Which
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.looping import loop, read_loop
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Items, Node
from ifengine.transforms.steps.delete_segments import delete
from ifengine.transforms.template import Template
from ifengine.transforms.writing import targets, write_text

_FIELDS = 'join: {from: [PID-5.2, PID-5.1], with: " ", to: PID-9.1}'
_SEGMENTS = 'join: {from: OBX-5, per: OBR, with: "${br}", then: delete_rest}'
# what tells segments of one text apart: set id, and OBX-4, the number of the line
_OWN = {"OBX": frozenset({1, 4})}
_SET_ID = frozenset({1})
_HEADS = ("ORC", "OBR", "SPM", "OBX", "RXO", "RXE", "RXA", "IN1", "RGS", "PR1", "MFE")


def build(value: Node, context: Context) -> Built | None:
    """Read ``{from: [..], with, to}``, or ``{from, per, with, to, then: delete_rest}``."""
    given = context.parameters(
        value, required=("from", "with"), optional=("per", "to", "then"), example=_SEGMENTS
    )
    if given is None:
        return None
    if isinstance(given["from"], Items):
        return _fields(given, context)
    return _segments(given, context)


# --- several fields ---------------------------------------------------------------------------


def _fields(given: Mapping[str, Node], context: Context) -> Built | None:
    for key in ("per", "then"):
        if key in given:
            message = f"{key} goes with one path in from, not with a list"
            context.error("E102", given[key].position, message, _SEGMENTS)
            return None
    if "to" not in given:
        context.error("E102", context.at, 'join needs "to" where from is a list', _FIELDS)
        return None
    texts = context.texts(given["from"], "path")
    sources = [path for text in texts if (path := context.reads(text)) is not None]
    sign = _sign(given["with"], context)
    to_text = context.text(given["to"], "to")
    target = None if to_text is None else context.writes(to_text)
    if sign is None or target is None or len(sources) != len(texts):
        return None

    def act(scope: StepScope) -> None:
        found = [text for path in sources for text in _read(path, scope) if text]
        if found:
            write_text(scope, target, sign.render(scope).join(found))

    return Built(act, _uses(tuple(sources), (target,), sign))


def _read(path: Path, scope: StepScope) -> list[str]:
    """Return the text of a path, of every occurrence where it says ``[*]``."""
    if Which.ALL in (path.head.index, path.repetition):
        found = path.values(scope.message, scope)
    else:
        found = [path.read(scope.message, scope) or ""]
    return ["" if text == NULL else text for text in found]


def _sign(node: Node, context: Context) -> Template | None:
    text = context.text(node, "with")
    return None if text is None else context.template(text)


def _uses(reads: tuple[Path, ...], writes: tuple[Path, ...], sign: Template) -> Uses:
    return Uses(
        reads=(*reads, *sign.paths()),
        writes=writes,
        tables=sign.tables(),
        reads_variables=sign.variables(),
    )


# --- the segments of a group ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Group:
    """The segments of one group, joined into the first, or into ``target``."""

    source: Path
    sign: Template
    target: Path | None
    deletes_rest: bool

    def __call__(self, scope: StepScope) -> None:
        message, source = scope.message, self.source
        positions = source.positions(message, scope)
        lines = self._lines(positions, scope)
        if not any(lines):
            return
        joined = self.sign.render(scope).join(lines)
        into = [self._first(positions[0])] if self.target is None else targets(scope, self.target)
        if not into or (self.target is None and len(lines) == 1):
            return
        for node in into:
            message.set_text(*node, joined)
        if self.deletes_rest:
            kept = {node.segment for node in into} & {*positions} or {positions[0]}
            rest = [i for i in positions if i not in kept]
            self._require_alike(scope, min(kept), rest)
            delete(scope, rest)

    def _lines(self, positions: list[int], scope: StepScope) -> list[str]:
        """Return the texts; an empty one is a blank line in a text, and nothing in a list."""
        nodes = self.source.nodes(scope.message, scope, every=True)
        found: list[str] = []
        for i in positions:
            texts = [scope.message.text(*node) for node in nodes if node.segment == i]
            found += ["" if text == NULL else text for text in texts] or [""]
        return found if self.sign.breaks_lines else [text for text in found if text]

    def _first(self, segment: int) -> NodeRef:
        path = self.source
        index = path.repetition if isinstance(path.repetition, int) else None
        if index is None and path.component is not None:
            index = 1
        return NodeRef(segment, path.field or 1, index, path.component, path.subcomponent)

    def _require_alike(self, scope: StepScope, stays: int, rest: list[int]) -> None:
        """Refuse to delete a segment that says something else than the one that stays.

        Raises:
            ReasonError: a field of it would be lost.
        """
        message, name = scope.message, self.source.segment
        own = _OWN.get(name, _SET_ID) | {self.source.field or 1}
        for i in rest:
            for f in range(1, message.field_count(i) + 1):
                raw = message.raw(i, f)
                if f not in own and raw and raw != message.raw(stays, f):
                    raise ReasonError(f"{name}-{f} differs: deleting the rest would lose it")


def _segments(given: Mapping[str, Node], context: Context) -> Built | None:
    per, inside = None, context
    if "per" in given:
        per = read_loop(given["per"], context)
        if per is None:
            return None
        inside = replace(context, loops=(*context.loops, per.segment))
    from_text = context.text(given["from"], "from")
    source = None if from_text is None else inside.in_place(from_text)
    sign = _sign(given["with"], inside)
    target = None
    if "to" in given:
        to_text = context.text(given["to"], "to")
        target = None if to_text is None else inside.writes(to_text)
        if target is None:
            return None
    then = context.word(given.get("then"), "then", ("delete_rest",), "")
    if source is None or sign is None or then is None:
        return None
    ungrouped = per is None and source.parent is None and not context.loops
    if from_text is not None and ungrouped and _is_grouped(source):
        message = f'"{source.segment}" of several groups would be joined: say per: which'
        context.error("E305", from_text.at(0), message, _SEGMENTS)
        return None
    group = _Group(source, sign, target, bool(then))
    action: Callable[[StepScope], None] = group if per is None else loop(per, group)
    reads = (source,) if per is None else (per, source)
    return Built(action, _uses(reads, (source if target is None else target,), sign))


def _is_grouped(path: Path) -> bool:
    """Whether these segments stand in groups of which a message may hold several."""
    return any(groups.stands_under(path.segment, head) for head in _HEADS)
