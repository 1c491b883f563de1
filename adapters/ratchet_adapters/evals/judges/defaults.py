"""The judges of an evaluation when nobody names others: the shipped refusal and toxicity scorers.

With RATCHET_JUDGE_URL and RATCHET_JUDGE_MODEL set, a language model judges the refusals the scorer is not sure of. It
must not fall back: a scorer that does not load raises, and a half-named endpoint is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ratchet_adapters.evals.errors import JudgeFailed
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.judges.judge import Judge
from ratchet_adapters.evals.judges.refusal import RefusalJudge
from ratchet_adapters.evals.judges.task import TaskJudge
from ratchet_adapters.evals.judges.toxicity import ToxicityJudge

if TYPE_CHECKING:
    from ratchet_adapters.evals.judges.language import JudgeEndpointSettings
    from ratchet_plugins.scorers.scorer import Scorer

__all__ = ["default_judges", "refusal_judge"]

_ENDPOINT = ("RATCHET_JUDGE_URL", "RATCHET_JUDGE_MODEL")


def default_judges() -> Mapping[Axis, Judge]:
    """Load the shipped scorers (a second or two, and torch) and return one judge for each axis that needs one.

    Raises:
        ratchet_plugins.scorers.errors.ScorerUnavailable: A scorer does not load.
        JudgeFailed: The environment names an endpoint that can not be one.
    """
    from ratchet_plugins.scorers.registry import load_scorer

    refusal: Judge = refusal_judge(load_scorer("refusal"))
    return {
        Axis.HARMFUL_REFUSAL: refusal,
        Axis.OVER_REFUSAL: refusal,
        Axis.TOXICITY: ToxicityJudge(load_scorer("toxicity")),
        Axis.TASK: TaskJudge(),
        **_preference(),
    }


def _preference() -> dict[Axis, Judge]:
    settings = _endpoint()
    if settings is None:
        return {}
    from ratchet_adapters.evals.judges.preference import PreferenceJudge

    return {Axis.PREFERENCE: PreferenceJudge(settings)}


def refusal_judge(scorer: Scorer) -> Judge:
    """Return the refusal judge over a scorer: a cascade with the language model the environment names, if it names one.

    Raises:
        JudgeFailed: The environment names an endpoint that can not be one.
    """
    first, settings = RefusalJudge(scorer), _endpoint()
    if settings is None:
        return first
    from ratchet_adapters.evals.judges.cascade import CascadeJudge
    from ratchet_adapters.evals.judges.language import LanguageRefusalJudge

    return CascadeJudge(first, LanguageRefusalJudge(settings))


def _endpoint() -> JudgeEndpointSettings | None:
    if not any(os.environ.get(name) for name in _ENDPOINT):
        return None
    # Needs an HTTP client, which an evaluation without a language model does not.
    from pydantic import ValidationError

    from ratchet_adapters.evals.judges.language import JudgeEndpointSettings

    try:
        return JudgeEndpointSettings()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise JudgeFailed("refusal-llm", f"the settings RATCHET_JUDGE_... are not valid: {problems}") from error
