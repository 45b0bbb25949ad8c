"""Logs and metrics: how a line is written, and every metric's name, in one place.

Ids only: never a token, a subject line or a person's address; never a mailbox, a tenant or an item in a label. What
each metric means to whoever runs calbus is said here too, and docs/metrics.md is made from it.
"""

import logging
import sys
from importlib.metadata import version
from traceback import extract_tb

import structlog

from calbus.metric import counter, gauge, histogram
from calbus.settings import LogFormat, Settings
from schemas.events import EVENT_TYPES, Topic
from schemas.reasons import NextActor, Reason, explain
from schemas.results import Ending

VERSION = version("calbus")

_ALL = "ingest, writer, puller"
_LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400)
_WORK_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PAUSE_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_TOPICS = tuple(Topic)
_REASONS = tuple(Reason)
_DEAD = tuple(reason for reason in Reason if explain(reason).next_actor is NextActor.PUBLISHER)
# In the order in which they stand: what a call can meet.
_FAULTS = (Reason.EVENT_REJECTED, *_REASONS[_REASONS.index(Reason.THROTTLED) : _REASONS.index(Reason.WORKING)])
OPERATIONS = (
    "cancel_occurrence", "create", "create_category", "create_subscription", "delete", "delete_subscription", "delta",
    "find", "get_calendar", "instances", "list_calendars", "list_categories", "list_groups", "list_permissions",
    "list_subscriptions", "probe_calendar", "read", "read_event", "renew_subscription", "update", "update_occurrence",
)  # fmt: skip
"""What is asked of Microsoft Graph."""

# -- headlines --------------------------------------------------------------------------------------------------------

APPLY_SECONDS = histogram(
    "calbus_event_to_calendar_seconds",
    "From the event's timestamp on the bus to the calendar's acknowledgement.",
    _LATENCY_BUCKETS_S,
    by="writer",
    do="The service level for the way up. If it grows: `calbus_consumer_lag_records` (too few processes), "
    "`calbus_lanes` (mailboxes that cannot go faster), `calbus_graph_call_seconds` (Microsoft is slow).",
)
CHANGE_SECONDS = histogram(
    "calbus_outlook_to_bus_seconds",
    "From the time that Outlook says an event was last modified to Kafka's acknowledgement of what calbus tells of "
    "it. Removals are left out: nobody says when they happened.",
    _LATENCY_BUCKETS_S,
    by=_ALL,
    do="The service level for the way down. If it grows: `calbus_subscriptions` (polled instead of notified), "
    "`calbus_pull_lag_seconds` (too few pullers), `calbus_outbox_oldest_seconds` (Kafka is slow or away).",
)
APPLY_OLDEST_SECONDS = gauge(
    "calbus_oldest_unapplied_seconds",
    "For how long the entry that waits longest has owed its outcome; those left out that rest until somebody else "
    "mends an account, or wait for a confirmation.",
    by="writer",
    shared=True,
    do="Beyond minutes something is stuck that the latency histogram does not show yet: `calbus why` names the cause.",
)

# -- in and out -------------------------------------------------------------------------------------------------------

