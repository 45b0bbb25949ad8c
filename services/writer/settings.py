"""What the writer reads from the environment."""

from typing import Annotated

from pydantic import Field

from calbus.settings import AdminSettings, BudgetSettings, GraphSettings, KafkaSettings, PostgresSettings, TraceSettings
from services.writer.lanes import LaneLimits

# Within Kafka's time for a rebalance, after which the others go on without this writer, it must hear of it (by its
# heartbeat), drain, record and commit. All writers of the group wait for the slowest: so a call that hangs, which may
# last longer (CALBUS_GRAPH_TIMEOUT_S), is broken off and not waited for.
DRAIN_MAX_S = 40.0


class LaneSettings(BudgetSettings):
    """How much a writer holds and sends at a time; `calbus capacity` counts with the same."""

    writer_lane_max_in_flight: Annotated[int, Field(ge=1, le=4)] = 3
    """Requests to one mailbox at a time. Microsoft allows an application four; the fourth is for reading."""
    writer_lane_max_entries: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Entries that wait in one mailbox's queue; more are left in PostgreSQL until there is room."""
    writer_max_entries: Annotated[int, Field(ge=20, le=1_000_000)] = 20_000
    """Entries that wait in all queues; above that each queue takes only a few."""
    writer_max_calls: Annotated[int, Field(ge=1, le=256)] = 64
    """Calls to Microsoft Graph, single or batch, in flight at a time."""
    writer_sweep_interval_s: Annotated[float, Field(gt=0, le=3_600)] = 1.0
    """How often the sweeper looks for entries that are due."""

    @property
    def lane_limits(self) -> LaneLimits:
        """The same as limits of lanes."""
        return LaneLimits(
            self.writer_lane_max_in_flight,
            self.writer_lane_max_requests_per_10_min,
            self.writer_lane_max_entries,
            self.writer_max_entries,
        )


class WriterSettings(KafkaSettings, PostgresSettings, GraphSettings, LaneSettings, AdminSettings, TraceSettings):
    """Settings of the writer service."""

    writer_member: str | None = None
    """A name of this process that outlives it (in Kubernetes the pod's name): a restart then moves no partitions."""
    writer_session_timeout_ms: Annotated[int, Field(ge=1_000, le=1_800_000)] = 30_000
    """A process that is not heard of for so long loses its mailboxes to the others."""
    writer_retry_first_s: Annotated[float, Field(gt=0, le=600)] = 1.0
    """Wait after a passing fault; doubled each time."""
    writer_retry_max_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """The longest such wait."""
    writer_reprobe_first_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Wait where somebody else must act first (an administrator, say); doubled each time."""
    writer_reprobe_max_s: Annotated[float, Field(gt=0, le=86_400)] = 3_600.0
    """The longest such wait."""
    writer_access_ttl_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    """That an owner may edit a calendar is believed for so long before Microsoft Graph is asked again."""
    writer_access_refusal_ttl_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """What would lead to a refusal is believed for so long; never longer than the setting before."""
    writer_access_max_facts: Annotated[int, Field(ge=100, le=10_000_000)] = 20_000
    """Calendars' permissions that are remembered; as many owners, and as many owners' groups."""
    writer_refusal_recheck_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    """A refused entry is looked at again after so long at most, in case the right was given meanwhile."""
    writer_sweep_again_s: Annotated[float, Field(gt=0, le=3_600)] = 120.0
    """An entry that was swept and is still unsettled after so long is swept again."""
    writer_doubt_s: Annotated[float, Field(gt=0, le=3_600)] = 300.0
    """A create whose fate is not known may still arrive for so long."""
    writer_drain_s: Annotated[float, Field(ge=0, le=DRAIN_MAX_S)] = 20.0
    """At the end, and when mailboxes move to another writer, calls in flight are waited for no longer than this, then
    broken off. Kafka gives a move of mailboxes 60 s in all."""
