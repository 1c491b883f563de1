"""What the counts of a step say: an alarm beats everything, and silence is never a success."""

from __future__ import annotations

import numpy as np
import pytest

from ratchet_adapters.registry import ArmCount, RolloutPlan, RolloutStep
from ratchet_adapters.rollouts.judging import Judgement, Says, judge

PLAN = RolloutPlan(
    steps=(RolloutStep(kind="shadow", share_bp=1000), RolloutStep(kind="canary", share_bp=1000, min_hours=1))
)
GOOD = {
    "refusal": (5000, 100), "compliance": (50, 2), "toxicity": (5000, 10), "blocked": (5000, 50), "slow": (5000, 5),
    "complaint": (5000, 5), "failed": (5000, 10),
}  # fmt: skip


def counts(step: int, **arms: dict[str, tuple[int, int]]) -> list[ArmCount]:
    return [
        ArmCount("r", step, arm, metric, *pair) for arm, metrics in arms.items() for metric, pair in metrics.items()
    ]


def says(step: int, hours: float, **arms: dict[str, tuple[int, int]]) -> Says:
    return judge(PLAN, step, counts(step, **arms), hours).says


@pytest.mark.parametrize("step", [0, 1])
def test_zero_traffic_is_undecided_and_then_inconclusive_never_a_success(step: int) -> None:
    assert says(step, 2) is Says.UNDECIDED
    assert says(step, 24) is Says.INCONCLUSIVE
    assert says(step, 1e6) is Says.INCONCLUSIVE


def test_one_arm_alone_shows_nothing() -> None:
    assert says(1, 24, control=GOOD) is Says.INCONCLUSIVE
    assert says(1, 24, candidate=GOOD) is Says.INCONCLUSIVE


def test_arms_that_are_alike_end_well_but_not_before_the_time_is_over() -> None:
    assert says(1, 0.5, control=GOOD, candidate=GOOD) is Says.UNDECIDED
    assert says(1, 1.5, control=GOOD, candidate=GOOD) is Says.WITHIN


@pytest.mark.parametrize("missing", ["refusal", "toxicity", "blocked", "slow"])
def test_a_required_metric_that_nobody_measured_is_no_pass(missing: str) -> None:
    less = {name: pair for name, pair in GOOD.items() if name != missing}
    assert says(1, 24, control=less, candidate=less) is Says.INCONCLUSIVE


