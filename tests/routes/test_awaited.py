"""Facts that count from the delivery of their message."""

from pathlib import Path

import pytest

from ifengine.clock import ManualClock
from ifengine.routes.awaited import AwaitedFacts
from ifengine.routes.memory import Memories
from ifengine.store.base import Batch, StateRow
from ifengine.store.keys import FileKek
from ifengine.store.memory import MemoryStore
from ifengine.store.sealing import KeyRing
from ifengine.transforms.base import StepScope
from ifengine.transforms.facts import when_delivered
from ifengine.transforms.memory import Remembered, Space

KEY = ("lab", "order", "P1")
NOW_US = ManualClock().now_us()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def memories(store: MemoryStore, tmp_path: Path) -> Memories:
    ring = KeyRing(store.store_id, (), FileKek.init_file(tmp_path / "kek"))
    commit(store, Batch(data_keys=list(ring.start_keys(1, NOW_US))))
    return Memories(ring, store.reader())


def commit(store: MemoryStore, batch: Batch) -> None:
    errors: list[BaseException | None] = []
    store.submit(batch, errors.append)
    assert errors == [None]
    for done in batch.done:
        done()


def leave(store: MemoryStore, memories: Memories, awaited: AwaitedFacts, message: int) -> None:
    """What a message leaves whose step says `once: delivered`."""
    memory = memories.scratch(message, NOW_US)
    scope = StepScope(None, {}, NOW_US, str(message), memory=memory)  # type: ignore[arg-type]
    when_delivered(scope, KEY, "", NOW_US + 1000)
    batch = Batch()
    memories.write(batch, memory.changes())
    awaited.noted(memory.changes())
    commit(store, batch)


@pytest.mark.interpreted
def test_the_first_destination_that_takes_a_message_makes_its_facts_count(
    store: MemoryStore, memories: Memories
) -> None:
    awaited = AwaitedFacts(memories)
    assert not awaited
    leave(store, memories, awaited, 7)
    assert awaited
    batch = Batch()
    changes = awaited.delivered(batch, 7, NOW_US + 5)
    assert [change.space for change in changes] == [Space.AWAITED, Space.FACT]
    commit(store, batch)
    assert memories.look_up(Space.FACT, KEY) == Remembered("", 7, NOW_US + 5, NOW_US + 1000)
    assert memories.look_up(Space.AWAITED, ("7",)) is None
    assert awaited.delivered(Batch(), 7, NOW_US + 6) == ()
    assert not awaited


@pytest.mark.interpreted
def test_after_a_start_what_is_in_the_store_is_awaited(
    store: MemoryStore, memories: Memories
) -> None:
    for message in (7, 8):
        leave(store, memories, AwaitedFacts(memories), message)
    awaited = AwaitedFacts(memories)
    awaited.load(store.reader())
    assert len(awaited) == 2
    assert awaited.delivered(Batch(), 9, NOW_US) == ()
    assert awaited.delivered(Batch(), 8, NOW_US) != ()


@pytest.mark.interpreted
def test_what_was_tampered_with_is_not_believed(store: MemoryStore, memories: Memories) -> None:
    awaited = AwaitedFacts(memories)
    leave(store, memories, awaited, 7)
    tag = memories.tag(Space.AWAITED, ("7",))
    row = store.reader().state(Space.AWAITED, tag)
    assert row is not None
    sealed = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])
    changed = StateRow(row.space, row.key, row.inbox_id, row.at_us, row.until_us, sealed)
    commit(store, Batch(states=[changed]))
    assert awaited.delivered(Batch(), 7, NOW_US) == ()
    assert memories.look_up(Space.FACT, KEY) is None
