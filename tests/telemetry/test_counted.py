"""Our counters show what those of ``prometheus_client`` would show after the same counts."""

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ifengine.telemetry.counted import BUCKETS, Counted, Counter, Histogram

AMOUNTS = st.one_of(st.sampled_from([0.0, *BUCKETS, 30.000001]), st.floats(0, 100, allow_nan=False))
WORDS = st.sampled_from(["a", 'q"uote', "two words", "back\\slash"])


def shown(registry: CollectorRegistry) -> list[str]:
    return sorted(prometheus_client.generate_latest(registry).decode().splitlines())


@given(counts=st.lists(st.tuples(WORDS, WORDS, st.integers(0, 5) | st.floats(0, 9))))
def test_a_counter_shows_what_the_client_would_show(
    counts: list[tuple[str, str, float]],
) -> None:
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one = Counted(Counter, "ifengine_seen_total", "What was seen.", ("x", "y"))
    ours.register(one)
    other = prometheus_client.Counter(
        "ifengine_seen_total", "What was seen.", ("x", "y"), registry=theirs
    )
    for x, y, amount in counts:
        one.labels(x, y).inc(amount)
        other.labels(x, y).inc(amount)
    assert shown(ours) == shown(theirs)


@given(values=st.lists(st.tuples(WORDS, AMOUNTS)))
def test_a_histogram_shows_what_the_client_would_show(values: list[tuple[str, float]]) -> None:
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one = Counted(Histogram, "ifengine_took_seconds", "What it took.", ("x",))
    ours.register(one)
    other = prometheus_client.Histogram(
        "ifengine_took_seconds", "What it took.", ("x",), registry=theirs, buckets=BUCKETS
    )
    for x, amount in values:
        one.labels(x).observe(amount)
        other.labels(x).observe(amount)
    assert shown(ours) == shown(theirs)


def test_one_without_labels_is_shown_before_it_has_counted() -> None:
    registry = CollectorRegistry()
    family = Counted(Histogram, "ifengine_commit_seconds", "One commit.", ())
    registry.register(family)
    family.labels()
    assert "ifengine_commit_seconds_count 0.0" in shown(registry)


def test_another_number_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="label"):
        Counted(Counter, "ifengine_seen_total", "", ("x",)).labels("a", "b")
