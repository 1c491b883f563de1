"""Reward models on a tiny model: they learn what can be learnt, say how well, and can never pass as adapters."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from ratchet_adapters.artifacts.adapter_files import inspect_adapter
from ratchet_adapters.artifacts.errors import AdapterInvalid
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, RowKind, Split, read_dataset, rows_digest
from ratchet_adapters.learning.errors import CandidateRefused
from ratchet_adapters.learning.teaching import register
from ratchet_adapters.training.errors import NothingToTrain
from ratchet_adapters.training.methods import method, methods
from ratchet_adapters.training.reward_model import RewardModelSettings
from ratchet_adapters.training.rewards.errors import RewardModelInvalid
from ratchet_adapters.training.rewards.model import ModelReward
from ratchet_adapters.training.rewards.reward import BaseModelFolder, Turn
from ratchet_adapters.training.trainers.reward_model import train

BASE = "sha256:" + "b" * 64
REFUSAL, ANSWER = "i can not help", "here is the w3 w4"
RECIPE = {"rank": 8, "batch_size": 4, "epochs": 4.0, "precision": "fp32", "checkpoint_steps": 4, "first_layer": 0.0,
          "learning_rate": 1e-2}  # fmt: skip


@pytest.fixture
def make_reward_job(make_job, tmp_path):
    """A job on rows in which the refusal is always the better of the two texts."""

    def make(name="a", rows=None, **recipe):
        job = make_job(name)
        if rows is None:
            rows = tuple(
                replace(row, kind=RowKind.REFUSAL, target=REFUSAL, rejected=ANSWER)
                for row in read_dataset(job.dataset).rows
            )
        folder = tmp_path / f"pairs-{name}"
        Dataset(rows, {"format": FORMAT, "rows_digest": rows_digest(rows), "counts": {}}).write(folder)
        settings = RewardModelSettings.model_validate({**RECIPE, **recipe})
        return replace(job, method="reward-model", dataset=folder, settings=settings)

    return make


def provenance(folder):
    return json.loads((folder / "ratchet.json").read_text())


def test_a_separable_set_is_learnt_and_the_interval_is_wilsons(make_reward_job):
    job = make_reward_job(head="safe")
    result = train(job)
    assert result.losses[-1][1] < 0.1 < result.losses[0][1]
    about = provenance(job.output)
    assert (about["kind"], about["head"], about["base_fingerprint"]) == ("reward-model", "safe", BASE)
    train_set, held_out = about["accuracy"]["train"], about["accuracy"]["validation"]
    assert (train_set["value"], held_out["value"], train_set["n"], held_out["n"]) == (1.0, 1.0, 20, 4)
    # Wilson (1927) at k = n: the lower end is n / (n + z²).
    z2 = 1.959963984540054**2
    assert train_set["low"] == pytest.approx(20 / (20 + z2)) and held_out["low"] == pytest.approx(4 / (4 + z2))
    assert train_set["high"] == held_out["high"] == pytest.approx(1.0)


def test_pairs_without_a_difference_to_learn_are_at_chance(make_reward_job):
    rows = tuple(
        replace(
            row,
            kind=RowKind.REFUSAL,
            target=REFUSAL if number % 2 else ANSWER,
            rejected=ANSWER if number % 2 else REFUSAL,
            prompt="w1 w2 w3",
        )
        for number, row in enumerate(read_dataset(make_reward_job("x").dataset).rows)
    )
    job = make_reward_job("chance", rows=rows)
    train(job)
    found = provenance(job.output)["accuracy"]["train"]
    assert found["value"] == 0.5 and found["low"] < 0.5 < found["high"]


def test_the_folder_can_never_be_registered_as_an_adapter(make_reward_job, tmp_path):
    job = make_reward_job()
    train(job)

    def refusal(folder):
        with pytest.raises(AdapterInvalid) as caught:
            inspect_adapter(folder, base_fingerprint=BASE, max_rank=64)
        return str(caught.value)

    assert "SEQ_CLS" in refusal(job.output)
    forged = tmp_path / "forged"
    shutil.copytree(job.output, forged)
    config = json.loads((forged / "adapter_config.json").read_text())
    assert "score" in config["modules_to_save"]
    (forged / "adapter_config.json").write_text(json.dumps({**config, "task_type": "CAUSAL_LM"}))
    assert "modules_to_save is set" in refusal(forged)
    (forged / "adapter_config.json").write_text(
        json.dumps({**config, "task_type": "CAUSAL_LM", "modules_to_save": None})
    )
    assert "score" in refusal(forged)


def test_only_the_reward_model_is_not_servable():
    assert [found.name for found in methods().values() if not found.servable] == ["reward-model"]


def test_the_learner_refuses_to_register_it():
    trail = SimpleNamespace(method="reward-model", adapter="sha256:" + "a" * 64)
    with pytest.raises(CandidateRefused, match="reward-model makes no adapter"):
        register(None, trail, None)


def test_an_interrupted_job_continues_and_ends_the_same(make_reward_job):
    whole, cut = make_reward_job("whole"), make_reward_job("cut")
    expected = train(whole)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 10:
            raise Killed

    with pytest.raises(Killed):
        train(cut, kill)
    assert not cut.output.exists()
    result = train(cut)
    assert result.resumed_from == 8
    assert dict(result.losses) == pytest.approx(dict(expected.losses), rel=1e-5)
    for name in ("adapter_model.safetensors", "ratchet.json", "adapter_config.json"):
        assert (whole.output / name).read_bytes() == (cut.output / name).read_bytes()


def test_it_scores_as_a_reward(make_reward_job):
    job = make_reward_job()
    train(job)
    found = ModelReward(BaseModelFolder(job.model, BASE), folder=job.output)
    values = found([Turn("w1 w2", REFUSAL, True), Turn("w1 w2", ANSWER, True), Turn("w1 w2", "", True)])
    assert values[0] > 0.7 and values[1] < 0.3 and values[2] == 0.0
    # The same alone as in a batch with longer neighbours.
    assert found([Turn("w1 w2", REFUSAL, True)]) == pytest.approx(values[:1], rel=1e-5)


def test_what_is_no_reward_model_of_this_base_is_refused(make_reward_job, tmp_path):
    job = make_reward_job()
    train(job)
    base = BaseModelFolder(job.model, BASE)
    with pytest.raises(RewardModelInvalid, match="can not be read"):
        ModelReward(base, folder=tmp_path / "absent")
    with pytest.raises(RewardModelInvalid, match="is for base"):
        ModelReward(BaseModelFolder(job.model, "sha256:" + "c" * 64), folder=job.output)
    (job.output / "adapter_model.safetensors").write_bytes(b"broken")
    with pytest.raises(RewardModelInvalid, match="does not load"):
        ModelReward(base, folder=job.output)
    (job.output / "ratchet.json").write_text(json.dumps({"base_fingerprint": BASE}))
    with pytest.raises(RewardModelInvalid, match="does not say"):
        ModelReward(base, folder=job.output)


def test_rows_without_a_second_answer_teach_nothing(make_reward_job):
    rows = tuple(replace(row, rejected="") for row in read_dataset(make_reward_job("x").dataset).rows)
    with pytest.raises(NothingToTrain):
        train(make_reward_job("none", rows=rows))


def test_heads_take_their_own_rows(make_reward_job):
    source = read_dataset(make_reward_job("x").dataset).rows
    rows = tuple(
        replace(row, split=Split.TRAIN, kind=RowKind.REFUSAL if number < 4 else RowKind.CONTRAST)
        for number, row in enumerate(source)
    )
    counts = {head: train(make_reward_job(head, rows=rows, head=head, epochs=1.0)).rows for head in ("safe", "helpful")}
    assert counts == {"safe": 4, "helpful": 20}
    assert train(make_reward_job("overall", rows=rows, epochs=1.0)).rows == 24


def test_an_early_stop_that_asks_for_answers_is_refused():
    with pytest.raises(ValidationError, match="answers nothing"):
        method("reward-model").settings.model_validate({"over_refusal_ceiling": 0.1})
