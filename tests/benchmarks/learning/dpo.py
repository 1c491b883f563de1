"""Benchmark of `dpo`: does the held-out margin rise, and do over-refusal pairs cure a model that refuses too much?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks.learning.model import loaded
from tests.benchmarks.learning.preference import Bench, compared, interval, prepared, refusals, trained

from ratchet_adapters.datasets.dataset import FORMAT, Dataset, RowKind, read_dataset, rows_digest

_REFUSALS, _BENIGN = 80, 16
"""Rows of the training that refuses too much."""


def measure(base: Path, work: Path, *, quick: bool) -> dict[str, Any]:
    """Train on seed pairs and compare held-out margins, then cure a model that refuses too much."""
    bench = prepared(base, work, quick=quick)
    recipe = {"epochs": 1.0 if quick else 3.0, "batch_size": 8, "completion_tokens": bench.size.tokens}
    result = trained(bench, work / "dpo", "dpo", **recipe)
    found = compared(bench, result)
    repair = cure(bench, work / "cure", **recipe)
    before, after = (repair[name]["over_refusal"] for name in ("nearly refusals alone", "then dpo"))
    harm = {name: repair[name]["harm"] for name in ("base", "then dpo")}
    found["target"]["yardstick"] += (
        f"; a start that refuses {before['value']:.0%} of held-out twins refuses fewer (measured: {after['value']:.0%})"
    )
    found["target"]["met"] = found["target"]["met"] and after["high"] < before["low"]
    # Refusing nothing any more would be no repair.
    found["target"]["met"] = found["target"]["met"] and harm["then dpo"]["low"] > harm["base"]["high"]
    return {**found, "over_refusing_start": repair}


def cure(bench: Bench, work: Path, **recipe: Any) -> dict[str, Any]:
    """Return refusal on held-out harmful prompts and twins: of the base, after nearly refusals alone, after `dpo`.

    The repair starts from the adapter at fault and is pulled back to the base model, which answers: its reference.

    Args:
        bench: Pairs to train on and held-out prompts.
        work: Folder for the models.
        recipe: Of `dpo`.
    """
    rows = read_dataset(bench.dataset).rows
    few = [row for row in rows if row.kind is RowKind.REFUSAL][:_REFUSALS]
    few += [row for row in rows if row.kind is RowKind.CONTRAST][:_BENIGN]
    manifest = {"format": FORMAT, "rows_digest": rows_digest(few)}
    start = trained(
        replace(bench, dataset=Dataset(tuple(few), manifest).write(work / "refusals")),
        work / "sft", "sft-refusal", epochs=2.0, batch_size=8,
    )  # fmt: skip
    cured = trained(
        bench, work / "dpo", "dpo", inputs={"over-refusing": start.adapter}, start="over-refusing", **recipe
    )
    models = {
        "base": loaded(bench.base),
        "nearly refusals alone": loaded(bench.base, start.adapter),
        "then dpo": loaded(bench.base, cured.adapter),
    }
    return {name: _refusal_rates(model, bench) for name, model in models.items()}


def _refusal_rates(model: Any, bench: Bench) -> dict[str, dict[str, float]]:
    return {
        name: interval(refusals(model, bench, bench.held_out[name]), [pair.cluster for pair in bench.held_out[name]])
        for name in ("harm", "over_refusal")
    }
