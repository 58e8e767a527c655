"""Paths once read: which nodes of a message they mean, for reading, writing and in place.

Source: channel-language.md "Notation", "Reading and writing".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as field_
from enum import Enum
from typing import NamedTuple

from ifengine.hl7 import groups
from ifengine.hl7.condition_parts import Part, RepetitionChoice, repetition_choice
from ifengine.hl7.condition_values import Contains, Scope
from ifengine.hl7.message import Message

_USUAL = b"^~&"


class NodeRef(NamedTuple):
    """A node of a message: segment position from 0, the rest from 1, None for the whole level."""

    segment: int
    field: int
    repetition: int | None
    component: int | None
    subcomponent: int | None


# the named tuple's own constructor costs three times as much, and every write makes one
_ref = tuple.__new__


class Which(Enum):
    """An index that is a word."""

    LAST = "last"
    ALL = "*"


@dataclass(frozen=True, slots=True)
class Where:
    """``(where …)``: the ones for which it holds."""

    condition: Part
    # the condition as the texts that a part must be, where it is that simple
    choice: RepetitionChoice | None = field_(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "choice", repetition_choice(self.condition))

    def chosen(self, message: Message, scope: Scope | None, i: int, f: int) -> list[int]:
        """Return the repetitions of a field for which it holds."""
        choice = self.choice
        if choice is not None:
            leaves = message.leaves(i, f, choice.component, choice.subcomponent)
            texts, negated = choice.texts, choice.negated
            return [r for r, leaf in enumerate(leaves, 1) if (leaf in texts) != negated]
        holds = self.condition.holds
        count = message.repetition_count(i, f)
        return [r for r in range(1, count + 1) if holds(Within(message, scope, i, (i, f, r)))]

    def first(self, message: Message, scope: Scope | None, i: int, f: int) -> int:
        """Return the first of ``chosen``, 0 where there is none."""
        choice = self.choice
        if choice is None:
            found = self.chosen(message, scope, i, f)
            return found[0] if found else 0
        _, _, texts, negated = choice
        leaves = message.leaves(i, f, choice.component, choice.subcomponent)
        for r, leaf in enumerate(leaves, 1):
            if (leaf in texts) != negated:
                return r
        return 0

    def __str__(self) -> str:
        return f"(where {self.condition})"


Index = int | Which | Where | None
_EVERY = (None, Which.ALL)


def _index_text(index: Index) -> str:
    if index is None:
        return ""
    if isinstance(index, Where):
        return str(index)
    return f"[{index.value if isinstance(index, Which) else index}]"


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A segment by name (``Z*`` for all local ones) and index."""

    name: str
    index: Index = None

    def __str__(self) -> str:
        return self.name + _index_text(self.index)


