"""`scale` and `combine`: new adapters from existing ones by arithmetic on their weights, without training.

It must not import a trainer: names and settings are asked for often, arithmetic is done rarely.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ratchet_adapters.training.method import Method
from ratchet_adapters.training.recipe import Recipe

__all__ = ["COMBINE", "SCALE", "ArithmeticSettings", "Combination", "CombineSettings", "ScaleSettings"]

Combination = Literal[
    "cat", "svd", "linear", "ties", "ties_svd", "dare_linear", "dare_linear_svd", "dare_ties", "dare_ties_svd"
]
_Weight = Annotated[float, Field(ge=-4, le=4, allow_inf_nan=False)]


class ArithmeticSettings(Recipe):
    """What `scale` and `combine` have in common. Of the other settings of a recipe, only the seed matters."""

    adapters: Mapping[str, _Weight] = Field(
        min_length=1,
        max_length=8,
        description='Weight of each adapter\'s change, by its digest: {"sha256:...": 0.5}. A job made in code may '
        "use any name that it also has in `inputs`.",
    )
    rank: int = Field(
        32, ge=1, le=64, description="Highest rank of the result: what the engine's max_lora_rank lets it serve."
    )

    @model_validator(mode="after")
    def _weights(self) -> ArithmeticSettings:
        if not any(self.adapters.values()):
            raise ValueError("every weight is 0, so the result would change nothing")
        return self


class ScaleSettings(ArithmeticSettings):
    """The recipe of `scale`: one adapter and its strength γ. The change of every weight matrix is multiplied by γ."""

    @model_validator(mode="after")
    def _one(self) -> ScaleSettings:
        if len(self.adapters) != 1:
            raise ValueError("scale takes one adapter; combine takes several")
        return self


class CombineSettings(ArithmeticSettings):
    """The recipe of `combine`."""

    combination: Combination = Field(
        "cat",
        description="cat: the exact weighted sum; its rank is the sum of the ranks. svd: the same sum, cut to `rank` "
        "by singular values. ties: per entry, only those of the majority's sign (arXiv 2306.01708). dare: entries "
        "dropped at random, the rest raised (arXiv 2311.03099). With _svd on the full change, else on the two factors "
        "each by itself, which for linear is a rough approximation and needs equal ranks.",
    )
    density: float | None = Field(
        None, gt=0, le=1, description="Share of entries that ties and dare keep. They need it; the others take none."
    )

    @model_validator(mode="after")
    def _density(self) -> CombineSettings:
        prunes = self.combination.startswith(("ties", "dare"))
        if prunes and self.density is None:
            raise ValueError(f"{self.combination} needs density, e.g. 0.5")
        if not prunes and self.density is not None:
            raise ValueError(f"{self.combination} drops no entries; leave density out")
        return self


SCALE = Method(
    name="scale",
    summary="An existing adapter, weaker or stronger: its change times a factor.",
    settings=ScaleSettings,
    trainer="ratchet_adapters.training.trainers.arithmetic:scale",
    learns=False,
)

COMBINE = Method(
    name="combine",
    summary="A weighted sum of existing adapters of one base model.",
    settings=CombineSettings,
    trainer="ratchet_adapters.training.trainers.arithmetic:combine",
    learns=False,
)
