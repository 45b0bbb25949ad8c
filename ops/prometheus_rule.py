"""The alerts of ops/alerts as a PrometheusRule of the Prometheus Operator: `make manifests`, after a change of them.

One source: Prometheus reads the files themselves, Kubernetes what is written from them here. Where their runbooks are
for those who are woken is said once, `--runbooks https://…`, and stands in each then.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "ops" / "alerts"
RULE = ROOT / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"
RUNBOOKS = "docs/runbooks/"
HEADER = "# Written by `make manifests` from ops/alerts/*.yml: change these.\n"


def rule_of(alerts: Path) -> str:
    """The manifest with the groups of every file in `alerts`, in the order of their names; of none, without groups.

    Raises ValueError for a file that is no rule file, or a group whose name another one has: the operator refuses both.
    """
    groups: dict[str, Any] = {}
    for file in sorted(alerts.glob("*.yml")):
        content = yaml.safe_load(file.read_text()) or {}
        if set(content) != {"groups"}:
            raise ValueError(f"{file.name} is no file of rules: it must have groups, and nothing else")
        for group in content["groups"] or []:
            if group["name"] in groups:
                raise ValueError(f"{file.name}: there is another group {group['name']}")
            groups[group["name"]] = group
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "calbus"},
        "spec": {"groups": list(groups.values())},
    }
    dumped: str = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=1_000)
    return HEADER + dumped


def with_base(text: str, base: str) -> str:
    """Rules, or tests of rules, whose runbooks are below `base`: an address that `docs/runbooks/` follows.

    Raises ValueError for what is no address of http or https.
    """
    if not re.fullmatch(r"https?://[^\s'\"#?{}]+", base):
        raise ValueError(f"{base} is no address that runbooks can be at")
    return re.sub(rf"(?<=runbook_url: )\S*?(?={RUNBOOKS})", lambda _: base.rstrip("/") + "/", text)


def main(alerts: Path = ALERTS, rule: Path = RULE) -> None:
    """Write the manifest; with `--runbooks`, the alerts and their tests first."""
    parser = argparse.ArgumentParser(prog="ops.prometheus_rule", description="Write the PrometheusRule of k8s/.")
    parser.add_argument("--runbooks", metavar="URL", help=f"where {RUNBOOKS} is, for whoever reads an alert")
    given = parser.parse_args()
    if given.runbooks:
        for file in [*alerts.glob("*.yml"), *alerts.glob("tests/*.yml")]:
            file.write_text(with_base(file.read_text(), given.runbooks))
    rule.write_text(rule_of(alerts))


if __name__ == "__main__":
    main()
