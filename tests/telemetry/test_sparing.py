from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ifengine.telemetry.sparing import QUIET_SECONDS, Swing, Tally


def test_the_first_is_told_at_once_and_what_follows_as_one_sum_after_a_minute() -> None:
    tally = Tally()
    assert tally.due(5.0, 0) == 0
    assert tally.due(6.0, 1) == 1
    assert [tally.due(6.0 + second, 1 + second) for second in range(1, 60)] == [0] * 59
    assert tally.due(66.0, 61) == 60
    assert tally.due(67.0, 61) == 0


def test_after_a_quiet_minute_one_is_the_first_again() -> None:
    tally = Tally()
    assert tally.due(0.0, 1) == 1
    assert tally.due(QUIET_SECONDS + 0.5, 2) == 1


def test_the_last_look_leaves_nothing_untold() -> None:
    tally = Tally()
    assert (tally.due(0.0, 1), tally.due(1.0, 4)) == (1, 0)
    assert tally.due(1.0, 4, last=True) == 3
    assert tally.due(1.0, 4, last=True) == 0


def test_a_count_that_began_anew_is_told_from_its_beginning() -> None:
    tally = Tally()
    assert tally.due(0.0, 9) == 9
    assert tally.due(100.0, 2) == 2


@given(st.lists(st.tuples(st.floats(0, 90), st.integers(0, 5))))
def test_the_sums_are_all_that_was_counted_and_at_most_one_a_minute(
    steps: list[tuple[float, int]],
) -> None:
    tally, now, count, told = Tally(), 0.0, 0, 0
    lines: list[float] = []
    for passed, more in steps:
        now, count = now + passed, count + more
        due = tally.due(now, count)
        told += due
        if due:
            lines.append(now)
    assert all(later - earlier >= QUIET_SECONDS - 1e-6 for earlier, later in pairwise(lines))
    assert told + tally.due(now, count, last=True) == count


def test_a_state_is_told_when_it_comes_and_when_it_ends_with_its_time() -> None:
    swing = Swing()
    assert swing.look(1.0, is_on=False) == (0, None)
    assert swing.look(2.0, is_on=True) == (1, None)
    assert swing.look(3.0, is_on=True) == (0, None)
    assert swing.look(9.5, is_on=False) == (0, 7.5)
    assert swing.look(10.0, is_on=False) == (0, None)


def test_a_state_that_flutters_is_one_line_a_minute_with_how_often() -> None:
    swing = Swing()
    told = [swing.look(float(second), is_on=second % 2 == 1) for second in range(1, 62)]
    assert told[:2] == [(1, None), (0, 1.0)]
    assert set(told[2:60]) == {(0, None)}
    assert told[60] == (30, None)
    assert swing.look(62.0, is_on=False) == (0, 1.0)


def test_what_came_and_went_between_two_looks_is_told_by_its_count() -> None:
    swing = Swing()
    assert swing.look(1.0, is_on=False, times=2) == (2, 0.0)
    assert swing.look(2.0, is_on=False, times=2) == (0, None)


def test_a_state_that_came_within_the_quiet_minute_and_stays_is_told_after_it() -> None:
    swing = Swing()
    swing.look(0.0, is_on=True)
    swing.look(1.0, is_on=False)
    assert swing.look(30.0, is_on=True) == (0, None)
    assert swing.look(60.0, is_on=True) == (1, None)
    assert swing.look(70.0, is_on=False) == (0, 40.0)
