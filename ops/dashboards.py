"""Grafana's dashboards, as code: `python -m ops.dashboards` writes ops/grafana/*.json, `--check` only compares.

A panel says what a person wants to know; where to look next stands in its description.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "grafana"
RATE = "$__rate_interval"
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """`legend`: Grafana's template of a line's name. `empty_while`: when there is rightly nothing to show."""

    expr: str
    legend: str = ""
    empty_while: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """`kind` is Grafana's type of panel; `unit` Grafana's name of a unit."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    says: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`name` is the file's, and part of the address in Grafana."""

    name: str
    title: str
    panels: tuple[Panel, ...]


def q(expr: str, legend: str = "", *, empty_while: str = "") -> Query:
    """A query; RATE stands for Grafana's interval."""
    return Query(expr.replace("[RATE]", f"[{RATE}]"), legend, empty_while)


def quantiles(metric: str, by: str = "", *, empty_while: str = "") -> tuple[Query, ...]:
    """The median, and what one in twenty and one in a hundred exceed."""
    group, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return tuple(
        q(
            f"histogram_quantile({share}, sum by ({group}) (rate({metric}_bucket[RATE])))",
            f"p{share[2:]:0<2}{legend}",
            empty_while=empty_while,
        )
        for share in ("0.5", "0.95", "0.99")
    )


def within(metric: str, seconds: str) -> str:
    """The share that took no longer."""
    return f'sum(rate({metric}_bucket{{le="{seconds}"}}[1h])) / sum(rate({metric}_count[1h]))'


NO_FAULTS = "Microsoft answers every request"
NO_CHANGES = "nobody changes anything in Outlook"

OVERVIEW = Dashboard(
    "overview",
    "calbus / Overview",
    (
        Panel(
            "Within 30 s in the calendar, of the last hour",
            (q(within("calbus_event_to_calendar_seconds", "30.0")),),
            "percentunit",
            "stat",
            6,
            "The service level: 99 %.",
        ),
        Panel(
            "Within 5 min from Outlook, of the last hour",
            (q(within("calbus_outlook_to_bus_seconds", "300.0"), empty_while=NO_CHANGES),),
            "percentunit",
            "stat",
            6,
            "The service level: 95 %.",
        ),
        Panel("Waits longest", (q("max(calbus_oldest_unapplied_seconds)"),), "s", "stat", 4),
        Panel("Dependencies away", (q("count(calbus_dependency_up == 0) or vector(0)"),), "short", "stat", 4),
        Panel(
            "Alerts that fire",
            (q('count(ALERTS{alertstate="firing", alertname=~"Calbus.*"}) or vector(0)'),),
            "short",
            "stat",
            4,
        ),
        Panel(
            "Event to calendar",
            quantiles("calbus_event_to_calendar_seconds"),
            "s",
            width=12,
            says="From publication to the calendar's acknowledgement. Next: Ingest, then Writer.",
        ),
        Panel(
            "Outlook to bus",
            quantiles("calbus_outlook_to_bus_seconds", empty_while=NO_CHANGES),
            "s",
            width=12,
            says="From the change in Outlook to its publication. Next: Puller.",
        ),
        Panel(
            "Records in",
            (q("sum by (topic, result) (rate(calbus_records_total[RATE]))", "{{topic}} {{result}}"),),
            "cps",
        ),
        Panel("Outcomes out", (q("sum by (ending) (rate(calbus_outcomes_total[RATE]))", "{{ending}}"),), "cps"),
        Panel(
            "Changes told",
            (q("sum by (type) (rate(calbus_changes_total[RATE]))", "{{type}}", empty_while=NO_CHANGES),),
            "cps",
        ),
        Panel(
            "Entries without an outcome yet",
            (q("max by (state) (calbus_entries_open)", "{{state}}"),),
            says="`stranded` must be 0.",
        ),
        Panel(
            "Planned = ended + open",
            (
                q("sum(calbus_plans_total)", "planned"),
                q("sum(calbus_outcomes_total)", "ended"),
                q("sum(max by (state) (calbus_entries_open))", "open"),
                q(
                    "sum(calbus_plans_total) - sum(calbus_outcomes_total) - sum(max by (state) (calbus_entries_open))",
                    "difference",
                ),
            ),
            says="The difference moves when a process is killed (its counters begin anew), and at no other time for "
            "longer than the gauge's 15 s.",
        ),
        Panel("Lag", (q("sum by (topic) (calbus_consumer_lag_records)", "{{topic}}"),)),
        Panel(
            "Processes",
            (
                q('count by (service) (up{job=~".*calbus"} == 1)', "{{service}}"),
                q("count by (version) (calbus_build_info)", "version {{version}}"),
            ),
        ),
        Panel(
            "Event loop, p99",
            (
                q(
                    "histogram_quantile(0.99, sum by (le, service) "
                    "(rate(calbus_event_loop_delay_seconds_bucket[RATE])))",
                    "{{service}}",
                ),
            ),
            "s",
        ),
        Panel("Dependencies", (q("min by (dependency) (calbus_dependency_up)", "{{dependency}}"),)),
    ),
)