RECORDS = counter(
    "calbus_records",
    "Records read from Kafka, by topic and by what became of them.",
    {"topic": _TOPICS, "result": ("accepted", "stale", "duplicate", "dead_letter", "ignored", "unreadable")},
    by=_ALL,
    do="Many `stale` or `duplicate`: a publisher repeats itself. `dead_letter`: see `calbus_dead_letters`.",
)
CONSUMER_LAG = gauge(
    "calbus_consumer_lag_records",
    "Records of this process's partitions that are not done: unread, or in hand.",
    {"topic": _TOPICS},
    by=_ALL,
    do="Sum over processes. If it grows while nothing is away, start more of them, up to the number of partitions.",
)
CONSUMER_PARTITIONS = gauge(
    "calbus_consumer_partitions",
    "Partitions that are assigned to this process.",
    {"topic": _TOPICS},
    by=_ALL,
    do="0 on a process for long: there are more processes than partitions.",
)
INGEST_SECONDS = histogram(
    "calbus_ingest_batch_seconds",
    "From a batch of records read to planned, stored and told.",
    _WORK_BUCKETS_S,
    by="ingest",
    do="If it grows, look at PostgreSQL first: `calbus_postgres_pool_wait_seconds`.",
)
PLANS = counter(
    "calbus_plans",
    "Plans made for entries, by cause: an event, a changed setting, or a refusal that no longer holds. Each ends in "
    "exactly one outcome.",
    {"cause": ("event", "replan", "reopened")},
    by="ingest, writer",
    do="Plans = outcomes + open entries: `sum(calbus_plans_total) - sum(calbus_outcomes_total) - "
    "sum(max by (state) (calbus_entries_open))` stays as it is while no process is killed.",
)
OUTCOMES = counter(
    "calbus_outcomes",
    "Outcomes decided, by ending and reason.",
    {"ending": tuple(Ending), "reason": _REASONS},
    by="ingest, writer",
    do="`failed` and `refused` are what users miss in their calendars; the event contract says for each reason "
    "who acts.",
)
ENTRIES_OPEN = gauge(
    "calbus_entries_open",
    "Entries whose newest plan has no outcome yet, by state: due now, waiting for its time, resting until an account "
    "is mended, parked until a removal is confirmed, stranded (nothing would ever take it up).",
    {"state": ("due", "waiting", "resting", "parked", "stranded")},
    by="writer",
    shared=True,
    do="`stranded` must be 0: more is a fault of calbus. `resting`: see `calbus_accounts_troubled`.",
)
ENTRIES_OWED = gauge(
    "calbus_entries_owed",
    "Entries whose newest plan has no outcome yet, and which are due at some time: `calbus_entries_open` without "
    "those that are parked or stranded.",
    by="writer",
    shared=True,
    do="See `calbus_entries_open`.",
)
PUBLISHED = counter(
    "calbus_published_events",
    "Events that Kafka acknowledged from the outbox, by topic.",
    {"topic": _TOPICS},
    by=_ALL,
    do="Compare with `calbus_outcomes` and `calbus_changes`: the difference stands in the outbox.",
)
OUTBOX_EVENTS = gauge(
    "calbus_outbox_events",
    "Events that are decided and not yet on the bus.",
    by=_ALL,
    shared=True,
    do="Growing: Kafka is away or too slow.",
)
OUTBOX_OLDEST_SECONDS = gauge(
    "calbus_outbox_oldest_seconds",
    "Age of the oldest of them; 0 if there is none.",
    by=_ALL,
    shared=True,
    do="Beyond a minute: see `calbus_dependency_up` and the brokers.",
)
OUTBOX_SECONDS = histogram(
    "calbus_outbox_publish_seconds",
    "From an event's decision to Kafka's acknowledgement.",
    _LATENCY_BUCKETS_S,
    by=_ALL,
    do="Usually well under a second; seconds mean that nobody woke the relay or Kafka is slow.",
)
DEAD_LETTERS = counter(
    "calbus_dead_letters",
    "Messages that could not be understood, by reason.",
    {"reason": _DEAD},
    by="ingest",
    from_zero=True,
    do="Tell the publisher: the dead letter on the bus holds the reason and the original.",
)
UNPLANNABLE = counter(
    "calbus_unplannable",
    "Items whose planning ended in an error of calbus itself, by what asked for it.",
    {"cause": ("message", "replan")},
    by="ingest",
    from_zero=True,
    do="A fault of calbus: report the log line with its frames.",
)

# -- settings and removals --------------------------------------------------------------------------------------------

