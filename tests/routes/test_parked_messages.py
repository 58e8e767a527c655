"""Parked messages that are taken up at a start: however a clock was set, none overtakes one of its key."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ifengine.clock import MICROSECONDS
from ifengine.routes.decisions import Waiting
from ifengine.routes.parked_messages import ParkedMessages
from ifengine.store.base import Batch
from ifengine.transforms.base import Reason
from routes.works import Works
from store.builders import commit, parked

NUMBER = 7
DAY = 86_400.0


async def taken_up(works: Works) -> ParkedMessages:
    """Return what a start finds parked."""
    writer: Any = cast(Any, SimpleNamespace(number=NUMBER))
    found = ParkedMessages(works.parts, writer, lambda: None, by_patient=False)
    await found.recover()
    return found


def wait_from(works: Works, inbox_id: int, began: float, seconds: float, keys: bytes) -> None:
    """Write a message that began to wait at a second on the steady clock."""
    since_us = works.parts.clock.now_us() + int(began * MICROSECONDS)
    until_us = since_us + int(seconds * MICROSECONDS)
    row = parked(NUMBER, inbox_id, since_us=since_us, until_us=until_us, keys=keys)
    commit(works.sealed.store, Batch(parked=[row]))


@pytest.mark.interpreted
async def test_a_later_message_of_a_key_is_never_due_before_an_earlier_one(tmp_path: Path) -> None:
    works = Works(tmp_path)
    key, other = b"k" * 16, b"o" * 16
    wait_from(works, 1, 40 * DAY, 20.0, key)  # written while its clock was 40 days ahead
    wait_from(works, 2, -10.0, 20.0, key)
    wait_from(works, 3, -10.0, 20.0, key + other)
    wait_from(works, 4, -15.0, 20.0, other)
    parking = (await taken_up(works)).parking
    due = [cast(Any, parking.get(number)).due for number in (1, 2, 3, 4)]
    assert due[0] <= due[1] <= due[2] <= due[3]
    assert due[0] <= 20.0  # and none waits longer than it was to


@pytest.mark.interpreted
async def test_what_is_left_of_a_wait_is_counted_on_the_steady_clock(tmp_path: Path) -> None:
    works = Works(tmp_path)
    wait_from(works, 1, -12.0, 20.0, b"k" * 16)
    cast(Any, works.parts.clock).jump(3650 * DAY)
    parking = (await taken_up(works)).parking
    assert round(cast(Any, parking.get(1)).due) == 8


@pytest.mark.interpreted
async def test_a_wait_that_begins_after_the_wall_clock_was_set_is_as_long_as_any(
    tmp_path: Path,
) -> None:
    works = Works(tmp_path)
    parts = works.parts
    rows: list[int] = []
    parts.memories = cast(Any, SimpleNamespace(tag=lambda space, key: key[-1].encode()))
    writer: Any = SimpleNamespace(
        number=NUMBER, parked=lambda inbox_id, waiting, since_us, keys: rows.append(since_us)
    )
    found = ParkedMessages(parts, writer, lambda: None, by_patient=False)
    before_us = parts.steady.now_us()
    cast(Any, parts.clock).jump(3650 * DAY)
    received_us = parts.steady.now_us()
    reason = Reason("an order", "")
    waiting = Waiting((("results", "order", "P1"),), received_us + 20 * MICROSECONDS, reason, "")
    found.park(Batch(), 1, waiting, None, received_us=received_us)
    one = cast(Any, found.parking.get(1))
    assert round(one.due - parts.clock.monotonic()) == 20
    assert rows == [received_us]
    assert received_us - before_us < MICROSECONDS
