"""What the puller reads from the environment."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from calbus.settings import AdminSettings, GraphSettings, KafkaSettings, PostgresSettings, TraceSettings
from services.puller.subscription_settings import SubscriptionSettings

WINDOW_MAX_DAYS = 1_800
"""Both ends of the window together; Microsoft Graph reads at most 1,825 days."""


class PullerSettings(
    KafkaSettings, PostgresSettings, GraphSettings, SubscriptionSettings, AdminSettings, TraceSettings
):
    """Settings of the puller service."""

    puller_member: str | None = None
    """A name of this process that outlives it (in Kubernetes the pod's name): a restart then moves no partitions."""
    puller_session_timeout_ms: Annotated[int, Field(ge=1_000, le=1_800_000)] = 30_000
    """A process that is not heard of for so long leaves the reading of requests to the others."""
    puller_max_mailboxes: Annotated[int, Field(ge=1, le=256)] = 32
    """Mailboxes that one process pulls at a time, each with one request in flight."""
    puller_lane_max_requests_per_10_min: Annotated[int, Field(ge=20, le=10_000)] = 1_000
    """Requests to one mailbox in any ten minutes. With the writer's they must stay under Microsoft's 10,000."""
    puller_page_items: Annotated[int, Field(ge=1, le=1_000)] = 200
    """Events that a page of a round should have; Microsoft Graph may send fewer."""
    puller_turn_max_pages: Annotated[int, Field(ge=1, le=10_000)] = 50
    """After so many pages a mailbox makes room for others; its round goes on where it stopped."""
    puller_round_max_pages: Annotated[int, Field(ge=10, le=1_000_000)] = 20_000
    """A round with more pages than that goes in a circle: it is begun anew."""
    puller_lease_s: Annotated[float, Field(ge=1, le=3_600)] = 60.0
    """A process that is not heard of for so long loses its mailboxes to the others."""
    puller_look_interval_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    """How often is looked for calendars that are due."""
    puller_settings_interval_s: Annotated[float, Field(gt=0, le=3_600)] = 10.0
    """How often is looked which calendars the accounts' settings want pulled."""
    puller_busy_interval_s: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    """A calendar that was just seen to change is pulled again after so long."""
    puller_idle_interval_s: Annotated[float, Field(gt=0, le=86_400)] = 1_800.0
    """While nothing changes the wait doubles, up to so long."""
    puller_back_days: Annotated[int, Field(ge=0, le=1_400)] = 30
    """Appointments are told from so many days back."""
    puller_ahead_days: Annotated[int, Field(ge=1, le=1_400)] = 180
    """Appointments are told up to so many days ahead."""

    @model_validator(mode="after")
    def _window_that_graph_reads(self) -> Self:
        if self.puller_back_days + self.puller_ahead_days > WINDOW_MAX_DAYS:
            raise ValueError(
                "CALBUS_PULLER_BACK_DAYS and CALBUS_PULLER_AHEAD_DAYS are more than "
                f"{WINDOW_MAX_DAYS} days together, which Microsoft Graph does not read."
            )
        return self

    puller_roll_s: Annotated[float, Field(ge=1, le=604_800)] = 86_400.0
    """How often the window moves on, which takes a full round."""
    puller_retry_first_s: Annotated[float, Field(gt=0, le=600)] = 5.0
    """Wait after a passing fault; doubled each time."""
    puller_retry_max_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    """The longest such wait."""
    puller_confirm_s: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    """What an administrator or the user must mend is met once more, after so long, before it is told."""
    puller_reprobe_first_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Wait where somebody else must act first (an administrator, say); doubled each time."""
    puller_reprobe_max_s: Annotated[float, Field(gt=0, le=86_400)] = 3_600.0
    """The longest such wait."""
    puller_later_s: Annotated[float, Field(gt=0, le=3_600)] = 3.0
    """What cannot be told while a write of ours is under way is read again after so long; doubled each time."""
    puller_well_filled_events: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """A calendar of so many events is not believed to be empty all at once: it is read again first."""
    puller_empty_rounds: Annotated[int, Field(ge=1, le=100)] = 3
    """It is believed when so many full rounds have shown nothing."""
    puller_drain_s: Annotated[float, Field(ge=0, le=300)] = 10.0
    """At the end, requests in flight are waited for no longer than this."""
