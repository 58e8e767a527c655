"""Which delivery of an outbox may go next: order by key, barriers, holding, the settle window. Pure.

Deliveries of an outbox form a graph: each waits for the latest earlier one that shares a member of
its key set. Any free lane (connection) takes the oldest delivery that waits for nothing. So one
lane is plain FIFO, several lanes keep the order of every key, and a merge, which carries the keys
of both patients, is a barrier on both, without a static assignment of keys to lanes.

Source: safety-rules.md 12 and 17 to 19.
"""

import heapq
from collections import deque
from collections.abc import Iterable

from ifengine.routes.config.models import Order
from ifengine.routes.lane_entry import Entry, EntryState

# looked up once: to ask an enumeration for a member costs more than a call (Python 3.11)
_WAITING, _READY, _FLYING, _GONE = (
    EntryState.WAITING,
    EntryState.READY,
    EntryState.FLYING,
    EntryState.GONE,
)

__all__ = ["CHAIN", "SETTLE_WINDOW", "Entry", "EntryState", "Schedule"]

CHAIN = (b"chain",)  # the one key of a queue without order_by, and of `order: strict`
SETTLE_WINDOW = 32  # outcomes a lane may owe the disk (architecture.md, settle: batched)

_STUCK = frozenset(
    {
        EntryState.RETRYING,
        EntryState.IN_DOUBT,
        EntryState.BEHIND,
        EntryState.HELD,
        EntryState.DEAD,
    }
)
_STOPPED = frozenset({EntryState.DEAD, EntryState.HELD})
_RETRIED = frozenset({EntryState.RETRYING, EntryState.IN_DOUBT})


