"""Rerouting on a tiny model: the loss against values computed by hand, its schedule, its effect, and after a kill."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from ratchet_adapters.artifacts.adapter_files import inspect_adapter
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.training.errors import LossTermOptionsInvalid, TermRowsMissing
from ratchet_adapters.training.loss_term import loss_term
from ratchet_adapters.training.loss_terms.completions import laid_out
from ratchet_adapters.training.loss_terms.rerouting import coefficients, completion_layers, cosines, distances
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.rerouting import ReroutingSettings
from ratchet_adapters.training.trainers.sft import train
from ratchet_adapters.training.trainers.terms import ModelInTraining

BASE = "sha256:" + "b" * 64


def rows_of(count=12, *, rejected=True):
    rows = []
    for i in range(count):
        harmful = " ".join(f"w{(i * 5 + k) % 26}" for k in range(4))
        benign = " ".join(f"w{26 + (i * 5 + k) % 26}" for k in range(4))
        bad = "w1 w2 w3 w4 w5" if rejected else ""
        rows += [
            Row(f"h{i}", RowKind.REFUSAL, Split.TRAIN, "", harmful, "i can not help", "seed", (), i, bad),
            Row(f"b{i}", RowKind.CONTRAST, Split.TRAIN, "", benign, "w40 w41 w42 w43", "seed", (), 100 + i),
            Row(f"o{i}", RowKind.REPLAY, Split.TRAIN, "", f"w30 {benign}", "w42 w43 w44", "seed", (), 200 + i),
        ]
    anchor = " ".join(f"w{k}" for k in range(30, 50))
    return [*rows, Row("a", RowKind.ANCHOR, Split.TRAIN, "", "", anchor, "seed", (), 300)]


@pytest.fixture
def job_of(make_job, tmp_path):
    """Make a rerouting job; keywords change its recipe."""

    def make(name="a", rows=None, options=None, **recipe):
        rows = rows_of() if rows is None else rows
        folder = tmp_path / f"{name}-data"
        Dataset(tuple(rows), {"format": FORMAT, "rows_digest": rows_digest(rows)}).write(folder)
        values = {"rank": 8, "batch_size": 4, "epochs": 3.0, "precision": "fp32", "checkpoint_steps": 4, **recipe}
        values["terms"] = {"rerouting": {"options": {"texts": 3, "layers": (0.5, 0.75), **(options or {})}}}
        settings = method("rerouting").settings.model_validate({"last_layer": 0.75, **values})
        return replace(make_job(name), method="rerouting", dataset=folder, settings=settings)

    return make


def measured(job, adapter=None):
    """Cosine with the base model on harmful answers and relative distance on benign ones."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.model)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(job.model), adapter or job.output).eval()
    term = ModelInTraining(model, tokenizer, 2, {}, torch.no_grad)
    prompts = {True: [row.prompt for row in rows_of() if row.rejected]}
    prompts[False] = [row.prompt for row in rows_of() if row.kind is RowKind.CONTRAST]
    figures = {}
    for harmful, texts in prompts.items():
        ids = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
            )
            for text in texts
        ]
        answer = "w1 w2 w3 w4 w5" if harmful else "w40 w41 w42 w43"
        tokens = [tokenizer(answer, add_special_tokens=False)["input_ids"]] * len(ids)
        batch = laid_out(ids, tokens, pad=2, device=model.device)
        with term.reference():
            base = completion_layers(term, batch)
        states = completion_layers(term, batch)
        figures[harmful] = (
            float(cosines(base[[2, 3]], states[[2, 3]]).mean())
            if harmful
            else float(distances(base[1:], states[1:], relative=True).mean())
        )
    return figures[True], figures[False]


def test_coefficients_go_as_in_the_paper():
    assert coefficients(10.0, 1, 101) == pytest.approx((10.0, 0.0))
    assert coefficients(10.0, 51, 101) == pytest.approx((7.5, 2.5))
    assert coefficients(10.0, 101, 101) == pytest.approx((5.0, 5.0))
    assert coefficients(4.0, 1, 1) == pytest.approx((4.0, 0.0))


