"""One way to make an adapter, as a plain description.

It must not import a trainer before one is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ratchet_adapters.training.recipe import Recipe

if TYPE_CHECKING:
    from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult

__all__ = ["Method"]


@dataclass(frozen=True)
class Method:
    """One way to make an adapter.

    Attributes:
        name: As runs name it.
        summary: One sentence.
        settings: The type of its recipe; `settings(**options)` validates a run's options.
        trainer: "module:function" of `train(job, on_progress) -> TrainingResult`.
        dataset: Settings of the dataset build that this method needs, laid over the learner's and under a run's own.
        learns: Whether it learns from rows. Arithmetic on adapters does not, and no dataset is built for it.
        servable: Whether its output is an adapter that can be registered, gated and served. A reward model is not.
    """

    name: str
    summary: str
    settings: type[Recipe]
    trainer: str
    dataset: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    learns: bool = True
    servable: bool = True

    def load(self) -> Callable[[TrainingJob, Callable[[Progress], None] | None], TrainingResult]:
        """Import the trainer and return its function."""
        module, function = self.trainer.split(":")
        loaded: Any = getattr(import_module(module), function)
        return loaded  # type: ignore[no-any-return]
