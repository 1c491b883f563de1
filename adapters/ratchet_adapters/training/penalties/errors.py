"""Typed errors of penalties.

They must not know how a penalty is weighed.
"""

from __future__ import annotations

from ratchet_adapters.training.errors import PluginOptionsInvalid, PluginUnknown, TrainingError

__all__ = ["PenaltyInvalid", "PenaltyOptionsInvalid", "PenaltyUnknown"]


class PenaltyUnknown(PluginUnknown):
    """No penalty has this name."""

    what, group = "penalty", "ratchet.penalties"


class PenaltyOptionsInvalid(PluginOptionsInvalid):
    """A penalty does not take the options it was given."""

    what = "penalty"


class PenaltyInvalid(TrainingError):
    """A penalty returned something other than one score in [0, 1] per answer.

    Attributes:
        name: Of the penalty.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The penalty {name!r} {problem}. It must return one number in [0, 1] per answer, in order.")
        self.name = name