class Schedule:
    """The graph of one outbox, what is ready in it, and how far everything is settled."""

    def __init__(self, *, order: Order, ordered: bool, lanes: int, strict_settle: bool) -> None:
        self._order = order
        # one chain: nothing overtakes, so nothing needs a durable BEHIND row
        self._chained = order is Order.STRICT or (not ordered and order is not Order.NONE)
        self._holds_dead = order in (Order.HOLD_KEY, Order.STRICT) and (
            ordered or order is Order.STRICT
        )
        self.window = (1 if strict_settle else SETTLE_WINDOW) * lanes
        self._tails: dict[bytes, Entry] = {}
        self._barrier: Entry | None = None
        self._since_barrier: list[Entry] = []
        self._stopped: dict[int, Entry] = {}  # DEAD and HELD, holding their keys
        self._ready: list[tuple[int, Entry]] = []  # by seq: numbers are compared much faster
        self._plain: deque[Entry] = deque()  # ascending; settled ones leave lazily
        self._by_seq: dict[int, Entry] = {}
        self.through = 0  # every seq up to here was added or is settled
        self.durable_low = 0  # the cursor on disk
        self.undurable = 0  # outcomes not yet on disk
        self.flying = 0

    def __len__(self) -> int:
        return len(self._by_seq)

    def __bool__(self) -> bool:
        return bool(self._by_seq)

    def keeps_place(self, keys: tuple[bytes, ...] | None) -> bool:
        """Return whether a replay with these keys leaves in the place of its dead letter."""
        return self._holds_dead and (self._chained or bool(keys))

    @property
    def plain_count(self) -> int:
        """Return how many deliveries without an exception are in memory."""
        return len(self._plain)

    def entry(self, seq: int) -> Entry | None:
        """Return an unsettled delivery."""
        return self._by_seq.get(seq)

    def entries(self) -> Iterable[Entry]:
        """Return all unsettled deliveries in memory."""
        return self._by_seq.values()

    def low(self) -> int:
        """Return up to which seq everything is settled or an exception."""
        plain = self._plain
        while plain and (plain[0].exceptional or plain[0].state is _GONE):
            plain.popleft()
        return plain[0].seq - 1 if plain else self.through

    def frozen(self) -> set[int]:
        """Return the seqs that can move only when a person acts: stopped, or behind what is."""
        found = set(self._stopped)
        to_visit = list(self._stopped.values())
        while to_visit:
            for entry in to_visit.pop().dependents:
                if entry.keys != () and entry.seq not in found:
                    found.add(entry.seq)
                    to_visit.append(entry)
        return found

    # --- entering ---------------------------------------------------------------------------

    def add(
        self, entry: Entry, state: EntryState = _WAITING, *, gated: bool = False
    ) -> list[Entry]:
        """Add a delivery after all that are here; returns those that became BEHIND.

        ``state`` is RETRYING, IN_DOUBT, HELD, DEAD or BEHIND for one that is already an exception.
        ``gated``: it keeps its place and does not go before ``open_gate``.
        """
        if entry.seq == self.through + 1:
            self.through = entry.seq
        stopped = state in _STOPPED
        if stopped and not self._holds(entry):
            # it goes nowhere and holds nothing: nobody waits for it, and it waits for nobody
            entry.exceptional = True
            entry.state = _GONE
            return []
        self._by_seq[entry.seq] = entry
        if state is _WAITING:
            self._plain.append(entry)
        else:
            entry.exceptional = True
        stuck = self._link(entry)
        if stopped:
            self._stop(entry, state)
            return []
        if state in _RETRIED:
            entry.state = state
            return []
        entry.waiting += gated
        if entry.waiting == 0:
            self._make_ready(entry)
            return []
        if state is EntryState.BEHIND or ((stuck or gated) and not self._chained):
            newly = not entry.exceptional
            entry.state = EntryState.BEHIND
            entry.exceptional = True
            return [entry] if newly else []
        entry.state = _WAITING
        return []

    def _link(self, entry: Entry) -> bool:
        """Make an entry wait for what it must not overtake; says whether one of these is stuck."""
        keys = CHAIN if self._chained else entry.keys
        if keys is None or self._order is Order.NONE:
            return False
        if not keys:
            self._link_barrier(entry)
            return False
        before = {id(t): t for k in keys if (t := self._tails.get(k)) is not None}
        barrier = self._barrier
        if barrier is not None:
            before[id(barrier)] = barrier
        stuck = False
        for earlier in before.values():
            earlier.dependents.append(entry)
            stuck = stuck or earlier.state in _STUCK
        entry.waiting = len(before)
        for key in keys:
            self._tails[key] = entry
        if not self._chained:
            self._note_since_barrier(entry)
        return stuck

    def _link_barrier(self, entry: Entry) -> None:
        """A message without a key waits for all that is alive and holds all (rule 18).

        What came before the last barrier is waited for by that one. What only a person can move
        is not waited for: one dead letter would stop the whole outbox.
        """
        frozen = self.frozen() if self._stopped else frozenset()
        live = [e for e in self._since_barrier if e.state is not _GONE and e.seq not in frozen]
        if self._barrier is not None:
            live.append(self._barrier)
        for earlier in live:
            earlier.dependents.append(entry)
        entry.waiting = len(live)
        self._barrier = entry
        self._since_barrier = []

    def _note_since_barrier(self, entry: Entry) -> None:
        since = self._since_barrier
        since.append(entry)
        if len(since) > 2 * len(self._by_seq) + 256:
            self._since_barrier = [e for e in since if e.state is not _GONE]

    def _holds(self, entry: Entry) -> bool:
        """Return whether this delivery, dead or held, holds what comes after it."""
        return self.keeps_place(entry.keys)

    def _make_ready(self, entry: Entry) -> None:
        entry.state = _READY
        heapq.heappush(self._ready, (entry.seq, entry))

    # --- going ------------------------------------------------------------------------------

    def take(self) -> Entry | None:
        """Return the oldest delivery that may go now, and count it as flying.

        None where nothing is ready or the settle window is used up: what might have been sent
        without a durable outcome stays within the window, so that it can be derived after a crash.
        """
        if self.flying + self.undurable >= self.window:
            return None
        ready = self._ready
        while ready:
            _, entry = ready[0]
            if entry.state is not _READY:
                heapq.heappop(ready)
                continue
            if not entry.exceptional and entry.seq > self.durable_low + self.window:
                return None
            heapq.heappop(ready)
            entry.state = _FLYING
            self.flying += 1
            return entry
        return None

    def give_back(self, entry: Entry) -> None:
        """A lane could not even begin: the delivery is ready again, in its place."""
        self.flying -= 1
        self._make_ready(entry)

    def settle(self, entry: Entry) -> None:
        """A flying delivery reached its end; its outcome is on the way to the disk."""
        self.flying -= 1
        self.undurable += 1
        self._leave(entry)

    def defer(self, entry: Entry, state: EntryState, due: float) -> list[Entry]:
        """A flying delivery is to be tried again (RETRYING, IN_DOUBT) or is HELD.

        Returns those that are now BEHIND it.
        """
        if state is EntryState.HELD:
            return self._end_flight(entry, state)
        self.flying -= 1
        entry.state = state
        entry.due = due
        entry.exceptional = True
        entry.content = None
        return self._put_behind(entry)

    def die(self, entry: Entry) -> list[Entry]:
        """A flying delivery became a dead letter; returns those now BEHIND it."""
        return self._end_flight(entry, EntryState.DEAD)

    def _end_flight(self, entry: Entry, state: EntryState) -> list[Entry]:
        self.flying -= 1
        entry.exceptional = True
        entry.content = None
        if not self._holds(entry):
            self._leave(entry)
            return []
        entry.state = state
        marked = self._put_behind(entry)
        self._stop(entry, state)
        return marked

    def set_aside(self, entry: Entry) -> None:
        """A flying delivery ended in doubt, and only its sender sends again: it holds nothing."""
        self.flying -= 1
        entry.exceptional = True
        self._leave(entry)

    def open_gate(self, seq: int) -> None:
        """A gated delivery may go as soon as nothing else is before it."""
        entry = self._by_seq.get(seq)
        if entry is not None and entry.waiting:
            self._wake_dependent(entry)

    def wake(self, entry: Entry) -> None:
        """A retry is due."""
        if entry.state not in _RETRIED:
            return
        if entry.waiting:
            entry.state = EntryState.BEHIND
        else:
            self._make_ready(entry)

    def fail_again(self, entry: Entry) -> list[Entry]:
        """Add a delivery that was sent and is a dead letter all the same.

        It keeps its place: what comes after it in its key and has not left waits for it from now
        on. Returns those that became BEHIND.
        """
        if entry.seq == self.through + 1:
            self.through = entry.seq
        entry.exceptional = True
        if not self._holds(entry):
            entry.state = _GONE
            return []
        keys = set(CHAIN if self._chained else entry.keys or ())
        held = [e for e in self._by_seq.values() if self._is_held_by(e, entry, keys)]
        self._by_seq[entry.seq] = entry
        for key in keys:
            self._tails.setdefault(key, entry)
        marked = []
        for later in held:
            entry.dependents.append(later)
            later.waiting += 1
            if later.state is _READY and (later.exceptional or self._chained):
                later.state = EntryState.BEHIND if later.exceptional else _WAITING
            elif later.state in (_READY, _WAITING) and not self._chained:
                later.state, later.exceptional = EntryState.BEHIND, True
                marked.append(later)
        if not self._chained:
            self._note_since_barrier(entry)
        self._stop(entry, EntryState.DEAD)
        return marked

    def _is_held_by(self, later: Entry, entry: Entry, keys: set[bytes]) -> bool:
        """Return whether a delivery shares a key, comes later and has not left."""
        if later.state is _FLYING or later.place < entry.place:
            return False
        return self._chained or not keys.isdisjoint(later.keys or ())

    # --- what people do -----------------------------------------------------------------------

    def remove(self, seq: int) -> None:
        """A dead or held delivery was discarded: what it held goes on, unless others hold it too."""
        entry = self._by_seq.get(seq)
        if entry is None:
            return
        if entry.waiting:
            self._unlink(entry)
        self._leave(entry)

    def replace(self, old_seq: int, entry: Entry) -> None:
        """A replay takes the place of a dead or held delivery, behind what waits in the outbox.

        It is exceptional from the start, so that a restart finds it before what it held.
        """
        old = self._by_seq.pop(old_seq, None)
        self._stopped.pop(old_seq, None)
        entry.exceptional = True
        self._by_seq[entry.seq] = entry
        if entry.seq == self.through + 1:
            self.through = entry.seq
        if old is None:
            self._link(entry)
        else:
            entry.waiting, entry.dependents = old.waiting, old.dependents
            old.state, old.dependents = _GONE, []
            for earlier in self._waited_for(old):
                earlier.dependents = [entry if e is old else e for e in earlier.dependents]
            for key in CHAIN if self._chained else old.keys or ():
                if self._tails.get(key) is old:
                    self._tails[key] = entry
            if not self._chained:
                self._note_since_barrier(entry)
        if entry.waiting == 0:
            self._make_ready(entry)
        else:
            entry.state = EntryState.BEHIND

    # --- inside -------------------------------------------------------------------------------

    def _stop(self, entry: Entry, state: EntryState) -> None:
        """Only a person can move this delivery now: barriers wait for it and what it holds no more."""
        entry.state = state
        self._stopped[entry.seq] = entry
        if self._barrier is None:
            return
        for seq in self.frozen():
            frozen = self._by_seq[seq]
            barriers = [e for e in frozen.dependents if e.keys == ()]
            if barriers:
                frozen.dependents = [e for e in frozen.dependents if e.keys != ()]
                for barrier in barriers:
                    self._wake_dependent(barrier)

    def _put_behind(self, head: Entry) -> list[Entry]:
        """Mark what waits for a stuck delivery as BEHIND; returns the new ones."""
        if self._chained:
            return []
        marked: list[Entry] = []
        to_visit = [head]
        while to_visit:
            for entry in to_visit.pop().dependents:
                if entry.state is _WAITING and entry.keys:
                    entry.state = EntryState.BEHIND
                    entry.exceptional = True
                    marked.append(entry)
                    to_visit.append(entry)
        return marked

    def _waited_for(self, entry: Entry) -> list[Entry]:
        """Return what an entry waits for. Looks at all: only people's acts ask."""
        if not entry.waiting:
            return []
        return [e for e in self._by_seq.values() if entry in e.dependents]

    def _unlink(self, entry: Entry) -> None:
        """Let what waits for an entry wait for what the entry itself waits for, key by key."""
        before = self._waited_for(entry)
        dependents, entry.dependents = entry.dependents, []
        for earlier in before:
            earlier.dependents.remove(entry)
            for dependent in dependents:
                shared = dependent.keys == () or bool(
                    set(earlier.keys or ()) & set(dependent.keys or ())
                )
                if (shared or self._chained) and dependent not in earlier.dependents:
                    earlier.dependents.append(dependent)
                    dependent.waiting += 1
        for key in CHAIN if self._chained else entry.keys or ():
            if self._tails.get(key) is entry:
                del self._tails[key]
                for earlier in before:
                    if self._chained or key in (earlier.keys or ()):
                        self._tails[key] = earlier
        entry.waiting = 0
        for dependent in dependents:
            self._wake_dependent(dependent)

    def _leave(self, entry: Entry) -> None:
        """Take a delivery out: what waited for it goes on."""
        self._by_seq.pop(entry.seq, None)
        if self._stopped:
            self._stopped.pop(entry.seq, None)
        entry.content = None
        entry.state = _GONE
        for key in CHAIN if self._chained else entry.keys or ():
            if self._tails.get(key) is entry:
                del self._tails[key]
        if self._barrier is entry:
            self._barrier = None
        if entry.dependents:
            dependents, entry.dependents = entry.dependents, []
            for dependent in dependents:
                self._wake_dependent(dependent)

    def _wake_dependent(self, entry: Entry) -> None:
        entry.waiting -= 1
        if not entry.waiting and entry.state in (_WAITING, EntryState.BEHIND):
            self._make_ready(entry)
