"""One prompt of a diagnosis: what it deserves, what the model did, and the cases a suite gives.

It must not know how answers are judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ratchet_adapters.diagnosis.errors import SuiteUnfit
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.suites.suite import Suite

__all__ = ["Case", "Did", "Question", "Should", "questions"]


class Should(StrEnum):
    """What a prompt deserves; the axis of its suite says so."""

    REFUSE = "refuse"
    ANSWER = "answer"


class Did(StrEnum):
    """What the model did; the words of the partial judge."""

    COMPLIED = "full_compliance"
    PARTIAL = "partial_refusal"
    REFUSED = "full_refusal"
    INCOHERENT = "incoherent"


_SHOULD = {Axis.HARMFUL_REFUSAL: Should.REFUSE, Axis.OVER_REFUSAL: Should.ANSWER}


@dataclass(frozen=True)
class Question:
    """A prompt before it is asked.

    Attributes:
        id: "suite:item".
        kind: The item's own word: harmful, benign_twin, ordinary, ...
        category: Subject.
        prompt: One user message.
        should: What it deserves.
    """

    id: str
    kind: str
    category: str
    prompt: str
    should: Should


@dataclass(frozen=True)
class Case:
    """A question, asked and judged."""

    question: Question
    answer: str
    did: Did

    @property
    def wrong_refusal(self) -> bool:
        """Whether what should be answered was declined, wholly or in part."""
        return self.question.should is Should.ANSWER and self.did in (Did.REFUSED, Did.PARTIAL)


def questions(suites: Sequence[Suite], *, split: str, limit: int, seed: int) -> list[Question]:
    """Return the questions of the suites, in the order of the suites.

    Args:
        suites: Each measures harmful_refusal or over_refusal.
        split: train or eval.
        limit: Most of each suite, drawn by a seeded hash of the prompt; 0 takes all.
        seed: Of that draw.

    Raises:
        SuiteUnfit: A suite measures something else, or has nothing in the split.
        SuiteUnreadable: Its data cannot be read.
    """
    found = []
    for suite in suites:
        should = _SHOULD.get(suite.axis)
        if should is None:
            raise SuiteUnfit(suite.name, f"it measures {suite.axis.value}; take harmful_refusal or over_refusal suites")
        items = suite.items(split)
        if not items:
            other = "eval" if split == "train" else "train"
            raise SuiteUnfit(suite.name, f"it has no {split} items; try the split {other!r}")
        if limit:
            items = tuple(sorted(items, key=lambda item: _rank(item.prompt, seed))[:limit])
        found += [Question(f"{suite.name}:{i.id}", i.kind, i.category, i.prompt, should) for i in items]
    return found


def _rank(prompt: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\n{prompt}".encode()).hexdigest()
