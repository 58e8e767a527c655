"""One destination of a channel as its outbox sees it: policy, counts, counters."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ifengine.routes.channel import UNMATCHED
from ifengine.routes.config.models import DEFAULT_ON_NAK, ApplicationAck, RetryConfig
from ifengine.routes.lanes import EntryState
from ifengine.routes.parts import Parts
from ifengine.routes.retry import Policy

DRAINED_ACK_TIMEOUT_SECONDS = 30.0


@dataclass(slots=True, kw_only=True)
class Destination:
    """What one destination of a channel adds to its outbox: policy, timeout, counters."""

    channel: str
    name: str
    number: int
    channel_number: int
    policy: Policy
    ack_timeout_seconds: float
    is_files: bool = False
    stop_after: int | None = None  # failures in a row after which the outbox stops
    application: ApplicationAck | None = None  # what becomes of a message is told later
    failures: int = 0  # in a row, so far
    waiting: int = 0  # not settled and not dead
    dead: int = 0
    held: int = 0
    dead_by_reason: Counter[str] = field(default_factory=Counter)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is here and nothing need be: the place for what nobody accepts, empty."""
        return self.name == UNMATCHED and not (self.waiting or self.dead)

    def take_counts(self, before: "Destination") -> None:
        """Go on counting where another object for the same destination stopped."""
        self.waiting, self.dead, self.held = before.waiting, before.dead, before.held
        self.dead_by_reason = before.dead_by_reason
        self.failures = before.failures

    def note_failure(self) -> bool:
        """Count a refusal or a missing answer; return whether it is one too many in a row."""
        self.failures += 1
        return self.stop_after is not None and self.failures >= self.stop_after

    def count(self, state: EntryState, by: int, label: str = "steps") -> None:
        """Count deliveries that enter or leave in a state; ``label`` is a dead letter's reason."""
        if state is EntryState.DEAD:
            self.dead += by
            self.dead_by_reason[label] += by
            return
        self.waiting += by
        if state is EntryState.HELD:
            self.held += by


def drained(parts: Parts, channel_number: int, number: int) -> Destination:
    """Return a destination that the configuration does not have any more, but the store has.

    What was accepted for it still goes out, by the built-in rules.
    """
    channel, _, name = parts.names.name(number).partition(".")
    return Destination(
        channel=channel,
        name=name or str(number),
        number=number,
        channel_number=channel_number,
        policy=Policy(RetryConfig(), DEFAULT_ON_NAK, "resend"),
        ack_timeout_seconds=DRAINED_ACK_TIMEOUT_SECONDS,
    )


class DestinationMetrics:
    """Cached children of the metric families of one destination."""

    def __init__(self, parts: Parts, channel: str, destination: str) -> None:
        metrics = parts.metrics
        self._metrics = metrics
        self._labels = (channel, destination)
        self._settled = metrics.messages_settled_total.labels(channel, destination, "sent")
        self._dead = metrics.messages_settled_total.labels(channel, destination, "dead_letter")
        self._rejected = metrics.messages_settled_total.labels(channel, destination, "rejected")
        self._took = metrics.delivery_duration_seconds.labels(channel, destination)
        self._end_to_end = metrics.end_to_end_duration_seconds.labels(channel, destination)
        self._in_doubt = metrics.in_doubt_total.labels(channel, destination)
        self._results: dict[str, Callable[[], None]] = {}

    def attempt(self, label: str, took: float) -> None:
        inc = self._results.get(label)
        if inc is None:
            inc = self._metrics.deliveries_total.labels(*self._labels, label).inc
            self._results[label] = inc
        inc()
        self._took.observe(took)

    def settled(self, seconds: float) -> None:
        self._settled.inc()
        self._end_to_end.observe(seconds)

    def dead_lettered(self, label: str) -> None:
        self._dead.inc()
        self._metrics.dead_lettered_total.labels(*self._labels, label).inc()

    def rejected(self) -> None:
        self._rejected.inc()

    def in_doubt(self) -> None:
        self._in_doubt.inc()
