"""The crosswalk at work: which identifiers were retired, and merges as a barrier between channels.

Source: safety-rules.md 12 and 15.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from ifengine.hl7.identifiers import patient_identifiers
from ifengine.hl7.message import Message
from ifengine.routes.memory import Memories
from ifengine.store.base import Reader
from ifengine.transforms.identity import (
    Identifier,
    PatientIdentity,
    all_merged_into,
    chain_of,
    identifier_of,
    into_key,
    is_retirement,
    link_of,
    order_key,
    read_link,
    retired_key,
)
from ifengine.transforms.memory import Change, Space

PAGE = 5000


class Retired:
    """The retired identifiers of a site, by keyed hash in memory.

    A site without any pays nothing for them, and a message whose patient was never merged one hash.
    """

    def __init__(self, memories: Memories, identity: PatientIdentity | None) -> None:
        self.identity = identity  # of the site; a reload may bring another
        self._memories = memories
        self._tags: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._tags)

    def __bool__(self) -> bool:
        return bool(self._tags)

    def load(self, reader: Reader) -> None:
        """Read what the store has; once, before the first message."""
        after = b""
        while rows := reader.states(Space.CROSSWALK, after, PAGE):
            self._tags.update(row.key for row in rows)
            after = rows[-1].key

    def changed(self, changes: Iterable[Change]) -> list[str]:
        """Take in what a message or a person changed; return the order keys it concerns."""
        concerned: list[str] = []
        for change in changes:
            if change.space is not Space.CROSSWALK:
                continue
            tag = self._memories.tag(change.space, change.key)
            if not is_retirement(change):
                self._note(tag, change)
                continue
            identifier = identifier_of(change.key)
            concerned.append(order_key(identifier))
            self._note(tag, change)
            if change.remembered is not None:
                concerned.append(order_key(read_link(change.remembered).to))
        return concerned

    def _note(self, tag: bytes, change: Change) -> None:
        if change.remembered is None:
            self._tags.discard(tag)
        else:
            self._tags.add(tag)

    def onward(self, identifier: Identifier) -> tuple[Identifier, ...]:
        """Return those that took an identifier's place, one after the other; mostly none."""
        if self._memories.tag(Space.CROSSWALK, retired_key(identifier)) not in self._tags:
            return ()
        return chain_of(self._memories.look_up, identifier).identifiers[1:]

    def alike(self, identifier: Identifier) -> tuple[Identifier, ...]:
        """Return every other identifier of the same patient, by all merges so far; mostly none.

        What names the survivor must not overtake what was queued under a retired one, nor the
        other way round: whoever names one of them has the order keys of all.
        """
        onward = self.onward(identifier)
        survivor = onward[-1] if onward else identifier
        if self._memories.tag(Space.CROSSWALK, into_key(survivor)) not in self._tags:
            return onward
        found = dict.fromkeys((*onward, *all_merged_into(self._memories.look_up, survivor)))
        found.pop(identifier, None)
        return tuple(found)

    def since(self, message: Message, inbox_id: int) -> bool:
        """Whether a message names an identifier that a later message, or a person, retired."""
        if not self._tags or self.identity is None:
            return False
        for identifier in identifiers_in(message, self.identity):
            tag = self._memories.tag(Space.CROSSWALK, retired_key(identifier))
            if tag in self._tags:
                link = link_of(self._memories.look_up, identifier)
                if link is not None and link.message > inbox_id:
                    return True
        return False


def identifiers_in(message: Message, identity: PatientIdentity) -> Iterator[Identifier]:
    """Yield the identifiers of the site's definition in every PID and MRG."""
    for cx in patient_identifiers(message):
        identifier = identity.identifier(cx)
        if identifier is not None:
            yield identifier


class Planning(Protocol):
    """A channel at work, as far as others wait for it."""

    paused: bool
    recovered: bool

    @property
    def first_unplanned(self) -> int:
        """The oldest message without a plan, 0 when there is none."""
        ...


class Barrier:
    """What merges must have planned before a message may ask who its patient is.

    The oldest message that is anywhere unplanned waits for nobody, so that somebody always goes on.
    """

    def __init__(self, merging: Sequence[Planning], own: Planning) -> None:
        self._others = tuple(other for other in merging if other is not own)

    def may_plan(self, inbox_id: int) -> bool:
        """Whether every merge received before a message is planned; paused channels do not count."""
        for other in self._others:
            if other.paused:
                continue
            first = other.first_unplanned
            if not other.recovered or 0 < first < inbox_id:
                return False
        return True
