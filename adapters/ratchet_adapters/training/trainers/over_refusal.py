"""Early stop on validation over-refusal: look now and then, and go back to the last adapter that was below the ceiling.

It must not know the loss. It judges by the opening of an answer, never by the gate's judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from ratchet_adapters.datasets.dataset import RowKind, Split
from ratchet_adapters.datasets.refusal_text import opens_like_a_refusal
from ratchet_adapters.precision import products
from ratchet_adapters.training.trainers.workers import said_by_first

if TYPE_CHECKING:
    from ratchet_adapters.training.trainers.session import Session

__all__ = ["OverRefusalStop"]

_MOST_PROMPTS = 64
_ANSWER_TOKENS = 10


class OverRefusalStop(TrainerCallback):  # type: ignore[misc]
    """Stops a training when it has begun to refuse what it should answer.

    Attributes:
        reason: Why training was stopped; empty when it was not.
    """

    def __init__(self, session: Session, prompts: Sequence[str], ceiling: float, every: int) -> None:
        self._session = session
        self._prompts = list(prompts)[:_MOST_PROMPTS]
        self._ceiling = ceiling
        self._every = every
        self._good: dict[str, torch.Tensor] | None = None
        self.reason = ""

    @classmethod
    def of(cls, session: Session) -> OverRefusalStop | None:
        """Return the callback a job asks for, or None when it asks for none or has no validation contrast rows."""
        settings = session.job.settings
        prompts = [row.prompt for row in session.rows(RowKind.CONTRAST, split=Split.VALIDATION)]
        if settings.over_refusal_ceiling is None or not prompts:
            return None
        return cls(session, prompts, settings.over_refusal_ceiling, settings.over_refusal_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Look, and stop or remember."""
        if state.global_step % self._every or state.global_step >= state.max_steps:
            return
        share = said_by_first(self.share(model))
        if share > self._ceiling:
            self.reason = (
                f"{share:.1%} of {len(self._prompts)} validation contrast prompts refused at step {state.global_step}, "
                f"above the ceiling of {self._ceiling:.1%}"
            )
            control.should_training_stop = True
        else:
            self._good = {name: tensor.detach().clone() for name, tensor in _trained(model)}

    def restore(self, model: Any) -> None:
        """Put back the last adapter below the ceiling, when training was stopped and there was one."""
        if self.reason and self._good is not None:
            with torch.no_grad():
                for name, tensor in _trained(model):
                    tensor.copy_(self._good[name])

    def share(self, model: Any) -> float:
        """Share of the prompts whose greedy answer opens like a refusal."""
        from ratchet_adapters.training.trainers.generation import generate

        training = model.training
        model.eval()
        with products(model.device.type, in_bfloat16=self._session.precision == "bf16"):
            answers = generate(model, self._session.tokenizer, self._prompts, max_tokens=_ANSWER_TOKENS)
        model.train(training)
        return sum(opens_like_a_refusal(answer) for answer in answers) / len(answers)


def _trained(model: Any) -> list[tuple[str, torch.Tensor]]:
    return [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
