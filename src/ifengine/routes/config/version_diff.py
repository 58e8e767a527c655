"""What differs between two versions of a configuration that the store kept. Pure.

YAML is compared by what it says, tables by how many rows, any other file by how many lines.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ifengine.routes.config.node_diff import diff_nodes
from ifengine.routes.config.yaml_nodes import compose
from ifengine.transforms.source import Node, Position, Problems

Files = Mapping[str, tuple[str, ...]]  # file as shown: its lines


class Difference(NamedTuple):
    """One difference. ``before`` or ``after`` is None where it is in one version only."""

    path: str
    before: str | None
    after: str | None
    place_before: Position | None
    place_after: Position | None


def diff_versions(old: Files, new: Files) -> Iterator[Difference]:
    """Yield every difference: the site file first, then the others in order of their names."""
    for name in sorted(set(old) | set(new), key=lambda name: (name.count("/"), name)):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if name.endswith(".yaml"):
            yield from _said(name, before, after)
        else:
            yield _counted(name, before, after)


def _said(
    name: str, before: tuple[str, ...] | None, after: tuple[str, ...] | None
) -> Iterator[Difference]:
    path = "" if name.count("/") == 0 else name.removesuffix(".yaml").replace("/", ".")
    for change in diff_nodes(_node(name, before), _node(name, after), path):
        yield Difference(*change)


def _node(name: str, lines: tuple[str, ...] | None) -> Node | None:
    # what was kept had been read without an error once
    return None if lines is None else compose("\n".join(lines) + "\n", name, Problems())


def _counted(
    name: str, before: tuple[str, ...] | None, after: tuple[str, ...] | None
) -> Difference:
    gone = len(set(before or ()) - set(after or ()))
    fresh = len(set(after or ()) - set(before or ()))
    what = "rows" if name.startswith("channels/tables/") else "lines"
    return Difference(
        name,
        None if before is None else f"{gone} {what} gone",
        None if after is None else f"{fresh} {what} new",
        None,
        None,
    )
