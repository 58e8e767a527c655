"""Numbers for names: once given, a number is never given to another name."""

from hypothesis import given
from hypothesis import strategies as st

from ifengine.store.base import Batch, NameKind
from ifengine.store.names import Names


def test_a_new_name_gets_the_next_number_and_is_written_once() -> None:
    names, batch = Names([(4, NameKind.CHANNEL, "adt")]), Batch()
    assert names.add(NameKind.LISTENER, "his", batch) == 5
    assert names.add(NameKind.LISTENER, "his", batch) == 5
    assert names.add(NameKind.CHANNEL, "adt", batch) == 4
    assert batch.names == [(5, NameKind.LISTENER, "his")]


def test_one_name_of_two_kinds_has_two_numbers() -> None:
    names, batch = Names([]), Batch()
    listener = names.add(NameKind.LISTENER, "lab", batch)
    outbox = names.add(NameKind.OUTBOX, "lab", batch)
    assert listener != outbox
    assert names.name(listener) == names.name(outbox) == "lab"
    assert names.number(NameKind.OUTBOX, "lab") == outbox


def test_what_is_unknown_is_nothing() -> None:
    names = Names([])
    assert names.number(NameKind.CHANNEL, "adt") == 0
    assert names.name(0) == names.name(99) == ""


@given(
    st.lists(st.tuples(st.sampled_from(NameKind), st.sampled_from("abcdef")), max_size=40),
    st.integers(0, 40),
)
def test_numbers_stay_over_a_restart_in_any_order_of_names(
    asked: list[tuple[NameKind, str]], cut: int
) -> None:
    stored: list[tuple[int, NameKind, str]] = []
    given_before: dict[tuple[NameKind, str], int] = {}
    for part in (asked[:cut], asked[cut:], asked):
        names, batch = Names(stored), Batch()
        for kind, name in part:
            number = names.add(kind, name, batch)
            assert given_before.setdefault((kind, name), number) == number
        stored += batch.names
    assert len(set(given_before.values())) == len(given_before)
