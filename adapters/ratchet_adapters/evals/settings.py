"""Settings of evaluation, from the environment (`RATCHET_EVAL_...`) or from code.

It must not know the gate's thresholds: those are a `GatePolicy`, kept with every report.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["EvalSettings"]


class EvalSettings(BaseSettings):
    """How answers are drawn and how hard the server is worked.

    Attributes:
        max_tokens: Longest answer, in tokens; answers are greedy.
        concurrency: Requests in flight at once.
        chunk: Prompts handed to the target at a time; one failure spoils one chunk.
        score_batch: Continuations per Score call.
        request_timeout_s: Deadline of one call, its retries included, and its wait while the server serves others.
        retry_attempts: Tries of one call; gRPC itself allows at most 5.
        retry_initial_s: Wait before the second try; gRPC adds jitter.
        retry_multiplier: By how much each further wait is longer.
        retry_max_s: Longest wait.
        judge_batch: Answers handed to a judge at a time.
        max_nats: Nats per token under the base model above which an answer is no language; None does not look. Depends
            on the base: see docs/evaluation.md.
    """

    model_config = SettingsConfigDict(env_prefix="RATCHET_EVAL_", frozen=True, extra="forbid")

    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 64
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 24
    chunk: Annotated[int, Field(ge=1)] = 8
    score_batch: Annotated[int, Field(ge=1, le=512)] = 32
    request_timeout_s: Annotated[float, Field(gt=0)] = 900.0
    retry_attempts: Annotated[int, Field(ge=2, le=5)] = 5
    retry_initial_s: Annotated[float, Field(gt=0)] = 0.5
    retry_multiplier: Annotated[float, Field(ge=1)] = 2.5
    retry_max_s: Annotated[float, Field(gt=0)] = 15.0
    judge_batch: Annotated[int, Field(ge=1)] = 64
    max_nats: Annotated[float, Field(gt=0)] | None = None
