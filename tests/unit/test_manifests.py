"""The rendered manifests keep the restricted Pod Security standard and deny unnamed traffic."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kinlink_core.runtime.config import load_settings
from kinlink_gateway.settings import GatewaySettings
from kinlink_keyserver.settings import KeyServerSettings
from kinlink_linker.settings import LinkerSettings
from kinlink_registry.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "deploy/k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
KUBECTL = shutil.which("kubectl") or str(Path(sys.executable).with_name("kubectl"))
WORKLOADS = {"StatefulSet", "Deployment", "Job", "CronJob", "DaemonSet", "Pod"}
MODELS = {
    "registry": RegistrySettings,
    "linker": LinkerSettings,
    "gateway": GatewaySettings,
    "keyserver": KeyServerSettings,
}


def render(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [KUBECTL, "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@cache
def overlay(name: str) -> list[dict[str, Any]]:
    return render(K8S / "overlays" / name)


def workloads(documents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (document for document in documents if document["kind"] in WORKLOADS)


def containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    pod = workload["spec"]["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


def faults_of_restricted_standard(workload: dict[str, Any]) -> list[str]:
    """What the restricted profile refuses, and the two hardenings we add to it."""
    pod = workload["spec"]["template"]["spec"]
    security = pod.get("securityContext", {})
    faults = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    if not security.get("runAsNonRoot") or not security.get("runAsUser"):
        faults.append("runs as root")
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        faults.append("seccomp")
    if pod.get("automountServiceAccountToken") is not False:
        faults.append("service account token")
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    faults += [
        f"volume {volume['name']}" for volume in pod.get("volumes", []) if not allowed & set(volume)
    ]
    for container in containers(workload):
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            faults.append(f"{container['name']}: escalation")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            faults.append(f"{container['name']}: capabilities")
        if own.get("readOnlyRootFilesystem") is not True:
            faults.append(f"{container['name']}: writable root")
        faults += [
            f"{container['name']}: host port"
            for port in container.get("ports", [])
            if "hostPort" in port
        ]
    return faults


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_passes_the_restricted_standard(name: str) -> None:
    found = {
        w["metadata"]["name"]: faults_of_restricted_standard(w) for w in workloads(overlay(name))
    }
    assert found
    assert not any(found.values()), found


def test_a_pod_that_breaks_the_standard_would_be_found() -> None:
    workload = {
        "spec": {
            "template": {
                "spec": {
                    "hostNetwork": True,
                    "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
                    "containers": [{"name": "x", "ports": [{"hostPort": 1}]}],
                }
            }
        }
    }
    assert faults_of_restricted_standard(workload) == [
        "hostNetwork",
        "runs as root",
        "seccomp",
        "service account token",
        "volume host",
        "x: escalation",
        "x: capabilities",
        "x: writable root",
        "x: host port",
    ]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_namespace_enforces_the_restricted_standard(name: str) -> None:
    documents = overlay(name)
    namespaces = {
        d["metadata"]["name"]: d["metadata"]["labels"]
        for d in documents
        if d["kind"] == "Namespace"
    }
    assert {d["metadata"]["namespace"] for d in workloads(documents)} <= set(namespaces)
    for labels in namespaces.values():
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_namespace_denies_all_traffic_and_names_its_exceptions(name: str) -> None:
    documents = overlay(name)
    policies = [d for d in documents if d["kind"] == "NetworkPolicy"]
    namespaces = {d["metadata"]["name"] for d in documents if d["kind"] == "Namespace"}
    denying = [p for p in policies if p["metadata"]["name"] == "deny-all"]
    assert {p["metadata"]["namespace"] for p in denying} == namespaces
    for policy in denying:
        assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies:
        if policy in denying:
            continue
        assert policy["metadata"]["name"].startswith("allow-")
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(direction, []):
                assert rule[peers], "an exception without a peer lets everybody in"
                assert all(peer for peer in rule[peers])
                assert rule["ports"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_port_that_a_policy_names_is_a_port_of_the_pods_it_selects(name: str) -> None:
    documents = overlay(name)
    pods = {
        w["metadata"]["name"]: (
            w["spec"]["template"]["metadata"]["labels"],
            {p["name"] for c in containers(w) for p in c.get("ports", [])},
        )
        for w in workloads(documents)
    }
    for policy in (d for d in documents if d["kind"] == "NetworkPolicy"):
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        chosen = [ports for labels, ports in pods.values() if wanted.items() <= labels.items()]
        assert chosen, policy["metadata"]["name"]
        for rule in policy["spec"].get("ingress", []):
            for port in rule["ports"]:
                assert all(port["port"] in ports for ports in chosen)


@pytest.mark.parametrize("name", OVERLAYS)
def test_services_and_disruption_budgets_select_exactly_one_workload(name: str) -> None:
    documents = overlay(name)
    for document in documents:
        if document["kind"] == "Service":
            wanted = document["spec"]["selector"]
        elif document["kind"] == "PodDisruptionBudget":
            wanted = document["spec"]["selector"]["matchLabels"]
        else:
            continue
        chosen = [
            w
            for w in workloads(documents)
            if w["metadata"]["namespace"] == document["metadata"]["namespace"]
            and wanted.items() <= w["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(chosen) == 1, document["metadata"]
    budgets = [d for d in documents if d["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == len(list(workloads(documents)))


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_container_has_probes_requests_and_limits(name: str) -> None:
    for workload in workloads(overlay(name)):
        for container in containers(workload):
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        for container in workload["spec"]["template"]["spec"]["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                probe = container[kind]
                if "grpc" in probe:
                    assert probe["grpc"]["port"] == ports["health"]
                else:
                    assert probe["httpGet"]["port"] == "metrics"


@pytest.mark.parametrize("name", OVERLAYS)
def test_secrets_are_mounted_as_whole_directories_so_that_they_rotate(name: str) -> None:
    for workload in workloads(overlay(name)):
        pod = workload["spec"]["template"]["spec"]
        secrets = {volume["name"] for volume in pod["volumes"] if "secret" in volume}
        assert "tls" in secrets
        for container in containers(workload):
            for mount in container["volumeMounts"]:
                if mount["name"] in secrets:
                    assert "subPath" not in mount
                    assert mount["readOnly"] is True


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_mount_and_map_reference_exists(name: str) -> None:
    documents = overlay(name)
    given = {d["metadata"]["name"] for d in documents if d["kind"] == "ConfigMap"}
    for workload in workloads(documents):
        pod = workload["spec"]["template"]["spec"]
        claims = workload["spec"].get("volumeClaimTemplates", [])
        volumes = {v["name"] for v in pod["volumes"]} | {c["metadata"]["name"] for c in claims}
        maps = {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
        for container in containers(workload):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        # The schema belongs to the federation, not to the deployment: deploy/k8s/README.md.
        assert maps - given <= {"kinlink-schema"}


def _settings_in(documents: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Service and TOML text of each process of an overlay."""
    maps = {
        (d["metadata"]["namespace"], d["metadata"]["name"]): d["data"]
        for d in documents
        if d["kind"] == "ConfigMap"
    }
    for workload in workloads(documents):
        service, space = workload["metadata"]["name"], workload["metadata"]["namespace"]
        for volume in workload["spec"]["template"]["spec"]["volumes"]:
            content = maps.get((space, volume.get("configMap", {}).get("name", "")), {})
            if f"{service}.toml" in content:
                yield service, content[f"{service}.toml"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_settings_in_an_overlay_are_settings_of_its_services(name: str, tmp_path: Path) -> None:
    documents = overlay(name)
    found = list(_settings_in(documents))
    assert len(found) == len(list(workloads(documents)))
    for service, text in found:
        path = tmp_path / f"{service}.toml"
        path.write_text(text)
        settings = load_settings(MODELS[service], path, f"KINLINK_{service.upper()}", {})
        assert settings.federation == "demo"


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_ports_in_the_settings_are_the_ports_of_the_pod(name: str) -> None:
    documents = overlay(name)
    ports = {
        w["metadata"]["name"]: {
            p["name"]: p["containerPort"] for c in containers(w) for p in c.get("ports", [])
        }
        for w in workloads(documents)
    }
    for service, text in _settings_in(documents):
        keys = {"listen": "api", "health_listen": "health", "metrics_listen": "metrics"}
        if service == "gateway":
            keys = {"listen": "http", "metrics_listen": "metrics"}
        values = tomllib.loads(text)
        for key, port in keys.items():
            assert values[key] == f"0.0.0.0:{ports[service][port]}"


def test_the_linker_of_a_whole_federation_dials_registries_that_are_there() -> None:
    documents = overlay("all-in-one")
    linker = next(text for service, text in _settings_in(documents) if service == "linker")
    services = {
        f"{d['metadata']['name']}.{d['metadata']['namespace']}.svc:{port['port']}"
        for d in documents
        if d["kind"] == "Service"
        for port in d["spec"]["ports"]
    }
    assert {entry["address"] for entry in tomllib.loads(linker)["registries"]} <= services
    targets = yaml.safe_load((K8S / "monitoring/targets.yaml").read_text())
    assert {target for entry in targets for target in entry["targets"]} <= services


def test_the_key_server_is_reached_by_registries_and_reaches_nobody() -> None:
    for name in ("key-server", "all-in-one"):
        policies = [
            d["spec"]
            for d in overlay(name)
            if d["kind"] == "NetworkPolicy" and d["metadata"]["namespace"] == "kinlink-keyserver"
        ]
        opened = [rule for spec in policies for rule in spec.get("egress", [])]
        assert {port["port"] for rule in opened for port in rule["ports"]} == {53}
        callers = [rule["from"] for spec in policies for rule in spec.get("ingress", [])]
        assert "kinlink-linker" not in str(callers)
        assert "kinlink-central" not in str(callers)
    addresses = {
        tomllib.loads(text)["key_server"]["address"]
        for service, text in _settings_in(overlay("all-in-one"))
        if service == "registry"
    }
    assert addresses == {"keyserver.kinlink-keyserver.svc:7447"}


def test_the_database_component_gives_the_gateway_its_address_and_a_way_there(
    tmp_path: Path,
) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    path = tmp_path / "k8s/overlays/central/kustomization.yaml"
    path.write_text(path.read_text() + "components: [../../components/postgresql]\n")
    documents = render(path.parent)
    gateway = next(d for d in documents if d["kind"] == "Deployment")
    assert faults_of_restricted_standard(gateway) == []
    (variable,) = containers(gateway)[0]["env"]
    assert variable["valueFrom"]["secretKeyRef"]["name"] == "gateway-database"
    assert any(d["metadata"]["name"] == "allow-gateway-to-postgresql" for d in documents)


def test_images_differ_in_their_role_and_ports_only() -> None:
    texts = set()
    for role in MODELS:
        text = (ROOT / "services" / role / "Dockerfile").read_text()
        text = re.sub(r"^EXPOSE .*$", "EXPOSE", text, flags=re.MULTILINE)
        texts.add(text.replace(role, "ROLE").replace(role.upper(), "ROLE"))
    assert len(texts) == 1


def test_images_run_the_commands_and_the_user_that_the_manifests_expect() -> None:
    for workload in workloads(overlay("all-in-one")):
        service = workload["metadata"]["name"]
        dockerfile = (ROOT / "services" / service / "Dockerfile").read_text()
        user = workload["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
        assert f"USER {user}:{user}" in dockerfile
        assert f'ENTRYPOINT ["/opt/kinlink/bin/kinlink-{service}"]' in dockerfile
        assert workload["spec"]["template"]["spec"]["containers"][0]["args"][-1] == "serve"
