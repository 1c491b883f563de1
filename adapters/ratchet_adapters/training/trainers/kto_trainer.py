"""TRL's KTOTrainer whose model scores only the answers' tokens, against a reference that was computed before.

The loss is TRL's own. It must not know datasets, files or processes.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from trl import KTOTrainer

from ratchet_adapters.training.trainers.answers import AnswerScoring, token_log_probs

__all__ = ["AnswerTrainer"]


class AnswerTrainer(AnswerScoring, KTOTrainer):  # type: ignore[misc]
    """KTO as in TRL (arXiv 2402.01306, equation 7)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The rows bring the reference's log-probabilities; TRL would score whole sequences to compute them itself.
        self.precompute_ref_logps = True
        causal = self.accelerator.unwrap_model(self.model).get_base_model()
        plain = causal.forward

        def forward(*args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
            """TRL's own extension of `forward`; without `fused_lm_head` the model's."""
            if not fused_lm_head:
                return plain(*args, **kwargs)
            ids, labels = kwargs["input_ids"], kwargs["labels"]
            tokens = token_log_probs(causal, ids, kwargs["attention_mask"], labels != -100)
            # TRL shows these two beside the loss; they are not computed here, and not shown.
            unknown = torch.full_like(tokens, torch.nan)
            return SimpleNamespace(log_probs=tokens, entropy=unknown, mean_logits=unknown)

        causal.forward = forward

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        with self._precision_of_products():
            return super()._compute_loss(model, inputs, return_outputs)
