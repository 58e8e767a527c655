"""What the log says of a running engine: looked at once a second, told where it changed.

States and counts are kept by the parts for the metrics anyway. To look at them from here costs the
way of a message nothing, and what comes often is one line a minute.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator

from ifengine.engine.building import Built
from ifengine.engine.pausing import IntakePause
from ifengine.engine.watch import Watch
from ifengine.mllp.listener import MllpListener
from ifengine.routes.delivery import Outbox
from ifengine.routes.parts import Parts
from ifengine.telemetry.counted import Counter
from ifengine.telemetry.events import (
    BalanceEven,
    BalanceUneven,
    ClockBelieved,
    ClockDoubted,
    ClockSet,
    ConnectionDropped,
    ConnectionRefused,
    ControlIdReused,
    DeadLettered,
    DestinationContinued,
    DestinationDown,
    DestinationStopped,
    DestinationUp,
    Event,
    FolderFailed,
    FolderRead,
    FramingFault,
    GuardOff,
    IntakePaused,
    IntakeResumed,
    ListenerBound,
    ListenerClosed,
    Unrouted,
    shortened,
)
from ifengine.telemetry.log import emit, unforeseen
from ifengine.telemetry.sparing import Swing, Tally
from ifengine.telemetry.words import Drop, PauseReason, Refusal

HOUR_US = 3600 * 1_000_000
Key = tuple[str, ...]


class Teller:
    """Tells of connections, states and faults. Used on the event loop only."""

    def __init__(self, parts: Parts, built: Built, watch: Watch, pause: IntakePause) -> None:
        self._parts = parts
        self._built = built
        self._watch = watch
        self._pause = pause
        self._tallies: defaultdict[Key, Tally] = defaultdict(Tally)
        self._swings: defaultdict[Key, Swing] = defaultdict(Swing)
        self._counters: dict[Key, Counter] = {}
        self._broken = 0
        self._bound: dict[tuple[str, int], bool] = {}

    def look(self, *, last: bool = False) -> None:
        """Tell what changed since the last look. ``last``: sums that are not due yet too."""
        now = self._parts.clock.monotonic()
        for part in (
            self._listeners, self._intake, self._outboxes, self._dead_letters, self._folders,
            self._clock, self._balance,
        ):  # fmt: skip
            try:
                for event in part(now, last):
                    emit(event)
            except Exception as error:  # noqa: BLE001 - the log must not stop the engine
                self._broken += 1
                if self._due(now, last, self._broken, "broken"):
                    emit(unforeseen(error))

    def _due(self, now: float, last: bool, count: float, *key: str) -> int:
        return self._tallies[key].due(now, int(count), last=last)

    def _swing(
        self, now: float, last: bool, is_on: bool, *key: str, times: int | None = None
    ) -> tuple[int, float | None]:
        came, took = self._swings[key].look(now, is_on, times=times, last=last)
        return came, None if took is None else round(took, 1)

    def _counter(self, family: Callable[..., Counter], *key: str) -> float:
        """Return a counter that others count; its child is asked for once."""
        known = self._counters.get(key)
        if known is None:
            known = self._counters[key] = family(*key[1:])
        return known.value

    # --- senders --------------------------------------------------------------------------------

    def _listeners(self, now: float, last: bool) -> Iterator[Event]:
        if not self._pause.ended:  # a stop closes them all, and says so itself
            yield from self._changed_listeners()
        for listener in self._built.listeners:
            yield from self._of_listener(listener, now, last)

    def _changed_listeners(self) -> Iterator[Event]:
        bound = {
            (one.name, one.port): one.options.ssl_context is not None
            for one in self._built.listeners
        }
        for name, port in self._bound.keys() - bound.keys():
            yield ListenerClosed(connection=shortened(name), port=port)
        for (name, port), tls in bound.items():
            if self._bound.get((name, port)) is not tls:
                yield ListenerBound(connection=shortened(name), port=port, tls=tls)
        self._bound = bound

    def _of_listener(self, listener: MllpListener, now: float, last: bool) -> Iterator[Event]:
        name, counts = listener.name, listener.counts
        connection = shortened(name)
        for refusal, count in (
            (Refusal.NOT_ALLOWED, counts.not_allowed),
            (Refusal.LIMIT, counts.over_limit),
            (Refusal.ADDRESS_LIMIT, counts.over_address_limit),
            (Refusal.TLS, counts.tls_failures),
            (Refusal.SYSTEM, counts.accept_errors),
        ):
            if more := self._due(now, last, count, "refused", name, refusal):
                yield ConnectionRefused(connection=connection, reason=refusal, count=more)
        for drop, count in (
            (Drop.FRAME_TIMEOUT, counts.timeouts["frame"]),
            (Drop.WRITE_TIMEOUT, counts.timeouts["write"]),
            (Drop.MEMORY, counts.over_memory),
        ):
            if more := self._due(now, last, count, "dropped", name, drop):
                yield ConnectionDropped(connection=connection, reason=drop, count=more)
        for fault, count in counts.faults.items():
            if more := self._due(now, last, count, "fault", name, fault):
                yield FramingFault(connection=connection, fault=shortened(fault.value), count=more)
        unrouted = self._counter(self._parts.metrics.unrouted_total.labels, "unrouted", name)
        if more := self._due(now, last, unrouted, "unrouted", name):
            yield Unrouted(connection=connection, count=more)

    def _intake(self, now: float, last: bool) -> Iterator[Event]:
        for reason in PauseReason:
            times = self._pause.times[reason]
            came, took = self._swing(
                now, last, self._pause.holds(reason), "pause", reason, times=times
            )
            if came:
                yield IntakePaused(reason=reason, times=came)
            if took is not None:
                yield IntakeResumed(reason=reason, paused_seconds=took)
        for intake in self._built.intakes.values():
            channel = intake.channel.name
            if more := self._due(now, last, intake.reused.value, "reused", channel):
                yield ControlIdReused(channel=shortened(channel), count=more)
            if more := self._due(now, last, intake.guard_off.value, "guard", channel):
                yield GuardOff(channel=shortened(channel), count=more)

    def _folders(self, now: float, last: bool) -> Iterator[Event]:
        for source in self._built.file_sources:
            came, took = self._swing(now, last, bool(source.failed), "folder", source.channel)
            if came:
                yield FolderFailed(channel=shortened(source.channel))
            if took is not None:
                yield FolderRead(channel=shortened(source.channel), failed_seconds=took)

    # --- destinations -----------------------------------------------------------------------------

    def _outboxes(self, now: float, last: bool) -> Iterator[Event]:
        for outbox in self._built.outboxes.values():
            name = shortened(outbox.name)
            if outbox.up is not None:
                yield from self._up_or_down(outbox, now, last)
            came, took = self._swing(now, last, outbox.stopped, "stopped", outbox.name)
            if came:
                yield DestinationStopped(connection=name, waiting=_waiting(outbox))
            if took is not None:
                yield DestinationContinued(connection=name, stopped_seconds=took)

    def _up_or_down(self, outbox: Outbox, now: float, last: bool) -> Iterator[Event]:
        name, times = shortened(outbox.name), outbox.times_down
        came, took = self._swing(now, last, not outbox.up, "down", outbox.name, times=times)
        if came:
            reason, waiting = shortened(outbox.why_down), _waiting(outbox)
            yield DestinationDown(connection=name, reason=reason, waiting=waiting, times=came)
        if took is not None:
            yield DestinationUp(connection=name, down_seconds=took)

    def _dead_letters(self, now: float, last: bool) -> Iterator[Event]:
        settled = self._parts.metrics.messages_settled_total.labels
        for outbox in self._built.outboxes.values():
            for destination in outbox.destinations.values():
                channel, name = destination.channel, destination.name
                dead = self._counter(
                    lambda *key: settled(*key, "dead_letter"), "dead", channel, name
                )
                if more := self._due(now, last, dead, "dead", channel, name):
                    yield DeadLettered(
                        channel=shortened(channel), destination=shortened(name), count=more
                    )

    # --- the engine itself ------------------------------------------------------------------------

    def _clock(self, now: float, last: bool) -> Iterator[Event]:
        steady = self._parts.steady
        if more := self._due(now, last, steady.jumps, "clock"):
            yield ClockSet(times=more)
        came, took = self._swing(now, last, steady.is_doubtful, "clock")
        if came:
            yield ClockDoubted(hours=round(steady.doubt_us / HOUR_US, 1))
        if took is not None:
            yield ClockBelieved(doubted_seconds=took)

    def _balance(self, now: float, last: bool) -> Iterator[Event]:
        balance = self._watch.balance
        is_uneven = balance.places + balance.faults > 0
        came, took = self._swing(now, last, is_uneven, "balance")
        if came:
            yield BalanceUneven(places=balance.places, faults=balance.faults)
        if took is not None:
            yield BalanceEven(uneven_seconds=took)


def _waiting(outbox: Outbox) -> int:
    return sum(destination.waiting for destination in outbox.destinations.values())
