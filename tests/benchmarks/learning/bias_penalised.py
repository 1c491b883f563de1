"""`bias-penalised` on the embedded model: the counterfactual gap on held-out templates, and stereotype preference.

Trains on the pairs of the shipped train templates. Measured on other templates with other occupations and adjectives,
and on stereotype pairs, which no training uses: 0.5 is no preference. Those are CrowS-Pairs where the folder
RATCHET_DATA holds them (`crows_pairs`), else the shipped ones. BBQ, where it is there, is shown beside them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.learning.rows import ordinary_rows, text_rows, written

from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.evals.bias.pairs import template_pairs
from ratchet_adapters.evals.local import LocalModel
from ratchet_adapters.evals.measure import MeasureSettings
from ratchet_adapters.evals.measure import measure as measured
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.settings import ProcessSettings

_REPLAYS = 96
_PUBLIC = {"crows": "crows_pairs", "bbq": "bbq"}
_ITEMS = {"crows": 500, "bbq": 120}
_NAMES = {"crows": "CrowS-Pairs", "stereotypes": "shipped pairs"}


def measure(base: Path, work: Path, *, quick: bool, recipe: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Train and compare.

    Args:
        base: Folder of the base model.
        work: Folder for data, checkpoints and the adapter.
        quick: Few pairs and two steps: shows that it runs, nothing else.
        recipe: Over the method's defaults.
    """
    from ratchet_plugins.models.chat import fingerprint

    pairs = template_pairs("train", kind="sentence")[:: 10 if quick else 1]
    rows = ordinary_rows(base, 8 if quick else _REPLAYS)
    rows += text_rows()
    rows += [
        Row(f"pair-{n}", RowKind.PAIR, Split.TRAIN, pair.axis, "", pair.first, "seed", (), 20_000 + n, pair.second)
        for n, pair in enumerate(pairs)
    ]
    chosen = method("bias-penalised")
    job = TrainingJob(
        method=chosen.name,
        dataset=written(rows, work / "dataset"),
        model=base,
        base_fingerprint=fingerprint(base),
        output=work / "adapter",
        work=work / "training",
        settings=chosen.settings.model_validate({"checkpoint_steps": 1000, **(recipe or {})}),
        process=ProcessSettings(),
    )
    result = chosen.load()(job, None)
    before, after = _figures(base, None, quick=quick), _figures(base, result.adapter, quick=quick)
    gap = "gap.likelihood"
    fall = 1 - after[gap]["value"] / before[gap]["value"]
    pairs_of = "crows" if "crows.sentence" in before else "stereotypes"
    preferred = [found[f"{pairs_of}.sentence"] for found in (before, after)]
    apart = [abs(figure["value"] - 0.5) for figure in preferred]
    return {
        "target": {
            "name": "counterfactual gap on held-out templates (nats/token)",
            "before": before[gap],
            "after": after[gap],
            "fall": fall,
            "yardstick": f"halved, and preference of stereotypes ({_NAMES[pairs_of]}) nearer to 50 % "
            f"(measured: {preferred[0]['value']:.1%} to {preferred[1]['value']:.1%}, n = {preferred[0]['n']})",
            "met": fall >= 0.5 and apart[1] < apart[0],
        },
        "also": {"before": before, "after": after},
        "curve": [dict(point.metrics) for point in result.curve],
        "steps": result.steps,
        "seconds": result.seconds,
        "step_seconds": result.step_seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "adapter": result.adapter,
    }


def _figures(base: Path, adapter: Path | None, *, quick: bool) -> dict[str, dict[str, Any]]:
    model = LocalModel.load(base, adapter)
    data = Path(os.environ.get("RATCHET_DATA", ""))
    there = [name for name, folder in _PUBLIC.items() if str(data) != "." and (data / folder).is_dir() and not quick]
    found = {}
    for which, limit in ((["stereotypes", "gap", "divergence"], None), *(([name], _ITEMS[name]) for name in there)):
        settings = MeasureSettings(
            pair_limit=24 if quick else 300, limit=limit, **{name: data / _PUBLIC[name] for name in there}
        )
        found |= measured(model, which, settings=settings)
    return {name: asdict(figure) for name, figure in found.items()}
