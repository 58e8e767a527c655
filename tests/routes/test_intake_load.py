"""Counting what came, and pausing before memory is full."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.support import Receiver, Site, adt, running, sender, until
from ifengine.routes.intake_load import (
    MOST_PENDING_BYTES,
    MOST_PENDING_MESSAGES,
    IntakeLoad,
    LastHour,
)


@given(
    st.lists(st.floats(0, 4 * 3600, allow_nan=False), max_size=60).map(sorted),
    st.floats(0, 5 * 3600),
)
def test_the_last_hour_counts_whole_minutes_and_forgets_the_rest(
    times: list[float], later: float
) -> None:
    hour = LastHour()
    for at in times:
        hour.add(at)
    now = (times[-1] if times else 0.0) + later
    expected = sum(int(now // 60) - int(at // 60) < 60 for at in times)
    assert hour.total(now) == expected


def test_an_hour_of_nothing_is_nothing() -> None:
    hour = LastHour()
    for _ in range(5):
        hour.add(30.0)
    assert hour.total(59 * 60.0) == 5
    assert hour.total(60 * 60.0) == 0
    hour.add(10**9)
    assert hour.total(10**9) == 1


@pytest.mark.parametrize(
    ("size", "count"),
    [(MOST_PENDING_BYTES // 4, 5), (0, MOST_PENDING_MESSAGES + 1)],
    ids=["bytes", "messages"],
)
def test_reading_pauses_at_the_bound_and_resumes_only_at_half_of_it(size: int, count: int) -> None:
    changes: list[bool] = []
    load = IntakeLoad(changes.append)
    for _ in range(count - 1):
        load.add(size)
    assert changes == []
    load.add(size)
    assert changes == [True]
    load.add(size)
    assert changes == [True]  # said once
    for left in range(count, -1, -1):
        load.remove(size, 1)
        below = left * size < MOST_PENDING_BYTES // 2 and left < MOST_PENDING_MESSAGES // 2
        assert changes == ([True, False] if below else [True])
    assert (load.pending_bytes, load.pending_messages) == (0, 0)
    assert changes == [True, False]


@given(st.lists(st.integers(0, MOST_PENDING_BYTES // 3), max_size=30), st.integers(1, 7))
def test_pauses_and_resumes_take_turns_whatever_comes(sizes: list[int], batch: int) -> None:
    changes: list[bool] = []
    load = IntakeLoad(changes.append)
    waiting: list[int] = []
    for size in sizes:
        load.add(size)
        waiting.append(size)
        if len(waiting) >= batch:
            load.remove(sum(waiting), len(waiting))
            waiting.clear()
    load.remove(sum(waiting), len(waiting))
    assert (load.pending_bytes, load.pending_messages) == (0, 0)
    assert changes == [at % 2 == 0 for at in range(len(changes))]
    assert not changes or changes[-1] is False  # never paused with nothing pending


@pytest.fixture
async def lab_site(tmp_path) -> Site:  # type: ignore[no-untyped-def]
    return Site(tmp_path / "site", {"lab": Receiver()})


async def test_a_repeat_that_differs_in_its_time_alone_is_a_repeat_only_where_that_was_said(
    lab_site: Site,
) -> None:
    lab = lab_site.receivers["lab"]
    await lab.start()
    later = adt("M1").replace(b"20260105101500||ADT", b"20260105101700||ADT")
    other = adt("M1", patient="9").replace(b"20260105101500||ADT", b"20260105101800||ADT")
    lab_site.listen = ", ignore: [MSH-7]"
    async with running(lab_site), sender(lab_site) as his:
        for content in (adt("M1"), later, other):
            assert await his.send(content) == "AA"
        await until(lambda: lab.received == [adt("M1"), other])
    lab_site.listen = ""
    async with running(lab_site), sender(lab_site) as his:
        assert await his.send(adt("M2")) == "AA"
        moved = adt("M2").replace(b"20260105101500||ADT", b"20260105101700||ADT")
        assert await his.send(moved) == "AA"
        await until(lambda: lab.received[2:] == [adt("M2"), moved])
    await lab.stop()