REPLAN_PENDING = gauge(
    "calbus_replan_pending",
    "Settings changes whose items are still being planned anew.",
    by="ingest",
    shared=True,
    do="For hours: see whether `calbus_replan_items_left` falls.",
)
REPLAN_ITEMS_LEFT = gauge(
    "calbus_replan_items_left",
    "Items that are still to be planned anew.",
    by="ingest",
    shared=True,
    do="Divide by the rate of `calbus_replanned_items` to know how long it takes.",
)
REPLANNED_ITEMS = counter(
    "calbus_replanned_items",
    "Items that were planned anew because a setting changed.",
    by="ingest",
    do="0 while re-plans are pending: ingest or PostgreSQL stands still.",
)
REMOVALS_PARKED = gauge(
    "calbus_removals_parked",
    "Entries whose removal waits for a confirmation.",
    by="ingest",
    shared=True,
    do="Look at what changed; then `calbus confirm-removals`, or undo the change.",
)
REMOVAL_BREAKERS_TRIPPED = gauge(
    "calbus_removal_breakers_tripped",
    "Mailboxes and tenants whose removals all wait for a confirmation.",
    by="ingest",
    shared=True,
    do="As for `calbus_removals_parked`.",
)

# -- Microsoft 365 ----------------------------------------------------------------------------------------------------

GRAPH_REQUESTS = counter(
    "calbus_graph_requests",
    "Requests to Microsoft Graph, by operation and status class; `none` was not answered.",
    {"operation": OPERATIONS, "status": ("1xx", "2xx", "3xx", "4xx", "5xx", "none")},
    by="writer, puller",
    do="Many `5xx` or `none`: Microsoft's service health. Many `4xx`: `calbus_graph_faults` says why.",
)
GRAPH_SECONDS = histogram(
    "calbus_graph_call_seconds",
    "Duration of HTTP calls to Microsoft Graph, by operation; `batch` are several of them in one call.",
    _WORK_BUCKETS_S,
    {"operation": ("batch", *OPERATIONS)},
    by="writer, puller",
    do="A batch takes as long as its slowest item. Growing for all: Microsoft, or the way there.",
)
GRAPH_FAULTS = counter(
    "calbus_graph_faults",
    "Faults of Graph and Entra, by reason.",
    {"reason": _FAULTS},
    by="writer, puller",
    from_zero=True,
    do="The event contract says for each reason who must act.",
)
THROTTLED_SECONDS = counter(
    "calbus_throttled_seconds",
    "Seconds that mailboxes were left alone because Microsoft asked for it, summed over mailboxes.",
    by="writer, puller",
    do="A rate of 3 means that three mailboxes rest all the time. Others are not held up. Does something else write to "
    "them with the same application?",
)
LANES = gauge(
    "calbus_lanes",
    "Mailboxes that a writer has in hand, by state: active; parked (Microsoft asked for rest); mailbox_bound (has "
    "work, and goes as fast as one mailbox may); pod_bound (could go, and waits for this process).",
    {"state": ("active", "parked", "mailbox_bound", "pod_bound")},
    by="writer",
    do="`pod_bound` for long: more writers would help. `mailbox_bound`: they would not.",
)
LANE_QUEUE = gauge(
    "calbus_lane_queue_entries",
    "Entries that wait in lanes.",
    by="writer",
    do="High with `pod_bound` lanes: start more writers.",
)
BUDGET_LEFT = gauge(
    "calbus_lane_budget_left_ratio",
    "What is left of the requests that a mailbox may have at once, 0 to 1: nine tenths of the mailboxes in hand have "
    "more. 1 if there are none.",
    by="writer",
    do="0: at least a tenth of the busy mailboxes go at Microsoft's pace. Ask what writes so much to them.",
)
JOB_SECONDS = histogram(
    "calbus_job_seconds",
    "From a job's leaving its lane to its result's being stored, by result: settled, retried (in a while), again (at "
    "once), moved (to another mailbox's lane).",
    _WORK_BUCKETS_S,
    {"result": ("settled", "retried", "again", "moved")},
    by="writer",
    do="Many `retried`: `calbus_graph_faults`. Slow ones with a quick Graph: PostgreSQL.",
)
DIRECTORIES = gauge(
    "calbus_graph_directories",
    "Directories that a token was asked for, by token: valid, expired (not needed since) or refused.",
    {"token": ("valid", "expired", "refused")},
    by="writer, puller",
    do="`refused`: `calbus_graph_faults` names the reason, the log Entra's code.",
)
TOKEN_EXPIRY_SECONDS = gauge(
    "calbus_graph_token_earliest_expiry_seconds",
    "Seconds until the first of the valid access tokens ends; 0 if there is none. Tokens are renewed six minutes "
    "before they end, when they are needed.",
    by="writer, puller",
    do="Nothing: a token of an idle directory may run out. What counts is `calbus_graph_directories`.",
)
CREDENTIAL_EXPIRY = gauge(
    "calbus_credential_expiry_timestamp_seconds",
    "When the application's credential ends, as Unix time, by kind. A certificate tells; a secret does not, so "
    "CALBUS_CLIENT_SECRET_EXPIRES_ON does. Absent if it is not known.",
    {"kind": ("certificate", "secret")},
    by="writer, puller",
    do="`(calbus_credential_expiry_timestamp_seconds - time()) / 86400` are the days left: make a new one in time.",
)
ACCESS_CHECKS = counter(
    "calbus_access_checks",
    "Checks whether an item's owner may edit the assignee's calendar, by result: granted, refused or unknown.",
    {"result": ("granted", "refused", "unknown")},
    by="writer",
    do="Many `unknown`: calbus may not read groups, or Graph is in trouble.",
)
ACCOUNTS_TROUBLED = gauge(
    "calbus_accounts_troubled",
    "Accounts, and whole tenants, that wait for somebody to act, by reason.",
    {"reason": _FAULTS},
    by="writer",
    shared=True,
    do="The reason says who: each is also published on the account-status topic.",
)
PROBES = counter(
    "calbus_probes",
    "Looks at accounts and tenants in trouble, by what they found.",
    {"result": ("works", "troubled", "unclear")},
    by="writer",
    do="Nothing, as long as there are some while accounts are in trouble.",
)
SWEPT = counter(
    "calbus_swept_entries",
    "Entries that the sweeper commanded again.",
    by="writer",
    do="Retries are swept too. High with no faults: wake-ups are lost, or writers are overtaken by their queue.",
)

