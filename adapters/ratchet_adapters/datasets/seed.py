"""The seed suites as the builder uses them: train prompts to learn from, eval texts to keep away from.

It must not know how the suites are evaluated. An eval item leaves this module only as a text to guard.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["SeedData", "SeedPrompt", "load_seed"]

_PACKAGE = "ratchet_adapters.evals"
_FOLDER = ("suites", "seed")
_TRAINABLE = ("harmful", "benign_twin", "ordinary", "text")


@dataclass(frozen=True, slots=True)
class SeedPrompt:
    """A prompt of the train split."""

    id: str
    kind: str
    category: str
    prompt: str


@dataclass(frozen=True)
class SeedData:
    """What the seed suites give to a dataset.

    Attributes:
        prompts: The train split of harmful, benign_twin, ordinary and text items.
        guarded: Every text of the eval splits: nothing like it may be trained on.
        digest: "sha256:<64 hex>" of all of it.
    """

    prompts: tuple[SeedPrompt, ...]
    guarded: tuple[str, ...]
    digest: str

    def of(self, kind: str) -> tuple[SeedPrompt, ...]:
        """Return the train prompts of one kind."""
        return tuple(prompt for prompt in self.prompts if prompt.kind == kind)


@cache
def load_seed() -> SeedData:
    """Return the shipped seed data, read once per process."""
    root = resources.files(_PACKAGE).joinpath(*_FOLDER)
    files = [entry for folder in (root, root.joinpath("harm")) for entry in folder.iterdir()]
    prompts: list[SeedPrompt] = []
    guarded: list[str] = []
    digest = hashlib.sha256()
    for entry in sorted((file for file in files if file.name.endswith(".jsonl")), key=lambda file: file.name):
        content = entry.read_text(encoding="utf-8")
        digest.update(f"{entry.name}\n{content}\n".encode())
        for line in filter(str.strip, content.splitlines()):
            item = json.loads(line)
            text = item.get("prompt") or item.get("text") or item.get("question")
            if item["split"] == "train" and item["kind"] in _TRAINABLE:
                prompts.append(SeedPrompt(item["id"], item["kind"], item["category"], text))
            elif item["split"] != "train":
                guarded.append(text)
    return SeedData(tuple(prompts), tuple(guarded), f"sha256:{digest.hexdigest()}")
