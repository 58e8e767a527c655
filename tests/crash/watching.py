"""Looks at the balance ten times a second from outside the engine, over a read-only snapshot.

The watcher reads the store's file itself: it goes on while the engine is killed and starts again.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from ifengine.errors import DamagedPageError
from ifengine.store.account import Account
from ifengine.store.balance import Balance
from ifengine.store.sqlite_read import SqliteReader

EVERY_SECONDS = 0.1


class BalanceWatch:
    """One account that goes on for the whole run. Read the figures after the block."""

    def __init__(self, database: Path, every: float = EVERY_SECONDS) -> None:
        self.database = database
        self.every = every
        self.evaluations = 0  # balances struck
        self.unreadable = 0  # the file was being opened or recovered at that moment
        self.slowest = 0.0  # seconds of one evaluation
        self.violations: list[str] = []
        self.last: Balance | None = None
        self._account = Account()
        self._reader: SqliteReader | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="balance", daemon=True)
        self._broken: BaseException | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look one last time and end."""
        self._stop.set()
        self._thread.join(60)
        if self._broken is not None:
            raise self._broken

    def _run(self) -> None:
        try:
            while not self._stop.wait(self.every):
                self._look()
            self._look()
        except BaseException as error:  # a watcher that died proves nothing
            self._broken = error
        finally:
            self._close()

    def _look(self) -> None:
        begun = time.monotonic()
        try:
            if self._reader is None:
                if not self.database.exists():
                    return
                self._reader = SqliteReader(self.database)
            found = None
            while found is None and not self._stop.is_set():
                found = self._account.look(self._reader.tally())
            if found is None:
                found = self._account.look(self._reader.tally(), limit=1_000_000)
        except (apsw.Error, DamagedPageError) as error:
            # while a store is being made its first pages are not whole yet for who looks from
            # outside; from the first balance on, damage is damage
            if self.evaluations and isinstance(error, DamagedPageError):
                raise
            self.unreadable += 1
            self._close()
            return
        self.slowest = max(self.slowest, time.monotonic() - begun)
        if found is None:
            return
        self.evaluations += 1
        self.last = found
        if not found.is_even and len(self.violations) < 20:
            self.violations.append(described(found))

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def figures(self) -> str:
        """Return what a campaign writes down."""
        return (
            f"{self.evaluations} balances, {len(self.violations)} uneven, "
            f"{self.unreadable} unreadable, slowest {self.slowest * 1000:.0f} ms"
        )

    def assert_even(self) -> None:
        """Fail with the first balances that were not even; a fresh account must say the same."""
        assert not self.violations, "\n".join(self.violations[:5])
        assert self.evaluations, "no balance was ever struck"
        fresh = whole_balance(self.database)
        assert fresh.is_even, described(fresh)
        assert self.last is not None
        for side in ("accepted", "planned", "owed"):
            assert _counts(getattr(fresh, side)) == _counts(getattr(self.last, side)), side
        assert fresh.states == self.last.states


def _counts(side: dict[int, int]) -> dict[int, int]:
    return {number: count for number, count in side.items() if count}


def described(balance: Balance) -> str:
    """Return what is wrong with a balance: numbers only."""
    residues = {n: balance.residue(n) for n in balance.owed if balance.residue(n)}
    channels = {n: r for n in balance.accepted if (r := balance.channel_residue(n))}
    return f"residues {residues} {channels}, faults {balance.faults[:5]}"


def whole_balance(database: Path) -> Balance:
    """Return the balance of a store's file, read from its beginning."""
    reader = SqliteReader(database)
    try:
        account = Account()
        while (found := account.look(reader.tally())) is None:
            pass
        return found
    finally:
        reader.close()


@contextmanager
def watch_balance(database: Path, every: float = EVERY_SECONDS) -> Iterator[BalanceWatch]:
    """Watch a store's file while the block runs."""
    watch = BalanceWatch(database, every)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
