"""The ports through which a language model is measured: likelihoods, next tokens, samples, embeddings.

They must not know how the model is reached. A model need only have the ports of the measurements asked of it. Each
implementation keeps the order of its input and raises rather than leaving a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ratchet_adapters.evals.target import LogProb

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Embedder", "LogProbs", "NextTokens", "Sampler"]


@runtime_checkable
class LogProbs(Protocol):
    """Scores given texts."""

    def log_probs(self, items: Sequence[tuple[str, str]]) -> list[LogProb]:
        """Return the log-probability of each continuation given its context.

        Args:
            items: (context, continuation); an empty context stands for the beginning of a text. A continuation that
                goes on within a sentence begins with its space.
        """
        ...


@runtime_checkable
class NextTokens(Protocol):
    """Tells what may come next."""

    def next_log_probs(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the distribution over the token after each prompt: natural logarithms, shape (prompts, vocabulary)."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """Continues texts at random, the same for the same seed."""

    def sample(
        self, prompts: Sequence[str], *, k: int, max_tokens: int, temperature: float, top_p: float, seed: int
    ) -> list[list[str]]:
        """Return k continuations of each prompt, without the prompt.

        Args:
            prompts: Beginnings of plain text; no chat template is put around them.
            k: Continuations of each.
            max_tokens: Longest continuation.
            temperature: Above 0.
            top_p: Nucleus, in (0, 1].
            seed: Of the random numbers.
        """
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one vector per text, shape (texts, dimensions)."""
        ...
