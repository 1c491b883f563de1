"""Which prompts probably carry the wrong label: confident learning over cross-validated probabilities.

It must not decide what becomes of them, nor who is to blame. Labels are harmful (to refuse) or benign (to answer).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ratchet_adapters.datasets.near_duplicates import Embed

__all__ = ["LabelCheck", "LabelIssue", "Labelled", "check_labels"]

_FOLDS = 5
_LEAST_PER_LABEL = 20


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prompt and what it is held to be."""

    prompt: str
    harmful: bool


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """A doubted prompt whose label is probably wrong.

    Attributes:
        index: Into the doubted prompts.
        harmful: The label it carries.
        probability: Of the other label, from a model that did not see the prompt.
    """

    index: int
    harmful: bool
    probability: float


@dataclass(frozen=True)
class LabelCheck:
    """What a check found.

    Attributes:
        issues: The most probable first.
        checked: Doubted prompts that were looked at.
        why_not: Why the check could not be made; empty when it was.
    """

    issues: tuple[LabelIssue, ...] = ()
    checked: int = 0
    why_not: str = ""


def check_labels(
    doubted: Sequence[Labelled], trusted: Sequence[Labelled], *, embed: Embed | None, seed: int = 0
) -> LabelCheck:
    """Look for wrong labels among the doubted prompts, with the trusted ones to learn from too.

    A logistic regression on sentence embeddings gives each prompt a probability in five-fold cross-validation;
    cleanlab's confident learning (Northcutt et al., arXiv 1911.00068) decides which labels it contradicts.

    Args:
        doubted: From traffic or a file.
        trusted: Curated; an issue with one of them is not reported.
        embed: Texts to unit vectors; the check can not be made without.
        seed: Of the folds.
    """
    if not doubted:
        return LabelCheck(why_not="there is nothing to check")
    if embed is None:
        return LabelCheck(why_not="there are no embeddings")
    everything = [*doubted, *trusted]
    of_a_kind = min(sum(one.harmful == harmful for one in everything) for harmful in (True, False))
    if of_a_kind < _LEAST_PER_LABEL:
        return LabelCheck(why_not=f"only {of_a_kind} prompts carry one of the labels, {_LEAST_PER_LABEL} are needed")
    probabilities, wrong = _confident_learning(everything, embed, seed)
    issues = [
        LabelIssue(index, one.harmful, round(float(probabilities[index, 1 - int(one.harmful)]), 4))
        for index, one in enumerate(doubted)
        if wrong[index]
    ]
    issues.sort(key=lambda issue: (-issue.probability, issue.index))
    return LabelCheck(tuple(issues), len(doubted))


def _confident_learning(everything: Sequence[Labelled], embed: Embed, seed: int) -> tuple[Any, Any]:
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    cleanlab: Any = importlib.import_module("cleanlab.filter")
    labels = np.array([int(one.harmful) for one in everything])
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    model = LogisticRegression(max_iter=1000)
    vectors = embed([one.prompt for one in everything])
    probabilities = cross_val_predict(model, vectors, labels, cv=folds, method="predict_proba")
    # One process: forking a learner that holds database connections and threads is no good idea.
    return probabilities, cleanlab.find_label_issues(labels, probabilities, n_jobs=1)
