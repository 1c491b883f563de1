"""The Helm chart: lint, strict values, and every manifest against Kubernetes' own schemas. No cluster is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from ratchet_server.settings import Settings

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "ratchet"
VERSIONS = ("1.27.0", kubernetes_validate.latest_version())
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example/ratchet", "tag": "1.2.3", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "pull"}],
    "artifacts": {"url": "s3://bucket/prefix", "credentialsSecret": "s3"},
    "config": {"routing": {"poll_seconds": 0.5}, "registry": {"policy": {"fleet": {"quorum": 1.0}}}},
    "server": {
        "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "podAnnotations": {"a": "b"},
    },
    "learner": {"storageClass": "fast", "env": [{"name": "RATCHET_LEARNER_BACKEND", "value": "ray"}]},
    "autoscaling": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn"}},
}
LEAST: dict[str, Any] = {
    "learner": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "serviceAccount": {"create": False},
}


def manifests(values: dict[str, Any], name: str = "prod") -> list[dict[str, Any]]:
    with helm_python.Chart.load(CHART) as chart:
        rendered = chart.render(chart.merge_values(values), name=name, namespace="ml")
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def kinds(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in manifests(values)}


@pytest.mark.parametrize("values", [{}, EVERYTHING, LEAST], ids=["default", "everything", "least"])
def test_it_lints_and_every_manifest_is_valid(values: dict[str, Any]) -> None:
    report = helm_python.lint(CHART, values, strict=True)
    assert [m for m in report["messages"] if m["severity"] >= 2] == []
    assert report["errors"] == []
    found = manifests(values)
    assert len(found) >= 4
    for document in found:
        if document["apiVersion"].startswith("monitoring.coreos.com"):
            continue  # Of the Prometheus operator, not of Kubernetes.
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize(
    "values",
    [
        {"sever": {"replicas": 3}},
        {"server": {"replica": 3}},
        {"server": {"replicas": 0}},
        {"server": {"replicas": "3"}},
        {"artifacts": {"url": "bucket"}},
        {"database": {"existingSecret": ""}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"podDisruptionBudget": {"maxUnavailable": 0}},
        {"autoscaling": {"averageValue": "many"}},
        {"networkPolicy": {"clients": [{"podselector": {}}]}},
    ],
    ids=str,
)
def test_values_that_are_not_there_or_cannot_work_are_refused(values: dict[str, Any]) -> None:
    with helm_python.Chart.load(CHART) as chart, pytest.raises(helm_python.HelmValuesError):
        chart.validate_schema(chart.merge_values(values))


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["default", "everything"])
def test_no_container_is_root_or_can_write_where_it_should_not(values: dict[str, Any]) -> None:
    pods = [m["spec"]["template"]["spec"] for m in manifests(values) if m["kind"] in {"Deployment", "StatefulSet"}]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] != 0
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            security = container["securityContext"]
            assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]) == (True, False)
            assert security["capabilities"] == {"drop": ["ALL"]}
            mounted = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert mounted == {"/var/lib/ratchet", "/var/cache/ratchet", "/tmp", "/dev/shm"}


def test_probes_are_grpc_and_a_drained_server_is_not_killed() -> None:
    server = kinds({})["Deployment/prod-ratchet-server"]["spec"]["template"]["spec"]["containers"][0]
    assert server["readinessProbe"]["grpc"] == {"port": 50051}
    for probe in ("livenessProbe", "startupProbe"):
        assert server[probe]["grpc"] == {"port": 50051, "service": "ratchet.alive"}


def test_what_stops_a_pod_leaves_time_for_the_streams_in_flight() -> None:
    pod = kinds({"server": {"graceSeconds": 120}})["Deployment/prod-ratchet-server"]["spec"]["template"]["spec"]
    environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert environment["RATCHET_RPC__GRACE_SECONDS"] == "120"
    assert pod["terminationGracePeriodSeconds"] > 120


def test_the_autoscaler_owns_the_number_of_replicas_and_looks_at_the_queue() -> None:
    found = kinds({"autoscaling": {"enabled": True}})
    assert "replicas" not in found["Deployment/prod-ratchet-server"]["spec"]
    metric = found["HorizontalPodAutoscaler/prod-ratchet-server"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert metric == "ratchet_engine_requests_waiting"


def test_only_who_is_named_reaches_the_servers() -> None:
    policy = kinds({"networkPolicy": {"clients": [], "monitoring": []}})["NetworkPolicy/prod-ratchet"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert len(policy["ingress"]) == 1
    senders = policy["ingress"][0]["from"]
    assert [s["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for s in senders] == ["learner"]


def test_every_setting_the_chart_sets_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable would keep every pod from starting."""
    found = kinds(EVERYTHING)
    server = found["Deployment/prod-ratchet-server"]["spec"]["template"]["spec"]["containers"][0]
    for each in server["env"]:
        if each["name"].startswith("RATCHET_") and each["name"] not in {"RATCHET_CONFIG", "RATCHET_CACHE"}:
            monkeypatch.setenv(each["name"], each.get("value", "postgresql://user@host/name"))
    settings = Settings(**yaml.safe_load(found["ConfigMap/prod-ratchet"]["data"]["config.yaml"]))
    assert settings.rpc.host == "0.0.0.0"
    assert settings.registry.policy.fleet.quorum == 1.0
