"""Group commit: nobody hears of anything before it is on stable storage."""

import asyncio
from collections.abc import Callable

import pytest

from ifengine.clock import ManualClock, SystemClock
from ifengine.errors import StorageFailedError
from ifengine.store.base import Batch, CursorKind
from ifengine.store.group import GroupCommit, linger
from store.builders import entry

Finished = Callable[[BaseException | None], None]


class Disk:
    """A store whose commits return when the test says so."""

    def __init__(self) -> None:
        self.commit_seconds = 0.0
        self.batches: list[Batch] = []
        self.finished: list[Finished] = []
        self.submitted = asyncio.Event()

    def submit(self, batch: Batch, finished: Finished) -> None:
        self.batches.append(batch)
        self.finished.append(finished)
        self.submitted.set()

    async def next_batch(self) -> Batch:
        async with asyncio.timeout(30):
            await self.submitted.wait()
        self.submitted.clear()
        return self.batches[-1]


class Group:
    def __init__(self) -> None:
        self.disk = Disk()
        self.failures: list[BaseException] = []
        self.group = GroupCommit(
            self.disk,  # type: ignore[arg-type]
            asyncio.get_running_loop(),
            SystemClock(),
            failed=self.failures.append,
        )


@pytest.fixture
async def made() -> Group:
    return Group()


