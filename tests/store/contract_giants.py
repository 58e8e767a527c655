"""What every store must do with giants, whose bodies are written in pieces before them."""

from collections.abc import Callable

import pytest

from ifengine.store.base import Batch, GiantPiece, GuardVerdict, InboxFilter, InboxKind, Store
from store.builders import commit, delivery, ended, entry, guarded, plan, purge, queued
from store.giants import HEAD, body_of, commit_pieces, pieces_left, whole

Reopen = Callable[[Store], Store]


class GiantsContract:
    """Part of ``StoreContract``; needs the same fixtures."""

    def test_a_giant_is_read_back_whole_wherever_content_is_read(
        self, store: Store, reopen: Reopen
    ) -> None:
        commit_pieces(store, 5, 7, 6)
        copies: dict[str, object] = {"copies": [(4, HEAD), (5, b"small")], "copy_giants": {4: 7}}
        entries = [entry(1), entry(2, sealed=HEAD, giant=5), entry(3, sealed=HEAD, giant=6)]
        commit(store, Batch(inbox=entries, **copies))  # type: ignore[arg-type]
        for _ in range(2):
            reader = store.reader()
            found = reader.inbox(2)
            assert found is not None
            assert found.sealed == whole(5)
            expected = [b"sealed 1", whole(5), whole(6)]
            assert [row.sealed for row in reader.inbox_range(0, 9)] == expected
            assert [row.sealed for row in reader.inbox_after(1, 0, 9, scan_to=9)] == expected
            newest = reader.inbox_newest(InboxFilter(), 9)
            assert [row.sealed for row in newest] == expected[::-1]
            assert reader.copy(4) == whole(7)
            assert reader.copy(5) == b"small"
            assert reader.counters().giant == 7
            assert reader.sizes()["messages"] > 3 * len(body_of(5))
            reader.close()
            store = reopen(store)
        store.close()

    def test_a_giant_that_is_stored_whole_is_read_as_it_is(self, store: Store) -> None:
        commit(store, Batch(inbox=[entry(1, sealed=whole(9))], copies=[(2, whole(8))]))
        reader = store.reader()
        assert [row.sealed for row in reader.inbox_range(0, 9)] == [whole(9)]
        assert reader.copy(2) == whole(8)
        assert reader.counters().giant == 0
        reader.close()

    def test_pieces_of_a_message_that_never_came_are_shown_nowhere_and_gone_after_a_start(
        self, store: Store, reopen: Reopen
    ) -> None:
        commit_pieces(store, 1, 2, 3)
        commit(store, Batch(inbox=[entry(1, sealed=HEAD, giant=2)]))
        assert pieces_left(store) == {1, 2, 3}
        reader = store.reader()
        assert [row.inbox_id for row in reader.inbox_range(0, 9)] == [1]
        reader.close()
        again = reopen(store)
        purge(again)  # it ends when nothing is left to be removed
        assert pieces_left(again) == {2}
        reader = again.reader()
        found = reader.inbox(1)
        assert found is not None
        assert found.sealed == whole(2)
        reader.close()
        again.close()

    def test_pieces_of_a_repeat_and_of_what_was_given_up_are_let_go(self, store: Store) -> None:
        commit_pieces(store, 1, 2, 3, 4)
        first = guarded(1, b"id", b"A", sealed=HEAD, giant=1)
        repeat = guarded(2, b"id", b"A", sealed=HEAD, giant=2)
        commit(store, Batch(inbox=[first, repeat]))
        assert repeat.verdict is GuardVerdict.DUPLICATE
        commit(store, Batch(lost_giants=[4]))
        purge(store)
        assert pieces_left(store) == {1, 3}
        reader = store.reader()
        rows = reader.inbox_range(0, 9)
        assert [(row.kind, row.sealed) for row in rows] == [
            (InboxKind.MESSAGE, whole(1)), (InboxKind.DUPLICATE, b""),
        ]  # fmt: skip
        reader.close()

    def test_a_purge_takes_the_pieces_of_messages_and_of_their_copies_along(
        self, store: Store
    ) -> None:
        commit_pieces(store, 1, 2, 3, 4)
        commit(
            store,
            Batch(
                inbox=[entry(1, sealed=HEAD, giant=1), entry(2, sealed=HEAD, giant=2)],
                plans=[plan(1, queued(2, 1)), plan(2, queued(2, 2))],
                copies=[(1, HEAD), (2, HEAD)],
                copy_giants={1: 3, 2: 4},
                outbox=[delivery(2, 1, 1, copy_id=1), delivery(2, 2, 2, copy_id=2)],
                outcomes=[ended(2, 1), ended(2, 2)],
            ),
        )
        purge(store, 1)
        assert pieces_left(store) == {2, 4}
        reader = store.reader()
        assert reader.inbox(1) is None
        assert reader.copy(1) is None
        assert reader.copy(2) == whole(4)
        assert [row.sealed for row in reader.inbox_range(0, 9)] == [whole(2)]
        reader.close()
        purge(store, 2)
        assert pieces_left(store) == set()

    @pytest.mark.parametrize("twice", [0, 1])
    def test_a_piece_is_written_once(self, store: Store, twice: int) -> None:
        commit_pieces(store, 1)
        with pytest.raises(Exception, match="commit failed"):
            commit(store, Batch(pieces=[GiantPiece(1, twice, b"other")]))
