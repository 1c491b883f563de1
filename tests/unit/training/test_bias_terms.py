"""Texts that differ in a group only become equally likely, go on alike, and look alike to a fixed classifier."""

from __future__ import annotations

import math
from contextlib import nullcontext
from random import Random

import pytest
import torch

from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, read_dataset, rows_digest
from ratchet_adapters.training.bias_penalised import METHOD
from ratchet_adapters.training.errors import LossTermOptionsInvalid, TermRowsMissing
from ratchet_adapters.training.loss_term import TermStep, loss_term
from ratchet_adapters.training.loss_terms.counterfactual import jensen_shannon
from ratchet_adapters.training.loss_terms.pairs import pair_states
from ratchet_adapters.training.recipe import Recipe
from ratchet_adapters.training.trainers.model import load_model, load_tokenizer
from ratchet_adapters.training.trainers.sft import train
from ratchet_adapters.training.trainers.terms import ModelInTraining


def pair(first, second, number=0, kind="gender"):
    return Row(f"p{number}", RowKind.PAIR, Split.TRAIN, kind, "", first, "seed", (), number, second)


PAIRS = [pair(f"w{i} w40 w{i + 1} w{i + 2}", f"w{i} w41 w{i + 1} w{i + 2}", i) for i in range(12)]


@pytest.fixture
def in_training(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    torch.manual_seed(0)
    model = load_model(tiny_model, Recipe(rank=8, first_layer=0.0), "fp32")
    return ModelInTraining(model, tokenizer, tokenizer.pad_token_id, {RowKind.PAIR: PAIRS}, nullcontext)


def at(number=1):
    return TermStep(number, 10, Random(number), number)


def test_the_gap_is_that_of_the_likelihoods_computed_by_hand(in_training):
    in_training.rows_by_kind = {RowKind.PAIR: PAIRS[:1]}
    term = loss_term("counterfactual", {"gap_weight": 1.0, "divergence_weight": 0.0})
    found = term(in_training, at())
    rates = []
    for text in (PAIRS[0].target, PAIRS[0].rejected):
        ids = torch.tensor([in_training.tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            likely = in_training.model(ids).logits.log_softmax(-1)[0, :-1]
        rates.append(float(likely.gather(-1, ids[0, 1:, None]).mean()))
    assert found.level == pytest.approx(abs(rates[0] - rates[1]), rel=1e-4)
    assert float(found.loss) == pytest.approx((rates[0] - rates[1]) ** 2, rel=1e-4)


def test_equal_texts_have_no_gap_and_no_divergence(in_training):
    in_training.rows_by_kind = {RowKind.PAIR: [pair("w1 w2 w3", "w1 w2 w3")]}
    found = loss_term("counterfactual", {})(in_training, at())
    assert float(found.loss) == pytest.approx(0, abs=1e-9)


def test_the_ending_is_what_both_texts_have_alike_whatever_their_lengths(in_training):
    seen = pair_states(in_training, [pair("w1 w40 w41 w2 w3", "w1 w42 w2 w3"), pair("w1 w2", "w1 w3")])
    first, second, owner = seen.endings()
    assert list(seen.shared) == [2, 1] and owner.tolist() == [0, 0, 1]
    assert seen.batch.targets[first[:2]].tolist() == seen.batch.targets[second[:2]].tolist()


def test_the_divergence_is_symmetric_bounded_and_zero_for_the_same():
    torch.manual_seed(0)
    one, other = torch.randn(2, 5, 30).log_softmax(-1)
    there, back = jensen_shannon(one, other), jensen_shannon(other, one)
    assert torch.allclose(there, back) and (there > 0).all() and (there <= math.log(2)).all()
    assert jensen_shannon(one, one).abs().max() < 1e-6


def test_the_classifier_reads_one_from_the_base_model_and_stays_as_it_was(in_training):
    term = loss_term("frozen-classifier", {"pairs": 12})
    first = term(in_training, at())
    assert float(first.loss) == pytest.approx(1.0, rel=1e-4)
    assert first.loss.requires_grad
    before = {kind: direction.clone() for kind, direction in term._directions.items()}
    with torch.no_grad():
        next(p for name, p in in_training.model.named_parameters() if "lora_B" in name).add_(0.5)
    assert float(term(in_training, at(2)).loss) != pytest.approx(1.0, rel=1e-3)
    assert all(term._directions[kind].equal(direction) for kind, direction in before.items())


@pytest.mark.parametrize("name", ["counterfactual", "frozen-classifier"])
def test_without_pairs_and_with_unknown_options_the_error_says_so(in_training, name):
    in_training.rows_by_kind = {}
    with pytest.raises(TermRowsMissing, match="pairs"):
        loss_term(name, {})(in_training, at())
    with pytest.raises(LossTermOptionsInvalid, match=name):
        loss_term(name, {"strength": 2})


@pytest.mark.parametrize("name", ["counterfactual", "frozen-classifier"])
def test_training_lowers_the_level_and_repeats_itself(make_job, tmp_path, name):
    def job(folder):
        made = make_job(
            folder, epochs=8.0, learning_rate=1e-2, first_layer=0.0, anchor_weight=0.0, completion_weight=0.1,
            terms={name: {"weight": {"kind": "fixed", "value": 4.0}, "options": {"pairs": 12}}},
        )  # fmt: skip
        old = read_dataset(made.dataset)
        rows = (*old.rows, *PAIRS)
        folder_ = Dataset(rows, {"format": FORMAT, "rows_digest": rows_digest(rows)}).write(tmp_path / f"{folder}-data")
        from dataclasses import replace

        return replace(made, dataset=folder_)

    one, other = train(job("one")), train(job("other"))
    levels = [point.metrics[f"{name}.level"] for point in one.curve]
    assert levels[-1] < 0.7 * levels[0]
    assert [p.loss for p in one.curve] == [p.loss for p in other.curve]


def test_the_method_asks_its_dataset_for_pairs():
    assert METHOD.dataset["pairs"] > 0
    assert set(METHOD.settings().terms) == {"counterfactual"}