async def turns(count: int = 3) -> None:
    """Let the loop turn; everything that is ready has run afterwards."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_nothing_is_told_before_the_commit_returned_and_then_in_order(made: Group) -> None:
    told: list[int] = []
    for number in range(5):
        made.group.batch.inbox.append(entry(number + 1))
        made.group.batch.done.append(lambda number=number: told.append(number))  # type: ignore[misc]
        made.group.soon()
    batch = await made.disk.next_batch()
    await turns(20)
    assert told == []
    assert [e.inbox_id for e in batch.inbox] == [1, 2, 3, 4, 5]  # one commit for all
    made.disk.finished[0](None)
    await turns()
    assert told == [0, 1, 2, 3, 4]


async def test_what_comes_while_a_commit_is_in_flight_goes_with_the_next_one(made: Group) -> None:
    told: list[str] = []
    made.group.batch.inbox.append(entry(1))
    made.group.batch.done.append(lambda: told.append("first"))
    made.group.soon()
    await made.disk.next_batch()
    for number in (2, 3):
        made.group.batch.inbox.append(entry(number))
        made.group.soon()
    made.group.batch.done.append(lambda: told.append("second"))
    await turns(20)
    assert len(made.disk.batches) == 1  # at most one in flight
    made.disk.finished[0](None)
    batch = await made.disk.next_batch()
    assert told == ["first"]
    assert [e.inbox_id for e in batch.inbox] == [2, 3]
    made.disk.finished[1](None)
    await turns()
    assert told == ["first", "second"]


async def test_durable_returns_only_when_the_disk_has_it(made: Group) -> None:
    made.group.batch.inbox.append(entry(1))
    waiting = asyncio.create_task(made.group.durable())
    await made.disk.next_batch()
    await turns(20)
    assert not waiting.done()
    made.disk.finished[0](None)
    async with asyncio.timeout(30):
        await waiting


async def test_what_is_added_during_a_commit_is_not_durable_with_it(made: Group) -> None:
    made.group.batch.inbox.append(entry(1))
    made.group.soon()
    await made.disk.next_batch()
    waiting = asyncio.create_task(made.group.write(lambda batch: batch.inbox.append(entry(2))))
    await turns()
    made.disk.finished[0](None)
    await made.disk.next_batch()
    await turns()
    assert not waiting.done()
    made.disk.finished[1](None)
    async with asyncio.timeout(30):
        await waiting


async def test_a_failure_tells_nobody_yes_and_every_waiter_why(made: Group) -> None:
    told: list[str] = []
    made.group.batch.inbox.append(entry(1))
    made.group.batch.done.append(lambda: told.append("flown"))
    first = asyncio.create_task(made.group.durable())
    await made.disk.next_batch()
    made.group.batch.inbox.append(entry(2))
    made.group.batch.done.append(lambda: told.append("open"))
    second = asyncio.create_task(made.group.durable())
    await turns()
    error = StorageFailedError("commit failed")
    made.disk.finished[0](error)
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert results == [error, error]
    assert told == []
    assert made.failures == [error]
    with pytest.raises(StorageFailedError):
        await made.group.durable()
    made.group.soon()
    await turns(10)
    assert len(made.disk.batches) == 1  # nothing is tried again


async def test_what_nobody_waits_for_rides_along_with_what_is_urgent(made: Group) -> None:
    made.group.batch.cursors[CursorKind.OUTBOX, 1] = 7
    made.group.lazily()
    await turns()
    assert made.disk.batches == []  # not at once
    made.group.batch.inbox.append(entry(1))
    made.group.soon()
    batch = await made.disk.next_batch()
    assert batch.cursors == {(CursorKind.OUTBOX, 1): 7}
    made.disk.finished[0](None)
    await asyncio.sleep(0.02)
    assert len(made.disk.batches) == 1  # and not once more


async def test_what_nobody_waits_for_goes_by_itself_in_a_moment(made: Group) -> None:
    made.group.batch.cursors[CursorKind.OUTBOX, 1] = 7
    made.group.lazily()
    made.group.lazily()
    batch = await made.disk.next_batch()
    assert batch.cursors == {(CursorKind.OUTBOX, 1): 7}
    made.disk.finished[0](None)
    await asyncio.sleep(0.02)
    assert len(made.disk.batches) == 1


async def test_lazy_work_that_comes_during_a_commit_is_not_forgotten(made: Group) -> None:
    made.group.batch.inbox.append(entry(1))
    made.group.soon()
    await made.disk.next_batch()
    made.group.batch.cursors[CursorKind.OUTBOX, 1] = 9
    made.group.lazily()
    made.disk.finished[0](None)
    batch = await made.disk.next_batch()
    assert batch.cursors == {(CursorKind.OUTBOX, 1): 9}


async def test_who_has_something_due_is_asked_before_each_commit(made: Group) -> None:
    position = iter(range(1, 9))

    def add_due(batch: Batch) -> None:
        batch.cursors[CursorKind.OUTBOX, 1] = next(position)

    made.group.before_commit.append(add_due)
    for number in (1, 2):
        made.group.batch.inbox.append(entry(number))
        made.group.soon()
        batch = await made.disk.next_batch()
        assert batch.cursors == {(CursorKind.OUTBOX, 1): number}
        made.disk.finished[-1](None)
        made.group.before_commit.clear()
        await turns()
        made.group.before_commit.append(add_due)


async def test_an_empty_batch_is_not_written(made: Group) -> None:
    made.group.soon()
    made.group.lazily()
    await asyncio.sleep(0.02)
    assert made.disk.batches == []


async def test_a_waiter_that_gave_up_disturbs_nobody(made: Group) -> None:
    made.group.batch.inbox.append(entry(1))
    waiting = asyncio.create_task(made.group.durable())
    other = asyncio.create_task(made.group.durable())
    await made.disk.next_batch()
    waiting.cancel()
    await turns()
    made.disk.finished[0](None)
    async with asyncio.timeout(30):
        await other
    assert waiting.cancelled()
    assert made.failures == []


async def test_the_time_a_commit_took_is_told(made: Group) -> None:
    took: list[float] = []
    made.group.commit_took = took.append
    made.group.batch.inbox.append(entry(1))
    made.group.soon()
    await made.disk.next_batch()
    made.disk.finished[0](None)
    await turns()
    assert len(took) == 1
    assert took[0] >= 0


async def test_what_was_received_counts_as_waiting_until_its_commit_returned(made: Group) -> None:
    group, disk = made.group, made.disk
    assert not group.receiving
    group.batch.cursors[CursorKind.OUTBOX, 1] = 1
    group.soon()
    assert not group.receiving  # nobody waits for a cursor
    await disk.next_batch()
    group.batch.inbox.append(entry(1))
    group.soon()
    assert group.receiving
    disk.finished[0](None)
    await disk.next_batch()
    assert group.receiving  # in flight
    disk.finished[1](None)
    await turns()
    assert not group.receiving


def test_only_a_slow_disk_is_lingered_for_and_never_long() -> None:
    assert linger(0.0) == linger(0.0009) == 0.0
    assert linger(0.005) == pytest.approx(0.00025)
    assert linger(0.05) == linger(5.0) == 0.0005


async def test_on_a_slow_disk_a_batch_waits_for_those_that_the_last_answers_call_up(
    made: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ifengine.store.group.MOST_LINGER_SECONDS", 2.0)
    monkeypatch.setattr("ifengine.store.group.TURN_SECONDS", 0.5)
    made.disk.commit_seconds = 4.0
    made.group.batch.inbox.append(entry(1))
    made.group.soon()
    await made.disk.next_batch()
    made.disk.finished[0](None)
    await turns()
    made.group.batch.inbox.append(entry(2))
    made.group.soon()
    await turns(20)
    assert len(made.disk.batches) == 1  # still open
    made.group.batch.inbox.append(entry(3))
    made.group.soon()
    batch = await made.disk.next_batch()
    assert [e.inbox_id for e in batch.inbox] == [2, 3]
    made.disk.commit_seconds = 0.0
    made.disk.finished[1](None)
    await turns()
    made.group.batch.inbox.append(entry(4))
    made.group.soon()
    await turns()
    assert len(made.disk.batches) == 3  # a disk that is not slow is not waited for


async def test_a_clock_that_stands_still_holds_no_batch_on_a_slow_disk(made: Group) -> None:
    made.group._clock = ManualClock()
    made.disk.commit_seconds = 4.0
    made.group.batch.inbox.append(entry(1))
    made.group.soon()
    await made.disk.next_batch()
    made.disk.finished[0](None)
    await turns()
    made.group.batch.inbox.append(entry(2))
    made.group.soon()
    batch = await made.disk.next_batch()
    assert [e.inbox_id for e in batch.inbox] == [2]
