"""The watcher of the balance: what it may not be able to read, and what it must not pass over."""

from pathlib import Path

import apsw
import pytest

from crash import watching
from crash.watching import BalanceWatch
from ifengine.errors import DamagedPageError
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_read import SqliteReader


class Unreadable:
    """A reader that cannot read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def tally(self) -> None:
        raise self.error

    def close(self) -> None:
        """Nothing is open."""


def test_damage_is_passed_over_only_until_the_first_balance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is being made has first pages that are not whole for who looks from outside."""
    store = SqliteStore(tmp_path / "store")
    watch = BalanceWatch(tmp_path / "store" / "store.db")
    damaged = Unreadable(DamagedPageError("read failed"))
    monkeypatch.setattr(watching, "SqliteReader", lambda path: damaged)
    watch._look()
    assert (watch.unreadable, watch.evaluations) == (1, 0)
    monkeypatch.setattr(watching, "SqliteReader", SqliteReader)
    watch._look()
    assert (watch.unreadable, watch.evaluations) == (1, 1)
    watch._close()
    monkeypatch.setattr(watching, "SqliteReader", lambda path: Unreadable(apsw.BusyError("busy")))
    watch._look()
    assert watch.unreadable == 2  # a process that starts may hold everybody off at any time
    monkeypatch.setattr(watching, "SqliteReader", lambda path: damaged)
    with pytest.raises(DamagedPageError):
        watch._look()
    store.close()
