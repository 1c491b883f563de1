"""Flipped labels in traffic are found by confident learning; curated prompts are never doubted."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.unit.datasets.conftest import make

from ratchet_adapters.datasets.label_noise import Labelled, check_labels
from ratchet_adapters.datasets.seed import load_seed


def by_words(texts):
    """Vectors in which harmful and benign prompts of the small world are far apart, with some noise."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(scale=0.2, size=(len(texts), 8)).astype(np.float32)
    for vector, text in zip(vectors, texts, strict=True):
        vector[0 if "unnoticed" in text or "Forge" in text else 1] += 1.0
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def flags_with_a_flip(world):
    # Its words are those of an ordinary question, and it was accepted as harmful.
    return [world.flag(i) for i in range(12)] + [world.flag(50, prompt="Recommend a quiet place to read on Sundays")]


LOOSE = {"cosine": 0.99999, "jaccard": 0.7}


def test_a_flip_in_traffic_is_dropped_and_listed(world):
    dataset = make(world, flags_with_a_flip(world), embed=by_words, settings=LOOSE)
    (issue,) = dataset.manifest["label_check"]["issues"]
    assert issue["items"] == ["f0050"] and issue["label"] == "harmful" and issue["dropped"]
    assert issue["probability_of_the_other"] >= 0.7
    assert "f0050" not in dataset.flag_ids and len(dataset.flag_ids) == 12
    assert dataset.manifest["dropped"]["label_probably_wrong"] == 1


@pytest.mark.parametrize(("changes", "listed"), [({"label_check": "report"}, 1), ({"label_confidence": 0.999}, 1)])
def test_a_flip_is_only_listed_when_the_settings_say_so(world, changes, listed):
    dataset = make(world, flags_with_a_flip(world), embed=by_words, settings={**LOOSE, **changes})
    issues = dataset.manifest["label_check"]["issues"]
    assert len(issues) == listed and not issues[0]["dropped"] and "f0050" in dataset.flag_ids


@pytest.mark.parametrize(
    ("settings", "arguments", "why"),
    [({}, {}, "no embeddings"), ({"label_check": "off"}, {"embed": by_words}, "the settings say off")],
)
def test_a_check_that_was_not_made_says_why(world, settings, arguments, why):
    check = make(world, flags_with_a_flip(world), settings={**LOOSE, **settings}, **arguments).manifest["label_check"]
    assert not check["made"] and why in check["why_not"]


def test_too_few_prompts_of_a_label_are_not_checked():
    few = [Labelled(f"prompt {i}", i % 2 == 0) for i in range(10)]
    assert "5 prompts" in check_labels(few, [], embed=by_words).why_not


def test_recall_of_flips_injected_into_real_prompts():
    from ratchet_plugins.models.encoder import shared_encoder

    data = load_seed()
    bad, twins, plain = (
        [prompt.prompt for prompt in data.of(kind)][::5] for kind in ("harmful", "benign_twin", "ordinary")
    )
    trusted = [Labelled(text, True) for text in bad[:120]] + [Labelled(t, False) for t in [*twins[:90], *plain[:40]]]
    honest = [Labelled(text, True) for text in bad[120:180]] + [Labelled(text, False) for text in twins[90:130]]
    flips = [Labelled(text, True) for text in plain[40:60]] + [Labelled(text, False) for text in bad[180:200]]
    check = check_labels([*honest, *flips], trusted, embed=shared_encoder().encode)
    found = {issue.index: issue.probability for issue in check.issues}
    reported = sum(index >= len(honest) for index in found)
    sure = sum(index >= len(honest) and p >= 0.7 for index, p in found.items())
    wrongly = sum(index < len(honest) for index in found)
    wrongly_sure = sum(index < len(honest) and p >= 0.7 for index, p in found.items())
    sys.stdout.write(
        f"{len(flips)} flips: {reported} reported, {sure} sure; "
        f"{len(honest)} honest: {wrongly} reported, {wrongly_sure} sure\n"
    )
    assert reported >= 0.6 * len(flips)
    assert sure >= 0.1 * len(flips) and wrongly <= 0.35 * len(honest) and wrongly_sure <= 0.1 * len(honest)
