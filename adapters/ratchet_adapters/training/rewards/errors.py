"""Typed errors of rewards and reward models.

They must not know how a reward is used.
"""

from __future__ import annotations

from pathlib import Path

from ratchet_adapters.training.errors import PluginOptionsInvalid, PluginUnknown, TrainingError

__all__ = ["RewardInvalid", "RewardModelInvalid", "RewardOptionsInvalid", "RewardUnknown"]


class RewardUnknown(PluginUnknown):
    """No reward has this name."""

    what, group = "reward", "ratchet.rewards"


class RewardOptionsInvalid(PluginOptionsInvalid):
    """A reward does not take the options it was given."""

    what = "reward"


class RewardInvalid(TrainingError):
    """A reward returned something other than one number in [0, 1] per answer.

    Attributes:
        name: Of the reward.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The reward {name!r} {problem}. It must return one number in [0, 1] per answer, in order.")
        self.name = name


class RewardModelInvalid(TrainingError):
    """A folder is no reward model that could score answers of this base model.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(
            f"{folder} can not be used as a reward model: {problem}. Train one with the method reward-model on the "
            "base model in use."
        )
        self.folder = folder
