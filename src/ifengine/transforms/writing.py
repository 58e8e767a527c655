"""How values get into a message: where a write goes, and how in-place verbs reach every leaf."""

from collections.abc import Callable, Iterator, Sequence

from ifengine.hl7 import groups
from ifengine.hl7.message import NULL, Message
from ifengine.hl7.path import NodeRef, Path, Where, Which
from ifengine.transforms.base import Action, ReasonError, StepScope
from ifengine.transforms.plain_fields import changes_parts
from ifengine.transforms.together import Short


def write_text(scope: StepScope, path: Path, text: str, *, create: bool = False) -> None:
    """Write text to the nodes of a path.

    Raises:
        ReasonError: the segment is not there and may not be made.
        FieldError: the text cannot stand there (``Message.set_text``).
    """
    message = scope.message
    at = path.write_at
    if at is not None and scope.segment is None:
        name, f, r, c, s = at
        i = message.first(name)
        if i >= 0:
            message.set_text(i, f, r, c, s, text)
            return
    for node in targets(scope, path, create=create):
        message.set_text(*node, text)


def targets(scope: StepScope, path: Path, *, create: bool = False) -> list[NodeRef]:
    """Return the nodes a write goes to.

    A ``(where …)`` or ``[*]`` that fits nothing gives none, and a trace says so.

    Raises:
        ReasonError: the segment is not there and may not be made.
    """
    nodes = path.nodes(scope.message, scope)
    if nodes:
        return nodes
    if not path.positions(scope.message, scope) and _must_exist(path):
        if not create:
            raise ReasonError(f"{path.text}: there is no segment {path.head}")
        _create(scope, path)
        return path.nodes(scope.message, scope)
    scope.note(f"{path.text} fits nothing: nothing was written")
    return []


def _must_exist(path: Path) -> bool:
    refs = (path.head,) if path.parent is None else (path.head, path.parent)
    return not any(isinstance(ref.index, Where) or ref.index is Which.ALL for ref in refs)


def _create(scope: StepScope, path: Path) -> None:
    index = path.head.index
    if path.parent is not None or (isinstance(index, int) and index > 1):
        raise ReasonError(f"{path.text}: only the first segment of a name can be created")
    if scope.segment is None:
        at = groups.place_for(scope.message.names(), path.segment)
    else:
        at = scope.segment + 1
    scope.insert_segment(at, path.segment)


def emptied(scope: StepScope, path: Path) -> list[NodeRef]:
    """Return the nodes that ``clear`` and ``null`` mean: every occurrence, whole fields as one."""
    message = scope.message
    if path.component is None and path.repetition in (None, Which.ALL):
        field = path.field or 1
        return [NodeRef(i, field, None, None, None) for i in path.positions(message, scope)]
    return path.nodes(message, scope, every=True)


def leaves(message: Message, node: NodeRef) -> Iterator[NodeRef]:
    """Yield the filled leaves of a node: what has no parts of its own."""
    raw = message.raw(*node)
    if not raw:
        return
    i, f, r, c, s = node
    given = message.delimiters
    for level, delimiter, known in (
        (2, given.repetition, r),
        (3, given.component, c),
        (4, given.subcomponent, s),
    ):
        if known is None and delimiter and delimiter in raw:
            for number in range(1, raw.count(delimiter) + 2):
                part = [i, f, r if r is not None or level == 2 else 1, c, s]
                part[level] = number
                if level == 4 and c is None:
                    part[3] = 1
                yield from leaves(message, NodeRef(*part))  # type: ignore[arg-type]
            return
    yield node


def change_in_place(paths: list[Path], change: Callable[[str], str]) -> Action:
    """Return an action that changes every leaf at these paths; empty and null stay as they are."""

    def act(scope: StepScope) -> None:
        message = scope.message
        for path in paths:
            component, repetition, subcomponent = signs_of(message)
            for i, f, r, c, s in filled(scope, path):
                text = message.text(i, f, r, c, s)
                if not text or text == NULL:
                    continue
                if component in text or subcomponent in text or repetition in text:
                    # parts, or only text that looks so: ask for each leaf
                    _change_leaves(message, NodeRef(i, f, r, c, s), change)
                    continue
                changed = change(text)
                if changed != text:
                    message.set_text(i, f, r, c, s, changed)

    return act


def short_of(paths: list[Path], plain: Callable[[bytes], bytes]) -> tuple[Short, ...]:
    """Return the short way of ``change_in_place``; nothing where one of the paths has none.

    ``plain`` is the change for ASCII without delimiters: most values are that.
    """
    found: list[tuple[str, int, list[int]]] = []  # segment, field, components: once for a field
    for path in paths:
        at = path.every_at
        if at is None or at[3] is None or at[4] is not None:
            return ()
        if found and found[-1][:2] == at[:2]:
            found[-1][2].append(at[3])
        else:
            found.append((at[0], at[1], [at[3]]))
    made = [changes_parts(*place, plain) for place in found]
    return tuple(short for short in made if short is not None) if all(made) else ()


def filled(
    scope: StepScope, path: Path
) -> Sequence[tuple[int, int, int | None, int | None, int | None]]:
    """Return every node of a path as in-place verbs want it, in fields that are not empty."""
    at = path.every_at
    if at is None or scope.segment is not None:
        return path.nodes(scope.message, scope, every=True)
    name, f, _, c, s = at
    i = scope.message.sole(name, f)
    return ((i, f, 1, c, s),) if i >= 0 else path.nodes(scope.message, scope, every=True)


def signs_of(message: Message) -> tuple[str, str, str]:
    """Return what separates components, repetitions and subcomponents.

    A delimiter that MSH-2 does not name is a character no text holds, so that a search is simple.
    """
    written = message.delimiters.msh2
    known = _SIGNS.get(written)
    if known is None:
        given = message.delimiters
        named = (given.component, given.repetition, given.subcomponent)
        component, repetition, subcomponent = (sign.decode("ascii") or "\x0b" for sign in named)
        known = (component, repetition, subcomponent)
        if len(_SIGNS) >= _MOST_SIGNS:  # a peer that sends ever new ones must not fill memory
            _SIGNS.clear()
        _SIGNS[written] = known
    return known


_MOST_SIGNS = 256
_SIGNS: dict[bytes, tuple[str, str, str]] = {}


def _change_leaves(message: Message, node: NodeRef, change: Callable[[str], str]) -> None:
    for leaf in leaves(message, node):
        text = message.text(*leaf)
        if text == NULL:
            continue
        changed = change(text)
        if changed != text:
            message.set_text(*leaf, changed)
