"""How well `grpo` does behind a short `sft-refusal`: the mean reward on held-out prompts before and after.

The base model hardly ever refuses by itself, and a policy learns from differences among its own answers only; so it
starts, as is usual, from an adapter that was taught a little.

Also the shared part of the policy methods' measurements. Everything is built from the committed seed prompts of the
train split; near duplicates (clusters) are on one side only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

from tests.benchmarks.learning.model import loaded
from tests.benchmarks.learning.rerouting import answered_dataset, train

from ratchet_adapters.datasets.bank import load_bank
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.precision import resolve_precision
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.policy import PolicySettings
from ratchet_adapters.training.settings import ProcessSettings

__all__ = ["measure", "measure_policy", "seed_rows"]

_BOUNDED = {
    "batch_size": 16, "answer_tokens": 14, "temperature": 0.7, "learning_rate": 7e-4, "seed": 0,
}  # fmt: skip
"""Four prompts of four short answers a step: what two CPU threads do in minutes."""

_SAMPLES = 2
"""Answers to each held-out prompt."""

HELD_OUT = 0.25
"""Share of the clusters that are not trained on."""


def measure(base: Path, work: Path, *, quick: bool) -> dict[str, Any]:
    """Train and measure; see `measure_policy`."""
    return measure_policy("grpo", base, work, quick=quick)


def measure_policy(name: str, base: Path, work: Path, *, quick: bool, **options: Any) -> dict[str, Any]:
    """Return the mean reward on held-out prompts, sampled as in training, before and after, with cluster bootstrap.

    Args:
        name: Of the method.
        base: Folder of the base model.
        work: Where to work.
        quick: A tenth of the steps.
        options: Of the recipe, over the bounded ones.
    """
    from ratchet_plugins.models.chat import fingerprint

    rows = seed_rows(benign_per_harmful=1.0, seed=0)
    dataset = Dataset(tuple(rows), {"format": FORMAT, "rows_digest": rows_digest(rows), "counts": {}})
    held_out = frozenset(row.prompt for row in rows if row.split is Split.VALIDATION)
    # Kept for the next method, which starts from it too.
    warm = work.parent / f"policy-start{'-quick' if quick else ''}"
    if not (warm / "adapter" / "adapter_config.json").exists():
        data = answered_dataset(base, warm, quick=quick, without=held_out)
        train("sft-refusal", base, data, warm, {"epochs": 1.0, "batch_size": 8, "checkpoint_steps": 1000})
    settings = method(name).settings.model_validate(
        {**_BOUNDED, "most_steps": 4 if quick else 40, "start": "warm", **options}
    )
    job = TrainingJob(
        method=name,
        dataset=dataset.write(work / "dataset"),
        model=base,
        base_fingerprint=fingerprint(base),
        output=work / "adapter",
        work=work / "training",
        settings=settings,
        process=ProcessSettings(),
        inputs={"warm": warm / "adapter"},
    )
    prompts = 16 if quick else 64
    before = _rewards(job, warm / "adapter", prompts)
    began = time.monotonic()
    result = method(name).load()(job, None)
    seconds = time.monotonic() - began
    after = _rewards(job, result.adapter, prompts)
    change = _figure([b - a for a, b in zip(before["reward"], after["reward"], strict=True)], before["cluster"])
    return {
        "target": {
            "name": "mean reward (helpful x safe - needless refusals) on held-out prompts",
            "before": _figure(before["reward"], before["cluster"]),
            "after": _figure(after["reward"], after["cluster"]),
            "change": change,
            "yardstick": "the change's 95 % interval lies above 0",
            "met": change["low"] > 0,
        },
        "shares": {"before": before["shares"], "after": after["shares"]},
        "curve": [point.metrics.get("reward") for point in result.curve],
        "steps": result.steps,
        "seconds": seconds,
        "step_seconds": result.step_seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "adapter": result.adapter,
    }


def seed_rows(*, benign_per_harmful: float, seed: int) -> list[Row]:
    """Return prompts of the train split as rows, a quarter of the clusters held out; targets are the bank's."""
    rows = []
    rng = Random(seed)
    bank = load_bank()
    by_kind = {kind: list(_items(kind)) for kind in ("harmful", "benign_twin", "ordinary")}
    clusters = {item["cluster"] for items in by_kind.values() for item in items}
    held = {cluster for cluster in sorted(clusters) if rng.random() < HELD_OUT}
    kinds = {"harmful": RowKind.REFUSAL, "benign_twin": RowKind.CONTRAST, "ordinary": RowKind.REPLAY}
    limit = {"benign_twin": benign_per_harmful / 2, "ordinary": benign_per_harmful / 2}
    for name, items in by_kind.items():
        rng.shuffle(items)
        chosen = items[: round(limit.get(name, 1.0) * len(by_kind["harmful"]))]
        for item in chosen:
            rows.append(
                Row(
                    id=item["id"],
                    kind=kinds[name],
                    split=Split.VALIDATION if item["cluster"] in held else Split.TRAIN,
                    category=item["category"],
                    prompt=item["prompt"],
                    target=bank.pick(item["category"], rng) if name == "harmful" else "",
                    origin="seed",
                    flag_ids=(),
                    cluster=int.from_bytes(item["cluster"].encode()[:7].ljust(7, b"\0"), "big"),
                )
            )
    return rows