INGEST = Dashboard(
    "ingest",
    "calbus / Ingest",
    (
        Panel(
            "Records by result",
            (q('sum by (result) (rate(calbus_records_total{topic!="commands.v1"}[RATE]))', "{{result}}"),),
            "cps",
        ),
        Panel(
            "Lag",
            (q('sum by (topic) (calbus_consumer_lag_records{topic!="commands.v1"})', "{{topic}}"),),
            says="Growing: more ingest processes, up to the partitions, or a slow PostgreSQL.",
        ),
        Panel("Batch", quantiles("calbus_ingest_batch_seconds"), "s"),
        Panel("Plans by cause", (q("sum by (cause) (rate(calbus_plans_total[RATE]))", "{{cause}}"),), "cps"),
        Panel(
            "Dead letters by reason",
            (
                q(
                    "sum by (reason) (increase(calbus_dead_letters_total[1h]))",
                    "{{reason}}",
                    empty_while="every message is understood",
                ),
            ),
            says="Of the last hour.",
        ),
        Panel(
            "Unplannable",
            (
                q(
                    "sum by (cause) (increase(calbus_unplannable_total[1h]))",
                    "{{cause}}",
                    empty_while="calbus has no fault of its own",
                ),
            ),
        ),
        Panel(
            "Re-plans", (q("max(calbus_replan_pending)", "pending"), q("max(calbus_replan_items_left)", "items left"))
        ),
        Panel("Items planned anew", (q("sum(rate(calbus_replanned_items_total[RATE]))", "items"),), "cps"),
        Panel(
            "Removals that wait",
            (
                q("max(calbus_removals_parked)", "entries"),
                q("max(calbus_removal_breakers_tripped)", "breakers tripped"),
            ),
        ),
        Panel("Outbox", (q("max(calbus_outbox_events)", "events"),)),
        Panel("Outbox, oldest", (q("max(calbus_outbox_oldest_seconds)", "age"),), "s"),
        Panel("Decided to published", quantiles("calbus_outbox_publish_seconds"), "s"),
        Panel("Published", (q("sum by (topic) (rate(calbus_published_events_total[RATE]))", "{{topic}}"),), "cps"),
        Panel(
            "Connections to PostgreSQL",
            (q("sum by (service, state) (calbus_postgres_pool_connections)", "{{service}} {{state}}"),),
        ),
        Panel("Wait for a connection", quantiles("calbus_postgres_pool_wait_seconds", "service"), "s"),
    ),
)

