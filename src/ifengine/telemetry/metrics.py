"""What the engine counts. FAMILIES is the list and its documentation; there are no others.

Labels are names of the configuration and words of closed lists. Nothing that came over the wire
becomes a label: the types of messages go through :func:`type_label`.
"""

import math
import platform
from collections.abc import Mapping, Set
from typing import Generic, NamedTuple, Protocol, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.gc_collector import GCCollector

from ifengine import __version__
from ifengine.telemetry.counted import Counted, Counter, Histogram

PREFIX = "ifengine_"
MOST_LABEL_SETS = 2000
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"

M = TypeVar("M", Counter, Gauge, Histogram)
Child = TypeVar("Child", covariant=True)


class Family(NamedTuple):
    """One row of the documentation. ``name`` is written without the prefix."""

    name: str
    kind: str  # counter, gauge, histogram
    labels: tuple[str, ...]
    meaning: str


def _family(name: str, kind: str, labels: str, meaning: str) -> Family:
    return Family(name, kind, tuple(labels.split()), meaning)


_LANE = "channel destination"

FAMILIES: tuple[Family, ...] = (
    _family(
        "messages_received_total",
        "counter",
        "channel type",
        "Messages read from a source, before any decision.",
    ),
    _family("received_bytes_total", "counter", "channel", "Bytes received, without framing."),
    _family("acks_sent_total", "counter", "channel code", "Answers to senders by MSA-1."),
    _family(
        "ack_duration_seconds",
        "histogram",
        "channel",
        "Last byte of a message in to its answer out.",
    ),
    _family(
        "messages_settled_total",
        "counter",
        "channel destination outcome",
        "Messages that reached an end at a destination.",
    ),
    _family("deliveries_total", "counter", "channel destination result", "Attempts by result."),
    _family("delivery_duration_seconds", "histogram", _LANE, "One attempt, connect to answer."),
    _family("end_to_end_duration_seconds", "histogram", _LANE, "Receipt to acceptance."),
    _family("step_duration_seconds", "histogram", "channel", "All steps of one message."),
    _family("queue_messages", "gauge", _LANE, "Messages that wait."),
    _family(
        "queue_oldest_timestamp_seconds",
        "gauge",
        _LANE,
        "Receipt time of the oldest message that waits, 0 when none does.",
    ),
    _family("queue_blocked", "gauge", _LANE, "1 when an ordered queue is held by its head."),
    _family("dead_letters", "gauge", "channel destination reason", "Open dead letters."),
    _family("parked_messages", "gauge", "channel fact", "Messages that wait for a fact."),
    _family(
        "dead_lettered_total",
        "counter",
        "channel destination reason",
        "Messages moved to the dead letters.",
    ),
    _family("duplicates_total", "counter", "channel", "Repeats caught."),
    _family(
        "application_answers_total",
        "counter",
        "channel destination result",
        "Application acknowledgments: accepted, refused, or missing when their time was over.",
    ),
    _family(
        "application_answers_waiting",
        "gauge",
        _LANE,
        "Messages that were stored there and have no application acknowledgment yet.",
    ),
    _family("transform_errors_total", "counter", "channel step", "Failed steps."),
    _family("connections", "gauge", "channel direction", "Open MLLP connections."),
    _family(
        "connection_failures_total", "counter", "connection reason", "Connections that failed."
    ),
    _family("destination_up", "gauge", "connection", "1 when the last attempt reached it."),
    _family("last_received_timestamp_seconds", "gauge", "channel", "Time of the last message."),
    _family(
        "expected_interval_seconds",
        "gauge",
        "channel",
        "Interval within which a message is expected, 0 when none is.",
    ),
    _family("channel_state", "gauge", "channel state", "1 for the state the channel is in."),
    _family(
        "certificate_expiry_timestamp_seconds",
        "gauge",
        "name role",
        "End of a certificate's validity.",
    ),
    _family("key_age_seconds", "gauge", "key", "Age of the active data key."),
    _family("store_commit_duration_seconds", "histogram", "", "One group commit."),
    _family("store_size_bytes", "gauge", "part", "Size of the store by part."),
    _family("disk_free_bytes", "gauge", "", "Free space under the store."),
    _family("disk_reserve_bytes", "gauge", "", "Free space below which messages are refused."),
    _family("disk_ballast_bytes", "gauge", "", "Room held for a full disk; 0 once it is given up."),
    _family("disk_full", "gauge", "", "1 while a commit waits for room."),
    _family("store_suspect", "gauge", "", "1 when the storage failed before this start."),
    _family("audit_records_total", "counter", "action", "Audit records written."),
    _family("audit_chain_valid", "gauge", "", "1 when the audit log last verified."),
    _family(
        "balance_residue",
        "gauge",
        _LANE,
        "What is in no state (above 0) or in two (below); destination empty: messages of a channel.",
    ),
    _family(
        "balance_faults", "gauge", "", "Records in no state or in two: ifengine tally --verify."
    ),
    _family(
        "clock_set_total", "counter", "", "How often the wall clock moved by a second or more."
    ),
    _family(
        "clock_doubt_seconds",
        "gauge",
        "",
        "How far the wall clock is from where it was believed; above a day nothing is purged.",
    ),
    _family("balance_struck_timestamp_seconds", "gauge", "", "Time of the last balance."),
    _family("config_last_reload_successful", "gauge", "", "0 after a configuration was refused."),
    _family(
        "config_last_reload_success_timestamp_seconds",
        "gauge",
        "",
        "Time the running configuration was taken up.",
    ),
    _family("table_entries", "gauge", "table", "Rows of a code table."),
    _family(
        "event_loop_lag_seconds", "gauge", "", "How late a timer was at most in the last minute."
    ),
    _family("build_info", "gauge", "version python", "1, with the versions as labels."),
    # beside monitoring.md
    _family(
        "mllp_tolerances_total",
        "counter",
        "connection tolerance",
        "Frames taken although they break the block format.",
    ),
    _family("framing_faults_total", "counter", "connection fault", "Frames refused by fault."),
    _family(
        "control_id_reused_total",
        "counter",
        "channel",
        "Control ids that came again with other content.",
    ),
    _family(
        "guard_off_total",
        "counter",
        "channel",
        "Messages whose control id no longer tells repeats.",
    ),
    _family("batches_received_total", "counter", "connection", "Frames that held a batch."),
    _family("unrouted_total", "counter", "connection", "Messages that no channel takes."),
    _family("rejected_total", "counter", "connection reason", "Messages refused at intake."),
    _family(
        "answers_ignored_total",
        "counter",
        "connection kind",
        "Answers that belong to no message under way.",
    ),
    _family("intake_paused", "gauge", "reason", "1 while nothing is read from senders."),
    _family("in_doubt_total", "counter", _LANE, "Attempts whose outcome is not known."),
    _family(
        "metric_overflow_total",
        "counter",
        "family",
        f"Label sets refused because the family has {MOST_LABEL_SETS}.",
    ),
)


