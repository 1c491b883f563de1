"""A training that has begun to refuse what it should answer is stopped, and the adapter from before is kept."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

from ratchet_adapters.training.trainers import over_refusal
from ratchet_adapters.training.trainers.sft import train


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_real_look_works_in_the_training_s_precision(make_job, precision):
    """The tiny model says words at random, none of which opens a refusal: nothing is stopped, everything is asked."""
    result = train(make_job(precision, precision=precision, over_refusal_ceiling=0.5, over_refusal_steps=2))
    assert result.stopped_early == "" and result.steps == 10


def test_training_stops_above_the_ceiling_and_keeps_what_was_below_it(make_job, monkeypatch):
    shares = iter([0.0, 0.75])
    monkeypatch.setattr(over_refusal.OverRefusalStop, "share", lambda self, model: next(shares))
    stopped = make_job("stopped", over_refusal_ceiling=0.5, over_refusal_steps=3)
    result = train(stopped)
    assert result.steps == 6 and "75.0%" in result.stopped_early and "step 6" in result.stopped_early

    kept = {}

    def keep(self, args, state, control, model=None, **kwargs):
        if state.global_step == 3:
            kept.update({name: tensor.detach().clone() for name, tensor in over_refusal._trained(model)})

    monkeypatch.setattr(over_refusal.OverRefusalStop, "on_step_end", keep)
    train(make_job("whole", over_refusal_ceiling=0.5, over_refusal_steps=3))
    weights = load_file(str(stopped.output / "adapter_model.safetensors"))
    assert weights and all(
        tensor.equal(kept[name.replace(".weight", ".default.weight")]) for name, tensor in weights.items()
    )
