"""The messages that wait for the rest of their collection, in a test. Pure."""

from collections.abc import Callable, Sequence

from ifengine.hl7.message import Message
from ifengine.routes.channel_tests.recall import tag
from ifengine.routes.collecting import Collection, Member
from ifengine.routes.parking import Parking
from ifengine.transforms.memory import Key


class WorldCollection(Collection):
    """What one message of a test sees of those that wait."""

    def __init__(self, number: int, parking: Parking, received: Callable[[int], Message]) -> None:
        self._number = number
        self._parking = parking
        self._received = received

    def under(self, key: Key) -> Sequence[Member]:
        """Return the others that wait under a key, oldest first."""
        return [
            Member(m.inbox_id, m.until_us, m.waited_out, m.released)
            for m in self._parking.under(tag(key))
            if m.inbox_id != self._number
        ]

    def messages(self, inbox_ids: Sequence[int]) -> Sequence[Message | None]:
        """Return messages as they were received."""
        return [self._received(inbox_id) for inbox_id in inbox_ids]
