"""One channel's parked messages at work: recovered, let go, read again, written down."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from ifengine.routes.channel import UNMATCHED, Decision, PlannedDelivery, Waiting
from ifengine.routes.collecting import COMBINE, REST, Member, remembered_by
from ifengine.routes.parking import ParkedMessage, Parking, fact_of
from ifengine.routes.parts import Parts
from ifengine.routes.planning import Planned, PlanWriter
from ifengine.routes.received import Received, opened
from ifengine.store.base import Batch, Fate, Reader
from ifengine.transforms.base import Reason
from ifengine.transforms.memory import Change, Key, Space

_REST = fact_of(REST.safe)  # what those of a collection wait for
PAGE = 250  # read at once of those that start over
KEY_BYTES = 16  # of the keyed hash of what a message waits for
LONGEST_PARKING_SECONDS = 400 * 86_400.0  # a wall clock that jumped must not park for ever


class ParkedMessages:
    """Parks messages, and brings them back to the start of their channel.

    ``again`` holds those that are read and wait for their steps; ``soon`` is told of them.
    """

    def __init__(
        self, parts: Parts, writer: PlanWriter, soon: Callable[[], None], *, by_patient: bool
    ) -> None:
        self.parking = Parking()
        self.again: deque[Received] = deque()
        self._parts = parts
        self._writer = writer
        self._soon = soon
        self.by_patient = by_patient
        self._returning: deque[int] = deque()  # to be read
        self._fetching = False

    async def recover(self) -> None:
        """Take up what was parked: time went on over the stop, and the facts may be there."""
        number, parts = self._writer.number, self._parts
        rows = await parts.read(lambda reader: reader.parked(number))
        now, now_us = parts.clock.monotonic(), parts.steady.now_us()
        latest: dict[bytes, float] = {}  # by key: a clock set meanwhile lets nobody overtake
        for row in rows:
            left = min(max(0.0, (row.until_us - now_us) / 1e6), _wait(row.since_us, row.until_us))
            hashed = row.keys
            keys = frozenset(hashed[at : at + KEY_BYTES] for at in range(0, len(hashed), KEY_BYTES))
            due = max(now + left, *(latest.get(key, 0.0) for key in keys), 0.0)
            latest.update(dict.fromkeys(keys, due))
            self.parking.park(
                ParkedMessage(
                    row.inbox_id,
                    keys,
                    due,
                    row.since_us,
                    row.until_us,
                    fact=fact_of(row.reason),
                )
            )
        self.start_over(self.parking.all_waiting())

    def is_ahead(self, inbox_id: int, key: Key) -> bool:
        """Return whether a message before this one waits for a key."""
        memories = self._parts.memories
        if memories is None:
            return False
        return self.parking.waits_before(memories.tag(Space.FACT, key), inbox_id)

    def members(self, key: Key) -> list[Member]:
        """Return the messages that wait under a key of `combine`, oldest first."""
        memories = self._parts.memories
        if memories is None:
            return []
        found = self.parking.under(memories.tag(Space.FACT, key))
        return [Member(m.inbox_id, m.until_us, m.waited_out, m.released) for m in found]

    # --- coming back ----------------------------------------------------------------------------

    def let_go(self, inbox_ids: Iterable[int], *, expire: bool) -> list[int]:
        """Let messages go on now; return those that are parked here.

        ``expire``: as if their time were over. Else they go whatever `then` of the step says.
        """
        found = []
        again: dict[int, None] = {}
        for inbox_id in inbox_ids:
            parked = self.parking.get(inbox_id)
            if parked is not None:
                parked.waited_out = True
                parked.released = parked.released or not expire
                found.append(inbox_id)
                again.update(dict.fromkeys((inbox_id, *self._collected_with(inbox_id))))
        self.start_over(sorted(again))
        return found

    def start_over_collected(self) -> None:
        """Let every message start over that waits for the rest of its collection."""
        waiting = self.parking.all_waiting()
        self.start_over([i for i in waiting if self._collected_with(i)])

    def _collected_with(self, inbox_id: int) -> list[int]:
        """Return those of one collection: the last of them decides for all."""
        parked = self.parking.get(inbox_id)
        if parked is None or parked.fact != _REST:
            return []
        return [m.inbox_id for key in parked.keys for m in self.parking.under(key)]

    def start_over(self, inbox_ids: Iterable[int]) -> None:
        """Bring messages back to the steps. One that is on its way there sees all there is by then."""
        for inbox_id in inbox_ids:
            parked = self.parking.get(inbox_id)
            if parked is not None and not parked.leaving:
                parked.leaving = True
                self._returning.append(inbox_id)
        self.fetch()

    def fetch(self) -> None:
        """Read the next of those that start over, a page at a time: there may be very many.

        In a run that ends none is read any more; the next start finds them parked.
        """
        if self._parts.stopping:
            return
        if self._returning and not self.again and not self._fetching:
            self._fetching = True
            page = [self._returning.popleft() for _ in range(min(PAGE, len(self._returning)))]
            self._parts.spawn(self._fetch(page))

    async def _fetch(self, inbox_ids: list[int]) -> None:
        ring = self._parts.ring

        def look(reader: Reader) -> list[Received]:
            found = []
            for inbox_id in inbox_ids:
                row = reader.inbox(inbox_id)
                if row is not None:
                    run = len(reader.plans(inbox_id))
                    found.append(opened(ring, row)._replace(run=max(1, run)))
            return found

        try:
            self.again.extend(await self._parts.read(look))
        finally:
            self._fetching = False
        self._soon()

    # --- writing --------------------------------------------------------------------------------

    def park(
        self,
        batch: Batch,
        inbox_id: int,
        waiting: Waiting,
        patients: tuple[bytes, ...] | None,
        *,
        received_us: int,
    ) -> None:
        """Park a message, or let it wait for other keys than before.

        Its time begins when it is parked first and is measured on the steady clock: a wall clock
        that is set lets nothing wait longer, and nothing go too soon.
        """
        parts, memories = self._parts, self._parts.memories
        if memories is None:
            return
        keys = frozenset(memories.tag(Space.FACT, key) for key in waiting.keys)
        before = self.parking.get(inbox_id)
        if before is None:
            since_us, began = parts.steady.now_us(), parts.clock.monotonic()
        else:
            since_us = before.since_us
            began = before.due - _wait(since_us, before.until_us)
        fact = fact_of(waiting.reason.safe)
        until_us = since_us + max(0, waiting.until_us - received_us)
        if fact == _REST:  # as its collection: however late it was parked, however often
            until_us = min(self._ends(keys, but=inbox_id), default=until_us)
        due = began + _wait(since_us, until_us)
        parked = ParkedMessage(
            inbox_id,
            keys,
            due,
            since_us,
            until_us,
            fact=fact,
            patients=frozenset(patients or ()) if self.by_patient else frozenset(),
        )
        if before is not None and fact == before.fact == _REST:
            # it left the word to the last of its collection, which sees what happened to it
            parked.waited_out, parked.released = before.waited_out, before.released
        self.parking.park(parked)
        timed = replace(waiting, until_us=until_us)
        batch.parked.append(self._writer.parked(inbox_id, timed, since_us, keys))

    def _ends(self, keys: Iterable[bytes], *, but: int) -> list[int]:
        """Return until when the others under these keys wait."""
        found = [m for key in keys for m in self.parking.under(key)]
        return [m.until_us for m in found if m.inbox_id != but]

    def end_in(
        self, batch: Batch, inbox_id: int, decision: Decision, writer: PlanWriter
    ) -> tuple[Change, ...]:
        """End the earlier messages of a collection in the one that carries it.

        Returns what is to be remembered of it, so that the same can be put together again.
        """
        collected = decision.collected
        if collected is None or not (collected.members or decision.waiting):
            return ()
        reason = Reason(f"combined into message {inbox_id}", "")
        destinations = dict.fromkeys(
            planned.destination for planned in decision.plan if planned.destination != UNMATCHED
        )
        plan = tuple(
            PlannedDelivery(name, Fate.DROPPED, reason=reason, step=COMBINE)
            for name in destinations
        )
        for member in collected.members:
            parked = self.parking.get(member)
            if parked is not None:
                self.parking.leave(member)
                batch.parked.append((self._writer.number, member))
            writer.write(
                batch,
                Planned(
                    inbox_id=member,
                    received_us=0,
                    content=b"",
                    plan=plan,
                    keys=None,
                    run=1,  # nothing of it was decided since it was parked
                    into=inbox_id,
                ),
            )
        at_us = self._parts.steady.now_us()
        return remembered_by(writer.channel, inbox_id, collected, at_us)

    def leave(self, batch: Batch, inbox_id: int) -> None:
        """A message is parked no more: those that came later and stayed behind it start over."""
        parked = self.parking.get(inbox_id)
        if parked is not None:
            self.parking.leave(inbox_id)
            batch.parked.append((self._writer.number, inbox_id))
            self.start_over(self.parking.waiting_for(parked.keys))


def _wait(since_us: int, until_us: int) -> float:
    """Return the whole time between two moments, in seconds, as far as one may wait."""
    return min(max(0.0, (until_us - since_us) / 1e6), LONGEST_PARKING_SECONDS)
