"""Choices read from bytes, so that one target serves Hypothesis and a coverage-guided fuzzer."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Reads choices one after another; where the bytes have run out every choice is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes were not read yet."""
        return max(len(self._data) - self._at, 0)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def number(self, most: int) -> int:
        """Return 0 to ``most``."""
        if most < 256:
            return self.byte() % (most + 1)
        width = (most.bit_length() + 7) // 8
        return int.from_bytes(bytes(self.byte() for _ in range(width)), "big") % (most + 1)

    def flag(self) -> bool:
        return bool(self.byte() & 1)

    def choice(self, choices: Sequence[T]) -> T:
        return choices[self.number(len(choices) - 1)]

    def some(self, most: int) -> bytes:
        """Return up to ``most`` bytes as they stand."""
        size = min(self.number(most), self.left)
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        """Return everything that was not read."""
        return self.some_of(self.left)

    def some_of(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self, most: int, alphabet: str = "") -> str:
        """Return a short text, of an alphabet or of any characters."""
        size = self.number(most)
        if alphabet:
            return "".join(self.choice(alphabet) for _ in range(min(size, self.left)))
        return self.some_of(min(size, self.left)).decode("utf-8", "replace")
