"""TRL's RewardTrainer under our precision.

It must not know datasets, files or processes.
"""

from __future__ import annotations

from typing import Any

from trl import RewardTrainer

from ratchet_adapters.training.trainers.reward_network import precision_of

__all__ = ["PairTrainer"]


class PairTrainer(RewardTrainer):  # type: ignore[misc]
    """-log sigmoid(chosen - rejected), with the body's products in bfloat16 where the training's are."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of one batch of pairs."""
        with precision_of(self.accelerator.unwrap_model(model)):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Checkpoints need no card; the reward model gets its own."""
