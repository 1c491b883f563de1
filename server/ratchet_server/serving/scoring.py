"""The three scores of an exchange. Takes what the rails measured already and measures the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from ratchet_server.rails.scoring import ScorerPool

log = logging.getLogger(__name__)

# Score in the receipt -> (scorer, its label).
_SCORERS = {"input_harm": ("triage", "harm"), "toxicity": ("toxicity", "toxicity"), "refusal": ("refusal", "refusal")}


class ExchangeScores:
    """Toxicity and refusal of the answer, harm of the prompt.

    A scorer that fails leaves its score out of the receipt: the text was released by the rails, and they failed or
    passed on their own.
    """

    def __init__(self, pool: ScorerPool) -> None:
        self._pool = pool

    def warm_up(self) -> None:
        """Loads the scorers, so that no request pays for it. Raises ScorerError if one cannot be had."""
        for name, _ in _SCORERS.values():
            self._pool.warm_up(name)

    @property
    def refusal_threshold(self) -> float:
        """From which score on an answer is a refusal."""
        return self._pool.scorer("refusal").threshold

    async def complete(self, prompt: str, answer: str, seen: Mapping[str, float]) -> dict[str, float]:
        """Scores by name, in [0, 1]. An empty answer has neither toxicity nor refusal."""
        texts = {"input_harm": prompt, "toxicity": answer, "refusal": answer}
        scores = {name: seen[name] for name in texts if name in seen}
        missing = [name for name, text in texts.items() if text and name not in scores]
        results = await asyncio.gather(*(self._score(name, texts[name]) for name in missing), return_exceptions=True)
        for name, result in zip(missing, results, strict=True):
            if isinstance(result, Exception):
                log.error("no %s score: %s", name, result)
            elif isinstance(result, BaseException):
                raise result
            else:
                scores[name] = result
        return scores

    async def _score(self, name: str, text: str) -> float:
        scorer, label = _SCORERS[name]
        (row,) = await self._pool.score(scorer, [text])
        return row[label]
