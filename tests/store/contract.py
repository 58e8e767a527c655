"""What every store must do. A backend's test module subclasses ``StoreContract``."""

import threading
from collections.abc import Callable

import pytest

from ifengine.errors import StorageFailedError
from ifengine.store.audit import HEAD_SETTING, verify, verify_log
from ifengine.store.base import (
    Batch,
    ConfigVersionRow,
    Counters,
    CursorKind,
    DataKeyRow,
    ExceptionState,
    Fate,
    GuardVerdict,
    InboxFilter,
    InboxKind,
    NameKind,
    PlannedFate,
    Store,
)
from store.builders import (
    SECOND,
    WINDOW,
    act,
    attempt,
    commit,
    delivery,
    ended,
    entry,
    guarded,
    plan,
    purge,
    queued,
    trouble,
)
from store.contract_giants import GiantsContract
from store.contract_states import StatesContract

Reopen = Callable[[Store], Store]


class StoreContract(StatesContract, GiantsContract):
    """Needs the fixtures ``store`` and ``reopen`` (close and open again)."""

    # --- rows -----------------------------------------------------------------------------------

    def test_what_was_written_is_read_back_equal(self, store: Store) -> None:
        batch = Batch(
            data_keys=[DataKeyRow(1, "0a1b2c3d", "content", b"wrapped", 5)],
            names=[(1, NameKind.CHANNEL, "adt"), (2, NameKind.OUTBOX, "lab")],
            config_versions=[ConfigVersionRow(3, "abc", 4)],
            inbox=[entry(1, reason="why", channel=9), entry(2, kind=InboxKind.UNROUTED)],
            plans=[plan(1, queued(2, 1), PlannedFate(6, Fate.FILTERED, 0, 0, "adt.yaml:7 é"))],
            copies=[(4, b"as sent")],
            outbox=[delivery(2, 1, 1, copy_id=4), delivery(2, 2, 1, ordered=False, keys=b"")],
            exceptions=[trouble(2, 1)],
            attempts=[attempt(2, 1, 2), attempt(2, 1, 1)],
            outcomes=[ended(2, 2, possible_duplicate=True, reason="ok")],
            cursors={(CursorKind.OUTBOX, 2): 2},
            tags=[(b"tag", 1), (b"tag", 2)],
            settings={"a": "1"},
            audits=[act(1, inbox_id=1), act(2)],
        )
        commit(store, batch)
        reader = store.reader()
        first = reader.inbox(1)
        assert first is not None
        assert first[:4] == (1, SECOND, 1, 9)
        assert first.kind is InboxKind.MESSAGE
        assert first[5:] == (4, "10.0.0.7:4711", "why", 0, GuardVerdict.NEW, b"sealed 1")
        assert reader.inbox(3) is None
        assert list(reader.plans(1)) == batch.plans
        assert reader.plans(1)[0].fates[1].fate is Fate.FILTERED
        assert reader.copy(4) == b"as sent"
        assert reader.copy(5) is None
        assert list(reader.outbox_after(2, 0, 10)) == batch.outbox
        assert reader.outbox_entry(2, 2) == batch.outbox[1]
        assert reader.outbox_entry(2, 3) is None
        assert reader.outbox_head(2) == 2
        assert reader.outbox_head(3) == 0
        assert list(reader.exceptions(2)) == batch.exceptions
        assert reader.exception(2, 1) == batch.exceptions[0]
        assert reader.exception(2, 2) is None
        assert [row.number for row in reader.attempts(2, 1)] == [1, 2]
        assert list(reader.attempts(2, 1)) == batch.attempts[::-1]
        assert reader.outcome(2, 2) == batch.outcomes[0]
        assert reader.outcome(2, 2).fate is Fate.SENT  # type: ignore[union-attr]
        assert reader.outcome(2, 1) is None
        assert list(reader.outcomes_after(2, 1)) == batch.outcomes
        assert list(reader.outcomes_after(2, 2)) == []
        assert reader.cursor(CursorKind.OUTBOX, 2) == 2
        assert reader.cursor(CursorKind.CHANNEL, 2) == 0
        assert list(reader.tagged(b"tag", 10)) == [2, 1]
        assert list(reader.tagged(b"tag", 1)) == [2]
        assert list(reader.names()) == batch.names
        assert list(reader.data_keys()) == batch.data_keys
        assert list(reader.config_versions()) == batch.config_versions
        assert reader.setting("a") == "1"
        assert reader.setting("b") is None
        assert reader.counters() == Counters(2, 4, 1, 2, 3)
        assert [row.seq for row in reader.audit_of(1)] == [1]
        assert list(reader.audit_of(0)) == []
        assert set(reader.sizes()) == {"messages", "wal"}
        assert reader.integrity() == []
        reader.close()

    def test_a_reopened_store_holds_the_same(self, store: Store, reopen: Reopen) -> None:
        commit(store, Batch(inbox=[entry(1), guarded(2, b"id", b"A")], audits=[act(1)]))
        identity = store.store_id
        again = reopen(store)
        assert again.store_id == identity
        assert len(identity) == 16
        found = again.reader().inbox_range(0, 10)
        assert [row.sealed for row in found] == [b"sealed 1", b"sealed 2"]
        repeated = guarded(3, b"id", b"A")
        commit(again, Batch(inbox=[repeated], audits=[act(2)]))
        assert repeated.verdict is GuardVerdict.DUPLICATE
        assert verify(again.reader().audit_after(0, 10)) is None
        again.close()

    def test_the_pipeline_reads_messages_of_its_channel_up_to_the_scan_limit(
        self, store: Store
    ) -> None:
        kinds = [InboxKind.MESSAGE, InboxKind.REJECTED, InboxKind.ACKNOWLEDGMENT]
        batch = Batch(inbox=[entry(i, channel=1 + i % 2, kind=kinds[i % 3]) for i in range(1, 25)])
        commit(store, batch)
        reader = store.reader()
        found = reader.inbox_after(1, 0, 100, scan_to=18)
        assert [row.inbox_id for row in found] == [6, 12, 18]
        assert [row.inbox_id for row in reader.inbox_after(1, 6, 1, scan_to=24)] == [12]
        assert list(reader.inbox_after(1, 18, 9, scan_to=18)) == []
        assert reader.inbox_count(1, 0, 18) == 3
        assert reader.inbox_count(1, 6, 100) == 3
        assert reader.inbox_count(2, 18, 18) == 0

    def test_deliveries_of_a_stretch_are_counted_by_destination(self, store: Store) -> None:
        batch = Batch()
        for number in range(1, 31):
            destination = 5 + (number % 3 == 0)
            batch.outbox.append(delivery(1 + number % 2, number, number, destination=destination))
        commit(store, batch)
        reader = store.reader()
        assert dict(reader.outbox_counts(1, 0, 100)) == {5: 10, 6: 5}
        assert dict(reader.outbox_counts(1, 6, 12)) == {5: 2, 6: 1}  # 8, 10; 12
        assert dict(reader.outbox_counts(3, 0, 100)) == {}

    def test_a_listing_is_newest_first_and_keeps_to_its_filter(self, store: Store) -> None:
        rejected = InboxKind.REJECTED
        commit(
            store,
            Batch(inbox=[entry(1), entry(2, kind=rejected), entry(3, channel=2), entry(4)]),
        )
        reader = store.reader()

        def ids(where: InboxFilter, limit: int = 10) -> list[int]:
            return [row.inbox_id for row in reader.inbox_newest(where, limit)]

        assert ids(InboxFilter()) == [4, 3, 2, 1]
        assert ids(InboxFilter(), 2) == [4, 3]
        assert ids(InboxFilter(channel=1)) == [4, 2, 1]
        assert ids(InboxFilter(since_us=2 * SECOND, until_us=4 * SECOND)) == [3, 2]
        assert ids(InboxFilter(before_id=3)) == [2, 1]
        assert ids(InboxFilter(kinds=(rejected,))) == [2]
        assert ids(InboxFilter(kinds=(InboxKind.MESSAGE, rejected), channel=1)) == [4, 2, 1]

    def test_an_exception_is_replaced_and_removed_in_the_given_order(self, store: Store) -> None:
        commit(store, Batch(exceptions=[trouble(2, 1), trouble(2, 3), trouble(1, 9)]))
        dead = trouble(2, 1, ExceptionState.DEAD_LETTER)
        commit(store, Batch(exceptions=[(2, 3), (2, 1), dead, trouble(2, 4), (2, 4), (7, 7)]))
        reader = store.reader()
        assert list(reader.exceptions(2)) == [dead]
        assert list(reader.exceptions_in(ExceptionState.DEAD_LETTER, 5)) == [dead]
        assert reader.exceptions(2)[0].state is ExceptionState.DEAD_LETTER
        assert reader.exceptions(2)[0].possible_duplicate is True
        assert [row.seq for row in reader.exceptions_in(ExceptionState.RETRYING, 5)] == [9]

    def test_the_newest_message_sent_is_known_by_key(self, store: Store) -> None:
        a, b = b"a" * 8, b"b" * 8
        commit(
            store,
            Batch(
                outbox=[
                    delivery(2, 1, 10, keys=a),
                    delivery(2, 2, 11, keys=a + b),
                    delivery(2, 3, 9, keys=b),  # a replay of an older one
                    delivery(2, 4, 12, keys=a),  # not sent
                    delivery(2, 5, 13, keys=a, destination=6),
                    delivery(2, 6, 14, keys=b""),
                ],
                outcomes=[
                    ended(2, 1),
                    ended(2, 2),
                    ended(2, 3),
                    ended(2, 4, Fate.DISCARDED),
                    ended(2, 5),
                    ended(2, 6),
                ],
            ),
        )
        reader = store.reader()
        assert reader.newest_sent(2, 5, 0) == {a: 11, b: 11}
        assert reader.newest_sent(2, 5, 2) == {b: 9}
        assert reader.newest_sent(3, 5, 0) == {}

    def test_cursors_and_settings_are_replaced(self, store: Store) -> None:
        place = (CursorKind.CHANNEL, 1)
        commit(store, Batch(cursors={place: 5}, settings={"a": "1", "b": "x"}))
        commit(store, Batch(cursors={place: 7}, settings={"a": "2"}))
        reader = store.reader()
        assert reader.cursor(*place) == 7
        assert (reader.setting("a"), reader.setting("b")) == ("2", "x")

    # --- retransmission guard -------------------------------------------------------------------

    def test_a_retransmission_is_kept_as_an_empty_row_that_names_the_first(
        self, store: Store
    ) -> None:
        commit(store, Batch(inbox=[guarded(1, b"id", b"A")]))
        again = guarded(2, b"id", b"A")
        commit(store, Batch(inbox=[again]))
        assert (again.verdict, again.origin) == (GuardVerdict.DUPLICATE, 1)
        row = store.reader().inbox(2)
        assert row is not None
        assert (row.kind, row.origin, row.sealed) == (InboxKind.DUPLICATE, 1, b"")
        assert list(store.reader().inbox_after(1, 1, 9, scan_to=9)) == []

    def test_two_equal_frames_of_one_batch_are_one_message(self, store: Store) -> None:
        twins = [guarded(1, b"id", b"A"), guarded(2, b"id", b"A")]
        commit(store, Batch(inbox=twins))
        assert [t.verdict for t in twins] == [GuardVerdict.NEW, GuardVerdict.DUPLICATE]

    def test_a_b_a_under_one_id_are_three_messages(self, store: Store) -> None:
        frames = [guarded(i, b"id", digest) for i, digest in enumerate([b"A", b"B", b"A"], 1)]
        for frame in frames:
            commit(store, Batch(inbox=[frame]))
        assert [f.verdict for f in frames] == [
            GuardVerdict.NEW,
            GuardVerdict.REUSED,
            GuardVerdict.REUSED,
        ]
        rows = store.reader().inbox_after(1, 0, 9, scan_to=9)
        assert [row.sealed for row in rows] == [b"sealed 1", b"sealed 2", b"sealed 3"]

    def test_an_id_with_too_many_contents_is_guarded_no_longer(self, store: Store) -> None:
        frames = [guarded(i, b"id", b"%d" % min(i, 4)) for i in range(1, 7)]
        commit(store, Batch(inbox=frames))
        assert [f.verdict for f in frames][2:] == [GuardVerdict.REUSED] + [GuardVerdict.OFF] * 3
        assert len(store.reader().inbox_after(1, 0, 9, scan_to=9)) == 6

    def test_after_the_window_an_id_is_new(self, store: Store) -> None:
        first = guarded(1, b"id", b"A", received_us=0)
        within = guarded(2, b"id", b"A", received_us=WINDOW)
        after = guarded(3, b"id", b"A", received_us=WINDOW + 1)
        commit(store, Batch(inbox=[first, within, after]))
        assert [f.verdict for f in (within, after)] == [GuardVerdict.DUPLICATE, GuardVerdict.NEW]

    def test_types_that_are_only_tagged_are_processed(self, store: Store) -> None:
        tagged = guarded(2, b"id", b"A", tag_only=True)
        commit(store, Batch(inbox=[guarded(1, b"id", b"A", tag_only=True), tagged]))
        assert (tagged.verdict, tagged.origin) == (GuardVerdict.TAGGED, 1)
        assert len(store.reader().inbox_after(1, 0, 9, scan_to=9)) == 2

    def test_a_refused_frame_claims_nothing(self, store: Store) -> None:
        refused = guarded(1, b"id", b"A", kind=InboxKind.REJECTED)
        second = guarded(2, b"id", b"A", kind=InboxKind.UNROUTED)
        third = guarded(3, b"id", b"A")
        commit(store, Batch(inbox=[refused, second, third]))
        assert second.verdict is GuardVerdict.NEW
        assert (third.verdict, third.origin) == (GuardVerdict.DUPLICATE, 2)

    # --- audit ----------------------------------------------------------------------------------

    def test_audit_records_are_numbered_without_a_gap_and_chained(
        self, store: Store, reopen: Reopen
    ) -> None:
        store.protect_audit(lambda seq, digest: digest[:8])
        commit(store, Batch(audits=[act(1), act(2)]))
        again = reopen(store)
        again.protect_audit(lambda seq, digest: digest[:8])
        commit(again, Batch(audits=[act(3)]))
        reader = again.reader()
        rows = reader.audit_after(0, 10)
        assert [row.seq for row in rows] == [1, 2, 3]
        assert rows[2][1:8] == tuple(act(3))
        assert verify(rows) is None
        assert [row.seq for row in reader.audit_after(1, 1)] == [2]
        report = verify_log(reader, lambda seq, digest: digest[:8])
        assert report == (3, 0, "")
        assert str(reader.setting(HEAD_SETTING)).startswith("3:")
        again.close()

    # --- purge ----------------------------------------------------------------------------------

    def test_a_purge_takes_all_that_belongs_to_a_message_and_nothing_else(
        self, store: Store
    ) -> None:
        commit(
            store,
            Batch(
                inbox=[entry(1), entry(2)],
                plans=[plan(1, queued(2, 1)), plan(1, queued(3, 1), run=1), plan(2, queued(2, 2))],
                copies=[(1, b"one"), (2, b"two"), (3, b"three")],
                outbox=[
                    delivery(2, 1, 1, copy_id=1),
                    delivery(3, 1, 1, copy_id=2),
                    delivery(2, 2, 2, copy_id=3),
                    delivery(2, 3, 1, copy_id=1, origin_seq=1),  # sent again as stored
                ],
                exceptions=[trouble(3, 1), trouble(2, 2)],
                attempts=[attempt(2, 1, 1), attempt(2, 2, 1)],
                outcomes=[ended(2, 1, Fate.DISCARDED, superseded_by=3), ended(2, 3), ended(3, 1)],
                tags=[(b"t", 1), (b"t", 2), (b"u", 1)],
                audits=[act(1, inbox_id=1)],
            ),
        )
        purge(store, 1, 99)
        reader = store.reader()
        assert reader.inbox(1) is None
        assert list(reader.plans(1)) == []
        assert [row.seq for row in reader.outbox_after(2, 0, 9)] == [2]
        assert list(reader.outbox_after(3, 0, 9)) == []
        assert list(reader.outcomes_after(2, 0)) == []
        assert list(reader.exceptions(3)) == []
        assert list(reader.attempts(2, 1)) == []
        assert (reader.copy(1), reader.copy(2), reader.copy(3)) == (None, None, b"three")
        assert list(reader.tagged(b"t", 9)) == [2]
        assert list(reader.tagged(b"u", 9)) == []
        assert reader.inbox(2) is not None
        assert len(reader.exceptions(2)) == 1
        assert len(reader.attempts(2, 2)) == 1
        assert len(reader.audit_of(1)) == 1, "the audit outlives the message"

    def test_no_number_is_given_twice_after_everything_was_purged(
        self, store: Store, reopen: Reopen
    ) -> None:
        commit(
            store,
            Batch(
                inbox=[entry(1), entry(7)],
                plans=[plan(7, queued(2, 5))],
                copies=[(6, b"copy")],
                outbox=[delivery(2, 5, 7, copy_id=6)],
                outcomes=[ended(2, 5)],
            ),
        )
        purge(store, 7, 1)
        again = reopen(store)
        reader = again.reader()
        assert list(reader.inbox_range(0, 9)) == []
        assert reader.counters()[:2] == (7, 6)
        assert reader.outbox_head(2) == 5
        again.close()

    def test_a_purged_message_still_guards_its_id_until_the_window_ends(self, store: Store) -> None:
        commit(store, Batch(inbox=[guarded(1, b"id", b"A"), guarded(300, b"other", b"B")]))
        purge(store, 1)
        repeated = guarded(2, b"id", b"A")
        commit(store, Batch(inbox=[repeated]))
        assert (repeated.verdict, repeated.origin) == (GuardVerdict.DUPLICATE, 1)

    def test_a_purge_of_nothing_is_told(self, store: Store) -> None:
        purge(store)
        purge(store, 12345)

    def test_a_purge_of_many_leaves_the_rest(self, store: Store) -> None:
        commit(store, Batch(inbox=[guarded(i, b"%d" % i, b"A") for i in range(1, 1301)]))
        purge(store, *range(1, 1251))
        assert [r.inbox_id for r in store.reader().inbox_range(0, 99)] == list(range(1251, 1301))

    # --- order and failure ----------------------------------------------------------------------

    def test_batches_take_effect_in_the_order_of_submission(self, store: Store) -> None:
        told: list[int] = []
        last = threading.Event()
        for i in range(1, 51):

            def finished(error: BaseException | None, i: int = i) -> None:
                told.append(i if error is None else -i)
                if i == 50:
                    last.set()

            store.submit(Batch(inbox=[entry(i)], settings={"last": str(i)}), finished)
        assert last.wait(30)
        assert told == list(range(1, 51))
        assert store.reader().setting("last") == "50"

    def test_a_batch_that_fails_leaves_nothing_and_ends_the_store(
        self, store: Store, reopen: Reopen
    ) -> None:
        commit(store, Batch(inbox=[entry(1)]))
        broken = Batch(inbox=[entry(2), entry(1)], settings={"a": "b"}, audits=[act(1)])
        with pytest.raises(StorageFailedError) as caught:
            commit(store, broken)
        assert "sealed" not in str(caught.value)
        with pytest.raises(StorageFailedError):
            commit(store, Batch(inbox=[entry(3)]))
        with pytest.raises(StorageFailedError):
            purge(store, 1)
        again = reopen(store)
        reader = again.reader()
        assert [row.inbox_id for row in reader.inbox_range(0, 9)] == [1]
        assert reader.setting("a") is None
        assert list(reader.audit_after(0, 9)) == []
        commit(again, Batch(inbox=[entry(2)], audits=[act(1)]))
        assert verify(again.reader().audit_after(0, 9)) is None
        again.close()

    def test_a_closed_store_refuses(self, store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(StorageFailedError, match="closed"):
            commit(store, Batch(inbox=[entry(1)]))

    def test_close_finishes_what_was_submitted(self, store: Store) -> None:
        told: list[BaseException | None] = []
        for i in range(1, 21):
            store.submit(Batch(inbox=[entry(i)]), told.append)
        store.close()
        assert told == [None] * 20

    def test_a_reader_beside_the_writer_never_sees_half_a_batch(self, store: Store) -> None:
        stop = threading.Event()
        torn: list[object] = []

        def look() -> None:
            reader = store.reader()
            while not stop.is_set():
                ids = [row.inbox_id for row in reader.inbox_range(0, 10_000)]
                if len(ids) % 10 or ids != list(range(1, len(ids) + 1)):
                    torn.append(ids)
            reader.close()

        thread = threading.Thread(target=look)
        thread.start()
        for start in range(1, 400, 10):
            commit(store, Batch(inbox=[entry(i) for i in range(start, start + 10)]))
        stop.set()
        thread.join()
        assert torn == []
