"""What counts against an arm, and that it is counted once, durably, over servers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ratchet_adapters.flags import Exchange, FlagStore, Message, NewFlag
from ratchet_adapters.registry import (
    AdapterRecord,
    LiveThresholds,
    Proof,
    Registry,
    RegistryUnavailable,
    ReportRecord,
    RolloutPlan,
    RolloutRecord,
    RolloutStep,
)
from ratchet_adapters.rollouts.controller import carry_on
from ratchet_server.routing.router import Arm
from ratchet_server.traffic.arms import ArmCounter, Observation, events_of

FINE = {"blocked": False, "slow": False}
GOOD = Observation("stop", {"input_harm": 0.0, "refusal": 0.0, "toxicity": 0.0}, 100)
DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry.open(f"sqlite:///{tmp_path}/ratchet.db")
    now = datetime.now(UTC)
    proof = Proof(1, 1, 1, (1.0,), now)
    registry.add_adapter(AdapterRecord(DIGEST, "a", "", 8, 16, ("q",), 1, "", "t", now, proof), "t")
    registry.add_report(ReportRecord("report", "", DIGEST, "", "PASS", "", {}, now))
    return registry


def begin(registry: Registry, *kinds: str) -> RolloutRecord:
    steps = tuple(RolloutStep(kind=kind, share_bp=1000) for kind in kinds)  # type: ignore[arg-type]
    return registry.begin_rollout(DIGEST, plan=RolloutPlan(steps=steps), actor="t", reason="")


@pytest.mark.parametrize(
    ("seen", "events"),
    [
        (GOOD, {"blocked": False, "slow": False, "refusal": False, "toxicity": False}),
        (replace(GOOD, finish_reason="blocked_input"), {}),
        (replace(GOOD, finish_reason="blocked_output", scores={}), {"blocked": True, "slow": False}),
        (replace(GOOD, scores={}, total_ms=20_000), {"blocked": False, "slow": True}),
        (
            replace(GOOD, scores={"input_harm": 0.05, "refusal": 0.9}),
            {"blocked": False, "slow": False, "refusal": True},
        ),
        # A refusal of a harmful prompt is what it should be; neither of a prompt in between.
        (
            replace(GOOD, scores={"input_harm": 0.9, "refusal": 0.9}),
            {"blocked": False, "slow": False, "compliance": False},
        ),
        (
            replace(GOOD, scores={"input_harm": 0.9, "refusal": 0.1}),
            {"blocked": False, "slow": False, "compliance": True},
        ),
        (replace(GOOD, scores={"input_harm": 0.3, "refusal": 0.9}), {"blocked": False, "slow": False}),
        (
            Observation("blocked_output", {"input_harm": 0.9, "toxicity": 0.8}, 1),
            {"blocked": True, "slow": False, "compliance": False, "toxicity": True},
        ),
    ],
)
def test_what_counts_against_an_arm(seen: Observation, events: dict[str, bool]) -> None:
    assert events_of(seen, LiveThresholds()) == events


def totals(registry: Registry, rollout: RolloutRecord) -> dict[tuple[str, str], tuple[int, int]]:
    return {(c.arm, c.metric): (c.trials, c.events) for c in registry.arm_counts(rollout.id)}


def test_counts_of_several_servers_add_up_and_a_repeated_write_adds_nothing(registry: Registry) -> None:
    rollout = begin(registry, "canary")
    servers = [ArmCounter(registry), ArmCounter(registry)]
    for server in servers:
        for n in range(10):
            server.observe(Arm(rollout.id, 0, "candidate"), replace(GOOD, total_ms=20_000 if n == 0 else 1))
        server.write()
        server.write()
        server.observe(Arm(rollout.id, 0, "candidate"), GOOD)
        server.write()
        # Of a step that is over: it does not count in this one.
        server.observe(Arm(rollout.id, 7, "candidate"), GOOD)
        server.write()
    found = totals(registry, rollout)
    assert (found["candidate", "slow"], found["candidate", "blocked"]) == ((22, 2), (22, 0))
    assert ("control", "slow") not in found


def test_what_could_not_be_written_is_written_later_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout, counter = begin(registry, "canary"), ArmCounter(registry)
    write = registry.count_arms

    def down(*_: object) -> None:
        raise RegistryUnavailable("sqlite:///gone", "disk I/O error")

    def lost_answer(*given: object) -> None:
        write(*given)  # type: ignore[arg-type]
        down()

    for fault in (down, lost_answer):
        monkeypatch.setattr(registry, "count_arms", fault)
        counter.observe(Arm(rollout.id, 0, "control"), GOOD)
        with pytest.raises(RegistryUnavailable):
            counter.write()
    monkeypatch.setattr(registry, "count_arms", write)
    counter.write()
    assert totals(registry, rollout)["control", "blocked"] == (2, 0)


def test_pairs_count_where_they_differ(registry: Registry) -> None:
    rollout, counter = begin(registry, "shadow"), ArmCounter(registry)
    arm, bad = Arm(rollout.id, 0, "control"), replace(GOOD, scores=GOOD.scores | {"refusal": 1.0})
    for control, candidate in ((GOOD, GOOD), (GOOD, bad), (GOOD, bad), (bad, GOOD), (bad, bad)):
        counter.observe_pair(arm, control, candidate)
    counter.write()
    found = totals(registry, rollout)
    assert [found[name, "refusal"] for name in ("control", "candidate", "pair")] == [(5, 2), (5, 3), (3, 2)]
    assert found["pair", "blocked"] == (0, 0)


def test_users_who_complain_of_a_refusal_count_once_each_and_only_since_the_step_began(registry: Registry) -> None:
    flags, rollout, counter = FlagStore.open(registry), begin(registry, "canary"), ArmCounter(registry)
    for _ in range(5):
        counter.observe(Arm(rollout.id, 0, "candidate"), GOOD)
    counter.write()
    message, now = (Message("user", "hi"),), datetime.now(UTC)
    served = [
        Exchange(name, message, "no", digest, "", "u", {}, (), "stop", when)
        for name, digest, when in (
            ("new", DIGEST, now), ("old", DIGEST, now - timedelta(hours=1)), ("other", "", now),
            ("scored", DIGEST, now),
        )
    ]  # fmt: skip
    flags.save_exchanges(served)
    for request_id, source in (("new", "USER"), ("new", "USER"), ("old", "USER"), ("scored", "SCORER")):
        flags.submit([NewFlag("OVER_REFUSAL", source, "u", request_id=request_id)])
    assert totals(registry, rollout)["candidate", "complaint"] == (5, 1)


def test_a_rollout_goes_all_the_way_on_good_figures_and_back_on_bad_ones(registry: Registry) -> None:
    rollout, counter = begin(registry, "shadow", "canary", "probation"), ArmCounter(registry)
    assert carry_on(registry) == rollout
    for _ in range(2000):
        counter.observe_pair(Arm(rollout.id, 0, "control"), GOOD, GOOD)
    counter.write()
    moved = carry_on(registry)
    assert moved is not None
    assert (moved.step, registry.routing().split) == (1, "canary")
    for name in ("control", "candidate"):
        for _ in range(3000):
            counter.observe(Arm(rollout.id, 1, name), GOOD)
    counter.write()
    carry_on(registry)
    assert (registry.routing().champion, registry.routing().split) == (DIGEST, "holdout")
    # The promotion is complete; its figures go bad afterwards.
    for n in range(60):
        counter.observe(Arm(rollout.id, 2, "control"), GOOD)
        counter.observe(
            Arm(rollout.id, 2, "candidate"), replace(GOOD, finish_reason="blocked_output" if n % 2 else "stop")
        )
    counter.write()
    ended = carry_on(registry)
    assert ended is not None
    assert ended.outcome == "rolled_back"
    assert "blocked" in ended.reason
    assert (registry.routing().champion, registry.adapter(DIGEST).stage) == ("", "rolled_back")
    assert carry_on(registry) is None
    assert registry.verify_ledger().ok


@pytest.mark.parametrize(("kind", "stage", "champion"), [("canary", "gated", ""), ("probation", "champion", DIGEST)])
def test_without_traffic_a_rollout_ends_inconclusive(registry: Registry, kind: str, stage: str, champion: str) -> None:
    rollout = begin(registry, kind)
    ended = carry_on(registry, rollout.step_since + timedelta(hours=1e4))
    assert ended is not None
    assert ended.outcome == "inconclusive"
    assert (registry.adapter(DIGEST).stage, registry.routing().champion, registry.routing().split) == (
        stage,
        champion,
        "",
    )


def test_a_tenant_is_one_trial_whatever_it_sends_and_wherever(registry: Registry) -> None:
    rollout = begin(registry, "canary")
    servers = ArmCounter(registry), ArmCounter(registry)
    refused = replace(GOOD, scores={"input_harm": 0.0, "refusal": 0.9})
    for number in range(6):
        arm = Arm(rollout.id, 0, "candidate", "ab")
        servers[number % 2].observe(arm, refused if number else GOOD)
        servers[number % 2].observe(replace(arm, tenant=f"t{number}"), refused)
        # One that names no tenant is a request and nobody's first.
        servers[number % 2].observe(replace(arm, tenant=""), GOOD)
        servers[number % 2].observe_failure(replace(arm, name="control"))
        for server in servers:
            server.write()
    found = totals(registry, rollout)
    assert found["candidate", "refusal"] == (18, 11)
    assert found["candidate tenants", "refusal"] == (7, 6), "what a tenant showed first stands"
    assert found["candidate tenants", "complaint"] == (7, 0)
    assert found["control", "failed"] == (6, 6) and found["control tenants", "failed"] == (1, 1)


def test_what_tenants_showed_first_is_not_lost_when_the_database_is_away(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout, counter = begin(registry, "canary"), ArmCounter(registry)
    counter.observe(Arm(rollout.id, 0, "control", "ab"), GOOD)

    def down(*_: object) -> None:
        raise RegistryUnavailable("sqlite:///gone", "disk I/O error")

    with monkeypatch.context() as away:
        away.setattr(registry, "count_tenants", down)
        with pytest.raises(RegistryUnavailable):
            counter.write()
    counter.write()
    assert totals(registry, rollout)["control tenants", "blocked"] == (1, 0)
