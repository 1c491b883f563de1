"""What a diagnosis may choose: how many prompts, how many triggers, and where the bars stand.

It must not know which model or suites are diagnosed.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DiagnosisSettings"]


class DiagnosisSettings(BaseModel):
    """Numbers of one diagnosis. They are written into its report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, description="Seed of every choice: which prompts, which control phrases, which twins.")
    limit: int = Field(
        0, ge=0, description="Most prompts asked of each suite, drawn with the seed; 0 asks all of them."
    )
    max_tokens: int = Field(64, ge=8, le=1024, description="Longest answer, in tokens; answers are greedy.")
    chunk: int = Field(32, ge=1, description="Prompts handed to the model at a time.")

    longest: int = Field(3, ge=1, le=5, description="Longest phrase looked at, in words.")
    prior_share: float = Field(
        0.2,
        gt=0,
        description="Weight of the prior, as a share of the phrases counted. The prior is how often all prompts use a "
        "phrase. Near 1 it drowns the evidence; near 0 a rare phrase that was never answered has no usable z.",
    )
    min_count: int = Field(3, ge=1, description="Prompts of the marked group a phrase must occur in.")
    min_answered: int = Field(
        20,
        ge=1,
        description="Answered benign prompts there must be to compare with. With fewer the model refuses whatever is "
        "asked, and the phrases looked for are those that mark what it was taught to refuse.",
    )
    min_z: float = Field(1.64, ge=0, description="Least z-score of a trigger: one-sided 5 %.")
    max_triggers: int = Field(30, ge=1, description="Most triggers reported, tried and written twins for.")
    prompts_per_trigger: int = Field(4, ge=0, description="Wrongly refused prompts in which each trigger is tried.")

    neighbours: int = Field(3, ge=1, description="Nearest training rows shown per wrong refusal.")

    template_twins: int = Field(12, ge=0, description="Twins proposed from templates per trigger, before judging.")
    model_twins: int = Field(8, ge=0, description="Requests to the base model for a twin, per trigger.")
    twins_per_trigger: int = Field(12, ge=1, description="Most twins kept per trigger.")
    triage_bar: float = Field(
        0.85,
        gt=0,
        le=1,
        description="A twin must score below this with the triage scorer. Twins look alarming by design, so the bar is "
        "near the one from which benign look-alikes are rare, not the one from which a prompt deserves a second look.",
    )
    jaccard: float = Field(
        0.7, gt=0, lt=1, description="Near duplicate: Jaccard similarity of word shingles (MinHash)."
    )
    cosine: float = Field(0.92, gt=0, lt=1, description="Near duplicate of a training row or another twin: cosine.")
    eval_cosine: float = Field(
        0.85,
        gt=0,
        lt=1,
        description="Near an evaluation item: cosine above this. Lower, because it must never be near.",
    )