class Parent(Protocol[Child]):
    """A family that makes its children."""

    def labels(self, *values: str) -> Child:
        """Return the child with these label values."""
        ...

    def remove(self, *values: str) -> None:
        """Forget one child."""
        ...

    def clear(self) -> None:
        """Forget all children."""
        ...


class Labelled(Generic[M]):
    """A family with labels, at most MOST_LABEL_SETS of them; more are counted, not kept."""

    __slots__ = ("_children", "_name", "_overflow", "_parent", "_sink")

    def __init__(
        self, parent: Parent[M], sink: M, name: str, overflow: Parent[Counter] | None
    ) -> None:
        self._parent: Parent[M] = parent
        self._sink: M = sink
        self._name = name
        self._overflow = overflow
        self._children: dict[tuple[str, ...], M] = {}

    def labels(self, *values: str) -> M:
        """Return the child with these label values, in the order of the documentation."""
        child = self._children.get(values)
        if child is None:
            if len(self._children) >= MOST_LABEL_SETS:
                if self._overflow is not None:
                    self._overflow.labels(self._name).inc()
                return self._sink
            child = self._parent.labels(*values)
            self._children[values] = child
        return child

    def remove(self, *values: str) -> None:
        """Forget one label set, so that it is no longer shown."""
        if self._children.pop(values, None) is not None:
            self._parent.remove(*values)

    def clear(self) -> None:
        """Forget every label set; for gauges that are set anew as a whole."""
        self._children.clear()
        self._parent.clear()


