"""The weight of a loss term, λ: fixed, moved along a line, or a Lagrange multiplier that holds a level under a ceiling.

It must not know what the term measures.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Fixed", "Lagrange", "Linear", "Weight", "WeightState"]


class _Kind(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fixed(_Kind):
    """The same at every step."""

    kind: Literal["fixed"] = "fixed"
    value: float = Field(1.0, ge=0)


class Linear(_Kind):
    """From one value at the first step to another at the last."""

    kind: Literal["linear"] = "linear"
    start: float = Field(0.0, ge=0)
    end: float = Field(1.0, ge=0)


class Lagrange(_Kind):
    """Raised while the term's level is above the ceiling, lowered while it is below.

    log λ moves by rate · (level − ceiling) / ceiling per step, as in PPO-Lagrangian with λ kept positive (Safe RLHF,
    arXiv 2310.12773, section 3.3).
    """

    kind: Literal["lagrange"] = "lagrange"
    ceiling: float = Field(gt=0, description="Of the level the term reports, in its own unit.")
    rate: float = Field(0.1, gt=0)
    start: float = Field(1.0, gt=0)
    most: float = Field(20.0, gt=0, description="Largest weight.")


Weight = Annotated[Fixed | Linear | Lagrange, Field(discriminator="kind")]


class WeightState:
    """The weight of one term as training goes on. `value` and `restore` carry it over a checkpoint."""

    def __init__(self, weight: Fixed | Linear | Lagrange) -> None:
        self._weight = weight
        self._current = weight.start if isinstance(weight, Lagrange) else 0.0

    def at(self, step: int, total: int) -> float:
        """Return the weight for a step, 1 to total."""
        if isinstance(self._weight, Fixed):
            return self._weight.value
        if isinstance(self._weight, Linear):
            share = (step - 1) / max(1, total - 1)
            return self._weight.start + (self._weight.end - self._weight.start) * share
        return self._current

    def saw(self, level: float) -> None:
        """Take note of the term's level at the step just done."""
        if isinstance(self._weight, Lagrange) and math.isfinite(level):
            excess = (level - self._weight.ceiling) / self._weight.ceiling
            self._current = min(self._weight.most, self._current * math.exp(self._weight.rate * excess))

    @property
    def value(self) -> float:
        """The multiplier, for a checkpoint."""
        return self._current

    def restore(self, value: float) -> None:
        """Continue from a checkpoint's multiplier."""
        self._current = value