class Within:
    """The scope inside a ``(where …)``: one segment, and one repetition for ``.5``."""

    __slots__ = ("_outer", "message", "node", "segment")

    def __init__(
        self, message: Message, outer: Scope | None, segment: int, node: tuple[int, int, int] | None
    ) -> None:
        self.message = message
        self.segment: int | None = segment
        self.node = node  # segment, field, repetition
        self._outer = outer

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables of the scope around."""
        return {} if self._outer is None else self._outer.variables

    @property
    def now_us(self) -> int | None:
        """The time of the scope around."""
        return None if self._outer is None else self._outer.now_us

    def table(self, name: str) -> Contains:
        """Return a table of the scope around.

        Raises:
            LookupError: there is none.
        """
        if self._outer is None:
            raise LookupError(name)
        return self._outer.table(name)


# segment name, field, repetition, component, subcomponent
Place = tuple[str, int, int | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Path:
    """A place in a message. ``field`` is None for a segment, ``segment`` is empty for ``.5``."""

    text: str
    head: SegmentRef
    parent: SegmentRef | None
    field: int | None
    repetition: Index
    component: int | None
    subcomponent: int | None
    # Most paths are plain: a bare segment, and a repetition that is bare or a number. Where such a
    # one reads, writes or has its first leaf, and where a bare field has all its repetitions, is
    # known beforehand, up to the position of the segment.
    read_at: Place | None = field_(init=False, repr=False, compare=False)
    write_at: Place | None = field_(init=False, repr=False, compare=False)
    leaf_at: Place | None = field_(init=False, repr=False, compare=False)
    every_at: Place | None = field_(init=False, repr=False, compare=False)
    # what is read is in the first such segment
    _first_only: bool = field_(init=False, repr=False, compare=False)
    _read_repetition: int = field_(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        number = self.repetition if type(self.repetition) is int else None
        name, field, c, s = self.head.name, self.field, self.component, self.subcomponent
        bare = self.is_bare and name != "Z*" and field is not None
        plain = bare and (self.repetition is None or number is not None)
        read = leaf = write = every = None
        if plain and field is not None:
            read = (name, field, number or 1, c, s)
            leaf = (name, field, number or 1, c or 1, s or 1)
            write = (name, field, number or (None if c is None else 1), c, s)
            every = None if number else (name, field, None, c, s)
        set_once = object.__setattr__
        set_once(self, "read_at", read)
        set_once(self, "leaf_at", leaf)
        set_once(self, "write_at", write)
        set_once(self, "every_at", every)
        set_once(self, "_first_only", plain or (bare and isinstance(self.repetition, Where)))
        set_once(self, "_read_repetition", number or 1)

    @property
    def segment(self) -> str:
        """The name of the segment; empty for a path relative to a repetition."""
        return self.head.name

    @property
    def is_relative(self) -> bool:
        """Whether this is ``.5``, a part of the repetition that is looked at."""
        return not self.head.name

    @property
    def part_of_repetition(self) -> tuple[int, int] | None:
        """Component and subcomponent of the leaf for ``.5``; None for a path with a segment."""
        return (self.component or 1, self.subcomponent or 1) if self.is_relative else None

    @property
    def is_bare(self) -> bool:
        """Whether nothing says which of several segments is meant."""
        return self.parent is None and self.head.index is None and not self.is_relative

    def __str__(self) -> str:
        text = f"{self.parent}/{self.head}" if self.parent else str(self.head)
        if self.field is not None:
            text += f"-{self.field}{_index_text(self.repetition)}"
        parts = (self.component, self.subcomponent)
        return text + "".join(f".{part}" for part in parts if part is not None)

    # --- reading ----------------------------------------------------------------------------

    def read(self, message: Message, scope: Scope | None = None) -> str | None:
        """Return the text of the first node.

        Returns:
            None when the segment or the field is absent or empty; ``""`` (two quotes) where the
            sender wrote null. A node without parts is unescaped, one with parts encoded.
        """
        at = self.read_at
        if at is not None and (scope is None or scope.segment is None):
            return message.leaf(*at) or None
        node = self.first(message, scope)
        return None if node is None else message.text(*node) or None

    def raw(self, message: Message, scope: Scope | None = None) -> bytes:
        """Return the encoded bytes of the first node, ``b""`` where there is none."""
        at = self.read_at
        if at is not None and (scope is None or scope.segment is None):
            name, f, r, c, s = at
            i = message.first(name)
            return b"" if i < 0 else message.raw(i, f, r, c, s)
        index, field = self.repetition, self.field
        if (
            isinstance(index, Where)
            and field is not None
            and self._first_only
            and (scope is None or scope.segment is None)
        ):
            i = message.first(self.head.name)
            r = 0 if i < 0 else index.first(message, scope, i, field)
            return message.raw(i, field, r, self.component, self.subcomponent) if r else b""
        node = self.first(message, scope)
        return b"" if node is None else message.raw(*node)

    def values(self, message: Message, scope: Scope | None = None) -> list[str]:
        """Return the text of every occurrence; an empty field of a segment that is there is ``""``.

        A bare segment or field means all of them here.
        """
        found: list[str] = []
        if self.field is None:
            return found
        for i in self.positions(message, scope):
            nodes = self._fields_of(message, scope, i, every=True)
            texts = [message.text(*node) for node in nodes]
            found += texts or ([""] if self.repetition in _EVERY else [])
        return found

    def nodes(
        self, message: Message, scope: Scope | None = None, *, every: bool = False
    ) -> list[NodeRef]:
        """Return the nodes that a write means.

        A bare segment is the first, a bare field is the whole field, and a component without index
        is that of the first repetition. With ``every``, as the in-place verbs want it, bare means
        all that are there.
        """
        at = self.every_at if every else self.write_at
        if at is not None and (every or scope is None or scope.segment is None):
            name, f, r, c, s = at
            if every:
                return [
                    _ref(NodeRef, (i, f, r, c, s))
                    for i in self.positions(message, scope)
                    for r in range(1, message.repetition_count(i, f) + 1)
                ]
            i = message.first(name)
            return [] if i < 0 else [_ref(NodeRef, (i, f, r, c, s))]
        positions = self.positions(message, scope)
        if not every and self.head.index is None:
            positions = positions[:1]
        found: list[NodeRef] = []
        for i in positions:
            found += self._fields_of(message, scope, i, every=every, write=not every)
        return found

    def positions(self, message: Message, scope: Scope | None = None) -> list[int]:
        """Return the positions of the segments that are meant; a bare name means all of them."""
        if self.parent is None and self.head.index is None and self.head.name != "Z*":
            current = None if scope is None else scope.segment
            if current is None:
                return message.indexes(self.head.name)
            return groups.seen_from(message.names(), current, self.head.name)
        names = message.names()
        if self.parent is None:
            return _select(_named(names, self.head.name, scope), self.head, message, scope)
        parents = _select(_named(names, self.parent.name, scope), self.parent, message, scope)
        if self.parent.index is None:
            parents = parents[:1]
        found: list[int] = []
        for parent in parents:
            below = groups.children(names, parent, self.head.name)
            found += _select(below, self.head, message, scope)
        return found

    def first(self, message: Message, scope: Scope | None = None) -> NodeRef | None:
        """Return the first node that a read means; None where there is none."""
        if self.is_relative:
            return self._relative(scope)
        field = self.field
        if field is None:
            return None
        if self._first_only and (scope is None or scope.segment is None):
            i = message.first(self.head.name)
            if i < 0:
                return None
            r = self._first_where(message, scope, i) if self.read_at is None else None
            if r == 0:
                return None
            parts = (r or self._read_repetition, self.component, self.subcomponent)
            return _ref(NodeRef, (i, field, *parts))
        if self.repetition is None or type(self.repetition) is int:
            positions = self.positions(message, scope)
            if not positions:
                return None
            r = self._read_repetition
            return NodeRef(positions[0], field, r, self.component, self.subcomponent)
        for i in self.positions(message, scope):
            for node in self._fields_of(message, scope, i, every=True):
                return node
            if self.head.index is None:
                break
        return None

    def _first_where(self, message: Message, scope: Scope | None, i: int) -> int:
        """Return the first repetition for which the condition holds, 0 where there is none."""
        index = self.repetition
        return index.first(message, scope, i, self.field or 1) if isinstance(index, Where) else 0

    def _relative(self, scope: Scope | None) -> NodeRef | None:
        if not isinstance(scope, Within) or scope.node is None:
            return None
        return NodeRef(*scope.node, self.component, self.subcomponent)

    def _fields_of(
        self, message: Message, scope: Scope | None, i: int, *, every: bool, write: bool = False
    ) -> Iterator[NodeRef]:
        """Yield the nodes of one segment, lazily: a reader stops at the first."""
        field, index = self.field, self.repetition
        if field is None:
            return
        parts = (self.component, self.subcomponent)
        if write and index is None:
            whole = self.component is None
            yield NodeRef(i, field, None if whole else 1, *parts)
            return
        if type(index) is int:
            if write or index <= message.repetition_count(i, field):
                yield NodeRef(i, field, index, *parts)
            return
        if isinstance(index, Where):
            for r in index.chosen(message, scope, i, field):
                yield NodeRef(i, field, r, *parts)
            return
        count = message.repetition_count(i, field)
        if index is Which.LAST:
            if write or count:
                yield NodeRef(i, field, max(count, 1), *parts)
            return
        for r in range(1, count + 1):
            yield NodeRef(i, field, r, *parts)

    # --- as a value of a condition ----------------------------------------------------------

    def leaf(self, scope: Scope) -> str:
        """Return the first leaf of the first node: what a composite field is compared by."""
        message = scope.message
        at = self.leaf_at
        if at is not None and scope.segment is None:
            return message.leaf(*at)
        if not self.head.name and type(scope) is Within and scope.node is not None:
            i, f, r = scope.node
            return message.text(i, f, r, self.component or 1, self.subcomponent or 1)
        node = self.first(message, scope)
        return "" if node is None else _leaf(message, *node)

    def leaves(self, scope: Scope) -> list[str]:
        """Return the first leaf of every occurrence, empty ones included."""
        message = scope.message
        f = self.field
        if f is None or self.repetition not in _EVERY:
            return [_leaf(message, *node) for node in self._occurrences(scope)]
        c, s = self.component or 1, self.subcomponent or 1
        found: list[str] = []
        for i in self.positions(message, scope):
            found += message.leaves(i, f, c, s) or [""]
        return found

    def encoded(self, scope: Scope) -> str:
        """Return the first node, its structure written with the usual delimiters."""
        node = self.first(scope.message, scope)
        return "" if node is None else _with_usual_delimiters(scope.message, node)

    def encodings(self, scope: Scope) -> list[str]:
        """Return ``encoded`` of every occurrence, empty ones included."""
        return [_with_usual_delimiters(scope.message, node) for node in self._occurrences(scope)]

    def found(self, scope: Scope) -> bool:
        """Whether such a segment is there, or the field holds more than delimiters."""
        message = scope.message
        if self.field is None and not self.is_relative:
            return bool(self.positions(message, scope))
        node = self.first(message, scope)
        return node is not None and holds_something(message, node)

    def _occurrences(self, scope: Scope) -> list[NodeRef]:
        message = scope.message
        if self.is_relative or self.field is None:
            node = self.first(message, scope)
            return [] if node is None else [node]
        found: list[NodeRef] = []
        for i in self.positions(message, scope):
            nodes = list(self._fields_of(message, scope, i, every=True))
            if not nodes and self.repetition in _EVERY:
                nodes = [NodeRef(i, self.field, 1, self.component, self.subcomponent)]
            found += nodes
        return found


def holds_something(message: Message, node: NodeRef) -> bool:
    """Whether a node holds anything but delimiters."""
    raw = message.raw(*node)
    if not raw:
        return False
    given = message.delimiters
    return bool(raw.strip(given.component + given.repetition + given.subcomponent))


def _leaf(message: Message, i: int, f: int, r: int | None, c: int | None, s: int | None) -> str:
    """Return the first leaf of a node."""
    return message.text(i, f, r, c or 1, s or 1)


def _with_usual_delimiters(message: Message, node: NodeRef) -> str:
    text = message.text(*node)
    given = message.delimiters
    own = given.component + given.repetition + given.subcomponent
    if own == _USUAL:
        return text
    if node.subcomponent is not None or not any(sign in text for sign in own.decode("ascii")):
        return text
    usual = {own[at]: _USUAL[at] for at in range(len(own))}
    return text.translate(usual)


def _named(names: list[str], name: str, scope: Scope | None) -> list[int]:
    if name == "Z*":
        return [position for position, found in enumerate(names) if found.startswith("Z")]
    if scope is not None and scope.segment is not None:
        return groups.seen_from(names, scope.segment, name)
    return [position for position, found in enumerate(names) if found == name]


def _select(
    positions: list[int], ref: SegmentRef, message: Message, scope: Scope | None
) -> list[int]:
    index = ref.index
    if index is None or index is Which.ALL:
        return positions
    if index is Which.LAST:
        return positions[-1:]
    if isinstance(index, Where):
        holds = index.condition.holds
        return [i for i in positions if holds(Within(message, scope, i, None))]
    return positions[index - 1 : index]
