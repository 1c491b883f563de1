"""What a campaign may choose: its budget, how answers are drawn, how hard the server is worked.

It must not know which attacks or suite are chosen.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CampaignSettings"]


class CampaignSettings(BaseModel):
    """Numbers of one campaign; those that shape an answer are part of what identifies it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: int = Field(300, description="Most requests, those of earlier starts of the same campaign included.")
    minutes: float = Field(15.0, description="Longest time of one start, in minutes.")
    concurrency: int = Field(8, ge=1, le=256, description="Conversations held at once.")
    max_tokens: int = Field(96, ge=1, le=4096, description="Longest answer, in tokens.")
    temperature: float = Field(0.0, ge=0, le=2, description="0 is greedy.")
    seed: int = Field(0, ge=0, description="Of the order of the items, and of the sampling of every request.")
    timeout_s: float = Field(180.0, gt=0, description="Deadline of one request, in seconds.")
    attempts: int = Field(4, ge=1, le=10, description="Tries of a request that meets an overloaded server.")
    backoff_s: float = Field(1.0, gt=0, description="Wait before the second try; doubled for each further one.")
    judge_batch: int = Field(64, ge=1, description="Answers handed to the judge at a time.")
    cluster_correlation: float = Field(
        0.05, ge=0, lt=1, description="Assumed correlation of outcomes on items that share a cluster; widens intervals."
    )
