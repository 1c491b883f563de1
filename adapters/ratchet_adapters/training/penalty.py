"""The port for a black-box score of an answer: what a policy is to be trained away from.

A package adds one with an entry point of the group `ratchet.penalties`: a callable that takes the penalty's options as
keywords and returns a `Penalty`. It must not know how a penalty is turned into a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

from ratchet_adapters.training.errors import PenaltyOptionsInvalid, PenaltyUnknown

__all__ = ["GROUP", "Penalty", "penalty"]

GROUP = "ratchet.penalties"

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
    added = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in added:
        make: Any = added[name].load()
    elif name in _BUILT_IN:
        module, function = _BUILT_IN[name].split(":")
        make = getattr(import_module(module), function)
    else:
        raise PenaltyUnknown(name, {*added, *_BUILT_IN})
    try:
        found: Penalty = make(**(options or {}))
    except (TypeError, ValueError) as error:
        raise PenaltyOptionsInvalid(name, str(error)) from error
    return found
