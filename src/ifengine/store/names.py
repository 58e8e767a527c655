"""Numbers for configured names: the store's rows carry numbers, people see names."""

from collections.abc import Iterable

from ifengine.store.base import Batch, NameKind


class Names:
    """Both directions of the name table. A number, once given, is never given to another name."""

    def __init__(self, rows: Iterable[tuple[int, NameKind, str]]) -> None:
        self._numbers: dict[tuple[NameKind, str], int] = {}
        self._names: dict[int, tuple[NameKind, str]] = {}
        for number, kind, name in rows:
            self._numbers[kind, name] = number
            self._names[number] = (kind, name)

    def number(self, kind: NameKind, name: str) -> int:
        """Return the number of a name, 0 when the store has never seen it."""
        return self._numbers.get((kind, name), 0)

    def name(self, number: int) -> str:
        """Return the name of a number, ``""`` for 0 and for numbers the store does not know."""
        found = self._names.get(number)
        return "" if found is None else found[1]

    def add(self, kind: NameKind, name: str, batch: Batch) -> int:
        """Return the number of a name, giving it one in ``batch`` when it is new."""
        number = self.number(kind, name)
        if number == 0:
            number = max(self._names, default=0) + 1
            self._numbers[kind, name] = number
            self._names[number] = (kind, name)
            batch.names.append((number, kind, name))
        return number
