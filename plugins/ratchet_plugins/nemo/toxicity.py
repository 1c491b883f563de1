"""The rail `ratchet toxicity output`: blocks answers that the toxicity classifier takes for toxic.

Toxicity is not harm: it does not see a polite answer to a harmful request. `$threshold=0.9` replaces the classifier's
own threshold.
"""

from __future__ import annotations

from typing import Any

from nemoguardrails.actions.rail_outcome import RailOutcome
from nemoguardrails.manifests import RailDirection

from ratchet_plugins.nemo.classifier import classifier_rail
from ratchet_plugins.nemo.judging import judge

__all__ = ["RAIL", "toxicity_output"]


async def toxicity_output(scorer: str, text: str, threshold: str | None = None, **_: Any) -> RailOutcome:
    """Judge the answer by the toxicity scorer; see `judge` for the outcome and the errors."""
    return await judge(scorer, text, threshold)


RAIL = classifier_rail(
    "toxicity",
    RailDirection.OUTPUT,
    module=__name__,
    description="Blocks answers that a Detoxify-format classifier takes for toxic.",
    moderates=True,
)
