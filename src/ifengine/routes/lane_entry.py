"""One delivery in memory, and where it stands."""

from enum import IntEnum


class EntryState(IntEnum):
    """Where a delivery stands in memory."""

    WAITING = 0  # for an earlier one of its key
    READY = 1
    FLYING = 2  # handed to a lane
    RETRYING = 3
    IN_DOUBT = 4
    BEHIND = 5  # an earlier one of its key is stuck; durable, so that the cursor can pass
    HELD = 6
    DEAD = 7
    GONE = 8  # settled


# looked up once: to ask an enumeration for a member costs more than a call (Python 3.11)
_WAITING = EntryState.WAITING


class Entry:
    """One delivery in memory. ``keys`` None: no order at all; ``()``: a barrier."""

    __slots__ = (
        "at_us",
        "channel",
        "config_version",
        "content",
        "copy_id",
        "dependents",
        "destination",
        "doubts",
        "due",
        "exceptional",
        "inbox_id",
        "keys",
        "place",
        "possible_duplicate",
        "received_us",
        "refusals",
        "run",
        "seq",
        "started",
        "state",
        "waiting",
    )

    def __init__(
        self,
        *,
        seq: int,
        place: int,
        inbox_id: int,
        run: int,
        channel: int,
        destination: int,
        copy_id: int,
        keys: tuple[bytes, ...] | None,
        at_us: int,
        received_us: int,
        config_version: int,
        content: bytes | None = None,
    ) -> None:
        self.seq = seq
        self.place = place
        self.inbox_id = inbox_id
        self.run = run
        self.channel = channel
        self.destination = destination
        self.copy_id = copy_id
        self.keys = keys
        self.at_us = at_us
        self.received_us = received_us
        self.config_version = config_version
        self.content = content
        self.refusals = 0
        self.doubts = 0
        self.possible_duplicate = False
        self.exceptional = False  # has, or is about to have, an exception row
        self.state = _WAITING
        self.due = 0.0
        self.started = 0.0
        self.waiting = 0
        self.dependents: list[Entry] = []

    def __repr__(self) -> str:
        return f"<Entry {self.seq} {self.state.name}>"

    def __lt__(self, other: "Entry") -> bool:
        return self.seq < other.seq

    def fresh(self) -> "Entry":
        """Return the same delivery as it stands in the store, with what its attempts left."""
        made = Entry(
            seq=self.seq,
            place=self.place,
            inbox_id=self.inbox_id,
            run=self.run,
            channel=self.channel,
            destination=self.destination,
            copy_id=self.copy_id,
            keys=self.keys,
            at_us=self.at_us,
            received_us=self.received_us,
            config_version=self.config_version,
        )
        made.refusals, made.doubts = self.refusals, self.doubts
        made.possible_duplicate = self.possible_duplicate
        return made
