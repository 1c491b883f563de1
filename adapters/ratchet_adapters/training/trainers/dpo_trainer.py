"""TRL's DPOTrainer with a margin for safety, smoothing by pair, and a likelihood term for the chosen answers.

It must not know datasets, files or processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from trl import DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from ratchet_adapters.training.dpo import DpoSettings
from ratchet_adapters.training.trainers.answers import AnswerScoring, token_log_probs

__all__ = ["PairCollator", "SafetyTrainer", "pair_losses"]


@dataclass
class PairCollator(DataCollatorForPreference):  # type: ignore[misc]
    """TRL's collator; hands on each pair's margin and noise."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch: chosen sequences, then rejected ones."""
        batch: dict[str, Any] = super().torch_call(examples)
        for name in ("margin", "noise"):
            batch[name] = torch.tensor([example[name] for example in examples])
        return batch


def pair_losses(
    scores: torch.Tensor, noise: torch.Tensor, smoothing: Literal["conservative", "robust"]
) -> torch.Tensor:
    """Return each pair's loss, in nats.

    Args:
        scores: β (log-ratio of chosen - log-ratio of rejected) - margin of each pair.
        noise: Probability ε that a pair is the wrong way round.
        smoothing: conservative is -(1-ε) log σ(s) - ε log σ(-s); robust is its unbiased form,
            (-(1-ε) log σ(s) + ε log σ(-s)) / (1-2ε) (arXiv 2403.00409, equation 12).
    """
    right, wrong = -functional.logsigmoid(scores), -functional.logsigmoid(-scores)
    if smoothing == "robust":
        return ((1 - noise) * right - noise * wrong) / (1 - 2 * noise)
    return (1 - noise) * right + noise * wrong


class SafetyTrainer(AnswerScoring, DPOTrainer):  # type: ignore[misc]
    """-log σ(β Δ - (h_l - h_w) m), smoothed, + α NLL(chosen); TRL has neither margin nor conservative smoothing."""

    _signature_columns: list[str] | None

    def __init__(self, *args: Any, settings: DpoSettings, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recipe = settings

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            self._signature_columns = [*(self._signature_columns or ()), "margin", "noise"]

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """Return the loss of one batch of pairs; see the class."""
        causal = self.accelerator.unwrap_model(model).get_base_model()
        masks = inputs["attention_mask"], inputs["completion_mask"]
        with self._precision_of_products():
            tokens = token_log_probs(causal, inputs["input_ids"], *masks)
        chosen, rejected = tokens.sum(-1).chunk(2)
        chosen_rewards = self._recipe.beta * (chosen - inputs["ref_chosen_logps"])
        rejected_rewards = self._recipe.beta * (rejected - inputs["ref_rejected_logps"])
        margins = chosen_rewards - rejected_rewards
        losses = pair_losses(margins - inputs["margin"], inputs["noise"], self._recipe.smoothing)
        nll = -chosen.sum() / inputs["completion_mask"].chunk(2)[0].sum()
        loss = losses.mean() + self._recipe.chosen_nll_weight * nll
        shown = {
            "rewards/chosen": chosen_rewards,
            "rewards/rejected": rejected_rewards,
            "rewards/margins": margins,
            "rewards/accuracies": (margins > 0).float(),
            "logps/chosen": chosen,
            "logps/rejected": rejected,
            "nll": nll,
        }
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, values in shown.items():
            metrics[name].append(values.detach().mean().item())
        return (loss, {"loss": loss.detach()}) if return_outputs else loss
