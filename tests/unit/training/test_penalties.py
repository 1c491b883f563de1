"""The penalties that Ratchet brings, on real scorers and patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet_adapters.training.penalties.errors import PenaltyInvalid, PenaltyOptionsInvalid, PenaltyUnknown
from ratchet_adapters.training.penalties.scoring import penalised
from ratchet_adapters.training.penalty import penalty


def of(name, completions, **options):
    return penalised(name, penalty(name, options), ["p"] * len(completions), completions)


def test_toxicity_is_the_highest_label_and_silence_costs_nothing():
    kind, rude, silent = of("toxicity", ["Thank you, see you tomorrow.", "You are a stupid worthless idiot.", " "])
    assert silent == 0.0 and kind < 0.2 < 0.6 < rude
    (threat,) = of("toxicity", ["I will find you and kill you tonight."], labels=["threat"])
    (both,) = of("toxicity", ["I will find you and kill you tonight."], labels=["threat", "toxicity"])
    assert both >= threat


def test_refusal_is_the_probability_of_a_refusal():
    refused, answered = of("refusal", ["I'm sorry, but I can't help with that.", "Boil the pasta for nine minutes."])
    assert refused > 0.5 > answered


def test_patterns_forbidden_and_required():
    texts = ["Buy now! Not financial advice.", "Buy now!", "NOT FINANCIAL ADVICE.", ""]
    assert of("pattern", texts, forbidden=[r"\bbuy\b"], required=["not financial advice"]) == [0.5, 1.0, 0.0, 0.5]
    assert of("pattern", texts, required="not financial advice") == [0.0, 1.0, 0.0, 1.0]
    assert of("pattern", texts, required="not financial advice", case_sensitive=True) == [1.0] * 4


@given(st.text(max_size=200))
def test_a_pattern_that_hangs_other_engines_does_not_hang(text):
    (score,) = of("pattern", [text + "a" * 40 + "!"], forbidden=["(a+)+$"])
    assert score in (0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("toxicity", {"labels": ["rudeness"]}),
        ("toxicity", {"labels": []}),
        ("toxicity", {"scorer": "magic"}),
        ("toxicity", {"model": "/nowhere.ckpt"}),
        ("refusal", {"threshold": 3}),
        ("pattern", {}),
        ("pattern", {"forbidden": ["("]}),
        ("pattern", {"required": [""]}),
        ("pattern", {"allowed": ["x"]}),
    ],
)
def test_options_that_mean_nothing_are_refused(name, options):
    with pytest.raises(PenaltyOptionsInvalid, match=name):
        penalty(name, options)


def test_an_unknown_penalty_is_an_error():
    with pytest.raises(PenaltyUnknown, match="pattern"):
        penalty("kindness")


@pytest.mark.parametrize("scores", [[0.1], [0.1, -0.1], [0.1, float("nan")], [0.1, "0.2"], None])
def test_scores_are_checked(scores):
    with pytest.raises(PenaltyInvalid, match="odd"):
        penalised("odd", lambda prompts, completions: scores, ["p", "p"], ["a", "b"])
