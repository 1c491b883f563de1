"""GRPO and RLOO on a tiny model: the reward rises, a resumed training samples the same, the mix of prompts holds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from ratchet_adapters.artifacts.adapter_files import inspect_adapter
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, RowKind, Split, read_dataset, rows_digest
from ratchet_adapters.training import penalty as penalties
from ratchet_adapters.training import plugins
from ratchet_adapters.training.errors import NothingToTrain, PromptsMissing
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.penalties.errors import PenaltyUnknown
from ratchet_adapters.training.rewards import reward as rewards
from ratchet_adapters.training.rewards.errors import RewardInvalid, RewardOptionsInvalid, RewardUnknown

BASE = "sha256:" + "b" * 64
RECIPE = {"rank": 8, "batch_size": 8, "group_size": 4, "answer_tokens": 6, "precision": "fp32", "checkpoint_steps": 4,
          "first_layer": 0.0, "most_steps": 10, "epochs": 20.0, "guide_share": 0.0,
          "helpful": {"name": "tiny"}, "safe": {"name": "safe-rules", "options": {"toxicity": False}}}  # fmt: skip
METHODS = ("grpo", "rloo")


class FirstWord:
    """Worth 1 when the answer holds the word it likes. The wording of the tiny model's vocabulary."""

    def __init__(self, base, *, word="w7"):
        self.word = word

    def __call__(self, turns):
        return [float(self.word in turn.answer.split()) for turn in turns]


class Outside:
    def __init__(self, base):
        pass

    def __call__(self, turns):
        return [2.0 for _ in turns]


class Saying:
    """The share of an answer's words that are among the first of the vocabulary."""

    def __init__(self, below):
        self.words = {f"w{number}" for number in range(below)}

    def __call__(self, prompts, completions):
        return [sum(word in self.words for word in text.split()) / max(1, len(text.split())) for text in completions]


@pytest.fixture(autouse=True)
def tiny_rewards(monkeypatch):
    """Rewards and a penalty that a random model with 64 words can get."""
    here = {"tiny": FirstWord, "outside": Outside}
    monkeypatch.setattr(rewards, "_BUILT_IN", {**rewards._BUILT_IN, **{name: f"tiny:{name}" for name in here}})
    monkeypatch.setattr(penalties, "_BUILT_IN", {**penalties._BUILT_IN, "saying": "tiny:saying"})
    original = plugins.import_module

    def find(name):
        return type("tiny", (), {**here, "saying": Saying}) if name == "tiny" else original(name)

    monkeypatch.setattr(plugins, "import_module", find)


@pytest.fixture
def make_policy_job(make_job, tmp_path):
    def make(name="a", kind="grpo", rows=None, **recipe):
        job = make_job(name)
        if rows is not None:
            folder = tmp_path / f"rows-{name}"
            rows = tuple(rows)
            job = replace(
                job, dataset=Dataset(rows, {"format": FORMAT, "rows_digest": rows_digest(rows)}).write(folder)
            )
        settings = method(kind).settings.model_validate({**RECIPE, **recipe})
        return replace(job, method=kind, settings=settings)

    return make


def run(job, on_progress=None):
    return method(job.method).load()(job, on_progress)


def benign(job):
    return [row for row in read_dataset(job.dataset).rows if row.kind is RowKind.CONTRAST]


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("kind", METHODS)
def test_the_reward_rises(make_policy_job, kind):
    job = make_policy_job(
        kind=kind, benign_share=1.0, most_steps=24, batch_size=16, learning_rate=2e-2, beta=0.0, needless_refusal=0.0
    )
    rewards = [point.metrics["reward"] for point in run(job).curve]
    assert mean(rewards[-8:]) > mean(rewards[:8]) + 0.2


@pytest.mark.parametrize("kind", METHODS)
def test_an_interrupted_job_continues_and_ends_the_same(make_policy_job, kind):
    whole, cut = make_policy_job("whole", kind, accumulate=2), make_policy_job("cut", kind, accumulate=2)
    expected = run(whole)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 6:
            raise Killed

    with pytest.raises(Killed):
        run(cut, kill)
    result = run(cut)
    assert result.resumed_from == 4 and result.steps == expected.steps == 10
    for ours, theirs in zip(result.curve, expected.curve, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4, abs=1e-7)
        assert ours.metrics["reward"] == pytest.approx(theirs.metrics["reward"])
        assert ours.metrics["answer.tokens"] == theirs.metrics["answer.tokens"]
    first, second = ((job.output / "adapter_model.safetensors").read_bytes() for job in (whole, cut))
    assert first == second


