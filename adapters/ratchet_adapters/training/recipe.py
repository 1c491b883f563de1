"""What every training method has in common: the adapter's shape, the optimiser, the limits of a step.

It must not know the loss of any method: each keeps its own numbers in a subclass, in its own file.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["AdapterRecipe", "Module", "Recipe"]

Module = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Recipe(BaseModel):
    """Numbers of one training. They are written into the adapter it makes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, description="Seed of the adapter's initial weights, of the order of rows and of sampling.")
    rank: int = Field(16, ge=1, le=64, description="LoRA rank.")
    alpha: int = Field(32, ge=1, description="LoRA alpha; the change is scaled by alpha / rank.")
    target_modules: tuple[Module, ...] = Field(
        ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj"),
        min_length=1,
        description="Linear layers that get an adapter.",
    )
    first_layer: float = Field(
        0.26,
        ge=0,
        lt=1,
        description="Depth at which adapters begin, as a share of the layers. Lower layers carry little of the "
        "decision to refuse, and gradients do not have to travel there.",
    )
    last_layer: float = Field(1.0, gt=0, le=1, description="Depth at which adapters end, as a share of the layers.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak; warm-up, then cosine to zero.")
    warmup_share: float = Field(0.06, ge=0, lt=1, description="Share of the steps that warm up.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping.")
    epochs: float = Field(3.0, gt=0, le=20, description="Passes over the train rows.")
    batch_size: int = Field(16, ge=1, description="Rows per optimiser step.")
    accumulate: int = Field(
        1, ge=1, description="Parts a step's rows are computed in, one after the other: less memory, the same step."
    )
    prompt_tokens: int = Field(384, ge=32, description="Rows with longer rendered prompts are left out.")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto",
        description="bf16: base weights and matrix products in bfloat16, adapter and optimiser in float32. auto: bf16 "
        "where the processor has instructions for it (AVX512-BF16, AMX, a GPU), else fp32.",
    )
    checkpoint_steps: int = Field(40, ge=1, description="Steps between two checkpoints.")
    over_refusal_ceiling: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Early stop: training ends when a larger share than this of the validation contrast prompts is "
        "refused. The checkpoint before it is the result. None: never.",
    )
    over_refusal_steps: int = Field(40, ge=1, description="Steps between two looks at validation over-refusal.")

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if len(set(self.target_modules)) != len(self.target_modules):
            raise ValueError("target_modules names a module twice; name each once")
        if self.last_layer <= self.first_layer:
            raise ValueError("last_layer must lie above first_layer, or no layer gets an adapter")
        if self.batch_size % self.accumulate:
            raise ValueError("batch_size must be a multiple of accumulate, so that all parts are of one size")
        return self


class AdapterRecipe(Recipe):
    """A recipe of which an adapter comes out, anew or from an earlier one."""

    start: str = Field(
        "",
        description="Adapter that training goes on from: the whole digest of one that was trained on this base model. "
        "Its rank, alpha, modules and layers hold, not the recipe's. Empty: a new adapter, which changes nothing yet.",
    )
    strength: float = Field(
        1.0,
        gt=0,
        le=4,
        description="γ: the finished adapter's change is multiplied by it (its LoRA alpha is). Below 1 it does less of "
        "what it learnt; `scale` does the same to an adapter that is there already.",
    )
