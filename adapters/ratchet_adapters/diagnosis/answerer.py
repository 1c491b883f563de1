"""The port through which a diagnosis asks the model, and the answerer that goes through an evaluation target.

It must not know what the answers are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from ratchet_adapters.diagnosis.errors import AnswersMissing
from ratchet_adapters.evals.target import EvalTarget

__all__ = ["Answerer", "Progress", "TargetAnswerer", "asked"]

Progress = Callable[[str, int, int], None]
"""Called with (stage, answers there, answers wanted) from the event loop; must not block."""


@runtime_checkable
class Answerer(Protocol):
    """Answers prompts greedily with no rails around the model."""

    async def answers(self, prompts: Sequence[str], adapter: str, max_tokens: int) -> Sequence[str]:
        """Return one answer per prompt, in order.

        Args:
            prompts: Each a single user message.
            adapter: Digest; "" or "base" for the model alone.
            max_tokens: Longest answer.
        """
        ...


class TargetAnswerer:
    """An `Answerer` over any `EvalTarget`, such as the served model over gRPC."""

    def __init__(self, target: EvalTarget) -> None:
        self._target = target

    async def answers(self, prompts: Sequence[str], adapter: str, max_tokens: int) -> list[str]:
        """See `Answerer`; raises what the target raises."""
        return await self._target.generate(prompts, adapter=adapter, max_tokens=max_tokens)


async def asked(
    answerer: Answerer,
    prompts: Sequence[str],
    adapter: str,
    *,
    max_tokens: int,
    chunk: int,
    stage: str,
    on_progress: Progress | None = None,
) -> list[str]:
    """Ask every prompt, equal ones once, and return one answer per prompt in order.

    Raises:
        AnswersMissing: The answerer returned another number of texts than it was asked for.
    """
    wanted = list(dict.fromkeys(prompts))
    known: dict[str, str] = {}
    if on_progress:
        on_progress(stage, 0, len(wanted))
    for start in range(0, len(wanted), chunk):
        part = wanted[start : start + chunk]
        texts = await answerer.answers(part, adapter, max_tokens)
        if len(texts) != len(part):
            raise AnswersMissing(len(part), len(texts))
        known.update(zip(part, texts, strict=True))
        if on_progress:
            on_progress(stage, len(known), len(wanted))
    return [known[prompt] for prompt in prompts]
