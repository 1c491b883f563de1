"""Defaults of a request that does not say."""

from __future__ import annotations

from pydantic import BaseModel, Field


class SamplingDefaults(BaseModel, extra="forbid"):
    """Sampling of requests that leave it open."""

    max_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.2, ge=0, le=2)
    top_p: float = Field(0.9, gt=0, le=1)
