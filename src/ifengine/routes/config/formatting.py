"""``fmt``: indentation and trailing blanks, line by line; nothing else of a file is touched.

Comments, order, quotes and the analyst's own alignment inside a line stay (channel-language.md,
rule 10). What is written is read again before it is given back: it means the same, or it is refused.
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

import yaml

from ifengine.routes.config.yaml_nodes import compose
from ifengine.transforms.source import Entries, Items, Node, Position, Problem, Problems, Text

INDENT: Final = 2
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LINES = re.compile(r"(.*?)(\r\n|\r|\n|\Z)", re.DOTALL)
# PID-3(2), OBX(3)-5: an index in the other notation
_ROUND = re.compile(r"\b([A-Z][A-Z0-9]{2}(?:-[0-9]{1,3})?)\(([0-9]{1,4}|last|\*)\)")


class Suggestion(NamedTuple):
    """Something that could be written better, and is left to the analyst."""

    position: Position
    message: str


@dataclass(frozen=True, slots=True)
class Formatted:
    """A file after ``fmt``. ``text`` is None where it has problems and stays as it is."""

    text: str | None
    problems: tuple[Problem, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()


def format_text(text: str, file: str) -> Formatted:
    """Return a YAML text with two blanks for each level and none at the ends of lines.

    Args:
        text: the file's text; its line ends and byte order mark stay.
        file: the name shown in problems.
    """
    problems = Problems()
    before = compose(text, file, problems)
    if not problems.ok or before is None:
        return Formatted(None, tuple(problems.found))
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    found = _Layout(text.removeprefix(mark)).formatted()
    after = compose(found, file, Problems())
    if after is None or meaning(after) != meaning(before):
        problems.error(
            "E001",
            before.position,
            "the indentation of this file is not of a form that fmt can change safely",
            "indent each level by two blanks by hand",
        )
        return Formatted(None, tuple(problems.found))
    return Formatted(mark + found, suggestions=tuple(_suggestions(after)))


def meaning(node: Node) -> object:
    """Return what a node says, without where: two files that mean the same are equal in it."""
    match node:
        case Text():
            return (node.value, node.plain)
        case Items():
            return [meaning(item) for item in node]
        case Entries():
            return {key.value: (key.plain, meaning(value)) for key, value in node}


def _suggestions(node: Node) -> list[Suggestion]:
    found: list[Suggestion] = []
    waiting: list[Node] = [node]
    while waiting:
        this = waiting.pop()
        match this:
            case Text():
                found += _round_indexes(this)
            case Items():
                waiting += this.items
            case Entries():
                for key, value in this:
                    waiting += (key, value)
    return sorted(set(found))


def _round_indexes(text: Text) -> list[Suggestion]:
    return [
        Suggestion(text.at(hit.start()), f"{hit[0]} may be written {hit[1]}[{hit[2]}]")
        for hit in _ROUND.finditer(text.value)
    ]


class _Anchor(NamedTuple):
    """A dash or a key of a block: the column it has, and the one it gets."""

    old: int
    new: int


@dataclass(slots=True)
class _Block:
    """An open block map or list."""

    is_map: bool
    new: int
    # a list whose dashes stand below the key itself has no end of its own
    is_implied: bool = False


@dataclass(slots=True)
class _Layout:
    """Where each line of a text moves to."""

    text: str
    blocks: list[_Block] = field(default_factory=list)
    anchors: dict[int, list[_Anchor]] = field(default_factory=dict)
    # lines inside a value that began above: they move with it, and keep their blanks
    carried: dict[int, int] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    flow: int = 0
    flow_start: tuple[int, int] = (0, 0)

    def formatted(self) -> str:
        """Return the text with every line at its new place."""
        for token in yaml.scan(self.text, Loader=_LOADER):
            self._token(token)
        lines = [(m[1], m[2]) for m in _LINES.finditer(self.text) if m[0]]
        moved = [self._line(number, body) for number, (body, _) in enumerate(lines)]
        self._comments([body for body, _ in lines], moved)
        return "".join(body + end for body, (_, end) in zip(moved, lines, strict=True))

    # --- tokens ---------------------------------------------------------------------------------

    def _token(self, token: Any) -> None:
        match token:
            case yaml.FlowSequenceStartToken() | yaml.FlowMappingStartToken():
                if not self.flow:
                    self.flow_start = (token.start_mark.line, token.start_mark.column)
                self.flow += 1
            case yaml.FlowSequenceEndToken() | yaml.FlowMappingEndToken():
                self.flow -= 1
                if not self.flow:
                    self._carry(*self.flow_start, token.start_mark.line)
            case yaml.ScalarToken():
                self._scalar(token)
            case _:
                if not self.flow:
                    self._block_token(token)

    def _block_token(self, token: Any) -> None:
        match token:
            case yaml.BlockMappingStartToken():
                self._open(is_map=True)
            case yaml.BlockSequenceStartToken():
                self._open(is_map=False)
            case yaml.BlockEntryToken():
                if self.blocks and self.blocks[-1].is_map:
                    self._open(is_map=False, is_implied=True)
                self._anchor(token)
            case yaml.KeyToken():
                self._end_implied()
                self._anchor(token)
            case yaml.BlockEndToken():
                self._end_implied()
                self.blocks.pop()
            case _:
                pass

    def _open(self, *, is_map: bool, is_implied: bool = False) -> None:
        new = self.blocks[-1].new + INDENT if self.blocks else 0
        self.blocks.append(_Block(is_map, new, is_implied))

    def _end_implied(self) -> None:
        if self.blocks and self.blocks[-1].is_implied:
            self.blocks.pop()

    def _anchor(self, token: Any) -> None:
        if self.blocks:
            mark = token.start_mark
            anchor = _Anchor(mark.column, self.blocks[-1].new)
            self.anchors.setdefault(mark.line, []).append(anchor)

    def _scalar(self, token: Any) -> None:
        start, end = token.start_mark, token.end_mark
        if start.line == end.line:
            return
        # the end of block text is where the next token could begin
        last = end.line - 1 if token.style in ("|", ">") and end.column == 0 else end.line
        if not self.flow:
            self._carry(start.line, start.column, last)
        # quotes and block text hold the blanks at the ends of their inner lines
        if token.style in ("|", ">"):
            self.kept.update(range(start.line + 1, last + 1))
        elif token.style:
            self.kept.update(range(start.line, last))

    def _carry(self, line: int, column: int, last: int) -> None:
        before = [anchor for anchor in self.anchors.get(line, ()) if anchor.old <= column]
        shift = before[-1].new - before[-1].old if before else self.carried.get(line, 0)
        for number in range(line + 1, last + 1):
            self.carried.setdefault(number, shift)

    # --- lines ----------------------------------------------------------------------------------

    def _line(self, number: int, body: str) -> str:
        if number in self.carried:
            return self._ended(number, _shifted(body, self.carried[number]))
        anchors = self.anchors.get(number)
        if not anchors:
            return self._ended(number, body)
        made = " " * anchors[0].new
        for this, following in pairwise(anchors):
            # a dash and the blanks behind it
            made += body[this.old : following.old].rstrip().ljust(following.new - this.new)
        return self._ended(number, made + body[anchors[-1].old :])

    def _ended(self, number: int, body: str) -> str:
        return body if number in self.kept else body.rstrip(" \t")

    def _comments(self, lines: list[str], moved: list[str]) -> None:
        """Move comment lines with what they stand above; or below, at the end of a block."""
        places = {
            number: (anchors[0].old, anchors[0].new) for number, anchors in self.anchors.items()
        }
        for number, body in enumerate(lines):
            bare = body.lstrip(" ")
            if not bare.startswith("#") or number in self.carried or number in self.anchors:
                continue
            column = len(body) - len(bare)
            new = _beside(column, number, places)
            moved[number] = " " * new + bare.rstrip(" \t")


def _beside(column: int, number: int, places: dict[int, tuple[int, int]]) -> int:
    """Return the new column of a comment, by the lines below and above it."""
    below = min((line for line in places if line > number), default=None)
    if below is not None and places[below][0] == column:
        return places[below][1]
    if below is None and column == 0:
        return 0
    # what stands in the same column above, as long as its block is still open
    for line in sorted((line for line in places if line < number), reverse=True):
        old, new = places[line]
        if old == column:
            return new
        if old < column:
            break
    if below is not None:
        old, new = places[below]
        return max(0, column + new - old)
    return column


def _shifted(body: str, by: int) -> str:
    if by >= 0:
        return " " * by + body if body.strip(" \t") else body
    blanks = len(body) - len(body.lstrip(" "))
    return body[min(-by, blanks) :]
