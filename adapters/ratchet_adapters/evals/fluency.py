"""Is an answer language to the base model? Word salad has letters, words and no repeats, and passes every other guard.

It must not judge what an answer says. The base model alone is the measure, never the adapter under evaluation: an
adapter that babbles finds its own babble likely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ratchet_adapters.evals.cache import EvalCache
from ratchet_adapters.evals.errors import TargetRefused
from ratchet_adapters.evals.judges.judge import Judgement
from ratchet_adapters.evals.judges.refusal import INCOHERENT
from ratchet_adapters.evals.target import EvalTarget, LogProb, Sampling

__all__ = ["MIN_TOKENS", "Fluency"]

MIN_TOKENS = 8
"""Shorter answers are not measured: a name or a number alone is unlikely and fine."""
_KEPT = "fluency-1"


class Fluency:
    """Measures answers under the base model.

    Args:
        target: The model.
        limit: Nats per token above which an answer is no language.
        cache: Where measurements are kept and taken from.
        chunk: Answers handed to the target at a time.
    """

    def __init__(self, target: EvalTarget, limit: float, cache: EvalCache | None, chunk: int) -> None:
        self._target = target
        self._cache = cache
        self._chunk = chunk
        self.limit = limit

    async def measure(
        self, answers: Mapping[str, str], adapter: str, version: str, sampling: Sampling
    ) -> dict[str, float]:
        """Return nats per token by item, of the answers long enough to be measured.

        Args:
            answers: By item.
            adapter: Who gave them; part of the cache's key only.
            version: Of the suite, likewise.
            sampling: Likewise.

        Raises:
            TargetRefused: The target did not score them, or gave no numbers.
            TargetUnavailable: It cannot be reached.
        """
        key = f"{version}|{_KEPT}"
        kept = self._cache.read(adapter, key, sampling) if self._cache else {}
        found: dict[str, list[float]] = {name: value for name, value in kept.items() if name in answers}
        open_ones = [name for name, text in answers.items() if name not in found and text.strip()]
        for start in range(0, len(open_ones), self._chunk):
            part = open_ones[start : start + self._chunk]
            scores = await self._target.score([("", answers[name]) for name in part], adapter="")
            _check(scores, part)
            found |= {name: [entry.log_prob, entry.tokens] for name, entry in zip(part, scores, strict=True)}
        if self._cache and open_ones:
            self._cache.write(adapter, key, sampling, found)
        return {name: -nats / tokens for name, (nats, tokens) in found.items() if tokens >= MIN_TOKENS}

    def guarded(self, judgement: Judgement, nats: float | None) -> Judgement:
        """Return a judgement with what was measured: incoherent, and worth nothing, above the limit."""
        if nats is None:
            return judgement
        scores = {**judgement.scores, "nats_per_token": nats}
        if nats <= self.limit:
            return Judgement(judgement.value, judgement.label, scores)
        return Judgement(0.0, INCOHERENT, {**scores, "incoherent": 1.0})


def _check(scores: Sequence[LogProb], part: Sequence[str]) -> None:
    if len(scores) != len(part):
        raise TargetRefused("INTERNAL", f"{len(scores)} scores came back for {len(part)} answers")
    if any(not math.isfinite(entry.log_prob) or entry.tokens < 1 for entry in scores):
        raise TargetRefused("INTERNAL", "the log-probability of an answer is not finite or counts no token")
