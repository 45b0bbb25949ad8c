"""How many writers a number of users takes, and how long their changes take then: foretold by simulation. Pure, seeded.

The pod that has most to do is simulated in its busiest hour, or a part of it; the others are taken to do no worse. What
is beyond a sample (the day, the other pods, a backlog that outgrows it) is arithmetic, and said to be so.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from services.writer.capacity_graph import APPLICATION_MAX_REQUESTS_PER_S
from services.writer.capacity_load import HOUR_S, Crowd, Load
from services.writer.capacity_pod import Fate, Pod, SimulatedPod, saturating

# Microsoft tells no figure; whole calls of calendars are reported to take some tenths of a second.
GRAPH_LATENCY_S = 0.25
GRAPH_LATENCY_SPREAD = 0.5
# How full a pod may be in the busiest hour: room for a neighbour's mailboxes when that is restarted, and for bursts.
TARGET_SHARE = 0.7
# So many users share a tenant on average where nothing else is said.
USERS_PER_TENANT = 250
# Changes that are simulated at most to find out what a pod can do: a few times what it has in hand at once.
SATURATING_CHANGES = 6_000
# Changes that are simulated at most: a few seconds' work.
SAMPLE_CHANGES = 20_000
# Imports share the sample with everyday changes: up to this part of it.
IMPORTS_SHARE = 0.5
# Partitions for each pod, where nothing else is said: pods can be added later without making partitions.
PARTITIONS_PER_POD = 3
PARTITIONS_MIN = 12
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds from an event on the bus to the calendar's acknowledgement."""

    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What was simulated: one pod, so many seconds of its busiest hour, so many of that hour's changes."""

    mailboxes: int
    seconds: float
    changes: int
    of_changes: float
    imports: int
    of_imports: float

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the pod's hour was left out."""
        return self.seconds >= HOUR_S and self.imports >= self.of_imports


@dataclass(frozen=True, slots=True)
class GraphUse:
    """Requests of writers, items of batches counted one by one; reading is not among them.

    `applications`: how many it takes if none may exceed Microsoft's limit for one application over all tenants.
    """

    requests_per_day: float
    requests_per_s: float
    requests_per_call: float
    share_of_application: float
    applications: int
    throttled: int
    most_in_flight: int
    most_in_10_min: int


