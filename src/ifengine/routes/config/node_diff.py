"""What differs between two configurations, by what they say and not by how they are written."""

import json
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from ifengine.routes.config.formatting import meaning
from ifengine.routes.config.node_text import flow_text
from ifengine.transforms.source import Entries, Items, Node, Position, Text


class Change(NamedTuple):
    """One difference. ``before`` or ``after`` is None where the value is on one side only."""

    path: str
    before: str | None
    after: str | None
    place_before: Position | None
    place_after: Position | None


def diff_nodes(before: Node | None, after: Node | None, path: str = "") -> Iterator[Change]:
    """Yield every difference, in the order of the files; equal nodes yield nothing.

    Args:
        before: one side; None where it is absent.
        after: the other side.
        path: where both stand, as in ``connections.lis-adt``.
    """
    if before is None or after is None:
        if before is not None or after is not None:
            yield _change(path, before, after)
    elif isinstance(before, Entries) and isinstance(after, Entries):
        yield from _maps(before, after, path)
    elif isinstance(before, Items) and isinstance(after, Items):
        yield from _lists(before.items, after.items, path)
    elif not _same(before, after):
        yield _change(path, before, after)


def _change(path: str, before: Node | None, after: Node | None) -> Change:
    return Change(
        path,
        None if before is None else flow_text(before),
        None if after is None else flow_text(after),
        None if before is None else before.position,
        None if after is None else after.position,
    )


def _same(before: Node, after: Node) -> bool:
    if isinstance(before, Text) and isinstance(after, Text):
        # quotes alone change nothing, but for null
        return before.value == after.value and before.is_null == after.is_null
    return False


def _maps(before: Entries, after: Entries, path: str) -> Iterator[Change]:
    names = [key.value for key, _ in before]
    names += [key.value for key, _ in after if before.get(key.value) is None]
    for name in names:
        yield from diff_nodes(before.get(name), after.get(name), f"{path}.{name}" if path else name)


def _lists(before: Sequence[Node], after: Sequence[Node], path: str) -> Iterator[Change]:
    """Compare lists so that one step that was put in does not change all behind it."""
    left, right = ([json.dumps(meaning(item)) for item in items] for items in (before, after))
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for tag, b1, b2, a1, a2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        together = min(b2 - b1, a2 - a1)
        for offset in range(together):
            where = f"{path}[{a1 + offset + 1}]"
            yield from diff_nodes(before[b1 + offset], after[a1 + offset], where)
        for index in range(b1 + together, b2):
            yield _change(f"{path}[{index + 1}]", before[index], None)
        for index in range(a1 + together, a2):
            yield _change(f"{path}[{index + 1}]", None, after[index])
