"""What a dataset build may choose: bounds, mix and thresholds.

It must not know how a dataset is trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ratchet_plugins.pii.recognisers import REGIONS

__all__ = ["DatasetSettings"]

_CHECKS = ("off", "report", "drop")
# Raising the one or lowering the other lets more into a dataset than the operator meant to.
_NOT_RAISED = (
    "max_items_per_principal",
    "burst_items",
    "max_extra_contrast",
    "label_confidence",
    "signal_benign",
    "jaccard",
    "cosine",
)
_NOT_LOWERED = ("min_signals", "burst_principals", "burst_window_s", "signal_harm")


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
    min_signals: int = Field(
        2,
        ge=1,
        le=3,
        description="Independent signals (a claim, a detector, a reviewer) that must stand behind an item that trains.",
    )
    signal_harm: float = Field(
        0.5, ge=0, le=1, description="Triage score of the served prompt from which it backs a HARMFUL claim."
    )
    signal_benign: float = Field(
        0.1, ge=0, le=1, description="Triage score up to which it, with a refusal served, backs an OVER_REFUSAL claim."
    )
    burst_items: int = Field(50, ge=1, description="A near-duplicate cluster of more flags than this may be a burst.")
    burst_principals: int = Field(10, ge=1, description="It is one when it comes from fewer principals than this.")
    burst_window_s: float = Field(
        60.0, ge=0, description="It is one when more than burst_items of it were submitted within this many seconds."
    )
    label_check: Literal["off", "report", "drop"] = Field(
        "drop",
        description="Items of traffic and of extra files whose label is probably wrong: not looked for, only listed, "
        "or left out when the confidence below is reached. Seed items are trusted.",
    )
    label_confidence: float = Field(
        0.7, gt=0.5, lt=1, description="Least probability of the other label at which an item is left out."
    )
    extra_contrast: tuple[Path, ...] = Field(
        (), description="JSONL files of benign prompts that join the contrast rows (see `extra_contrast`)."
    )
    max_extra_contrast: int = Field(200, ge=0, description="Most prompts taken from those files together.")
    anchors: bool = Field(True, description="Plain texts on which training holds the adapter to the base model.")
    phone_regions: tuple[str, ...] = Field(
        REGIONS, description="Countries whose national phone numbers are removed; international ones always are."
    )
    rejected: Literal["none", "flagged", "asked"] = Field(
        "none",
        description="Negative examples, for methods that learn from pairs. flagged: the flagged answer to a harmful "
        "prompt, a refusal template for a benign one. asked: also the base model's own answer to a harmful prompt that "
        "was blocked or comes from the seed suites, as far as it is no refusal.",
    )
    openings: int = Field(
        0, ge=0, description="Openings of texts that draw rude continuations, for penalties to score."
    )
    pairs: int = Field(0, ge=0, description="Pairs of texts that differ in a group of people only.")
    max_refusals: int = Field(900, ge=0, description="Most refusal rows.")
    min_refusals: int = Field(
        16, ge=0, description="Fewer refusal rows than this is an error: nothing would be learnt."
    )
    seed_harmful: int = Field(
        1120,
        ge=0,
        description="Harmful prompts of the seed train split that join those of the flags, so that a few flags of one "
        "kind do not make a model that refuses only those. 0: flags only.",
    )
    contrast_per_refusal: float = Field(
        1.3, ge=0, description="Benign prompts that look alarming, with an answer, per refusal row."
    )
    replay_per_refusal: float = Field(0.55, ge=0, description="Ordinary prompts, with an answer, per refusal row.")
    min_contrast: int = Field(
        640, ge=0, description="Contrast rows kept however few refusals there are (as far as there are prompts)."
    )
    min_replay: int = Field(160, ge=0, description="Replay rows kept however few refusals there are.")
    max_contrast: int = Field(1120, ge=0, description="Most contrast rows.")
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

    def loosened(self, other: DatasetSettings) -> tuple[str, ...]:
        """Return the protections against poisoning and leakage that are weaker in `other`, by field name."""
        names = [name for name in _NOT_RAISED if getattr(other, name) > getattr(self, name)]
        names += [name for name in _NOT_LOWERED if getattr(other, name) < getattr(self, name)]
        if other.principal_limits != self.principal_limits:
            names.append("principal_limits")
        if _CHECKS.index(other.label_check) < _CHECKS.index(self.label_check):
            names.append("label_check")
        if not set(self.phone_regions) <= set(other.phone_regions):
            names.append("phone_regions")
        return tuple(names)
