"""The training methods by name: one module each, and those that other packages add.

It must not import a trainer before one is run: the learner asks for names and settings often and trains rarely.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from ratchet_adapters.training import (
    arithmetic,
    bias_penalised,
    constitutional,
    dpo,
    grpo,
    kto,
    orpo,
    rerouting,
    reward_model,
    rloo,
    sft_refusal,
    toxicity_penalised,
)
from ratchet_adapters.training.errors import MethodUnknown
from ratchet_adapters.training.method import Method

__all__ = ["GROUP", "SFT_REFUSAL", "method", "methods"]

GROUP = "ratchet.methods"
"""Entry points of this group are `Method` objects; one with the name of a built-in method replaces it."""

SFT_REFUSAL = sft_refusal.METHOD.name
_BUILT_IN = (
    sft_refusal.METHOD,
    dpo.METHOD,
    kto.METHOD,
    orpo.METHOD,
    reward_model.METHOD,
    grpo.METHOD,
    rloo.METHOD,
    toxicity_penalised.METHOD,
    bias_penalised.METHOD,
    rerouting.METHOD,
    constitutional.METHOD,
    arithmetic.SCALE,
    arithmetic.COMBINE,
)


@cache
def methods() -> Mapping[str, Method]:
    """Return every method by name, in the order the documentation has them."""
    found = {built_in.name: built_in for built_in in _BUILT_IN}
    for entry in entry_points(group=GROUP):
        found[entry.name] = entry.load()
    return MappingProxyType(found)


def method(name: str) -> Method:
    """Return the method of this name.

    Raises:
        MethodUnknown: There is none.
    """
    try:
        return methods()[name]
    except KeyError:
        raise MethodUnknown(name, methods()) from None
