"""What steps read beside tables: Python files, snippets, and the site's variables."""

import ast
import difflib
from collections.abc import Mapping, Sequence

from ifengine.routes.config.filled import FilledText
from ifengine.routes.config.placeholders import PLACEHOLDER, refuse_placeholders
from ifengine.routes.worker_process import Load, LoadError, WorkerError, import_now
from ifengine.transforms.base import Steps
from ifengine.transforms.site_files import (
    PythonFile,
    Snippet,
    fill,
    functions_of,
    parameters_of,
)
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text
from ifengine.transforms.table_of_steps import BY_VERB

_SECRETS = {verb: row.secrets for verb, row in BY_VERB.items() if row.secrets}
_SNIPPET_KEYS = ("about", "steps")


def read_python(text: str, name: str, problems: Problems) -> PythonFile | None:
    """Look at a Python file without running it; what is no Python is told at its place."""
    try:
        tree = ast.parse(text, name)
    except SyntaxError as error:
        at = Position(name, error.lineno or 1, max(error.offset or 1, 1))
        problems.error("E351", at, f"this is not Python: {error.msg}")
        return None
    except (ValueError, RecursionError, MemoryError) as error:
        problems.error("E351", Position(name, 1, 1), f"this is not Python: {type(error).__name__}")
        return None
    return PythonFile(name, text, functions_of(tree))


def import_used(
    files: Mapping[str, PythonFile], steps: Sequence[Steps], problems: Problems
) -> None:
    """Import every file that a step uses, in a worker: it loads, and it has the functions."""
    by_name = {file.name: file for file in files.values()}
    wanted: dict[str, list[str]] = {}
    for one in steps:
        for step in one.all():
            for name, function in step.uses.calls:
                wanted.setdefault(name, []).append(function)
    for name, functions in wanted.items():
        load = Load(name, by_name[name].text)
        try:
            import_now(load, tuple(dict.fromkeys(functions)))
        except LoadError as error:
            at = Position(name, error.line or 1, 1)
            problems.error("E351", at, error.full, "the standard library is all there is")
        except WorkerError as error:
            problems.error("E351", Position(name, 1, 1), str(error))


def read_snippet(
    node: Node | None, name: str, variables: Mapping[str, Text], problems: Problems
) -> Snippet | None:
    """Read a snippet: a list of steps, or ``about`` and ``steps``."""
    if isinstance(node, Entries):
        for key, _ in node:
            if key.value not in _SNIPPET_KEYS:
                hint = "a snippet is a list of steps, or about and steps"
                problems.error("E101", key.position, f'"{key.value}" is not known here', hint)
        node = node.get("steps")
    if not isinstance(node, Items) or not node.items:
        at = Position(name, 1, 1) if node is None else node.position
        problems.error("E104", at, "a snippet is a list of steps", 'begin each step with "- "')
        return None
    cleaned = refuse_placeholders(node, problems, frozenset(), _SECRETS)
    filled = fill_variables(cleaned, variables, problems)
    return Snippet(name, filled, parameters_of(filled)) if isinstance(filled, Items) else None


def fill_variables(node: Node, variables: Mapping[str, Text], problems: Problems) -> Node:
    """Return a node with ``${vars.NAME}`` filled from the site's ``vars:``."""

    def value_of(name: str, text: Text, offset: int) -> Text | None:
        found = variables.get(name)
        if found is None:
            near = difflib.get_close_matches(name, variables, 1)
            hint = f'did you mean "{near[0]}"?' if near else f"vars: {{{name}: …}} in ifengine.yaml"
            message = f'the site has no variable "{name}"'
            problems.error("E355", text.at(offset), message, hint)
            return None
        if isinstance(found, FilledText) and _is_secret(found):
            message = f'"{name}" is a secret, which cannot stand in a channel'
            problems.error("E355", text.at(offset), message)
            return None
        return found

    return fill(node, "vars", value_of, problems)


def _is_secret(text: FilledText) -> bool:
    return any(match[1] == "secret" for match in PLACEHOLDER.finditer(text.written))
