"""Real TRL and PEFT on a tiny model: what comes out, and that it comes out the same after a kill."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ratchet_adapters.artifacts.adapter_files import inspect_adapter
from ratchet_adapters.artifacts.errors import WrongBase
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, read_dataset, rows_digest
from ratchet_adapters.training.errors import InputAdapterMissing, NothingToTrain, TrainingDiverged, WorkFolderMismatch
from ratchet_adapters.training.trainers.sft import train

BASE = "sha256:" + "b" * 64


def weights(folder):
    from safetensors.torch import load_file

    return load_file(str(folder / "adapter_model.safetensors"))


def test_the_adapter_folder_is_one_that_the_artifact_store_accepts(make_job):
    job = make_job()
    result = train(job)
    assert sorted(path.name for path in job.output.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "ratchet.json",
    ]
    manifest = inspect_adapter(job.output, base_fingerprint=BASE, max_rank=16)
    assert manifest.rank == 8 and set(manifest.target_modules) == set(job.settings.target_modules)
    provenance = json.loads((job.output / "ratchet.json").read_text())
    assert provenance["base_fingerprint"] == BASE
    assert provenance["dataset_digest"] == read_dataset(job.dataset).digest
    assert str(job.model) not in (job.output / "adapter_config.json").read_text()
    assert result.steps == 10 and len(result.losses) == 10 and result.validation_loss is not None


def test_the_loss_falls_and_progress_is_reported_step_by_step(make_job):
    seen = []
    result = train(make_job(epochs=15.0, learning_rate=2e-2, first_layer=0.0), seen.append)
    assert [progress.step for progress in seen] == list(range(1, result.steps + 1))
    assert {progress.total for progress in seen} == {result.steps}
    losses = [loss for _, loss in result.losses]
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])


def test_the_same_job_makes_the_same_bytes(make_job):
    first, second = make_job("a"), make_job("b")
    train(first), train(second)
    for name in ("README.md", "adapter_config.json", "adapter_model.safetensors", "ratchet.json"):
        assert (first.output / name).read_bytes() == (second.output / name).read_bytes()


def test_an_interrupted_job_continues_from_its_checkpoint_and_ends_the_same(make_job):
    whole, cut = make_job("whole"), make_job("cut")
    expected = train(whole)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 6:
            raise Killed

    with pytest.raises(Killed):
        train(cut, kill)
    (cut.work / "checkpoint-5").mkdir()  # what a kill in the middle of a checkpoint leaves
    steps = []
    result = train(cut, lambda progress: steps.append(progress.step))
    assert result.resumed_from == 4 and steps == [5, 6, 7, 8, 9, 10]
    assert not (cut.work / "checkpoint-5").exists()
    assert [step for step, _ in result.losses] == list(range(1, 11))
    assert dict(result.losses) == pytest.approx(dict(expected.losses), rel=1e-5)
    for name, tensor in weights(whole.output).items():
        assert tensor.equal(weights(cut.output)[name])


def test_a_work_folder_of_another_job_is_refused(make_job):
    train(make_job())
    with pytest.raises(WorkFolderMismatch, match="settings"):
        train(make_job(seed=1))


def test_adapters_begin_at_the_asked_depth(make_job):
    job = make_job(first_layer=0.5, target_modules=["q_proj"])
    train(job)
    assert {name.split("layers.")[1].split(".")[0] for name in weights(job.output)} == {"2", "3"}


def test_bfloat16_and_anchors_train_too(make_job, tmp_path):
    job = make_job(precision="bf16", anchor_weight=1.0)
    dataset = read_dataset(job.dataset)
    anchor = replace(dataset.rows[1], id="anchor", kind="anchor", prompt="", target="w1 w2 w3 w4 w5", cluster=99)
    rows = (*dataset.rows, anchor)
    folder = Dataset(rows, {"format": FORMAT, "rows_digest": rows_digest(rows)}).write(tmp_path / "anchored")
    result = train(replace(job, dataset=folder))
    assert all(loss == loss for _, loss in result.losses)
    assert all(str(tensor.dtype) == "torch.float32" for tensor in weights(job.output).values())


def test_a_dataset_whose_prompts_are_all_too_long_is_an_error(make_job, tmp_path):
    job = make_job(prompt_tokens=32)
    rows = tuple(replace(row, prompt="w1 " * 60) for row in read_dataset(job.dataset).rows)
    folder = Dataset(rows, {"format": FORMAT, "rows_digest": rows_digest(rows)}).write(tmp_path / "long")
    with pytest.raises(NothingToTrain):
        train(replace(job, dataset=folder))


def test_a_loss_that_is_not_a_number_ends_the_training(make_job, monkeypatch):
    import torch

    from ratchet_adapters.training.trainers.completion_trainer import CompletionTrainer

    original = CompletionTrainer.compute_loss

    def broken(self, *args, **kwargs):
        return original(self, *args, **kwargs) * (torch.nan if self.state.global_step == 2 else 1.0)

    monkeypatch.setattr(CompletionTrainer, "compute_loss", broken)
    job = make_job()
    with pytest.raises(TrainingDiverged):
        train(job)
    assert not job.output.exists()


def test_training_goes_on_from_an_earlier_adapter_in_its_shape(make_job):
    first = make_job("first")
    train(first)
    job = make_job("second", start="earlier", rank=4, learning_rate=1e-12)
    with pytest.raises(InputAdapterMissing, match="earlier"):
        train(job)
    train(replace(job, inputs={"earlier": first.output}))
    assert inspect_adapter(job.output, base_fingerprint=BASE, max_rank=16).rank == 8
    before, after = weights(first.output), weights(job.output)
    assert before.keys() == after.keys()
    assert all((before[name] - after[name]).abs().max() < 1e-6 for name in before)
    assert any(before[name].abs().max() > 0 for name in before if "lora_B" in name)


def test_an_adapter_of_another_base_model_is_nothing_to_go_on_from(make_job):
    first = make_job("first")
    train(first)
    job = make_job("second", start="earlier")
    other = replace(job, inputs={"earlier": first.output}, base_fingerprint="sha256:" + "c" * 64)
    with pytest.raises(WrongBase):
        train(other)


def test_strength_scales_the_finished_adapters_change_and_nothing_else(make_job):
    whole, half = make_job("whole"), make_job("half", strength=0.5)
    train(whole)
    train(half)
    alphas = [inspect_adapter(job.output, base_fingerprint=BASE, max_rank=16).alpha for job in (whole, half)]
    assert alphas[1] == alphas[0] / 2
    first, second = weights(whole.output), weights(half.output)
    assert all(bool((first[name] == second[name]).all()) for name in first)
