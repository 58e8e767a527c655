"""A start looks at windows, not at all that waits; what it counts later comes out right."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.support import Receiver, Site, adt, until
from ifengine.hl7.charset import CharsetPolicy
from ifengine.routes import catching_up, counting
from ifengine.routes.channel import Channel
from ifengine.routes.delivery import Outbox
from ifengine.routes.destination import drained
from ifengine.routes.pipeline import Pipeline
from ifengine.routes.planning import PlanWriter, Target
from ifengine.routes.received import Received
from ifengine.store import pages
from ifengine.store.base import Batch, CursorKind, ExceptionState, GuardVerdict, Reader
from routes.works import Works
from store.builders import delivery, ended, entry, trouble

CHANNEL, OTHER = 9, 5
WAITING = 3000


class Meter:
    """A reader that counts how many rows each method returned; a count counts as what it covers."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.rows: dict[str, int] = {}
        self.looks: dict[str, int] = {}
        self.most = 0  # rows in one look

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._reader, name)

        def measured(*given: Any, **named: Any) -> Any:
            found = method(*given, **named)
            if isinstance(found, dict):
                count = sum(found.values())
            else:
                count = len(found) if isinstance(found, list) else 1
            if name == "inbox_count":
                count = given[2] - given[1]
            if name == "inbox_after" and count < given[2]:
                count = named["scan_to"] - given[1]  # all of them were looked at
            self.looks[name] = self.looks.get(name, 0) + 1
            self.rows[name] = self.rows.get(name, 0) + count
            self.most = max(self.most, count)
            return found

        return measured


@pytest.fixture
async def works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Works:
    monkeypatch.setattr(counting, "PLACES", 500)
    monkeypatch.setattr(catching_up, "MESSAGES", 400)
    return Works(tmp_path)


def metered(works: Works) -> Meter:
    """Let the parts read through a meter."""
    meter = Meter(works.sealed.store.reader())

    async def read(look: Callable[[Any], Any]) -> Any:
        await asyncio.sleep(0)
        return look(meter)

    works.parts.read = read
    return meter


def backlog(works: Works) -> None:
    """Every third delivery goes to destination 6, the others to 5."""
    batch = Batch()
    for number in range(1, WAITING + 1):
        batch.outbox.append(delivery(1, number, number, destination=5 + (number % 3 == 0)))
    works.sealed.commit(batch)


def outbox_of(works: Works) -> Outbox:
    outbox = works.outbox(1)
    outbox.take_destinations([drained(works.parts, 1, 5), drained(works.parts, 1, 6)])
    return outbox


