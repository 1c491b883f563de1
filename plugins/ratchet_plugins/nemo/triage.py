"""The rail `ratchet triage input`: blocks prompts that the triage classifier takes for a request for harm.

`ratchet triage input $threshold=0.8` replaces the classifier's own threshold.
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

__all__ = ["RAIL", "triage_input"]


async def triage_input(scorer: str, text: str, threshold: str | None = None, **_: Any) -> RailOutcome:
    """Judge the user's turn by the triage scorer; see `judge` for the outcome and the errors."""
    return await judge(scorer, text, threshold, whole=True)


_ACTION = ActionRef(name="ratchet_triage_input", target="ratchet_plugins.nemo.triage:triage_input")

RAIL = RailManifest(
    name="ratchet.triage",
    metadata=RailMetadata(
        display_name="Ratchet triage",
        description="Blocks prompts that a small classifier takes for a request for harm.",
        categories=("input",),
        capabilities=("allow", "block", "classify"),
        tags=("ratchet", "classifier", "offline"),
    ),
    spec=RailSpec(
        actions=RailActions(refs=(_ACTION,)),
        surfaces=(
            RailSurface(
                name="ratchet triage input",
                direction=RailDirection.INPUT,
                action=_ACTION,
                bindings=(
                    Binding.literal("scorer", "triage"),
                    Binding.context("text", "user_message"),
                    Binding.surface_param("threshold", "threshold", required=False),
                ),
            ),
        ),
    ),
)
