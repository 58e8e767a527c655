"""Reading an outbox back: what is stuck, what waits, and the bytes to send."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.support import adt
from ifengine.errors import SealError
from ifengine.routes.lanes import EntryState
from ifengine.routes.outbox_loading import (
    count_unsettled,
    dead_label,
    load_page,
    load_stuck,
    split_keys,
    unseal_content,
)
from ifengine.store.base import Batch, CursorKind, ExceptionState
from ifengine.store.sealing import BlobKind
from routes.sealed import Sealed
from store.builders import delivery, ended, trouble


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return Sealed(tmp_path)


@given(st.lists(st.binary(min_size=8, max_size=8), max_size=5))
def test_keys_come_back_as_they_were_put_together(keys: list[bytes]) -> None:
    row = delivery(1, 1, 1, keys=b"".join(keys))
    assert split_keys(row) == tuple(keys)
    assert split_keys(row._replace(ordered=False)) is None


def queue(sealed: Sealed, count: int, cursor: int = 0) -> Batch:
    batch = Batch()
    for number in range(1, count + 1):
        sealed.put(number, adt(f"M{number}"))
        batch.outbox.append(delivery(1, number, number))
    if cursor:
        batch.cursors[CursorKind.OUTBOX, 1] = cursor
    return batch


def test_a_page_holds_what_is_not_settled_with_its_bytes(sealed: Sealed) -> None:
    batch = queue(sealed, 6)
    batch.outcomes.append(ended(1, 2))
    batch.exceptions.append(trouble(1, 4, ExceptionState.DEAD_LETTER))
    sealed.commit(batch)
    last, page = load_page(sealed.store.reader(), sealed.ring, 1, 0, 5, set())
    assert last == 5
    assert [loaded.entry.seq for loaded in page] == [1, 3, 4, 5]
    assert [loaded.state for loaded in page] == [
        EntryState.WAITING,
        EntryState.WAITING,
        EntryState.DEAD,
        EntryState.WAITING,
    ]
    assert page[0].entry.content == adt("M1")
    assert page[2].entry.content is None  # a dead letter takes no room
    last, page = load_page(sealed.store.reader(), sealed.ring, 1, 5, 5, set())
    assert (last, [loaded.entry.seq for loaded in page]) == (6, [6])
    assert load_page(sealed.store.reader(), sealed.ring, 1, 6, 5, set()) == (6, [])


def test_counts_and_doubt_of_a_stuck_delivery_come_back_with_it(sealed: Sealed) -> None:
    batch = queue(sealed, 1)
    row = trouble(1, 1, ExceptionState.IN_DOUBT, refusals=2, doubts=5, due_us=77)
    batch.exceptions.append(row)
    sealed.commit(batch)
    (loaded,) = load_stuck(sealed.store.reader(), 1, 1)
    entry = loaded.entry
    assert (entry.refusals, entry.doubts, entry.possible_duplicate) == (2, 5, True)
    assert (loaded.state, loaded.due_us) == (EntryState.IN_DOUBT, 77)
    assert entry.received_us == 1_000_000


def test_what_is_stuck_comes_in_the_order_of_places_so_that_a_replay_keeps_its_own(
    sealed: Sealed,
) -> None:
    batch = queue(sealed, 5, cursor=5)
    batch.outbox.append(delivery(1, 9, 2, place=2, origin_seq=2))  # the replay of seq 2
    for seq, state in ((3, ExceptionState.BEHIND), (9, ExceptionState.BEHIND)):
        batch.exceptions.append(trouble(1, seq, state))
    sealed.commit(batch)
    stuck = load_stuck(sealed.store.reader(), 1, 5)
    assert [loaded.entry.seq for loaded in stuck] == [9, 3]


def test_what_lies_wholly_behind_the_cursor_is_met_with_its_page(sealed: Sealed) -> None:
    batch = queue(sealed, 5, cursor=2)
    for seq in (1, 4):
        batch.exceptions.append(trouble(1, seq, ExceptionState.HELD))
    sealed.commit(batch)
    assert [s.entry.seq for s in load_stuck(sealed.store.reader(), 1, 2)] == [1]


def test_every_unsettled_delivery_is_counted_once(sealed: Sealed) -> None:
    batch = queue(sealed, 9, cursor=3)
    batch.outcomes += [ended(1, 1), ended(1, 5)]
    dead = ExceptionState.DEAD_LETTER
    batch.exceptions += [
        trouble(1, 2, dead, reason="answered AE 101"),
        trouble(1, 3, ExceptionState.RETRYING),
        trouble(1, 6, dead, stage="steps", reason="no ward"),
    ]
    sealed.commit(batch)
    unsettled, left = count_unsettled(sealed.store.reader(), 1, 3, 9)
    counts = {
        (u.destination, u.state, u.label if u.state is EntryState.DEAD else ""): u.count
        for u in unsettled
    }
    assert left.is_done
    assert counts == {
        (5, EntryState.DEAD, "answered_ae"): 1,
        (5, EntryState.DEAD, "steps"): 1,
        (5, EntryState.RETRYING, ""): 1,
        (5, EntryState.WAITING, ""): 4,  # 4, 7, 8, 9
    }


def test_a_copy_of_its_own_goes_out_instead_of_what_was_received(sealed: Sealed) -> None:
    sealed.put(1, adt("M1"))
    batch = Batch()
    batch.copies.append((7, sealed.ring.seal(BlobKind.COPY, 7, 0, b"name.hl7\0changed")))
    sealed.commit(batch)
    reader = sealed.store.reader()
    assert unseal_content(reader, sealed.ring, 1, 0) == adt("M1")
    assert unseal_content(reader, sealed.ring, 1, 7, with_name=True) == b"name.hl7\0changed"


@pytest.mark.parametrize(
    ("inbox_id", "copy_id", "with_name"), [(9, 0, False), (1, 9, False), (1, 0, True)]
)
def test_bytes_that_are_gone_are_an_error_and_never_empty(
    sealed: Sealed, inbox_id: int, copy_id: int, with_name: bool
) -> None:
    sealed.put(1, adt("M1"))
    with pytest.raises(SealError):
        unseal_content(sealed.store.reader(), sealed.ring, inbox_id, copy_id, with_name=with_name)


def test_a_row_that_was_moved_to_another_message_does_not_open(sealed: Sealed) -> None:
    """The seal binds the row: what belongs to message 1 is not sent as message 2."""
    stolen = sealed.ring.seal(BlobKind.INBOX, 1, 0, adt("M1"))
    sealed.put(2, b"", sealed=stolen)
    with pytest.raises(SealError):
        unseal_content(sealed.store.reader(), sealed.ring, 2, 0)
    _, (loaded,) = page_of(sealed)
    assert loaded.entry.content is None


def page_of(sealed: Sealed):  # type: ignore[no-untyped-def]
    batch = Batch()
    batch.outbox.append(delivery(1, 1, 2))
    sealed.commit(batch)
    return load_page(sealed.store.reader(), sealed.ring, 1, 0, 5, set())


@pytest.mark.parametrize(
    ("stage", "reason", "label"),
    [
        ("steps", "ward has no entry", "steps"),
        ("steps", "answered AE", "steps"),
        ("delivery", "answered AE 101", "answered_ae"),
        ("delivery", "answered CR", "answered_cr"),
        ("delivery", "no answer (timeout)", "no_answer"),
        ("delivery", "unreachable too long", "unreachable"),
        ("delivery", "file exists with other content", "other"),
        ("delivery", "CANARY 4711", "other"),
    ],
)
def test_a_metric_label_is_one_of_a_closed_list(stage: str, reason: str, label: str) -> None:
    assert dead_label(stage, reason) == label
