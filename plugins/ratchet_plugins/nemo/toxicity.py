"""The rail `ratchet toxicity output`: blocks answers that the toxicity classifier takes for toxic.

Toxicity is not harm: it does not see a polite answer to a harmful request. `$threshold=0.9` replaces the classifier's
own threshold.
"""

from __future__ import annotations

from typing import Any

from nemoguardrails.actions.rail_outcome import RailOutcome
from nemoguardrails.manifests import (
    ActionRef,
    Binding,
    RailActions,
    RailDirection,
    RailManifest,
    RailMetadata,
    RailSpec,
    RailSurface,
)

from ratchet_plugins.nemo.judging import judge

__all__ = ["RAIL", "toxicity_output"]


async def toxicity_output(scorer: str, text: str, threshold: str | None = None, **_: Any) -> RailOutcome:
    """Judge the answer by the toxicity scorer; see `judge` for the outcome and the errors."""
    return await judge(scorer, text, threshold)


_ACTION = ActionRef(name="ratchet_toxicity_output", target="ratchet_plugins.nemo.toxicity:toxicity_output")

RAIL = RailManifest(
    name="ratchet.toxicity",
    metadata=RailMetadata(
        display_name="Ratchet toxicity",
        description="Blocks answers that a Detoxify-format classifier takes for toxic.",
        categories=("output",),
        capabilities=("allow", "block", "classify", "moderate"),
        tags=("ratchet", "classifier", "offline"),
    ),
    spec=RailSpec(
        actions=RailActions(refs=(_ACTION,)),
        surfaces=(
            RailSurface(
                name="ratchet toxicity output",
                direction=RailDirection.OUTPUT,
                action=_ACTION,
                bindings=(
                    Binding.literal("scorer", "toxicity"),
                    Binding.context("text", "bot_message"),
                    Binding.surface_param("threshold", "threshold", required=False),
                ),
            ),
        ),
    ),
)
