"""The site file with its overlay as it is written: every value with its place, nothing filled in.

Placeholders stay placeholders, so that what is shown holds no secret.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ifengine.routes.config.loading import SITE_FILE
from ifengine.routes.config.node_text import flow_text, scalar_text
from ifengine.routes.config.overlay import check_overlay, merge
from ifengine.routes.config.yaml_nodes import MAX_FILE_BYTES, compose
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text


class Origin(NamedTuple):
    """One value of the merged site: its path, what is written, and where."""

    path: str
    value: str
    position: Position


def read_file(directory: Path, name: str, problems: Problems) -> Entries | None:
    """Return the map in a YAML file; None after a problem."""
    try:
        with (directory / name).open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or "no such file"
        problems.error("E004", Position(name, 1, 1), f"cannot be read: {reason}")
        return None
    except UnicodeDecodeError:
        problems.error("E004", Position(name, 1, 1), "the file is not UTF-8", "save it as UTF-8")
        return None
    node = compose(text, name, problems)
    if isinstance(node, Entries):
        return node
    if problems.ok:
        problems.error("E001", Position(name, 1, 1), "the file does not hold a map of keys")
    return None


def read_merged(directory: Path, env: str | None, problems: Problems) -> Entries | None:
    """Return ``ifengine.yaml`` with ``env/NAME.yaml`` over it; None after a problem."""
    base = read_file(directory, SITE_FILE, problems)
    if base is None or env is None:
        return base
    over = read_file(directory, f"env/{env}.yaml", problems)
    if over is None:
        return None
    return merge(base, check_overlay(over, problems))


def origins(node: Node, path: str = "") -> Iterator[Origin]:
    """Yield every value below a node; a list is one value, as an overlay replaces it whole."""
    if isinstance(node, Entries) and node.entries:
        for key, value in node:
            yield from origins(value, f"{path}.{key.value}" if path else key.value)
    else:
        yield Origin(path, flow_text(node), node.position)


def block_lines(node: Entries, pad: str = "") -> Iterator[tuple[str, Position | None]]:
    """Yield the lines of a map in block form, each with its value's place; None for a map's key."""
    for key, value in node:
        head = f"{pad}{scalar_text(key)}:"
        match value:
            case Entries() if value.entries:
                yield head, None
                yield from block_lines(value, f"{pad}  ")
            case Text() | Items() | Entries():
                yield f"{head} {flow_text(value)}", value.position
