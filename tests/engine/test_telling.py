"""What the log says of a running engine: each event in its situation, and none for each message."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from engine.support import (
    END,
    START,
    Receiver,
    Running,
    Site,
    ack,
    adt,
    free_port,
    let_pass,
    running,
    sender,
    set_clock,
)
from engine.support import until as until_held
from engine.told import Told
from ifengine.clock import SystemClock
from ifengine.engine import opening
from ifengine.engine.telling import Teller
from ifengine.errors import (
    DamagedPageError,
    DiskFullError,
    EngineError,
    StorageFailedError,
    StoreFullError,
)
from ifengine.routes.delivery import Outbox
from ifengine.store.base import MOST_CONTENTS_PER_ID
from ifengine.store.sealing import KeyRing
from ifengine.store.sqlite import SqliteStore
from ifengine.telemetry import events
from ifengine.telemetry.words import Drop, PauseReason, Refusal, StopReason, StorageFault

QUIET = "ifengine.telemetry.sparing.QUIET_SECONDS"


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    await until_held(condition, 60.0)


def teller(engine: Running) -> Teller:
    return engine.engine._teller


def ends(told: Told) -> list[events.Event]:
    """Return what was told of the end of a run, without the time it took."""
    kinds = (events.StorageFailed, events.EngineStopping, events.EngineFailed, events.Unforeseen)
    found: list[events.Event] = [event for event in told.events if isinstance(event, kinds)]
    return found


def codes(told: Told) -> list[int]:
    return [one.code for one in told.of(events.EngineStopped)]


# --- the life of an engine ------------------------------------------------------------------------


async def test_a_run_tells_of_its_listeners_its_start_its_stop_and_why(
    site: Site, told: Told
) -> None:
    async with running(site) as engine:
        (bound,) = told.of(events.ListenerBound)
        assert (bound.connection, bound.port, bound.tls) == ("in", site.port, False)
        (started,) = told.of(events.EngineStarted)
        assert (started.site, started.config_version) == ("river", 1)
        assert (started.channels, started.listeners) == (1, 1)
        assert not started.unclean
        os.kill(os.getpid(), signal.SIGTERM)
        assert await engine.task == 0
    assert ends(told) == [events.EngineStopping(why=StopReason.SIGTERM)]
    assert codes(told) == [0]
    assert told.of(events.ListenerClosed) == []


async def test_a_crash_tells_nothing_and_the_next_start_says_so(site: Site, told: Told) -> None:
    async with running(site) as engine:
        await engine.kill()
    assert (ends(told), codes(told)) == ([], [])
    async with running(site):
        pass
    assert [one.unclean for one in told.of(events.EngineStarted)] == [False, True]
    assert ends(told) == [events.EngineStopping(why=StopReason.OTHER)]


async def test_an_engine_that_cannot_start_says_which_error_it_was(site: Site, told: Told) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", site.port)
    async with taken:
        with pytest.raises(BaseExceptionGroup):
            async with running(site):
                pass
    assert ends(told) == [events.EngineFailed(error=events.name("OSError"))]
    assert told.of(events.EngineStarted) == []


async def test_a_part_that_is_late_is_named(site: Site, lab: Receiver, told: Told) -> None:
    lab.answer = lambda content: None
    async with running(site, grace_seconds=0.4) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])
        assert await engine.stop() == 0
    assert [one.part for one in told.of(events.PartLate)] == ["to-lab"]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (StorageFailedError("commit failed"), StorageFault.FAILED),
        (DiskFullError("no room"), StorageFault.DISK_FULL),
        (DamagedPageError("page 7"), StorageFault.DAMAGED_PAGE),
    ],
)
async def test_a_storage_that_fails_is_told_once_and_that_the_engine_stops_for_it(
    site: Site,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    error: StorageFailedError,
    fault: StorageFault,
) -> None:
    async with running(site) as engine, sender(site) as his:

        def failing(self: SqliteStore, batch: object, finished: Any) -> None:
            finished(error)

        monkeypatch.setattr(SqliteStore, "submit", failing)
        his.writer.write(START + adt("M1") + END)
        async with asyncio.timeout(30):
            assert await engine.task == 75
    assert ends(told) == [
        events.StorageFailed(fault=fault),
        events.EngineStopping(why=StopReason.STORAGE_FAILED),
    ]
    assert codes(told) == [75]


async def test_a_fault_of_ours_is_told_by_its_type_and_that_the_engine_stops_for_it(
    site: Site, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outbox, "feed", lambda self, entries: [][1])
    async with running(site) as engine, sender(site) as his:
        his.writer.write(START + adt("M1") + END)
        async with asyncio.timeout(30):
            assert await engine.task == 1
    fault, stopping = ends(told)  # and no word of the storage, which did not fail
    assert isinstance(fault, events.Unforeseen)
    assert fault.error == "IndexError"
    assert stopping == events.EngineStopping(why=StopReason.UNFORESEEN)
    assert codes(told) == [1]


async def test_a_start_that_waits_for_room_is_told_once(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "LOOK_AGAIN_SECONDS", 0.001)
    answers: list[Any] = [StoreFullError("no room"), StoreFullError("no room"), "a store"]

    def make() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, EngineError):
            raise answer
        return answer

    assert await opening.open_with_room(make, asyncio.Event()) == "a store"  # type: ignore[comparison-overlap]
    assert told.of(events.RoomAwaited) == [events.RoomAwaited()]


# --- messages and destinations --------------------------------------------------------------------


async def test_messages_that_go_their_way_are_not_told(
    site: Site, lab: Receiver, told: Told
) -> None:
    async with running(site) as engine, sender(site) as his:
        before = list(told.events)
        for number in range(20):
            assert await his.send(adt(f"M{number}")) == "AA"
        await until(lambda: len(lab.received) == 20)
        teller(engine).look(last=True)
        assert told.events == before


async def test_a_destination_that_goes_and_comes_back_is_two_lines(
    site: Site, lab: Receiver, told: Told
) -> None:
    site.options["lab"] = "retry: {first: 50ms, max: 50ms}"
    await lab.stop()
    async with running(site), sender(site) as his:
        for number in range(3):
            assert await his.send(adt(f"M{number}")) == "AA"
        await until(lambda: bool(told.of(events.DestinationDown)))
        await lab.start()
        await until(lambda: bool(told.of(events.DestinationUp)))
    (down,) = told.of(events.DestinationDown)
    assert (down.connection, down.reason, down.times) == ("to-lab", "refused", 1)
    assert 1 <= down.waiting <= 3
    (up,) = told.of(events.DestinationUp)
    assert (up.connection, up.down_seconds >= 0) == ("to-lab", True)


async def test_a_destination_that_a_refusal_stops_is_told_and_that_it_goes_on(
    site: Site, lab: Receiver, told: Told
) -> None:
    site.options["lab"] = "on_nak: {AE: stop}"
    lab.answer = lambda c: ack(c, "AE" if len(lab.received) == 1 else "AA")
    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: bool(told.of(events.DestinationStopped)))
        await engine.ask("channels.resume", name="adt")
        await until(lambda: bool(told.of(events.DestinationContinued)))
    assert [one.waiting for one in told.of(events.DestinationStopped)] == [1]


async def test_what_comes_often_is_told_at_once_and_then_as_one_sum(
    site: Site, lab: Receiver, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QUIET, 1e9)  # the sum is told by the stop, however slow the machine is
    site.head = "order_by: patient\ntypes: [ADT^A01]\nignore_types: {identity: none}"
    lab.answer = lambda c: ack(c, "AE")
    async with running(site) as engine, sender(site) as his:
        for rounds in (1, 5):
            for number in range(rounds):
                assert (
                    await his.send(adt(f"D{rounds}{number}", patient=f"{rounds}{number}")) == "AA"
                )
                assert await his.send(adt(f"U{rounds}-{number}", event="A03")) == "AA"
                await break_a_frame(site)
            so_far = 1 if rounds == 1 else 6
            await until(lambda so_far=so_far: is_dead(engine, so_far))  # type: ignore[misc]
            await until(lambda so_far=so_far: is_cut(engine, so_far))  # type: ignore[misc]
            teller(engine).look()
        for kind in (events.DeadLettered, events.Unrouted, events.FramingFault):
            assert [one.count for one in told.of(kind)] == [1], kind  # type: ignore[attr-defined]
    for kind in (events.DeadLettered, events.Unrouted, events.FramingFault):
        assert [one.count for one in told.of(kind)] == [1, 5], kind  # type: ignore[attr-defined]
    assert {one.fault for one in told.of(events.FramingFault)} == {"truncated"}
    assert {(d.channel, d.destination) for d in told.of(events.DeadLettered)} == {("adt", "lab")}


async def break_a_frame(site: Site) -> None:
    async with sender(site) as broken:
        broken.writer.write(START + b"MSH|half")
        broken.writer.write_eof()
        async with asyncio.timeout(30):
            assert await broken.reader.read() == b""


def is_dead(engine: Running, count: int) -> bool:
    (outbox,) = (one for one in engine.engine._built.outboxes.values() if one.name == "to-lab")
    return sum(destination.dead for destination in outbox.destinations.values()) == count


def is_cut(engine: Running, count: int) -> bool:
    (listener,) = engine.engine._built.listeners
    return sum(listener.counts.faults.values()) == count


async def test_control_ids_that_come_again_and_that_tell_nothing_any_more_are_told(
    site: Site, told: Told
) -> None:
    sent = MOST_CONTENTS_PER_ID + 3
    async with running(site), sender(site) as his:
        for number in range(sent):
            assert await his.send(adt("SAME", patient=str(number))) == "AA"
    reused = sum(one.count for one in told.of(events.ControlIdReused))
    off = sum(one.count for one in told.of(events.GuardOff))
    assert reused > 0
    assert off > 0
    assert reused + off == sent - 1
    assert {one.channel for one in told.of(events.GuardOff)} == {"adt"}


# --- senders --------------------------------------------------------------------------------------


async def test_senders_that_are_turned_away_are_counted_by_reason_without_their_address(
    site: Site, told: Told
) -> None:
    site.listen = ", allow: [10.0.0.0/8]"
    async with running(site):
        for _ in range(3):
            assert await is_turned_away(site)
    assert sum(one.count for one in told.of(events.ConnectionRefused)) == 3
    assert {one.reason for one in told.of(events.ConnectionRefused)} == {Refusal.NOT_ALLOWED}


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("max_connections: 1", Refusal.LIMIT),
        ("max_connections_per_address: 1", Refusal.ADDRESS_LIMIT),
    ],
)
async def test_a_limit_of_connections_that_is_met_is_told(
    site: Site, told: Told, limit: str, reason: Refusal
) -> None:
    site.listen = f", {limit}"
    async with running(site), sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        assert await is_turned_away(site)
    (refused,) = told.of(events.ConnectionRefused)
    assert (refused.connection, refused.reason, refused.count) == ("in", reason, 1)


async def is_turned_away(site: Site) -> bool:
    async with sender(site) as stranger:
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                return await stranger.reader.read() == b""
    return True


async def test_a_message_that_does_not_go_on_is_told_as_a_connection_dropped(
    site: Site, told: Told
) -> None:
    site.listen = ", frame_timeout: 1s"
    async with running(site), sender(site) as slow:
        slow.writer.write(START + b"MSH|half")
        async with asyncio.timeout(60):
            assert await slow.reader.read() == b""
    dropped = [(one.reason, one.count) for one in told.of(events.ConnectionDropped)]
    assert dropped == [(Drop.FRAME_TIMEOUT, 1)]


async def test_other_reasons_of_refusals_and_drops_are_told_from_the_counts_of_the_listener(
    site: Site, told: Told
) -> None:
    async with running(site) as engine:
        counts = engine.engine._built.listeners[0].counts
        counts.accept_errors, counts.over_memory = 2, 3
        counts.timeouts["write"] = 4
        teller(engine).look()
    assert [(one.reason, one.count) for one in told.of(events.ConnectionRefused)] == [
        (Refusal.SYSTEM, 2)
    ]
    assert {(one.reason, one.count) for one in told.of(events.ConnectionDropped)} == {
        (Drop.MEMORY, 3),
        (Drop.WRITE_TIMEOUT, 4),
    }


async def test_an_intake_that_pauses_is_told_by_reason_and_that_it_goes_on(
    site: Site, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, blocks = os.statvfs, [1]

    def room(path: object) -> object:
        return SimpleNamespace(f_frsize=real(str(path)).f_frsize, f_bavail=blocks[0])

    async with running(site) as engine:
        monkeypatch.setattr("ifengine.engine.watch.os.statvfs", room)
        await until(lambda: bool(told.of(events.IntakePaused)))
        blocks[0] = 10**9
        await until(lambda: bool(told.of(events.IntakeResumed)))
        load = engine.engine._intake_load
        load.add(20 * 1024 * 1024)
        load.remove(20 * 1024 * 1024, 1)
    paused = [(one.reason, one.times) for one in told.of(events.IntakePaused)]
    assert paused == [(PauseReason.DISK, 1), (PauseReason.BACKLOG, 1)]
    resumed = [one.reason for one in told.of(events.IntakeResumed)]
    assert resumed == [PauseReason.DISK, PauseReason.BACKLOG]


async def test_a_folder_that_cannot_be_read_is_told_and_that_it_is_read_again(
    site: Site, told: Told
) -> None:
    site.channels["hub"] = (
        "ifengine: 1\nchannel: hub\n"
        "from:\n  files: {dir: hub, stable_for: 50ms, every: 50ms, done: done, bad: bad}\n"
        "to:\n  lab: {connection: to-lab}\n"
    )
    site.head = ""
    site.folder.mkdir()
    (site.folder / "hub").write_text("in the way")
    async with running(site):
        await until(lambda: bool(told.of(events.FolderFailed)))
        (site.folder / "hub").unlink()
        await until(lambda: bool(told.of(events.FolderRead)))
    assert [one.channel for one in told.of(events.FolderFailed)] == ["hub"]


# --- people and the clock -------------------------------------------------------------------------


async def test_what_people_do_is_told_with_who_did_it(site: Site, told: Told) -> None:
    async with running(site) as engine:
        await engine.ask("channels.pause", name="adt", reason="SECRET REASON")
        await engine.ask("channels.resume", name="adt")
        before, site.port = site.port, free_port()
        site.write()
        assert (await engine.ask("config.reload"))["done"]
        await until(lambda: bool(told.of(events.ListenerClosed)))
        site.head = "stepps: []"
        site.write()
        assert (await engine.ask("config.reload"))["refused"]
        assert (await engine.ask("config.reload", dry_run=True))["refused"]
    (paused,), (resumed,) = told.of(events.ChannelPaused), told.of(events.ChannelResumed)
    assert (paused.channel, resumed.channel) == ("adt", "adt")
    assert paused.actor
    (reloaded,) = told.of(events.Reloaded)
    assert (reloaded.config_version, reloaded.actor) == (2, paused.actor)
    assert [one.port for one in told.of(events.ListenerBound)] == [before, site.port]
    assert [one.port for one in told.of(events.ListenerClosed)] == [before]
    (refused,) = told.of(events.ReloadRefused)  # a dry run is told to who asked
    assert (refused.config_version, refused.problems > 0) == (2, True)
    assert "SECRET" not in str(told.events)


async def test_a_clock_that_is_set_and_not_believed_is_told(
    site: Site, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_us = SystemClock.now_us
    async with running(site) as engine:
        monkeypatch.setattr(SystemClock, "now_us", lambda self: now_us(self) + 10_000_000)
        await until(lambda: bool(told.of(events.ClockSet)))
        parts = engine.engine.watch._parts
        set_clock(parts, days=-3)
        teller(engine).look()
        set_clock(parts, days=3)
        teller(engine).look()
    assert [one.times for one in told.of(events.ClockSet)] == [1]
    assert [abs(one.hours) for one in told.of(events.ClockDoubted)] == [72.0]
    assert len(told.of(events.ClockBelieved)) == 1


async def test_a_new_key_and_a_purge_are_told(
    site: Site, lab: Receiver, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_new_key, wanted = KeyRing.needs_new_key, [True]

    def needs(self: KeyRing, now_us: int) -> bool:
        return bool(wanted and wanted.pop()) or needs_new_key(self, now_us)

    async with running(site) as engine, sender(site) as his:
        assert await his.send(adt("M1")) == "AA"
        assert await his.send(adt("M2")) == "AA"
        await until(lambda: lab.ids == ["M1", "M2"])
        await until(lambda: all_sent(engine, 2))
        monkeypatch.setattr(KeyRing, "needs_new_key", needs)
        await until(lambda: bool(told.of(events.KeyMade)))
        watch = engine.engine.watch
        let_pass(watch._parts, days=400)

        async def is_purged() -> bool:
            await watch.purge()
            return bool(told.of(events.Purged))

        await until(is_purged)
    assert {one.messages for one in told.of(events.Purged)} <= {1, 2}
    assert len(told.of(events.KeyMade)) == 1


async def all_sent(engine: Running, count: int) -> bool:
    return list((await engine.states()).values()) == [{"lab": "sent"}] * count


async def test_a_balance_with_a_residue_is_told_and_that_it_is_even_again(
    site: Site, told: Told
) -> None:
    async with running(site) as engine:
        balance = engine.engine.watch.balance
        balance.faults, balance._uneven = 2, {("adt", "lab")}
        teller(engine).look()
        balance.faults, balance._uneven = 0, set()
        teller(engine).look()
    assert told.of(events.BalanceUneven) == [events.BalanceUneven(places=1, faults=2)]
    assert len(told.of(events.BalanceEven)) == 1


async def test_a_fault_in_the_telling_stops_nothing_and_is_told_once_a_minute(
    site: Site, lab: Receiver, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QUIET, 1e9)
    async with running(site) as engine, sender(site) as his:
        look = teller(engine)
        monkeypatch.setattr(Teller, "_of_listener", lambda self, *given: [][1])
        look.look()
        look.look()
        assert await his.send(adt("M1")) == "AA"
        await until(lambda: lab.ids == ["M1"])
        faults = told.of(events.Unforeseen)
        assert [one.error for one in faults] == ["IndexError"]
        assert faults[0].place.startswith("ifengine.engine.telling:")
        assert engine.engine._failure is None
