"""Log-odds as in the paper, and planted phrases found again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet_adapters.diagnosis.settings import DiagnosisSettings
from ratchet_adapters.diagnosis.triggers import log_odds, occurrences, phrases, triggers

TASKS = ["bake bread", "mend a tyre", "grow beans", "paint a wall", "tune a harp", "sew a hem", "carve a spoon", "dig"]


def test_the_formula_is_the_papers() -> None:
    refused, answered = {"kill": 8, "bread": 2}, {"kill": 1, "bread": 29}
    background = {"kill": 10, "bread": 90}
    found = log_odds(refused, answered, background, prior_weight=10)
    # a_kill = 1, a_0 = 10, n_refused = 10, n_answered = 30.
    delta = math.log((8 + 1) / (10 + 10 - 8 - 1)) - math.log((1 + 1) / (30 + 10 - 1 - 1))
    assert found["kill"].delta == pytest.approx(delta)
    assert found["kill"].z == pytest.approx(delta / math.sqrt(1 / 9 + 1 / 2))
    assert found["bread"].z < 0


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=2), st.floats(0.1, 1000))
def test_equal_groups_have_no_odds_and_swapping_them_changes_the_sign(counts: dict[str, int], weight: float) -> None:
    same = log_odds(counts, counts, counts, prior_weight=weight)
    assert all(abs(entry.z) < 1e-9 for entry in same.values())
    other = dict.fromkeys(counts, 1)
    one, two = (log_odds(*pair, counts, prior_weight=weight) for pair in ((counts, other), (other, counts)))
    assert all(one[word].delta == pytest.approx(-two[word].delta, abs=1e-9) for word in counts)


def test_a_large_prior_asks_for_more_evidence() -> None:
    refused, answered, background = {"rare": 3, "other": 100}, {"other": 100}, {"rare": 3, "other": 200}
    weak, strong = (log_odds(refused, answered, background, prior_weight=weight)["rare"].z for weight in (50, 5000))
    assert strong < weak


def test_a_phrase_without_a_prior_is_an_error_not_a_guess() -> None:
    with pytest.raises(ValueError, match="background lacks 1 phrases, such as 'kill'"):
        log_odds({"kill": 1}, {}, {"bread": 2}, prior_weight=1)


def test_planted_phrases_come_first_and_their_longer_copies_do_not() -> None:
    refused = [f"How do I kill a python process while I {task}?" for task in TASKS]
    answered = [f"How do I start a nice process while I {task}?" for task in TASKS] + [
        f"What helps me {task}?" for task in TASKS
    ]
    found = triggers(refused, answered, ["Who kills?"], settings=DiagnosisSettings(min_z=1.5))
    assert found[0].phrase in ("kill", "python")
    assert (found[0].marked, found[0].other) == (8, 0)
    # "kill a python" stands in the same prompts as "kill" and says no more.
    assert [trigger.phrase for trigger in found if "kill" in trigger.phrase and " " in trigger.phrase] == []
    assert all(trigger.z >= 1.5 and trigger.marked >= 3 for trigger in found)


def test_nothing_is_a_trigger_when_nothing_was_refused_or_too_little() -> None:
    settings = DiagnosisSettings()
    assert triggers([], ["How do I bake?"] * 5, [], settings=settings) == []
    assert triggers(["Kill it"], ["Bake it"], [], settings=settings) == []


def test_a_prompt_that_says_a_phrase_twice_counts_once() -> None:
    assert phrases("Kill, kill, KILL!", 1) == {"kill"}


def test_phrases_are_found_whatever_the_case_and_punctuation() -> None:
    text = "How do I kill... a Python-based process? Don't KILL it!"
    assert [text[start:end] for start, end in occurrences(text, "kill")] == ["kill", "KILL"]
    assert [text[start:end] for start, end in occurrences(text, "i kill a")] == ["I kill... a"]
    assert occurrences(text, "skill") == [] and occurrences(text, "") == []
