"""Files of a site that steps name: Python functions and snippets of steps."""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ifengine.transforms.source import Entries, Items, Node, Problems, Text

# `$${` is a `${` that is meant as text: parse_template undoes it
PARAMETER = re.compile(r"(?<!\$)\$\{\s*([a-z][a-z0-9_-]*)\.([^}|\s]*)\s*\}")


@dataclass(frozen=True, slots=True)
class PythonFile:
    """A file below ``channels/python`` and the functions that it gives."""

    name: str  # relative to the site
    text: str = field(repr=False)
    functions: frozenset[str] | None = None  # None: what is missing shows when it is imported


@dataclass(frozen=True, slots=True)
class Snippet:
    """A list of steps in a file of its own below ``channels/snippets``."""

    name: str  # relative to the site
    steps: Items = field(repr=False)
    parameters: frozenset[str] = frozenset()  # of every ``${with.NAME}`` in it


def functions_of(tree: ast.Module) -> frozenset[str] | None:
    """Return the functions that a file defines; None where it may get them in another way."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif not isinstance(node, ast.Import | ast.Expr | ast.ClassDef):
            return None  # imported by name, assigned, made under a condition
    return frozenset(found)


def parameters_of(node: Node, kind: str = "with") -> frozenset[str]:
    """Return the names of every ``${with.NAME}`` (or ``${vars.NAME}``) below a node."""
    match node:
        case Text():
            return frozenset(m[2] for m in PARAMETER.finditer(node.value) if m[1] == kind)
        case Items():
            return frozenset(name for item in node for name in parameters_of(item, kind))
        case Entries():
            names = [parameters_of(key, kind) | parameters_of(value, kind) for key, value in node]
            return frozenset(name for found in names for name in found)


def fill(
    node: Node, kind: str, value_of: Callable[[str, Text, int], Text | None], problems: Problems
) -> Node:
    """Return a node with every ``${KIND.NAME}`` replaced by what ``value_of`` gives for it.

    Keys are filled too, so that a parameter may be a path that is written. A scalar that is one
    placeholder and no more becomes its value, plain or quoted as that was written.

    Args:
        node: what is filled; its depth is bounded by the loader.
        kind: ``with`` or ``vars``.
        value_of: gives the text for a name; None where it reported a mistake.
        problems: gets the mistake of a key that is there twice after filling.
    """
    match node:
        case Text():
            return _filled(node, kind, value_of)
        case Items():
            items = tuple(fill(item, kind, value_of, problems) for item in node)
            return Items(items, node.position)
        case Entries():
            entries: dict[str, tuple[Text, Node]] = {}
            for key, value in node:
                filled = _filled(key, kind, value_of)
                if filled.value in entries and filled.value != key.value:
                    message = f'"{filled.value}" is written twice in the same place'
                    problems.error("E002", key.position, message)
                entries[filled.value] = (filled, fill(value, kind, value_of, problems))
            return Entries(tuple(entries.values()), node.position)


def _filled(text: Text, kind: str, value_of: Callable[[str, Text, int], Text | None]) -> Text:
    if f"{kind}." not in text.value:
        return text
    parts: list[str] = []
    end, plain = 0, text.plain
    for match in PARAMETER.finditer(text.value):
        if match[1] != kind:
            continue
        value = value_of(match[2], text, match.start())
        whole = match[0] == text.value
        plain = value.plain if whole and value is not None else plain
        parts += [text.value[end : match.start()], "" if value is None else value.value]
        end = match.end()
    if not end:
        return text
    return Text("".join(parts) + text.value[end:], text.position, plain, False)
