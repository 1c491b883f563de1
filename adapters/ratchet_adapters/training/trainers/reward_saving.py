"""The folder of a finished reward model, put in place with one rename.

It has PEFT's layout, so that PEFT loads it, and a `ratchet.json` of its own kind. It holds a head, so it can never pass
as an adapter. It must not know how it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet_adapters.datasets.dataset import Dataset, Split
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.reward_model import REWARD_MODEL
from ratchet_adapters.training.trainers.saving import json_text, put_in_place

__all__ = ["save_reward_model"]

_CARD = """---
library_name: peft
tags: [reward-model, safety, ratchet]
---

# Reward model: {head}

Scores an answer to a prompt; larger is better. It is a LoRA with a linear head, **not an adapter to serve**, and it is
valid only on the base model `{base}`. Used by the methods `grpo` and `rloo`.

| | pairs | accuracy | 95 % interval |
|---|---|---|---|
{accuracy}

Dataset `{dataset}`. Accuracy is the share of pairs in which the preferred answer scores higher (Wilson interval).
"""


def save_reward_model(
    job: TrainingJob,
    dataset: Dataset,
    trained: Path,
    head: str,
    scores: Mapping[Split, Sequence[tuple[float, float]]],
) -> None:
    """Write `adapter_config.json`, `adapter_model.safetensors`, `ratchet.json` and `README.md` into `job.output`.

    Args:
        job: Whose output folder; an older one is replaced.
        dataset: What was learnt from.
        trained: PEFT's folder of the trained network.
        head: What it prefers.
        scores: (chosen, rejected) of each pair, by split; those of the train split place the middle of the scale.
    """
    accuracy = {split.value: _accuracy(found) for split, found in scores.items() if found}
    taught = [value for pair in scores[Split.TRAIN] for value in pair]
    provenance = {
        "kind": REWARD_MODEL,
        "head": head,
        "base_fingerprint": job.base_fingerprint,
        "dataset_digest": dataset.digest,
        "method": job.method,
        "settings": job.settings.model_dump(mode="json"),
        "middle": sum(taught) / len(taught),
        "accuracy": accuracy,
    }
    card = _CARD.format(
        head=head,
        base=job.base_fingerprint,
        dataset=dataset.digest,
        accuracy="\n".join(
            f"| {split} | {found['n']} | {found['value']:.3f} | {found['low']:.3f} to {found['high']:.3f} |"
            for split, found in accuracy.items()
        ),
    )
    network = {name: trained / name for name in ("adapter_config.json", "adapter_model.safetensors")}
    put_in_place(job.output, {**network, "ratchet.json": json_text(provenance), "README.md": card})


def _accuracy(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    from ratchet_adapters.evals.figure import share

    found = share("reward model accuracy", [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
