"""`remember … once: delivered`: facts that count from the moment a destination took their message."""

from collections.abc import Iterable, Sequence

from ifengine.errors import SealError
from ifengine.routes.memory import Memories
from ifengine.store.base import Batch, Reader
from ifengine.transforms.facts import facts_of_delivered
from ifengine.transforms.memory import Change, Space

PAGE = 1000


class AwaitedFacts:
    """Which messages have facts that wait for a delivery; false where none has: nobody pays then."""

    def __init__(self, memories: Memories) -> None:
        self._memories = memories
        self._messages: set[int] = set()

    def __repr__(self) -> str:
        return f"<AwaitedFacts of {len(self._messages)} messages>"

    def __len__(self) -> int:
        return len(self._messages)

    def __bool__(self) -> bool:
        return bool(self._messages)

    def load(self, reader: Reader) -> None:
        """Find them in the store, at the start."""
        after = b""
        while rows := reader.states(Space.AWAITED, after, PAGE):
            self._messages.update(row.inbox_id for row in rows)
            after = rows[-1].key

    def noted(self, changes: Iterable[Change]) -> None:
        """Take note of what a message left."""
        for change in changes:
            if change.space is Space.AWAITED and change.remembered is not None:
                self._messages.add(change.remembered.message)

    def delivered(self, batch: Batch, inbox_id: int, now_us: int) -> Sequence[Change]:
        """Remember the facts of a message that a destination took, in the batch that says so.

        Returns what was remembered; nothing at the second destination that takes it.
        """
        if inbox_id not in self._messages:
            return ()
        self._messages.discard(inbox_id)
        place = (str(inbox_id),)
        try:
            found = self._memories.look_up(Space.AWAITED, place)
        except SealError:
            return ()  # it was tampered with: nothing is believed, and `wait_for` waits its time
        if found is None:
            return ()
        changes = facts_of_delivered(found, place, now_us)
        self._memories.write(batch, changes)
        return changes
