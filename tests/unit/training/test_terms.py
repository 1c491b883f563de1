"""Loss terms and their weights: added to the loss, reported, and the same after an interruption."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ratchet_adapters.training import loss_term as port
from ratchet_adapters.training.errors import LossTermOptionsInvalid, LossTermUnknown
from ratchet_adapters.training.loss_term import TermLoss, loss_term
from ratchet_adapters.training.sft_refusal import SftSettings
from ratchet_adapters.training.trainers.sft import train
from ratchet_adapters.training.weight import Fixed, Lagrange, Linear, WeightState


class Push:
    """Penalises the size of the first adapter matrix, and says so."""

    def __init__(self, level: float = 0.5) -> None:
        self.level = level
        self.drawn: list[int] = []

    def __call__(self, model, step):
        self.drawn.append(step.torch_seed)
        weight = next(p for p in model.model.parameters() if p.requires_grad)
        return TermLoss(weight.pow(2).sum(), self.level, {"drawn": float(step.chance.random())})


@pytest.fixture
def push(monkeypatch):
    monkeypatch.setattr(port, "_BUILT_IN", {"push": "tests.unit.training.test_terms:Push"})


def choice(**weight):
    return {"push": {"weight": weight, "options": {"level": 0.5}}}


def test_a_term_weighs_in_and_is_reported(make_job, push):
    plain = train(make_job("plain"))
    pushed = train(make_job("pushed", terms=choice(kind="fixed", value=3.0)))
    first = pushed.curve[0]
    assert first.loss == pytest.approx(plain.curve[0].loss + 3.0 * first.metrics["push.loss"], rel=1e-4)
    assert first.metrics["push.weight"] == 3.0 and first.metrics["push.level"] == 0.5
    assert pushed.curve[-1].metrics["push.loss"] < first.metrics["push.loss"]


def test_a_multiplier_grows_while_the_level_is_above_its_ceiling_and_survives_a_kill(make_job, push):
    weight = {"kind": "lagrange", "ceiling": 0.25, "rate": 0.1, "start": 1.0}
    whole = train(make_job("whole", terms=choice(**weight)))
    weights = [point.metrics["push.weight"] for point in whole.curve]
    assert weights == pytest.approx([math.exp(0.1 * step) for step in range(len(weights))])

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 6:
            raise Killed

    cut = make_job("cut", terms=choice(**weight))
    with pytest.raises(Killed):
        train(cut, kill)
    resumed = train(cut)
    assert resumed.resumed_from == 4
    for one, other in zip(whole.curve, resumed.curve, strict=True):
        assert dict(one.metrics) == pytest.approx(dict(other.metrics), rel=1e-4), one.step
        assert one.loss == pytest.approx(other.loss, rel=1e-4)


def test_parts_of_a_step_add_up_to_the_step(make_job, push):
    whole = train(make_job("whole", batch_size=4, anchor_weight=0, terms=choice(kind="fixed", value=1.0)))
    parts = train(make_job("parts", batch_size=4, accumulate=2, anchor_weight=0, terms=choice(kind="fixed", value=1.0)))
    assert parts.steps == whole.steps
    assert parts.curve[0].metrics["push.loss"] == pytest.approx(whole.curve[0].metrics["push.loss"])
    assert sum(point.loss for point in parts.curve) == pytest.approx(sum(p.loss for p in whole.curve), rel=0.1)


def test_unknown_terms_and_wrong_options_are_errors_that_help(push):
    with pytest.raises(LossTermUnknown, match=r"ratchet\.loss_terms"):
        loss_term("magic", {})
    with pytest.raises(LossTermOptionsInvalid, match="push"):
        loss_term("push", {"strength": 2})
    with pytest.raises(ValidationError):
        SftSettings.model_validate({"terms": {"push": {"weight": {"kind": "lagrange"}}}})


@given(st.floats(0, 10), st.floats(0, 10), st.integers(2, 50))
def test_a_line_goes_from_its_start_to_its_end(start, end, total):
    state = WeightState(Linear(start=start, end=end))
    assert state.at(1, total) == pytest.approx(start) and state.at(total, total) == pytest.approx(end)


@given(st.lists(st.floats(0, 1), max_size=60))
def test_a_multiplier_stays_positive_and_bounded(levels):
    state = WeightState(Lagrange(ceiling=0.2, rate=1.0, most=5.0))
    for level in levels:
        state.saw(level)
        assert 0 < state.at(1, 1) <= 5.0 or level < 0.2
    assert WeightState(Fixed(value=2.0)).at(1, 1) == 2.0


def test_an_unmeasured_level_moves_no_multiplier():
    state = WeightState(Lagrange(ceiling=0.2))
    state.saw(float("nan"))
    assert state.at(1, 1) == 1.0
    assert torch.isfinite(torch.tensor(state.value))