WRITER = Dashboard(
    "writer",
    "calbus / Writer",
    (
        Panel(
            "Lanes",
            (q("sum by (state) (calbus_lanes)", "{{state}}"),),
            width=12,
            says="`pod_bound` for long: more writers help. `mailbox_bound`: they do not.",
        ),
        Panel("Entries in lanes", (q("sum(calbus_lane_queue_entries)", "entries"),), width=6),
        Panel(
            "Budget left, lowest decile", (q("min(calbus_lane_budget_left_ratio)", "share"),), "percentunit", width=6
        ),
        Panel("Jobs by result", (q("sum by (result) (rate(calbus_job_seconds_count[RATE]))", "{{result}}"),), "cps"),
        Panel("Job", quantiles("calbus_job_seconds"), "s"),
        Panel("Lag of wake-ups", (q('sum(calbus_consumer_lag_records{topic="commands.v1"})', "records"),)),
        Panel(
            "Requests by status",
            (q("sum by (status) (rate(calbus_graph_requests_total[RATE]))", "{{status}}"),),
            "reqps",
        ),
        Panel(
            "Requests by operation",
            (q("sum by (operation) (rate(calbus_graph_requests_total[RATE]))", "{{operation}}"),),
            "reqps",
        ),
        Panel(
            "Calls to Graph: one in twenty takes longer",
            (
                q(
                    "histogram_quantile(0.95, sum by (le, operation) (rate(calbus_graph_call_seconds_bucket[RATE])))",
                    "{{operation}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Faults by reason",
            (q("sum by (reason) (rate(calbus_graph_faults_total[RATE]))", "{{reason}}", empty_while=NO_FAULTS),),
            "cps",
        ),
        Panel(
            "Mailboxes at rest because Microsoft asked",
            (q("sum(rate(calbus_throttled_seconds_total[RATE]))", "mailboxes"),),
        ),
        Panel(
            "Outcomes by reason",
            (q("sum by (ending, reason) (rate(calbus_outcomes_total[RATE]))", "{{ending}} {{reason}}"),),
            "cps",
        ),
        Panel("Swept", (q("sum(rate(calbus_swept_entries_total[RATE]))", "entries"),), "cps"),
        Panel(
            "Directories by token",
            (
                q("sum by (token) (calbus_graph_directories)", "{{token}}"),
                q(
                    "min(calbus_graph_token_earliest_expiry_seconds > 0) / 60",
                    "minutes left of the first",
                    empty_while="no token was needed yet",
                ),
            ),
        ),
        Panel(
            "Days until the credential ends",
            (
                q(
                    "min by (kind) (calbus_credential_expiry_timestamp_seconds - time()) / 86400",
                    "{{kind}}",
                    empty_while="a secret is used and CALBUS_CLIENT_SECRET_EXPIRES_ON is not set",
                ),
            ),
            "d",
        ),
        Panel(
            "Access checks",
            (
                q(
                    "sum by (result) (rate(calbus_access_checks_total[RATE]))",
                    "{{result}}",
                    empty_while="nobody assigns items to others",
                ),
            ),
            "cps",
        ),
        Panel(
            "Processor",
            (
                q(
                    'sum by (service, instance) (rate(process_cpu_seconds_total{job=~".*calbus"}[RATE]))',
                    "{{service}} {{instance}}",
                ),
            ),
            "percentunit",
        ),
        Panel("Memory", (q('process_resident_memory_bytes{job=~".*calbus"}', "{{service}} {{instance}}"),), "bytes"),
    ),
)

PULLER = Dashboard(
    "puller",
    "calbus / Puller",
    (
        Panel("Outlook to bus", quantiles("calbus_outlook_to_bus_seconds", empty_while=NO_CHANGES), "s"),
        Panel(
            "Changes told",
            (q("sum by (type) (rate(calbus_changes_total[RATE]))", "{{type}}", empty_while=NO_CHANGES),),
            "cps",
        ),
        Panel("Calendars", (q("max by (state) (calbus_pull_calendars)", "{{state}}"),)),
        Panel("Waits longest to be pulled", (q("max(calbus_pull_lag_seconds)", "calendar"),), "s"),
        Panel("Mailboxes in hand", (q("max(calbus_pull_mailboxes_leased)", "leased"),)),
        Panel("Turns by result", (q("sum by (result) (rate(calbus_pull_rounds_total[RATE]))", "{{result}}"),), "cps"),
        Panel("Turn", quantiles("calbus_pull_turn_seconds"), "s"),
        Panel(
            "Items read",
            (
                q("sum(rate(calbus_pulled_items_total[RATE]))", "items"),
                q("max(calbus_pull_first_items)", "in first pulls so far"),
            ),
        ),
        Panel("Subscriptions", (q("max by (state) (calbus_subscriptions)", "{{state}}"),)),
        Panel("First subscription ends in", (q("max(calbus_subscription_earliest_expiry_seconds)", "seconds"),), "s"),
        Panel(
            "Notifications",
            (
                q(
                    "sum by (result) (rate(calbus_notifications_total[RATE]))",
                    "{{result}}",
                    empty_while="Microsoft tells of nothing: CALBUS_PULLER_PUBLIC_URL is not set, or nothing changes",
                ),
            ),
            "cps",
        ),
        Panel(
            "Requests to calbus",
            (
                q(
                    'sum by (result) (rate(calbus_records_total{topic="requests.v1"}[RATE]))',
                    "{{result}}",
                    empty_while="nobody asks for a pull",
                ),
            ),
            "cps",
        ),
    ),
)

TENANT = Dashboard(
    "tenant",
    "calbus / Tenants",
    (
        Panel(
            "One tenant, one user, one item",
            (),
            kind="text",
            width=24,
            text="Metrics name no tenant. For one of them: `calbus why ITEM` says why an item is or is not in a "
            "calendar; `calbus pull USER` pulls its calendars now and tells how far it is; the topic "
            "`account-status.v1` holds who must act for which account; log lines bear `tenant`, `entry_id` and "
            "`correlation` (docs/logs.md).",
        ),
        Panel(
            "Accounts and tenants in trouble",
            (q("max by (reason) (calbus_accounts_troubled) > 0", "{{reason}}", empty_while="every account works"),),
            width=12,
            says="The reason says who must act.",
        ),
        Panel(
            "Looks at them",
            (q("sum by (result) (rate(calbus_probes_total[RATE]))", "{{result}}", empty_while="every account works"),),
            "cps",
            width=12,
        ),
        Panel(
            "Refused, by reason",
            (
                q(
                    'sum by (reason) (increase(calbus_outcomes_total{ending="refused"}[1h]))',
                    "{{reason}}",
                    empty_while="nobody is refused",
                ),
            ),
            says="Of the last hour.",
        ),
        Panel(
            "Failed, by reason",
            (
                q(
                    'sum by (reason) (increase(calbus_outcomes_total{ending="failed"}[1h]))',
                    "{{reason}}",
                    empty_while="nothing fails",
                ),
            ),
            says="Of the last hour.",
        ),
        Panel(
            "Withdrawn, by reason",
            (
                q(
                    'sum by (reason) (increase(calbus_outcomes_total{ending="withdrawn"}[1h]))',
                    "{{reason}}",
                    empty_while="nothing is withdrawn",
                ),
            ),
            says="Of the last hour.",
        ),
        Panel(
            "Dead letters, by reason",
            (
                q(
                    "sum by (reason) (increase(calbus_dead_letters_total[1h]))",
                    "{{reason}}",
                    empty_while="every message is understood",
                ),
            ),
            says="Of the last hour.",
        ),
        Panel(
            "Removals that wait for a confirmation",
            (q("max(calbus_removals_parked)", "entries"),),
            says="`calbus confirm-removals TENANT` shows whose.",
        ),
        Panel(
            "Re-plans", (q("max(calbus_replan_pending)", "settings"), q("max(calbus_replan_items_left)", "items left"))
        ),
    ),
)

ALL = (OVERVIEW, INGEST, WRITER, PULLER, TENANT)


def grafana(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard in Grafana's own form."""
    panels: list[dict[str, Any]] = []
    x = y = row_height = 0
    for number, panel in enumerate(dashboard.panels, start=1):
        height = 4 if panel.kind in ("stat", "text") else 8
        if x + panel.width > COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        panels.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": height}))
        x, row_height = x + panel.width, max(row_height, height)
    return {
        "uid": f"calbus-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["calbus"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}]
        },
        "links": [{"type": "dashboards", "tags": ["calbus"], "title": "calbus", "asDropdown": True}],
        "panels": panels,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    made: dict[str, Any] = {"id": number, "type": panel.kind, "title": panel.title, "gridPos": place}
    if panel.kind == "text":
        return made | {"options": {"mode": "markdown", "content": panel.text}}
    empty = [f"Empty while {query.empty_while}." for query in panel.queries if query.empty_while]
    return made | {
        "description": " ".join(filter(None, (panel.says, *dict.fromkeys(empty)))),
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or panel.title,
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def documents() -> dict[Path, str]:
    """Every file and what should be in it."""
    return {FOLDER / f"{one.name}.json": json.dumps(grafana(one), indent=2, ensure_ascii=False) + "\n" for one in ALL}


def main() -> None:
    """Bring the files up to date; with --check change nothing, and exit with 1 if one is not."""
    parser = argparse.ArgumentParser(prog="python -m ops.dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file is out of date")
    wanted = documents()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if parser.parse_args().check:
        if stale:
            sys.exit(f"Out of date, run `make ops`: {', '.join(path.name for path in stale)}")
        return
    FOLDER.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")


if __name__ == "__main__":
    main()
