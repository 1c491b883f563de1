"""The port every judge implements, and the check all judgements pass.

It must not know any particular judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ratchet_adapters.evals.errors import JudgeFailed

__all__ = ["Answer", "Judge", "Judgement", "judge_id", "judged"]


@dataclass(frozen=True)
class Answer:
    """What is judged.

    Attributes:
        prompt: What was asked.
        text: What the model said to it.
        extra: `Item.extra`: what a correct answer must be, for judges that check one.
    """

    prompt: str
    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """What one answer is worth.

    Attributes:
        value: The axis's quantity in [0, 1]; its direction belongs to the axis (a refusal is 1 on harmful and on
            benign prompts alike).
        label: One word for people: full_refusal, partial_refusal, answered, incoherent, toxic, ...
        scores: Numbers behind it, each finite.
    """

    value: float
    label: str
    scores: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Judge(Protocol):
    """Judges answers. Synchronous, batched, deterministic, and safe to call from many threads."""

    @property
    def name(self) -> str:
        """The name it is reported by."""

    @property
    def version(self) -> str:
        """Digest or version of everything that determines a judgement; reports with different ones are not compared."""

    def judge(self, answers: Sequence[Answer]) -> list[Judgement]:
        """Judge answers.

        Returns:
            One judgement per answer, in order.

        Raises:
            Exception: Anything failed; the axis fails with it.
        """
        ...


def judged(judge: Judge, answers: Sequence[Answer]) -> list[Judgement]:
    """Return the judge's judgements when they keep the port's promise.

    Raises:
        JudgeFailed: The judge raised, left an answer out, or gave a number that is none (NaN included).
    """
    try:
        judgements = list(judge.judge(answers))
    # A judge is any third party's code; whatever breaks in it fails the axis.
    except Exception as error:
        raise JudgeFailed(judge.name, f"{type(error).__name__}: {error}") from error
    if len(judgements) != len(answers):
        raise JudgeFailed(judge.name, f"{len(judgements)} judgements for {len(answers)} answers")
    for judgement in judgements:
        if not 0.0 <= judgement.value <= 1.0 or not all(math.isfinite(score) for score in judgement.scores.values()):
            raise JudgeFailed(judge.name, f"it gave {judgement.value} {dict(judgement.scores)}, not numbers in range")
    return judgements


def judge_id(judge: Judge) -> str:
    """Return "name@version", which says what judged.

    Raises:
        JudgeFailed: The version cannot be had, e.g. because the weights it is the digest of cannot be read.
    """
    try:
        return f"{judge.name}@{judge.version}"
    except Exception as error:
        raise JudgeFailed(judge.name, f"{type(error).__name__}: {error}") from error
