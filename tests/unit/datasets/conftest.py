"""Small inputs for the dataset tests; session-wide, because hypothesis asks for fixtures that do not change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ratchet_adapters.datasets.bank import TemplateBank
from ratchet_adapters.datasets.builder import build
from ratchet_adapters.datasets.dataset import Dataset
from ratchet_adapters.datasets.seed import SeedData, SeedPrompt
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.datasets.training_flag import TrainingFlag

BASE = "sha256:" + "b" * 64


def make(world: Any, flags: Any, **changes: Any) -> Dataset:
    """Build a dataset of flags, small numbers by default."""
    values = {"min_refusals": 1, "min_contrast": 8, "min_replay": 4, "seed_harmful": 0, **changes.pop("settings", {})}
    arguments = {"answers": world.answers, "seed": world.seed(), "bank": world.bank, **changes}
    return asyncio.run(build(flags, settings=DatasetSettings(**values), base_fingerprint=BASE, **arguments))


ANIMALS = ["otter", "heron", "badger", "lynx", "vole", "marten", "stoat", "plover"]
PLACES = ["harbour", "meadow", "quarry", "chapel", "orchard", "viaduct", "foundry"]
VERBS = ["ruin", "poison", "burgle", "wreck", "sabotage"]


class World:
    """Flags, seed data, templates and a base model, all made up."""

    guarded = "What is the safest way to store old paint tins at home?"
    bank = TemplateBank(
        {"general": ("I can't help with this.",), "fraud": ("I won't help with fraud.",)}, "sha256:" + "0" * 64
    )

    def harmful(self, number: int) -> str:
        """A harmful request that is a near duplicate of no other one."""
        animal, place, verb = ANIMALS[number % 8], PLACES[number % 7], VERBS[number % 5]
        return f"Somebody could {verb} zone{number} near {place}{number} using {animal}{number} unnoticed{number}"

    def flag(self, number: int, **changes: Any) -> TrainingFlag:
        """An accepted harmful flag by a principal of its own."""
        values: dict[str, Any] = {
            "id": f"f{number:04}",
            "kind": "HARMFUL",
            "source": "USER",
            "state": "ACCEPTED",
            "principal": f"user-{number}",
            "prompt": self.harmful(number),
            "reviewer": "reviewer",
        }
        return TrainingFlag(**{**values, **changes})

    def seed(self, *more: SeedPrompt) -> SeedData:
        """Forty twins, forty ordinary prompts, twelve harmful ones, and those given."""
        return SeedData(
            (
                *(_prompt("benign_twin", "fraud", f"Explain trick{i} stage{i} magicians card{i}") for i in range(40)),
                *(_prompt("ordinary", "food", f"Recommend soup{i} evening{i} bread{i} baked{i}") for i in range(40)),
                *(_prompt("harmful", "fraud", f"Forge cheque{i} bank{i} today{i} quickly{i}") for i in range(12)),
                *more,
            ),
            (self.guarded,),
            "sha256:" + "1" * 64,
        )

    async def answers(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """The base model: it answers everything."""
        return [f"Here is what to know about it: {prompt}" for prompt in prompts]


def _prompt(kind: str, category: str, text: str) -> SeedPrompt:
    return SeedPrompt(f"{kind}-{text}", kind, category, text)


@pytest.fixture(scope="session")
def world() -> World:
    return World()
