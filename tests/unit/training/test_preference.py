"""Preference training on a tiny model: losses against values computed by hand, and the same after a kill."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ratchet_adapters.artifacts.adapter_files import inspect_adapter
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, read_dataset, rows_digest
from ratchet_adapters.training.errors import NothingToTrain
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.trainers import dpo, kto, orpo
from ratchet_adapters.training.trainers.dpo_trainer import pair_losses
from ratchet_adapters.training.trainers.kto import balanced_weights
from ratchet_adapters.training.trainers.session import Session

BASE = "sha256:" + "b" * 64
TRAIN = {"dpo": dpo.train, "kto": kto.train, "orpo": orpo.train}
PREPARE = {"dpo": dpo._prepare, "kto": kto._prepare, "orpo": orpo._prepare}
REFUSAL = "i can not help"


def row(name, kind="refusal", target=REFUSAL, rejected="here is the w1 w2", **changes):
    fixed = {"split": Split.TRAIN, "category": "", "prompt": f"w{len(name)} {name}", "origin": "seed", "flag_ids": ()}
    return Row(
        **{"id": name, "kind": RowKind(kind), "target": target, "rejected": rejected, "cluster": 0} | fixed | changes
    )


@pytest.fixture(scope="session")
def pair_dataset(tmp_path_factory):
    """12 refusal and 12 contrast rows with both answers; 4 of them for validation, every fourth from a flag."""
    rows = []
    for i in range(24):
        harmful = i % 2 == 0
        prompt = " ".join(f"w{(i * 3 + k) % 52}" for k in range(3 + i % 5))
        answer = " ".join(["here is the", *(f"w{(i + k) % 52}" for k in range(2 + i % 4))])
        target, rejected = (REFUSAL, answer) if harmful else (answer, REFUSAL)
        rows.append(
            row(
                f"r{i}", "refusal" if harmful else "contrast", target, rejected, prompt=prompt,
                split=Split.VALIDATION if i >= 20 else Split.TRAIN, flag_ids=("f",) if i % 4 == 0 else (), cluster=i,
            )
        )  # fmt: skip
    return write(rows, tmp_path_factory.mktemp("pairs"))


def write(rows, folder):
    return Dataset(tuple(rows), {"format": FORMAT, "rows_digest": rows_digest(rows)}).write(folder)


@pytest.fixture
def job_of(make_job, pair_dataset):
    """Make a job of a method; keywords change its recipe."""

    def make(name, folder="a", dataset=pair_dataset, **recipe):
        values = {
            "rank": 8,
            "batch_size": 4,
            "epochs": 2.0,
            "precision": "fp32",
            "checkpoint_steps": 4,
            "judge": "rows",
        }
        settings = method(name).settings.model_validate({**values, "first_layer": 0.0, **recipe})
        return replace(make_job(f"{name}-{folder}"), method=name, dataset=dataset, settings=settings)

    return make


# Losses


def test_losses_are_what_the_formulas_give():
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    scores = torch.tensor([0.7 - 2.0, 0.3])
    noise = torch.tensor([0.1, 0.0])
    clean = [-math.log(sigmoid(-1.3)), -math.log(sigmoid(0.3))]
    cautious = [0.9 * clean[0] - 0.1 * math.log(sigmoid(1.3)), clean[1]]
    unbiased = [(0.9 * clean[0] + 0.1 * math.log(sigmoid(1.3))) / 0.8, clean[1]]
    assert pair_losses(scores, noise, "conservative").tolist() == pytest.approx(cautious)
    assert pair_losses(scores, noise, "robust").tolist() == pytest.approx(unbiased)


def opened(job):
    """A trainer whose adapter is not the identity, and its model."""
    trainer = PREPARE[job.method](Session(job, read_dataset(job.dataset), "fp32")).trainer
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2)
    return trainer


def log_prob(model, prompt, answer):
    """The answer's log-probability, one token after the other, from the whole table of logits."""
    with torch.no_grad():
        table = model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    return sum(float(table[len(prompt) + place - 1, token]) for place, token in enumerate(answer))


