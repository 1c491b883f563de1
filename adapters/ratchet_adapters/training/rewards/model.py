"""A trained reward model as a reward.

It must not know how it was trained. Scores become numbers in [0, 1] by a sigmoid around the middle of its train pairs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ratchet_adapters.training.reward_model import REWARD_MODEL, RewardModelSettings
from ratchet_adapters.training.rewards.errors import RewardModelInvalid
from ratchet_adapters.training.rewards.reward import BaseModelFolder, Turn

__all__ = ["ModelReward"]


class ModelReward:
    """sigmoid(score - middle).

    Args:
        base: The base model it was trained on.
        folder: Written by the method reward-model.

    Raises:
        RewardModelInvalid: The folder is no reward model, or one for another base model.
    """

    def __init__(self, base: BaseModelFolder, *, folder: str | Path) -> None:
        path = Path(folder)
        about = _read(path, base)
        self._middle = float(about["middle"])
        self._settings = RewardModelSettings.model_validate(about["settings"])
        self.head: str = about["head"]
        self._tokenizer, self._network = _load(path, base.folder, self._settings)

    def __call__(self, turns: Sequence[Turn]) -> list[float]:
        """Return one number in [0, 1] per turn; an empty answer and an over-long prompt are worth 0."""
        return [
            0.0 if value is None else 1.0 / (1.0 + math.exp(max(-50.0, min(50.0, self._middle - value))))
            for value in self.scores(turns)
        ]

    def scores(self, turns: Sequence[Turn]) -> list[float | None]:
        """Return the raw scores, in order; None where there is nothing to score."""
        from ratchet_adapters.training.trainers.reward_network import encode, score

        settings = self._settings
        sequences = [
            encode(
                self._tokenizer,
                turn.prompt,
                turn.answer,
                prompt_tokens=settings.prompt_tokens,
                answer_tokens=settings.answer_tokens,
            )
            for turn in turns
        ]
        usable = [sequence for sequence in sequences if sequence is not None]
        values = iter(score(self._network, usable, self._tokenizer.pad_token_id))
        return [None if sequence is None else next(values) for sequence in sequences]


def _read(folder: Path, base: BaseModelFolder) -> dict[str, Any]:
    try:
        about = json.loads((folder / "ratchet.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RewardModelInvalid(folder, f"its ratchet.json can not be read ({type(error).__name__})") from error
    if not isinstance(about, dict) or about.get("kind") != REWARD_MODEL:
        raise RewardModelInvalid(folder, "its ratchet.json does not say that it is one")
    if about.get("base_fingerprint") != base.fingerprint:
        raise RewardModelInvalid(folder, f"it is for base {about.get('base_fingerprint')}, not {base.fingerprint}")
    missing = {"middle", "settings", "head"} - set(about)
    if missing:
        raise RewardModelInvalid(folder, f"its ratchet.json lacks {', '.join(sorted(missing))}")
    return about


def _load(folder: Path, base: Path, settings: RewardModelSettings) -> tuple[Any, Any]:
    from ratchet_adapters.precision import resolve_precision
    from ratchet_adapters.training.trainers.model import load_tokenizer
    from ratchet_adapters.training.trainers.reward_network import restore

    tokenizer = load_tokenizer(base)
    try:
        network = restore(folder, base, resolve_precision(settings.precision), tokenizer.pad_token_id)
    # PEFT and safetensors raise many unrelated types for a damaged folder; all mean the same here.
    except Exception as error:
        raise RewardModelInvalid(folder, f"it does not load ({type(error).__name__}: {error})") from error
    return tokenizer, network