@pytest.mark.parametrize("kind", METHODS)
def test_what_comes_out_is_a_plain_adapter(make_policy_job, kind):
    job = make_policy_job(kind=kind, most_steps=3, batch_size=16, learning_rate=1e-2)
    result = run(job)
    assert inspect_adapter(job.output, base_fingerprint=BASE, max_rank=16).rank == 8
    assert {path.name for path in job.output.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "ratchet.json",
    }
    assert json.loads((job.output / "adapter_config.json").read_text())["modules_to_save"] is None
    assert {"reward", "kl", "entropy", "helpful", "safe", "benign.share", "harmful.refused"} <= set(
        result.curve[0].metrics
    )


@pytest.mark.parametrize(("share", "seen"), [(0.5, 0.5), (0.25, 0.25), (1.0, 1.0)])
def test_the_share_of_benign_prompts_holds_in_every_step(make_policy_job, share, seen):
    result = run(make_policy_job(benign_share=share, batch_size=16, most_steps=4))
    assert [point.metrics["benign.share"] for point in result.curve] == pytest.approx([seen] * 4)


def test_a_mix_of_one_kind_that_asks_for_both_is_refused(make_policy_job):
    rows = benign(make_policy_job("x"))
    with pytest.raises(PromptsMissing, match="no harmful prompt"):
        run(make_policy_job("y", rows=rows))
    with pytest.raises(NothingToTrain):
        run(make_policy_job("z", rows=[replace(row, split=Split.VALIDATION) for row in rows]))


def test_a_rule_that_answers_break_is_unlearnt(make_policy_job):
    common = {"benign_share": 1.0, "most_steps": 24, "batch_size": 16, "learning_rate": 2e-2, "beta": 0.0,
              "helpful": {"name": "tiny", "options": {"word": "nothing"}}}  # fmt: skip
    # Nothing but the rule moves the policy.
    result = run(make_policy_job(rules={"saying": {"weight": 1.0, "options": {"below": 26}}}, **common))
    broken = [point.metrics["saying.penalty"] for point in result.curve]
    rewards = [point.metrics["reward"] for point in result.curve]
    assert rewards == pytest.approx([-value for value in broken], abs=1e-6)
    assert mean(broken[-8:]) < mean(broken[:8]) - 0.2


def test_a_guide_takes_the_last_place_in_its_group(make_policy_job):
    """The tiny model never refuses; the row's own refusal is the only answer that earns something."""
    common = {"benign_share": 0.0, "most_steps": 3, "batch_size": 8,
              "helpful": {"name": "tiny", "options": {"word": "can"}}}  # fmt: skip
    without = run(make_policy_job("none", guide_share=0.0, **common))
    guided = run(make_policy_job("all", guide_share=1.0, **common))
    assert [point.metrics["harmful.refused"] for point in without.curve] == [0.0] * 3
    assert [point.metrics["harmful.refused"] for point in guided.curve] == [0.25] * 3


def test_bad_recipes_say_what_is_wrong(make_policy_job):
    with pytest.raises(ValidationError, match="multiple of group_size"):
        make_policy_job(batch_size=6)
    with pytest.raises(RewardUnknown, match="no reward 'nope'"):
        run(make_policy_job("a", helpful={"name": "nope"}))
    with pytest.raises(RewardOptionsInvalid, match="colour"):
        run(make_policy_job("b", helpful={"name": "helpful-rules", "options": {"colour": 1}}))
    with pytest.raises(PenaltyUnknown):
        run(make_policy_job("c", rules={"nope": {}}))
    with pytest.raises(RewardInvalid, match=r"gave 2\.0"):
        run(make_policy_job("d", helpful={"name": "outside"}, most_steps=1))


def test_bfloat16_trains_too(make_policy_job):
    result = run(make_policy_job(precision="bf16", most_steps=2))
    assert all(point.loss == point.loss for point in result.curve)


def test_a_policy_that_refuses_too_much_is_stopped(make_policy_job, monkeypatch):
    from ratchet_adapters.training.trainers import over_refusal

    looks = iter([0.0, 1.0])
    monkeypatch.setattr(over_refusal.OverRefusalStop, "share", lambda self, model: next(looks))
    result = run(make_policy_job(over_refusal_ceiling=0.5, over_refusal_steps=2))
    assert result.steps == 4 and "above the ceiling" in result.stopped_early


@pytest.mark.parametrize("kind", METHODS)
def test_the_adapter_that_training_goes_on_from_is_the_reference(make_policy_job, kind):
    earlier = run(make_policy_job("earlier", kind, beta=0.0, learning_rate=5e-2))
    job = make_policy_job("second", kind, start="earlier", beta=0.5, learning_rate=1e-3)
    result = run(replace(job, inputs={"earlier": earlier.adapter}))
    # Against the base model the first step would be as far away as the first training went.
    assert result.curve[0].metrics["kl"] == pytest.approx(0.0, abs=1e-5)
    assert result.curve[-1].metrics["kl"] != 0.0
