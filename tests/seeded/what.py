"""What a seeded bug is."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Bug:
    """One way to break a promise, and the tests that must find it.

    ``file`` is below ``src/ifengine``; ``old`` stands there exactly once. ``caught_by`` are tests
    below ``tests``, each of which must find it. ``seconds`` is the budget of one, some times what it
    took on two busy cores.
    """

    name: str
    promise: str
    breaks: str
    file: str
    old: str
    new: str
    also: tuple[tuple[str, str], ...] = ()  # more places of the same file, each once: old, new
    caught_by: tuple[str, ...]
    seconds: float = 60.0
    environ: Mapping[str, str] = field(default_factory=dict)
    quick: bool = False  # caught within a few seconds: one of those that `make test` takes in turn