# -- the way down -----------------------------------------------------------------------------------------------------

NOTIFICATIONS = counter(
    "calbus_notifications",
    "What Microsoft, or somebody else, sent to the webhook, by result; a POST that was not read counts as one.",
    {"result": ("marked", "repeated", "foreign", "wrong_secret", "unreadable", "too_large", "too_slow", "dropped")},
    by="puller",
    from_zero=True,
    do="`dropped`: more pullers, or a larger inbox. `wrong_secret`: somebody else found the address.",
)
SUBSCRIPTIONS = gauge(
    "calbus_subscriptions",
    "Mailboxes by how calbus is told of their changes: active, missing (not yet), troubled (polled) or leaving.",
    {"state": ("active", "missing", "troubled", "leaving")},
    by="puller",
    shared=True,
    do="`missing` or `troubled` for long: changes come by polling, minutes late. The log says what Microsoft said.",
)
SUBSCRIPTION_EXPIRY_SECONDS = gauge(
    "calbus_subscription_earliest_expiry_seconds",
    "Seconds until the first subscription ends; 0 if there is none.",
    by="puller",
    shared=True,
    do="They are renewed long before: if it nears 0, no puller keeps them, or Microsoft refuses.",
)
PULL_ROUNDS = counter(
    "calbus_pull_rounds",
    "Turns of calendars that are pulled, by result: ended, paused, budget, doubted, or the reason of a fault.",
    {"result": ("ended", "paused", "budget", "doubted", *_FAULTS)},
    by="puller",
    do="Many `paused` or `budget`: large calendars are read for the first time. Reasons: see the event contract.",
)
PULL_SECONDS = histogram(
    "calbus_pull_turn_seconds",
    "Duration of a calendar's turn.",
    _WORK_BUCKETS_S,
    by="puller",
    do="Long turns are first pulls; if all grow, Graph or PostgreSQL is slow.",
)
PULL_ITEMS = counter(
    "calbus_pulled_items",
    "Events and removals on pages that were made durable.",
    by="puller",
    do="Far above `calbus_changes`: calendars are read in full again and again; see the log for why.",
)
CHANGES = counter(
    "calbus_changes",
    "Changes in Outlook that were told, by type.",
    {"type": [name for name, one in EVENT_TYPES.items() if one.topic is Topic.CHANGES]},
    by="puller",
    do="A sudden flood of removals: somebody cleared calendars.",
)
PULL_CALENDARS = gauge(
    "calbus_pull_calendars",
    "Calendars that are pulled, by state: all, due, failing, first (never pulled to the end yet).",
    {"state": ("all", "due", "failing", "first")},
    by="puller",
    shared=True,
    do="`failing`: `calbus_pull_rounds` by reason. `due` that stays high: more pullers.",
)
PULL_FIRST_ITEMS = gauge(
    "calbus_pull_first_items",
    "Events read so far of calendars whose first pull is not over.",
    by="puller",
    shared=True,
    do="Rises while calendars are read for the first time.",
)
PULL_LEASED = gauge(
    "calbus_pull_mailboxes_leased",
    "Mailboxes that some puller has in hand.",
    by="puller",
    shared=True,
    do="At the pullers' total room for long: more pullers.",
)
PULL_LAG_SECONDS = gauge(
    "calbus_pull_lag_seconds",
    "For how long the calendar that waits longest has been due.",
    by="puller",
    shared=True,
    do="Minutes: more pullers, or PostgreSQL or Graph is slow.",
)

