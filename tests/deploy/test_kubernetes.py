"""The manifests: valid to Kubernetes, and naming nothing that the programs do not have."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import aiohttp
import jsonschema
import kubernetes_validate
import pytest
import yaml

from calbus.admin import Pulse, admin_server
from calbus.bus.kafka import STOP_TIMEOUT_S, topic_name
from calbus.graph.subscriptions import LIFECYCLE_PATH, NOTIFICATIONS_PATH
from calbus.settings import AdminSettings, GraphSettings, KafkaSettings, PostgresSettings
from ops.prometheus_rule import ALERTS, RULE, rule_of
from schemas.events import Topic
from services.writer.__main__ import GROUP
from services.writer.dispatcher import COMMIT_TIMEOUT_S
from simulator.server import Settings as SimulatorSettings
from simulator.server import serve
from tests.deploy import cluster
from tests.deploy.cluster import K8S, POD_NAME, Manifest, Pod, environment, of_calbus, of_kind, pods, selects
from tests.deploy.programs import ROOT, calbus_variables, image_environment, known, program_of, programs, read

CRDS = Path(__file__).with_name("crds")
# The engines of the overlay `dev`, which are no programs of ours.
ENGINES = {"kafka", "postgres", "simulator"}
OVERLAYS = ("dev", "production")


@pytest.fixture(params=[*OVERLAYS, "hpa", "traces"])
def manifests(request: pytest.FixtureRequest, tmp_path: Path) -> list[Manifest]:
    """Each overlay, and the base with each of the components that none of them has."""
    if request.param not in OVERLAYS:
        return [*cluster.with_component(tmp_path, request.param), *secrets()]
    rendered = cluster.kustomize(K8S / "overlays" / request.param)
    return [*rendered, *(secrets() if request.param == "production" else [])]


def secrets() -> list[Manifest]:
    return list(yaml.safe_load_all((K8S / "overlays" / "production" / "secrets.example.yaml").read_text()))


def production() -> list[Manifest]:
    return cluster.kustomize(K8S / "overlays" / "production")


def test_every_manifest_is_valid(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        schema = CRDS / f"{manifest['kind']}.json"
        if schema.exists():
            jsonschema.validate(manifest, json.loads(schema.read_text()))
        else:
            kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_every_variable_is_a_setting_of_its_program_and_none_is_missing(
    manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = set()
    for _, container in of_calbus(manifests):
        settings = program_of(container.get("command", []), container.get("args", []))
        read(monkeypatch, settings, environment(manifests, container))
        started.add(settings)
    assert {programs()[name] for name in ("migrate", "topics", "ingest", "writer", "puller")} <= started


def test_images_have_the_version_that_this_is(manifests: list[Manifest]) -> None:
    images = {container["image"].rpartition("/")[2] for pod in pods(manifests) for container in pod.containers}
    ours = {image for image in images if image.startswith("calbus")}
    # A tag `latest` would be pulled anew at each start, also where it was loaded by hand.
    assert ours <= {f"{name}:{version('calbus')}" for name in ("calbus", "calbus-simulator")}


def test_no_map_of_settings_is_for_nobody(manifests: list[Manifest]) -> None:
    read_by_somebody = {
        source["configMapRef"]["name"]
        for _, container in of_calbus(manifests)
        for source in container.get("envFrom", [])
        if "configMapRef" in source
    }
    assert {one["metadata"]["name"] for one in of_kind(manifests, "ConfigMap")} == read_by_somebody


async def test_probes_ask_what_is_served(manifests: list[Manifest], tmp_path: Path) -> None:
    simulator = SimulatorSettings(state_dir=tmp_path)
    async with (
        admin_server(AdminSettings(), "writer", Pulse(), []) as port,
        serve(simulator) as addresses,
        aiohttp.ClientSession() as session,
    ):
        for pod in pods(manifests):
            admin = pod.ports.get("admin")
            assert admin in (None, int(image_environment()["CALBUS_ADMIN_PORT"]))
            for container in pod.containers:
                probes = {name: one for name, one in container.items() if name.endswith("Probe") and "httpGet" in one}
                if "admin" in {one["name"] for one in container.get("ports", [])}:
                    assert set(probes) == {"startupProbe", "livenessProbe", "readinessProbe"}
                for probe in (one["httpGet"] for one in probes.values()):
                    assert probe["port"] in pod.ports
                    at = f"http://127.0.0.1:{port}" if probe["port"] == "admin" else addresses.http_url
                    async with session.get(at + probe["path"]) as response:
                        assert response.status in (200, 503), probe


def test_the_puller_listens_where_the_webhooks_service_sends(
    manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = [(pod, one) for pod, one in of_calbus(manifests) if pod.name == "calbus-puller"]
    pod, container = found
    settings = read(monkeypatch, programs()["puller"], environment(manifests, container))
    assert pod.ports["webhook"] == settings.puller_webhook_port
    for ingress in of_kind(manifests, "Ingress"):
        (rule,) = ingress["spec"]["rules"]
        assert settings.puller_public_url == f"https://{rule['host']}"
        assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
        assert {path["path"] for path in rule["http"]["paths"]} == {NOTIFICATIONS_PATH, LIFECYCLE_PATH}
        services = {one["metadata"]["name"]: one for one in of_kind(manifests, "Service")}
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            assert backend["port"]["name"] in {port["name"] for port in services[backend["name"]]["spec"]["ports"]}


def found(manifests: list[Manifest], selector: Manifest) -> list[Pod]:
    chosen = [pod for pod in pods(manifests) if selects(selector, pod.labels)]
    assert chosen, selector
    return chosen


def check_ports(chosen: list[Pod], ports: list[Manifest]) -> None:
    named = {port for pod in chosen for port in pod.ports}
    assert {one["port"] for one in ports if isinstance(one["port"], str)} <= named


def test_every_selector_finds_pods_and_every_named_port_is_theirs(manifests: list[Manifest]) -> None:
    for service in of_kind(manifests, "Service"):
        chosen = found(manifests, {"matchLabels": service["spec"]["selector"]})
        assert all(port["targetPort"] in pod.ports for pod in chosen for port in service["spec"]["ports"])
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert len(found(manifests, budget["spec"]["selector"])) == 1
    for monitor in of_kind(manifests, "PodMonitor"):
        chosen = found(manifests, monitor["spec"]["selector"])
        assert {pod.name for pod in chosen} == {"calbus-ingest", "calbus-writer", "calbus-puller"}
        check_ports(chosen, monitor["spec"]["podMetricsEndpoints"])
    for pod in pods(manifests):
        for spread in pod.spec.get("topologySpreadConstraints", []):
            assert found(manifests, spread["labelSelector"]) == [pod]


def test_every_policy_is_about_pods_and_ports_that_there_are(manifests: list[Manifest]) -> None:
    for policy in (one["spec"] for one in of_kind(manifests, "NetworkPolicy")):
        chosen = found(manifests, policy["podSelector"])
        for rule in policy.get("ingress", []):
            check_ports(chosen, rule["ports"])
        for rule in policy.get("egress", []):
            check_ports(pods(manifests), rule["ports"])


def flows(manifests: list[Manifest], pod: Pod) -> set[int | str]:
    """The ports that a pod may reach anywhere."""
    policies = [one["spec"] for one in of_kind(manifests, "NetworkPolicy")]
    mine = [one for one in policies if "Egress" in one["policyTypes"] and selects(one["podSelector"], pod.labels)]
    return {port["port"] for one in mine for rule in one.get("egress", []) for port in rule["ports"]}


def test_nothing_is_open_but_what_each_program_needs(
    manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    (deny,) = [one for one in of_kind(manifests, "NetworkPolicy") if one["metadata"]["name"] == "calbus-default-deny"]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for pod in pods(manifests):
        reads = [
            program_of(one.get("command", []), one.get("args", []))
            for of, one in of_calbus(manifests)
            if of.name == pod.name
        ]
        wanted: set[int | str] = {53}
        if any(issubclass(one, PostgresSettings) for one in reads):
            wanted.add(5432)
        if any(issubclass(one, KafkaSettings) for one in reads):
            wanted |= {"kafka"} if pod.name == "calbus-day" else {9092, 9093}
        if any(issubclass(one, GraphSettings) for one in reads):
            wanted.add(443)
        if any(
            environment(manifests, one).get("CALBUS_TRACES") == "true"
            for of, one in of_calbus(manifests)
            if of.name == pod.name
        ):
            wanted.add(4318)
        if of_dev(manifests) and (wanted >= {443} or pod.name == "calbus-day"):
            wanted |= {"http", "https"}
        assert flows(manifests, pod) == wanted, pod.name
        for _, container in of_calbus(manifests):
            values = environment(manifests, container)
            assert re.fullmatch(r".*:(9092|9093)", values.get("CALBUS_KAFKA_BOOTSTRAP", ":9092"))
            assert ":5432/" in values.get("CALBUS_POSTGRES_DSN", ":5432/")


def of_dev(manifests: list[Manifest]) -> bool:
    return any(pod.name == "simulator" for pod in pods(manifests))


def test_pods_are_restricted(manifests: list[Manifest]) -> None:
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {one["metadata"].get("namespace") for one in manifests if one is not namespace} == {
        namespace["metadata"]["name"]
    } or of_kind(manifests, "Secret") == secrets()
    for pod in pods(manifests):
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert pod.spec["securityContext"]["runAsUser"] > 0
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False
        for container in pod.containers:
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert rights.get("readOnlyRootFilesystem") is True or pod.name in ENGINES - {"simulator"}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


def mebibytes(quantity: str) -> float:
    number, unit = quantity[:-2], quantity[-2:]
    return float(number) * {"Mi": 1, "Gi": 1_024}[unit]


def test_services_ask_for_the_memory_that_they_were_seen_to_take(manifests: list[Manifest]) -> None:
    measured = json.loads((ROOT / "bench" / "results" / "resources.json").read_text())["services"]
    asked = {container["name"]: container["resources"] for _, container in of_calbus(manifests)}
    assert measured.keys() <= asked.keys()
    for name, used in measured.items():
        assert mebibytes(asked[name]["requests"]["memory"]) >= 1.2 * used["peak_mib"], name
        assert mebibytes(asked[name]["limits"]["memory"]) >= 2 * used["peak_mib"], name
        # What the CPU that is asked for carries, in actions a second.
        per_s = 1_000 / used["cpu_s_per_1000"] * float(asked[name]["requests"]["cpu"].removesuffix("m")) / 1_000
        assert per_s >= 100, name


def test_writers_keep_their_membership_and_have_time_to_end(
    manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    for pod, container in of_calbus(manifests):
        if pod.name not in ("calbus-writer", "calbus-puller"):
            continue
        name = pod.name.removeprefix("calbus-")
        settings = read(monkeypatch, programs()[name], environment(manifests, container))
        drain_s = getattr(settings, f"{name}_drain_s")
        assert pod.spec["terminationGracePeriodSeconds"] >= drain_s + COMMIT_TIMEOUT_S + 2 * STOP_TIMEOUT_S
        if name == "writer":
            assert pod.kind == "StatefulSet"
            assert settings.writer_member == POD_NAME
        else:
            assert settings.puller_member is None


def test_keda_reads_the_lag_that_the_writers_have(monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = [*production(), *secrets()]
    (writer,) = [(pod, one) for pod, one in of_calbus(manifests) if pod.name == "calbus-writer"]
    settings = read(monkeypatch, programs()["writer"], environment(manifests, writer[1]))
    (scaled,) = of_kind(manifests, "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    about = trigger["metadata"]
    assert (scaled["spec"]["scaleTargetRef"]["kind"], scaled["spec"]["scaleTargetRef"]["name"]) == (
        writer[0].kind,
        writer[0].name,
    )
    assert writer[0].replicas is None
    assert about["topic"] == topic_name(settings, Topic.COMMANDS)
    assert about["consumerGroup"] == f"{settings.topic_prefix}.{GROUP}"
    assert about["bootstrapServersFromEnv"] in calbus_variables(environment(manifests, writer[1]))
    assert scaled["spec"]["maxReplicaCount"] == settings.kafka_partitions
    assert about["tls"] == "enable" if settings.kafka_security_protocol.endswith("SSL") else "disable"
    assert about["sasl"].replace("_", "") == settings.kafka_sasl_mechanism.lower().replace("-", "")
    (authentication,) = of_kind(manifests, "TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    keys = {one["metadata"]["name"]: set(one["stringData"]) for one in secrets()}
    for reference in authentication["spec"]["secretTargetRef"]:
        assert reference["key"] in keys[reference["name"]]
    behaviour = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert behaviour["stabilizationWindowSeconds"] * 1_000 > settings.writer_session_timeout_ms
    assert behaviour["policies"][0]["periodSeconds"] * 1_000 > settings.writer_session_timeout_ms


def test_the_other_autoscaler_has_the_same_bounds(tmp_path: Path) -> None:
    manifests = cluster.with_component(tmp_path, "hpa")
    (scaler,) = of_kind(manifests, "HorizontalPodAutoscaler")
    (scaled,) = of_kind(production(), "ScaledObject")
    assert scaler["spec"]["minReplicas"] == scaled["spec"]["minReplicaCount"]
    assert scaler["spec"]["maxReplicas"] == scaled["spec"]["maxReplicaCount"]
    (writer,) = [pod for pod in pods(manifests) if pod.name == scaler["spec"]["scaleTargetRef"]["name"]]
    assert writer.replicas is None


def test_the_day_is_delivered_as_the_application_that_the_services_are() -> None:
    manifests = cluster.kustomize(K8S / "overlays" / "dev")
    for name in ("CALBUS_CLIENT_ID", "CALBUS_CLIENT_SECRET"):
        values = [environment(manifests, container).get(name) for _, container in of_calbus(manifests)]
        assert len({one for one in values if one}) == 1


def test_the_alerts_are_those_of_prometheus() -> None:
    assert RULE.read_text() == rule_of(ALERTS), "run `make manifests`"


def test_an_overlay_says_where_runbooks_are() -> None:
    (rule,) = of_kind(production(), "PrometheusRule")
    base = rule["metadata"]["annotations"]["runbooks"]
    alerts = [one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one]
    assert alerts
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"{base}/docs/runbooks/{alert['alert']}.md"


def test_a_rule_is_made_of_all_files(tmp_path: Path) -> None:
    group = {"name": "a", "rules": [{"alert": "A", "expr": "up == 0", "for": "5m", "annotations": {"summary": "ü: x"}}]}
    (tmp_path / "one.yml").write_text(yaml.safe_dump({"groups": [group]}))
    (tmp_path / "two.yml").write_text(yaml.safe_dump({"groups": [{**group, "name": "b"}]}))
    manifest = yaml.safe_load(rule_of(tmp_path))
    assert manifest["spec"]["groups"] == [group, {**group, "name": "b"}]
    jsonschema.validate(manifest, json.loads((CRDS / "PrometheusRule.json").read_text()))
    (tmp_path / "two.yml").write_text(yaml.safe_dump({"groups": [group]}))
    with pytest.raises(ValueError, match="there is another group a"):
        rule_of(tmp_path)
    (tmp_path / "two.yml").write_text("rules: []")
    with pytest.raises(ValueError, match=r"two\.yml is no file of rules"):
        rule_of(tmp_path)


def test_what_is_written_about_deploying_names_real_settings() -> None:
    names = {name for settings in programs().values() for name in known(settings)} | {"CALBUS_SIMULATOR_URL"}
    for page in (K8S / "README.md", ROOT / "ops" / "README.md"):
        if page.exists():
            assert set(re.findall(r"CALBUS_[A-Z0-9_]*[A-Z0-9](?!_)\b", page.read_text())) <= names, page


def test_the_component_for_traces_sends_them_where_the_network_lets_them_go(tmp_path: Path) -> None:
    manifests = [*cluster.with_component(tmp_path, "traces"), *secrets()]
    [policy] = [one for one in of_kind(manifests, "NetworkPolicy") if one["metadata"]["name"] == "calbus-to-collector"]
    [rule] = policy["spec"]["egress"]
    [port] = rule["ports"]
    namespace = rule["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    traced = set()
    for pod, container in of_calbus(manifests):
        values = environment(manifests, container)
        if values.get("CALBUS_TRACES") == "true":
            traced.add(container["args"][0])
            assert values["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://otel-collector.{namespace}:{port['port']}"
            assert values["OTEL_TRACES_SAMPLER"] == "parentbased_traceidratio"
            assert selects(policy["spec"]["podSelector"], pod.labels)
    assert traced == {"ingest", "writer", "puller"}
