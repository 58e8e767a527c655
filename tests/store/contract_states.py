"""What every store must do for steps that remember and for messages that wait."""

from collections.abc import Callable

import pytest

from ifengine.errors import StorageFailedError
from ifengine.store.base import (
    Batch,
    ConfigVersionRow,
    Fate,
    GuardVerdict,
    InboxKind,
    PlannedFate,
    Store,
)
from store.builders import (
    SECOND,
    commit,
    delivery,
    entry,
    guarded,
    parked,
    plan,
    purge,
    queued,
    state,
)


class StatesContract:
    """Part of ``StoreContract``; needs the same fixtures."""

    def test_what_is_remembered_and_parked_is_read_back_equal(
        self, store: Store, reopen: Callable[[Store], Store]
    ) -> None:
        remembered = [state(1, b"a", until_us=9), state(2, b"a", inbox_id=2**40, at_us=7)]
        batch = Batch(
            config_versions=[ConfigVersionRow(3, "abc", 4)],
            inbox=[entry(1), entry(2)],
            plans=[plan(1, PlannedFate(5, Fate.PARKED, 0, 0, "waits"))],
            outbox=[delivery(2, 1, 2), delivery(2, 2, 2, part=1)],
            states=list(remembered),
            parked=[parked(1, 1), parked(7, 1, keys=b"", detail=b"")],
            config_contents=[(3, b"sealed files")],
        )
        commit(store, batch)
        again = reopen(store)
        reader = again.reader()
        assert reader.state(1, remembered[0].key) == remembered[0]
        assert list(reader.states(2, b"", 9)) == remembered[1:]
        assert list(reader.parked(1)) == batch.parked[:1]
        assert list(reader.parked(2)) == []
        assert list(reader.parked_message(1)) == batch.parked
        assert list(reader.parked_message(2)) == []
        assert list(reader.outbox_after(2, 0, 9)) == batch.outbox
        assert [row.part for row in reader.outbox_after(2, 0, 9)] == [0, 1]
        assert reader.plans(1)[0].fates[0].fate is Fate.PARKED
        assert reader.config_content(3) == b"sealed files"
        assert reader.config_content(2) is None
        reader.close()
        again.close()

    def test_what_is_remembered_later_replaces_what_stood_there(self, store: Store) -> None:
        first, other = state(1, b"a"), state(1, b"b")
        commit(store, Batch(states=[first, other]))
        second = state(1, b"a", sealed=b"other", inbox_id=2, at_us=8, until_us=9)
        commit(store, Batch(states=[second]))
        reader = store.reader()
        assert list(reader.states(1, b"", 9)) == [second, other]

    def test_states_are_put_and_removed_in_the_given_order(self, store: Store) -> None:
        a, b = state(1, b"a"), state(1, b"b")
        commit(store, Batch(states=[a, state(1, b"c")]))
        removed = [(1, a.key), (1, state(1, b"c").key), (9, b"nothing is there")]
        commit(store, Batch(states=[b, *removed, (1, b.key), b, (2, b.key), a, (1, b.key)]))
        assert list(store.reader().states(1, b"", 9)) == [a]

    def test_one_key_in_two_spaces_is_two_things(self, store: Store) -> None:
        a, b = state(1, b"same"), state(2, b"same", sealed=b"other")
        commit(store, Batch(states=[a, b]))
        commit(store, Batch(states=[(1, a.key)]))
        reader = store.reader()
        assert reader.state(1, a.key) is None
        assert reader.state(2, a.key) == b
        assert list(reader.states(1, b"", 9)) == []

    def test_a_space_is_listed_by_key_a_page_at_a_time(self, store: Store) -> None:
        rows = [state(1, b"%03d" % i) for i in range(25)]
        commit(store, Batch(states=[*reversed(rows), state(0, b"x"), state(2, b"000")]))
        reader = store.reader()
        found = list(reader.states(1, b"", 10))
        assert found == rows[:10]
        found += reader.states(1, found[-1].key, 10)
        found += reader.states(1, found[-1].key, 10)
        assert found == rows
        assert list(reader.states(1, found[-1].key, 10)) == []

    def test_what_lasts_for_ever_never_ran_out(self, store: Store) -> None:
        ends = {b"a": 50, b"b": 30, b"c": 0, b"d": 40, b"e": 51}
        commit(store, Batch(states=[state(1, key, until_us=end) for key, end in ends.items()]))
        commit(store, Batch(states=[state(2, b"a", until_us=30)]))
        reader = store.reader()
        a, b, d = (state(1, key).key for key in (b"a", b"b", b"d"))
        assert list(reader.states_until(30, 9)) == []
        assert list(reader.states_until(51, 9)) == [(1, b), (2, a), (1, d), (1, a)]
        assert list(reader.states_until(51, 2)) == [(1, b), (2, a)]
        assert len(reader.states_until(2**62, 9)) == 5

    def test_a_parked_message_is_replaced_and_removed_in_the_given_order(
        self, store: Store
    ) -> None:
        commit(store, Batch(parked=[parked(1, 9), parked(1, 3), parked(2, 3)]))
        longer = parked(1, 3, until_us=2**40, keys=b"k" * 32)
        commit(store, Batch(parked=[(1, 3), longer, parked(1, 5), (1, 9), (1, 5), (8, 8)]))
        reader = store.reader()
        assert list(reader.parked(1)) == [longer]
        assert [row.channel for row in reader.parked_message(3)] == [1, 2]

    def test_parked_messages_come_by_their_number(self, store: Store) -> None:
        commit(store, Batch(parked=[parked(1, i) for i in (300, 2, 41, 1000)]))
        assert [row.inbox_id for row in store.reader().parked(1)] == [2, 41, 300, 1000]

    def test_a_released_id_is_new_again(self, store: Store) -> None:
        commit(store, Batch(inbox=[guarded(1, b"id", b"A"), guarded(2, b"other", b"A")]))
        commit(store, Batch(released=[(b"id", 1), (b"unknown", 1)]))
        again, other = guarded(3, b"id", b"A"), guarded(4, b"other", b"A")
        commit(store, Batch(inbox=[again, other]))
        assert (again.verdict, again.origin) == (GuardVerdict.NEW, 0)
        assert (other.verdict, other.origin) == (GuardVerdict.DUPLICATE, 2)
        repeated = guarded(5, b"id", b"A")
        commit(store, Batch(inbox=[repeated]))
        assert (repeated.verdict, repeated.origin) == (GuardVerdict.DUPLICATE, 3)

    def test_a_claim_that_another_message_took_over_is_not_released(self, store: Store) -> None:
        commit(store, Batch(inbox=[guarded(1, b"id", b"A"), guarded(2, b"id", b"B")]))
        commit(store, Batch(released=[(b"id", 1)]))
        repeated = guarded(3, b"id", b"B")
        commit(store, Batch(inbox=[repeated]))
        assert (repeated.verdict, repeated.origin) == (GuardVerdict.DUPLICATE, 2)

    def test_a_message_and_the_release_of_its_own_claim_may_stand_in_one_batch(
        self, store: Store
    ) -> None:
        commit(store, Batch(inbox=[guarded(1, b"id", b"A")], released=[(b"id", 1)]))
        again = guarded(2, b"id", b"A")
        commit(store, Batch(inbox=[again]))
        assert (again.verdict, again.kind) == (GuardVerdict.NEW, InboxKind.MESSAGE)

    def test_a_purge_takes_the_parked_row_of_its_message_and_no_memory(self, store: Store) -> None:
        kept = [state(1, b"a", inbox_id=1), state(1, b"b", inbox_id=2)]
        commit(
            store,
            Batch(
                inbox=[entry(1), entry(2)],
                plans=[plan(1, PlannedFate(5, Fate.PARKED, 0, 0, ""))],
                states=list(kept),
                parked=[parked(1, 1), parked(2, 1), parked(1, 2)],
            ),
        )
        purge(store, 1)
        reader = store.reader()
        assert list(reader.parked_message(1)) == []
        assert [row.inbox_id for row in reader.parked(1)] == [2]
        assert list(reader.states(1, b"", 9)) == kept

    def test_a_purge_takes_every_part_of_a_delivery(self, store: Store) -> None:
        commit(
            store,
            Batch(
                inbox=[entry(1)],
                plans=[plan(1, queued(2, 1), queued(2, 2))],
                copies=[(1, b"one"), (2, b"two")],
                outbox=[delivery(2, 1, 1, copy_id=1), delivery(2, 2, 1, copy_id=2, part=1)],
            ),
        )
        purge(store, 1)
        reader = store.reader()
        assert list(reader.outbox_after(2, 0, 9)) == []
        assert (reader.copy(1), reader.copy(2)) == (None, None)

    def test_a_batch_that_fails_leaves_no_memory(
        self, store: Store, reopen: Callable[[Store], Store]
    ) -> None:
        first = state(1, b"a")
        commit(
            store,
            Batch(
                inbox=[guarded(1, b"id", b"A")],
                states=[first],
                parked=[parked(1, 1)],
                config_contents=[(1, b"files")],
            ),
        )
        with pytest.raises(StorageFailedError):
            commit(
                store,
                Batch(
                    states=[(1, first.key), state(1, b"b")],
                    parked=[(1, 1), parked(1, 2)],
                    released=[(b"id", 1)],
                    config_contents=[(2, b"x"), (1, b"a version is written once")],
                ),
            )
        again = reopen(store)
        reader = again.reader()
        assert list(reader.states(1, b"", 9)) == [first]
        assert [row.inbox_id for row in reader.parked(1)] == [1]
        assert (reader.config_content(1), reader.config_content(2)) == (b"files", None)
        repeated = guarded(2, b"id", b"A", received_us=2 * SECOND)
        commit(again, Batch(inbox=[repeated]))
        assert repeated.verdict is GuardVerdict.DUPLICATE
        reader.close()
        again.close()

    def test_a_reader_sees_what_was_committed_after_it_was_opened(self, store: Store) -> None:
        reader = store.reader()
        row = state(1, b"a")
        assert reader.state(1, row.key) is None
        commit(store, Batch(states=[row]))
        assert reader.state(1, row.key) == row
        commit(store, Batch(states=[(1, row.key)]))
        assert reader.state(1, row.key) is None
        reader.close()
