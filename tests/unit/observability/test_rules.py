"""The Prometheus rules: valid, tested by promtool, and about metrics that exist."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

EXPECTED = {
    "RatchetRefusalRateJump", "RatchetToxicityHigh", "RatchetRailFailed", "RatchetEngineNotReady",
    "RatchetProofFailed", "RatchetTimeToFirstTokenHigh", "RatchetGateFailStreak", "RatchetLearnerStalled",
    "RatchetRolloutRolledBack", "RatchetRolloutInconclusive",
}  # fmt: skip


@pytest.fixture
def rules(deploy: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load((deploy / "prometheus" / "rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def promtool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on PATH (Debian: apt-get install prometheus)")
    return subprocess.run([found, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_promtool_accepts_the_rules(deploy: Path) -> None:
    checked = promtool("check", "rules", "rules.yml", cwd=deploy / "prometheus")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_promtool_cases_pass(deploy: Path) -> None:
    tested = promtool("test", "rules", "rules_test.yml", cwd=deploy / "prometheus")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_planted_fault_in_a_rule_fails_the_promtool_cases(deploy: Path, tmp_path: Path) -> None:
    text = (deploy / "prometheus" / "rules.yml").read_text()
    (tmp_path / "rules.yml").write_text(text.replace('outcome="failed"', 'outcome="faild"'))
    shutil.copy(deploy / "prometheus" / "rules_test.yml", tmp_path)
    assert promtool("test", "rules", "rules_test.yml", cwd=tmp_path).returncode != 0


def test_every_expression_parses_and_names_only_exposed_metrics(
    rules: list[dict[str, Any]], exposed_names: set[str], metric_names: Callable[[str], set[str]]
) -> None:
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        unknown = metric_names(rule["expr"]) - exposed_names - recorded
        assert not unknown, f"{rule.get('alert') or rule['record']} uses {unknown}"


def test_every_alert_is_there_and_says_how_bad_it_is_and_what_to_do(rules: list[dict[str, Any]]) -> None:
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    assert set(alerts) == EXPECTED
    for rule in alerts.values():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_every_alert_has_a_case_that_fires_and_one_that_does_not(deploy: Path) -> None:
    document = yaml.safe_load((deploy / "prometheus" / "rules_test.yml").read_text())
    cases = [case for test in document["tests"] for case in test.get("alert_rule_test", ())]
    firing = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert firing == EXPECTED
    assert silent == EXPECTED
