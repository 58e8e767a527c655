"""A store against a dictionary: random acts, restarts in between."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from campaigns import Ledger, trials
from ifengine.store.audit import verify_log
from ifengine.store.base import (
    Batch,
    CursorKind,
    ExceptionState,
    Fate,
    GuardVerdict,
    InboxKind,
    Store,
)
from ifengine.store.memory import MemoryStore
from ifengine.store.sqlite import SqliteStore
from store.builders import (
    act,
    attempt,
    commit,
    delivery,
    ended,
    guarded,
    plan,
    purge,
    queued,
    state,
    trouble,
)
from store.giants import HEAD, commit_pieces, pieces_left, whole

KEYS = st.sampled_from([b"a", b"b", b"c"])
DIGESTS = st.sampled_from([b"1", b"2", b"3", b"4"])


def mac(seq: int, digest: bytes) -> bytes:
    return digest[:16]


class StoreMachine(RuleBasedStateMachine):
    """Subclasses open and reopen the store."""

    store: Store

    def open(self) -> Store:
        raise NotImplementedError

    def reopen(self) -> Store:
        raise NotImplementedError

    @initialize()
    def start(self) -> None:
        self.store = self.open()
        self.store.protect_audit(mac)
        self.messages: dict[int, tuple[bool, bytes]] = {}  # inbox id -> (duplicate, sealed)
        self.giants: dict[int, int] = {}  # inbox id -> whose pieces it has
        self.giant = 0
        self.highest = 0
        self.seq = 0
        self.copies: dict[int, bytes] = {}
        self.deliveries: dict[int, int] = {}  # seq -> inbox id
        self.states: dict[int, ExceptionState] = {}
        self.ends: dict[int, Fate] = {}
        self.attempts: dict[int, int] = {}
        self.tags: set[tuple[bytes, int]] = set()
        self.audits = 0
        self.cursor = 0
        self.remembered: dict[bytes, bytes] = {}
        self.identity = self.store.store_id
        self.given_up = False

    @rule(frames=st.lists(st.tuples(KEYS, DIGESTS), min_size=1, max_size=6))
    def receive(self, frames: list[tuple[bytes, bytes]]) -> None:
        entries = []
        for key, digest in frames:
            self.highest += 1
            sealed = b"%d" % self.highest
            entries.append(guarded(self.highest, key, digest, sealed=sealed))
            if self.highest % 3 == 0:
                self.giant += 1
                commit_pieces(self.store, self.giant)
                entries[-1].sealed, entries[-1].giant = HEAD, self.giant
        self.audits += 1
        commit(self.store, Batch(inbox=entries, audits=[act(self.audits)]))
        for frame in entries:
            duplicate = frame.verdict is GuardVerdict.DUPLICATE
            sealed = whole(frame.giant) if frame.giant else frame.sealed
            self.messages[frame.inbox_id] = (duplicate, b"" if duplicate else sealed)
            if frame.giant and not duplicate:
                self.giants[frame.inbox_id] = frame.giant

    @rule(count=st.integers(1, 4), with_copy=st.booleans())
    def plan_some(self, count: int, with_copy: bool) -> None:
        batch = Batch()
        planned = set(self.deliveries.values())
        waiting = [i for i, (dup, _) in self.messages.items() if not dup and i not in planned]
        for inbox_id in waiting[:count]:
            self.seq += 1
            batch.plans.append(plan(inbox_id, queued(2, self.seq)))
            copy_id = self.seq if with_copy else 0
            batch.outbox.append(delivery(2, self.seq, inbox_id, copy_id=copy_id))
            if copy_id:
                self.copies[copy_id] = b"copy %d" % copy_id
                batch.copies.append((copy_id, self.copies[copy_id]))
            self.deliveries[self.seq] = inbox_id
            batch.tags.append((b"tag", inbox_id))
            self.tags.add((b"tag", inbox_id))
        commit(self.store, batch)

    @rule(pick=st.integers(0, 50), state=st.sampled_from(ExceptionState))
    def have_trouble(self, pick: int, state: ExceptionState) -> None:
        open_ones = [seq for seq in self.deliveries if seq not in self.ends]
        if open_ones:
            seq = open_ones[pick % len(open_ones)]
            self.states[seq] = state
            self.attempts[seq] = self.attempts.get(seq, 0) + 1
            change = Batch(
                exceptions=[trouble(2, seq, state)],
                attempts=[attempt(2, seq, self.attempts[seq])],
            )
            commit(self.store, change)

    @rule(pick=st.integers(0, 50), fate=st.sampled_from([Fate.SENT, Fate.DISCARDED]))
    def settle(self, pick: int, fate: Fate) -> None:
        open_ones = [seq for seq in self.deliveries if seq not in self.ends]
        if open_ones:
            seq = open_ones[pick % len(open_ones)]
            self.states.pop(seq, None)
            self.ends[seq] = fate
            self.cursor = max(self.cursor, seq)
            change = Batch(
                exceptions=[(2, seq)],
                outcomes=[ended(2, seq, fate)],
                cursors={(CursorKind.OUTBOX, 2): self.cursor},
            )
            commit(self.store, change)

    @rule(pick=st.integers(0, 50), count=st.integers(1, 5))
    def purge_some(self, pick: int, count: int) -> None:
        ids = sorted(self.messages)
        gone = set(ids[pick % len(ids) :][:count]) if ids else set()
        purge(self.store, *gone)
        for inbox_id in gone:
            del self.messages[inbox_id]
            self.giants.pop(inbox_id, None)
        for seq in [seq for seq, inbox_id in self.deliveries.items() if inbox_id in gone]:
            del self.deliveries[seq]
            for part in (self.copies, self.states, self.ends, self.attempts):
                part.pop(seq, None)
        self.tags = {(tag, inbox_id) for tag, inbox_id in self.tags if inbox_id not in gone}

    @rule(changes=st.lists(st.tuples(KEYS, st.none() | DIGESTS), min_size=1, max_size=5))
    def remember(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        batch = Batch()
        for key, content in changes:
            row = state(1, key)
            if content is None:
                batch.states.append((1, row.key))
                self.remembered.pop(row.key, None)
            else:
                batch.states.append(row._replace(sealed=content))
                self.remembered[row.key] = content
        commit(self.store, batch)

    @rule()
    def lose_a_giant(self) -> None:
        """Write pieces for a message that never comes."""
        self.giant += 1
        commit_pieces(self.store, self.giant)
        self.given_up = True

    @rule()
    def look_for_pieces(self) -> None:
        """Pieces that nobody has are gone after a start at the latest."""
        if not self.given_up:
            purge(self.store)  # it ends when what is to be removed is gone
            assert pieces_left(self.store) == set(self.giants.values())

    @rule()
    def restart(self) -> None:
        self.store = self.reopen()
        self.given_up = False
        self.store.protect_audit(mac)

    @rule()
    def ask_for_a_checkpoint(self) -> None:
        self.store.checkpoint()

    @invariant()
    def it_holds_what_the_dictionary_holds(self) -> None:
        if not hasattr(self, "store"):
            return
        reader = self.store.reader()
        found = {
            row.inbox_id: (row.kind is InboxKind.DUPLICATE, row.sealed)
            for row in reader.inbox_range(0, 10_000)
        }
        assert found == self.messages
        assert list(found) == sorted(found)
        assert reader.counters().inbox_id == self.highest
        assert reader.outbox_head(2) == self.seq
        rows = reader.outbox_after(2, 0, 10_000)
        assert {row.seq: row.inbox_id for row in rows} == self.deliveries
        copies = {row.copy_id: reader.copy(row.copy_id) for row in rows if row.copy_id}
        assert copies == self.copies
        assert {row.seq: row.state for row in reader.exceptions(2)} == self.states
        assert {row.seq: row.fate for row in reader.outcomes_after(2, 0)} == self.ends
        assert {
            seq: len(reader.attempts(2, seq)) for seq in self.deliveries if reader.attempts(2, seq)
        } == self.attempts
        assert set(reader.tagged(b"tag", 10_000)) == {inbox_id for _, inbox_id in self.tags}
        assert reader.cursor(CursorKind.OUTBOX, 2) == self.cursor
        assert {row.key: row.sealed for row in reader.states(1, b"", 99)} == self.remembered
        report = verify_log(reader, mac)
        assert (report.records, report.problem) == (self.audits, "")
        assert self.store.store_id == self.identity
        reader.close()


class MemoryMachine(StoreMachine):
    def open(self) -> Store:
        return MemoryStore()

    def reopen(self) -> Store:
        self.store.close()
        assert isinstance(self.store, MemoryStore)
        return self.store.reopened()


def of_one_moment(folder: Path) -> dict[str, bytes]:
    """Return the files of a store as a kill leaves them: its threads may write while they are read."""
    before: dict[str, bytes] | None = None
    while True:
        now = {
            file.name: file.read_bytes()
            for file in sorted(folder.iterdir())
            if file.is_file() and not file.name.endswith("-shm")
        }
        if now == before:
            return now
        before = now


class SqliteMachine(StoreMachine):
    def open(self) -> Store:
        self.folder = Path(tempfile.mkdtemp())
        return SqliteStore(self.folder)

    @rule()
    def crash(self) -> None:
        """Go on with the files as they lie, as after a kill: the log is not moved, nothing is closed."""
        copied = Path(tempfile.mkdtemp())
        for name, content in of_one_moment(self.folder).items():
            (copied / name).write_bytes(content)
        self.store.close()
        shutil.rmtree(self.folder)
        self.folder = copied
        self.store = SqliteStore(self.folder)
        self.store.protect_audit(mac)
        self.given_up = False

    def reopen(self) -> Store:
        self.store.close()
        return SqliteStore(self.folder)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)


@pytest.mark.chaos
@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine])
def test_a_store_holds_what_a_dictionary_holds_whatever_is_done_to_it(
    machine: type[StoreMachine], ledger: Ledger
) -> None:
    short, steps = trials(15, 1500, "IFENGINE_STORE_MODELS"), trials(30, 60, "IFENGINE_STORE_STEPS")
    quick = settings(
        max_examples=short,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    failures = 1
    try:
        run_state_machine_as_test(machine, settings=quick)
        failures = 0
    finally:
        ledger.record(
            "G10",
            f"random acts, kills and restarts of a store: {machine.__name__}",
            trials=short,
            failures=failures,
            found=f"up to {steps} steps each",
        )
