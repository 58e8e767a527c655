"""What steps may remember from one message to the next, and what they ask of others.

Steps see a ``Memory``: they read what earlier messages left, and what they leave is written in the
same transaction as the plan of their message, or not at all.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from ifengine.transforms.tables import Table

Key = tuple[str, ...]


class Space(IntEnum):
    """What is remembered. The numbers stand in the store: never change one."""

    FACT = 1  # (channel or "", fact, value): something was seen
    AWAITED = 2  # (message id,): facts to be remembered once that message was delivered
    LATEST = 3  # what the newest result under a key said
    DEDUPE = 4  # the content last seen under a business key
    CROSSWALK = 5  # a retired identifier: which one survived
    FROZEN = 6  # an identifier whose merges contradict each other
    PATIENT = 7  # what is known of an identifier: the fields that `same:` compares
    COUNTER = 8
    VISIT = 9  # `follow`: a visit that a destination got
    ANSWER = 10  # the first positive answer that was passed through
    DEAD_MERGE = 11  # a merge that is a dead letter somewhere
    PSEUDONYM = 12
    PART = 13  # messages that `combine` still collects
    FILE = 14  # a file that was taken from a folder
    WAITING = 15  # (message id,): its sender waits for the answer of a destination
    REFUSED = 16  # (guard key,): the last message under it whose sender was told no
    APPLICATION = 17  # what waits for an application acknowledgment, and what came of it

    __hash__ = int.__hash__  # that of enumerations asks for the name, in several calls


_COUNTER = Space.COUNTER


class Remembered(NamedTuple):
    """One thing remembered: by which message, when, and until when (0: for ever)."""

    value: str
    message: int
    at_us: int
    until_us: int

    def __repr__(self) -> str:
        return f"<Remembered by {self.message}>"


class Change(NamedTuple):
    """One thing to write (``remembered``) or to forget (None), in the order of the steps."""

    space: Space
    key: Key
    remembered: Remembered | None

    def __repr__(self) -> str:
        return f"<Change {self.space.name}>"


Changes = dict[tuple[Space, Key], Remembered | None]


class Memory(Protocol):
    """What one message sees and leaves. What it left itself, it sees."""

    @property
    def now_us(self) -> int:
        """When the message came, by which things run out: no wall clock that is set moves it."""
        ...

    @property
    def is_replay(self) -> bool:
        """Whether this is a replay: identity and facts are read, not written (safety-rules.md 27)."""
        ...

    def get(self, space: Space, key: Key) -> Remembered | None:
        """Return what is remembered under a key and has not run out."""
        ...

    def put(self, space: Space, key: Key, value: str, *, until_us: int = 0) -> None:
        """Remember; replaces what stood there. On a replay only Space.COUNTER is written."""
        ...

    def forget(self, space: Space, key: Key) -> None:
        """Remember no more. Nothing happens on a replay."""
        ...


@dataclass(slots=True)
class Scratch:
    """A memory over a look-up, with what one message changed. ``now_us`` decides what has run out.

    What a destination leaves counts with its delivery only: ``undo`` takes it back to a ``mark``.
    ``branch()`` gives a part of a message its own, for ``take``.
    """

    message: int
    now_us: int
    below: "Lookup"
    is_replay: bool = False
    at_us: int = 0  # for people: what the wall clock showed; 0: as now_us
    _changes: Changes = field(default_factory=dict, repr=False)

    def get(self, space: Space, key: Key) -> Remembered | None:
        """Return what is remembered under a key and has not run out."""
        place = (space, key)
        found = self._changes[place] if place in self._changes else self.below.look_up(space, key)
        if found is not None and found.until_us and found.until_us < self.now_us:
            return None
        return found

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        """Return the same: a memory may stand below another one."""
        return self.get(space, key)

    def put(self, space: Space, key: Key, value: str, *, until_us: int = 0) -> None:
        """Remember; replaces what stood there."""
        if not self.is_replay or space is _COUNTER:
            at_us = self.at_us or self.now_us
            self._changes[space, key] = Remembered(value, self.message, at_us, until_us)

    def forget(self, space: Space, key: Key) -> None:
        """Remember no more."""
        if not self.is_replay:
            self._changes[space, key] = None

    def branch(self) -> "Scratch":
        """Return a memory over this one, for one part of a message."""
        return Scratch(self.message, self.now_us, self, self.is_replay, self.at_us)

    def mark(self) -> Changes:
        """Return what ``undo`` goes back to."""
        return self._changes.copy()

    def undo(self, mark: Changes) -> None:
        """Leave only what was there at the mark."""
        self._changes = mark

    def take(self, changes: Iterable[Change]) -> None:
        """Take what a part of this message left."""
        self._changes.update({(c.space, c.key): c.remembered for c in changes})

    def changes(self) -> tuple[Change, ...]:
        """Return what this message leaves."""
        return tuple([Change(space, key, found) for (space, key), found in self._changes.items()])

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes())


class Lookup(Protocol):
    """Where a memory looks when the message itself has not changed anything."""

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        """Return what is remembered under a key, run out or not."""
        ...


class Blank:
    """Nothing is remembered: for a message that is looked at alone."""

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        """Return None."""
        return None


class Document(NamedTuple):
    """A document taken out of a message, to be on stable storage before the plan is committed."""

    store: str  # named in the site file
    name: str  # below its folder, made by the engine from configured parts
    content: bytes

    def __repr__(self) -> str:
        return f"<Document for {self.store}>"


class Call(NamedTuple):
    """Work for another process, named by its place in the steps: the same run asks the same."""

    number: int  # how many calls this run made before
    file: str  # relative to the site
    function: str
    timeout_us: int
    content: bytes  # the message as it is now: its segments, with CR between them
    arguments: tuple[tuple[str, str], ...] = ()
    as_hl7: bool = False
    source: str = ""  # the file's text, as it was read with the configuration
    charset: str = "ascii"  # of content, a codec of Python
    now_us: int = 0
    segment: int | None = None  # position of the current one, inside `for_each`
    tables: Mapping[str, Table] = {}  # what the function may look up

    def __repr__(self) -> str:
        return f"<Call {self.number} {self.file}>"


class Reply(NamedTuple):
    """What came back. ``content`` None: it failed, ``reason`` says how (safe).

    ``lines`` are the segments that were written to, by their new position. ``origins`` has the old
    position of every segment in the new order, -1 for a new one; None: none came, went or moved.
    """

    content: bytes | None
    reason: str = ""
    full: str = ""  # sealed: may hold what the function said
    verb: str = ""  # "", "reject" or "fail": what the function asked for
    notes: tuple[str, ...] = ()
    answer: str = "AE"  # of "reject": AE or AR
    origins: tuple[int, ...] | None = None
    lines: tuple[tuple[int, bytes], ...] = ()

    def __repr__(self) -> str:
        return f"<Reply {'ok' if self.content is not None else self.reason}>"
