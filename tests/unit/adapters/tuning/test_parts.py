"""Constraints, the front and its knee, the search space, and the validation split."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet_adapters.evals.suites.seed import seed_items
from ratchet_adapters.tuning.errors import ConstraintInvalid, NoTrialFits, SpaceInvalid, ValidationLeaks
from ratchet_adapters.tuning.front import best_under, front, knee
from ratchet_adapters.tuning.heldout import hold_out
from ratchet_adapters.tuning.objectives import Constraint, Measured, parse_constraint
from ratchet_adapters.tuning.space import load_space, space_names


@dataclass(frozen=True)
class Trial:
    number: int
    measured: Measured | None


def trials(*values):
    return [Trial(n, v and Measured(v[0], v[1], 3.0, v[2])) for n, v in enumerate(values)]


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ("over_refusal<=0.15", Constraint("over_refusal", 0.15)),
        (" refusal >= .9 ", Constraint("refusal", 0.9)),
        ("nll_change<=1e-2", Constraint("nll_change", 0.01)),
    ],
)
def test_constraints_are_read(text, constraint):
    assert parse_constraint(text) == constraint == parse_constraint(constraint.text)


@pytest.mark.parametrize(
    "text",
    ["", "over_refusal", "over_refusal<0.1", "over_refusal<=", "over_refusal<=a", "over_refusal<=nan", "toxicity<=0.1",
     "over_refusal>=0.1", "refusal<=0.5", "refusal>=90", "over_refusal<=0.1 or 1", "over_refusal<=-1"],
)  # fmt: skip
def test_what_is_no_constraint_is_refused(text):
    with pytest.raises(ConstraintInvalid):
        parse_constraint(text)


def test_the_knee_is_the_point_nearest_to_the_ideal_one():
    found = trials((0.5, 0.0, 0.0), (0.9, 0.1, 0.02), (1.0, 0.8, 0.1), (0.8, 0.2, 0.05), None)
    assert [trial.number for trial in front(found)] == [0, 1, 2]
    assert knee(found).number == 1
    assert knee(trials((0.5, 0.1, 0.0))).number == 0
    assert knee(trials((0.5, 0.1, 0.0), (0.5, 0.1, 0.0))).number == 0
    with pytest.raises(NoTrialFits):
        knee(trials(None))


figures = st.tuples(*(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]) for _ in range(3)))


@given(st.lists(figures, min_size=1, max_size=12), st.sampled_from([0.0, 0.1, 0.5]))
def test_nothing_beats_the_front_and_what_is_taken_lies_on_it(values, bound):
    found = trials(*values)
    best = front(found)
    assert best and knee(found) in best

    def no_worse(a, b):
        return all(x <= y for x, y in zip(a.measured.costs, b.measured.costs, strict=True))

    for trial in found:
        assert any(no_worse(other, trial) for other in best)
    assert not any(no_worse(a, b) for a in best for b in best if a is not b)
    limit = Constraint("over_refusal", bound)
    if any(limit.holds(trial.measured) for trial in found):
        taken = best_under(found, [limit])
        assert limit.holds(taken.measured) and taken in best
    else:
        with pytest.raises(NoTrialFits):
            best_under(found, [limit])


@pytest.mark.parametrize("name", space_names())
def test_the_shipped_spaces_allow_only_what_the_method_does(name):
    assert load_space(name).method == "sft-refusal"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("method: nothing", "given twice"),
        ("extra: 1", "extra"),
        ("  training.rank: {kind: integer, low: 1, high: 4}", "given twice"),
        ("  training.nothing: {kind: integer, low: 1, high: 4}", "nothing"),
        ("  training.batch_size: {kind: integer, low: 0, high: 4}", "batch_size = 0"),
        ("  training.batch_size: {kind: integer, low: 8, high: 4}", "below high"),
        ("  training.batch_size: {kind: integer, low: 1.5, high: 4}", "low"),
        ("  training.tail_weight: {kind: decimal, low: 0.0, high: 1.0, log: true}", "logarithmic"),
        ("  training.tail_weight: {kind: decimal, low: 0.0, high: 3.0}", "tail_weight = 3.0"),
        ("  rank: {kind: integer, low: 1, high: 4}", "begins with"),
        ("  training.rank.x: {kind: integer, low: 1, high: 4}", "rank.x = 1"),
        ("  training.tail_weight: {kind: choice, of: [0.1]}", "of"),
        ("  dataset.max_items_per_principal: {kind: integer, low: 8, high: 99}", "principal"),
        (" : :", "not YAML"),
    ],
)
def test_a_space_that_can_not_be_searched_is_refused(tmp_path, change, says):
    file = tmp_path / "space.yaml"
    file.write_text(
        "format: 1\nmethod: sft-refusal\nsearch:\n  training.rank: {kind: integer, low: 1, high: 64}\n" + change + "\n"
    )
    with pytest.raises(SpaceInvalid, match=says):
        load_space(str(file))


def test_spaces_that_are_not_there_are_refused(tmp_path):
    for name in ("nothing", str(tmp_path / "absent.yaml")):
        with pytest.raises(SpaceInvalid):
            load_space(name)


def test_the_validation_split_is_kept_from_training_and_from_evaluation():
    split = hold_out(seed=0, prompts=24)
    items = (*split.harmful, *split.benign, *split.texts)
    assert len(split.harmful) == len(split.benign) == 24 and split.texts
    assert {item.split for item in items} == {"train"}
    evaluated = {item.prompt for item in seed_items(split="eval")}
    assert not evaluated & {item.prompt for item in items}
    clusters = {item.id: item.cluster for item in seed_items(split="train") if item.kind != "text"}
    held = {item.cluster for item in items if item.kind != "text"}
    learnt = {clusters[prompt.id] for prompt in split.training.prompts if prompt.kind != "text"}
    assert learnt and not learnt & held
    assert {item.prompt for item in items} | evaluated <= set(split.training.guarded)
    every = {item.category for item in seed_items("harmful", "train")}
    assert {item.category for item in hold_out(seed=0, prompts=10_000).harmful} == every
    assert hold_out(seed=0, prompts=24) == split != hold_out(seed=1, prompts=24)


def test_a_split_that_would_look_at_the_evaluation_is_refused():
    split = hold_out(seed=0, prompts=8)
    foreign = seed_items("harmful", "eval")[0]
    with pytest.raises(ValidationLeaks, match="not of the train split"):
        replace(split, harmful=(foreign,))
    with pytest.raises(ValidationLeaks, match="repeats items of the evaluation"):
        replace(split, harmful=(replace(foreign, split="train"),))
    taught = next(item for item in seed_items("harmful", "train") if item.prompt not in split.training.guarded)
    with pytest.raises(ValidationLeaks, match="shares clusters"):
        replace(split, harmful=(taught,))