@dataclass(frozen=True, slots=True)
class Waits:
    """Of the lag of everyday changes on average, the shares that were due to each; they sum up to 1.

    `mailbox`: its own limits. `pod`: too many others at a time. `overhead`: what an idle system takes besides Graph.
    """

    graph: float
    mailbox: float
    pod: float
    overhead: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is foretold. Lags are those of the busiest hour; `import_lag` is None if there are no imports."""

    load: Load
    pods: int
    partitions: int
    pod_entries_per_s: float
    share_of_pod: float
    keeps_up: bool
    backlog_hours: float
    everyday_lag: Lag
    import_lag: Lag | None
    waits: Waits
    graph: GraphUse
    sample: Sample
    seed: int


def foretell(
    load: Load,
    pod: Pod,
    *,
    seed: int = 0,
    pods: int | None = None,
    partitions: int | None = None,
    sample_changes: int = SAMPLE_CHANGES,
) -> Forecast:
    """Simulate. Without `pods` as many as keep each below `TARGET_SHARE`. The same seed gives the same answer."""
    load = replace(load, tenants=load.tenants or max(1, load.users // USERS_PER_TENANT))
    capacity = _capacity(_crowd(load, 1.0), pod, seed, min(SATURATING_CHANGES, sample_changes))
    if pods is None:
        pods = _pods_for(load, capacity, partitions)
    elif partitions is not None:
        pods = min(pods, partitions)
    if partitions is None:
        partitions = max(PARTITIONS_MIN, PARTITIONS_PER_POD * pods)
    share = busiest_share(pods, partitions, load.users)
    part = _Part(load, share)
    crowd = _crowd(load, share)

    seconds, imports = part.sampled(sample_changes)
    # What is imported into mailboxes that are left out comes as everyday changes, so that the pod has as much to do.
    left_out_per_s = (part.imports - imports) * load.import_items / HOUR_S if imports < part.imports else 0.0
    everyday_per_s = part.everyday_per_s + left_out_per_s
    random = Random(seed)  # noqa: S311
    changes = [
        *crowd.everyday(everyday_per_s, seconds, random),
        *crowd.imports(imports, load.import_items, seconds, random),
    ]
    changes.sort(key=lambda change: change.at_s)
    simulated = SimulatedPod(pod, seed)
    fates = simulated.run(changes)

    per_s = everyday_per_s + imports * load.import_items / HOUR_S
    full = per_s / capacity
    grows_s = max(full - 1.0, 0.0) * HOUR_S
    everyday = [fate for fate in fates if not fate.change.is_import]
    imported = [fate for fate in fates if fate.change.is_import]
    # A part of the hour does not show how far behind a pod falls by its end that has more to do than it can.
    unseen_s = grows_s * (1 - seconds / HOUR_S)
    requests = simulated.graph.requests / max(len(fates), 1)
    peak_requests_per_s = load.peak_per_s * requests
    return Forecast(
        load=load,
        pods=pods,
        partitions=partitions,
        pod_entries_per_s=capacity,
        share_of_pod=full,
        keeps_up=full < 1.0,
        backlog_hours=_backlog_hours(load, share, capacity, grows_s),
        everyday_lag=_lag(everyday, unseen_s),
        import_lag=_lag(imported, unseen_s) if imported else None,
        waits=_waits(everyday, pod),
        graph=GraphUse(
            requests_per_day=load.changes_per_day * requests,
            requests_per_s=peak_requests_per_s,
            requests_per_call=simulated.graph.requests / max(simulated.graph.calls, 1),
            share_of_application=peak_requests_per_s / APPLICATION_MAX_REQUESTS_PER_S,
            applications=max(1, math.ceil(peak_requests_per_s / APPLICATION_MAX_REQUESTS_PER_S)),
            throttled=simulated.graph.throttled,
            most_in_flight=simulated.graph.most_in_flight,
            most_in_10_min=simulated.graph.most_in_window,
        ),
        sample=Sample(crowd.mailboxes, seconds, len(fates), per_s * HOUR_S, imports, part.imports),
        seed=seed,
    )


def busiest_share(pods: int, partitions: int, users: int) -> float:
    """The part of all users whose mailboxes the pod with the most of them has.

    It owns a whole number of partitions, and mailboxes fall on partitions by chance: with few of them, unevenly.
    """
    if pods == 1:
        return 1.0
    share = math.ceil(partitions / pods) / partitions
    # The largest of so many draws lies about so many standard deviations above the mean.
    deviations = math.sqrt(2 * math.log(pods))
    return min(1.0, share + deviations * math.sqrt(share * (1 - share) / max(users, 1)))


@dataclass(frozen=True, slots=True)
class _Part:
    """What falls on the busiest pod."""

    load: Load
    share: float

    @property
    def everyday_per_s(self) -> float:
        return self.load.everyday_per_s * self.share

    @property
    def imports(self) -> float:
        return self.load.imports * self.share

    def sampled(self, changes: int) -> tuple[float, int]:
        """How many seconds, and how many imports, make so many changes at most."""
        wanted = math.ceil(self.imports)
        room = int(changes * IMPORTS_SHARE / self.load.import_items) if self.load.import_items else wanted
        imports = min(wanted, max(room, 1))
        per_s = self.everyday_per_s + max(self.imports - imports, 0.0) * self.load.import_items / HOUR_S
        left = max(changes - imports * self.load.import_items, changes * (1 - IMPORTS_SHARE))
        return (min(HOUR_S, left / per_s) if per_s else HOUR_S), imports


def _crowd(load: Load, share: float) -> Crowd:
    return Crowd(max(1, round(load.users * share)), load.tenants, load.tenant_skew, load.user_skew)


@lru_cache(maxsize=64)
def _capacity(crowd: Crowd, pod: Pod, seed: int, entries: int) -> float:
    """Entries a second that one pod gets through when it has always something to do, for mailboxes like these."""
    everyday = replace(crowd, user_skew=0.0).everyday(1.0, math.inf, Random(seed))  # noqa: S311
    changes = saturating(everyday, entries)
    done_s = sorted(fate.lag_s for fate in SimulatedPod(pod, seed).run(changes))
    # At the end there is not enough left for a pod to be busy with.
    first, last = len(done_s) // 10, len(done_s) * 8 // 10
    return (last - first) / (done_s[last] - done_s[first])


def _pods_for(load: Load, capacity: float, partitions: int | None) -> int:
    wanted = max(1, math.ceil(load.peak_per_s / (capacity * TARGET_SHARE)))
    while True:
        among = partitions or max(PARTITIONS_MIN, PARTITIONS_PER_POD * wanted)
        if wanted >= among:
            return among
        if load.peak_per_s * busiest_share(wanted, among, load.users) <= capacity * TARGET_SHARE:
            return wanted
        wanted += 1


def _backlog_hours(load: Load, share: float, capacity: float, grows_s: float) -> float:
    """How long after the busiest hour what it left behind is done; infinite if the other hours are too much as well."""
    behind = grows_s * capacity
    other_per_s = load.users * load.items_per_day * (1 - load.peak) * share / (23 * HOUR_S)
    if not behind:
        return 0.0
    return behind / (capacity - other_per_s) / HOUR_S if other_per_s < capacity else math.inf


def _lag(fates: list[Fate], unseen_s: float) -> Lag:
    lags = sorted(fate.lag_s for fate in fates)
    if not lags:
        return Lag(0.0, 0.0, 0.0, 0.0)
    p50, p95, p99 = (lags[min(int(q * len(lags)), len(lags) - 1)] + q * unseen_s for q in QUANTILES)
    return Lag(p50, p95, p99, lags[-1] + unseen_s)


def _waits(fates: list[Fate], pod: Pod) -> Waits:
    lag_s = sum(fate.lag_s for fate in fates)
    if not lag_s:
        return Waits(0.0, 0.0, 0.0, 1.0)
    graph = sum(fate.graph_s for fate in fates) / lag_s
    mailbox = max(0.0, sum(fate.alone_s - fate.graph_s - pod.overhead_s for fate in fates) / lag_s)
    overhead = len(fates) * pod.overhead_s / lag_s
    return Waits(graph, mailbox, max(0.0, 1.0 - graph - mailbox - overhead), overhead)
