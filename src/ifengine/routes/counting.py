"""How much waits at a start: counted in windows, the first at once, the others behind the work.

A start must not take longer because more waits. What is counted later is only shown: which delivery
goes next never depends on it.
"""

from collections import Counter
from dataclasses import dataclass

from ifengine.store.base import Reader

PLACES = 20_000  # places of an outbox that one look counts
MESSAGES = 4_000  # messages of the inbox that one look scans


@dataclass(frozen=True, slots=True)
class Uncounted:
    """The places of an outbox with ``after < seq <= head``, which nobody has counted yet.

    Rows are written once and nothing is purged meanwhile: it does not matter when they are counted.
    """

    outbox: int
    after: int
    head: int
    apart: dict[int, int]  # seq -> destination: stuck or settled when the count began

    def window(self, reader: Reader) -> tuple[dict[int, int], "Uncounted"]:
        """Return how many deliveries of the next places wait, by destination, and what is left."""
        through = min(self.head, self.after + PLACES)
        counts = Counter(reader.outbox_counts(self.outbox, self.after, through))
        counts.subtract(n for seq, n in self.apart.items() if self.after < seq <= through)
        return counts, Uncounted(self.outbox, through, self.head, self.apart)

    @property
    def is_done(self) -> bool:
        """Return whether every place is counted."""
        return self.after >= self.head
