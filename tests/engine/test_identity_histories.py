"""Random histories of merges, results and orders through the real parts of an engine over SQLite.

The parts are those of a running engine, wired as it wires them; nothing is sent. The process "dies"
at random moments: what was not submitted to the store by then is lost, and the next life takes up
the work from the store alone. Whatever happens, each result goes out once, under the number that a
plain model says.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.support import Receiver, Site
from engine.test_identity import HEAD, RESULTS, TO_WARD, WAITING, a40, orm, oru
from ifengine.clock import ManualClock
from ifengine.engine.building import build, connect, register_names
from ifengine.hl7.message import Message
from ifengine.routes.identity import Retired
from ifengine.routes.intake_load import IntakeLoad
from ifengine.routes.memory import Memories
from ifengine.routes.outbox_loading import unseal_content
from ifengine.routes.parts import Numbers, Parts
from ifengine.routes.received import Received
from ifengine.settings import Settings
from ifengine.store.base import ExceptionState, GuardVerdict, InboxKind, NameKind, NewInboxEntry
from ifengine.store.group import GroupCommit
from ifengine.store.keys import FileKek
from ifengine.store.names import Names
from ifengine.store.registry import open_store
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.telemetry.metrics import Metrics
from transforms.test_identity import Model

NUMBERS = "ABCDE"
PARKED, HELD = "parked", "held"


class Event(NamedTuple):
    """One message of a history."""

    kind: str  # merge, result or order
    first: str  # the survivor; the patient; the order
    second: str  # the one that is retired; the order that is waited for, "": none


class Life:
    """One process: it takes up what the store has, and ends without a word."""

    def __init__(self, site: Settings) -> None:
        config = site.site
        self.store = open_store("sqlite", config.store_path)
        loop, clock = asyncio.get_running_loop(), ManualClock()
        self.reader = self.store.reader()
        self.ring = KeyRing(self.store.store_id, self.reader.data_keys(), FileKek(site.kek_path))
        self.tasks: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []
        counters = self.reader.counters()
        self.parts = Parts(
            loop=loop,
            clock=clock,
            group=GroupCommit(self.store, loop, clock, failed=self.failures.append),
            ring=self.ring,
            names=Names(self.reader.names()),
            metrics=Metrics(),
            read=self._read,
            spawn=self._spawn,
            dice=lambda: 0.5,
            numbers=Numbers(counters.inbox_id, counters.copy_id, counters.key_id),
        )
        batch = self.parts.group.batch
        batch.data_keys.extend(self.ring.start_keys(counters.key_id + 1, clock.now_us()))
        register_names(config, self.parts.names, batch)
        self.looking = self.store.reader()
        self.parts.memories = Memories(self.ring, self.looking)
        self.parts.retired = Retired(self.parts.memories, config.identity)
        self.parts.retired.load(self.reader)
        self.built = build(config, self.parts, IntakeLoad(lambda paused: None))
        connect(self.parts, self.built)
        for outbox in self.built.outboxes.values():
            outbox.paused = True

    async def _read(self, look: Any) -> Any:
        await asyncio.sleep(0)  # a reading thread answers later too
        return look(self.reader)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def start(self, head: int) -> None:
        await self.parts.group.durable()
        for outbox in self.built.outboxes.values():
            await outbox.recover()
        for pipeline in self.built.pipelines.values():
            await pipeline.recover(head)

    async def receive(self, number: int, content: bytes, channel: str) -> None:
        channel_number = self.parts.names.number(NameKind.CHANNEL, channel)
        sealed = self.ring.seal(BlobKind.INBOX, number, 0, content)
        self.parts.group.batch.inbox.append(
            NewInboxEntry(
                number, number, 1, channel_number, InboxKind.MESSAGE, len(content), "", sealed
            )
        )
        await self.parts.group.durable()
        pipeline = self.built.pipelines[channel_number]
        pipeline.feed(Received(number, number, content, GuardVerdict.NEW))

    def stall(self, on: bool | None = None) -> None:
        """Let the channel that merges stand still, as while a worker computes; or go on."""
        number = self.parts.names.number(NameKind.CHANNEL, "adt")
        pipeline = self.built.pipelines[number]
        pipeline._calling = not pipeline._calling if on is None else on
        pipeline.resume()

    async def idle(self) -> None:
        """Wait until nothing is left to do."""
        async with asyncio.timeout(20):
            quiet = 0
            while quiet < 2:  # what was decided last is on disk too
                await self.parts.group.durable()
                busy = any(p.unplanned or p._parked.again for p in self.built.pipelines.values())
                quiet = 0 if busy or self.tasks else quiet + 1
                await asyncio.sleep(0)
        assert self.failures == []

    async def end(self) -> None:
        self.parts.stopping = True
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for outbox in self.built.outboxes.values():
            await outbox.close()
        await asyncio.get_running_loop().run_in_executor(None, self.store.close)
        self.looking.close()
        self.reader.close()

    def outcomes(self) -> dict[int, list[str]]:
        """Return message -> the numbers it goes out under; or that it is held, or parked."""
        names = self.parts.names
        found: dict[int, list[str]] = {}
        outbox = names.number(NameKind.OUTBOX, "to-ward")
        destination = names.number(NameKind.DESTINATION, "results.ward")
        held = {
            row.seq for row in self.reader.exceptions(outbox) if row.state is ExceptionState.HELD
        }
        for row in self.reader.outbox_after(outbox, 0, 10_000):
            if row.destination != destination:
                continue
            if row.seq in held:
                found.setdefault(row.inbox_id, []).append(HELD)
                continue
            content = unseal_content(self.reader, self.ring, row.inbox_id, row.copy_id)
            message = Message.parse(content)
            said = message.text(message.first("PID"), 3, 1, 1)
            found.setdefault(row.inbox_id, []).append(said)
        for parked in self.reader.parked(names.number(NameKind.CHANNEL, "results")):
            found.setdefault(parked.inbox_id, []).append(PARKED)
        return found


def content_of(event: Event, number: int) -> tuple[bytes, str]:
    control = f"M{number}"
    if event.kind == "merge":
        return a40(control, event.first, event.second), "adt"
    if event.kind == "order":
        return orm(control, event.first), "results"
    return oru(control, event.first, event.second), "results"


def mr(number: str) -> tuple[str, str, str, str, str]:
    return ("RIVER", "", "", "MR", number)


def expected(history: list[Event], *, stalled: bool) -> dict[int, set[str]]:
    """Return what may become of each result.

    One that waits is released some time after its order came: later merges may have come by then.
    So they may where the channel that merges stood still: a result waits for the merges before it,
    and those behind them are planned with them.
    """
    model = Model()
    fates: list[dict[str, str]] = []  # after each event: patient -> what a result becomes
    for event in history:
        if event.kind == "merge":
            model.merge(mr(event.second), mr(event.first))
        fates.append(
            {
                one: HELD if model.frozen & set(model.way(mr(one))) else model.way(mr(one))[-1][4]
                for one in NUMBERS
            }
        )
    orders: dict[str, int] = {}
    for k, event in enumerate(history):
        if event.kind == "order":
            orders.setdefault(event.first, k)
    allowed: dict[int, set[str]] = {}
    for k, event in enumerate(history):
        if event.kind != "result":
            continue
        order = orders.get(event.second)
        if fates[k][event.first] == HELD or not event.second or (order is not None and order < k):
            since = fates[k:] if stalled else fates[k : k + 1]
            allowed[k + 1] = {fate[event.first] for fate in since}
        elif order is None:
            # held, where a merge that freezes its patient lets it start over
            allowed[k + 1] = {PARKED} | ({HELD} if fates[-1][event.first] == HELD else set())
        else:
            # held already before its order came, where a freeze came first
            allowed[k + 1] = {fate[event.first] for fate in fates[order:]} | {
                fate[event.first] for fate in fates[k:order] if fate[event.first] == HELD
            }
    return allowed


@contextmanager
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


async def live(
    history: list[Event], crashes: dict[int, int], stalls: set[int]
) -> dict[int, list[str]]:
    with folder() as path:
        site = Site(path / "site", {"lab": Receiver(), "ward": Receiver()}, head=HEAD)
        site.options["ward"] = "types: [ADT^A99]"
        site.channels["results"] = RESULTS + WAITING + TO_WARD.replace("    retry", "    #")
        read = site.settings()
        life = Life(read)
        await life.start(0)
        for number, event in enumerate(history, 1):
            if number in stalls:
                life.stall()
            await life.receive(number, *content_of(event, number))
            if number in crashes:
                for _ in range(crashes[number]):
                    await asyncio.sleep(0)
                await life.end()
                life = Life(read)
                await life.start(number)
        life.stall(False)
        await life.idle()
        await life.end()
        life = Life(read)  # what is parked starts over once more, and stays
        await life.start(len(history))
        await life.idle()
        found = life.outcomes()
        await life.end()
        return found


LETTERS = st.sampled_from(NUMBERS)
ORDERS = st.sampled_from(["P1", "P2"])
EVENTS = st.one_of(
    st.tuples(st.just("merge"), LETTERS, LETTERS).filter(lambda e: e[1] != e[2]),
    st.tuples(st.just("result"), LETTERS, st.sampled_from(["", "", "P1", "P2"])),
    st.tuples(st.just("order"), ORDERS, st.just("")),
).map(lambda made: Event(*made))


@example(
    [
        Event("order", "P1", ""),
        Event("merge", "A", "B"),
        Event("result", "A", ""),
        Event("merge", "B", "A"),
    ],
    {},
    {1},
)
@settings(max_examples=25, deadline=None)
@given(
    st.lists(EVENTS, min_size=4, max_size=14),
    st.dictionaries(st.integers(1, 14), st.integers(0, 12), max_size=3),
    st.sets(st.integers(1, 14), max_size=4),
)
def test_each_result_goes_out_once_under_the_number_that_a_plain_model_says(
    history: list[Event], crashes: dict[int, int], stalls: set[int]
) -> None:
    found = asyncio.run(live(history, crashes, stalls))
    allowed = expected(history, stalled=bool(stalls))
    assert set(found) == set(allowed)
    for number, outcomes in found.items():
        assert len(outcomes) == 1, (number, outcomes)
        assert outcomes[0] in allowed[number], (number, outcomes, allowed[number])
