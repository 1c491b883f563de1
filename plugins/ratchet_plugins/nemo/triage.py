"""The rail `ratchet triage input`: blocks prompts that the triage classifier takes for a request for harm.

It reads what was asked for in all turns, not only the last: a request can be quoted early and only referred to later.
`ratchet triage input $threshold=0.8` replaces the classifier's own threshold.
"""

from __future__ import annotations

from typing import Any

from nemoguardrails.actions.rail_outcome import RailOutcome
from nemoguardrails.manifests import RailDirection

from ratchet_plugins.nemo.classifier import classifier_rail
from ratchet_plugins.nemo.context import TURNS
from ratchet_plugins.nemo.conversation import readings
from ratchet_plugins.nemo.judging import judge

__all__ = ["RAIL", "triage_input"]


async def triage_input(scorer: str, text: str, threshold: str | None = None, **_: Any) -> RailOutcome:
    """Judge the user's turn by the triage scorer; see `judge` for the outcome and the errors."""
    return await judge(scorer, text, threshold, whole=True, beside=readings(TURNS.get()))


RAIL = classifier_rail(
    "triage",
    RailDirection.INPUT,
    module=__name__,
    description="Blocks prompts that a small classifier takes for a request for harm.",
)
