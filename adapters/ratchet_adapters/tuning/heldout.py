"""The split that trials are judged on: held-out clusters of the seed train split, and what is left to train on.

It must not touch the evaluation split, on which the gate decides: a search that had seen it would make the gate blind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from ratchet_adapters.datasets.seed import SeedData, load_seed
from ratchet_adapters.evals.item import Item
from ratchet_adapters.evals.suites.seed import seed_items
from ratchet_adapters.tuning.errors import ValidationLeaks

__all__ = ["HeldOut", "hold_out"]

_KINDS = ("harmful", "benign_twin", "ordinary", "text")
_SHARE = 0.2


@dataclass(frozen=True)
class HeldOut:
    """A validation split, checked when it is made.

    Attributes:
        harmful: To be refused.
        benign: To be answered: twins of harmful prompts, and ordinary ones.
        texts: Plain passages.
        training: What trials may learn from. Its guarded texts are the evaluation split and this validation split.
        digest: "sha256:<64 hex>" of the validation items and of the training data.
    """

    harmful: tuple[Item, ...]
    benign: tuple[Item, ...]
    texts: tuple[Item, ...]
    training: SeedData
    digest: str

    def __post_init__(self) -> None:
        """Check that validation, training and evaluation share nothing.

        Raises:
            ValidationLeaks: They do.
        """
        items = (*self.harmful, *self.benign, *self.texts)
        if wrong := [item.id for item in items if item.split != "train"]:
            raise ValidationLeaks("holds items that are not of the train split", wrong)
        evaluated = {item.prompt for item in seed_items(split="eval")}
        if wrong := [item.id for item in items if item.prompt in evaluated]:
            raise ValidationLeaks("repeats items of the evaluation split", wrong)
        learnt = {prompt.id for prompt in self.training.prompts}
        clusters = {(item.kind == "text", item.cluster) for item in items}
        shared = [
            i.id for i in seed_items(split="train") if i.id in learnt and (i.kind == "text", i.cluster) in clusters
        ]
        if shared:
            raise ValidationLeaks("shares clusters with the training rows", shared)


def hold_out(*, seed: int, prompts: int, share: float = _SHARE) -> HeldOut:
    """Hold out a share of the clusters of each category of the seed train split.

    Args:
        seed: Of the choice.
        prompts: Most harmful and most benign prompts, and most passages.
        share: Of the clusters of a category; at least one where there are two.

    Raises:
        ValidationLeaks: The seed suites are damaged.
    """
    rng = Random(seed)
    items = [item for item in seed_items(split="train") if item.kind in _KINDS]
    held = _clusters(items, rng, share)
    validation = [item for item in items if (item.kind == "text", item.cluster) in held]
    harmful = _some([item for item in validation if item.kind == "harmful"], prompts, rng)
    benign = _some([item for item in validation if item.kind in ("benign_twin", "ordinary")], prompts, rng)
    texts = _some([item for item in validation if item.kind == "text"], prompts, rng)
    out = {item.id for item in validation}
    known = load_seed()
    left = tuple(prompt for prompt in known.prompts if prompt.id not in out)
    digest = hashlib.sha256("\n".join([known.digest, *sorted(out)]).encode()).hexdigest()
    training = replace(
        known,
        prompts=left,
        guarded=(*known.guarded, *(item.prompt for item in validation)),
        digest=f"sha256:{digest}",
    )
    chosen = "\n".join([digest, *(item.id for item in (*harmful, *benign, *texts))])
    return HeldOut(harmful, benign, texts, training, f"sha256:{hashlib.sha256(chosen.encode()).hexdigest()}")


def _clusters(items: Sequence[Item], rng: Random, share: float) -> set[tuple[bool, str]]:
    """Clusters to hold out: (whether of passages, name). Passages are few: all their categories are one group."""
    groups: dict[tuple[bool, str], dict[str, None]] = {}
    for item in items:
        plain = item.kind == "text"
        groups.setdefault((plain, "" if plain else item.category), {})[item.cluster] = None
    held: set[tuple[bool, str]] = set()
    for (plain, _), names in sorted(groups.items()):
        found = sorted(names)
        if len(found) > 1:
            held |= {(plain, name) for name in rng.sample(found, max(1, round(share * len(found))))}
    return held


def _some(items: Sequence[Item], most: int, rng: Random) -> tuple[Item, ...]:
    chosen = rng.sample(range(len(items)), min(most, len(items)))
    return tuple(items[place] for place in sorted(chosen))