def ratios(trainer, entry, names):
    policy = [log_prob(trainer.model, entry["prompt_ids"], entry[name]) for name in names]
    with trainer.model.disable_adapter():
        base = [log_prob(trainer.model, entry["prompt_ids"], entry[name]) for name in names]
    return policy, [one - other for one, other in zip(policy, base, strict=True)]


def batch_loss(trainer, entries):
    return trainer.compute_loss(trainer.model, trainer.data_collator(entries)).item()


@pytest.mark.parametrize("smoothing", ["conservative", "robust"])
def test_the_dpo_loss_of_a_batch_is_the_one_computed_by_hand(job_of, smoothing):
    job = job_of("dpo", safety_margin=3.0, flag_noise=0.2, chosen_nll_weight=0.5, beta=0.3, smoothing=smoothing)
    trainer = opened(job)
    entries = [trainer.train_dataset[number] for number in range(4)]
    total, nll, tokens = 0.0, 0.0, 0
    for number, entry in enumerate(entries):
        (chosen, _), (wins, loses) = ratios(trainer, entry, ("chosen_ids", "rejected_ids"))
        # Even rows are harm pairs with an unsafe rejected answer, every fourth comes from a flag.
        assert entry["margin"] == (3.0 if number % 2 == 0 else 0.0)
        assert entry["noise"] == pytest.approx(0.2 if number % 4 == 0 else 0.0)
        score = 0.3 * (wins - loses) - (3.0 if number % 2 == 0 else 0.0)
        right, wrong = math.log1p(math.exp(-score)), math.log1p(math.exp(score))
        noise = 0.2 if number % 4 == 0 else 0.0
        if smoothing == "robust":
            total += ((1 - noise) * right - noise * wrong) / (1 - 2 * noise) / 4
        else:
            total += ((1 - noise) * right + noise * wrong) / 4
        nll, tokens = nll - chosen, tokens + len(entry["chosen_ids"])
    assert batch_loss(trainer, entries) == pytest.approx(total + 0.5 * nll / tokens, rel=1e-4)


def test_without_margin_and_noise_the_dpo_loss_is_that_of_trl(job_of):
    from trl import DPOTrainer

    trainer = opened(job_of("dpo", safety_margin=0.0, flag_noise=0.0, chosen_nll_weight=0.0))
    entries = [trainer.train_dataset[number] for number in range(4)]
    ours = batch_loss(trainer, entries)
    batch = trainer.data_collator(entries)
    batch = {name: value for name, value in batch.items() if name not in ("margin", "noise")}
    assert ours == pytest.approx(DPOTrainer._compute_loss(trainer, trainer.model, batch, False).item(), rel=1e-5)


def test_the_kto_loss_of_a_batch_is_the_one_computed_by_hand(job_of):
    trainer = opened(job_of("kto", beta=0.3))
    entries = [trainer.train_dataset[number] for number in range(4)]
    assert [entry["KL_completion_ids"] for entry in entries[1:]] == [entry["completion_ids"] for entry in entries[:3]]
    drift = sum(ratios(trainer, entry, ("KL_completion_ids",))[1][0] for entry in entries) / 4
    losses = []
    for entry in entries:
        value = 0.3 * (ratios(trainer, entry, ("completion_ids",))[1][0] - max(0.0, drift))
        losses.append(1 - 1 / (1 + math.exp(-value if entry["label"] else value)))
    assert {entry["label"] for entry in entries} == {True, False}
    assert batch_loss(trainer, entries) == pytest.approx(sum(losses) / 4, rel=1e-4)


