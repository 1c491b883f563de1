"""How well `reward-model` tells the better answer on held-out clusters, and on human preferences where present.

Pairs from the committed seed prompts of the train split: on a harmful prompt a refusal of the bank over what the base
model says; on a benign one what the base model says over a refusal. The two kinds of text are the same on both sides,
so only a model that reads the prompt gets beyond half.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from tests.benchmarks.learning.grpo import seed_rows
from tests.benchmarks.learning.model import loaded

from ratchet_adapters.datasets.bank import load_bank
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.datasets.refusal_text import opens_like_a_refusal
from ratchet_adapters.evals.figure import Figure, share
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.settings import ProcessSettings

__all__ = ["measure"]

_ANSWER_TOKENS = 20
_TRAIN, _HELD_OUT = 192, 112


def measure(base: Path, work: Path, *, quick: bool) -> dict[str, Any]:
    """Return the accuracy on held-out pairs before (an untrained head: chance) and after, with Wilson intervals."""
    from ratchet_plugins.models.chat import fingerprint

    rows = _pairs(base, quick=quick)
    dataset = Dataset(tuple(rows), {"format": FORMAT, "rows_digest": rows_digest(rows), "counts": {}})
    job = TrainingJob(
        method="reward-model",
        dataset=dataset.write(work / "dataset"),
        model=base,
        base_fingerprint=fingerprint(base),
        output=work / "reward-model",
        work=work / "training",
        settings=method("reward-model").settings.model_validate({"epochs": 2.0, "answer_tokens": _ANSWER_TOKENS}),
        process=ProcessSettings(),
    )
    began = time.monotonic()
    result = method("reward-model").load()(job, None)
    seconds = time.monotonic() - began
    accuracy = json.loads((job.output / "ratchet.json").read_text(encoding="utf-8"))["accuracy"]
    after = accuracy["validation"]
    return {
        "target": {
            "name": "accuracy on held-out pairs",
            # An untrained head is zero everywhere: every pair is a tie.
            "before": _shown(share("accuracy", [0.5] * after["n"])),
            "after": {key: after[key] for key in ("value", "low", "high")},
            "yardstick": "the 95 % interval lies above 0.5",
            "met": after["low"] > 0.5,
        },
        "pairs": {split: found["n"] for split, found in accuracy.items()},
        "by_kind": _by_kind(job, rows),
        "hh_rlhf": _human(job, quick=quick),
        "steps": result.steps,
        "seconds": seconds,
        "step_seconds": result.step_seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "adapter": result.adapter,
    }


def _pairs(base: Path, *, quick: bool) -> list[Row]:
    """Rows with both texts, half of them harmful, a quarter of the clusters for validation."""
    from ratchet_adapters.training.trainers.generation import generate
    from ratchet_adapters.training.trainers.model import load_tokenizer

    rng, bank = Random(0), load_bank()
    wanted = {Split.TRAIN: 24 if quick else _TRAIN, Split.VALIDATION: 16 if quick else _HELD_OUT}
    chosen: list[Row] = []
    source = seed_rows(benign_per_harmful=1.0, seed=0)
    for split, count in wanted.items():
        for kind, portion in ((RowKind.REFUSAL, 0.5), (RowKind.CONTRAST, 0.25), (RowKind.REPLAY, 0.25)):
            here = [row for row in source if row.split is split and row.kind is kind]
            chosen += rng.sample(here, min(len(here), round(count * portion)))
    tokenizer = load_tokenizer(base)
    said = generate(loaded(base), tokenizer, [row.prompt for row in chosen], max_tokens=_ANSWER_TOKENS)
    found = []
    for row, text in zip(chosen, said, strict=True):
        if not text.strip() or opens_like_a_refusal(text):
            continue
        if row.kind is RowKind.REFUSAL:
            found.append(replace(row, rejected=text))
        else:
            found.append(replace(row, target=text, rejected=bank.pick(rng.choice(bank.categories), rng)))
    return found


def _by_kind(job: TrainingJob, rows: Sequence[Row]) -> dict[str, Any]:
    held = [row for row in rows if row.split is Split.VALIDATION]
    return {
        kind.value: _accuracy(job, [(row.prompt, row.target, row.rejected) for row in held if row.kind is kind])
        for kind in (RowKind.REFUSAL, RowKind.CONTRAST, RowKind.REPLAY)
    }


def _human(job: TrainingJob, *, quick: bool) -> dict[str, Any] | None:
    """Accuracy on single-turn harmlessness preferences of people, which it was not trained on; None when absent."""
    path = Path(os.environ.get("RATCHET_DATA", "")) / "hh_rlhf" / "test.jsonl.gz"
    if not os.environ.get("RATCHET_DATA") or not path.exists():
        return None
    found = []
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            pair = json.loads(line)
            sides = [pair[name].split("\n\nAssistant:") for name in ("chosen", "rejected")]
            # One question, one answer: the model was never shown a conversation.
            if all(len(side) == 2 for side in sides) and sides[0][0] == sides[1][0]:
                prompt = sides[0][0].replace("\n\nHuman:", "").strip()
                found.append((prompt, sides[0][1].strip(), sides[1][1].strip()))
    return _accuracy(job, found[: 16 if quick else 160])


def _accuracy(job: TrainingJob, pairs: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    from ratchet_adapters.training.rewards.model import ModelReward
    from ratchet_adapters.training.rewards.reward import BaseModelFolder, Turn

    reward = ModelReward(BaseModelFolder(job.model, job.base_fingerprint), folder=job.output)
    better = reward.scores([Turn(prompt, chosen, True) for prompt, chosen, _ in pairs])
    worse = reward.scores([Turn(prompt, rejected, True) for prompt, _, rejected in pairs])
    hits = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, b in zip(better, worse, strict=True)
        if a is not None and b is not None
    ]
    return _shown(share("accuracy", hits))


def _shown(found: Figure) -> dict[str, Any]:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
