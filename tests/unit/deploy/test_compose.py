"""The compose file against the Compose Specification, and that what it mounts and sets is there. Needs no Docker."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyOptions

from ratchet_server.settings import Settings

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
VALUES = {"RATCHET_DB_PASSWORD": "secret", "GRAFANA_PASSWORD": "secret"}


def substituted() -> str:
    """The file as Compose reads it: with variables, or their defaults, in place."""

    def value(found: re.Match[str]) -> str:
        name, _, default = found[1].partition(":-")
        return VALUES.get(name.partition(":?")[0], default)

    return re.sub(r"\$\{([^}]+)\}", value, COMPOSE.read_text())


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    spec = PyOptions(apply_merge=True).from_yaml(substituted())
    spec.validate()
    spec.to_spec()  # against the specification's schema, unknown keys refused
    found: dict[str, Any] = spec.to_dict()["services"]
    return found


def test_it_is_a_valid_compose_file_of_the_five(services: dict[str, Any]) -> None:
    assert set(services) == {"server", "learner", "database", "prometheus", "grafana"}


def test_the_check_refuses_a_misspelt_key() -> None:
    broken = substituted().replace("stop_grace_period", "stop_grace_periode")
    with pytest.raises(Exception, match="periode"):
        PyOptions(apply_merge=True).from_yaml(broken).to_spec()


def test_it_passes_the_security_linter() -> None:
    # The images of others are pinned to a version, not to a digest: those differ by platform.
    command = [sys.executable, "-m", "compose_lint", "--format", "json", "--fail-on", "low", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True)
    found = {finding["rule_id"] for finding in json.loads(done.stdout)["findings"]}
    assert found <= {"CL-0019", "CL-0007", "CL-0006", "CL-0026"}, done.stdout


def test_nothing_is_published_beyond_loopback(services: dict[str, Any]) -> None:
    ports = [port for line in yaml.safe_load(substituted())["services"].values() for port in line.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_file_that_is_mounted_exists() -> None:
    raw = yaml.safe_load(substituted())["services"]
    sources = [volume.split(":")[0] for service in raw.values() for volume in service.get("volumes", [])]
    files = [source for source in sources if source.startswith(".")]
    assert len(files) == 4
    assert [source for source in files if not (COMPOSE.parent / source).exists()] == []


def test_every_setting_of_the_server_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = yaml.safe_load(substituted())["services"]["server"]["environment"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.registry.url == "postgresql://ratchet:secret@database:5432/ratchet"
    assert settings.rpc.insecure_beyond_loopback


def test_grafana_finds_the_data_source_and_the_dashboard() -> None:
    provisioning = COMPOSE.parent / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    provider = yaml.safe_load((provisioning / "dashboards" / "ratchet.yaml").read_text())["providers"][0]
    mounts = yaml.safe_load(substituted())["services"]["grafana"]["volumes"]
    assert any(mount.split(":")[1].startswith(provider["options"]["path"] + "/") for mount in mounts)


def test_prometheus_scrapes_every_server_and_reads_the_rules() -> None:
    config = yaml.safe_load((COMPOSE.parent / "prometheus" / "prometheus.yml").read_text())
    assert config["scrape_configs"][0]["dns_sd_configs"] == [{"names": ["server"], "type": "A", "port": 9464}]
    mounts = yaml.safe_load(substituted())["services"]["prometheus"]["volumes"]
    assert set(config["rule_files"]) <= {mount.split(":")[1] for mount in mounts}


def test_the_image_runs_as_nobody_in_particular_and_pins_what_it_is_made_of() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001:10001"]
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    assert copied != []
    root = DEPLOY.parent
    allowed = {line.removeprefix("!") for line in (root / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    assert [name for name in copied if not (root / name).exists() or name not in allowed] == []
