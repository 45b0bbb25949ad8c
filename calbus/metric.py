"""A metric together with what people must know of it: the values that its labels can have, and what to do about it.

Every metric of calbus is made here, so that none can be without; the metrics themselves stand in telemetry.py.
"""

from bisect import bisect_left
from collections import Counter as Multiset
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import prometheus_client
from prometheus_client import Counter, Gauge

Labels = Mapping[str, Iterable[str]]
_NO_LABELS: Labels = {}


@dataclass(frozen=True, slots=True)
class Described:
    """A metric's page in the manual. `labels` gives for each all values that it can ever have: there are no others.

    `services` expose it; `gauges` of what stands in PostgreSQL are the same whichever process is asked (`shared`).
    """

    name: str
    kind: str
    says: str
    do: str
    services: str
    labels: dict[str, tuple[str, ...]]
    shared: bool
    buckets: int

    @property
    def exposed_as(self) -> tuple[str, ...]:
        """The names under which Prometheus sees it."""
        if self.kind == "counter":
            return (f"{self.name}_total",)
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)

    @property
    def series_max(self) -> int:
        """Series of one process, at most."""
        each = self.buckets + 2 if self.kind == "histogram" else 1
        return each * prod(len(values) for values in self.labels.values())


class Histogram(prometheus_client.Histogram):
    """One that takes in hundreds of values at once."""

    def observe_all(self, values: Sequence[float]) -> None:
        """What `observe` does with each, of which none is NaN; a lock is taken for a bucket, and not for a value."""
        self._raise_if_not_observable()  # type: ignore[no-untyped-call]
        self._sum.inc(sum(values))
        for bucket, number in Multiset(bisect_left(self._upper_bounds, each) for each in values).items():
            self._buckets[bucket].inc(number)


CATALOGUE: dict[str, Described] = {}
"""All that were made, by name, in the order of their making."""


def counter(name: str, says: str, labels: Labels = _NO_LABELS, *, by: str, do: str, from_zero: bool = False) -> Counter:
    """Something that is counted; Prometheus sees it as `<name>_total`. `by`: which services expose it.

    `from_zero`: every series is there from the start, so that its first step is seen as one.
    """
    described = _describe(name, "counter", says, do, by, labels)
    made = Counter(name, says, list(described.labels))
    if from_zero:
        for values in product(*described.labels.values()):
            made.labels(*values)
    return made


def gauge(name: str, says: str, labels: Labels = _NO_LABELS, *, by: str, do: str, shared: bool = False) -> Gauge:
    """Something that goes up and down. `shared`: it stands in PostgreSQL, and every process shows the same."""
    described = _describe(name, "gauge", says, do, by, labels, shared=shared)
    return Gauge(name, says, list(described.labels))


def histogram(
    name: str, says: str, buckets: tuple[float, ...], labels: Labels = _NO_LABELS, *, by: str, do: str
) -> Histogram:
    """Seconds, by upper bounds."""
    described = _describe(name, "histogram", says, do, by, labels, buckets=len(buckets) + 1)
    return Histogram(name, says, list(described.labels), buckets=buckets)


def _describe(
    name: str, kind: str, says: str, do: str, by: str, labels: Labels, *, shared: bool = False, buckets: int = 0
) -> Described:
    values = {label: tuple(dict.fromkeys(str(value) for value in of)) for label, of in labels.items()}
    described = Described(name, kind, says, do, by, values, shared, buckets)
    CATALOGUE[name] = described
    return described
