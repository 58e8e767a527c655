"""Random histories of a store, written as an engine writes them, beside a plain model of them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from ifengine.store.balance import written_fanout
from ifengine.store.base import (
    Batch,
    CursorKind,
    ExceptionState,
    Fate,
    InboxKind,
    PlannedFate,
    PlanRow,
    Store,
)
from ifengine.store.tally import fanout_setting
from store.builders import commit, delivery, ended, entry, parked, purge, queued, trouble

VERSION = 3
# destination -> outbox: two share one, one channel has a destination of its own
OUTBOXES = {5: 2, 6: 2, 7: 3, 9: 4, 10: 3}
FANOUT = {1: (5, 6, 7), 8: (10,)}
UNMATCHED = 9  # of channel 1: where a message waits that no destination accepts
MOVED_TO = 11  # an outbox that a destination had not before
ENDS = (Fate.SENT, Fate.SENT, Fate.SENT, Fate.DISCARDED, Fate.REJECTED, Fate.FILTERED)
STUCK = {
    ExceptionState.RETRYING: Fate.RETRYING,
    ExceptionState.IN_DOUBT: Fate.IN_DOUBT,
    ExceptionState.BEHIND: Fate.QUEUED,
    ExceptionState.HELD: Fate.HELD,
    ExceptionState.DEAD_LETTER: Fate.DEAD_LETTER,
}
LETTERS = (Fate.HELD, Fate.DEAD_LETTER)


@dataclass(eq=False)
class Owed:
    """What the model knows of one message at one destination."""

    inbox_id: int
    destination: int
    state: Fate
    outbox: int = 0
    seq: int = 0
    open: bool = False
    exceptional: bool = False


@dataclass
class History:
    """A store and what should be true of it."""

    store: Store
    newest: int = 0
    parts: bool = True  # several deliveries of one message to one destination
    channels: dict[int, int] = field(default_factory=dict)  # message -> channel
    unplanned: dict[int, list[int]] = field(default_factory=lambda: {1: [], 8: []})
    runs: dict[int, int] = field(default_factory=dict)
    units: list[Owed] = field(default_factory=list)
    forgotten: Counter[tuple[int, Fate]] = field(default_factory=Counter)
    accepted: Counter[int] = field(default_factory=Counter)
    heads: Counter[int] = field(default_factory=Counter)
    done: dict[int, set[int]] = field(default_factory=dict)  # by outbox: ended or exceptional

    def __post_init__(self) -> None:
        commit(self.store, Batch(settings={fanout_setting(VERSION): written_fanout(FANOUT)}))

    def states(self) -> Counter[tuple[int, Fate]]:
        """Return how many are in which state, what was purged included."""
        return self.forgotten + Counter((u.destination, u.state) for u in self.units)

    # --- acts: each takes a number that chooses -------------------------------------------------

    def receive(self, pick: int) -> None:
        self.newest += 1
        kinds = [InboxKind.MESSAGE] * 6 + list(InboxKind)
        kind, channel = kinds[pick % len(kinds)], (1, 1, 8)[pick % 3]
        commit(self.store, Batch(inbox=[entry(self.newest, kind=kind, channel=channel)]))
        self.channels[self.newest] = channel
        if kind is InboxKind.MESSAGE:
            self.accepted[channel] += 1
            self.unplanned[channel].append(self.newest)

    def plan(self, pick: int) -> None:
        channel = (1, 1, 8)[pick % 3]
        if not self.unplanned[channel]:
            return
        inbox_id = self.unplanned[channel].pop(0)
        batch = Batch(cursors={(CursorKind.CHANNEL, channel): inbox_id})
        way = pick % 7
        fates: list[PlannedFate] = []
        if way == 0:
            fates = [PlannedFate(d, Fate.PARKED, 0, 0, "waits") for d in FANOUT[channel]]
            batch.parked.append(parked(channel, inbox_id))
            self.units += [Owed(inbox_id, d, Fate.PARKED) for d in FANOUT[channel]]
        elif way == 1 and channel == 1:
            fates = [self._decided(inbox_id, d, Fate.FILTERED) for d in FANOUT[channel]]
            fates.append(self._queue(batch, inbox_id, UNMATCHED, dead=True))
        else:
            for n, destination in enumerate(FANOUT[channel]):
                fates += self._decide(batch, inbox_id, destination, pick // 7 + n)
        self.runs[inbox_id] = 0
        batch.plans.append(PlanRow(inbox_id, 0, channel, VERSION, 1, tuple(fates)))
        commit(self.store, batch)

    def release(self, pick: int) -> None:
        waiting = sorted({u.inbox_id for u in self.units if u.state is Fate.PARKED})
        if not waiting:
            return
        inbox_id = waiting[pick % len(waiting)]
        channel = self.channels[inbox_id]
        self.units = [u for u in self.units if u.inbox_id != inbox_id]
        batch = Batch(parked=[(channel, inbox_id)])
        fates = []
        for n, destination in enumerate(FANOUT[channel]):
            fates += self._decide(batch, inbox_id, destination, pick + n, run=1)
        self.runs[inbox_id] = 1
        batch.plans.append(PlanRow(inbox_id, 1, channel, VERSION, 1, tuple(fates)))
        commit(self.store, batch)

    def have_trouble(self, pick: int) -> None:
        unit = self._one(pick, lambda u: u.open)
        if unit is not None:
            state = list(STUCK)[pick % len(STUCK)]
            unit.state, unit.exceptional = STUCK[state], True
            commit(self.store, Batch(exceptions=[trouble(unit.outbox, unit.seq, state)]))
            self.done[unit.outbox].add(unit.seq)

    def settle(self, pick: int) -> None:
        unit = self._one(pick, lambda u: u.open)
        if unit is not None:
            batch = Batch()
            self._end(batch, unit, ENDS[pick % len(ENDS)])
            commit(self.store, batch)

    def move_on(self, pick: int) -> None:
        """Write the cursor of an outbox: as far as it may go, or less far."""
        outboxes = sorted(self.heads)
        if not outboxes:
            return
        outbox, low = outboxes[pick % len(outboxes)], 0
        while low + 1 in self.done[outbox] and (pick % 3 or low < pick):
            low += 1
        reader = self.store.reader()
        low = max(low, reader.cursor(CursorKind.OUTBOX, outbox))
        reader.close()
        commit(self.store, Batch(cursors={(CursorKind.OUTBOX, outbox): low}))

    def replay(self, pick: int) -> None:
        letter = self._one(pick, lambda u: u.open and u.state in LETTERS)
        if letter is None:
            return
        to = [letter.destination]
        if letter.destination == UNMATCHED:
            to = list(FANOUT[1])[: 1 + pick % 2]
            for destination in to:
                self._drop_decision(letter.inbox_id, destination)
        batch = Batch()
        fates = [
            self._queue(
                batch, letter.inbox_id, destination, run=self.runs[letter.inbox_id] + 1,
                origin=letter.seq, outbox=MOVED_TO if pick % 5 == 0 else 0,
                behind=bool(pick % 2),
            )
            for destination in to
        ]  # fmt: skip
        self._end(batch, letter, Fate.QUEUED, superseded_by=fates[-1].seq)
        self.units.remove(letter)
        self._write_run(batch, letter, fates)

    def resend(self, pick: int) -> None:
        """Send what its sender was told no about: the no stays in the outcome."""
        told = self._one(pick, lambda u: u.state is Fate.REJECTED and bool(u.outbox))
        if told is None:
            return
        batch = Batch()
        run = self.runs[told.inbox_id] + 1
        fates = [self._queue(batch, told.inbox_id, told.destination, run=run, origin=told.seq)]
        self.units.remove(told)
        self._write_run(batch, told, fates)

    def purge(self, pick: int) -> None:
        busy = {u.inbox_id for u in self.units if u.open or u.state is Fate.PARKED}
        busy |= {i for waiting in self.unplanned.values() for i in waiting} | {self.newest}
        ids = [i for i in sorted(self.channels) if i not in busy][: 1 + pick % 4]
        if not ids:
            return
        purge(self.store, *ids)
        gone = [u for u in self.units if u.inbox_id in ids]
        self.forgotten += Counter((u.destination, u.state) for u in gone)
        self.units = [u for u in self.units if u.inbox_id not in ids]
        for inbox_id in ids:
            del self.channels[inbox_id]

    # --- the same for several -------------------------------------------------------------------

    def _one(self, pick: int, fits: Callable[[Owed], bool]) -> Owed | None:
        found = [unit for unit in self.units if fits(unit)]
        return found[pick % len(found)] if found else None

    def _decide(
        self, batch: Batch, inbox_id: int, destination: int, pick: int, run: int = 0
    ) -> list[PlannedFate]:
        match pick % 8 if self.parts or pick % 8 != 3 else 4:
            case 0:
                return [self._decided(inbox_id, destination, Fate.FILTERED)]
            case 1:
                return [self._decided(inbox_id, destination, Fate.DROPPED)]
            case 2:
                return [self._queue(batch, inbox_id, destination, run=run, dead=True)]
            case 3:  # two parts, and one that is not wanted
                parts = [self._queue(batch, inbox_id, destination, run=run) for _ in range(2)]
                return [*parts, self._decided(inbox_id, destination, Fate.FILTERED)]
            case _:
                return [self._queue(batch, inbox_id, destination, run=run)]

    def _decided(self, inbox_id: int, destination: int, fate: Fate) -> PlannedFate:
        self.units.append(Owed(inbox_id, destination, fate))
        return PlannedFate(destination, fate, 0, 0, "no")

    def _drop_decision(self, inbox_id: int, destination: int) -> None:
        for unit in self.units:
            if unit.inbox_id == inbox_id and unit.destination == destination and not unit.outbox:
                self.units.remove(unit)
                return

    def _queue(
        self,
        batch: Batch,
        inbox_id: int,
        destination: int,
        *,
        run: int = 0,
        origin: int = 0,
        outbox: int = 0,
        dead: bool = False,
        behind: bool = False,
    ) -> PlannedFate:
        outbox = outbox or OUTBOXES[destination]
        self.heads[outbox] += 1
        seq = self.heads[outbox]
        self.done.setdefault(outbox, set())
        batch.outbox.append(
            delivery(outbox, seq, inbox_id, run=run, destination=destination, origin_seq=origin)
        )
        unit = Owed(inbox_id, destination, Fate.QUEUED, outbox, seq, open=True)
        self.units.append(unit)
        if dead or behind:
            state = ExceptionState.DEAD_LETTER if dead else ExceptionState.BEHIND
            unit.state, unit.exceptional = STUCK[state], True
            batch.exceptions.append(trouble(outbox, seq, state))
            self.done[outbox].add(seq)
        return queued(outbox, seq, destination)

    def _end(self, batch: Batch, unit: Owed, fate: Fate, superseded_by: int = 0) -> None:
        batch.outcomes.append(ended(unit.outbox, unit.seq, fate, superseded_by=superseded_by))
        if unit.exceptional:
            batch.exceptions.append((unit.outbox, unit.seq))
        unit.state, unit.open, unit.exceptional = fate, False, False
        self.done[unit.outbox].add(unit.seq)

    def _write_run(self, batch: Batch, letter: Owed, fates: list[PlannedFate]) -> None:
        run = self.runs[letter.inbox_id] = self.runs[letter.inbox_id] + 1
        channel = self.channels[letter.inbox_id]
        batch.plans.append(PlanRow(letter.inbox_id, run, channel, VERSION, 1, tuple(fates)))
        commit(self.store, batch)


ACTS = (
    History.receive, History.receive, History.plan, History.plan, History.plan, History.release,
    History.have_trouble, History.settle, History.settle, History.settle, History.move_on,
    History.move_on, History.replay, History.resend, History.purge,
)  # fmt: skip
# one act and the number that chooses within it
WORDS = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 999)), max_size=80)
