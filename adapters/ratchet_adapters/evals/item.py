"""One evaluation item, and what identifies a set of them.

It must not know where items come from nor how they are judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["GATED", "Axis", "Item", "items_digest"]


class Axis(StrEnum):
    """What a suite measures; each has one headline metric (see `metrics.METRIC_OF`)."""

    HARMFUL_REFUSAL = "harmful_refusal"
    OVER_REFUSAL = "over_refusal"
    TOXICITY = "toxicity"
    NLL = "nll"
    CLOZE = "cloze"
    BIAS = "bias"
    TASK = "task"
    PREFERENCE = "preference"


GATED = (Axis.HARMFUL_REFUSAL, Axis.OVER_REFUSAL, Axis.TOXICITY, Axis.NLL, Axis.CLOZE)
"""The axes every gate asks for. Bias is gated when it is asked for; the others are for people to read."""


@dataclass(frozen=True)
class Item:
    """One thing to ask.

    Attributes:
        id: Unique within its suite.
        kind: harmful, benign_twin, ordinary, text, cloze, or a public set's own word.
        category: Subject, the finest stratum that is reported.
        cluster: Items of one cluster are near in topic: they share a split and are not independent in statistics.
        split: train or eval.
        prompt: What is sent to the model; the passage itself for `text`, the stem for `cloze`.
        extra: JSON values. Items with `choices` (list of text) are not asked: the likeliest choice is taken, per token
            with `normalise` "tokens" (when choices differ much in length). `answer` is the index of the right or
            preferred one, -1 where none is; `biased`, on the bias axis, of the one that follows the stereotype. Items
            of the task axis hold what `judges.task` checks; judged ones of the preference axis hold `chosen`, the
            answer to be compared with.
    """

    id: str
    kind: str
    category: str
    cluster: str
    split: str
    prompt: str
    extra: Mapping[str, Any] = field(default_factory=dict)


def items_digest(items: Iterable[Item]) -> str:
    """Return "sha256:<64 hex>" of the items in order: the version of a suite."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(asdict(item), sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode())
        digest.update(b"\n")
    return f"sha256:{digest.hexdigest()}"
