"""Logs and metrics: how a line is written, and every metric's name, in one place.

Ids only: never a token, a subject line or a person's address; never a mailbox or an item in a label.
"""

import logging
import sys
from traceback import extract_tb

import structlog
from prometheus_client import Counter, Gauge, Histogram

from calbus.settings import LogFormat, Settings

_LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400)

RECORDS = Counter(
    "calbus_records", "Records read from Kafka, by topic and by what became of them.", ["topic", "result"]
)
OUTCOMES = Counter("calbus_outcomes", "Outcomes decided, by ending and reason.", ["ending", "reason"])
DEAD_LETTERS = Counter("calbus_dead_letters", "Messages that could not be understood, by reason.", ["reason"])
UNPLANNABLE = Counter(
    "calbus_unplannable", "Items whose planning ended in an error of calbus itself, by what asked for it.", ["cause"]
)
ENTRIES_OWED = Gauge("calbus_entries_owed", "Entries whose newest plan has no outcome yet.")
REPLAN_PENDING = Gauge("calbus_replan_pending", "Settings changes whose items are still being planned anew.")
REPLAN_ITEMS_LEFT = Gauge("calbus_replan_items_left", "Items that are still to be planned anew.")
REPLANNED_ITEMS = Counter("calbus_replanned_items", "Items that were planned anew because a setting changed.")
REMOVALS_PARKED = Gauge("calbus_removals_parked", "Entries whose removal waits for a confirmation.")
REMOVAL_BREAKERS_TRIPPED = Gauge(
    "calbus_removal_breakers_tripped", "Mailboxes and tenants whose removals all wait for a confirmation."
)
DEPENDENCY_UP = Gauge("calbus_dependency_up", "1 while the dependency answers, 0 while it is away.", ["dependency"])
GRAPH_REQUESTS = Counter(
    "calbus_graph_requests",
    "Requests to Microsoft Graph, by operation and status class.",
    ["operation", "status"],
)
GRAPH_SECONDS = Histogram(
    "calbus_graph_call_seconds", "Duration of HTTP calls to Microsoft Graph, single or batch.", ["kind"]
)
GRAPH_FAULTS = Counter("calbus_graph_faults", "Faults of Graph and Entra, by reason.", ["reason"])
ACCESS_CHECKS = Counter(
    "calbus_access_checks",
    "Checks whether an item's owner may edit the assignee's calendar, by result: granted, refused or unknown.",
    ["result"],
)
LANES = Gauge("calbus_lanes", "Mailboxes that a writer has in hand, by state.", ["state"])
LANE_QUEUE = Gauge("calbus_lane_queue_entries", "Entries that wait in lanes.")
ACCOUNTS_TROUBLED = Gauge(
    "calbus_accounts_troubled", "Accounts, and whole tenants, that wait for somebody to act, by reason.", ["reason"]
)
PROBES = Counter("calbus_probes", "Looks at accounts and tenants in trouble, by what they found.", ["result"])
SWEPT = Counter("calbus_swept_entries", "Entries that the sweeper commanded again.")
NOTIFICATIONS = Counter(
    "calbus_notifications",
    "What Microsoft, or somebody else, sent to the webhook, by result: marked, repeated, foreign, wrong_secret, "
    "unreadable, too_large, too_slow, dropped; a POST that was not read counts as one.",
    ["result"],
)
SUBSCRIPTIONS = Gauge(
    "calbus_subscriptions",
    "Mailboxes by how calbus is told of their changes: active, missing (not yet), troubled (polled) or leaving.",
    ["state"],
)
SUBSCRIPTION_EXPIRY_SECONDS = Gauge(
    "calbus_subscription_earliest_expiry_seconds", "Seconds until the first subscription ends; 0 if there is none."
)
PULL_ROUNDS = Counter(
    "calbus_pull_rounds",
    "Turns of calendars that are pulled, by result: ended, paused, budget, doubted, or the reason of a fault.",
    ["result"],
)
PULL_ITEMS = Counter("calbus_pulled_items", "Events and removals on pages that were made durable.")
CHANGES = Counter("calbus_changes", "Changes in Outlook that were told, by type.", ["type"])
PULL_CALENDARS = Gauge(
    "calbus_pull_calendars",
    "Calendars that are pulled, by state: all, due, failing, first (never pulled to the end yet).",
    ["state"],
)
PULL_FIRST_ITEMS = Gauge("calbus_pull_first_items", "Events read so far of calendars whose first pull is not over.")
PULL_LEASED = Gauge("calbus_pull_mailboxes_leased", "Mailboxes that some puller has in hand.")
PULL_LAG_SECONDS = Gauge("calbus_pull_lag_seconds", "For how long the calendar that waits longest has been due.")
APPLY_SECONDS = Histogram(
    "calbus_event_to_calendar_seconds",
    "From the event's timestamp on the bus to the calendar's acknowledgement.",
    buckets=_LATENCY_BUCKETS_S,
)


def configure_logging(settings: Settings) -> None:
    """Send structlog and the standard library's log through one renderer to stderr, at the set level."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if settings.log_format is LogFormat.JSON:
        # Never the frames' local variables: among them are tokens, subjects and addresses.
        without_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        shared.append(structlog.processors.ExceptionRenderer(without_locals))
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # aiokafka reports every refused connection attempt; `calbus_dependency_up` and our own line say it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def frames_of(error: BaseException) -> list[str]:
    """Where an error came from, outermost first, without its words: those may quote what is never logged."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]


log: structlog.stdlib.BoundLogger = structlog.get_logger("calbus")
