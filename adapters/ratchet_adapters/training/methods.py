"""The training methods by name.

It must not import a trainer before one is run: the learner asks for names and settings often and trains rarely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

from ratchet_adapters.training.errors import MethodUnknown
from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult
from ratchet_adapters.training.settings import SftSettings

__all__ = ["METHODS", "SFT_REFUSAL", "Method", "method"]

SFT_REFUSAL = "sft-refusal"


@dataclass(frozen=True)
class Method:
    """One way to make an adapter.

    Attributes:
        name: As runs name it.
        summary: One sentence.
        settings: The type of its recipe; `settings(**options)` validates a run's options.
        trainer: "module:function" of `train(job, on_progress) -> TrainingResult`.
    """

    name: str
    summary: str
    settings: type[SftSettings]
    trainer: str

    def load(self) -> Callable[[TrainingJob, Callable[[Progress], None] | None], TrainingResult]:
        """Import the trainer and return its function."""
        module, function = self.trainer.split(":")
        loaded: Any = getattr(import_module(module), function)
        return loaded  # type: ignore[no-any-return]


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        SFT_REFUSAL: Method(
            name=SFT_REFUSAL,
            summary="Supervised fine-tuning on explanatory refusals, benign contrast and replay of the base model's "
            "own answers.",
            settings=SftSettings,
            trainer="ratchet_adapters.training.trainers.sft:train",
        )
    }
)


def method(name: str) -> Method:
    """Return the method of this name.

    Raises:
        MethodUnknown: There is none.
    """
    try:
        return METHODS[name]
    except KeyError:
        raise MethodUnknown(name, METHODS) from None
