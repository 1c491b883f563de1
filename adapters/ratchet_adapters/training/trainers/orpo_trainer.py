"""TRL's ORPOTrainer that scores only the answers' tokens.

It must not know datasets, files or processes.
"""

from __future__ import annotations

from typing import Any

import torch
from trl.experimental.orpo import ORPOTrainer

from ratchet_adapters.training.trainers.answers import AnswerScoring, token_log_probs

__all__ = ["OddsTrainer"]

_SMALLEST = 1e-6
"""Nats below 0 of a token's mean log-probability, at most."""


class OddsTrainer(AnswerScoring, ORPOTrainer):  # type: ignore[misc]
    """ORPO as in TRL (arXiv 2403.07691), but the likelihood term is of the chosen answers alone.

    TRL's likelihood term takes the prompts in: on harmful prompts that would teach the model to ask for harm.
    """

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        """The rows are in tokens already; see `AnswerScoring`."""
        return feature

    def concatenated_forward(self, model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return mean log-probabilities per token of chosen and rejected answers, no logits, and the chosen's NLL."""
        causal = self.accelerator.unwrap_model(model).get_base_model()
        answers = batch["completion_mask"]
        with self._precision_of_products():
            tokens = token_log_probs(causal, batch["input_ids"], batch["attention_mask"], answers)
        counts = answers.sum(-1)
        # An answer that is certain has infinite odds.
        chosen, rejected = (tokens.sum(-1) / counts).clamp(max=-_SMALLEST).chunk(2)
        nll = -tokens.chunk(2)[0].sum() / counts.chunk(2)[0].sum()
        # TRL shows the mean logit beside the loss; it is not computed here, and not shown.
        unknown = torch.full((1,), torch.nan, device=tokens.device)
        return chosen, rejected, unknown, unknown, nll

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """As TRL's, with the inputs where the model is."""
        return super().prediction_step(model, self._prepare_inputs(inputs), prediction_loss_only, ignore_keys)
