"""The expected penalty of sampled continuations: the direction of its gradient, its baseline, its KL, its options."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from random import Random

import pytest
import torch

from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, read_dataset, rows_digest
from ratchet_adapters.training import penalty as port
from ratchet_adapters.training.errors import LossTermOptionsInvalid, TermRowsMissing
from ratchet_adapters.training.loss_term import TermStep, loss_term
from ratchet_adapters.training.loss_terms.completions import completion_states, laid_out, loss_over_logits
from ratchet_adapters.training.loss_terms.penalised_sampling import advantages
from ratchet_adapters.training.penalties.errors import PenaltyInvalid, PenaltyOptionsInvalid, PenaltyUnknown
from ratchet_adapters.training.recipe import Recipe
from ratchet_adapters.training.toxicity_penalised import METHOD
from ratchet_adapters.training.trainers.model import load_model, load_tokenizer
from ratchet_adapters.training.trainers.terms import ModelInTraining
from ratchet_adapters.training.weight import Fixed, Lagrange, WeightState


class Share:
    """The share of an answer's words that are one word."""

    def __init__(self, word: str = "w7") -> None:
        self.word = word

    def __call__(self, prompts, completions):
        words = [text.split() for text in completions]
        return [own.count(self.word) / len(own) if own else 0.0 for own in words]


class Same:
    """As bad as any other."""

    def __call__(self, prompts, completions):
        return [0.4] * len(completions)


