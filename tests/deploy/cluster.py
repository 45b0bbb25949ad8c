"""Rendered manifests, and questions to them."""

import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.programs import ROOT

K8S = ROOT / "k8s"
POD_NAME = "the-pods-name"
Manifest = dict[str, Any]


@cache
def kustomize(directory: Path) -> list[Manifest]:
    """What kubectl makes of a directory."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def with_component(directory: Path, component: str) -> list[Manifest]:
    """The base with one component."""
    beside = {name: os.path.relpath(K8S / name, directory) for name in ("base", f"components/{component}")}
    content = {"namespace": "calbus", "resources": [beside["base"]], "components": [beside[f"components/{component}"]]}
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return kustomize(directory)


@dataclass(frozen=True)
class Pod:
    """A pod template and who makes pods of it."""

    kind: str
    name: str
    labels: dict[str, str]
    spec: Manifest
    replicas: int | None

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for one in self.containers for port in one.get("ports", [])}


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests: list[Manifest]) -> list[Pod]:
    workloads = of_kind(manifests, "Deployment", "StatefulSet", "Job")
    return [
        Pod(
            one["kind"],
            one["metadata"]["name"],
            one["spec"]["template"]["metadata"]["labels"],
            one["spec"]["template"]["spec"],
            one["spec"].get("replicas"),
        )
        for one in workloads
    ]


def of_calbus(manifests: list[Manifest]) -> Iterator[tuple[Pod, Manifest]]:
    """Every container that runs one of calbus's own programs."""
    for pod in pods(manifests):
        for container in pod.containers:
            if container["image"].rpartition("/")[2].startswith("calbus:") and container["name"] != "authority":
                yield pod, container


def plain(one: Manifest) -> dict[str, str]:
    """What a map holds; a Secret has it in Base64."""
    data: dict[str, str] = one.get("data") or {}
    return {name: b64decode(value).decode() for name, value in data.items()} if one["kind"] == "Secret" else data


def environment(manifests: list[Manifest], container: Manifest) -> dict[str, str]:
    """What the container's variables will be. Raises LookupError for a map or Secret that is not there."""
    values: dict[str, str] = {}
    for source in container.get("envFrom", []):
        ((kind, reference),) = source.items()
        wanted = {"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind]
        found = [one for one in of_kind(manifests, wanted) if one["metadata"]["name"] == reference["name"]]
        if not found and not reference.get("optional"):
            raise LookupError(f"{wanted} {reference['name']}")
        for one in found:
            values |= one.get("stringData", {}) or plain(one)
    for variable in container.get("env", []):
        field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        assert field in (None, "metadata.name")
        values[variable["name"]] = POD_NAME if field else variable["value"]
    return values


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """As Kubernetes does; only the operator In is used here."""
    wanted = selector.get("matchLabels", {}).items()
    listed = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in listed)
    return all(labels.get(key) == value for key, value in wanted) and all(
        labels.get(one["key"]) in one["values"] for one in listed
    )
