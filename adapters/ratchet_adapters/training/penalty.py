"""The port for a black-box score of an answer: what a policy is to be trained away from.

A package adds one with an entry point of the group `ratchet.penalties`: a callable that takes the penalty's options as
keywords and returns a `Penalty`. It must not know how a penalty is turned into a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ratchet_adapters.training.penalties.errors import PenaltyOptionsInvalid, PenaltyUnknown
from ratchet_adapters.training.plugins import plugin

__all__ = ["Penalty", "penalty"]

_BUILT_IN: Mapping[str, str] = {
    "toxicity": "ratchet_adapters.training.penalties.toxicity:ToxicityPenalty",
    "refusal": "ratchet_adapters.training.penalties.refusal:RefusalPenalty",
    "pattern": "ratchet_adapters.training.penalties.pattern:PatternPenalty",
}
"""Name to "module:callable"."""


class Penalty(Protocol):
    """How bad answers are, from 0 (nothing to object to) to 1."""

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> Sequence[float]:
        """Return one score in [0, 1] per completion, in order. Called with a whole batch at once."""
        ...


def penalty(name: str, options: Mapping[str, Any] | None = None) -> Penalty:
    """Return the penalty of this name.

    Raises:
        PenaltyUnknown: Neither built in nor installed.
        PenaltyOptionsInvalid: It does not take these options.
    """
    found: Penalty = plugin(
        name, options or {}, built_in=_BUILT_IN, unknown=PenaltyUnknown, invalid=PenaltyOptionsInvalid
    )
    return found