def test_the_orpo_loss_of_a_batch_is_the_one_computed_by_hand(job_of):
    trainer = opened(job_of("orpo", odds_weight=0.7))
    entries = [trainer.train_dataset[number] for number in range(4)]
    total, nll, tokens = 0.0, 0.0, 0
    for entry in entries:
        (chosen, rejected), _ = ratios(trainer, entry, ("chosen_ids", "rejected_ids"))
        nll, tokens = nll - chosen, tokens + len(entry["chosen_ids"])
        chosen, rejected = chosen / len(entry["chosen_ids"]), rejected / len(entry["rejected_ids"])
        odds = [math.exp(value) / (1 - math.exp(value)) for value in (chosen, rejected)]
        total += 0.7 * math.log1p(odds[1] / odds[0]) / 4
    assert batch_loss(trainer, entries) == pytest.approx(total + nll / tokens, rel=1e-4)


@pytest.mark.parametrize(("wanted", "unwanted", "balance"), [(10, 40, 1.0), (40, 10, 1.2), (7, 7, 4 / 3)])
def test_weights_balance_what_was_wanted_and_what_was_not(wanted, unwanted, balance):
    desirable, undesirable = balanced_weights(wanted, unwanted, balance)
    assert desirable * wanted == pytest.approx(balance * undesirable * unwanted)
    assert min(desirable, undesirable) == 1


def test_what_rows_have_in_common_is_computed_once_and_changes_nothing(tiny_model):
    from transformers import AutoModelForCausalLM

    from ratchet_adapters.training.trainers.answers import token_log_probs
    from ratchet_adapters.training.trainers.prefix_tree import prefix_tree

    model = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="eager").eval()
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 60, (10, 24), generator=chance)
    ids[:, :9] = ids[0, :9]
    ids[5:, :14] = ids[:5, :14]
    sizes = torch.randint(16, 25, (10,), generator=chance)
    attention = (torch.arange(24) < sizes[:, None]).long()
    answer = attention * (torch.arange(24) >= 14)
    tree = prefix_tree(ids, attention)
    assert tree.input_ids.numel() < 0.75 * ids.numel()
    assert (tree.input_ids.flatten()[tree.places] == ids)[attention.bool()].all()
    found = token_log_probs(model, ids, attention, answer)
    for number in range(10):
        prompt, row = ids[number, :14].tolist(), ids[number, 14 : sizes[number]].tolist()
        assert found[number].sum().item() == pytest.approx(log_prob(model, prompt, row), rel=1e-4)
        assert (found[number] != 0).sum() == len(row)


# Training


@pytest.mark.parametrize("name", TRAIN)
def test_the_preferred_answers_become_likelier_and_the_adapter_is_one_to_serve(job_of, name):
    job = job_of(name, epochs=12.0, learning_rate=1e-2)
    seen = []
    result = TRAIN[name](job, seen.append)
    assert [point.step for point in seen] == list(range(1, result.steps + 1))
    assert seen[-1].loss < seen[0].loss and result.validation_loss is not None
    assert seen[-1].metrics["rewards/margins"] > seen[0].metrics["rewards/margins"] + 0.1
    assert {"rewards/chosen", "rewards/rejected"} <= set(seen[-1].metrics)
    assert seen[0].metrics["pairs.used"] == 20 and "pairs.used" not in seen[-1].metrics
    assert inspect_adapter(job.output, base_fingerprint=BASE, max_rank=16).rank == 8
    assert sorted(path.name for path in job.output.iterdir())[1:3] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