def test_cosine_and_distance_are_what_they_say():
    base = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    moved = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert cosines(base, moved).tolist() == pytest.approx([1.0, 0.0])
    assert distances(base, moved, relative=False).tolist() == pytest.approx([0.0, 5**0.5], abs=1e-5)
    assert distances(base, base * 1.1, relative=True).tolist() == pytest.approx([0.1, 0.1], rel=1e-4)
    still = base.clone().requires_grad_()
    distances(base, still, relative=True).sum().backward()
    assert torch.isfinite(still.grad).all()


def test_the_first_step_is_alpha_times_one_because_the_adapter_changes_nothing_yet(job_of):
    result = train(job_of(options={"alpha": 7.0, "retain_factor": 2.0}, completion_weight=0.0))
    first, last = result.curve[0], result.curve[-1]
    assert first.metrics["rerouting.cosine"] == pytest.approx(1.0, abs=1e-4)
    assert first.metrics["rerouting.distance"] == pytest.approx(0.0, abs=1e-4)
    assert first.loss == pytest.approx(7.0, rel=1e-3)
    assert last.metrics["rerouting.reroute"] == pytest.approx(3.5)
    assert last.metrics["rerouting.retain"] == pytest.approx(3.5)
    assert last.loss == pytest.approx(
        3.5 * max(0.0, last.metrics["rerouting.cosine"]) + 3.5 * 2.0 * last.metrics["rerouting.distance"], abs=0.35
    )


def test_harmful_states_turn_away_and_the_others_stay(job_of):
    job = job_of(epochs=14.0, completion_weight=0.0, learning_rate=2e-3, options={"retain_factor": 1.0})
    train(job)
    cosine, distance = measured(job)
    assert cosine < 0.2
    assert distance < 0.6
    inspect_adapter(job.output, base_fingerprint=BASE, max_rank=8)


def test_refusals_can_be_taught_beside_it(job_of):
    alone = train(job_of("alone", epochs=1.0, completion_weight=0.0))
    both = train(job_of("both", options={"retain_factor": 1.0}, epochs=10.0, completion_weight=1.0, learning_rate=5e-3))
    assert both.curve[-1].metrics["rerouting.cosine"] < 0.7
    assert both.curve[-1].metrics["completion"] < both.curve[0].metrics["completion"] / 2
    assert alone.curve[0].metrics["completion"] == pytest.approx(0.0, abs=1e-6)


def test_a_killed_training_goes_on_the_same(job_of):
    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 6:
            raise Killed

    whole = train(job_of("whole"))
    cut = job_of("cut")
    with pytest.raises(Killed):
        train(cut, kill)
    resumed = train(cut)
    assert resumed.resumed_from == 4
    for one, other in zip(whole.curve, resumed.curve, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert dict(one.metrics) == pytest.approx(dict(other.metrics), rel=1e-3, abs=1e-5)


def test_rows_without_the_harmful_answer_are_an_error_that_says_so(job_of):
    with pytest.raises(TermRowsMissing, match="harmful answer they refuse"):
        train(job_of(rows=rows_of(rejected=False)))


@pytest.mark.parametrize("options", [{"alpha": 0}, {"layers": ()}, {"layers": (1.5,)}, {"layer": (0.5,)}, {"texts": 0}])
def test_wrong_options_are_typed_errors(options):
    with pytest.raises(LossTermOptionsInvalid, match="rerouting"):
        loss_term("rerouting", options)


def test_the_recipe_reroutes_by_default_and_keeps_to_lower_layers():
    settings = ReroutingSettings()
    assert set(settings.terms) == {"rerouting"} and settings.last_layer == 0.67
    with pytest.raises(ValidationError):
        ReroutingSettings.model_validate({"alpha": 0})
