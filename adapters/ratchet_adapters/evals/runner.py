"""Runs suites through a model and judges what came back.

It must not know thresholds or champions. Nothing is dropped silently: an item without a value carries its error and its
suite a failure, and the gate makes FAIL of that. Only when nothing can be measured at all (`TargetUnavailable`) or
nothing measured could be trusted (`AttributionError`) does an evaluation raise instead; with a cache it then goes on
where it stopped.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ratchet_adapters.evals.cache import EvalCache
from ratchet_adapters.evals.errors import EvalError, JudgeFailed, TargetRefused
from ratchet_adapters.evals.fluency import Fluency
from ratchet_adapters.evals.item import Axis, Item
from ratchet_adapters.evals.judges.judge import Answer, Judge, Judgement, judge_id, judged
from ratchet_adapters.evals.result import EvalResult, ItemResult, SuiteResult
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.evals.suites.suite import Suite
from ratchet_adapters.evals.target import EvalTarget, Sampling, digest_of

__all__ = ["GUARD_MARK", "Progress", "evaluate"]

Progress = Callable[[int, int, str], None]
"""Called with (items done, items in all, axis) from the event loop; must not block."""

GUARD_MARK = "+base"
"""Between a judge's version and the limit of the guard that looks at answers under the base model."""
_GUARDED = (Axis.HARMFUL_REFUSAL, Axis.OVER_REFUSAL, Axis.TASK, Axis.PREFERENCE)
_KEEP_EVERY = 32


@dataclass
class _Observed:
    """Answers (text) or log-probabilities (list of [nats, tokens]) by item id; errors likewise."""

    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


async def evaluate(
    target: EvalTarget,
    adapter: str,
    suites: Sequence[Suite],
    judges: Mapping[Axis, Judge],
    *,
    on_progress: Progress | None = None,
    settings: EvalSettings | None = None,
    cache: EvalCache | None = None,
) -> EvalResult:
    """Ask every item of every suite and judge every answer.

    A prompt that several suites share is asked once.

    Args:
        target: The model.
        adapter: Digest of the adapter under evaluation; "" or "base" for the model alone.
        suites: Each suite's `eval` split is used.
        judges: Judge by axis; harmful_refusal, over_refusal and toxicity need one.
        on_progress: See `Progress`.
        settings: Length of answers and sizes of batches.
        cache: Where observations are kept and taken from.

    Raises:
        SuiteUnreadable: A suite's data cannot be read.
        TargetUnavailable: The model cannot be reached.
        AttributionError: Another adapter answered.
    """
    run = _Run(target, digest_of(adapter), settings or EvalSettings(), cache, on_progress or _silent)
    loaded = [(suite, suite.items()) for suite in suites]
    run.total = sum(len(items) for _, items in loaded)
    results = [await run.suite(suite, items, judges.get(suite.axis)) for suite, items in loaded]
    return EvalResult(digest_of(adapter), tuple(results), datetime.now(UTC).isoformat(timespec="seconds"))


