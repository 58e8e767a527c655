"""YAML text to nodes with positions, without ever building an object from it.

The parser's events are read one by one and every budget is counted while reading, so that a hostile
file costs a bounded time: nothing is expanded, nothing recurses, and no tag is looked up. Every
scalar stays the text that was typed (channel-language.md, rule 3).
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from ifengine.routes.config.yaml_faults import explain_fault
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text

# a comment is written with a blank behind its sign; ` #2` is rather a part of the value
_CUT = re.compile(r"[ \t]+#[^\s#!]")
MAX_FILE_BYTES = 1024 * 1024
MAX_NODES = 20_000  # aliases counted with everything they stand for
MAX_DEPTH = 32
SHARED = "shared"
MERGE = "<<"

_REFUSED = re.compile(
    "^%|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]",
    re.MULTILINE,
)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RefusedTextError(Exception):
    """The text cannot be read on from here; the problem is already noted."""


@dataclass(slots=True)
class _Open:
    """A list or map whose end has not been read."""

    position: Position
    is_map: bool
    anchor: str | None
    size_before: int
    items: list[Node] = field(default_factory=list)
    entries: list[tuple[Text, Node]] = field(default_factory=list)
    first_lines: dict[str, int] = field(default_factory=dict)
    merged: list[Node] = field(default_factory=list)
    key: Text | None = None
    # the first of two equal keys counts; the second one's value is read and left out
    ignore_value: bool = False


def compose(text: str, file: str, problems: Problems) -> Node | None:
    """Return the nodes of one YAML document, or None where it cannot be read.

    Args:
        text: the file's text; a byte order mark is fine.
        file: the name shown in problems.
        problems: gets every mistake: E001 syntax, E002 equal keys, E003 tags and anchors,
            E004 too much of it.
    """
    text = text.removeprefix("\ufeff")
    try:
        _refuse_early(text, file, problems)
        return _Composer(text, file, problems).compose(text)
    except RefusedTextError:
        return None
    except yaml.YAMLError as error:
        explain_fault(error, text, file, problems)
        return None


def split_lines(text: str) -> list[str]:
    """Return a file's lines as the parser counts them."""
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return plain.split("\n")


def _refuse_early(text: str, file: str, problems: Problems) -> None:
    # Directives make libyaml compare each with all before it; control characters make its
    # reader raise without a place; Unicode line breaks would shift every line number; a second byte
    # order mark is seen by nobody.
    if len(text) > MAX_FILE_BYTES:
        problems.error(
            "E004",
            Position(file, 1, 1),
            f"the file is larger than {MAX_FILE_BYTES // 1024} KiB",
            "long lists of codes belong into a table, channels/tables/NAME.csv",
        )
        raise RefusedTextError
    found = _REFUSED.search(text)
    if found is None:
        return
    lines = split_lines(text[: found.start()])
    place = Position(file, len(lines), len(lines[-1]) + 1)
    sign = found[0]
    if sign == "%":
        problems.error("E001", place, "a line cannot begin with %", 'quote the text ("%…")')
    else:
        problems.error("E001", place, f"a control character (U+{ord(sign):04X})")
    raise RefusedTextError


