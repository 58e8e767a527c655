"""Which misbehaviour happens when: by count, by lot, within a time. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ifengine.chaos.table import Misbehaviour, Scope


class Rule(NamedTuple):
    """One misbehaviour and how often; ``share`` None: whenever it is the turn of ``every``."""

    row: Misbehaviour
    share: float | None = None


class Chooser:
    """Decides for each message and each connection.

    Args:
        rules: what may happen. Those without a share take turns.
        every: one of them happens at every Nth message (connection).
        draw: returns a number from 0 to 1, by lot.
        after: seconds on the clock before which nothing happens.
        until: seconds on the clock from which nothing happens.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        every: int = 1,
        draw: Callable[[], float],
        after: float = 0.0,
        until: float = math.inf,
    ) -> None:
        self._rules = {s: [r for r in rules if r.row.scope is s] for s in Scope}
        self._every = every
        self._after = after
        self._until = until
        self._seen: Counter[Scope] = Counter()
        self.draw = draw
        self.is_calm = False

    def is_active(self, now: float) -> bool:
        """Return whether anything may happen at this time."""
        return not self.is_calm and self._after <= now < self._until

    def for_message(self, now: float) -> Misbehaviour | None:
        """Return what happens to the answer of the next message."""
        chosen = self._chosen(Scope.ANSWER, now)
        return chosen[0] if chosen else None

    def for_connection(self, now: float) -> list[Misbehaviour]:
        """Return what happens to the next connection: all of the network, one of the rest."""
        return [*self._chosen(Scope.NETWORK, now), *self._chosen(Scope.CONNECTION, now)[:1]]

    def flaps(self, now: float) -> bool:
        """Return whether connections are to be reset now."""
        return self.is_active(now) and bool(self._rules[Scope.PROXY])

    def _chosen(self, scope: Scope, now: float) -> list[Misbehaviour]:
        if not self.is_active(now):
            return []
        self._seen[scope] += 1
        turn, due = divmod(self._seen[scope], self._every)
        counted = [rule.row for rule in self._rules[scope] if rule.share is None]
        chosen = []
        if counted and not due:
            # on a network they come together, elsewhere one excludes the other
            both = scope is Scope.NETWORK
            chosen = counted if both else [counted[(turn - 1) % len(counted)]]
        drawn = [r.row for r in self._rules[scope] if r.share is not None and self.draw() < r.share]
        return [*chosen, *drawn]
