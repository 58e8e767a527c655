"""What outboxes, listeners and those who wait for application acknowledgments ask of each other."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from ifengine.routes.application_failing import Failed, Refused
from ifengine.routes.config.models import ApplicationAck
from ifengine.store.base import Batch, NewInboxEntry


class Failing(Protocol):
    """An outbox, as far as it makes dead letters of what was sent: ``delivery.Outbox``."""

    number: int
    name: str

    def fail_sent(self, batch: Batch, failed: Failed, refused: Refused) -> None:
        """Add a dead letter in the place of a delivery that was sent."""
        ...


class Settled(NamedTuple):
    """A delivery that its receiver stored."""

    outbox: int
    seq: int
    inbox_id: int
    destination: int
    attempts: int
    planned_us: int
    code: str  # MSA-1
    control_id: bytes

    def __repr__(self) -> str:
        return f"<Settled {self.outbox}/{self.seq}>"


class Matched(NamedTuple):
    """What a message was to the deliveries that wait at its listener."""

    reason: str  # safe
    is_known: bool  # something of its MSA-2 was sent, and answers to it come in there


class Answers(Protocol):
    """Who waits for application acknowledgments: ``application_answers.ApplicationAnswers``."""

    waiting: Counter[int]  # by destination

    def take_rules(self, rules: Mapping[int, list[ApplicationAck]]) -> None:
        """Listen for the answers to these outboxes too."""
        ...

    async def recover(self) -> None:
        """Take up what waited when the engine stopped."""
        ...

    def stand_still(self) -> None:
        """Write no dead letter until ``go``."""
        ...

    def go(self) -> None:
        """Go on."""
        ...

    def expect(self, batch: Batch, rule: ApplicationAck, settled: Settled) -> None:
        """Wait for what becomes of a delivery that its receiver stored."""
        ...

    def tick(self, now: float) -> None:
        """Look at deadlines."""
        ...

    def listens(self, listener: str) -> bool:
        """Return whether application acknowledgments come in at a listening connection."""
        ...

    def came_in(
        self, batch: Batch, listener: str, content: bytes, inbox_id: int, *, goes_on: bool
    ) -> Matched:
        """Match a message of any type that a listener stores with ``batch``.

        ``goes_on``: a channel takes it, so that it is not ignored where nothing waits for it.
        """
        ...

    def answer_due(self, listener: str, content: bytes, entry: NewInboxEntry) -> bytes | None:
        """Return the accept acknowledgment that a stored one asks for."""
        ...

    def came_back(self, outbox: Failing, content: bytes, reply: Callable[[bytes], None]) -> bool:
        """Store and match an acknowledgment on the connection that delivers."""
        ...
