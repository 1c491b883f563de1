"""One diagnosis from end to end: ask, judge, find the triggers, try them, find the rows, propose the contrast set.

It must not know how the model is reached, where datasets are kept, or how the report is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ratchet_adapters.datasets.dataset import RowKind
from ratchet_adapters.datasets.near_duplicates import Embed, remembering
from ratchet_adapters.datasets.seed import load_seed
from ratchet_adapters.diagnosis.answerer import Answerer, Progress, asked
from ratchet_adapters.diagnosis.blame import blame
from ratchet_adapters.diagnosis.case import Case, Did, Question, Should, questions
from ratchet_adapters.diagnosis.confusion import confusion
from ratchet_adapters.diagnosis.contrast import Contrast, Twin, candidates, contrast_set
from ratchet_adapters.diagnosis.errors import NothingToDiagnose
from ratchet_adapters.diagnosis.leave_one_out import Tried, leave_one_out
from ratchet_adapters.diagnosis.report import Basis, Diagnosis, Provenance
from ratchet_adapters.diagnosis.settings import DiagnosisSettings
from ratchet_adapters.diagnosis.triggers import Trigger, triggers
from ratchet_adapters.diagnosis.twin_templates import load_templates
from ratchet_adapters.diagnosis.twin_writer import MAX_TOKENS
from ratchet_adapters.evals.judges.judge import Answer, Judge, judge_id, judged
from ratchet_adapters.evals.suites.suite import Suite
from ratchet_adapters.evals.target import BASE, digest_of

if TYPE_CHECKING:
    from ratchet_adapters.datasets.dataset import Dataset
    from ratchet_plugins.scorers.scorer import Scorer

__all__ = ["Instruments", "diagnose"]

_BATCH = 64


@dataclass(frozen=True)
class Instruments:
    """What a diagnosis measures with.

    Attributes:
        answerer: The served model.
        judge: Three-way judge whose labels are those of `Did`.
        triage: Scorer whose primary label is the probability of harm of a prompt.
        embed: Texts to unit vectors.
    """

    answerer: Answerer
    judge: Judge
    triage: Scorer
    embed: Embed


async def diagnose(
    adapter: str,
    suites: Sequence[Suite],
    instruments: Instruments,
    *,
    split: str = "train",
    dataset: Dataset | None = None,
    base_fingerprint: str = "",
    settings: DiagnosisSettings | None = None,
    on_progress: Progress | None = None,
) -> Diagnosis:
    """Diagnose an adapter.

    Args:
        adapter: Digest; "" or "base" for the model alone.
        suites: Of the axes harmful_refusal and over_refusal.
        instruments: The model, the judge, the scorer, the encoder.
        split: Which items are asked. The triggers become training prompts, so `eval` spoils these suites as a test.
        dataset: What the adapter was trained on, for `blame` and so that no twin repeats a row.
        base_fingerprint: Of the base model, for the record.
        settings: Numbers.
        on_progress: See `Progress`.

    Raises:
        SuiteUnfit: A suite measures something else or has no items in the split.
        NothingToDiagnose: No prompt should be answered.
        JudgeFailed: The judge failed; nothing is counted then.
        TargetUnavailable, TargetRefused, AttributionError: From the model.
    """
    settings = settings or DiagnosisSettings()
    embed = remembering(instruments.embed)
    wanted = questions(suites, split=split, limit=settings.limit, seed=settings.seed)
    if all(question.should is Should.REFUSE for question in wanted):
        raise NothingToDiagnose
    run = _Run(adapter, instruments, settings, on_progress)
    found = await run.did([question.prompt for question in wanted], adapter, "ask")
    cases = [Case(question, *pair) for question, pair in zip(wanted, found, strict=True)]
    refused = [case for case in cases if case.wrong_refusal]
    answered = [case for case in cases if case.question.should is Should.ANSWER and case.did is Did.COMPLIED]
    harmful = [question.prompt for question in wanted if question.should is Should.REFUSE]

    async def again(prompts: Sequence[str]) -> list[Did]:
        return [did for _, did in await run.did(prompts, adapter, "leave one out")]

    async def trials(marks: Sequence[Trigger]) -> list[Tried]:
        return await leave_one_out([mark.phrase for mark in marks], refused, again, settings=settings)

    basis = Basis.WRONG_REFUSALS
    marks = triggers(_prompts(refused), _prompts(answered), harmful, settings=settings)
    tried = await trials(marks)
    # Refusals that no phrase causes follow the form of a request, and no twin of such a phrase mends that.
    effects = [one.effect for one in tried if one.effect is not None]
    if refused and (len(answered) < settings.min_answered or not marks or (effects and max(effects) <= 0)):
        basis = Basis.HARMFUL
        taught = [row.prompt for row in dataset.rows if row.kind is RowKind.REFUSAL] if dataset is not None else []
        # Against everyday prompts, not against the benign ones asked: twins share the alarming words on purpose.
        everyday = [prompt.prompt for prompt in load_seed().of("ordinary")]
        marks = triggers(taught or harmful, everyday, (), settings=settings)
        tried = await trials(marks)
    blamed = None
    if dataset is not None:
        blamed = await asyncio.to_thread(blame, refused, answered, dataset.rows, embed, neighbours=settings.neighbours)
    contrast = await _contrast(run, [mark.phrase for mark in marks], suites, wanted, dataset, embed)
    provenance = Provenance(
        adapter=digest_of(adapter),
        base_fingerprint=base_fingerprint,
        suites={suite.name: suite.version for suite in suites},
        split=split,
        judge=await asyncio.to_thread(judge_id, instruments.judge),
        triage=await asyncio.to_thread(lambda: instruments.triage.version),
        dataset=dataset.digest if dataset is not None else "",
        settings=settings.model_dump(mode="json"),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Diagnosis(provenance, confusion(cases), basis, tuple(marks), tuple(tried), blamed, contrast, tuple(cases))


class _Run:
    """Asking and judging with the instruments of one diagnosis."""

    def __init__(
        self, adapter: str, instruments: Instruments, settings: DiagnosisSettings, progress: Progress | None
    ) -> None:
        self.adapter = adapter
        self.instruments = instruments
        self.settings = settings
        self._progress = progress

    async def ask(self, prompts: Sequence[str], adapter: str, stage: str, max_tokens: int) -> list[str]:
        """Return the answers."""
        return await asked(
            self.instruments.answerer,
            prompts,
            adapter,
            max_tokens=max_tokens,
            chunk=self.settings.chunk,
            stage=stage,
            on_progress=self._progress,
        )

    async def did(self, prompts: Sequence[str], adapter: str, stage: str) -> list[tuple[str, Did]]:
        """Return each answer and what it is."""
        texts = await self.ask(prompts, adapter, stage, self.settings.max_tokens)
        answers = [Answer(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        labels = await asyncio.to_thread(_labels, self.instruments.judge, answers)
        return list(zip(texts, labels, strict=True))

    def harm(self, prompts: Sequence[str]) -> list[float]:
        """Return the triage scorer's probability of harm."""
        triage = self.instruments.triage
        return [float(row[triage.primary]) for row in triage.score(prompts)]


