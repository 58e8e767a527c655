"""Bodies of giants in pieces: written ahead of their message, removed behind it (ADR 0035).

What no row of table ``giant`` names belongs to nobody: its message was never committed, was a
repeat, or is purged. Such pieces are found at the start, or told of here, and go a few at a time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Any

import apsw

from ifengine.failpoints import fp
from ifengine.pieces import let_others_go_on
from ifengine.store.base import GiantOf, GiantPiece

SWEPT_PIECES = 2  # in one transaction

Finished = Callable[[BaseException | None], None]
Run = Callable[..., Any]

_PIECES = (
    "SELECT p.body FROM giant g JOIN giant_piece p USING (giant)"
    " WHERE g.kind = ? AND g.number = ? ORDER BY p.n"
)


def joined(run: Run, of: GiantOf, number: int, head: bytes) -> bytes:
    """Return a sealed value whose body lies in pieces. For any thread; others go on meanwhile.

    Where pieces are missing it does not open, as whatever was changed.
    """
    whole = BytesIO()
    whole.write(head)
    for (body,) in run(_PIECES, (of, number)):
        whole.write(body)
        let_others_go_on()
    return whole.getvalue()


class Giants:
    """The statements about giants, in a transaction of the one writing connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        cursor = connection.cursor()
        self._run = cursor.execute
        self._run_many = cursor.executemany

    def put(self, pieces: Sequence[GiantPiece]) -> None:
        """Write pieces; nobody has them yet."""
        self._run_many("INSERT INTO giant_piece VALUES (?, ?, ?)", pieces)

    def bind(self, of: GiantOf, giants: Iterable[tuple[int, int]]) -> None:
        """Give pieces to whom they belong: (number, giant)."""
        self._run_many(
            "INSERT INTO giant VALUES (?, ?, ?)", [(giant, of, number) for number, giant in giants]
        )

    def leave(self, of: GiantOf, numbers: Iterable[int]) -> list[int]:
        """Take the pieces from whoever of these has any; return the giants that nobody has now."""
        gone: list[int] = []
        for number in numbers:
            found = self._run(
                "DELETE FROM giant WHERE kind = ? AND number = ? RETURNING giant", (of, number)
            )
            rows: list[Any] = found.fetchall()
            gone += [row[0] for row in rows]
        return gone

    def orphans(self) -> list[int]:
        """Return every giant that has pieces and no owner."""
        found: list[int] = []
        giant = 0
        while True:  # from giant to giant along the key: the pieces between are not read
            after: int | None = self._run(
                "SELECT min(giant) FROM giant_piece WHERE giant > ?", (giant,)
            ).get
            if after is None:
                return found
            giant = after
            if not self._run("SELECT count(*) FROM giant WHERE giant = ?", (giant,)).get:
                found.append(giant)

    def remove_some(self, giant: int) -> bool:
        """Remove pieces of a giant, if nobody has it; return whether none is left."""
        rows: list[Any] = self._run(
            "SELECT n FROM giant_piece WHERE giant = ?1"
            " AND NOT EXISTS (SELECT 1 FROM giant WHERE giant = ?1) ORDER BY n DESC LIMIT ?2",
            (giant, SWEPT_PIECES),
        ).fetchall()
        self._run_many(
            "DELETE FROM giant_piece WHERE giant = ? AND n = ?", [(giant, n) for (n,) in rows]
        )
        return len(rows) < SWEPT_PIECES


class Sweep:
    """Giants of nobody whose pieces are still there. Used by the thread that writes."""

    def __init__(self, giants: Giants) -> None:
        self.waiting: list[Finished] = []  # of purges, to be told when all is gone
        self.is_due = False  # a job of it is in the queue
        self._giants = giants
        self._left = deque(giants.orphans())
        self._is_last = False

    def __bool__(self) -> bool:
        return bool(self._left)

    def add(self, gone: Iterable[int]) -> None:
        """Learn of giants that a committed transaction left without an owner."""
        self._left.extend(gone)

    def step(self) -> None:
        """Remove a few pieces, inside a transaction."""
        if self._left:
            self._is_last = self._giants.remove_some(self._left[0])

    def committed(self) -> None:
        """Learn that the step is on the disk."""
        fp("store.giant_swept")
        if self._left and self._is_last:
            self._left.popleft()
