"""The schedule of an outbox against a plain statement of the rules it must keep."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifengine.routes.config.models import Order
from ifengine.routes.lanes import SETTLE_WINDOW, Entry, EntryState, Schedule


def entry(seq: int, keys: tuple[bytes, ...] | None = (b"k",), place: int = 0) -> Entry:
    return Entry(
        seq=seq,
        place=place or seq,
        inbox_id=seq,
        run=0,
        channel=1,
        destination=1,
        copy_id=0,
        keys=keys,
        at_us=0,
        received_us=0,
        config_version=1,
        content=b"x",
    )


def schedule(order: Order = Order.HOLD_KEY, *, ordered: bool = True, lanes: int = 1) -> Schedule:
    return Schedule(order=order, ordered=ordered, lanes=lanes, strict_settle=False)


def written(queue: Schedule, count: int = 0) -> None:
    """The disk has everything."""
    queue.undurable -= count or queue.undurable
    queue.durable_low = queue.low()


def test_one_key_leaves_one_at_a_time_in_order_whatever_the_number_of_lanes() -> None:
    queue = schedule(lanes=8)
    for seq in range(1, 6):
        queue.add(entry(seq))
    left = []
    while (going := queue.take()) is not None:
        assert queue.take() is None
        left.append(going.seq)
        queue.settle(going)
        written(queue)
    assert left == [1, 2, 3, 4, 5]


def test_different_keys_go_side_by_side() -> None:
    queue = schedule(lanes=3)
    for seq, key in ((1, b"a"), (2, b"b"), (3, b"a"), (4, b"c")):
        queue.add(entry(seq, (key,)))
    assert [e.seq for e in iter(queue.take, None)] == [1, 2, 4]


def test_a_merge_waits_for_both_patients_and_holds_both() -> None:
    queue = schedule(lanes=8)
    for seq, keys in (
        (1, (b"a",)),
        (2, (b"b",)),
        (3, (b"a", b"b")),
        (4, (b"a",)),
        (5, (b"b",)),
        (6, (b"c",)),
    ):
        queue.add(entry(seq, keys))
    first = list(iter(queue.take, None))
    assert [e.seq for e in first] == [1, 2, 6]
    queue.settle(first[0])
    assert queue.take() is None
    queue.settle(first[1])
    merge = queue.take()
    assert merge is not None
    assert merge.seq == 3
    assert queue.take() is None
    queue.settle(merge)
    assert [e.seq for e in iter(queue.take, None)] == [4, 5]


def test_a_message_without_a_key_waits_for_all_lanes_and_holds_all_lanes() -> None:
    queue = schedule(lanes=8)
    for seq, keys in ((1, (b"a",)), (2, ()), (3, (b"b",))):
        queue.add(entry(seq, keys))
    first = queue.take()
    assert first is not None
    assert first.seq == 1
    assert queue.take() is None
    queue.settle(first)
    second = queue.take()
    assert second is not None
    assert second.seq == 2
    assert queue.take() is None
    queue.settle(second)
    third = queue.take()
    assert third is not None
    assert third.seq == 3


def test_a_dead_letter_holds_its_key_and_nothing_else() -> None:
    queue = schedule()
    for seq, key in ((1, b"a"), (2, b"a"), (3, b"b")):
        queue.add(entry(seq, (key,)))
    dead = queue.take()
    assert dead is not None
    behind = queue.die(dead)
    assert [e.seq for e in behind] == [2]
    assert queue.low() == 2
    other = queue.take()
    assert other is not None
    assert other.seq == 3
    queue.settle(other)
    assert queue.add(entry(4, (b"a",))) == [queue.entry(4)]
    assert queue.take() is None
    assert queue.low() == 4


def test_a_replay_leaves_before_what_its_dead_letter_held_and_behind_what_waits() -> None:
    queue = schedule()
    for seq, key in ((1, b"a"), (2, b"a"), (3, b"b")):
        queue.add(entry(seq, (key,)))
    dead = queue.take()
    assert dead is not None
    queue.die(dead)
    queue.replace(1, entry(4, (b"a",), place=1))
    left = []
    while (going := queue.take()) is not None:
        left.append(going.seq)
        queue.settle(going)
        written(queue)
    assert left == [3, 4, 2]


def test_discarding_the_second_of_two_dead_letters_does_not_free_what_the_first_holds() -> None:
    queue = schedule()
    queue.add(entry(1), EntryState.DEAD)
    queue.add(entry(2), EntryState.DEAD)
    queue.add(entry(3))
    queue.remove(2)
    assert queue.take() is None
    queue.remove(1)
    freed = queue.take()
    assert freed is not None
    assert freed.seq == 3


def test_a_barrier_does_not_wait_for_what_only_a_person_can_move() -> None:
    queue = schedule()
    queue.add(entry(1, (b"a",)))
    queue.add(entry(2, (b"a",)))
    queue.add(entry(3, ()))
    dead = queue.take()
    assert dead is not None
    queue.die(dead)
    barrier = queue.take()
    assert barrier is not None
    assert barrier.seq == 3


def test_a_keyless_dead_letter_behind_one_that_dies_later_holds_nobody() -> None:
    queue = schedule()
    queue.add(entry(1, (b"a",)))
    first = queue.take()
    assert first is not None
    queue.defer(first, EntryState.RETRYING, 0.0)
    queue.add(entry(2, ()), EntryState.DEAD)
    queue.wake(first)
    assert queue.take() is first
    queue.die(first)
    queue.add(entry(3, (b"c",)))
    other = queue.take()
    assert other is not None
    assert other.seq == 3


def test_strict_order_is_blocked_by_its_head_until_a_person_acts() -> None:
    queue = schedule(Order.STRICT)
    for seq, key in ((1, b"a"), (2, b"b")):
        queue.add(entry(seq, (key,)))
    head = queue.take()
    assert head is not None
    assert queue.die(head) == []
    assert queue.take() is None
    queue.remove(1)
    second = queue.take()
    assert second is not None
    assert second.seq == 2


def test_without_order_by_a_retry_keeps_the_order_and_a_dead_letter_is_passed() -> None:
    queue = schedule(Order.SKIP_DEAD, ordered=False)
    for seq in (1, 2):
        queue.add(entry(seq, None))
    head = queue.take()
    assert head is not None
    assert queue.defer(head, EntryState.RETRYING, 5.0) == []
    assert queue.take() is None
    queue.wake(head)
    assert queue.take() is head
    queue.die(head)
    second = queue.take()
    assert second is not None
    assert second.seq == 2


def test_a_held_message_holds_nothing_where_there_is_no_key() -> None:
    queue = schedule(Order.SKIP_DEAD, ordered=False)
    queue.add(entry(1, None), EntryState.HELD)
    queue.add(entry(2, None))
    going = queue.take()
    assert going is not None
    assert going.seq == 2


def test_no_more_than_the_settle_window_can_be_sent_without_a_durable_outcome() -> None:
    queue = schedule()
    for seq in range(1, 100):
        queue.add(entry(seq, (b"%d" % seq,)))
    sent = 0
    while (going := queue.take()) is not None:
        queue.settle(going)
        sent += 1
    assert sent == SETTLE_WINDOW
    written(queue)
    assert queue.take() is not None


def test_nothing_is_sent_further_from_the_cursor_than_a_crash_looks_for_what_may_have_left() -> (
    None
):
    queue = schedule(lanes=2)
    for seq in range(1, 200):
        queue.add(entry(seq, (b"%d" % seq,)))
    first = queue.take()  # its receiver is slow: the cursor stays before it
    assert first is not None
    last = first.seq
    while (going := queue.take()) is not None:
        queue.settle(going)
        written(queue)
        last = going.seq
    assert last == queue.durable_low + queue.window == 2 * SETTLE_WINDOW
    queue.settle(first)
    written(queue)
    assert queue.take() is not None


def test_the_window_counts_what_was_held_and_goes_again_too() -> None:
    queue = schedule()
    for seq in range(1, 100):
        queue.add(entry(seq, (b"%d" % seq,)), EntryState.BEHIND)  # the cursor has passed them
    sent = 0
    while (going := queue.take()) is not None:
        queue.settle(going)
        sent += 1
    assert sent == SETTLE_WINDOW


@pytest.mark.parametrize("order", [Order.HOLD_KEY, Order.SKIP_DEAD])
@given(seed=st.integers(0, 2**32), lanes=st.integers(1, 4))
@settings(max_examples=400, deadline=None)
def test_any_history_keeps_the_order_of_every_key_and_ends(
    order: Order, seed: int, lanes: int
) -> None:
    history = History(random.Random(seed), order, lanes)
    for _ in range(120):
        history.step()
    history.drain()
    history.finish()


class History:
    """Random acts on a schedule, with the rules stated over a plain list."""

    def __init__(self, dice: random.Random, order: Order, lanes: int) -> None:
        self.dice = dice
        self.order = order
        self.queue = schedule(order, lanes=lanes)
        self.seq = 0
        self.open: dict[int, Entry] = {}  # unsettled, dead ones included, by seq
        self.dead: set[int] = set()
        self.flying: list[Entry] = []
        self.retrying: list[Entry] = []

    def step(self) -> None:
        acts = [self.add, self.add, self.take, self.take, self.end, self.end, self.wake]
        self.dice.choice([*acts, self.person, self.disk])()
        self.check_low()

    def add(self) -> None:
        self.seq += 1
        choices = [(b"a",), (b"b",), (b"c",), (b"a", b"b"), (b"b", b"c"), ()]
        made = entry(self.seq, self.dice.choices(choices, [4, 4, 4, 1, 1, 1])[0])
        if self.dice.random() < 0.05:
            self.queue.add(made, EntryState.DEAD)
            self.dead.add(made.seq)
        else:
            self.queue.add(made)
        self.open[made.seq] = made

    def take(self) -> None:
        going = self.queue.take()
        if going is not None:
            self.check_may_go(going)
            self.flying.append(going)

    def check_may_go(self, going: Entry) -> None:
        for other in self.open.values():
            if other is going or (other.place, other.seq) > (going.place, going.seq):
                continue
            holds = self.order is Order.HOLD_KEY or other.seq not in self.dead
            if going.keys and other.keys and set(going.keys) & set(other.keys):
                assert not holds, f"{going} overtook {other}"
            if other.keys == () and other.seq not in self.dead and going.exceptional is False:
                raise AssertionError(f"{going} passed the barrier {other}")
            # what a person set free again does not call back a barrier that was let go
            if going.keys == () and other in self.flying and not other.exceptional:
                raise AssertionError(f"barrier {going} did not wait for {other}")

    def end(self) -> None:
        if not self.flying:
            return
        going = self.flying.pop(self.dice.randrange(len(self.flying)))
        how = self.dice.random()
        if how < 0.7:
            self.queue.settle(going)
            del self.open[going.seq]
        elif how < 0.85:
            self.queue.defer(going, EntryState.RETRYING, 0.0)
            self.retrying.append(going)
        elif how < 0.95:
            self.queue.die(going)
            self.dead.add(going.seq)
        else:
            self.queue.give_back(going)

    def wake(self) -> None:
        while self.retrying:
            self.queue.wake(self.retrying.pop())

    def person(self) -> None:
        if not self.dead:
            return
        seq = self.dice.choice(sorted(self.dead))
        self.dead.discard(seq)
        old = self.open.pop(seq)
        if self.dice.random() < 0.5:
            self.queue.remove(seq)
            return
        self.seq += 1
        place = old.place if self.queue.keeps_place(old.keys) else self.seq
        again = entry(self.seq, old.keys, place=place)
        self.open[again.seq] = again
        self.queue.replace(seq, again)

    def disk(self) -> None:
        written(self.queue)

    def check_low(self) -> None:
        low = self.queue.low()
        plain = [e.seq for e in self.open.values() if not e.exceptional]
        assert all(seq > low for seq in plain)

    def drain(self) -> None:
        """While nobody acts, only what a dead letter holds stays."""
        for _ in range(1000):
            self.wake()
            self.disk()
            going = self.queue.take()
            if going is not None:
                self.check_may_go(going)
                self.flying.append(going)
            elif not self.flying:
                break
            while self.flying:
                done = self.flying.pop()
                self.queue.settle(done)
                del self.open[done.seq]
        held: set[bytes] = set()
        for one in sorted(self.open.values(), key=lambda e: (e.place, e.seq)):
            if one.seq in self.dead:
                held |= set(one.keys or ())
            else:
                assert self.order is Order.HOLD_KEY
                assert held & set(one.keys or ()), f"{one} waits for nothing"
                held |= set(one.keys or ())

    def finish(self) -> None:
        """Once nothing fails any more and people act, everything leaves."""
        for _ in range(10_000):
            self.wake()
            while self.dead:
                self.person()
            self.take()
            while self.flying:
                going = self.flying.pop()
                self.queue.settle(going)
                del self.open[going.seq]
            self.disk()
            if not self.open:
                break
        assert self.open == {}
        assert self.queue.low() == self.queue.through


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("keys", [(b"k",), (), None])
def test_what_is_gated_keeps_its_place_and_goes_only_when_the_gate_opens(
    order: Order, keys: tuple[bytes, ...] | None
) -> None:
    queue = schedule(order, ordered=keys is not None, lanes=4)
    gated = entry(1, keys)
    queue.add(gated, gated=True)
    queue.add(entry(2, keys))
    free = [e.seq for e in iter(queue.take, None)]
    assert 1 not in free
    waits = order is not Order.NONE
    assert free == ([] if waits else [2])
    queue.open_gate(1)
    going = queue.take()
    assert going is gated
    queue.settle(going)
    assert [e.seq for e in iter(queue.take, None)] == ([2] if waits else [])


def test_a_gate_that_opens_while_an_earlier_one_is_under_way_lets_nothing_overtake() -> None:
    queue = schedule()
    queue.add(entry(1))
    queue.add(entry(2), gated=True)
    first = queue.take()
    assert first is not None
    queue.open_gate(2)
    assert queue.take() is None
    queue.settle(first)
    second = queue.take()
    assert second is not None
    assert second.seq == 2


def test_what_is_gated_with_keys_does_not_hold_the_cursor_back_and_may_be_cancelled() -> None:
    queue = schedule()
    assert [e.seq for e in queue.add(entry(1), gated=True)] == [1]
    queue.add(entry(2, (b"other",)))
    going = queue.take()
    assert going is not None
    queue.settle(going)
    assert queue.low() == 2
    queue.add(entry(3))
    queue.remove(1)
    assert [e.seq for e in iter(queue.take, None)] == [3]


def test_what_ended_in_doubt_for_its_sender_holds_nothing_and_goes_again_behind_the_rest() -> None:
    queue = schedule()
    queue.add(entry(1))
    queue.add(entry(2))
    first = queue.take()
    assert first is not None
    queue.set_aside(first)
    second = queue.take()
    assert second is not None
    assert queue.low() == 1
    queue.replace(1, first.fresh())
    assert queue.take() is None
    queue.settle(second)
    again = queue.take()
    assert again is not None
    assert (again.seq, again.content, again.exceptional) == (1, None, True)


def test_a_delivery_that_fails_after_it_was_sent_holds_what_has_not_left() -> None:
    queue = schedule(lanes=3)
    for seq, key in ((1, b"a"), (2, b"a"), (3, b"b"), (4, b"a"), (5, b"a")):
        queue.add(entry(seq, (key,)))
    first = queue.take()
    assert first is not None
    queue.settle(first)
    written(queue)
    flying = queue.take()
    assert flying is not None
    assert flying.seq == 2
    failed = entry(6, (b"a",), place=1)
    # what is on its way cannot be called back; the other key goes on
    assert [e.seq for e in queue.fail_again(failed)] == [4, 5]
    assert failed.state is EntryState.DEAD
    assert queue.low() == 1
    queue.settle(flying)
    written(queue)
    assert [e.seq for e in iter(queue.take, None)] == [3]
    assert queue.add(entry(7, (b"a",))) != []
    assert queue.take() is None
    queue.remove(6)
    gone = []
    while (going := queue.take()) is not None:
        gone.append(going.seq)
        queue.settle(going)
        written(queue)
    assert gone == [4, 5, 7]


def test_a_replay_of_what_failed_after_it_was_sent_leaves_before_what_it_held() -> None:
    queue = schedule()
    queue.add(entry(1))
    first = queue.take()
    assert first is not None
    queue.settle(first)
    written(queue)
    queue.add(entry(2))
    queue.fail_again(entry(3, place=1))
    assert queue.take() is None
    queue.replace(3, entry(4, place=1))
    again = queue.take()
    assert again is not None
    assert again.seq == 4
    queue.settle(again)
    last = queue.take()
    assert last is not None
    assert last.seq == 2


@pytest.mark.parametrize("order", [Order.STRICT, Order.SKIP_DEAD, Order.NONE])
def test_what_fails_after_it_was_sent_holds_by_the_order_of_its_queue(order: Order) -> None:
    queue = schedule(order)
    queue.add(entry(2, (b"a",)))
    queue.add(entry(3, (b"b",)))
    failed = entry(4, (b"a",), place=1)
    queue.fail_again(failed)
    going = queue.take()
    if order is Order.STRICT:
        assert going is None
        queue.remove(4)
        going = queue.take()
    else:
        assert failed.state is EntryState.GONE
    assert going is not None
    assert going.seq == 2


def test_a_barrier_does_not_wait_for_what_failed_after_it_was_sent() -> None:
    queue = schedule(lanes=2)
    queue.add(entry(2, (b"a",)))
    queue.add(entry(3, ()))
    queue.fail_again(entry(4, (b"a",), place=1))
    going = queue.take()
    assert going is not None
    assert going.seq == 3
