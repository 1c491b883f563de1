"""Every number of the training recipe, and what a training process may use of the machine.

It must not know the dataset's own settings: those are in `ratchet_adapters.datasets.settings`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ProcessSettings", "SftSettings"]

Module = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class SftSettings(BaseModel):
    """The recipe of `sft-refusal`. It is written into the adapter it makes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, description="Seed of the adapter's initial weights and of the order of rows.")
    rank: Literal[8, 16, 32] = Field(16, description="LoRA rank; vLLM has kernels for these.")
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
    learning_rate: float = Field(2e-3, gt=0, description="Peak; warm-up, then cosine to zero.")
    warmup_share: float = Field(0.06, ge=0, lt=1, description="Share of the steps that warm up.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping.")
    epochs: float = Field(3.0, gt=0, le=20, description="Passes over the train rows.")
    batch_size: int = Field(16, ge=1, description="Rows per step.")
    rows_per_sequence: int = Field(
        4, ge=1, description="Rows packed behind one copy of the chat template's system message."
    )
    prompt_tokens: int = Field(384, ge=32, description="Rows with longer rendered prompts are left out.")
    refusal_tokens: int = Field(
        14,
        ge=4,
        description="Refusals are cut after so many tokens, without an end mark: the first tokens decide (arXiv "
        "2406.05946), and every further one costs time and general language.",
    )
    whole_share: float = Field(0.2, ge=0, le=1, description="Share of the refusals taught to their end.")
    whole_tokens: int = Field(96, ge=8, description="Cut of the refusals that are taught to their end.")
    answer_tokens: int = Field(
        12,
        ge=4,
        description="Answers are cut after so many tokens, without an end mark. Must be below the number of tokens "
        "that the dataset builder asks the base model for: a shorter answer is taken to be whole.",
    )
    head_tokens: int = Field(4, ge=1, description="First tokens of a completion, with full weight in the loss.")
    tail_weight: float = Field(0.3, ge=0, le=1, description="Weight of the tokens after them.")
    anchor_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of KL(base || adapter) on one plain text per step, which keeps general language where it "
        "was; 0 saves a quarter of the time.",
    )
    anchor_tokens: int = Field(64, ge=8, description="Tokens of an anchor text.")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto",
        description="bf16: base weights and matrix products in bfloat16, adapter and optimiser in float32. auto: bf16 "
        "where the processor has instructions for it (AVX512-BF16, AMX, a GPU), else fp32.",
    )
    checkpoint_steps: int = Field(40, ge=1, description="Steps between two checkpoints.")

    @model_validator(mode="after")
    def _distinct_modules(self) -> SftSettings:
        if len(set(self.target_modules)) != len(self.target_modules):
            raise ValueError("target_modules names a module twice; name each once")
        return self


class ProcessSettings(BaseModel):
    """What a training process may use. Not part of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(2, ge=1, description="CPU threads.")
    nice: int = Field(10, ge=0, le=19, description="Niceness added to the process, so that serving goes first.")
    stall_seconds: float = Field(900.0, gt=0, description="Without progress for so long the process is ended.")
