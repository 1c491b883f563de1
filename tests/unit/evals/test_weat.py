"""Association tests on vectors whose effect is known by arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from ratchet_adapters.evals.bias.weat import (
    AssociationTest,
    Embed,
    association,
    associations,
    in_sentences,
    shipped_tests,
)
from ratchet_adapters.evals.measure_errors import NothingToMeasure

_TEST = AssociationTest(about="t", x=["x1", "x2"], y=["y1", "y2"], a=["a1", "a2"], b=["b1", "b2"])
_ATTRIBUTES = {"a1": (1, 0), "a2": (1, 0), "b1": (0, 1), "b2": (0, 1)}


def _embed(vectors: Mapping[str, tuple[float, float]]) -> Embed:
    def of(words: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.array([vectors[word] for word in words], dtype=np.float32)

    return of


def test_the_effect_size_is_that_of_the_formula() -> None:
    # s is 1, 0.2 for X and -1, -0.2 for Y: means 0.6 and -0.6, sample variance (1 + .04 + 1 + .04) / 3 = 2.08 / 3.
    targets = {"x1": (1.0, 0.0), "x2": (0.8, 0.6), "y1": (0.0, 1.0), "y2": (0.6, 0.8)}
    embed = _embed({**targets, **_ATTRIBUTES})
    x, y = associations(embed, _TEST)
    assert [*x, *y] == pytest.approx([1.0, 0.2, -1.0, -0.2], abs=1e-6)
    figure = association(embed, _TEST, seed=0)
    assert figure.value == pytest.approx(1.2 / math.sqrt(2.08 / 3), abs=1e-5)
    # Of the six ways to split four targets in two and two, only the one at hand is so large.
    assert figure.p_value == pytest.approx(1 / 6)
    assert figure.n == 4 and figure.low <= figure.value <= figure.high


def test_swapping_the_targets_turns_the_sign() -> None:
    targets = {"x1": (0.0, 1.0), "x2": (0.6, 0.8), "y1": (1.0, 0.0), "y2": (0.8, 0.6)}
    figure = association(_embed({**targets, **_ATTRIBUTES}), _TEST, seed=0)
    assert figure.value == pytest.approx(-1.2 / math.sqrt(2.08 / 3), abs=1e-5)
    assert figure.p_value == 1.0


def test_equal_associations_are_no_effect_but_an_error() -> None:
    targets = dict.fromkeys(("x1", "x2", "y1", "y2"), (1.0, 1.0))
    with pytest.raises(NothingToMeasure, match="equally"):
        association(_embed({**targets, **_ATTRIBUTES}), _TEST, seed=0)


@pytest.mark.parametrize("vector", [(0.0, 0.0), (float("nan"), 1.0)])
def test_a_vector_without_direction_is_an_error(vector: tuple[float, float]) -> None:
    targets = {"x1": vector, "x2": (1.0, 0.0), "y1": (1.0, 1.0), "y2": (0.0, 1.0)}
    with pytest.raises(NothingToMeasure, match="zero or no number"):
        association(_embed({**targets, **_ATTRIBUTES}), _TEST, seed=0)


def test_a_word_in_sentences_is_one_mean_vector() -> None:
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        asked.extend(texts)
        return np.arange(len(texts), dtype=np.float32).reshape(-1, 1)

    vectors = in_sentences(embed)(["rain", "snow"])
    frames = len(asked) // 2
    assert vectors.tolist() == [[(frames - 1) / 2], [frames + (frames - 1) / 2]]
    assert sum("rain" in text for text in asked) == frames > 1


def test_the_shipped_lists_are_balanced_and_disjoint() -> None:
    tests = shipped_tests()
    assert len(tests) >= 6
    for name, test in tests.items():
        assert len(test.x) == len(test.y) and len(test.a) == len(test.b), name
        words = [*test.x, *test.y, *test.a, *test.b]
        assert len(set(words)) == len(words), name
