"""A recipe's worth as a formula, in place of training: what the search does is then known."""

from __future__ import annotations

import json

import pytest

from ratchet_adapters.tuning.objectives import Measured
from ratchet_adapters.tuning.space import Space
from ratchet_adapters.tuning.study import Search

BASE = Measured(0.1, 0.02, 3.0)


class Trainer:
    """Writes the options down; `before` is called first and may raise."""

    def __init__(self, before=None):
        self.asked = []
        self.before = before or (lambda options, should_stop: None)

    def __call__(self, options, folder, should_stop):
        self.asked.append(options)
        self.before(options, should_stop)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "options.json").write_text(json.dumps(options))
        return folder


def evaluate(adapter):
    """More rank refuses more of both; a higher rate costs language."""
    if adapter is None:
        return BASE
    training = json.loads((adapter / "options.json").read_text())["training"]
    strength = training["rank"] / 64
    return Measured(0.2 + 0.7 * strength, 0.02 + 0.5 * strength**2, 3.0 + 20 * training["learning_rate"])


@pytest.fixture
def space():
    """Rank and learning rate."""
    return Space.model_validate(
        {
            "format": 1,
            "method": "sft-refusal",
            "fixed": {"dataset": {"seed_harmful": 32}},
            "search": {
                "training.rank": {"kind": "integer", "low": 1, "high": 64},
                "training.learning_rate": {"kind": "decimal", "low": 1e-4, "high": 1e-2, "log": True},
            },
        }
    )


@pytest.fixture
def search(space, tmp_path):
    """Make a search in one folder."""

    def make(trainer, **changes):
        return Search(space, trainer, changes.pop("evaluate", evaluate), tmp_path / "out", **changes)

    return make
