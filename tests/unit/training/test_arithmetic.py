"""Arithmetic on adapters of a tiny model: exact where it claims to be, refused where it could not be served."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from ratchet_adapters.artifacts import AdapterIsNoop, WrongBase, inspect_adapter
from ratchet_adapters.training.arithmetic import CombineSettings, ScaleSettings
from ratchet_adapters.training.errors import AdaptersNotCombinable, InputAdapterMissing, RankOverflow
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.settings import ProcessSettings
from ratchet_adapters.training.sft_refusal import SftSettings
from ratchet_adapters.training.trainers import arithmetic, sft
from ratchet_adapters.training.trainers.process import train_in_process

BASE = "sha256:" + "b" * 64
PROMPT = "<|im_start|> user w1 w2 w3 <|im_end|> <|im_start|> assistant"


@pytest.fixture(scope="session")
def adapters(tiny_model, tiny_dataset, tmp_path_factory):
    """Three small adapters: `a` and `b` on different layers and modules, `c` of another rank."""
    shapes = {
        "a": {"rank": 4, "target_modules": ["q_proj", "up_proj"], "last_layer": 0.5, "first_layer": 0.0},
        "b": {"rank": 4, "target_modules": ["up_proj", "down_proj"], "first_layer": 0.25, "seed": 1},
        "c": {"rank": 8, "target_modules": ["v_proj"], "seed": 2},
    }
    folders = {}
    for name, shape in shapes.items():
        folder = tmp_path_factory.mktemp(name)
        recipe = {"batch_size": 8, "epochs": 1.0, "precision": "fp32", "learning_rate": 2e-2, "anchor_weight": 0}
        job = TrainingJob(
            method="sft-refusal",
            dataset=tiny_dataset,
            model=tiny_model,
            base_fingerprint=BASE,
            output=folder / "adapter",
            work=folder / "work",
            settings=SftSettings.model_validate({**recipe, **shape}),
            process=ProcessSettings.model_validate({"threads": 1, "nice": 0}),
        )
        sft.train(job)
        folders[name] = job.output
    return folders


@pytest.fixture
def job_of(make_job, adapters):
    """Make a job of a method from weights."""

    def make(name, weights, folder="out", inputs=None, **recipe):
        settings = method(name).settings.model_validate({"adapters": weights, **recipe})
        return replace(make_job(folder), method=name, settings=settings, inputs=inputs or adapters)

    return make


def logits(model_folder, *parts):
    """Logits of the tiny model with the weighted adapters' changes added to its weights by hand."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    modules = dict(model.named_modules())
    with torch.no_grad():
        for folder, weight in parts:
            for name, change in changes(folder).items():
                modules[name].weight += weight * change
        return model(**tokenizer(PROMPT, return_tensors="pt")).logits


def changes(folder):
    """Module path to the weight change of an adapter folder."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    found = {}
    for name, down in tensors.items():
        if ".lora_A." in name:
            up = tensors[name.replace("lora_A", "lora_B")]
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            found[module] = up @ down * (config["lora_alpha"] / config["r"])
    return found


def peft_logits(model_folder, folder):
    """Logits of the tiny model with an adapter folder, loaded by PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder), folder).eval()
    with torch.no_grad():
        return model(**tokenizer(PROMPT, return_tensors="pt")).logits


def close(one, other, tolerance=2e-4):
    return torch.allclose(one, other, atol=tolerance, rtol=tolerance)


# Scale


@pytest.mark.parametrize("gamma", [0.25, 0.5, 0.75, 1.3])
def test_scaling_is_the_change_times_gamma_and_nothing_but_alpha(job_of, adapters, tiny_model, gamma):
    job = job_of("scale", {"a": gamma})
    result = arithmetic.scale(job)
    before, after = changes(adapters["a"]), changes(result.adapter)
    assert all(torch.allclose(after[name], gamma * before[name], rtol=1e-6) for name in before)
    weights = "adapter_model.safetensors"
    assert (job.output / weights).read_bytes() == (adapters["a"] / weights).read_bytes()
    assert inspect_adapter(job.output, base_fingerprint=BASE, max_rank=4).alpha == pytest.approx(32 * gamma)
    assert close(peft_logits(tiny_model, job.output), logits(tiny_model, (adapters["a"], gamma)))
    assert not close(peft_logits(tiny_model, job.output), logits(tiny_model), 1e-3)


def test_scaling_by_one_is_the_same_function_bit_for_bit(job_of, adapters, tiny_model):
    arithmetic.scale(job := job_of("scale", {"a": 1.0}))
    assert torch.equal(peft_logits(tiny_model, job.output), peft_logits(tiny_model, adapters["a"]))


# Combine


def test_one_adapter_combined_is_that_adapter(job_of, adapters, tiny_model):
    arithmetic.combine(job := job_of("combine", {"a": 1.0, "b": 0.0}))
    assert torch.equal(peft_logits(tiny_model, job.output), peft_logits(tiny_model, adapters["a"]))


@pytest.mark.parametrize("weights", [{"a": 1.0, "b": 1.0}, {"a": 0.5, "b": -0.7, "c": 1.2}])
def test_a_sum_of_concatenated_ranks_is_exact_over_all_layers_and_modules(job_of, adapters, tiny_model, weights):
    result = arithmetic.combine(job := job_of("combine", weights))
    parts = [(adapters[name], weight) for name, weight in weights.items()]
    assert close(peft_logits(tiny_model, job.output), logits(tiny_model, *parts))
    assert set(changes(job.output)) == set().union(*(changes(adapters[name]) for name in weights))
    assert result.curve[0].loss < 1e-5
    rank = sum({"a": 4, "b": 4, "c": 8}[name] for name in weights)
    assert inspect_adapter(job.output, base_fingerprint=BASE, max_rank=16).rank == rank


