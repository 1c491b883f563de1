"""Rule-based rewards: what is found in an answer, what it is worth, and that unsafe is worth nothing."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet_adapters.training.penalties.errors import PenaltyInvalid
from ratchet_adapters.training.rewards.combined import Combined, Constraint
from ratchet_adapters.training.rewards.errors import RewardInvalid
from ratchet_adapters.training.rewards.fitting import fit, pair_accuracy
from ratchet_adapters.training.rewards.propositions import PROPOSITIONS, propositions
from ratchet_adapters.training.rewards.reward import BaseModelFolder, Turn, reward, scored
from ratchet_adapters.training.rewards.rules import HelpfulRules, Ideal, LinearRule, SafeRules, default_rules, refuses

BASE = BaseModelFolder(Path("unused"), "sha256:" + "b" * 64)
REFUSAL = "I'm sorry, but I can't help with that. I'd be happy to talk about how people stay safe instead."
ANSWER = "Bread rises badly when the kitchen is cold, so put the bowl near a warm oven for an hour."
HARMFUL_HELP = "Sure! Here are the steps you need to follow to do it."


def test_propositions_are_found_by_wording():
    found = propositions(REFUSAL)
    assert found["refuses"] and found["apologises"] and found["offers_alternative"] and not found["discloses"]
    assert propositions(HARMFUL_HELP)["discloses"] and propositions(HARMFUL_HELP)["agrees"]
    assert propositions("You should be ashamed, that is immoral.")["judges"]
    assert propositions("go go go go go go")["repeats"] == pytest.approx(0.8)
    assert propositions("")["says_nothing"] == 1.0


@given(st.text(max_size=200))
def test_every_proposition_of_any_text_is_a_number_from_0_to_1(text):
    found = propositions(text)
    assert tuple(found) == PROPOSITIONS and all(0.0 <= value <= 1.0 for value in found.values())


def test_the_shipped_rules_rank_the_texts_they_were_fitted_on():
    content = resources.files("ratchet_adapters.training.rewards").joinpath("rankings.json").read_text(encoding="utf-8")
    rankings = json.loads(content)
    for ideal, rule in default_rules().items():
        assert pair_accuracy(rule, rankings[ideal.value]) > 0.9
        again = fit(rankings[ideal.value], ideal)
        assert dict(again.weights) == pytest.approx(dict(rule.weights), abs=5e-3)


def test_fitting_finds_the_order_it_is_shown_and_its_opposite():
    tiers = [[REFUSAL, "I can't help with that."], [], ["Paris is in France today.", HARMFUL_HELP]]
    assert pair_accuracy(fit(tiers), tiers) == 1.0
    assert pair_accuracy(fit(tiers), tiers[::-1]) == 0.0


def test_the_ideal_depends_on_the_prompt_and_its_category():
    assert Ideal.of(Turn("", "", False, "self_harm")) is Ideal.ANSWER
    assert Ideal.of(Turn("", "", True, "self_harm")) is Ideal.SAFE_REFUSAL
    assert Ideal.of(Turn("", "", True, "weapons")) is Ideal.HARD_REFUSAL


def test_helpful_is_to_answer_the_benign_and_to_decline_the_harmful_well():
    def value(text, harmful, **more):
        (found,) = HelpfulRules(BASE)([Turn("p", text, harmful, **more)])
        return found

    assert value(ANSWER, False) > 0.7 and value(REFUSAL, False) == 0.0
    assert value(REFUSAL, True) > value("I can't help, and you should be ashamed. It is immoral.", True)
    assert value("the the the the the the the the the", False) < value(ANSWER, False) - 0.2
    assert value("", False) < 0.5
    # Two nats below the floor of -5 it is worth nothing; one below, half.
    assert value(ANSWER, False, likelihood=-7.0) == 0.0
    assert value(ANSWER, False, likelihood=-6.0) == pytest.approx(value(ANSWER, False) / 2)


def test_doubt_about_a_refusal_counts_against_the_policy_on_both_kinds_of_prompts():
    half = "I can't help with that. However, here is how people do it: 1. First take this."
    assert not refuses(Turn("p", half, True)) and refuses(Turn("p", half, False))


def test_safe_is_a_refusal_of_harm_and_no_toxicity():
    safe = SafeRules(BASE, toxicity=False)
    turns = [Turn("p", REFUSAL, True), Turn("p", HARMFUL_HELP, True), Turn("p", ANSWER, False)]
    assert safe(turns) == [1.0, 0.0, 1.0]


class Fixed:
    def __init__(self, *values):
        self.values = values

    def __call__(self, turns):
        return self.values


def test_unsafe_zeroes_helpful_and_needless_refusals_cost():
    turns = [Turn("p", HARMFUL_HELP, True), Turn("p", ANSWER, False), Turn("p", REFUSAL, False)]
    found = Combined(Fixed(1.0, 0.8, 0.0), Fixed(0.0, 0.5, 1.0), needless_refusal=1.0, constraints={})(turns)
    assert found.total == pytest.approx((0.0, 0.4, -1.0))
    assert found.parts["harmful.refused"] == 0.0 and found.parts["benign.refused"] == 0.5


def test_a_broken_rule_costs_its_weight():
    class NoDisclaimer:
        def __call__(self, prompts, completions):
            return [0.0 if "not advice" in text else 1.0 for text in completions]

    turns = [Turn("p", ANSWER, False), Turn("p", ANSWER + " This is not advice.", False)]
    rules = {"disclaimer": Constraint(NoDisclaimer(), 0.6)}
    found = Combined(Fixed(1.0, 1.0), Fixed(1.0, 1.0), needless_refusal=1.0, constraints=rules)(turns)
    assert found.total == pytest.approx((0.4, 1.0)) and found.parts["disclaimer.penalty"] == 0.5


@pytest.mark.parametrize("values", [(), (0.1, 0.2), (float("nan"),), (1.5,), (-0.1,)])
def test_a_reward_or_penalty_that_breaks_its_promise_is_an_error(values):
    turns = [Turn("p", "a", True)]
    with pytest.raises(RewardInvalid):
        scored("x", Fixed(*values), turns)
    rules = {"x": Constraint(lambda prompts, completions: values, 1.0)}
    with pytest.raises(PenaltyInvalid):
        Combined(Fixed(1.0), Fixed(1.0), needless_refusal=0.0, constraints=rules)(turns)


def test_a_rule_must_weigh_every_proposition():
    with pytest.raises(ValueError, match="must name each"):
        LinearRule({"refuses": 1.0}, 0.0)
    assert reward("safe-rules", {"toxicity": False}, BASE)([Turn("p", REFUSAL, True)]) == [1.0]
