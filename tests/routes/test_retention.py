"""What may be forgotten: only what is settled everywhere and old enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes import retention
from ifengine.routes.retention import Keep, find_ended, find_expired
from ifengine.store.base import Batch, ExceptionState, Fate, InboxKind, PlannedFate, Reader
from ifengine.store.memory import MemoryStore
from store.builders import (
    SECOND,
    commit,
    delivery,
    ended,
    entry,
    parked,
    plan,
    queued,
    state,
    trouble,
)

KEEP = Keep(messages_us=100 * SECOND, dead_letters_us=500 * SECOND)
DAY_US = 86_400 * SECOND


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def found(store: MemoryStore, *, now: int, newest: int = 1000, after: int = 0) -> tuple[int, ...]:
    """Return what may go at a time in seconds."""
    reader: Reader = store.reader()
    return find_expired(reader, after, newest, now * SECOND, KEEP).inbox_ids


def message(batch: Batch, number: int, *fates: Fate) -> None:
    """A message received at second ``number``, one destination for each fate."""
    batch.inbox.append(entry(number))
    planned = []
    for at, fate in enumerate(fates, 1):
        if fate in (Fate.FILTERED, Fate.DROPPED, Fate.PARKED):
            planned.append(PlannedFate(at, fate, 0, 0, ""))
            continue
        planned.append(queued(at, number, at))
        batch.outbox.append(delivery(at, number, number, destination=at))
        if fate is not Fate.QUEUED:
            batch.outcomes.append(ended(at, number, fate))
    batch.plans.append(plan(number, *planned))


def test_a_settled_message_goes_when_it_is_old_enough_and_not_a_moment_before(
    store: MemoryStore,
) -> None:
    batch = Batch()
    message(batch, 1, Fate.SENT, Fate.FILTERED)
    commit(store, batch)
    assert found(store, now=100) == ()
    assert found(store, now=101) == (1,)


@pytest.mark.parametrize("state", list(ExceptionState))
def test_a_message_that_waits_for_anything_at_one_destination_stays(
    store: MemoryStore, state: ExceptionState
) -> None:
    batch = Batch()
    message(batch, 1, Fate.SENT, Fate.QUEUED)
    batch.exceptions.append(trouble(2, 1, state))
    message(batch, 2, Fate.SENT, Fate.SENT)
    commit(store, batch)
    assert found(store, now=10_000) == (2,)


def test_a_queued_message_and_one_whose_steps_have_not_run_stay(store: MemoryStore) -> None:
    batch = Batch()
    message(batch, 1, Fate.QUEUED)
    batch.inbox.append(entry(2))
    commit(store, batch)
    assert found(store, now=10_000) == ()


def test_a_discarded_dead_letter_stays_as_long_as_dead_letters_do(store: MemoryStore) -> None:
    batch = Batch()
    message(batch, 1, Fate.DISCARDED)
    message(batch, 2, Fate.SENT)
    commit(store, batch)
    assert found(store, now=200) == (2,)
    assert found(store, now=501) == (1, 2)


def test_a_replay_that_is_not_settled_keeps_its_message(store: MemoryStore) -> None:
    batch = Batch()
    message(batch, 1, Fate.QUEUED)
    batch.outcomes.append(ended(1, 1, Fate.QUEUED, superseded_by=7, reason="replayed"))
    batch.outbox.append(delivery(1, 7, 1, run=1, origin_seq=1))
    batch.plans.append(plan(1, queued(1, 7), run=1))
    commit(store, batch)
    assert found(store, now=10_000) == ()
    settled = Batch()
    settled.outcomes.append(ended(1, 7))
    commit(store, settled)
    assert found(store, now=10_000) == (1,)


@pytest.mark.parametrize("kind", [k for k in InboxKind if k is not InboxKind.MESSAGE])
def test_records_that_no_channel_works_on_go_by_their_age_alone(
    store: MemoryStore, kind: InboxKind
) -> None:
    batch = Batch()
    batch.inbox.append(entry(1, kind=kind))
    commit(store, batch)
    assert found(store, now=100) == ()
    assert found(store, now=101) == (1,)


def test_the_newest_message_always_stays_since_numbers_count_on_from_it(
    store: MemoryStore,
) -> None:
    batch = Batch()
    for number in (1, 2, 3):
        message(batch, number, Fate.SENT)
    commit(store, batch)
    assert found(store, now=10_000, newest=3) == (1, 2)


def test_a_pass_ends_and_the_next_one_goes_on_where_it_ended(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 3)
    monkeypatch.setattr(retention, "MOST_A_PASS", 5)
    batch = Batch()
    for number in range(1, 21):
        message(batch, number, Fate.QUEUED if number % 4 == 0 else Fate.SENT)
    commit(store, batch)
    removed: list[int] = []
    after, passes = 0, 0
    while True:
        result = find_expired(store.reader(), after, 1000, 10_000 * SECOND, KEEP)
        removed += result.inbox_ids
        passes += 1
        if not result.next_after:
            break
        assert result.next_after > after
        after = result.next_after
    assert removed == [n for n in range(1, 21) if n % 4]
    assert passes > 2


@given(
    fates=st.lists(
        st.lists(
            st.sampled_from([Fate.SENT, Fate.QUEUED, Fate.FILTERED, Fate.DISCARDED]), max_size=3
        ),
        max_size=12,
    ),
    now=st.integers(0, 700),
)
def test_never_anything_that_is_not_settled_or_too_young(fates: list[list[Fate]], now: int) -> None:
    store, batch = MemoryStore(), Batch()
    for number, here in enumerate(fates, 1):
        message(batch, number, *here)
    commit(store, batch)
    expired = found(store, now=now)
    for number, here in enumerate(fates, 1):
        age = now - number
        due = age >= 100 and Fate.QUEUED not in here and (Fate.DISCARDED not in here or age >= 500)
        assert (number in expired) is due


def test_the_age_of_a_message_is_that_of_the_steady_clock(store: MemoryStore) -> None:
    batch = Batch()
    for number in (1, 2, 3):
        message(batch, number, Fate.SENT)
    commit(store, batch)
    reader = store.reader()

    def came(inbox_id: int, received_us: int) -> int:
        return received_us + (1000 * SECOND if inbox_id > 1 else 0)  # set back after the first

    now_us = 1050 * SECOND
    assert find_expired(reader, 0, 3, now_us, KEEP, came).inbox_ids == (1,)
    assert find_expired(reader, 0, 3, now_us, KEEP).inbox_ids == (1, 2)
    assert find_ended(reader, 2000 * SECOND, came).before_us == 1003 * SECOND - retention.SPARE_US


# --- messages that wait, and memory that ran out -------------------------------------------------


def test_a_parked_message_stays_however_old_it_is(store: MemoryStore) -> None:
    batch = Batch()
    for number in (1, 2, 3):
        message(batch, number, Fate.PARKED)
        batch.parked.append(parked(7, number))
    commit(store, batch)
    assert found(store, now=10_000) == ()
    # 1 starts over and is delivered; 2 starts over and waits again
    again = Batch(parked=[(7, 1), parked(7, 2, until_us=9_000 * SECOND)])
    again.plans = [
        plan(1, queued(1, 1), run=1),
        plan(2, PlannedFate(1, Fate.PARKED, 0, 0, ""), run=1),
    ]
    again.outbox.append(delivery(1, 1, 1, run=1))
    again.outcomes.append(ended(1, 1))
    commit(store, again)
    assert found(store, now=10_000) == (1,)


def remembered(**until: int) -> Batch:
    """What steps remember, each with the second until which, 0 for ever."""
    return Batch(
        states=[state(1, key.encode(), until_us=second * SECOND) for key, second in until.items()]
    )


def ended_keys(store: MemoryStore, now_us: int) -> list[bytes]:
    """Return the keys of what may be forgotten at a time."""
    return [key.rstrip(b".") for _, key in find_ended(store.reader(), now_us).states]


def test_what_ran_out_goes_a_day_after_as_messages_come(store: MemoryStore) -> None:
    commit(store, remembered(a=100, b=200, for_ever=0))
    now_us = 300 * SECOND + DAY_US
    assert ended_keys(store, now_us) == []
    commit(store, Batch(inbox=[entry(1, received_us=100 * SECOND + DAY_US)]))
    assert ended_keys(store, now_us) == []
    commit(store, Batch(inbox=[entry(2, received_us=101 * SECOND + DAY_US)]))
    assert ended_keys(store, now_us) == [b"a"]
    commit(store, Batch(inbox=[entry(3, received_us=300 * SECOND + DAY_US)]))
    assert ended_keys(store, now_us) == [b"a", b"b"]


def test_a_wall_clock_that_jumps_forgets_nothing_while_no_message_comes(
    store: MemoryStore,
) -> None:
    commit(store, remembered(a=100))
    commit(store, Batch(inbox=[entry(1, received_us=50 * SECOND)]))
    assert ended_keys(store, 3660 * DAY_US) == []


def test_a_message_that_claims_to_come_from_the_future_forgets_nothing(store: MemoryStore) -> None:
    commit(store, remembered(a=100))
    commit(store, Batch(inbox=[entry(1, received_us=3660 * DAY_US)]))
    assert ended_keys(store, 90 * SECOND + DAY_US) == []


def test_a_pass_over_memory_is_bounded_and_says_whether_there_is_more(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_STATES_A_PASS", 4)
    commit(store, remembered(**{f"k{second}": second for second in range(1, 10)}))
    commit(store, Batch(inbox=[entry(1, received_us=2 * DAY_US)]))
    passes = []
    while True:
        result = find_ended(store.reader(), 2 * DAY_US)
        passes.append(len(result.states))
        assert result.before_us == DAY_US
        commit(store, Batch(states=list(result.states)))
        if result.is_all:
            break
    assert passes == [4, 4, 1]
    assert list(store.reader().states(1, b"", 99)) == []