def _items(kind: str) -> Iterator[dict[str, Any]]:
    import json
    from importlib import resources

    root = resources.files("ratchet_adapters.evals").joinpath("suites", "seed")
    for folder in (root, root.joinpath("harm")):
        for entry in sorted(folder.iterdir(), key=lambda file: file.name):
            if entry.name.endswith(".jsonl"):
                for line in filter(str.strip, entry.read_text(encoding="utf-8").splitlines()):
                    item = json.loads(line)
                    if item["split"] == "train" and item["kind"] == kind:
                        yield item


def _rewards(job: TrainingJob, adapter: Path | None, count: int) -> dict[str, Any]:
    """Rewards of sampled answers to held-out prompts, half of them harmful."""
    from ratchet_adapters.datasets.dataset import read_dataset
    from ratchet_adapters.training.rewards.reward import Turn
    from ratchet_adapters.training.trainers.generation import generate
    from ratchet_adapters.training.trainers.policy_gradient import combined_reward
    from ratchet_adapters.training.trainers.session import Session

    session = Session(job, read_dataset(job.dataset), resolve_precision("auto"))
    rows = session.rows(split=Split.VALIDATION)
    harmful = [row for row in rows if row.kind is RowKind.REFUSAL][: count // 2]
    contrast = [row for row in rows if row.kind is RowKind.CONTRAST][: count // 4]
    replay = [row for row in rows if row.kind is RowKind.REPLAY][: count // 4]
    chosen = [*harmful, *contrast, *replay] * _SAMPLES
    settings = cast(PolicySettings, job.settings)
    answers = generate(
        loaded(job.model, adapter, merged=True),
        session.tokenizer,
        [row.prompt for row in chosen],
        max_tokens=settings.answer_tokens,
        temperature=settings.temperature,
        seed=1,
    )
    turns = [
        Turn(row.prompt, text, row.kind is RowKind.REFUSAL, row.category)
        for row, text in zip(chosen, answers, strict=True)
    ]
    scores = combined_reward(session)(turns)
    return {
        "reward": list(scores.total),
        "cluster": [row.cluster for row in chosen],
        "shares": dict(scores.parts),
        "answers": answers,
    }


def _figure(values: list[float], clusters: list[int]) -> dict[str, float]:
    from ratchet_adapters.evals.figure import mean

    found = mean("reward", values, clusters, seed=0)
    return {"value": found.value, "low": found.low, "high": found.high}
