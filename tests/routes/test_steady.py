"""The steady clock: what nobody who sets the wall clock can move, in a run and over a stop."""

from hypothesis import given
from hypothesis import strategies as st

from ifengine.clock import MICROSECONDS, ManualClock
from ifengine.routes.steady import MOST_OFFSETS, STEADY_SETTING, Steady
from ifengine.store.base import Batch
from ifengine.store.memory import MemoryStore
from store.builders import commit, entry

DAY = 86_400.0


def us(seconds: float) -> int:
    return int(seconds * MICROSECONDS)


class Machine:
    """One machine, its clocks and its store, over several runs of an engine."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.clock.boot = "first"
        self.store = MemoryStore()
        self.number = 0

    def start(self) -> Steady:
        steady = Steady(self.clock)
        steady.resume(self.store.reader())
        return steady

    def take(self, steady: Steady) -> int:
        """Let a message come in; returns the steady time of it."""
        self.number += 1
        came_us = steady.now_us()
        batch = Batch(inbox=[entry(self.number, received_us=steady.stamp(self.number))])
        steady.mark(batch)
        commit(self.store, batch)
        return came_us

    def mark(self, steady: Steady) -> None:
        batch = Batch()
        steady.mark(batch)
        commit(self.store, batch)

    def reboot(self) -> None:
        self.clock.boot += " again"
        self.clock._monotonic = 1.0


def test_it_goes_on_as_if_nobody_had_set_the_wall_clock() -> None:
    clock = ManualClock()
    steady = Steady(clock)
    began = clock.now_us()
    for seconds in (-3600.0, 3_650 * DAY, -40 * DAY):
        clock.jump(seconds)
        clock.advance(10.0)
    assert steady.now_us() - began == us(30.0)


def test_over_a_stop_of_the_process_no_jump_is_time_that_passed() -> None:
    for jump in (0.0, 3600.0, -3600.0, 3_650 * DAY, -3_650 * DAY):
        machine = Machine()
        steady = machine.start()
        machine.mark(steady)
        before = steady.now_us()
        machine.clock.advance(50.0)  # killed some time in it
        machine.clock.jump(jump)
        machine.clock.advance(3 * DAY)
        again = machine.start()
        assert again.now_us() - before == us(50.0 + 3 * DAY)
        assert again.is_doubtful is (abs(jump) > DAY)


def test_over_a_boot_the_wall_clock_is_believed_up_to_a_day_and_never_back() -> None:
    for gone, passed in (
        (600.0, 600.0),
        (DAY, DAY),
        (DAY + 1, 0.0),
        (-600.0, 0.0),
        (3_650 * DAY, 0.0),
        (-3_650 * DAY, 0.0),
    ):
        machine = Machine()
        steady = machine.start()
        machine.mark(steady)
        before = steady.now_us()
        machine.reboot()
        machine.clock.jump(gone)
        again = machine.start()
        assert again.now_us() - before == us(passed), gone
        assert again.is_doubtful is (abs(gone) > DAY)


def test_it_never_goes_back_behind_the_newest_message_though_the_mark_is_older() -> None:
    machine = Machine()
    steady = machine.start()
    machine.mark(steady)
    machine.number += 1
    machine.clock.advance(30.0)
    stamped = entry(machine.number, received_us=steady.stamp(machine.number))
    commit(machine.store, Batch(inbox=[stamped]))
    came_us = steady.now_us()
    machine.reboot()
    machine.clock.jump(-3_650 * DAY)
    assert machine.start().now_us() == came_us


def test_a_doubt_lasts_over_starts_until_the_clock_is_right_or_a_person_says_so() -> None:
    machine = Machine()
    machine.mark(machine.start())
    machine.clock.jump(40 * DAY)
    steady = machine.start()
    steady.look(1)
    assert steady.is_doubtful
    assert steady.doubt_us == us(40 * DAY)
    machine.mark(steady)
    steady = machine.start()
    assert steady.is_doubtful
    machine.clock.jump(-40 * DAY)
    assert not steady.is_doubtful
    machine.clock.jump(40 * DAY)
    before = steady.now_us()
    steady.accept(time_passed=False)
    assert not steady.is_doubtful
    assert steady.now_us() == before
    machine.mark(steady)
    assert not machine.start().is_doubtful


def test_a_person_may_say_that_the_time_did_pass() -> None:
    machine = Machine()
    machine.mark(machine.start())
    machine.reboot()
    machine.clock.jump(40 * DAY)
    steady = machine.start()
    before = steady.now_us()
    steady.accept(time_passed=True)
    assert steady.now_us() - before == us(40 * DAY)
    assert not steady.is_doubtful
    machine.clock.jump(-40 * DAY)
    now_us = steady.now_us()
    steady.accept(time_passed=True)  # no time passes backwards
    assert steady.now_us() == now_us


STEPS = st.lists(
    st.one_of(
        st.just("message"),
        st.just("kill"),
        st.just("reboot"),
        st.tuples(st.just("pass"), st.floats(0.0, 5000.0)),
        st.tuples(st.just("set"), st.sampled_from([-3650, -40, -1, 1, 40, 3650])),
        st.tuples(st.just("step"), st.floats(-3600.0, 3600.0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_of_every_message_the_steady_time_of_its_receipt_is_known_whatever_happened(
    steps: list[str | tuple[str, float]],
) -> None:
    machine = Machine()
    steady = machine.start()
    came: list[int] = []
    for step in steps:
        match step:
            case "message":
                came.append(machine.take(steady))
            case "kill":
                steady = machine.start()
            case "reboot":
                machine.reboot()
                steady = machine.start()
            case ("pass", seconds):
                machine.clock.advance(float(seconds))
            case ("set", days):
                machine.clock.jump(float(days) * DAY)
            case ("step", seconds):
                machine.clock.jump(float(seconds))
    received = {row.inbox_id: row.received_us for row in machine.store.reader().inbox_range(0, 100)}
    for number, came_us in enumerate(came, 1):
        # what the wall clock moves by less than a second is not called set
        assert abs(steady.of(number, received[number]) - came_us) <= us(1.001)
    assert came == sorted(came)
    assert steady.now_us() >= max(came, default=0)


def test_a_clock_that_is_set_all_day_fills_no_store() -> None:
    machine = Machine()
    steady = machine.start()
    jumps = []
    steady.jumped = lambda: jumps.append(1)
    for number in range(1, 3 * MOST_OFFSETS):
        machine.clock.jump(60.0 if number % 2 else -60.0)
        steady.stamp(number)
    assert len(steady._offsets) == MOST_OFFSETS
    assert len(jumps) == 3 * MOST_OFFSETS - 1
    batch = Batch()
    steady.mark(batch)
    assert len(batch.settings[STEADY_SETTING]) < 16_000


def test_the_mark_is_written_once_a_second_and_at_once_where_the_clock_was_set() -> None:
    machine = Machine()
    steady = machine.start()
    marks = []
    for wait in (0.0, 0.5, 0.6, 0.0):
        machine.clock.advance(wait)
        batch = Batch()
        steady.mark(batch)
        marks.append(bool(batch.settings))
    assert marks == [True, False, True, False]
    machine.clock.jump(-5.0)
    steady.look(1)
    batch = Batch()
    steady.mark(batch)
    assert batch.settings


def test_people_are_shown_what_the_wall_clock_shows() -> None:
    machine = Machine()
    steady = machine.start()
    machine.clock.jump(40 * DAY)
    steady.look(1)
    assert steady.shown_us(steady.now_us()) == machine.clock.now_us()
