"""Which parked messages may start over: by what was remembered, or because their time is over.

Pure. One channel's parked messages in memory, by message id, without their content. The messages
that wait for one key leave in the order in which they came (safety-rules.md 9).
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class ParkedMessage:
    """One message that waits. ``keys`` are keyed hashes of what it waits for."""

    inbox_id: int
    keys: frozenset[bytes]
    due: float  # monotonic seconds
    since_us: int
    until_us: int
    fact: str = ""  # what it waits for, as the channel names it
    waited_out: bool = False
    released: bool = False  # a person let it go
    leaving: bool = False  # on its way back into the steps
    # keyed hashes of the patients it speaks of; empty: not known, it may be any
    patients: frozenset[bytes] = frozenset()


@dataclass(slots=True)
class Parking:
    """The parked messages of one channel."""

    _messages: dict[int, ParkedMessage] = field(default_factory=dict)
    _by_key: dict[bytes, set[int]] = field(default_factory=dict)
    _due: list[tuple[float, int]] = field(default_factory=list)
    _by_fact: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._messages)

    def __bool__(self) -> bool:
        return bool(self._messages)

    def __contains__(self, inbox_id: int) -> bool:
        return inbox_id in self._messages

    def get(self, inbox_id: int) -> ParkedMessage | None:
        """Return one parked message."""
        return self._messages.get(inbox_id)

    def by_fact(self) -> Mapping[str, int]:
        """Return how many wait for each fact; a fact that was waited for once stays, with 0."""
        return self._by_fact

    def oldest_us(self) -> int:
        """Return since when the oldest waits, 0 when none does."""
        return min((message.since_us for message in self._messages.values()), default=0)

    def park(self, message: ParkedMessage) -> None:
        """Add a message, or let it wait for other keys than before."""
        self.leave(message.inbox_id)
        self._messages[message.inbox_id] = message
        self._by_fact[message.fact] += 1
        for key in message.keys:
            self._by_key.setdefault(key, set()).add(message.inbox_id)
        heapq.heappush(self._due, (message.due, message.inbox_id))

    def leave(self, inbox_id: int) -> None:
        """A message is parked no more."""
        self._forget_keys(inbox_id)
        message = self._messages.pop(inbox_id, None)
        if message is not None:
            self._by_fact[message.fact] -= 1

    def _forget_keys(self, inbox_id: int) -> None:
        message = self._messages.get(inbox_id)
        for key in message.keys if message is not None else ():
            waiting = self._by_key[key]
            waiting.discard(inbox_id)
            if not waiting:
                del self._by_key[key]

    def waits_before(self, key: bytes, inbox_id: int) -> bool:
        """Return whether an earlier message waits for this key: a later one stays behind it."""
        return any(waiting < inbox_id for waiting in self._by_key.get(key, ()))

    def waiting_for(self, keys: Iterable[bytes]) -> list[int]:
        """Return the messages that wait for any of these keys and are not leaving, oldest first."""
        found: set[int] = set()
        for key in keys:
            found |= self._by_key.get(key, set())
        return sorted(inbox_id for inbox_id in found if not self._messages[inbox_id].leaving)

    def under(self, key: bytes) -> list[ParkedMessage]:
        """Return every message that waits for a key, leaving ones too, oldest first."""
        return [self._messages[inbox_id] for inbox_id in sorted(self._by_key.get(key, ()))]

    def of_patients(self, patients: frozenset[bytes]) -> list[int]:
        """Return the messages that may speak of these patients and are not leaving, oldest first."""
        return [
            i
            for i in self.all_waiting()
            if not self._messages[i].patients or self._messages[i].patients & patients
        ]

    def all_waiting(self) -> list[int]:
        """Return every message that is not leaving, oldest first."""
        return sorted(i for i, message in self._messages.items() if not message.leaving)

    def time_is_over(self, now: float) -> list[int]:
        """Return the messages whose time ended, marked so, in the order of their times.

        One that is leaving is marked, and not returned: it must not start over twice.
        """
        found = []
        while self._due and self._due[0][0] <= now:
            due, inbox_id = heapq.heappop(self._due)
            message = self._messages.get(inbox_id)
            if message is not None and message.due == due and not message.waited_out:
                message.waited_out = True
                if not message.leaving:
                    found.append(inbox_id)
        return found


def fact_of(reason: str) -> str:
    """Return the fact that a message waits for, of the safe form of its reason."""
    return reason.removeprefix("waiting for ")
