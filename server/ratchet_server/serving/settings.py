"""Defaults of a request that does not say, and how much of an evaluation may be in the engine beside traffic."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, model_validator


class SamplingDefaults(BaseModel, extra="forbid"):
    """Sampling of requests that leave it open."""

    max_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.2, ge=0, le=2)
    top_p: float = Field(0.9, gt=0, le=1)


class EvaluationLimits(BaseModel, extra="forbid"):
    """How many answers of evaluations are in the engine at once."""

    at_once: int = Field(32, ge=1)
    """While nobody else is served."""

    beside_traffic: int = Field(1, ge=1)
    """While somebody is. One keeps an evaluation going for ever so slowly; a large accelerator can bear more."""

    quiet_seconds: float = Field(1.0, ge=0)
    """How long after the last request traffic counts as going on, so that a pause in it is not filled up at once."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.beside_traffic > self.at_once:
            raise ValueError("beside_traffic must not be over at_once")
        return self
