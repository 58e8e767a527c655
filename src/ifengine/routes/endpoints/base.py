"""The contract of an endpoint: one lane carries one delivery at a time and reports how it ended."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ifengine.routes.retry import Attempt


class Parcel(NamedTuple):
    """What a lane is to carry."""

    content: bytes
    file_name: str = ""
    timeout_seconds: float = 30.0
    seq: int = 0  # of the outbox: the same delivery has the same, however often it is tried
    inbox_id: int = 0  # the message it is of

    def __repr__(self) -> str:
        return f"<Parcel {self.seq} of {self.inbox_id}>"


class LaneOwner(Protocol):
    """Who is told how an attempt ended. Called on the event loop, never from inside ``begin``."""

    def attempt_ended(self, lane: "Lane", attempt: Attempt) -> None: ...
    def answer_ignored(self, kind: str) -> None:
        """An answer came that belongs to no delivery under way: late, duplicate, foreign, malformed."""
        ...

    def application_answer(self, content: bytes, reply: Callable[[bytes], None]) -> bool:
        """Take an application acknowledgment of what was delivered before.

        ``reply`` sends its accept acknowledgment, once there is one. False: none is waited for here.
        """
        ...


class Lane(Protocol):
    """One way to a destination. Every ``begin`` is followed by exactly one ``attempt_ended``."""

    @property
    def is_connected(self) -> bool:
        """Whether the next parcel needs no new connection."""
        ...

    def begin(self, parcel: Parcel) -> None:
        """Start one attempt; the lane is busy until it ended."""
        ...

    def sweep(self, now: float) -> None:
        """Look at deadlines. ``now`` is on the monotonic clock."""
        ...

    async def close(self) -> None:
        """Give up the connection; an attempt under way ends in doubt."""
        ...