class Metrics:
    """Every family of this release, one attribute each, named without ``ifengine_``."""

    messages_received_total: Labelled[Counter]
    received_bytes_total: Labelled[Counter]
    acks_sent_total: Labelled[Counter]
    ack_duration_seconds: Labelled[Histogram]
    messages_settled_total: Labelled[Counter]
    deliveries_total: Labelled[Counter]
    delivery_duration_seconds: Labelled[Histogram]
    end_to_end_duration_seconds: Labelled[Histogram]
    step_duration_seconds: Labelled[Histogram]
    queue_messages: Labelled[Gauge]
    queue_oldest_timestamp_seconds: Labelled[Gauge]
    queue_blocked: Labelled[Gauge]
    dead_letters: Labelled[Gauge]
    parked_messages: Labelled[Gauge]
    dead_lettered_total: Labelled[Counter]
    duplicates_total: Labelled[Counter]
    application_answers_total: Labelled[Counter]
    application_answers_waiting: Labelled[Gauge]
    transform_errors_total: Labelled[Counter]
    connections: Labelled[Gauge]
    connection_failures_total: Labelled[Counter]
    destination_up: Labelled[Gauge]
    last_received_timestamp_seconds: Labelled[Gauge]
    expected_interval_seconds: Labelled[Gauge]
    channel_state: Labelled[Gauge]
    certificate_expiry_timestamp_seconds: Labelled[Gauge]
    key_age_seconds: Labelled[Gauge]
    store_commit_duration_seconds: Histogram
    store_size_bytes: Labelled[Gauge]
    disk_free_bytes: Gauge
    disk_reserve_bytes: Gauge
    disk_ballast_bytes: Gauge
    disk_full: Gauge
    store_suspect: Gauge
    audit_records_total: Labelled[Counter]
    audit_chain_valid: Gauge
    balance_residue: Labelled[Gauge]
    balance_faults: Gauge
    balance_struck_timestamp_seconds: Gauge
    clock_set_total: Counter
    clock_doubt_seconds: Gauge
    config_last_reload_successful: Gauge
    config_last_reload_success_timestamp_seconds: Gauge
    table_entries: Labelled[Gauge]
    event_loop_lag_seconds: Gauge
    build_info: Labelled[Gauge]
    mllp_tolerances_total: Labelled[Counter]
    framing_faults_total: Labelled[Counter]
    control_id_reused_total: Labelled[Counter]
    guard_off_total: Labelled[Counter]
    batches_received_total: Labelled[Counter]
    unrouted_total: Labelled[Counter]
    rejected_total: Labelled[Counter]
    answers_ignored_total: Labelled[Counter]
    intake_paused: Labelled[Gauge]
    in_doubt_total: Labelled[Counter]
    metric_overflow_total: Labelled[Counter]

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Make all families in a registry of their own, with those of process and collector."""
        # the client would add a _created series to each counter and histogram
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry() if registry is None else registry
        overflow: Counted[Counter] | None = None
        for family in reversed(FAMILIES):
            made = _make(family)
            self.registry.register(made)
            if family.labels:
                # what is refused is counted into a child that no registry shows
                sink = _make(family).labels(*family.labels)
                setattr(self, family.name, Labelled(made, sink, family.name, overflow))
            else:
                setattr(self, family.name, made if isinstance(made, Gauge) else made.labels())
            if family.name == "metric_overflow_total" and not isinstance(made, Gauge):
                overflow = made  # type: ignore[assignment]
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.build_info.labels(__version__, platform.python_version()).set(1)

    def render(self) -> bytes:
        """Return the text exposition of every family."""
        return prometheus_client.generate_latest(self.registry)


def _make(family: Family) -> Counted[Counter] | Counted[Histogram] | Gauge:
    name = PREFIX + family.name
    match family.kind:
        case "counter":
            return Counted(Counter, name, family.meaning, family.labels)
        case "gauge":
            gauge = Gauge(name, family.meaning, family.labels, registry=None)
            if not family.labels:
                # 0 would be a claim (a broken chain, a full disk) before anybody has looked
                gauge.set(math.nan)
            return gauge
        case _:
            return Counted(Histogram, name, family.meaning, family.labels)


def by_name() -> Mapping[str, Family]:
    """Return the documentation of each family by its full name."""
    return {PREFIX + family.name: family for family in FAMILIES}


def type_label(code: str, event: str, known: Set[str]) -> str:
    """Return the configured type that names a message, ``other`` where none does.

    Args:
        code: MSH-9.1 as it came.
        event: MSH-9.2 as it came.
        known: types as the configuration writes them, ``ADT^A01`` or ``ADT^*``.
    """
    for name in (f"{code}^{event}", f"{code}^*"):
        if name in known and name != "*^*":
            return name
    return OTHER