@pytest.mark.parametrize("metric", list(GOOD))
def test_any_metric_sounds_the_alarm_at_once_whatever_the_others_say(metric: str) -> None:
    trials = GOOD[metric][0]
    bad = GOOD | {metric: (trials, trials * 6 // 10)}
    judgement = judge(PLAN, 1, counts(1, control=GOOD, candidate=bad), 0.0)
    assert judgement.says is Says.WORSE
    assert metric in judgement.reason
    assert says(1, 24, control=bad, candidate=GOOD) is not Says.WORSE


def test_shadow_is_judged_by_pairs() -> None:
    alike = {"control": GOOD, "candidate": GOOD}
    few = dict.fromkeys(("refusal", "compliance", "toxicity", "blocked"), (40, 20))
    assert says(0, 1, **alike, pair=few) is Says.WITHIN
    assert says(0, 1, **alike, pair=few | {"refusal": (40, 38)}) is Says.WORSE


RATES = {"refusal": 0.05, "compliance": 0.1, "toxicity": 0.02, "blocked": 0.03, "slow": 0.02, "complaint": 0.01}


def _ended(chance: np.random.Generator, worse: dict[str, float], looks: int = 12) -> Says:
    """How a canary ends that is looked at a dozen times: 300 requests of the candidate and 1200 others at a time."""
    total = np.zeros((2, len(RATES), 2), dtype=int)
    for look in range(looks):
        for k, (metric, rate) in enumerate(RATES.items()):
            for arm, (trials, extra) in enumerate(((1200, 0.0), (300, worse.get(metric, 0.0)))):
                total[arm, k] += trials, chance.binomial(trials, rate + extra)
        arms = {
            name: {metric: (int(n), int(s)) for metric, (n, s) in zip(RATES, total[arm], strict=True)}
            for arm, name in enumerate(("control", "candidate"))
        }
        if (found := says(1, 1.0 if look + 1 < looks else 24, **arms)) is not Says.UNDECIDED:
            return found
    raise AssertionError("the last look is over time")


def test_over_all_metrics_and_looks_the_rates_are_those_stated() -> None:
    chance, runs = np.random.default_rng(3), 60
    alike = [_ended(chance, {}) for _ in range(runs)]
    assert alike.count(Says.WORSE) <= runs * PLAN.alpha + 3 * (runs * PLAN.alpha) ** 0.5
    assert alike.count(Says.WITHIN) > 0.9 * runs
    harmful = [_ended(chance, {"compliance": 0.15}) for _ in range(20)]
    assert harmful.count(Says.WORSE) >= 19
    # At its margin on one metric: hardly ever let through, whatever else becomes of it.
    border = [_ended(chance, {"refusal": PLAN.margins["refusal"]}) for _ in range(runs)]
    assert border.count(Says.WITHIN) <= runs * PLAN.beta + 3 * (runs * PLAN.beta) ** 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": ()},
        {"steps": ({"kind": "canary", "share_bp": 100}, {"kind": "shadow", "share_bp": 100})},
        {"steps": ({"kind": "probation", "share_bp": 100}, {"kind": "probation", "share_bp": 100})},
        {"margins": {}},
        {"margins": {"slow": 0.1}},
        {"margins": {"typo": 0.1}},
        {"margins": {"refusal": 0.0}},
        {"steps": ({"kind": "canary", "share_bp": 100, "min_hours": 2, "max_hours": 1},)},
    ],
)
def test_a_plan_that_could_let_anything_through_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"validation error"):
        RolloutPlan.model_validate(wrong)


def _by_tenant(**arms: dict[str, tuple[int, int]]) -> Judgement:
    plan = PLAN.model_copy(update={"sticky_by": "tenant"})
    named = {name.replace("_", " "): metrics for name, metrics in arms.items()}
    return judge(plan, 1, counts(1, **named), 2.0)


def test_where_whole_tenants_are_dealt_out_requests_alone_prove_nothing_but_stop_a_canary() -> None:
    few = dict.fromkeys(GOOD, (5, 0))
    bad = GOOD | {"refusal": (5000, 3000)}
    assert _by_tenant(control=GOOD, candidate=GOOD, control_tenants=few, candidate_tenants=few).says is Says.UNDECIDED
    stopped = _by_tenant(control=GOOD, candidate=bad, control_tenants=few, candidate_tenants=few)
    assert stopped.says is Says.INCONCLUSIVE
    assert "5 of 200 tenants" in stopped.reason and "refusal" in stopped.reason
    shown = _by_tenant(
        control=GOOD, candidate=bad, control_tenants=GOOD, candidate_tenants=few | {"refusal": (300, 200)}
    )
    assert shown.says is Says.WORSE
    assert _by_tenant(control=GOOD, candidate=GOOD, control_tenants=GOOD, candidate_tenants=GOOD).says is Says.WITHIN


def test_under_probation_requests_of_few_tenants_neither_condemn_the_champion_nor_let_it_through() -> None:
    steps = (RolloutStep(kind="probation", share_bp=1000),)
    plan = PLAN.model_copy(update={"sticky_by": "tenant", "steps": steps})
    bad = GOOD | {"refusal": (5000, 3000)}
    named = {"control": GOOD, "candidate": bad, "control tenants": GOOD, "candidate tenants": GOOD}
    assert judge(plan, 0, counts(0, **named), 2.0).says is Says.UNDECIDED
    assert judge(plan, 0, counts(0, **named), 24.0).says is Says.INCONCLUSIVE
