"""Logged toxic answers become less likely; only the spans above the threshold, where there are some."""

from __future__ import annotations

import math
from contextlib import nullcontext
from random import Random

import pytest
import torch

from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.training import penalty as port
from ratchet_adapters.training.errors import LossTermOptionsInvalid, TermRowsMissing
from ratchet_adapters.training.loss_term import TermStep, loss_term
from ratchet_adapters.training.loss_terms.unlikelihood import spans
from ratchet_adapters.training.recipe import Recipe
from ratchet_adapters.training.trainers.model import load_model, load_tokenizer
from ratchet_adapters.training.trainers.terms import ModelInTraining


class Bad:
    """Texts are as bad as their worst word: 0.9 for w1, 0.5 for w2; w3 is bad only beside w4."""

    def __call__(self, prompts, completions):
        return [
            0.9 if "w1" in words or {"w3", "w4"} <= words else 0.5 if "w2" in words else 0.0
            for words in (set(text.split()) for text in completions)
        ]


@pytest.fixture(autouse=True)
def penalties(monkeypatch):
    monkeypatch.setattr(port, "_BUILT_IN", {"bad": "tests.unit.training.test_unlikelihood:Bad"})


@pytest.fixture
def in_training(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    torch.manual_seed(0)
    model = load_model(tiny_model, Recipe(rank=8, first_layer=0.0), "fp32")
    return ModelInTraining(model, tokenizer, tokenizer.pad_token_id, {}, nullcontext)


def logged(rejected, kind=RowKind.REFUSAL, prompt="w30 w31"):
    return Row(rejected, kind, Split.TRAIN, "", prompt, "", "flag", ("f",), 1, rejected)


def term(**options):
    return loss_term("unlikelihood", {"penalty": "bad", **options})


def at(number=1):
    return TermStep(number, 10, Random(number), number)


def test_only_the_sentences_above_the_threshold_are_unlearned(in_training):
    # The tiny tokenizer splits at spaces, so the marks stand alone; eleven tokens, four in the bad sentence.
    in_training.rows_by_kind = {RowKind.REFUSAL: [logged("w5 w6 w7 . w8 w1 w9 . w2 w6 w5")]}
    assert term()(in_training, at()).metrics["tokens"] == 4.0
    assert term(threshold=0.4)(in_training, at()).metrics["tokens"] == 7.0


def test_an_answer_that_is_bad_only_as_a_whole_is_unlearned_whole(in_training):
    in_training.rows_by_kind = {RowKind.OPENING: [logged("w3 w5 . w4 w6", RowKind.OPENING)]}
    assert term()(in_training, at()).metrics["tokens"] == 5.0


def test_answers_below_the_threshold_are_left_alone(in_training):
    in_training.rows_by_kind = {RowKind.REFUSAL: [logged("w2 w5"), logged("w6 w1"), logged("")]}
    assert term()(in_training, at()).metrics["tokens"] == 2.0
    in_training.rows_by_kind = {RowKind.REFUSAL: [logged("w2 w5")]}
    with pytest.raises(TermRowsMissing, match="unlikelihood"):
        term()(in_training, at())


def test_the_value_is_the_mean_unlikelihood_of_the_tokens(in_training):
    in_training.rows_by_kind = {RowKind.OPENING: [logged("w1", RowKind.OPENING)]}
    found = term()(in_training, at())
    ids = in_training.tokenizer("w30 w31", return_tensors="pt")["input_ids"]
    target = in_training.tokenizer("w1")["input_ids"][0]
    with torch.no_grad():
        p = float(in_training.model(input_ids=ids).logits[0, -1].softmax(-1)[target])
    assert found.level == pytest.approx(p, rel=1e-4)
    assert float(found.loss.detach()) == pytest.approx(-math.log(1 - p), rel=1e-3)


def test_training_on_it_makes_the_answer_less_likely(in_training):
    in_training.rows_by_kind = {
        RowKind.REFUSAL: [logged("w1 w10 w11 w12"), logged("w13 w1 w14", prompt="w20")],
    }
    one = term()
    optimiser = torch.optim.Adam([p for p in in_training.model.parameters() if p.requires_grad], lr=1e-2)
    levels = []
    for step in range(1, 21):
        found = one(in_training, at(step))
        levels.append(found.level)
        optimiser.zero_grad()
        found.loss.backward()
        optimiser.step()
    assert levels[-1] < 0.3 * levels[0]


def test_a_token_the_model_is_sure_of_has_a_finite_gradient(in_training):
    in_training.rows_by_kind = {RowKind.OPENING: [logged("w1", RowKind.OPENING)]}
    head = in_training.model.get_base_model().get_output_embeddings()
    with torch.no_grad():
        head.weight.mul_(1000)
    found = term()(in_training, at())
    assert torch.isfinite(found.loss.detach())
    found.loss.backward()
    grads = [p.grad for p in in_training.model.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_wrong_options_are_errors_that_help():
    with pytest.raises(LossTermOptionsInvalid, match="threshold"):
        term(threshold=2)


def test_sentences():
    text = "You fool. Go!! Now...\nplease ?"
    assert [text[start:end].strip() for start, end in spans(text)] == ["You fool.", "Go!!", "Now...", "please ?"]
    assert spans(" ... ") == []
