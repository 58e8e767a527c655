"""What a memory store holds."""

import bisect
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Generic, TypeVar

from ifengine.store.base import (
    AttemptRow,
    AuditRow,
    ConfigVersionRow,
    CursorKind,
    DataKeyRow,
    ExceptionRow,
    Fate,
    GiantOf,
    InboxRow,
    NameKind,
    OutboxRow,
    OutcomeRow,
    ParkedRow,
    PlanRow,
    StateRow,
)
from ifengine.store.guard import Claim
from ifengine.store.sealing import is_head

Row = TypeVar("Row")


class Shelf(Generic[Row]):
    """Rows by ascending number. ``highest`` never goes down, whatever is removed."""

    __slots__ = ("highest", "numbers", "rows")

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.numbers: list[int] = []
        self.highest = 0

    def put(self, number: int, row: Row) -> None:
        """Add a row; nearly always behind all others."""
        self.rows[number] = row
        if number > self.highest:
            self.highest = number
            self.numbers.append(number)
        else:
            bisect.insort(self.numbers, number)

    def remove(self, number: int) -> Row | None:
        """Take a row away, if it is there."""
        row = self.rows.pop(number, None)
        if row is not None:
            del self.numbers[bisect.bisect_left(self.numbers, number)]
        return row

    def after(self, number: int) -> Iterator[Row]:
        """Yield the rows after a number."""
        rows = self.rows
        for i in range(bisect.bisect_right(self.numbers, number), len(self.numbers)):
            yield rows[self.numbers[i]]

    def newest(self, before: int) -> Iterator[Row]:
        """Yield the rows below a number, the highest first."""
        for i in range(bisect.bisect_left(self.numbers, before) - 1, -1, -1):
            yield self.rows[self.numbers[i]]


class Contents:
    """Everything a memory store holds, under one lock."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a balance holds it over several looks
        self.data_keys: dict[int, DataKeyRow] = {}
        self.names: dict[int, tuple[int, NameKind, str]] = {}
        self.config_versions: dict[int, ConfigVersionRow] = {}
        self.inbox: Shelf[InboxRow] = Shelf()
        self.guard: dict[bytes, Claim] = {}
        self.plans: dict[int, dict[int, PlanRow]] = {}
        self.copies: Shelf[bytes] = Shelf()
        self.pieces: dict[int, dict[int, bytes]] = {}  # of giants, by number
        self.giants: dict[tuple[GiantOf, int], int] = {}  # by what they belong to
        self.outbox: dict[int, Shelf[OutboxRow]] = {}
        self.exceptions: dict[tuple[int, int], ExceptionRow] = {}
        self.attempts: dict[tuple[int, int], list[AttemptRow]] = {}
        self.outcomes: dict[int, Shelf[OutcomeRow]] = {}
        self.cursors: dict[tuple[CursorKind, int], int] = {}
        self.tags: dict[bytes, set[int]] = {}
        self.tags_of: dict[int, set[bytes]] = {}
        self.states: dict[tuple[int, bytes], StateRow] = {}
        self.parked: dict[tuple[int, int], ParkedRow] = {}  # by channel and inbox id
        self.config_contents: dict[int, bytes] = {}
        self.settings: dict[str, str] = {}
        self.audits: list[AuditRow] = []
        # by (channel, destination, fate): how many of what was purged ended so
        self.purged: Counter[tuple[int, int, Fate]] = Counter()
        self.purged_inbox = 0
        self.purged_outbox: dict[int, int] = {}

    def whole(self, of: GiantOf, number: int, sealed: bytes) -> bytes:
        """Return a sealed value, of a giant with its body."""
        if not is_head(sealed):
            return sealed
        pieces = self.pieces.get(self.giants.get((of, number), 0), {})
        return b"".join((sealed, *(pieces[n] for n in sorted(pieces))))

    def leave(self, of: GiantOf, number: int) -> None:
        """Forget the pieces of what is removed."""
        giant = self.giants.pop((of, number), 0)
        self.pieces.pop(giant, None)

    def forget_orphans(self) -> None:
        """Forget pieces that nothing came to belong to; at a start."""
        owned = set(self.giants.values())
        self.pieces = {giant: kept for giant, kept in self.pieces.items() if giant in owned}