async def test_an_outbox_is_ready_after_a_window_however_much_waits(works: Works) -> None:
    backlog(works)
    meter = metered(works)
    outbox = outbox_of(works)
    await outbox.recover()
    assert sum(meter.rows.values()) < 500 + 6 * 250  # the first window, and one page with content
    assert outbox.schedule.plain_count <= 250
    assert not outbox.is_counted
    await until(lambda: outbox.is_counted)
    assert meter.most <= 500  # no look holds up the reading of deliveries
    waiting = {number: d.waiting for number, d in outbox.destinations.items()}
    assert waiting == {5: WAITING - WAITING // 3, 6: WAITING // 3}


async def test_what_is_stuck_or_settled_behind_the_first_window_is_not_counted_as_waiting(
    works: Works,
) -> None:
    backlog(works)
    batch = Batch()
    dead = ExceptionState.DEAD_LETTER
    batch.cursors[CursorKind.OUTBOX, 1] = 10
    batch.exceptions += [trouble(1, 4, dead), trouble(1, 700, dead), trouble(1, 1801)]
    batch.outcomes += [ended(1, 9), ended(1, 2500)]
    works.sealed.commit(batch)
    outbox = outbox_of(works)
    await outbox.recover()
    await until(lambda: outbox.is_counted)
    total = {5: 0, 6: 0}
    for number in range(11, WAITING + 1):
        total[5 + (number % 3 == 0)] += number not in (700, 2500)
    assert {number: d.waiting for number, d in outbox.destinations.items()} == total
    assert [d.dead for d in outbox.destinations.values()] == [2, 0]


async def test_what_comes_and_goes_while_the_rest_is_counted_is_counted_once(works: Works) -> None:
    backlog(works)
    outbox = outbox_of(works)
    await outbox.recover()
    outbox.destinations[5].waiting -= 40  # as 40 that were sent
    batch = Batch()
    batch.outbox.append(delivery(1, WAITING + 1, 1))
    batch.outcomes += [ended(1, number) for number in range(1, 41)]
    works.sealed.commit(batch)
    outbox.destinations[5].waiting += 1  # as one that was planned
    await until(lambda: outbox.is_counted)
    assert sum(d.waiting for d in outbox.destinations.values()) == WAITING - 39


async def test_an_outbox_that_is_read_anew_is_counted_once(works: Works) -> None:
    backlog(works)
    outbox = outbox_of(works)
    await outbox.recover()
    await asyncio.sleep(0)
    await outbox.rebuild(
        works.outbox(1).schedule, [drained(works.parts, 1, 5), drained(works.parts, 1, 6)]
    )
    await until(lambda: outbox.is_counted and not works.tasks)
    assert sum(d.waiting for d in outbox.destinations.values()) == WAITING


# --- a channel ----------------------------------------------------------------------------------


@pytest.fixture
async def start(works: Works, tmp_path: Path) -> Callable[..., Pipeline]:
    def make() -> Pipeline:
        site = Site(tmp_path / "site", {"lab": Receiver()}, head="order_by: patient")
        loaded = site.settings().site
        channel = Channel(loaded.channels[0], loaded)
        targets = {"lab": Target(works.outbox(1), 11, is_files=False)}
        return Pipeline(
            works.parts, channel, PlanWriter(works.parts, "adt", CHANNEL, targets), CharsetPolicy()
        )

    return make


def receive(works: Works, channel_of: Callable[[int], int]) -> None:
    batch = Batch()
    for number in range(1, WAITING + 1):
        batch.inbox.append(entry(number, channel=channel_of(number)))
    works.sealed.commit(batch)


async def test_a_paused_channel_is_ready_after_a_window_and_knows_all_soon(
    works: Works, start: Callable[..., Pipeline]
) -> None:
    receive(works, lambda number: CHANNEL)
    meter = metered(works)
    pipeline = start()
    pipeline.paused = True
    await pipeline.recover(WAITING)
    assert sum(meter.rows.values()) < 400 + 2 * 250
    assert (pipeline.is_counted, pipeline.unplanned) == (False, 400)
    await until(lambda: pipeline.is_counted)
    assert pipeline.unplanned == WAITING
    assert meter.most <= 400


async def test_what_lies_far_behind_messages_of_other_channels_is_planned_in_order(
    works: Works, start: Callable[..., Pipeline]
) -> None:
    own = (1, 2, 1700, 2999)
    receive(works, lambda number: CHANNEL if number in own else OTHER)
    meter = metered(works)
    pipeline = start()
    await pipeline.recover(WAITING)
    new = Received(WAITING + 1, 1, adt("NEW"), GuardVerdict.NEW)
    works.sealed.put(WAITING + 1, adt("NEW"), channel=CHANNEL)
    pipeline.feed(new)

    def planned() -> list[int]:
        rows = works.sealed.store.reader().outbox_after(1, 0, 100)
        return [row.inbox_id for row in rows]

    await until(lambda: len(planned()) == 5 and pipeline.is_counted and not pipeline.unplanned)
    assert planned() == [*own, WAITING + 1]
    assert meter.most <= 400


async def test_a_quiet_channel_starts_behind_what_others_received_and_misses_nothing(
    works: Works, start: Callable[..., Pipeline]
) -> None:
    receive(works, lambda number: OTHER)
    pipeline = start()
    await pipeline.recover(0)  # it saw them come: none was its own

    def cursor() -> int:
        return works.sealed.store.reader().cursor(CursorKind.CHANNEL, CHANNEL)

    pipeline.skip_to(150)
    assert cursor() == 0  # too little to be worth a write
    pipeline.skip_to(2500)
    await until(lambda: cursor() == 2500)
    works.sealed.put(WAITING + 1, adt("OWN"), channel=CHANNEL)
    pipeline.paused = True
    pipeline.feed(Received(WAITING + 1, 1, adt("OWN"), GuardVerdict.NEW))
    pipeline.skip_to(WAITING + 900)  # its own message is not planned: the cursor stays
    await works.parts.group.durable()
    assert cursor() == 2500
    again = start()
    await again.recover(WAITING + 1)  # a crash
    await until(lambda: again.is_counted and not works.tasks)
    rows = works.sealed.store.reader().outbox_after(1, 0, 10)
    assert [row.inbox_id for row in rows] == [WAITING + 1]


async def test_a_channel_that_is_not_counted_yet_skips_nothing(
    works: Works, start: Callable[..., Pipeline]
) -> None:
    receive(works, lambda number: CHANNEL if number > 2000 else OTHER)
    pipeline = start()
    pipeline.paused = True
    await pipeline.recover(WAITING)
    assert not pipeline.unplanned
    pipeline.skip_to(WAITING)  # it has not met its own messages yet
    await works.parts.group.durable()
    assert works.sealed.store.reader().cursor(CursorKind.CHANNEL, CHANNEL) == 0


async def test_large_messages_are_read_back_a_few_at_a_time_and_none_is_passed_over(
    works: Works, start: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_PAGE_BYTES", 1000)
    for number in range(1, 61):
        works.sealed.put(number, adt(f"M{number}"), channel=CHANNEL)
    meter = metered(works)
    pipeline = start()
    await pipeline.recover(60)
    await until(lambda: not pipeline.unplanned and not works.tasks)
    rows = works.sealed.store.reader().outbox_after(1, 0, 100)
    assert [row.inbox_id for row in rows] == list(range(1, 61))
    assert meter.looks["inbox_after"] >= 10