class Broken:
    """Not what the port promises."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, prompts, completions):
        if self.kind == "raises":
            raise RuntimeError("no weights")
        good = [0.5] * len(completions)
        return {
            "few": good[1:],
            "nan": [float("nan"), *good[1:]],
            "high": [1.5, *good[1:]],
            "text": ["bad", *good[1:]],
            "none": None,
        }[self.kind]


@pytest.fixture(autouse=True)
def penalties(monkeypatch):
    here = "tests.unit.training.test_penalised_sampling"
    monkeypatch.setattr(
        port, "_BUILT_IN", {"share": f"{here}:Share", "same": f"{here}:Same", "broken": f"{here}:Broken"}
    )


def opening(number, text):
    return Row(f"o{number}", RowKind.OPENING, Split.TRAIN, "", text, "", "seed", (), 100 + number)


OPENINGS = [opening(number, f"w{number} w{number + 1} is the") for number in range(6)]


@pytest.fixture
def in_training(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    torch.manual_seed(0)
    model = load_model(tiny_model, Recipe(rank=8, first_layer=0.0), "fp32")
    return ModelInTraining(model, tokenizer, tokenizer.pad_token_id, {RowKind.OPENING: OPENINGS}, nullcontext)


def at(number=1, total=10):
    chance = Random(number)
    return TermStep(number, total, chance, chance.getrandbits(31))


def term(name="share", **options):
    return loss_term("penalised-sampling", {"penalty": name, "max_tokens": 8, "prompts": 4, **options})


def gradient(model, loss):
    found = torch.autograd.grad(loss, [p for p in model.model.parameters() if p.requires_grad], allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def log_probability(model, word):
    """Mean log-probability of a word after the openings."""
    target = model.tokenizer(word)["input_ids"]
    prompts = [model.tokenizer(row.prompt)["input_ids"] for row in OPENINGS]
    batch = laid_out(prompts, [target] * len(prompts), pad=model.pad, device=model.model.device)
    logits = model.model.get_base_model().get_output_embeddings()(completion_states(model, batch))
    return logits.log_softmax(-1)[:, target[0]].mean()


def likeliest(model):
    """The word that most often follows the openings."""
    words = [f"w{number}" for number in range(52)]
    return max(words, key=lambda word: float(log_probability(model, word).detach()))


def adapter_of(model):
    return [parameter for parameter in model.model.parameters() if parameter.requires_grad]


def test_a_penalty_on_one_word_makes_it_less_likely(in_training):
    word = likeliest(in_training)
    before = float(log_probability(in_training, word).detach())
    one = term(penalty_options={"word": word}, kl_weight=0.0, max_tokens=2, prompts=6, samples=8)
    optimiser = torch.optim.Adam(adapter_of(in_training), lr=1e-2)
    levels = []
    for step in range(1, 31):
        found = one(in_training, at(step))
        levels.append(found.level)
        optimiser.zero_grad()
        found.loss.backward()
        optimiser.step()
    assert float(log_probability(in_training, word).detach()) < before - 1.0
    assert sum(levels[-10:]) < 0.5 * sum(levels[:10])


def test_equal_penalties_give_no_gradient_and_their_mean_is_the_value(in_training):
    found = term("same", kl_weight=0.0)(in_training, at())
    assert float(found.loss.detach()) == pytest.approx(0.4) and found.level == pytest.approx(0.4)
    assert gradient(in_training, found.loss).abs().max() == 0.0


def test_the_baseline_of_a_sample_is_the_mean_of_the_others():
    scores = torch.tensor([[0.1, 0.5, 0.9, 0.3], [1.0, 0.0, 0.0, 0.0]])
    for row, own in zip(scores, advantages(scores), strict=True):
        for place in range(4):
            others = [float(row[other]) for other in range(4) if other != place]
            assert float(own[place]) == pytest.approx(float(row[place]) - sum(others) / 3, abs=1e-6)


def test_the_gradient_estimate_has_the_mean_of_the_true_gradient(in_training):
    # One token, a penalty of 1 for one word: E[penalty] is that word's probability, and its gradient is known.
    word = "w20"
    target = in_training.tokenizer(word)["input_ids"][0]
    prompts = [in_training.tokenizer(row.prompt)["input_ids"] for row in OPENINGS]
    batch = laid_out(prompts, [[target]] * len(prompts), pad=in_training.pad, device=in_training.model.device)
    logits = in_training.model.get_base_model().get_output_embeddings()(completion_states(in_training, batch))
    true = gradient(in_training, logits.softmax(-1)[:, target].mean())
    one = term(penalty_options={"word": word}, kl_weight=0.0, max_tokens=1, prompts=6, samples=64)
    draws = torch.stack([gradient(in_training, one(in_training, at(step)).loss) for step in range(24)])
    error = draws.std(0) / len(draws) ** 0.5
    off = (draws.mean(0) - true) / error.clamp_min(1e-9)
    seen = error > 1e-9
    # Under no bias these are standard normal; their mean square would be far above one otherwise.
    assert float((off[seen] ** 2).mean()) < 2.0
    assert torch.cosine_similarity(draws.mean(0), true, dim=0) > 0.8


def test_the_divergence_is_zero_at_the_start_and_its_gradient_too(in_training):
    found = term("same", kl_weight=1.0)(in_training, at())
    assert found.metrics["kl"] == pytest.approx(0.0, abs=1e-6)
    assert gradient(in_training, found.loss).abs().max() < 1e-5


def test_the_divergence_grows_as_the_policy_moves_and_pulls_it_back(in_training):
    for name, parameter in in_training.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    found = term("same", kl_weight=1.0)(in_training, at())
    assert found.metrics["kl"] > 0.001
    assert float(found.loss.detach()) == pytest.approx(found.level + found.metrics["kl"], rel=1e-4)
    optimiser = torch.optim.SGD([p for p in in_training.model.parameters() if p.requires_grad], lr=0.05)
    found.loss.backward()
    optimiser.step()
    assert term("same", kl_weight=1.0)(in_training, at()).metrics["kl"] < found.metrics["kl"]


def test_parts_of_the_logits_give_the_gradient_of_all_of_them(in_training, monkeypatch):
    from ratchet_adapters.training.loss_terms import completions

    prompts = [in_training.tokenizer(row.prompt)["input_ids"] for row in OPENINGS]
    batch = laid_out(prompts, [[5, 6, 7]] * len(prompts), pad=in_training.pad, device=in_training.model.device)

    def nats(logits, part):
        return torch.nn.functional.cross_entropy(logits, batch.targets[part], reduction="sum")

    head = in_training.model.get_base_model().get_output_embeddings()
    whole = nats(head(completion_states(in_training, batch)).float(), slice(None))
    monkeypatch.setattr(completions, "_POSITIONS", 5)
    parts = loss_over_logits(in_training, completion_states(in_training, batch), nats)
    assert float(parts.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)
    assert torch.allclose(gradient(in_training, 2 * parts), gradient(in_training, 2 * whole), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["few", "nan", "high", "text", "none", "raises"])
def test_scores_that_are_none_are_refused(in_training, kind):
    with pytest.raises(PenaltyInvalid, match="broken"):
        term("broken", penalty_options={"kind": kind})(in_training, at())


def test_wrong_options_and_missing_rows_are_errors_that_help(in_training):
    with pytest.raises(LossTermOptionsInvalid, match="samples"):
        term(samples=1)
    with pytest.raises(LossTermOptionsInvalid, match="strength"):
        term(strength=1)
    with pytest.raises(PenaltyUnknown, match=r"ratchet\.penalties"):
        term("magic")
    with pytest.raises(PenaltyOptionsInvalid, match="share"):
        term(penalty_options={"letters": 3})
    in_training.rows_by_kind = {}
    with pytest.raises(TermRowsMissing, match="openings"):
        term()(in_training, at())


def test_sampling_leaves_the_mode_of_the_model_and_the_random_numbers_alone(in_training):
    in_training.model.train()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = term()(in_training, at())
    assert in_training.model.training and torch.rand(3).equal(expected)
    again = term()(in_training, at())
    assert float(first.loss.detach()) == float(again.loss.detach()) and dict(first.metrics) == dict(again.metrics)


@pytest.fixture
def make_penalised(make_job, tmp_path):
    def make(name="a", weight=None, options=None, **recipe):
        job = make_job(name)
        rows = (*read_dataset(job.dataset).rows, *OPENINGS)
        folder = Dataset(rows, {"format": FORMAT, "rows_digest": rows_digest(rows)}).write(tmp_path / "openings")
        choice = {
            "weight": weight or {"kind": "fixed", "value": 1.0},
            "options": {"penalty": "share", "prompts": 4, "max_tokens": 6, **(options or {})},
        }
        values = {"rank": 8, "batch_size": 4, "epochs": 2.0, "precision": "fp32", "checkpoint_steps": 4, **recipe}
        settings = METHOD.settings.model_validate({**values, "terms": {"penalised-sampling": choice}})
        return replace(job, method=METHOD.name, dataset=folder, settings=settings)

    return make


def test_the_method_trains_reports_and_ends_the_same_after_a_kill(make_penalised):
    train = METHOD.load()
    weight = {"kind": "lagrange", "ceiling": 0.01, "rate": 0.05}
    whole = train(make_penalised("whole", weight))
    assert whole.steps == 10 and {"penalised-sampling.kl", "penalised-sampling.level"} <= set(whole.curve[0].metrics)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 6:
            raise Killed

    cut = make_penalised("cut", weight)
    with pytest.raises(Killed):
        train(cut, kill)
    resumed = train(cut)
    assert resumed.resumed_from == 4
    for one, other in zip(whole.curve, resumed.curve, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5), one.step
        assert dict(one.metrics) == pytest.approx(dict(other.metrics), rel=1e-5), one.step


def test_bfloat16_trains_too(make_penalised):
    result = METHOD.load()(make_penalised("bf16", precision="bf16"))
    assert all(loss == loss for _, loss in result.losses)


def test_a_multiplier_holds_the_mean_penalty_under_its_ceiling(in_training):
    word, ceiling = likeliest(in_training), 0.2

    def levels(weight):
        """Of a training that teaches the very word that the term penalises."""
        torch.manual_seed(1)
        for name, parameter in in_training.model.named_parameters():
            if "lora_A" in name:
                torch.nn.init.normal_(parameter, std=0.1)
            if "lora_B" in name:
                torch.nn.init.zeros_(parameter)
        state, found = WeightState(weight), []
        one = term(penalty_options={"word": word}, kl_weight=0.0, max_tokens=1, prompts=6, samples=8)
        optimiser = torch.optim.Adam(adapter_of(in_training), lr=5e-3)
        for step in range(1, 61):
            value = one(in_training, at(step))
            loss = -0.3 * log_probability(in_training, word) + state.at(step, 60) * value.loss
            state.saw(value.level)
            found.append(value.level)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return sum(found[-20:]) / 20

    assert levels(Fixed(value=0.0)) > 3 * ceiling
    assert levels(Lagrange(ceiling=ceiling, rate=0.1, start=0.3)) < 1.2 * ceiling
