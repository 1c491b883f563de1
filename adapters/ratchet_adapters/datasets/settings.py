"""What a dataset build may choose: bounds, mix and thresholds.

It must not know how a dataset is trained on.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DatasetSettings"]


class DatasetSettings(BaseModel):
    """Numbers of one dataset build. They are written into the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, description="Seed of every choice: which rows, which template, which split.")
    max_items_per_principal: int = Field(
        8,
        ge=0,
        description="Poison bound: an absolute number, not a share, because a fixed number of poisoned examples "
        "works whatever the size of the dataset (arXiv 2510.07192).",
    )
    principal_limits: dict[str, int] = Field(
        default_factory=dict,
        description="Absolute bound of single, named principals (a red team, a trusted importer); replaces the bound "
        "above for them.",
    )
    max_refusals: int = Field(640, ge=1, description="Most refusal rows.")
    min_refusals: int = Field(
        16, ge=1, description="Fewer refusal rows than this is an error: nothing would be learnt."
    )
    seed_harmful: int = Field(
        0, ge=0, description="Harmful prompts of the seed train split that join those of the flags. 0: flags only."
    )
    contrast_per_refusal: float = Field(
        1.3, ge=0, description="Benign prompts that look alarming, with an answer, per refusal row."
    )
    replay_per_refusal: float = Field(0.55, ge=0, description="Ordinary prompts, with an answer, per refusal row.")
    min_contrast: int = Field(
        640, ge=0, description="Contrast rows kept however few refusals there are (as far as there are prompts)."
    )
    min_replay: int = Field(160, ge=0, description="Replay rows kept however few refusals there are.")
    max_contrast: int = Field(1000, ge=0, description="Most contrast rows.")
    max_replay: int = Field(1000, ge=0, description="Most replay rows.")
    general_template_share: float = Field(
        0.25, ge=0, le=1, description="Share of refusals from the general bank even where the category is known."
    )
    category_similarity: float = Field(
        0.3, ge=0, le=1, description="Least similarity to a seed prompt for taking over its category; else general."
    )
    jaccard: float = Field(
        0.7, gt=0, lt=1, description="Near duplicate: Jaccard similarity of word shingles (MinHash)."
    )
    cosine: float = Field(0.92, gt=0, lt=1, description="Near duplicate: cosine of sentence embeddings above this.")
    max_prompt_chars: int = Field(1200, ge=16, description="Longer prompts are left out: nobody reviews them well.")
    validation_share: float = Field(0.05, ge=0, lt=0.5, description="Share of near-duplicate clusters held out.")
    answer_tokens: int = Field(
        16,
        ge=8,
        description="Tokens asked of the base model per answer. More than the trainer keeps of an answer, so that it "
        "can tell a short answer from a cut one.",
    )