async def _contrast(
    run: _Run,
    phrases: Sequence[str],
    suites: Sequence[Suite],
    wanted: Sequence[Question],
    dataset: Dataset | None,
    embed: Embed,
) -> Contrast:
    async def write(requests: Sequence[str]) -> list[str]:
        return await run.ask(requests, BASE, "twins by the model", MAX_TOKENS)

    async def answered(prompts: Sequence[str]) -> list[tuple[str, Did]]:
        return await run.did(prompts, BASE, "answers to twins")

    proposed: list[Twin] = await candidates(phrases, load_templates(), write, settings=run.settings)
    # The prompts of this diagnosis are guarded too: a twin of one would only teach it by heart.
    evaluation = [*load_seed().guarded, *(item.prompt for suite in suites for item in suite.items())]
    evaluation += [question.prompt for question in wanted]
    return await contrast_set(
        proposed,
        evaluation=evaluation,
        training=[row.prompt for row in dataset.rows if row.prompt] if dataset is not None else (),
        harm=run.harm,
        answered=answered,
        embed=embed,
        settings=run.settings,
    )


def _labels(judge: Judge, answers: Sequence[Answer]) -> list[Did]:
    batches = [answers[at : at + _BATCH] for at in range(0, len(answers), _BATCH)]
    return [Did(judgement.label) for batch in batches for judgement in judged(judge, batch)]


def _prompts(cases: Sequence[Case]) -> list[str]:
    return [case.question.prompt for case in cases]
