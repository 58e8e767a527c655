"""Which parked messages start over, and when."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes.parking import ParkedMessage, Parking, fact_of


def message(inbox_id: int, *keys: str, due: float = 10.0, fact: str = "order") -> ParkedMessage:
    return ParkedMessage(inbox_id, tags(keys), due, inbox_id * 10, 0, fact=fact)


def tags(keys: Iterable[str]) -> frozenset[bytes]:
    return frozenset(key.encode() for key in keys)


def parking(*messages: ParkedMessage) -> Parking:
    made = Parking()
    for one in messages:
        made.park(one)
    return made


def test_those_that_wait_for_a_key_start_over_in_the_order_in_which_they_came() -> None:
    made = parking(message(3, "a"), message(1, "a", "b"), message(2, "b"))
    assert made.waiting_for(tags("a")) == [1, 3]
    assert made.waiting_for(tags("ab")) == [1, 2, 3]
    assert made.waiting_for(tags("c")) == []
    assert made.waits_before(b"a", 3)
    assert not made.waits_before(b"a", 1)


def test_time_that_ends_while_a_message_is_on_its_way_does_not_start_it_over_again() -> None:
    made = parking(message(1, "a", due=5.0), message(2, "b", due=6.0))
    one = made.get(1)
    assert one is not None
    one.leaving = True
    assert made.time_is_over(5.5) == []
    assert one.waited_out  # where it is still missing what it waited for, it waits no longer
    assert made.time_is_over(6.5) == [2]
    assert made.time_is_over(99.0) == []


def test_a_message_that_parks_again_for_something_else_is_waited_for_there() -> None:
    made = parking(message(1, "a", due=5.0))
    made.park(message(1, "b", due=8.0, fact="visit"))
    assert made.waiting_for(tags("a")) == []
    assert made.waiting_for(tags("b")) == [1]
    assert made.time_is_over(6.0) == []  # the time of what it waited for first
    assert dict(made.by_fact()) == {"order": 0, "visit": 1}
    assert len(made) == 1
    made.leave(1)
    made.leave(1)
    assert dict(made.by_fact()) == {"order": 0, "visit": 0}
    assert made.oldest_us() == 0


def test_a_fact_is_read_from_the_reason_of_a_message() -> None:
    assert fact_of("waiting for lab-order") == "lab-order"


steps = st.lists(
    st.tuples(
        st.sampled_from(["park", "leave", "over"]),
        st.integers(1, 6),
        st.frozensets(st.sampled_from("abc"), min_size=1),
        st.integers(0, 20),
    ),
    max_size=40,
)


@given(steps)
def test_after_any_history_it_agrees_with_a_plain_list(
    history: list[tuple[str, int, frozenset[str], int]],
) -> None:
    made, plain = Parking(), dict[int, tuple[frozenset[str], int]]()
    over: set[int] = set()
    for what, number, keys, at in history:
        if what == "park":
            made.park(message(number, *keys, due=at))
            plain[number] = (keys, at)
            over.discard(number)
        elif what == "leave":
            made.leave(number)
            plain.pop(number, None)
            over.discard(number)
        else:
            expected = [n for n, (_, due) in plain.items() if due <= at and n not in over]
            assert sorted(made.time_is_over(at)) == sorted(expected)
            over.update(expected)
        for key in "abc":
            waiting = sorted(n for n, (theirs, _) in plain.items() if key in theirs)
            assert made.waiting_for(tags(key)) == waiting
            for n in range(1, 7):
                assert made.waits_before(key.encode(), n) == any(w < n for w in waiting)
        assert made.by_fact().get("order", 0) == len(plain) == len(made)
        assert made.oldest_us() == min((n * 10 for n in plain), default=0)