def test_the_best_low_rank_sum_says_how_much_it_misses(job_of, adapters):
    whole = arithmetic.combine(job_of("combine", {"a": 1.0, "c": 1.0}, combination="svd", rank=12))
    cut = arithmetic.combine(job := job_of("combine", {"a": 1.0, "b": 1.0}, "cut", combination="svd", rank=2))
    assert whole.curve[0].loss < 1e-4
    assert 0.01 < cut.curve[0].loss < 1
    exact: dict[str, torch.Tensor] = {}
    for name in ("a", "b"):
        for module, change in changes(adapters[name]).items():
            exact[module] = exact.get(module, 0) + change
    made = changes(job.output)
    missed = sum(float((exact[module] - made[module]).pow(2).sum()) for module in exact)
    assert cut.curve[0].loss == pytest.approx(
        (missed / sum(float(x.pow(2).sum()) for x in exact.values())) ** 0.5, rel=1e-3
    )


@pytest.mark.parametrize("combination", ["ties", "ties_svd", "dare_linear", "dare_ties_svd"])
def test_pruning_sums_can_be_served_and_are_the_same_each_time(job_of, combination):
    digests = []
    for name in ("one", "two"):
        job = job_of("combine", {"a": 1.0, "b": 1.0}, name, combination=combination, density=0.5)
        arithmetic.combine(job)
        digests.append(inspect_adapter(job.output, base_fingerprint=BASE, max_rank=32).digest)
    assert digests[0] == digests[1]


def test_the_result_names_what_it_was_made_of(job_of, adapters):
    arithmetic.combine(job := job_of("combine", {"a": 0.5, "b": 0.25}))
    known = json.loads((job.output / "ratchet.json").read_text())
    digest = inspect_adapter(adapters["a"], base_fingerprint=BASE, max_rank=8).digest
    assert known["method"] == "combine" and known["settings"]["adapters"] == {"a": 0.5, "b": 0.25}
    assert known["inputs"][0]["digest"] == digest and known["inputs"][0]["method"] == "sft-refusal"
    assert digest in (job.output / "README.md").read_text()


# What is refused


def test_what_can_not_be_is_a_typed_error_and_makes_nothing(job_of, adapters, tmp_path):
    with pytest.raises(InputAdapterMissing, match="nowhere"):
        arithmetic.scale(job_of("scale", {"nowhere": 0.5}))
    with pytest.raises(RankOverflow, match="rank 12, and the limit is 10") as overflow:
        arithmetic.combine(job_of("combine", {"a": 1.0, "c": 1.0}, rank=10))
    assert (overflow.value.rank, overflow.value.limit) == (12, 10)
    with pytest.raises(RankOverflow):
        arithmetic.scale(job_of("scale", {"c": 0.5}, rank=4))
    with pytest.raises(AdaptersNotCombinable, match="equal ranks"):
        arithmetic.combine(job_of("combine", {"a": 1.0, "c": 1.0}, combination="linear"))
    other = replace(job_of("scale", {"a": 0.5}), base_fingerprint="sha256:" + "c" * 64)
    with pytest.raises(WrongBase):
        arithmetic.scale(other)
    assert not job_of("scale", {"a": 0.5}).output.exists()


def test_a_sum_that_cancels_out_is_refused(job_of, adapters, tmp_path):
    opposite = tmp_path / "opposite"
    shutil.copytree(adapters["a"], opposite)
    weights = opposite / "adapter_model.safetensors"
    zero = {name: tensor * (0 if "lora_B" in name else 1) for name, tensor in load_file(weights).items()}
    save_file(zero, weights)
    with pytest.raises(AdapterIsNoop):
        arithmetic.scale(job_of("scale", {"zero": 2.0}, inputs={"zero": opposite}))


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (ScaleSettings, {}),
        (ScaleSettings, {"adapters": {"a": 1, "b": 1}}),
        (ScaleSettings, {"adapters": {"a": 0}}),
        (ScaleSettings, {"adapters": {"a": float("nan")}}),
        (CombineSettings, {"adapters": {}}),
        (CombineSettings, {"adapters": {"a": 9}}),
        (CombineSettings, {"adapters": {"a": 1}, "combination": "ties"}),
        (CombineSettings, {"adapters": {"a": 1}, "density": 0.5}),
        (CombineSettings, {"adapters": {"a": 1}, "combination": "magic"}),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, values):
    with pytest.raises(ValidationError):
        settings.model_validate(values)


# The job


def test_inputs_travel_with_the_job(job_of, adapters):
    job = job_of("scale", {"a": 0.5})
    assert TrainingJob.from_json(json.loads(json.dumps(job.to_json()))) == job
    old = {key: value for key, value in job.to_json().items() if key != "inputs"}
    assert TrainingJob.from_json(old).inputs == {}


def test_it_runs_in_a_process_of_its_own_like_any_training(job_of):
    seen = []
    result = train_in_process(job := job_of("scale", {"a": 0.5}), seen.append)
    assert result.steps == 1 and len(seen) == 1 and (job.output / "adapter_config.json").exists()
    assert train_in_process(job).adapter == job.output
