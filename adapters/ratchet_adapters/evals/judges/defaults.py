"""The judges of an evaluation when nobody names others: the shipped refusal and toxicity scorers.

It must not fall back: a scorer that does not load raises.
"""

from __future__ import annotations

from collections.abc import Mapping

from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.judges.judge import Judge
from ratchet_adapters.evals.judges.refusal import RefusalJudge
from ratchet_adapters.evals.judges.toxicity import ToxicityJudge

__all__ = ["default_judges"]


def default_judges() -> Mapping[Axis, Judge]:
    """Load the shipped scorers (a second or two, and torch) and return one judge for each axis that needs one.

    Raises:
        ratchet_plugins.scorers.errors.ScorerUnavailable: A scorer does not load.
    """
    from ratchet_plugins.scorers.registry import load_scorer

    refusal = RefusalJudge(load_scorer("refusal"))
    return {
        Axis.HARMFUL_REFUSAL: refusal,
        Axis.OVER_REFUSAL: refusal,
        Axis.TOXICITY: ToxicityJudge(load_scorer("toxicity")),
    }
