"""Counters and histograms that cost next to nothing to count: a message passes a dozen of them.

They are for one thread, the event loop, and so need no lock; what Prometheus reads is made when it
asks. The metrics of ``prometheus_client`` take a lock and several calls for each count, which came
to a tenth of all that was done for a message.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

BUCKETS: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BOUNDS = (*(floatToGoString(bound) for bound in BUCKETS), "+Inf")  # type: ignore[no-untyped-call]


class Counter:
    """A number that goes up."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count; ``amount`` is never negative."""
        self.value += amount


class Histogram:
    """How many values were at most each of ``BUCKETS``, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)  # in each bucket alone; the last one has no bound
        self.total = 0.0

    def observe(self, amount: float) -> None:
        """Count a value."""
        self.total += amount
        self.counts[bisect_left(BUCKETS, amount)] += 1


C = TypeVar("C", Counter, Histogram)


class Counted(Generic[C]):
    """One family and its children by label values. Satisfies ``prometheus_client`` as a collector."""

    def __init__(
        self, make: Callable[[], C], name: str, meaning: str, label_names: Sequence[str]
    ) -> None:
        self._make: Callable[[], C] = make
        self._name = name
        self._meaning = meaning
        self._label_names = tuple(label_names)
        self._children: dict[tuple[str, ...], C] = {}

    def labels(self, *values: str) -> C:
        """Return the child with these label values, new at 0.

        Raises:
            ValueError: there are more or fewer than the family has labels.
        """
        if len(values) != len(self._label_names):
            raise ValueError("another number of label values")
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._make()
        return child

    def remove(self, *values: str) -> None:
        """Forget one child."""
        self._children.pop(values, None)

    def clear(self) -> None:
        """Forget all children."""
        self._children.clear()

    def collect(self) -> Iterator[Metric]:
        """Yield what Prometheus reads. A copy is read: the loop may count meanwhile."""
        children = list(self._children.items())
        if self._make is Counter:
            counters = CounterMetricFamily(self._name, self._meaning, labels=self._label_names)
            for values, child in children:
                if isinstance(child, Counter):
                    counters.add_metric(values, child.value)
            yield counters
            return
        histograms = HistogramMetricFamily(self._name, self._meaning, labels=self._label_names)
        for values, child in children:
            if isinstance(child, Histogram):
                histograms.add_metric(values, _up_to_each_bound(child), child.total)
        yield histograms


def _up_to_each_bound(child: Histogram) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip(_BOUNDS, child.counts.copy(), strict=True):
        below += count
        found.append((bound, below))
    return found
