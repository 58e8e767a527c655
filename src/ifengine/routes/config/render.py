"""Problems as a person reads them, and as a program does."""

from collections.abc import Sequence

from ifengine.transforms.source import Problem

_WIDEST = 160


def render_problem(problem: Problem, source_lines: Sequence[str]) -> str:
    """Return a problem with its line and a caret below the character, and the hint.

    Args:
        problem: what was found.
        source_lines: the lines of its file; empty where the file could not be read.
    """
    place = problem.position
    head = (
        f"{place.file}:{place.line}:{place.column}: "
        f"{problem.severity.value}[{problem.code}]: {problem.message}"
    )
    parts = [head]
    if 0 < place.line <= len(source_lines):
        line, caret = _window(source_lines[place.line - 1], place.column)
        parts.append(f"{place.line:>6} | {line}")
        parts.append(f"       | {' ' * (caret - 1)}^")
    if problem.hint:
        parts.append(f"       = {problem.hint}")
    return "\n".join(parts)


def _window(line: str, column: int) -> tuple[str, int]:
    """Return the part of a long line around a column, and the column in it."""
    shown = "".join(c if c.isprintable() else " " for c in line.rstrip())
    if len(shown) <= _WIDEST:
        return shown, column
    start = max(0, column - _WIDEST // 2)
    cut = shown[start : start + _WIDEST]
    if start == 0:
        return cut + "…", column
    return f"…{cut}…", column - start + 1


def problem_as_json(problem: Problem) -> dict[str, object]:
    """Return the shape of ``check -o json``."""
    return {
        "file": problem.position.file,
        "line": problem.position.line,
        "column": problem.position.column,
        "severity": problem.severity.value,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
    }