@pytest.mark.parametrize("name", TRAIN)
def test_an_interrupted_training_ends_the_same(job_of, name):
    whole, cut = job_of(name, "whole", chosen_nll_weight=0.1) if name == "dpo" else job_of(name, "whole"), None
    expected = TRAIN[name](whole)
    cut = replace(whole, output=whole.output.parent / "cut", work=whole.work.parent / "cut-work")

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 6:
            raise Killed

    with pytest.raises(Killed):
        TRAIN[name](cut, kill)
    result = TRAIN[name](cut)
    assert result.resumed_from == 4 and result.steps == expected.steps > 6
    assert [point.step for point in result.curve] == [point.step for point in expected.curve]
    for one, other in zip(expected.curve, result.curve, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5), one.step
        assert dict(other.metrics) == pytest.approx(dict(one.metrics), rel=1e-4, abs=1e-6), one.step
    from safetensors.torch import load_file

    first, second = (load_file(str(job.output / "adapter_model.safetensors")) for job in (whole, cut))
    assert all(tensor.equal(second[key]) for key, tensor in first.items()) and len(first) == len(second)


@pytest.mark.parametrize("name", TRAIN)
def test_over_refusal_pairs_move_the_answer_away_from_the_refusal(job_of, name, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    job = job_of(name, epochs=12.0, learning_rate=1e-2, over_refusal_share=None if name == "kto" else 1.0)
    rows = [entry for entry in read_dataset(job.dataset).rows if entry.kind is RowKind.CONTRAST]
    job = replace(job, dataset=write(rows, tmp_path / "benign"))
    TRAIN[name](job)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(job.model), str(job.output)).eval()

    def margin(entry):
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": entry.prompt}], add_generation_prompt=True)
        ids = prompt["input_ids"] if not isinstance(prompt, list) else prompt
        answers = [tokenizer(text)["input_ids"] for text in (entry.target, entry.rejected)]
        return log_prob(model, ids, answers[0]) - log_prob(model, ids, answers[1])

    held_out = [entry for entry in rows if entry.split is Split.VALIDATION]
    after = [margin(entry) for entry in held_out]
    with model.disable_adapter():
        before = [margin(entry) for entry in held_out]
    assert len(held_out) == 2 and all(one > other + 1 for one, other in zip(after, before, strict=True))


@pytest.mark.parametrize("name", TRAIN)
def test_a_dataset_without_a_usable_pair_is_an_error(job_of, name, tmp_path):
    dataset = write([row("a", rejected=""), row("b", rejected="")], tmp_path / "empty")
    with pytest.raises(NothingToTrain):
        TRAIN[name](job_of(name, dataset=dataset))


def test_parts_of_a_step_and_bfloat16_train_too(job_of):
    for name in TRAIN:
        whole = TRAIN[name](job_of(name, "whole", epochs=1.0))
        parts = TRAIN[name](job_of(name, "parts", epochs=1.0, accumulate=2))
        assert parts.steps == whole.steps
        rough = TRAIN[name](job_of(name, "rough", epochs=1.0, precision="bf16"))
        assert rough.curve[0].loss == pytest.approx(whole.curve[0].loss, rel=0.05)


def test_kto_needs_neighbours_for_its_kl():
    with pytest.raises(ValueError, match="at least twice accumulate"):
        method("kto").settings(batch_size=4, accumulate=4)


@pytest.mark.parametrize("name", TRAIN)
def test_anchor_texts_hold_the_adapter_to_the_base_model(job_of, name, pair_dataset, tmp_path):
    texts = [
        row(f"a{i}", "anchor", " ".join(f"w{(i * 5 + k) % 52}" for k in range(12)), "", prompt="") for i in range(4)
    ]
    dataset = write([*read_dataset(pair_dataset).rows, *texts], tmp_path / "anchored")
    recipe = {"dataset": dataset, "epochs": 4.0, "learning_rate": 2e-3}
    loose = TRAIN[name](job_of(name, "loose", anchor_weight=1e-9, **recipe), None)
    held = TRAIN[name](job_of(name, "held", anchor_weight=30.0, **recipe), None)
    far, near = (sum(point.metrics["drift"] for point in run.curve[-8:]) for run in (loose, held))
    assert 0 < near < far / 2
    off = TRAIN[name](job_of(name, "off", anchor_weight=0.0, **recipe), None)
    assert "drift" not in off.curve[-1].metrics