class _Run:
    def __init__(
        self, target: EvalTarget, adapter: str, settings: EvalSettings, cache: EvalCache | None, progress: Progress
    ) -> None:
        self._target = target
        self._adapter = adapter
        self._settings = settings
        self._cache = cache
        self._progress = progress
        self._asked: dict[tuple[str, int], str] = {}
        self._fluency = (
            None if settings.max_nats is None else Fluency(target, settings.max_nats, cache, settings.score_batch)
        )
        self._done = 0
        self.total = 0

    async def suite(self, suite: Suite, items: tuple[Item, ...], judge: Judge | None) -> SuiteResult:
        # A suite that needs longer answers says so; those of Suites without the field are as long as everybody's.
        sampling = Sampling(getattr(suite, "max_tokens", None) or self._settings.max_tokens)
        observed = await self._observe(suite, items, sampling)
        named = failure = ""
        try:
            named = "" if judge is None or _scored_only(suite.axis, items) else await asyncio.to_thread(judge_id, judge)
            nats: dict[str, float] = {}
            if self._fluency and named and suite.axis in _GUARDED:
                # Part of who judged: results with another limit are not compared.
                named = f"{named}{GUARD_MARK}{self._fluency.limit:g}"
                answers = {name: str(value) for name, value in observed.values.items()}
                nats = await self._fluency.measure(answers, self._adapter, suite.version, sampling)
            results = await self._judge(suite.axis, items, observed, judge, nats)
        except (JudgeFailed, TargetRefused) as error:
            failure = str(error)
            results = [_missing(item, observed, failure) for item in items]
        if not items:
            failure = "the suite has no items"
        elif not failure and observed.errors:
            first = next(iter(observed.errors.values()))
            failure = f"{len(observed.errors)} of {len(items)} items failed; the first: {first}"
        return SuiteResult(suite.name, suite.version, suite.axis, named, sampling, tuple(results), failure)

    async def _observe(self, suite: Suite, items: tuple[Item, ...], sampling: Sampling) -> _Observed:
        kept = self._cache.read(self._adapter, suite.version, sampling) if self._cache else {}
        scored, length = _scored_only(suite.axis, items), sampling.max_tokens
        observed = _Observed({item.id: kept[item.id] for item in items if item.id in kept})
        if not scored:
            for item in items:
                if item.id in observed.values:
                    self._asked.setdefault((item.prompt, length), observed.values[item.id])
                elif (item.prompt, length) in self._asked:
                    observed.values[item.id] = self._asked[item.prompt, length]
        self._advance(len(observed.values), suite.axis)
        open_items = [item for item in items if item.id not in observed.values]
        unsaved = 0

        async def chunk(part: Sequence[Item]) -> None:
            nonlocal unsaved
            try:
                values = await (self._scores(part) if scored else self._answers(part, length))
                observed.values.update(zip((item.id for item in part), values, strict=True))
            except (TargetRefused, _BadItem) as error:
                observed.errors.update({item.id: str(error) for item in part})
            self._advance(len(part), suite.axis)
            unsaved += len(part)
            if unsaved >= _KEEP_EVERY:
                unsaved = 0
                self._keep(suite, observed, sampling)

        try:
            size = self._settings.chunk
            await _together([chunk(open_items[at : at + size]) for at in range(0, len(open_items), size)])
        finally:
            self._keep(suite, observed, sampling)
        return observed

    def _keep(self, suite: Suite, observed: _Observed, sampling: Sampling) -> None:
        if self._cache and observed.values:
            self._cache.write(self._adapter, suite.version, sampling, observed.values)

    def _advance(self, count: int, axis: Axis) -> None:
        if count:
            self._done += count
            self._progress(self._done, self.total, axis.value)

    async def _answers(self, part: Sequence[Item], length: int) -> list[str]:
        prompts = [item.prompt for item in part]
        answers = await self._target.generate(prompts, adapter=self._adapter, max_tokens=length)
        if len(answers) != len(prompts):
            raise _BadItem(f"{len(answers)} answers came back for {len(prompts)} prompts")
        self._asked.update(zip(((prompt, length) for prompt in prompts), answers, strict=True))
        return answers

    async def _scores(self, part: Sequence[Item]) -> list[list[list[float]]]:
        """Return, per item, [nats, tokens] of each of its continuations."""
        pairs = [_continuations(item) for item in part]
        flat = [pair for item_pairs in pairs for pair in item_pairs]
        found = await self._target.score(flat, adapter=self._adapter)
        if len(found) != len(flat):
            raise _BadItem(f"{len(found)} scores came back for {len(flat)} texts")
        if any(not math.isfinite(entry.log_prob) or entry.tokens < 1 for entry in found):
            raise _BadItem("a log-probability is not finite or counts no token")
        entries = iter(found)
        return [[[entry.log_prob, entry.tokens] for _, entry in zip(own, entries, strict=False)] for own in pairs]

    async def _judge(
        self, axis: Axis, items: Sequence[Item], observed: _Observed, judge: Judge | None, nats: Mapping[str, float]
    ) -> list[ItemResult]:
        answered = [item for item in items if item.id in observed.values]
        if _scored_only(axis, items):
            found = {item.id: _scored(axis, item, observed.values[item.id]) for item in answered}
        elif judge is None:
            raise JudgeFailed(axis.value, "there is no judge for this axis")
        else:
            answers = [Answer(item.prompt, observed.values[item.id], item.extra) for item in answered]
            judgements = await asyncio.to_thread(_in_batches, judge, answers, self._settings.judge_batch)
            if self._fluency:
                both = zip(answered, judgements, strict=True)
                judgements = [self._fluency.guarded(judgement, nats.get(item.id)) for item, judgement in both]
            pairs = zip(answered, judgements, strict=True)
            found = {item.id: _spoken(item, observed.values[item.id], judgement) for item, judgement in pairs}
        return [found.get(item.id) or _missing(item, observed, "it was not measured") for item in items]


