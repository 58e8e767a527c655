"""From committed message to committed plan: in order, each once, whatever fails in between."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.support import Receiver, Site, adt, until
from ifengine.hl7.charset import CharsetPolicy
from ifengine.routes import catching_up
from ifengine.routes import pipeline as pipeline_module
from ifengine.routes.channel import Channel
from ifengine.routes.pipeline import Pipeline
from ifengine.routes.planning import PlanWriter, Target
from ifengine.routes.received import Received
from ifengine.routes.turns import FEW, SLICE
from ifengine.store.base import Batch, CursorKind, ExceptionState, GuardVerdict
from ifengine.store.group import GroupCommit
from routes.works import Works

CHANNEL = 9


@pytest.fixture
async def works(tmp_path: Path) -> Works:
    return Works(tmp_path)


@pytest.fixture
async def start(works: Works, tmp_path: Path) -> Callable[..., Pipeline]:
    def make(head: str = "order_by: patient") -> Pipeline:
        site = Site(tmp_path / "site", {"lab": Receiver()}, head=head)
        loaded = site.settings().site
        channel = Channel(loaded.channels[0], loaded)
        targets = {"lab": Target(works.outbox(1), 11, is_files=False)}
        writer = PlanWriter(works.parts, "adt", CHANNEL, targets)
        return Pipeline(works.parts, channel, writer, CharsetPolicy())

    return make


def receive(works: Works, number: int, content: bytes | None = None) -> Received:
    """Store one message as intake does, and return what the pipeline is fed."""
    body = adt(f"M{number}", patient=str(number % 3)) if content is None else content
    works.sealed.put(number, body, channel=CHANNEL)
    return Received(number, number, body, GuardVerdict.NEW)


def planned(works: Works) -> list[int]:
    """Return the messages that have a delivery, in the order of the outbox."""
    return [row.inbox_id for row in works.sealed.store.reader().outbox_after(1, 0, 10_000)]


def cursor(works: Works) -> int:
    return works.sealed.store.reader().cursor(CursorKind.CHANNEL, CHANNEL)


async def settle(works: Works, count: int) -> None:
    await until(lambda: len(planned(works)) >= count)
    await until(lambda: not works.tasks)
    await asyncio.sleep(0.01)


async def test_messages_are_planned_once_each_in_order_and_the_cursor_follows(
    works: Works, start: Callable[..., Pipeline]
) -> None:
    pipeline = start()
    await pipeline.recover(0)
    for number in range(1, 101):
        pipeline.feed(receive(works, number))
    await settle(works, 100)
    assert planned(works) == list(range(1, 101))
    assert cursor(works) == 100
    assert pipeline.unplanned == 0


async def test_more_than_memory_holds_is_read_back_in_its_turn(
    works: Works, start: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "MEMORY_WINDOW", 8)
    monkeypatch.setattr(catching_up, "PAGE", 5)
    pipeline = start()
    await pipeline.recover(0)
    for number in range(1, 151):
        pipeline.feed(receive(works, number))
        if number % 13 == 0:
            await asyncio.sleep(0)  # commits and pages come in between
    await settle(works, 150)
    assert planned(works) == list(range(1, 151))
    assert cursor(works) == 150


async def test_after_a_start_what_has_no_plan_is_planned_before_what_comes(
    works: Works, start: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "PAGE", 4)
    for number in range(1, 31):
        receive(works, number)
    batch = Batch()
    batch.cursors[CursorKind.CHANNEL, CHANNEL] = 10
    works.sealed.commit(batch)
    pipeline = start()
    await pipeline.recover(30)
    assert pipeline.unplanned == 20
    for number in range(31, 41):
        pipeline.feed(receive(works, number))
    await settle(works, 30)
    assert planned(works) == list(range(11, 41))
    assert pipeline.unplanned == 0


async def test_what_belongs_to_another_channel_is_left_alone(
    works: Works, start: Callable[..., Pipeline]
) -> None:
    for number in range(1, 7):
        works.sealed.put(number, adt(f"M{number}"), channel=CHANNEL if number % 2 else 5)
    pipeline = start()
    await pipeline.recover(6)
    await settle(works, 3)
    assert planned(works) == [1, 3, 5]


async def test_a_pause_keeps_messages_and_a_resume_takes_them_in_order(
    works: Works, start: Callable[..., Pipeline]
) -> None:
    pipeline = start()
    await pipeline.recover(0)
    pipeline.paused = True
    for number in range(1, 6):
        pipeline.feed(receive(works, number))
    await asyncio.sleep(0.02)
    assert planned(works) == []
    assert pipeline.unplanned == 5
    pipeline.resume()
    await settle(works, 5)
    assert planned(works) == [1, 2, 3, 4, 5]


async def test_poison_costs_its_own_message_only(
    works: Works, start: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = start()
    await pipeline.recover(0)
    real = pipeline.channel.process

    def process(message, context, **keywords):  # type: ignore[no-untyped-def]
        if context.message_id == "3":
            raise ZeroDivisionError("CANARY")
        return real(message, context, **keywords)

    monkeypatch.setattr(pipeline.channel, "process", process)
    pipeline.feed(receive(works, 1))
    receive(works, 2)
    pipeline.feed(Received(2, 2, None, GuardVerdict.NEW))  # its seal did not open
    pipeline.feed(receive(works, 3))
    pipeline.feed(receive(works, 4, b"MSH|^~\\&|A|B|C|D|1||ADT^A01|M4|P|2.5\rno segment at all"))
    pipeline.feed(receive(works, 5))
    await settle(works, 5)
    assert planned(works) == [1, 2, 3, 4, 5]
    rows = {row.seq: row for row in works.sealed.store.reader().exceptions(1)}
    assert {2, 3} <= set(rows) <= {2, 3, 4}
    assert {row.state for row in rows.values()} == {ExceptionState.DEAD_LETTER}
    assert rows[2].reason == "stored content is damaged"
    assert "CANARY" not in rows[3].reason + rows[3].step


async def test_a_reused_control_id_is_set_aside_only_where_that_was_chosen(
    works: Works, start: Callable[..., Pipeline]
) -> None:
    pipeline = start("order_by: patient\ndedupe: {on_reuse: dead_letter}")
    await pipeline.recover(0)
    for number, verdict in ((1, GuardVerdict.REUSED), (2, GuardVerdict.NEW), (3, GuardVerdict.OFF)):
        pipeline.feed(receive(works, number)._replace(verdict=verdict))
    await settle(works, 3)
    assert [row.seq for row in works.sealed.store.reader().exceptions(1)] == [1]
    assert not works.failures


def test_a_received_message_does_not_show_its_content() -> None:
    assert "CANARY" not in repr(Received(1, 1, b"CANARY", GuardVerdict.NEW))


@pytest.mark.parametrize("window", [2000, 4])
async def test_what_two_sources_put_into_one_batch_is_planned_in_the_order_of_the_store(
    works: Works, start: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    # the second source hears of the commit after the first, in the same turn of the loop
    monkeypatch.setattr("ifengine.routes.pipeline.MEMORY_WINDOW", window)
    pipeline = start()
    await pipeline.recover(0)
    messages = [receive(works, number) for number in range(1, 17)]
    await works.parts.group.durable()
    for message in (*messages[0::2], *messages[1::2]):
        pipeline.feed(message)
    await settle(works, 16)
    assert planned(works) == list(range(1, 17))
    assert cursor(works) == 16
    assert pipeline.unplanned == 0


@pytest.mark.parametrize("receiving", [True, False])
async def test_fewer_messages_are_planned_at_once_while_senders_wait(
    works: Works, start: Callable[..., Pipeline], receiving: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = start()
    monkeypatch.setattr(GroupCommit, "receiving", receiving)
    for number in range(1, 51):
        pipeline.feed(receive(works, number))
    await asyncio.sleep(0)
    assert len(works.parts.group.batch.plans) == (FEW if receiving else SLICE)
    await settle(works, 50)
    assert planned(works) == list(range(1, 51))