# -- the process ------------------------------------------------------------------------------------------------------

BUILD = gauge(
    "calbus_build_info",
    "1; the label says which version runs.",
    {"version": (VERSION,)},
    by=_ALL,
    do="Two versions for long: a roll-out is stuck.",
)
DEPENDENCY_UP = gauge(
    "calbus_dependency_up",
    "1 while the dependency answers, 0 while it is away.",
    {"dependency": ("postgresql", "kafka")},
    by=_ALL,
    do="0: work waits and nothing is lost. Bring the dependency back.",
)
POOL_CONNECTIONS = gauge(
    "calbus_postgres_pool_connections",
    "Connections to PostgreSQL, by state: used, idle, and max, which is the most that the process may have.",
    {"state": ("used", "idle", "max")},
    by=_ALL,
    do="`used` at `max` for long: raise CALBUS_POSTGRES_POOL_MAX_CONNECTIONS, or look for slow statements.",
)
POOL_WAIT_SECONDS = histogram(
    "calbus_postgres_pool_wait_seconds",
    "How long a connection to PostgreSQL is waited for, tried every few seconds.",
    _PAUSE_BUCKETS_S,
    by=_ALL,
    do="As for `calbus_postgres_pool_connections`.",
)
LOOP_DELAY_SECONDS = histogram(
    "calbus_event_loop_delay_seconds",
    "How late the event loop is, tried several times a second.",
    _PAUSE_BUCKETS_S,
    by=_ALL,
    do="Beyond tenths of a second: the process lacks CPU. Give it more, or start another.",
)
TRACE_SPANS = counter(
    "calbus_trace_spans",
    "Spans that ended, by what became of them: sent, refused (the collector was away, or did not want them), dropped "
    "(there was no room in the queue). Only where CALBUS_TRACES is set.",
    {"result": ("sent", "refused", "dropped")},
    by=_ALL,
    do="`refused`: the collector, or OTEL_EXPORTER_OTLP_…; the log says why. `dropped`: sample less "
    "(OTEL_TRACES_SAMPLER), or raise OTEL_BSP_MAX_QUEUE_SIZE. Calendars are not held up by either.",
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
