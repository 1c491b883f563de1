"""What the counts of a step say: an alarm beats everything, and silence is never a success."""

from __future__ import annotations

import pytest

from ratchet_adapters.registry import ArmCount, RolloutPlan, RolloutStep
from ratchet_adapters.rollouts.judging import Says, judge

PLAN = RolloutPlan(
    steps=(RolloutStep(kind="shadow", share_bp=1000), RolloutStep(kind="canary", share_bp=1000, min_hours=1))
)
GOOD = {
    "refusal": (5000, 100), "compliance": (50, 2), "toxicity": (5000, 10), "blocked": (5000, 50), "slow": (5000, 5),
    "complaint": (5000, 5),
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
