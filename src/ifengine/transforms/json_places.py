"""Where something stands in a JSON text: line and column of a path, for a person who looks for it.

Asked only when something is wrong, of a text that was read as JSON already.
"""

import re
from collections.abc import Iterable, Sequence

from ifengine.transforms.source import Position

# keys and positions from the outside in: ("group", 0, "element")
JsonPath = tuple[str | int, ...]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+', re.DOTALL)


def path_text(path: Sequence[str | int]) -> str:
    """Return a path as a person writes it: ``group[0].element[2].code``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def places_of(text: str, paths: Iterable[JsonPath], file: str) -> dict[JsonPath, Position]:
    """Return where the values of some paths begin; the start of the file for one that is not there."""
    wanted = frozenset(paths)
    found: dict[JsonPath, Position] = {path: Position(file, 1, 1) for path in wanted}
    here: list[str | int] = []  # the path of the value that comes next, without its last part
    part: str | int | None = None  # its last part; None where a key is expected
    open_lists: list[bool] = []
    for match in _TOKEN.finditer(text):
        sign = match[0]
        if sign == ",":
            part = part + 1 if open_lists[-1] and isinstance(part, int) else None
        elif sign in "]}":
            open_lists.pop()
            part = here.pop() if here else None
        elif sign != ":" and part is None and open_lists:
            part = _plain(sign)  # a key
        elif sign != ":":
            path = tuple(here) if part is None else (*here, part)
            if path in wanted:
                found[path] = _position(text, match.start(), file)
            if sign in "[{":
                if part is not None:
                    here.append(part)
                open_lists.append(sign == "[")
                part = 0 if sign == "[" else None
    return found


def _plain(key: str) -> str:
    return key[1:-1]


def _position(text: str, at: int, file: str) -> Position:
    line = text.count("\n", 0, at)
    return Position(file, line + 1, at - (text.rfind("\n", 0, at) + 1) + 1)
