"""Second chances: proposed for one failure only, never stronger than what failed, and as runs that validate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.evals.gates.report import AxisResult, GateOutcome
from ratchet_adapters.learning.options import run_options
from ratchet_adapters.learning.second_chance import SecondChance, second_chance_options, second_chances

ON = SecondChance()
AXES = ("harmful_refusal", "over_refusal", "incoherent", "toxicity_mean", "nll", "cloze_accuracy")


def report(measured=True, **outcomes):
    return [
        AxisResult(
            name, GateOutcome(outcomes.get(name, "PASS")), 0.1, 0.2 if measured else None, 0.1, 0.0, 0.2, 0.1, 200, ""
        )
        for name in AXES
    ]


def test_too_much_refusal_gets_weaker_versions_strongest_first():
    assert second_chances(report(over_refusal="FAIL"), ON) == (0.75, 0.5, 0.25)
    assert second_chances(report(over_refusal="FAIL", nll="FAIL", incoherent="INCONCLUSIVE"), ON) == (0.75, 0.5, 0.25)
    assert second_chances(report(over_refusal="FAIL"), ON, tried=(1.0, 0.75)) == (0.5, 0.25)
    assert second_chances(report(over_refusal="FAIL"), ON, tried=(0.25,)) == ()


def test_nothing_else_gets_one():
    assert second_chances(report(), ON) == ()
    assert second_chances(report(nll="FAIL"), ON) == ()
    assert second_chances(report(over_refusal="FAIL", harmful_refusal="FAIL"), ON) == ()
    assert second_chances(report(over_refusal="FAIL", harmful_refusal="INCONCLUSIVE"), ON) == ()
    assert second_chances(report(measured=False, over_refusal="FAIL"), ON) == ()
    assert second_chances(report(over_refusal="FAIL")[1:], ON) == ()
    assert second_chances([], ON) == ()


@given(st.lists(st.floats(0.05, 1.0), max_size=4))
def test_no_proposal_is_as_strong_as_what_was_tried(tried):
    found = second_chances(report(over_refusal="FAIL"), ON, tried)
    assert all(gamma < min((1.0, *tried)) for gamma in found) and list(found) == sorted(found, reverse=True)


@pytest.mark.parametrize("gammas", [(), (0.5, 0.75), (0.5, 0.5), (1.0,), (0.0,), (float("nan"),)])
def test_strengths_that_make_no_sense_are_refused(gammas):
    with pytest.raises(ValidationError):
        SecondChance(gammas=gammas)


def test_the_proposed_run_is_one_a_learner_accepts():
    digest = "sha256:" + "a" * 64
    name, options = second_chance_options(digest, 0.5)
    assert name == "scale"
    assert run_options(name, options, DatasetSettings(), {}).training.adapters == {digest: 0.5}