class _BadItem(EvalError):
    """A target broke its port's promise for some items."""


async def _together(tasks: Sequence[Coroutine[Any, Any, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
    except BaseExceptionGroup as errors:
        # Callers catch the error itself; the others are the same failure seen by other chunks.
        raise errors.exceptions[0] from errors


def _in_batches(judge: Judge, answers: Sequence[Answer], size: int) -> list[Judgement]:
    return [one for start in range(0, len(answers), size) for one in judged(judge, answers[start : start + size])]


def _scored_only(axis: Axis, items: Sequence[Item]) -> bool:
    """Whether log-probabilities are all it takes: passages, and items whose choices are given."""
    return axis is Axis.NLL or (bool(items) and all("choices" in item.extra for item in items))


def _continuations(item: Item) -> list[tuple[str, str]]:
    if "choices" in item.extra:
        # Without a stem the choices are whole texts.
        return [(item.prompt, f" {choice}" if item.prompt else choice) for choice in item.extra["choices"]]
    return [("", item.prompt)]


def _scored(axis: Axis, item: Item, entries: list[list[float]]) -> ItemResult:
    if axis is Axis.NLL:
        (log_prob, tokens), *_ = entries
        scores = {"nats_per_token": -log_prob / tokens}
        return ItemResult(
            item.id, item.category, item.cluster, item.prompt, "", "measured", -log_prob, float(tokens), scores
        )
    per_token = item.extra.get("normalise") == "tokens"
    values = [log_prob / tokens if per_token else log_prob for log_prob, tokens in entries]
    if axis is Axis.BIAS:
        return _leaning(item, values)
    right = int(item.extra["answer"])
    # A tie is not knowledge: the right choice must be strictly best.
    margin = values[right] - max(value for index, value in enumerate(values) if index != right)
    chosen = str(item.extra["choices"][max(range(len(values)), key=values.__getitem__)])
    won = margin > 0
    label = "right" if won else "wrong"
    scores = {"margin": margin}
    return ItemResult(item.id, item.category, item.cluster, item.prompt, chosen, label, float(won), scores=scores)


def _leaning(item: Item, values: list[float]) -> ItemResult:
    """1 for the choice that follows the stereotype and is not right; a tie with it is no leaning."""
    biased = int(item.extra["biased"])
    margin = values[biased] - max(value for index, value in enumerate(values) if index != biased)
    chosen = max(range(len(values)), key=values.__getitem__)
    leans = margin > 0 and biased != int(item.extra.get("answer", -1))
    label = "stereotyped" if leans else "right" if chosen == int(item.extra.get("answer", -1)) else "other"
    text, scores = str(item.extra["choices"][chosen]), {"margin": margin}
    return ItemResult(item.id, item.category, item.cluster, item.prompt, text, label, float(leans), scores=scores)


def _spoken(item: Item, answer: str, judgement: Judgement) -> ItemResult:
    return ItemResult(
        item.id,
        item.category,
        item.cluster,
        item.prompt,
        answer,
        judgement.label,
        judgement.value,
        scores=dict(judgement.scores),
    )


def _missing(item: Item, observed: _Observed, why: str) -> ItemResult:
    said = observed.values.get(item.id)
    answer, error = said if isinstance(said, str) else "", observed.errors.get(item.id, why)
    return ItemResult(item.id, item.category, item.cluster, item.prompt, answer, "failed", None, error=error)


def _silent(done: int, total: int, axis: str) -> None:
    return None