class _Composer:
    """Builds nodes from events with a stack of its own: depth costs no recursion."""

    def __init__(self, text: str, file: str, problems: Problems) -> None:
        self._lines = split_lines(text) if " #" in text else []
        self._file = file
        self._problems = problems
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._size = 0
        self._root: Node | None = None
        self._documents = 0

    def compose(self, text: str) -> Node | None:
        """Return the document's node; None for an empty one."""
        for event in yaml.parse(text, Loader=_LOADER):
            match event:
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._open(event)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._close()
                case yaml.DocumentStartEvent():
                    self._document(event)
                case _:
                    pass  # stream start and end, document end
        return self._root

    def _place(self, event: Any) -> Position:
        mark = event.start_mark
        return Position(self._file, mark.line + 1, mark.column + 1)

    def _refuse(self, code: str, place: Position, message: str, hint: str = "") -> None:
        self._problems.error(code, place, message, hint)
        raise RefusedTextError

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._refuse("E001", self._place(event), "a second document begins here (---)")

    def _grow(self, nodes: int, place: Position) -> None:
        self._size += nodes
        if self._size > MAX_NODES:
            self._refuse("E004", place, f"more than {MAX_NODES:,} values, aliases counted in full")

    def _plain_only(self, event: Any) -> None:
        if event.tag is not None:
            shown = event.tag.replace("tag:yaml.org,2002:", "!!")
            hint = (
                "write ${secret:NAME}"
                if shown == "!secret"
                else "every value is text; no tag needed"
            )
            self._problems.error(
                "E003", self._place(event), f"tags such as {shown} are not used here", hint
            )
        if event.anchor is not None and not self._in_shared():
            self._problems.error(
                "E003",
                self._place(event),
                f"the anchor &{event.anchor} stands outside `shared:`",
                "move it under a top-level `shared:` key; *NAME may be used anywhere below it",
            )

    def _in_shared(self) -> bool:
        if not self._stack:
            return False
        key = self._stack[0].key
        return key is not None and key.value == SHARED

    def _scalar(self, event: Any) -> None:
        place = self._place(event)
        self._grow(1, place)
        self._plain_only(event)
        plain = not event.style
        end = event.end_mark
        width = len(event.value) + (0 if plain else 2)
        literal = (
            event.style not in ("|", ">")
            and end.line == event.start_mark.line
            and end.column - event.start_mark.column == width
        )
        if plain and self._is_cut(end):
            self._problems.warning(
                "W005",
                place._replace(line=end.line + 1, column=end.column + 1),
                "the value ends here: a blank and # begin a comment",
                "quote the value if # belongs to it, or put a blank behind the #",
            )
        self._add(Text(event.value, place, plain, literal), event.anchor, 1)

    def _is_cut(self, end: Any) -> bool:
        lines = self._lines
        return end.line < len(lines) and _CUT.match(lines[end.line], end.column) is not None

    def _alias(self, event: Any) -> None:
        place = self._place(event)
        known = self._anchors.get(event.anchor)
        if known is None:
            self._problems.error(
                "E003",
                place,
                f"*{event.anchor} names no anchor above it",
                f"a text that begins with * is quoted; an anchor is written &{event.anchor} under `shared:`",
            )
            known = (Text("", place), 1)
        self._grow(known[1], place)
        self._add(known[0], None, known[1])

    def _open(self, event: Any) -> None:
        place = self._place(event)
        self._grow(1, place)
        self._plain_only(event)
        if len(self._stack) >= MAX_DEPTH:
            self._refuse("E004", place, f"nested deeper than {MAX_DEPTH} levels")
        if self._stack and self._stack[-1].is_map and self._stack[-1].key is None:
            self._refuse("E001", place, "a list or a map cannot be a key", "quote the key")
        is_map = isinstance(event, yaml.MappingStartEvent)
        self._stack.append(_Open(place, is_map, event.anchor, self._size - 1))

    def _close(self) -> None:
        done = self._stack.pop()
        node: Node
        if done.is_map:
            node = Entries(self._with_merged(done), done.position)
        else:
            node = Items(tuple(done.items), done.position)
        self._add(node, done.anchor, self._size - done.size_before)

    def _with_merged(self, done: _Open) -> tuple[tuple[Text, Node], ...]:
        entries = list(done.entries)
        present = {key.value for key, _ in entries}
        for source in done.merged:
            for inner in source.items if isinstance(source, Items) else (source,):
                if not isinstance(inner, Entries):
                    place = inner.position
                    self._problems.error("E003", place, "<< takes an alias of a map, <<: *NAME")
                    continue
                fresh = [(key, value) for key, value in inner if key.value not in present]
                present.update(key.value for key, _ in fresh)
                entries += fresh
        return tuple(entries)

    def _add(self, node: Node, anchor: str | None, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if not parent.is_map:
            parent.items.append(node)
        elif parent.key is None:
            self._key(parent, node)
        else:
            if parent.ignore_value:
                pass
            elif parent.key.plain and parent.key.value == MERGE:
                parent.merged.append(node)
            else:
                parent.entries.append((parent.key, node))
            parent.key = None

    def _key(self, parent: _Open, node: Node) -> None:
        if not isinstance(node, Text):
            self._refuse("E001", node.position, "a list or a map cannot be a key", "quote the key")
            return
        parent.key = node
        first = parent.first_lines.get(node.value)
        parent.ignore_value = first is not None
        if first is None:
            parent.first_lines[node.value] = node.position.line
            return
        self._problems.error(
            "E002",
            node.position,
            f'"{node.value}" is written twice in the same place',
            f"first one on line {first}; only one can count",
        )
