"""Which facts the steps of a channel remember, found before they are read: a later step may do it."""

from collections.abc import Iterable

from ifengine.transforms.source import Entries, Items, Node, Text


def facts_of(nodes: Iterable[Node]) -> dict[str, frozenset[str]]:
    """Return fact -> the names of the values it carries, ``""`` for a single text."""
    found: dict[str, frozenset[str]] = {}
    for node in nodes:
        _find(node, found)
    return found


def _find(node: Node, found: dict[str, frozenset[str]]) -> None:
    match node:
        case Items():
            for item in node:
                _find(item, found)
        case Entries():
            for key, value in node:
                if key.value == "remember" and isinstance(value, Entries):
                    _note(value, found)
                else:
                    _find(value, found)
        case _:
            pass


def _note(remember: Entries, found: dict[str, frozenset[str]]) -> None:
    fact, value = remember.get("fact"), remember.get("value")
    if not isinstance(fact, Text):
        return
    names: frozenset[str] = frozenset()
    if isinstance(value, Entries):
        names = frozenset(key.value for key, _ in value)
    elif value is not None:
        names = frozenset({""})
    found[fact.value] = found.get(fact.value, frozenset()) | names
