"""Dashboards, alerts, runbooks and the manual of metrics say the same as the programs; PromQL itself is promtool's."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

import calbus.telemetry
from calbus import metrics_doc
from calbus.cli import commands
from calbus.metric import CATALOGUE
from ops import dashboards, prometheus_rule

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "ops" / "alerts" / "calbus.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"
GROUPS: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
ALERTING = {rule["alert"]: rule for rule in RULES if "alert" in rule}
# Prometheus' own, its client library's, and cAdvisor's.
FOREIGN = {
    "up",
    "ALERTS",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "container_cpu_cfs_throttled_periods_total",
}
# What Prometheus adds when it reads a process, and what it makes of histograms.
ADDED_LABELS = {"job", "service", "instance", "le"}
# Of an address that operators set: an alert is read where this repository is not at hand.
BASE = "https://example.org/calbus"
EXPOSED = {name: one for one in CATALOGUE.values() for name in one.exposed_as}

_METRIC = re.compile(r"\b(calbus[_:][A-Za-z0-9_:]+)\b")
_SELECTOR = re.compile(r"\b(calbus_[a-z_]+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
_SETTING = re.compile(r"CALBUS_[A-Z0-9_]+")


def expressions() -> dict[str, str]:
    """Every PromQL expression, by where it stands."""
    found = {
        f"{one.name}: {panel.title}: {query.legend}": query.expr
        for one in dashboards.ALL
        for panel in one.panels
        for query in panel.queries
    }
    return found | RECORDED | {name: rule["expr"] for name, rule in ALERTING.items()}


EXPRESSIONS = expressions()


def test_the_dashboards_are_those_that_the_code_makes() -> None:
    stale = [path.name for path, text in dashboards.documents().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make ops`"
    made = {path.name for path in dashboards.documents()}
    assert {path.name for path in dashboards.FOLDER.glob("*.json")} == made


def test_the_page_of_metrics_is_what_the_metrics_say() -> None:
    page = metrics_doc.PAGE.read_text(encoding="utf-8")
    assert metrics_doc.with_tables(page) == page, "run `make ops`"
    assert all(f"### `{one.exposed_as[0].removesuffix('_bucket')}`" in page for one in CATALOGUE.values())


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_an_expression_names_what_there_is(where: str) -> None:
    expr = EXPRESSIONS[where]
    unknown = {name for name in _METRIC.findall(expr) if name not in EXPOSED and name not in RECORDED}
    assert unknown == set()
    assert _METRIC.search(expr) or any(re.search(rf"\b{name}\b", expr) for name in FOREIGN)
    for metric, matchers in _SELECTOR.findall(expr):
        labels = EXPOSED[metric].labels
        for label, operator, value in _MATCHER.findall(matchers):
            if label in ADDED_LABELS:
                continue
            assert label in labels, f"{metric} has no label {label}"
            if operator in ("=", "!="):
                assert value in labels[label], f"{metric}: {label} is never {value}"
            else:
                assert any(re.fullmatch(value, one) for one in labels[label]), f"{metric}: {label} is never {value}"


def test_a_service_level_is_one_of_its_histograms_bounds() -> None:
    for metric, said in (("calbus_event_to_calendar_seconds", "30.0"), ("calbus_outlook_to_bus_seconds", "300.0")):
        asked = {
            value for expr in EXPRESSIONS.values() for value in re.findall(rf'{metric}_bucket{{le="([^"]+)"', expr)
        }
        assert asked == {said}
        assert float(said) in calbus.telemetry._LATENCY_BUCKETS_S


def test_a_gauge_that_every_process_shows_is_never_summed_over_them() -> None:
    shared = [one.name for one in CATALOGUE.values() if one.shared]
    for where, expr in EXPRESSIONS.items():
        for name in shared:
            for found in re.finditer(rf"(\w+(?: by \([^)]*\))?) ?\((?:\w+\()?{name}\b", expr):
                assert found[1].startswith(("max", "deriv")), f"{where}: {found[0]}"


@pytest.mark.parametrize("name", ALERTING)
def test_an_alert_is_complete(name: str) -> None:
    rule = ALERTING[name]
    assert name.startswith("Calbus")
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook_url"] == f"{BASE}/docs/runbooks/{name}.md"
    runbook = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert runbook.startswith(f"# {name}\n\nSeverity: {rule['labels']['severity']}.")
    assert re.findall(r"^## (.*)$", runbook, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mending"]
    assert "\n    " in runbook, "a diagnosis needs something to type"
    tests = yaml.safe_load((ALERTS.parent / "tests" / f"{name}.yml").read_text())["tests"]
    expected = [bool(one["exp_alerts"]) for test in tests for one in test["alert_rule_test"]]
    assert expected == [True, False], "one that fires, and one that stays quiet"


@pytest.mark.parametrize("base", ["https://wiki.example.org/a/b", "http://localhost:8000/"])
def test_the_address_of_the_runbooks_is_set_in_one_place(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts, rule = tmp_path / "alerts", tmp_path / "rule.yaml"
    shutil.copytree(ALERTS.parent, alerts)
    for _ in range(2):  # also where another address was set before
        monkeypatch.setattr(sys, "argv", ["ops.prometheus_rule", "--runbooks", base])
        prometheus_rule.main(alerts, rule)
    for file in (rule, *alerts.glob("*.yml"), *alerts.glob("tests/*.yml")):
        before = ROOT / "ops" / file.relative_to(tmp_path) if file != rule else prometheus_rule.RULE
        expected = before.read_text().replace(f"{BASE}/docs", f"{base.rstrip('/')}/docs")
        assert file.read_text() == expected
        assert BASE not in file.read_text()


@pytest.mark.parametrize("base", ["docs", "ftp://x", "https://a b", "https://x/'"])
def test_what_is_no_address_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        prometheus_rule.with_base("runbook_url: docs/runbooks/X.md", base)


def test_every_runbook_and_test_has_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*ALERTING, "README"}
    assert {path.stem for path in (ALERTS.parent / "tests").glob("*.yml")} == set(ALERTING)


@pytest.mark.parametrize(
    "page",
    [*sorted(RUNBOOKS.glob("*.md")), ROOT / "docs/metrics.md", ROOT / "docs/logs.md"],
    ids=lambda page: page.stem,
)
def test_a_page_names_metrics_settings_and_pages_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = {*EXPOSED, *CATALOGUE, *RECORDED, "calbus_letter"}
    assert {name for name in _METRIC.findall(text) if name not in known} == set()
    settings = {f"CALBUS_{name.upper()}" for command in commands() for name in command.settings.model_fields}
    assert {name for name in _SETTING.findall(text) if name not in settings} == set()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / link).exists(), link


def test_a_dashboard_can_be_loaded_by_grafana() -> None:
    for path in dashboards.documents():
        loaded = orjson.loads(path.read_bytes())
        assert loaded["uid"] == f"calbus-{path.stem}"
        ids = [panel["id"] for panel in loaded["panels"]]
        assert len(ids) == len(set(ids))
        for panel in loaded["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= dashboards.COLUMNS
            assert panel["type"] == "text" or panel["targets"]
