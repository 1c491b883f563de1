"""Measures a model's bias and toxicity by name, on data that training must not use.

It must not know thresholds, champions, or how the model was made.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from ratchet_adapters.evals.bias import bbq, bold, crows, gap, weat
from ratchet_adapters.evals.bias.crows import StereotypePair
from ratchet_adapters.evals.bias.pairs import template_pairs
from ratchet_adapters.evals.bias.weat import Embed
from ratchet_adapters.evals.figure import Figure
from ratchet_adapters.evals.measure_errors import MeasurementUnknown, NotOffered, SetMissing
from ratchet_adapters.evals.ports import Embedder, LogProbs, NextTokens, Sampler
from ratchet_adapters.evals.toxicity.prompts import Opening, rtp_openings, shipped_openings
from ratchet_adapters.evals.toxicity.rtp import score_continuations, toxicity_figures

if TYPE_CHECKING:
    from ratchet_plugins.scorers.scorer import Scorer

__all__ = ["MEASUREMENTS", "SHIPPED", "MeasureSettings", "measure"]

_Item = TypeVar("_Item")
_Named = Iterator[tuple[str, Figure]]


class MeasureSettings(BaseSettings):
    """What is measured on, and how long it may take.

    Attributes:
        seed: Of sampling, subsampling and bootstrap. Compare only figures of equal seeds and settings.
        limit: Most items taken from a public set, drawn at random; all when None.
        pair_limit: Most counterfactual pairs per measurement, drawn at random; all when None.
        continuations: Sampled for each opening; 25 in the paper. More of them raise the expected maximum.
        opening_limit: Most shipped openings, drawn at random; all when None.
        max_tokens: Longest continuation, in tokens.
        temperature: Of sampling.
        top_p: Nucleus of sampling.
        bbq: File or folder of BBQ; needed for `bbq` only.
        crows: CSV of CrowS-Pairs; without it `crows` asks the Hugging Face hub.
        rtp: File or folder of RealToxicityPrompts; needed for `rtp` only.
        bold: Folder of BOLD; needed for `bold` only. `limit` is per group there.
    """

    model_config = SettingsConfigDict(env_prefix="RATCHET_MEASURE_", frozen=True, extra="forbid")

    seed: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=4)] | None = None
    pair_limit: Annotated[int, Field(ge=2)] | None = None
    continuations: Annotated[int, Field(ge=1)] = 25
    opening_limit: Annotated[int, Field(ge=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=512)] = 20
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    bbq: Path | None = None
    crows: Path | None = None
    rtp: Path | None = None
    bold: Path | None = None


def measure(
    model: object,
    which: Iterable[str] | None = None,
    *,
    settings: MeasureSettings | None = None,
    scorer: Scorer | None = None,
) -> dict[str, Figure]:
    """Measure a model; each measurement gives one or several figures named `<measurement>.<figure>`.

    Args:
        model: Has the ports of `ratchet_adapters.evals.ports` that the measurements need.
        which: Names out of `MEASUREMENTS`; `SHIPPED` when None.
        settings: See `MeasureSettings`.
        scorer: Judges toxicity; the shipped toxicity scorer when None.

    Raises:
        MeasurementUnknown: A name is none of them.
        NotOffered: The model lacks a port. Nothing is left out silently.
        SetMissing: A public set was asked for without its path.
        NothingToMeasure: A figure is not defined on what the model did.
        SuiteUnreadable: A set cannot be read.
        JudgeFailed: The scorer failed.
    """
    chosen = tuple(dict.fromkeys(SHIPPED if which is None else which))
    for name in chosen:
        if name not in MEASUREMENTS:
            raise MeasurementUnknown(name, MEASUREMENTS)
    run = _Run(model, settings or MeasureSettings(), scorer)
    return {f"{name}.{figure}": value for name in chosen for figure, value in MEASUREMENTS[name](run)}


class _Run:
    def __init__(self, model: object, settings: MeasureSettings, scorer: Scorer | None) -> None:
        self._model = model
        self._scorer = scorer
        self._settings = settings

    def stereotypes(self) -> _Named:
        yield from self._preferences("stereotypes", crows.shipped_pairs())

    def crows(self) -> _Named:
        yield from self._preferences("crows", self._some(crows.crows_pairs(self._settings.crows), self._settings.limit))

    def gap(self) -> _Named:
        pairs = self._some(template_pairs("held_out"), self._settings.pair_limit)
        yield "likelihood", gap.likelihood_gap(self._port("gap", LogProbs), pairs, seed=self._settings.seed)

    def divergence(self) -> _Named:
        pairs = self._some(template_pairs("held_out", kind="prompt"), self._settings.pair_limit)
        yield "next_token", gap.divergence(self._port("divergence", NextTokens), pairs, seed=self._settings.seed)

    def weat(self) -> _Named:
        yield from self._associations(self._port("weat", Embedder).embed)

    def seat(self) -> _Named:
        yield from self._associations(weat.in_sentences(self._port("seat", Embedder).embed))

    def bbq(self) -> _Named:
        questions = bbq.bbq_questions(self._path("bbq"))
        if self._settings.limit is not None:
            questions = bbq.subsample(questions, self._settings.limit, seed=self._settings.seed)
        chosen = bbq.answer(self._port("bbq", LogProbs), questions)
        yield from bbq.bbq_figures(chosen, seed=self._settings.seed).items()

    def toxicity(self) -> _Named:
        yield from self._toxicity("toxicity", self._some(shipped_openings("held_out"), self._settings.opening_limit))

    def rtp(self) -> _Named:
        found = rtp_openings(self._path("rtp"), limit=self._settings.limit, seed=self._settings.seed)
        yield from self._toxicity("rtp", found)

    def bold(self) -> _Named:
        prompts = bold.bold_prompts(self._path("bold"), per_group=self._settings.limit, seed=self._settings.seed)
        scores = self._continued("bold", [Opening(prompt.text, prompt.group) for prompt in prompts])
        means = [sum(own) / len(own) for own in scores]
        yield from bold.bold_figures(prompts, means, seed=self._settings.seed).items()

    def _preferences(self, name: str, pairs: Sequence[StereotypePair]) -> _Named:
        model = self._port(name, LogProbs)
        yield "sentence", crows.sentence_preference(model, pairs)
        yield "conditional", crows.conditional_preference(model, pairs)

    def _associations(self, embed: Embed) -> _Named:
        for name, test in weat.shipped_tests().items():
            yield name, weat.association(embed, test, seed=self._settings.seed)

    def _toxicity(self, name: str, openings: Sequence[Opening]) -> _Named:
        scores = self._continued(name, openings)
        threshold = self._toxicity_scorer().threshold
        yield from toxicity_figures(scores, threshold=threshold, seed=self._settings.seed).items()

    def _continued(self, name: str, openings: Sequence[Opening]) -> list[list[float]]:
        chosen, model = self._settings, self._port(name, Sampler)
        return score_continuations(
            model,
            self._toxicity_scorer(),
            openings,
            k=chosen.continuations,
            max_tokens=chosen.max_tokens,
            temperature=chosen.temperature,
            top_p=chosen.top_p,
            seed=chosen.seed,
        )

    def _toxicity_scorer(self) -> Scorer:
        if self._scorer is None:
            from ratchet_plugins.scorers.registry import load_scorer

            self._scorer = load_scorer("toxicity")
        return self._scorer

    def _some(self, items: Sequence[_Item], limit: int | None) -> Sequence[_Item]:
        return _drawn(items, limit, self._settings.seed)

    def _path(self, name: str) -> Path:
        found: Any = getattr(self._settings, name)
        if not isinstance(found, Path):
            raise SetMissing(name, name)
        return found

    def _port(self, name: str, port: type[Any]) -> Any:
        if not isinstance(self._model, port):
            raise NotOffered(name, port.__name__)
        return self._model


def _drawn(items: Sequence[_Item], limit: int | None, seed: int) -> Sequence[_Item]:
    # Not every n-th: the order of pairs repeats swaps and fills, and a stride would pick the same ones each time.
    if limit is None or len(items) <= limit:
        return items
    return [items[index] for index in sorted(random.Random(seed).sample(range(len(items)), limit))]


MEASUREMENTS: Mapping[str, Callable[[_Run], _Named]] = MappingProxyType(
    {
        "stereotypes": _Run.stereotypes,
        "gap": _Run.gap,
        "divergence": _Run.divergence,
        "weat": _Run.weat,
        "seat": _Run.seat,
        "toxicity": _Run.toxicity,
        "crows": _Run.crows,
        "bbq": _Run.bbq,
        "rtp": _Run.rtp,
        "bold": _Run.bold,
    }
)
"""Every measurement by name. Those from `crows` on use public sets, which are not shipped."""

SHIPPED = ("stereotypes", "gap", "divergence", "weat", "seat", "toxicity")
"""The measurements that need no file from outside."""
