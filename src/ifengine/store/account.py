"""The balance: every message at every destination is in exactly one state (guarantees.md G11).

Two sides are derived from different rows of one snapshot. What is *owed* comes from the inbox, the
plans and the fan-out of the configuration that planned; how it *stands* from outbox, exceptions,
outcomes and parked rows. Their difference is the residue; what makes it is named by its ids.

An account goes on where it stopped: rows that are written once are read once, behind the cursors
nothing is read again but what is stuck.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping

from ifengine.store.balance import (
    NO_DECISION,
    NO_DELIVERY,
    NO_PLAN,
    NO_STATE,
    NOT_PARKED,
    NOT_PLANNED_THERE,
    NOWHERE,
    STILL_PARKED,
    TWO_STATES,
    Balance,
    Fault,
    Found,
    Key,
    Sides,
    read_fanout,
)
from ifengine.store.base import (
    CursorKind,
    ExceptionState,
    Fate,
    InboxKind,
    PlanRow,
    PurgedRow,
    TallyDelivery,
    TallyPlace,
    TallyRecords,
)
from ifengine.store.tally import MESSAGE_ENDS, Unit, fanout_setting, units

PAGE = 2000
MOST_FAULTS = 1000  # named; all of them count
_STANDS: Mapping[ExceptionState, Fate] = {
    ExceptionState.RETRYING: Fate.RETRYING,
    ExceptionState.IN_DOUBT: Fate.IN_DOUBT,
    ExceptionState.BEHIND: Fate.QUEUED,
    ExceptionState.HELD: Fate.HELD,
    ExceptionState.DEAD_LETTER: Fate.DEAD_LETTER,
}


class Account:
    """A balance that goes on. Not for two threads at once.

    ``first`` leaves out messages with a lower id. ``from_now`` begins with what is open at the
    first look: cheap whatever the store holds, and enough to see every fault from then on.
    """

    def __init__(self, *, first: int = 0, from_now: bool = False) -> None:
        self._first = first
        self._from_now = from_now
        self._begun = False
        self._found = Found()
        self._base: tuple[PurgedRow, ...] = ()
        self._purged: tuple[PurgedRow, ...] = ()
        self._old = 0  # messages up to here were planned before this account began
        self._fanouts: dict[int, Mapping[int, tuple[int, ...]] | None] = {}

    def look(self, records: TallyRecords, limit: int = PAGE) -> Balance | None:
        """Read on; return the balance, or None where there is more to read than ``limit`` rows."""
        with records.snapshot():
            purged = tuple(records.purged())
            if not self._begun or (purged != self._purged and not self._counted_all(records)):
                self._begin(records, purged)
            self._purged = purged
            cursors = records.cursors()
            outboxes = records.outboxes()
            whole = self._read_inbox(records, limit)
            whole &= self._read_plans(records, cursors, limit)
            for outbox, head in outboxes.items():
                whole &= self._read_deliveries(records, outbox, head, limit)
                cursor = cursors.get((CursorKind.OUTBOX, outbox), 0)
                whole &= self._read_ends(records, outbox, cursor, limit)
            # an account that must begin again has no balance this time
            return self._strike(records, outboxes, cursors) if whole and self._begun else None

    # --- beginning ------------------------------------------------------------------------------

    def _begin(self, records: TallyRecords, purged: tuple[PurgedRow, ...]) -> None:
        self._begun = True
        self._found = found = Found()
        self._base = () if self._first or self._from_now else purged
        if not self._from_now:
            found.seen_inbox = max(0, self._first - 1)
            return
        self._old = found.seen_inbox = records.newest()
        for (kind, number), position in records.cursors().items():
            if kind is CursorKind.OUTBOX:
                found.rows_seen[number] = found.settled_to[number] = position
        for place in records.stuck():
            if place.destination and place.seq <= found.settled_to.get(place.outbox, 0):
                found.stuck[place.outbox, place.seq] = place
                found.owed[place.destination] += 1
        for inbox_id, decided in records.parked():
            for plan in records.plans(inbox_id)[: not decided]:
                self._park(plan)

    def _counted_all(self, records: TallyRecords) -> bool:
        """Whether everything that was purged since the last look had been counted as ended."""
        inbox, outboxes = records.purged_through()
        found = self._found
        return inbox <= found.seen_inbox and all(
            seq <= found.settled_to.get(outbox, 0) for outbox, seq in outboxes.items()
        )

    # --- what is owed ---------------------------------------------------------------------------

    def _read_inbox(self, records: TallyRecords, limit: int) -> bool:
        found = self._found
        rows = records.inbox(found.seen_inbox, limit)
        for row in rows:
            found.seen_inbox = row.inbox_id
            if row.kind is InboxKind.MESSAGE:
                found.accepted[row.channel] += 1
                found.unplanned.setdefault(row.channel, deque()).append(row.inbox_id)
            else:
                found.ends[row.channel, MESSAGE_ENDS[row.kind]] += 1
        return len(rows) < limit

    def _read_plans(
        self, records: TallyRecords, cursors: Mapping[tuple[CursorKind, int], int], limit: int
    ) -> bool:
        """Read the plans of what its channel's cursor has passed."""
        found = self._found
        due: list[tuple[int, int]] = []
        for channel, waiting in found.unplanned.items():
            cursor = cursors.get((CursorKind.CHANNEL, channel), 0)
            left = limit
            while waiting and waiting[0] <= cursor and left:
                due.append((waiting.popleft(), channel))
                left -= 1
        due.sort()
        for at in range(0, len(due), limit):
            self._plan_page(records, due[at : at + limit])
        return not any(
            waiting and waiting[0] <= cursors.get((CursorKind.CHANNEL, channel), 0)
            for channel, waiting in found.unplanned.items()
        )

    def _plan_page(self, records: TallyRecords, due: list[tuple[int, int]]) -> None:
        first, last = due[0][0], due[-1][0]
        plans: dict[int, PlanRow] = {}
        if last - first < 4 * len(due):
            plans = {plan.inbox_id: plan for plan in records.first_plans(first, last)}
        else:
            for inbox_id, _ in due:
                plans.update((p.inbox_id, p) for p in records.first_plans(inbox_id, inbox_id))
        for inbox_id, channel in due:
            plan = plans.get(inbox_id)
            if plan is None or plan.channel != channel:
                if [row.inbox_id for row in records.inbox(inbox_id - 1, 1)] == [inbox_id]:
                    self._fault(Fault(NO_PLAN, inbox_id, 0, 0, 0))
                else:
                    self._begun = False  # planned, ended and purged since the last look
                continue
            self._found.planned[channel] += 1
            self._check_fanout(records, plan)
            if any(fate.fate is Fate.PARKED for fate in plan.fates):
                self._park(plan)
            else:
                self._owe(plan)

    def _check_fanout(self, records: TallyRecords, plan: PlanRow) -> None:
        version = plan.config_version
        if version not in self._fanouts:
            said = records.setting(fanout_setting(version))
            self._fanouts[version] = None if said is None else read_fanout(said)
        known = self._fanouts[version]
        if known is None:
            return  # planned by an engine that did not write it down
        planned = {fate.destination for fate in plan.fates}
        for destination in known.get(plan.channel, ()):
            if destination not in planned:
                self._found.owed[destination] += 1
                self._fault(Fault(NOT_PLANNED_THERE, plan.inbox_id, destination, 0, 0))

    def _park(self, plan: PlanRow) -> None:
        parked = [fate.destination for fate in plan.fates if fate.fate is Fate.PARKED]
        self._found.parked[plan.inbox_id] = tuple(parked)
        self._found.owed.update(parked)

    def _owe(self, plan: PlanRow) -> None:
        for fate in plan.fates:
            self._owe_one(Unit(plan.inbox_id, plan.run, fate))

    def _owe_one(self, unit: Unit) -> None:
        found, planned = self._found, unit.planned
        found.owed[planned.destination] += 1
        if planned.fate is not Fate.QUEUED:
            found.states[planned.destination, planned.fate] += 1
            return
        row = found.unnamed.pop((planned.outbox, planned.seq), None)
        if row is None:
            found.named[planned.outbox, planned.seq] = unit
        elif not _fits(row, unit):
            self._fault(_at(NO_DECISION, row))

    # --- how it stands --------------------------------------------------------------------------

    def _read_deliveries(self, records: TallyRecords, outbox: int, head: int, limit: int) -> bool:
        found = self._found
        seen = found.rows_seen.get(outbox, 0)
        if seen >= head:
            return True
        rows = records.deliveries(outbox, seen, limit)
        ahead = found.ahead.setdefault(outbox, Counter())
        for row in rows:
            found.rows_seen[outbox] = row.seq
            if row.inbox_id < self._first:
                continue
            ahead[row.destination] += 1
            if row.run and row.origin_seq:
                self._replayed(records, row)
            elif row.inbox_id <= self._old and row.inbox_id not in found.parked:
                self._take_up(records, row)
            else:
                self._match(row)
        return len(rows) < limit

    def _take_up(self, records: TallyRecords, row: TallyDelivery) -> None:
        """Owe a delivery that was planned before this account began, where its plan names it."""
        if any(
            (fate.outbox, fate.seq, fate.destination) == (row.outbox, row.seq, row.destination)
            for plan in records.plans(row.inbox_id)
            for fate in plan.fates
        ):
            self._found.owed[row.destination] += 1
        else:
            self._found.unnamed[row.outbox, row.seq] = row

    def _match(self, row: TallyDelivery) -> None:
        unit = self._found.named.pop((row.outbox, row.seq), None)
        if unit is None:
            self._found.unnamed[row.outbox, row.seq] = row
        elif not _fits(row, unit):
            self._fault(_at(NO_DECISION, row))

    def _replayed(self, records: TallyRecords, row: TallyDelivery) -> None:
        """Take up a run of a replay, at the first of its deliveries."""
        plans = [plan for plan in records.plans(row.inbox_id) if plan.run <= row.run]
        run = next((plan for plan in plans if plan.run == row.run), None)
        own = [] if run is None else [fate for fate in run.fates if fate.outbox]
        if (row.outbox, row.seq) not in [(fate.outbox, fate.seq) for fate in own]:
            self._found.unnamed[row.outbox, row.seq] = row
            return
        if run is not None and (own[0].outbox, own[0].seq) == (row.outbox, row.seq):
            self._replace(records, plans)
            self._owe(run)
        self._match(row)

    def _replace(self, records: TallyRecords, plans: list[PlanRow]) -> None:
        """Owe no longer what the newest of these plans took the place of."""
        found = self._found
        run = max(plan.run for plan in plans)

        def replays(outbox: int, seq: int) -> tuple[int, bool]:
            delivery = records.delivery(outbox, seq)
            origin = 0 if delivery is None else delivery.origin_seq
            return origin, records.place(outbox, seq).superseded_by > 0

        before = units([plan for plan in plans if plan.run < run], replays)
        gone = Counter(before)
        gone.subtract(unit for unit in units(plans, replays) if unit.run < run)
        for unit in gone.elements():
            planned = unit.planned
            if not planned.outbox:
                found.owed[planned.destination] -= 1
                found.states[planned.destination, planned.fate] -= 1
                continue
            place = records.place(planned.outbox, planned.seq)
            if not place.superseded_by and place.fate is not None:
                found.owed[planned.destination] -= 1
                found.states[planned.destination, place.fate] -= 1

    def _read_ends(self, records: TallyRecords, outbox: int, cursor: int, limit: int) -> bool:
        """Read how everything stands that the cursor has passed since."""
        found = self._found
        done = found.settled_to.get(outbox, 0)
        through = min(cursor, found.rows_seen.get(outbox, 0))
        if done < through:
            places = records.places(outbox, done, through, limit)
            ahead = found.ahead.setdefault(outbox, Counter())
            for place in places:
                if place.inbox_id >= self._first:
                    ahead[place.destination] -= 1
                    self._passed(place)
            if len(places) == limit:
                found.settled_to[outbox] = places[-1].seq
                return False
        found.settled_to[outbox] = max(done, through)
        return through == cursor or found.rows_seen.get(outbox, 0) == through

    def _passed(self, place: TallyPlace) -> None:
        if place.state is not None:
            self._found.stuck[place.outbox, place.seq] = place  # counted as it stands then
        elif place.fate is None:
            self._fault(_of(NO_STATE, place))
        else:
            self._count_end(place, self._found.owed, self._found.states)

    @staticmethod
    def _count_end(
        place: TallyPlace, owed: Counter[int], states: Counter[tuple[int, Fate]]
    ) -> None:
        if place.superseded_by:
            owed[place.destination] -= 1  # its replay is owed instead
        elif place.fate is not None:
            states[place.destination, place.fate] += 1

    # --- striking the balance -------------------------------------------------------------------

    def _strike(
        self,
        records: TallyRecords,
        outboxes: Iterable[int],
        cursors: Mapping[tuple[CursorKind, int], int],
    ) -> Balance | None:
        found = self._found
        stuck = {(p.outbox, p.seq): p for p in records.stuck() if self._counts(p)}
        self._unstick(records, stuck)
        parked_now = {i: decided for i, decided in records.parked() if i >= self._first}
        self._unpark(records, parked_now)
        self._take_up_parked(records, parked_now)
        if not self._begun:
            return None
        sides = Sides(Counter(found.owed), Counter(found.states))
        for outbox in outboxes:
            sides.ahead.update(found.ahead.get(outbox, {}))
            cursor = cursors.get((CursorKind.OUTBOX, outbox), 0)
            for place in records.ended_after(outbox, cursor):
                if self._counts(place):
                    self._ended_ahead(place, sides)
        for place in stuck.values():
            is_ahead = place.seq > cursors.get((CursorKind.OUTBOX, place.outbox), 0)
            self._stuck(place, is_ahead, sides)
        for destination, count in sides.ahead.items():
            sides.states[destination, Fate.QUEUED] += count
        sides.faults += self._parked_states(records, parked_now, sides.states)
        sides.faults += [
            Fault(NO_DELIVERY, u.inbox_id, u.planned.destination, u.planned.outbox, u.planned.seq)
            for u in found.named.values()
        ]
        sides.faults += [_at(NO_DECISION, row) for row in found.unnamed.values()]
        return self._balance(sides)

    def _ended_ahead(self, place: TallyPlace, sides: Sides) -> None:
        """Count what ended before the cursor came there."""
        if not place.destination:
            sides.faults.append(_of(NOWHERE, place))
            return
        sides.ahead[place.destination] -= 1
        self._count_end(place, sides.owed, sides.states)

    def _stuck(self, place: TallyPlace, is_ahead: bool, sides: Sides) -> None:
        """Count what is neither waiting nor settled."""
        if not place.destination or place.state is None:
            sides.faults.append(_of(NOWHERE, place))
            return
        sides.states[place.destination, _STANDS[place.state]] += 1
        if place.state is ExceptionState.BEHIND:
            sides.behind.append(place)
        if place.fate is not None:
            sides.faults.append(_of(TWO_STATES, place))
            if not is_ahead and (place.outbox, place.seq) in self._found.stuck:
                self._count_end(place, sides.owed, sides.states)
        elif is_ahead:
            sides.ahead[place.destination] -= 1

    def _counts(self, place: TallyPlace) -> bool:
        return place.inbox_id >= self._first or not place.inbox_id

    def _unstick(self, records: TallyRecords, now: Mapping[Key, TallyPlace]) -> None:
        """Look how that ended which was stuck before and is no more."""
        found = self._found
        for key in [key for key in found.stuck if key not in now]:
            place = records.place(*key)
            if place.destination and place.fate is not None:
                del found.stuck[key]
                self._count_end(place, found.owed, found.states)
            elif not place.destination:
                # purged with its end since the last look
                del found.stuck[key]
                self._begun = False
        for key, place in now.items():
            passed = place.seq <= found.settled_to.get(place.outbox, 0)
            if place.destination and passed and place.fate is None:
                found.stuck.setdefault(key, place)

    def _unpark(self, records: TallyRecords, now: Mapping[int, bool]) -> None:
        """Owe what the run says by which a message left its parking."""
        found = self._found
        for inbox_id in [inbox_id for inbox_id in found.parked if now.get(inbox_id, True)]:
            plans = records.plans(inbox_id)
            if not plans:
                self._begun = False
                continue
            if len(plans) > 1:
                found.owed.subtract(found.parked.pop(inbox_id))
                self._owe(plans[1])

    def _take_up_parked(self, records: TallyRecords, now: Mapping[int, bool]) -> None:
        """Count what was received before this account began, and parked since."""
        for inbox_id, decided in now.items():
            if inbox_id <= self._old and not decided and inbox_id not in self._found.parked:
                for plan in records.plans(inbox_id)[:1]:
                    if any(fate.fate is Fate.PARKED for fate in plan.fates):
                        self._park(plan)

    def _parked_states(
        self, records: TallyRecords, now: Iterable[int], states: Counter[tuple[int, Fate]]
    ) -> list[Fault]:
        found = self._found
        faults = [Fault(NOT_PARKED, i, 0, 0, 0) for i in found.parked.keys() - set(now)]
        for inbox_id in now:
            destinations = found.parked.get(inbox_id)
            if destinations is None:
                faults.append(Fault(STILL_PARKED, inbox_id, 0, 0, 0))
                said = records.plans(inbox_id)[:1]
                fates = [fate for plan in said for fate in plan.fates]
                destinations = tuple(fate.destination for fate in fates)
            for destination in destinations:
                states[destination, Fate.PARKED] += 1
        return faults

    def _balance(self, sides: Sides) -> Balance:
        owed, states = sides.owed, sides.states
        found = self._found
        accepted, planned = Counter(found.accepted), Counter(found.planned)
        ends = Counter(found.ends)
        for row in self._base:
            if row.destination:
                owed[row.destination] += row.units
                states[row.destination, row.fate] += row.units
            elif row.fate is Fate.RECEIVED:
                accepted[row.channel] += row.units
                planned[row.channel] += row.units
            else:
                ends[row.channel, row.fate] += row.units
        return Balance(
            accepted=accepted,
            received={channel: len(ids) for channel, ids in found.unplanned.items() if ids},
            planned=planned,
            ends=ends,
            owed=owed,
            states={key: count for key, count in states.items() if count},
            faults=(*found.faults, *sides.faults),
            behind=tuple(sides.behind),
        )

    def _fault(self, fault: Fault) -> None:
        if len(self._found.faults) < MOST_FAULTS:
            self._found.faults.append(fault)


def _fits(row: TallyDelivery, unit: Unit) -> bool:
    return (row.inbox_id, row.run, row.destination) == (
        unit.inbox_id,
        unit.run,
        unit.planned.destination,
    )


def _at(what: str, row: TallyDelivery) -> Fault:
    return Fault(what, row.inbox_id, row.destination, row.outbox, row.seq)


def _of(what: str, place: TallyPlace) -> Fault:
    return Fault(what, place.inbox_id, place.destination, place.outbox, place.seq)
