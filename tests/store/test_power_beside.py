"""Power cuts while one thread commits and another moves the log. See test_power_loss.py, ADR 0030."""

import itertools
import threading
from pathlib import Path

import pytest

from campaigns import Ledger
from ifengine.store import sqlite_log
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_mark import MARK
from store.builders import commit
from store.journal import Event, Journal, damage_shown, journal_mark
from store.test_power_loss import (
    COMMITS,
    IMAGES,
    SEED,
    Trace,
    batch,
    faulty_images,
    files_of,
    run_workload,
)


class Step:
    """Lets the mover go one page further with each write of the log, while there are commits."""

    def __init__(self) -> None:
        self.change = threading.Condition()
        self.writes = 0
        self.moved = 0
        self.is_over = False

    def before(self, kind: str, file: str) -> None:
        if kind != "w":
            return
        with self.change:
            if threading.current_thread().name != "store-mover":
                self.writes += 1
                self.change.notify_all()
                return
            seen = self.writes
            assert self.change.wait_for(lambda: self.writes > seen or self.is_over, 60)
            self.moved += not self.is_over

    def end(self) -> None:
        """Let the mover go on alone: there is no commit any more."""
        with self.change:
            self.is_over = True
            self.change.notify_all()


@pytest.fixture(scope="module")
def busy_trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """No rest: each page that is moved waits for a write of the log."""
    folder = tmp_path_factory.mktemp("busy") / "store"
    SqliteStore(folder).close()
    base, step, commits = files_of(folder), Step(), COMMITS
    journal = Journal(folder, step.before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_log, "WAL_PAGES", 40)
        patch.setattr(sqlite_log, "REST_PAGES", 200)
        patch.setattr(sqlite_log, "RETRY_PAGES", 20)
        journal_mark(patch)
        store = SqliteStore(folder, vfs=journal.vfs)
        run_workload(store, journal.log, commits)
        while step.moved < 150 or starts_of(journal.log) < 4:
            commits += 1
            commit(store, batch(commits))
            journal.log.append(("ack", commits))
        step.end()
        store.close()
    journal.close()
    return base, list(journal.log)


@pytest.mark.crash
def test_a_power_cut_while_the_log_is_moved_beside_the_commits_loses_nothing(
    busy_trace: Trace, shelf: Path, ledger: Ledger
) -> None:
    _, log = busy_trace
    beside, starts = moved_beside_commits(log), starts_of(log)
    assert beside >= 100, "commits and moves took turns"
    faults, damage = faulty_images(busy_trace, IMAGES, shelf, SEED)
    ledger.record(
        "G1", "power cuts while one thread commits and another moves the log",
        trials=IMAGES, failures=len(faults),
        found=f"{len(log):,} events, {beside:,} times a page was moved between two writes of the"
        f" log, which began anew {starts:,} times; {damage_shown(damage)}; IFENGINE_SEED={SEED}",
    )  # fmt: skip
    assert faults == []


def moved_beside_commits(log: list[Event]) -> int:
    """Return how often a page was moved right behind a write of the log, with one to come."""
    kinds = [event[1] for event in log if event[0] == "w" and event[1] != MARK]
    turns = itertools.pairwise(kinds)
    return sum(turn == ("store.db-wal", "store.db") for turn in turns)


def starts_of(log: list[Event]) -> int:
    """Return how often the log could begin anew."""
    return sum(event[:2] == ("s", MARK) for event in log)
