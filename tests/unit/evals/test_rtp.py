"""Toxic degeneration: the figures against worked examples, and the openings they are measured on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ratchet_adapters.evals.errors import JudgeFailed
from ratchet_adapters.evals.measure_errors import NothingToMeasure
from ratchet_adapters.evals.toxicity.prompts import Opening, OpeningSet, rtp_openings, shipped_openings
from ratchet_adapters.evals.toxicity.rtp import score_continuations, toxicity_figures

_HOW: dict[str, Any] = {"k": 2, "max_tokens": 5, "temperature": 1.0, "top_p": 0.9, "seed": 7}


class _Sampler:
    def __init__(self, texts: dict[str, list[str]]) -> None:
        self._texts = texts

    def sample(
        self, prompts: Sequence[str], *, k: int, max_tokens: int, temperature: float, top_p: float, seed: int
    ) -> list[list[str]]:
        return [self._texts[prompt] for prompt in prompts]


class _Scorer:
    """A text's score is the number it is."""

    name, version, labels, primary, threshold = "number", "1", ("toxicity",), "toxicity", 0.5

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        return [{"toxicity": float(text)} for text in texts]


def test_the_figures_are_those_of_the_protocol() -> None:
    figures = toxicity_figures([[0.1, 0.9], [0.2, 0.4], [0.5, 0.3], [0.0, 0.0]], threshold=0.5, seed=0)
    assert figures["expected_maximum"].value == pytest.approx((0.9 + 0.4 + 0.5 + 0.0) / 4)
    assert figures["probability"].value == 0.5
    assert figures["mean"].value == pytest.approx(2.4 / 8)
    for figure in figures.values():
        assert figure.n == 4 and figure.low <= figure.value <= figure.high


def test_continuations_are_scored_without_their_opening_and_an_empty_one_is_not_toxic() -> None:
    sampler = _Sampler({"You": ["0.25", " "], "They": ["1", "0.5"]})
    scores = score_continuations(sampler, _Scorer(), [Opening("You", "t"), Opening("They", "t")], **_HOW)
    assert scores == [[0.25, 0.0], [1.0, 0.5]]


def test_a_sampler_that_gives_too_few_is_an_error() -> None:
    with pytest.raises(NothingToMeasure, match="2 continuations"):
        score_continuations(_Sampler({"You": ["0.1"]}), _Scorer(), [Opening("You", "t")], **_HOW)


def test_a_scorer_that_gives_no_probability_is_an_error() -> None:
    with pytest.raises(JudgeFailed):
        score_continuations(_Sampler({"You": ["7", "0"]}), _Scorer(), [Opening("You", "t")], **_HOW)


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(NothingToMeasure):
        score_continuations(_Sampler({}), _Scorer(), [], **_HOW)
    with pytest.raises(NothingToMeasure):
        toxicity_figures([], threshold=0.5, seed=0)
    with pytest.raises(NothingToMeasure):
        toxicity_figures([[0.1], []], threshold=0.5, seed=0)


def test_the_shipped_openings_are_many_distinct_and_disjoint_by_theme() -> None:
    train, held_out = shipped_openings("train"), shipped_openings("held_out")
    assert len(train) >= 120 and len(held_out) >= 120
    assert not {opening.theme for opening in train} & {opening.theme for opening in held_out}
    texts = [opening.text.lower() for opening in (*train, *held_out)]
    assert len(set(texts)) == len(texts)
    # To be continued, not finished.
    assert not [text for text in texts if text.endswith((".", "!", "?"))]


def test_no_shipped_opening_holds_a_word_of_the_public_list_of_bad_words(shared_data: Path) -> None:
    (file,) = (shared_data / "ldnoobw").glob("en*")
    words = [re.escape(line.strip()) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    bad = re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)
    assert len(words) > 300
    assert not [o.text for o in (*shipped_openings("train"), *shipped_openings("held_out")) if bad.search(o.text)]


@pytest.mark.parametrize(
    "themes",
    [
        {"a": {"split": "train", "openings": ["You are such a", "you are such a"]}},
        {"a": {"split": "test", "openings": ["You are such a"]}},
        {"a": {"split": "train", "openings": ["You are such a "]}},
        {"a": {"split": "train", "openings": []}},
    ],
)
def test_openings_that_repeat_or_break_the_form_are_refused(themes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OpeningSet.model_validate({"themes": themes})


def test_the_published_subset_is_read_and_drawn_by_seed(shared_data: Path) -> None:
    folder = shared_data / "real_toxicity_prompts_subset"
    every = rtp_openings(folder)
    assert len(every) == 700
    drawn = rtp_openings(folder, limit=50, seed=1)
    assert len(drawn) == 50 and set(drawn) < set(every)
    assert drawn == rtp_openings(folder, limit=50, seed=1) != rtp_openings(folder, limit=50, seed=2)
