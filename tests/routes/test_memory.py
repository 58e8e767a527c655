"""What steps remember, over a real store: seen at once, bound to its key, whole after a crash."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ifengine.errors import SealError
from ifengine.routes.memory import Memories
from ifengine.store.base import Batch, Reader, StateRow, Store
from ifengine.store.keys import FileKek
from ifengine.store.memory import MemoryStore
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.store.sqlite import SqliteStore
from ifengine.transforms.memory import Change, Key, Remembered, Space
from store.builders import commit

CANARY = "CANARY^DOE^JANE"
KEY = ("adt", "order", "4711")


class Engine:
    """A store, its keys and the memory over it; can die without a word."""

    def __init__(self, folder: Path, *, on_disk: bool) -> None:
        self._folder = folder
        self.kek = FileKek.init_file(folder / "kek")
        self.store: Store = SqliteStore(folder / "store") if on_disk else MemoryStore()
        self._start()

    def _start(self) -> None:
        self.reader: Reader = self.store.reader()
        rows = self.reader.data_keys()
        self.ring = KeyRing(self.store.store_id, rows, self.kek)
        keys = self.ring.start_keys(self.reader.counters().key_id + 1, 0)
        commit(self.store, Batch(data_keys=keys))
        self.memories = Memories(self.ring, self.reader)
        self.batch = Batch()

    def write(self, *changes: Change) -> None:
        self.memories.write(self.batch, changes)

    def commit(self) -> None:
        """Commit the open batch, and tell who waits for it."""
        batch, self.batch = self.batch, Batch()
        commit(self.store, batch)
        for tell in batch.done:
            tell()

    def die(self) -> None:
        """Lose the open batch and start again over what was committed."""
        self.close()
        if isinstance(self.store, MemoryStore):
            self.store = self.store.reopened()
        else:
            self.store = SqliteStore(self._folder / "store")
        self._start()

    def close(self) -> None:
        self.reader.close()
        self.store.close()


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path, on_disk=request.param == "sqlite")
    yield engine
    engine.close()


def put(key: Key, value: str, message: int = 1, *, until_us: int = 0) -> Change:
    return Change(Space.FACT, key, Remembered(value, message, 1000 + message, until_us))


def forget(key: Key) -> Change:
    return Change(Space.FACT, key, None)


def value_of(engine: Engine, key: Key = KEY) -> str | None:
    found = engine.memories.look_up(Space.FACT, key)
    return None if found is None else found.value


def test_what_was_written_is_seen_at_once_and_equal_after_the_commit(engine: Engine) -> None:
    assert engine.memories.look_up(Space.FACT, KEY) is None
    engine.write(put(KEY, "seen", 7, until_us=99))
    expected = Remembered("seen", 7, 1007, 99)
    assert engine.memories.look_up(Space.FACT, KEY) == expected
    engine.commit()
    assert engine.memories.look_up(Space.FACT, KEY) == expected
    engine.die()
    assert engine.memories.look_up(Space.FACT, KEY) == expected


def test_what_was_not_committed_is_gone_after_a_crash(engine: Engine) -> None:
    engine.write(put(KEY, "old"))
    engine.commit()
    engine.write(put(KEY, "new"), put(("other",), "x"))
    engine.die()
    assert value_of(engine) == "old"
    assert value_of(engine, ("other",)) is None


def test_what_is_forgotten_is_not_seen_although_the_store_still_has_it(engine: Engine) -> None:
    engine.write(put(KEY, "old"))
    engine.commit()
    engine.write(forget(KEY))
    assert value_of(engine) is None
    assert engine.reader.state(Space.FACT, engine.memories.tag(Space.FACT, KEY)) is not None
    engine.commit()
    assert value_of(engine) is None
    assert engine.reader.state(Space.FACT, engine.memories.tag(Space.FACT, KEY)) is None


def test_a_commit_does_not_hide_what_was_written_after_its_batch_was_closed(
    engine: Engine,
) -> None:
    engine.write(put(KEY, "first"))
    closed, engine.batch = engine.batch, Batch()
    commit(engine.store, closed)
    engine.write(put(KEY, "second"))
    for tell in closed.done:
        tell()
    assert value_of(engine) == "second"
    engine.commit()
    assert value_of(engine) == "second"


def test_after_the_commit_nothing_is_kept_in_memory(engine: Engine) -> None:
    engine.write(put(KEY, "a"), put(KEY, "b"), forget(("gone",)))
    assert "2 on their way" in repr(engine.memories)
    engine.commit()
    assert "0 on their way" in repr(engine.memories)


def test_the_last_change_of_a_key_counts(engine: Engine) -> None:
    engine.write(put(KEY, "a"), forget(KEY), put(KEY, "b"), put(("k",), "c"), forget(("k",)))
    assert (value_of(engine), value_of(engine, ("k",))) == ("b", None)
    engine.commit()
    assert (value_of(engine), value_of(engine, ("k",))) == ("b", None)


def test_no_changes_leave_the_batch_empty(engine: Engine) -> None:
    engine.write()
    assert engine.batch.is_empty()


def test_a_commit_is_seen_by_the_next_look_up_whoever_made_it(engine: Engine) -> None:
    assert value_of(engine) is None  # absence is not cached
    other = Memories(engine.ring, engine.store.reader())
    batch = Batch()
    other.write(batch, [put(KEY, "theirs")])
    commit(engine.store, batch)
    assert value_of(engine) == "theirs"


def test_one_key_in_two_spaces_is_two_things(engine: Engine) -> None:
    engine.write(put(KEY, "fact"))
    engine.write(Change(Space.LATEST, KEY, Remembered("latest", 1, 1, 0)))
    engine.commit()
    found = engine.memories.look_up(Space.LATEST, KEY)
    assert found is not None
    assert (value_of(engine), found.value) == ("fact", "latest")


def test_a_scratch_sees_what_is_remembered_until_it_ran_out(engine: Engine) -> None:
    engine.write(put(KEY, "seen", until_us=2000))
    engine.commit()
    at_end = engine.memories.scratch(5, 2000).get(Space.FACT, KEY)
    assert at_end is not None
    assert engine.memories.scratch(5, 2001).get(Space.FACT, KEY) is None


def test_what_a_scratch_leaves_is_written_with_the_message_that_left_it(engine: Engine) -> None:
    scratch = engine.memories.scratch(5, 2000)
    scratch.put(Space.FACT, KEY, "seen", until_us=9000)
    assert value_of(engine) is None
    engine.write(*scratch)
    engine.commit()
    found = engine.memories.look_up(Space.FACT, KEY)
    assert found == Remembered("seen", 5, 2000, 9000)


def test_a_scratch_of_a_replay_leaves_nothing(engine: Engine) -> None:
    engine.write(put(KEY, "seen"))
    replay = engine.memories.scratch(5, 2000, is_replay=True)
    replay.put(Space.FACT, KEY, "other")
    replay.forget(Space.FACT, KEY)
    assert replay.is_replay
    assert replay.get(Space.FACT, KEY) is not None
    assert replay.changes() == ()


# --- sealing --------------------------------------------------------------------------------------


def row_of(engine: Engine, key: Key) -> StateRow:
    row = engine.reader.state(Space.FACT, engine.memories.tag(Space.FACT, key))
    assert row is not None
    return row


def test_neither_key_nor_value_is_in_what_the_store_sees(tmp_path: Path) -> None:
    engine = Engine(tmp_path, on_disk=True)
    engine.write(put((CANARY, "x"), CANARY), put((CANARY,), "y"))
    assert CANARY not in repr(engine.batch)
    assert CANARY not in repr(engine.memories)
    engine.commit()
    assert CANARY not in repr(engine.reader.states(Space.FACT, b"", 9))
    engine.close()
    files = list((tmp_path / "store").iterdir())
    assert len(files) >= 2
    for file in files:
        assert CANARY.encode() not in file.read_bytes()


def test_a_value_does_not_open_under_another_key(engine: Engine) -> None:
    engine.write(put(KEY, CANARY), put(("other",), "x"))
    engine.commit()
    moved = row_of(engine, KEY)._replace(key=row_of(engine, ("other",)).key)
    commit(engine.store, Batch(states=[moved]))
    with pytest.raises(SealError) as caught:
        engine.memories.look_up(Space.FACT, ("other",))
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_value_does_not_open_in_another_space(engine: Engine) -> None:
    engine.write(put(KEY, "x"))
    engine.commit()
    moved = row_of(engine, KEY)._replace(
        space=int(Space.LATEST), key=engine.memories.tag(Space.LATEST, KEY)
    )
    commit(engine.store, Batch(states=[moved]))
    with pytest.raises(SealError):
        engine.memories.look_up(Space.LATEST, KEY)


def test_a_value_sealed_for_the_place_of_a_key_but_not_for_the_key_is_refused(
    engine: Engine,
) -> None:
    """The seal binds eight bytes of the tag; the key inside must be the one that was asked for."""
    engine.write(put(KEY, "x"))
    engine.commit()
    row = row_of(engine, KEY)
    place = int.from_bytes(row.key[:8], "big")
    content = engine.ring.open(BlobKind.STATE, Space.FACT, place, row.sealed)
    assert content.endswith(b"4711x")
    other = content.replace(b"4711", b"4712")
    sealed = engine.ring.seal(BlobKind.STATE, Space.FACT, place, other)
    commit(engine.store, Batch(states=[row._replace(sealed=sealed)]))
    with pytest.raises(SealError, match="does not belong to its key") as caught:
        engine.memories.look_up(Space.FACT, KEY)
    assert "4712" not in str(caught.value)


# surrogates stand for bytes that are not text in the message's character set
PART = st.text(max_size=6) | st.text(st.characters(codec=None), max_size=6)
KEYS = st.lists(PART, max_size=4).map(tuple)


@pytest.fixture(scope="module")
def shared() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Path(folder), on_disk=False)
        yield engine
        engine.close()


@given(a=KEYS, b=KEYS, spaces=st.tuples(st.sampled_from(Space), st.sampled_from(Space)))
def test_tags_are_equal_for_equal_space_and_key_only(
    shared: Engine, a: Key, b: Key, spaces: tuple[Space, Space]
) -> None:
    one, other = shared.memories.tag(spaces[0], a), shared.memories.tag(spaces[1], b)
    assert len(one) == 16
    assert (one == other) is ((spaces[0], a) == (spaces[1], b))
    assert one == shared.memories.tag(spaces[0], a)


@given(parts=st.lists(st.text("ab", max_size=3), min_size=1, max_size=4), cut=st.integers(0, 12))
def test_parts_of_a_key_cannot_shift_into_one_another(
    shared: Engine, parts: list[str], cut: int
) -> None:
    joined = "".join(parts)
    other = (joined[:cut], joined[cut:])
    same = shared.memories.tag(Space.FACT, tuple(parts)) == shared.memories.tag(Space.FACT, other)
    assert same is (tuple(parts) == other)


@given(key=KEYS, value=PART)
def test_any_text_is_remembered_as_it_was_and_is_listed_with_its_key(
    shared: Engine, key: Key, value: str
) -> None:
    shared.write(put(key, value, 3, until_us=4))
    shared.commit()
    assert value_of(shared, key) == value
    found, remembered = shared.memories.open(row_of(shared, key))
    assert (found, remembered) == (key, Remembered(value, 3, 1003, 4))


# --- what ran out -----------------------------------------------------------------------------------


def test_what_ran_out_is_forgotten_and_nothing_else(engine: Engine) -> None:
    engine.write(put(("a",), "x", until_us=10), put(("b",), "x", until_us=20), put(("c",), "x"))
    engine.commit()
    found = engine.reader.states_until(20, 99)
    assert engine.memories.forget_ended(engine.batch, found, 20) == 1
    engine.commit()
    assert [value_of(engine, (k,)) for k in "abc"] == [None, "x", "x"]


def test_what_was_renewed_since_it_was_found_stays(engine: Engine) -> None:
    keys = [("committed",), ("on its way",), ("kept for ever",)]
    engine.write(*(put(key, "old", until_us=10) for key in keys))
    engine.commit()
    found = engine.reader.states_until(20, 99)
    assert len(found) == 3
    engine.write(put(keys[0], "new", until_us=90), put(keys[2], "new"))
    engine.commit()
    engine.write(put(keys[1], "new", until_us=90))
    assert engine.memories.forget_ended(engine.batch, found, 20) == 0
    engine.commit()
    assert [value_of(engine, key) for key in keys] == ["new"] * 3


def test_what_is_remembered_after_it_was_forgotten_in_the_same_batch_stays(
    engine: Engine,
) -> None:
    engine.write(put(KEY, "old", until_us=10))
    engine.commit()
    found = engine.reader.states_until(20, 99)
    assert engine.memories.forget_ended(engine.batch, found, 20) == 1
    engine.write(put(KEY, "new", until_us=90))
    engine.commit()
    assert value_of(engine) == "new"


# --- the connection ---------------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["7", "absent"])
def test_a_look_up_holds_nothing_open_so_that_the_log_can_be_moved(
    tmp_path: Path, last: str
) -> None:
    engine = Engine(tmp_path, on_disk=True)
    log = tmp_path / "store" / "store.db-wal"
    engine.write(*(put((str(i),), "x" * 400) for i in range(300)))
    engine.commit()
    assert log.stat().st_size > 100_000
    value_of(engine, (last,))
    # closing cuts the log, unless somebody is in the middle of reading from it
    engine.store.close()
    assert not log.exists() or log.stat().st_size == 0
    engine.reader.close()


# --- histories --------------------------------------------------------------------------------------

FEW_KEYS = st.sampled_from([("a",), ("b",), ("a", "b"), ("ab",), ("c", "", "")])
FEW_SPACES = st.sampled_from([Space.FACT, Space.LATEST, Space.CROSSWALK])
WRITES = st.lists(
    st.tuples(FEW_SPACES, FEW_KEYS, st.none() | st.text("xyz", max_size=2), st.integers(0, 30)),
    max_size=6,
)
Place = tuple[Space, Key]


class MemoriesMachine(RuleBasedStateMachine):
    """Against two dictionaries: what is seen, and what a crash leaves."""

    open: Callable[[Path], Engine]

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.engine = type(self).open(self.folder)
        self.seen: dict[Place, Remembered] = {}
        self.durable: dict[Place, Remembered] = {}
        self.told: list[Batch] = []  # committed, but nobody on the loop has heard yet
        self.message = 0
        self.used: set[Place] = set()

    @rule(writes=WRITES)
    def remember(self, writes: list[tuple[Space, Key, str | None, int]]) -> None:
        self.message += 1
        scratch = self.engine.memories.scratch(self.message, self.message)
        for space, key, value, until_us in writes:
            self.used.add((space, key))
            if value is None:
                scratch.forget(space, key)
                self.seen.pop((space, key), None)
            else:
                scratch.put(space, key, value, until_us=until_us)
                self.seen[space, key] = Remembered(value, self.message, self.message, until_us)
        self.engine.write(*scratch)

    @rule()
    def commit_and_tell(self) -> None:
        self.commit_only()
        self.tell()

    @rule()
    def commit_only(self) -> None:
        batch, self.engine.batch = self.engine.batch, Batch()
        commit(self.engine.store, batch)
        self.told.append(batch)
        self.durable = dict(self.seen)

    @rule()
    def tell(self) -> None:
        for batch in self.told:
            for done in batch.done:
                done()
        self.told = []

    @rule(before_us=st.integers(0, 40))
    def forget_what_ran_out(self, before_us: int) -> None:
        found = self.engine.reader.states_until(before_us, 99)
        self.engine.memories.forget_ended(self.engine.batch, found, before_us)
        self.commit_and_tell()
        # what was on its way may stay until the next sweep; what is left over may go in this one
        found = self.engine.reader.states_until(before_us, 99)
        self.engine.memories.forget_ended(self.engine.batch, found, before_us)
        self.seen = {
            place: kept for place, kept in self.seen.items() if not 0 < kept.until_us < before_us
        }
        self.commit_and_tell()

    @rule()
    def crash(self) -> None:
        self.engine.die()
        self.told = []
        self.seen = dict(self.durable)

    @invariant()
    def it_remembers_what_the_dictionary_does(self) -> None:
        if hasattr(self, "engine"):
            memories = self.engine.memories
            assert {place: memories.look_up(*place) for place in self.used} == {
                place: self.seen.get(place) for place in self.used
            }

    @invariant()
    def the_store_holds_what_a_crash_would_leave(self) -> None:
        if hasattr(self, "engine"):
            found = {}
            for space in Space:
                for row in self.engine.reader.states(space, b"", 1000):
                    key, remembered = self.engine.memories.open(row)
                    found[space, key] = remembered
            assert found == self.durable

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
            shutil.rmtree(self.folder)


class OverMemory(MemoriesMachine):
    @staticmethod
    def open(folder: Path) -> Engine:
        return Engine(folder, on_disk=False)


class OverSqlite(MemoriesMachine):
    @staticmethod
    def open(folder: Path) -> Engine:
        return Engine(folder, on_disk=True)


TestHistoriesOverMemory = OverMemory.TestCase
TestHistoriesOverMemory.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestHistoriesOverSqlite = OverSqlite.TestCase
TestHistoriesOverSqlite.settings = settings(
    max_examples=20,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
