"""Word and sentence embedding association tests: WEAT (Caliskan et al. 2017) and SEAT (May et al. 2019).

It must not know where embeddings come from. A diagnostic only: association in embedding space predicts what a model
writes only weakly, so it decides nothing.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet_adapters.evals.errors import SuiteUnreadable
from ratchet_adapters.evals.figure import CONFIDENCE, RESAMPLES, Figure
from ratchet_adapters.evals.measure_errors import NothingToMeasure

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["PERMUTATIONS", "AssociationTest", "Embed", "association", "associations", "in_sentences", "shipped_tests"]

PERMUTATIONS = 20_000
"""At most this many partitions; eight words a side have 12,870 and are tested exactly."""

Embed = Callable[[Sequence[str]], "npt.NDArray[np.float32]"]

_FILE = "weat.yaml"
_Words = Annotated[list[str], Field(min_length=2)]


class AssociationTest(BaseModel):
    """Two sets of targets and two of attributes.

    Attributes:
        x: Targets expected nearer to `a`.
        y: Targets expected nearer to `b`; as many as `x`.
        a: Attributes.
        b: Attributes; as many as `a`.
        about: What a positive effect would mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    x: _Words
    y: _Words
    a: _Words
    b: _Words


class _Shipped(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sentences: Annotated[list[str], Field(min_length=1)]
    tests: dict[str, AssociationTest]


def shipped_tests() -> Mapping[str, AssociationTest]:
    """Return Ratchet's own word lists by name, in the form of the classic tests.

    Raises:
        SuiteUnreadable: The shipped file is damaged.
    """
    return _shipped().tests


def in_sentences(embed: Embed) -> Embed:
    """Return an embedding of words by way of sentences that say nothing else, for SEAT.

    Each word's vector is the mean over the shipped frames ("They talked about {word}."), so that a word stays one
    stimulus and its sentences are not taken for independent ones.
    """
    frames = _shipped().sentences

    def of_words(words: Sequence[str]) -> npt.NDArray[np.float32]:
        vectors = embed([frame.format(word=word) for word in words for frame in frames])
        means: npt.NDArray[np.float32] = vectors.reshape(len(words), len(frames), -1).mean(axis=1)
        return means

    return of_words


def associations(embed: Embed, test: AssociationTest) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return s(w, A, B) = mean cos(w, a) - mean cos(w, b) for each word of X and of Y.

    Raises:
        NothingToMeasure: A vector is zero or no number, where the cosine is not defined.
    """
    np: Any = importlib.import_module("numpy")
    sets = [test.x, test.y, test.a, test.b]
    vectors = np.asarray(embed([word for words in sets for word in words]), dtype=float)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.all(np.isfinite(norms)) or np.any(norms == 0):
        raise NothingToMeasure("The association", "an embedding is zero or no number")
    x, y, a, b = np.split(vectors / norms, np.cumsum([len(words) for words in sets])[:-1])
    return (x @ a.T).mean(1) - (x @ b.T).mean(1), (y @ a.T).mean(1) - (y @ b.T).mean(1)


def association(embed: Embed, test: AssociationTest, *, seed: int) -> Figure:
    """Return the effect size d with the one-sided permutation p-value and a bootstrap interval over targets.

    d = (mean_x s - mean_y s) / sd_{x and y} s with the sample standard deviation (ddof 1), in [-2, 2]. The p-value is
    the share of equal partitions of X and Y with a difference at least as large: exact when there are at most
    `PERMUTATIONS` of them, else on that many random ones. n is the number of targets.

    Raises:
        NothingToMeasure: All targets are associated equally, where d is not defined.
    """
    np: Any = importlib.import_module("numpy")
    stats: Any = importlib.import_module("scipy.stats")
    x, y = associations(embed, test)
    # A spread below the rounding of the cosines is none.
    if float(np.std([*x, *y])) < 1e-12:
        raise NothingToMeasure("The association", "all targets are associated equally")

    def difference(first: Any, second: Any, axis: int) -> Any:
        return first.mean(axis=axis) - second.mean(axis=axis)

    def effect(first: Any, second: Any, axis: int) -> Any:
        spread = np.concatenate([first, second], axis=axis).std(axis=axis, ddof=1)
        return difference(first, second, axis) / np.where(spread > 0, spread, math.inf)

    rng = np.random.default_rng(seed)
    tested = stats.permutation_test(
        (x, y), difference, permutation_type="independent", alternative="greater", vectorized=True,
        n_resamples=PERMUTATIONS, rng=rng,
    )  # fmt: skip
    found = stats.bootstrap(
        (x, y), effect, vectorized=True, method="percentile", n_resamples=RESAMPLES, confidence_level=CONFIDENCE,
        rng=rng,
    ).confidence_interval  # fmt: skip
    value = float(effect(x, y, axis=0))
    return Figure(value, float(found.low), float(found.high), len(x) + len(y), float(tested.pvalue))


@cache
def _shipped() -> _Shipped:
    content = (resources.files("ratchet_adapters.evals.bias") / _FILE).read_text(encoding="utf-8")
    try:
        return _Shipped.model_validate(yaml.safe_load(content))
    except (yaml.YAMLError, ValidationError) as error:
        raise SuiteUnreadable(_FILE, str(error)) from error
