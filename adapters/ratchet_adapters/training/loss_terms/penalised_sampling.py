"""`penalised-sampling`: the expected penalty of what the policy says itself, and how far it moves from the base model.

E[penalty(y)] with y sampled from the policy is no differentiable function of one sample, so its gradient is the
score-function estimate of Williams (1992) with the mean of the opening's other samples as baseline: RLOO (Ahmadian et
al. 2024, arXiv 2402.14740). Sums over tokens, not means, are what makes it unbiased. It must not know what a penalty
measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from ratchet_adapters.datasets.dataset import RowKind
from ratchet_adapters.training.errors import TermRowsMissing
from ratchet_adapters.training.loss_term import TermLoss, TermModel, TermStep
from ratchet_adapters.training.loss_terms.completions import completion_states, laid_out, loss_over_logits
from ratchet_adapters.training.penalties.scoring import penalised
from ratchet_adapters.training.penalty import penalty
from ratchet_adapters.training.trainers.generation import rendered, sample_ids

__all__ = ["PenalisedSampling", "SamplingOptions", "advantages"]

NAME = "penalised-sampling"


class SamplingOptions(BaseModel):
    """Options of the term."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    penalty: str = Field("toxicity", description="Built in, or from the group ratchet.penalties.")
    penalty_options: Mapping[str, Any] = Field(default_factory=dict)
    prompts: int = Field(8, ge=1, description="Openings per step.")
    samples: int = Field(4, ge=2, description="Continuations of each; the others are the baseline of one.")
    max_tokens: int = Field(32, ge=1, le=512, description="Longest continuation.")
    temperature: float = Field(1.0, gt=0, description="Of the sampling; the penalty is expected at this temperature.")
    kl_weight: float = Field(
        0.05, ge=0, description="Weight of KL(policy || base) per sampled token, within the term: its weight times λ."
    )
    chat: bool = Field(False, description="Whether openings are user messages; else they are plain text to continue.")
    opening_tokens: int = Field(128, ge=8, description="Openings with more tokens are left out.")


class PenalisedSampling:
    """Mean penalty of the step's samples plus `kl_weight` nats per token; its gradient is that of their expectation.

    Takes the options of `SamplingOptions`. The level is the mean penalty.

    Raises:
        PenaltyUnknown: There is no such penalty.
        PenaltyOptionsInvalid: It does not take its options.
    """

    def __init__(self, **options: Any) -> None:
        self._options = SamplingOptions.model_validate(options)
        self._penalty = penalty(self._options.penalty, self._options.penalty_options)
        self._openings: list[tuple[str, list[int]]] | None = None

    def __call__(self, model: TermModel, step: TermStep) -> TermLoss:
        """Sample, score, and return the term's value at a step.

        Raises:
            TermRowsMissing: The dataset has no opening that is short enough.
            PenaltyInvalid: The penalty failed or returned something other than scores.
        """
        options = self._options
        if self._openings is None:
            self._openings = self._encoded(model)
        chosen = step.chance.sample(self._openings, min(options.prompts, len(self._openings)))
        copies = [opening for opening in chosen for _ in range(options.samples)]
        prompts = [ids for _, ids in copies]
        completions = self._sampled(model, prompts, step.torch_seed)
        texts = [model.tokenizer.decode(ids, skip_special_tokens=True) for ids in completions]
        scores = torch.tensor(penalised(options.penalty, self._penalty, [text for text, _ in copies], texts))
        excess = advantages(scores.view(-1, options.samples)).flatten()
        loss, drift = self._loss(model, prompts, completions, excess)
        level = float(scores.mean())
        shown = {
            "kl": drift,
            "highest": float(scores.max()),
            "tokens": sum(map(len, completions)) / len(completions),
        }
        # The score-function term has no value of its own worth reading; the expected penalty has.
        return TermLoss(loss + level, level, shown)

    def _loss(
        self,
        model: TermModel,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
        excess: torch.Tensor,
    ) -> tuple[torch.Tensor, float]:
        """Return kl_weight · KL with the gradient of both parts, and KL in nats per token."""
        options = self._options
        batch = laid_out(prompts, completions, pad=model.pad, device=model.model.device)
        weights = (excess.to(batch.row.device) / len(completions))[batch.row]
        count = max(1, len(batch.targets))
        reference: torch.Tensor | None = None
        if options.kl_weight:
            with model.reference():
                reference = completion_states(model, batch)
        head = model.model.get_base_model().get_output_embeddings()
        drift = 0.0

        def part_loss(logits: torch.Tensor, part: slice) -> torch.Tensor:
            nonlocal drift
            policy = logits.log_softmax(-1)
            sampled = policy if options.temperature == 1.0 else (logits / options.temperature).log_softmax(-1)
            spoken = sampled.gather(-1, batch.targets[part, None]).squeeze(-1)
            surrogate = (weights[part] * spoken).sum()
            value = surrogate - surrogate.detach()
            if reference is not None:
                with torch.no_grad(), model.precision():
                    base = head(reference[part])
                base = base.float().log_softmax(-1)
                # Over the whole vocabulary: estimates from the sampled token alone are noisier, and the usual one
                # (k3), differentiated, descends KL(base || policy) instead (arXiv 2512.21852).
                divergence = (policy.exp() * (policy - base)).sum() / count
                drift += float(divergence.detach())
                value = value + options.kl_weight * divergence
            return value

        return loss_over_logits(model, completion_states(model, batch), part_loss), drift

    def _sampled(self, model: TermModel, prompts: Sequence[Sequence[int]], seed: int) -> list[list[int]]:
        training = model.model.training
        model.model.eval()
        try:
            with model.precision():
                return sample_ids(
                    model.model,
                    prompts,
                    pad=model.pad,
                    end=model.tokenizer.eos_token_id,
                    max_tokens=self._options.max_tokens,
                    temperature=self._options.temperature,
                    seed=seed,
                )
        finally:
            model.model.train(training)

    def _encoded(self, model: TermModel) -> list[tuple[str, list[int]]]:
        found = []
        for row in model.rows(RowKind.OPENING):
            source = rendered(model.tokenizer, row.prompt) if self._options.chat else row.prompt
            ids = model.tokenizer(source, add_special_tokens=False)["input_ids"]
            if 0 < len(ids) <= self._options.opening_tokens:
                found.append((row.prompt, ids))
        if not found:
            raise TermRowsMissing(NAME, f"openings of at most {self._options.opening_tokens} tokens")
        return found


def advantages(scores: torch.Tensor) -> torch.Tensor:
    """Return each score minus the mean of the other scores of its row.

    Args:
        scores: (openings, samples), at least two samples.
    """
    samples = scores.shape[-1]
    return (scores - scores.mean(-1, keepdim=True)) * samples / (samples - 1)
