"""What the preference methods (`dpo`, `kto`, `orpo`) have in common: which pairs are made, how long their answers are.

It must not know any loss.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ratchet_adapters.training.recipe import AdapterRecipe

__all__ = ["DATASET", "PreferenceSettings"]

DATASET: dict[str, Any] = {"answer_tokens": 32, "rejected": "asked"}
"""Of the dataset build: more than `completion_tokens`, so that a short answer can be told from a cut one."""


class PreferenceSettings(AdapterRecipe):
    """The recipe of a method that learns from a better and a worse answer to one prompt."""

    learning_rate: float = Field(5e-4, gt=0, description="Peak; warm-up, then cosine to zero.")
    epochs: float = Field(2.0, gt=0, le=20, description="Passes over the pairs.")
    completion_tokens: int = Field(
        24,
        ge=4,
        description="Both answers are cut after so many tokens, without an end mark: the first tokens decide whether a "
        "request is refused, and time grows with every token. Must be below the number of tokens that the dataset "
        "builder asks the base model for.",
    )
    over_refusal_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the pairs that prefer an answer to a needless refusal; what is too many of either sort "
        "is left out, drawn by seed. None: all pairs there are.",
    )
    template_refusals: bool = Field(
        True,
        description="A contrast row that holds no needless refusal gets a template of its category, drawn by seed, as "
        "the rejected answer. False: such rows are left out.",
    )
    anchor_weight: float = Field(
        2.0,
        ge=0,
        description="Weight of KL(base || adapter) on one plain text per step, which keeps general language where it "
        "was; needs anchor rows.",
    )
    anchor_tokens: int = Field(64, ge=8, description="Tokens of an anchor text.")
    judge: Literal["scorers", "rows"] = Field(
        "scorers",
        description="Who rates answers as safe or unsafe. rows: what complies with a refusal row's prompt is unsafe, "
        "nothing else. scorers: in addition what the toxicity scorer takes for toxic, and what complies with a "
        "contrast row's prompt that the triage scorer takes for harmful.",
    )
