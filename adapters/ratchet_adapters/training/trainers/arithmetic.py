"""Arithmetic on adapters: one times a factor, or several added up by PEFT. Seconds, and nothing is trained.

It must not know where the adapters came from. The result is a plain LoRA folder like any trained one; its
`ratchet.json` names what it was made of.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ratchet_adapters.artifacts.adapter_files import CONFIG, PROVENANCE, WEIGHTS, AdapterManifest, inspect_adapter
from ratchet_adapters.training.arithmetic import ArithmeticSettings, CombineSettings
from ratchet_adapters.training.errors import AdaptersNotCombinable, InputAdapterMissing, RankOverflow
from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult
from ratchet_adapters.training.trainers.saving import json_text, put_in_place

__all__ = ["combine", "scale"]

_MAX_RANK = 512
_RESULT = "default"

_CARD = """---
library_name: peft
tags: [lora, safety, ratchet]
---

# Safety adapter, by arithmetic

Method: `{method}`. Nothing was trained. It is valid only on the base model `{base}`.

| adapter | weight | method | dataset |
|---|---|---|---|
{inputs}

Rank {rank}. {note}How it measured is in the gate report of its run, not here: that its parts passed a gate says
nothing about their sum.
"""


@dataclass(frozen=True)
class _Input:
    """An adapter to start from."""

    name: str
    weight: float
    folder: Path
    manifest: AdapterManifest
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]


def scale(job: TrainingJob, on_progress: Callable[[Progress], None] | None = None) -> TrainingResult:
    """Make an adapter that is another one times γ: the same matrices, LoRA alpha times γ.

    Raises: as `combine`.
    """
    began = time.monotonic()
    (found,) = _inputs(job)
    _scaled(job, found)
    return _result(job, 0.0, began, on_progress)


def combine(job: TrainingJob, on_progress: Callable[[Progress], None] | None = None) -> TrainingResult:
    """Make an adapter that is the weighted sum of others. The loss of its only step is its relative error.

    That is ‖exact − made‖ / ‖exact‖ over all weight changes (Frobenius), 0 for `cat` up to rounding.

    Raises:
        InputAdapterMissing: A named adapter is not among the job's inputs.
        AdapterFileError: One is no adapter that could be served, or of another base model (`WrongBase`).
        RankOverflow: The result would have a higher rank than the settings allow.
        AdaptersNotCombinable: They can not be combined in this way.
    """
    began = time.monotonic()
    inputs = [one for one in _inputs(job) if one.weight]
    # PEFT takes one adapter through square roots; alpha alone is exact.
    error = _scaled(job, inputs[0]) if len(inputs) == 1 else _combined(job, inputs)
    return _result(job, error, began, on_progress)


def _inputs(job: TrainingJob) -> list[_Input]:
    found = []
    for name, weight in cast(ArithmeticSettings, job.settings).adapters.items():
        if name not in job.inputs:
            raise InputAdapterMissing(name)
        folder = job.inputs[name]
        manifest = inspect_adapter(folder, base_fingerprint=job.base_fingerprint, max_rank=_MAX_RANK)
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        found.append(_Input(name, weight, folder, manifest, config, provenance))
    return found


def _scaled(job: TrainingJob, found: _Input) -> float:
    _fits(job, found.manifest.rank)
    alpha = found.manifest.alpha * found.weight
    config = {**found.config, "lora_alpha": int(alpha) if alpha == int(alpha) else alpha}
    _put(job, [found], found.folder / WEIGHTS, config)
    return 0.0


def _combined(job: TrainingJob, inputs: Sequence[_Input]) -> float:
    import torch
    from peft import PeftModel

    settings = cast(CombineSettings, job.settings)
    ranks = [one.manifest.rank for one in inputs]
    if settings.combination == "cat":
        _fits(job, sum(ranks), advice="Use combination=svd, which cuts the sum to the rank, or fewer adapters.")
    elif settings.combination != "svd" and not settings.combination.endswith("_svd"):
        if len(set(ranks)) > 1:
            raise AdaptersNotCombinable(f"{settings.combination} needs equal ranks and these have {ranks}")
        _fits(job, ranks[0])
    torch.manual_seed(settings.seed)
    names = [f"input{number}" for number in range(len(inputs))]
    model = PeftModel.from_pretrained(_skeleton(job.model), str(inputs[0].folder), adapter_name=names[0])
    for name, one in zip(names[1:], inputs[1:], strict=True):
        model.load_adapter(str(one.folder), adapter_name=name)
    modules = _spelled_out(model, names)
    try:
        model.add_weighted_adapter(
            names,
            [one.weight for one in inputs],
            _RESULT,
            combination_type=settings.combination,
            svd_rank=min(settings.rank, sum(ranks)) if settings.combination.endswith("svd") else None,
            svd_full_matrices=False,
            density=settings.density,
        )
    except ValueError as error:
        raise AdaptersNotCombinable(str(error)) from error
    missed = _relative_error(model, names, [one.weight for one in inputs])
    saved = job.work / "combined"
    shutil.rmtree(saved, ignore_errors=True)
    model.save_pretrained(str(saved), selected_adapters=[_RESULT], save_embedding_layers=False)
    config = json.loads((saved / CONFIG).read_text(encoding="utf-8"))
    config.update(
        base_model_name_or_path=job.base_fingerprint, inference_mode=True, target_modules=modules,
        layers_to_transform=None, layers_pattern=None,
    )  # fmt: skip
    _put(job, inputs, saved / WEIGHTS, config)
    return missed


def _skeleton(folder: Path) -> Any:
    """The base model's modules with no weights in them: the sum does not depend on any, and the memory stays unused."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.to_empty(device="cpu")


def _spelled_out(model: Any, names: Sequence[str]) -> list[str]:
    """Name each adapter's modules in full, and return them all.

    PEFT gives the sum the first adapter's layers and rank-stabilised scaling; both would be wrong for the others.
    """
    from peft.tuners.lora import LoraLayer

    layers = [(key, module) for key, module in model.base_model.model.named_modules() if isinstance(module, LoraLayer)]
    for name in names:
        config = model.peft_config[name]
        config.target_modules = {key for key, module in layers if name in module.lora_A}
        config.layers_to_transform = config.layers_pattern = None
        config.use_rslora = False
    return sorted(key for key, _ in layers)


def _relative_error(model: Any, names: Sequence[str], weights: Sequence[float]) -> float:
    import torch
    from peft.tuners.lora import LoraLayer

    missed = whole = 0.0
    for module in model.modules():
        if not isinstance(module, LoraLayer):
            continue
        parts = [(name, weight) for name, weight in zip(names, weights, strict=True) if name in module.lora_A]
        down = [module.lora_A[name].weight.double() for name, _ in parts]
        up = [module.lora_B[name].weight.double() * weight * module.scaling[name] for name, weight in parts]
        exact_down, exact_up = torch.cat(down), torch.cat(up, dim=1)
        own_down = module.lora_A[_RESULT].weight.double()
        own_up = module.lora_B[_RESULT].weight.double() * module.scaling[_RESULT]
        whole += _squared(exact_up, exact_down)
        missed += _squared(torch.cat([exact_up, -own_up], dim=1), torch.cat([exact_down, own_down]))
    return float((max(0.0, missed) / whole) ** 0.5) if whole else 0.0


def _squared(up: Any, down: Any) -> float:
    """‖up · down‖² without the product, which is as large as the weight matrix."""
    return float(((up.T @ up) * (down @ down.T)).sum().detach())


def _fits(job: TrainingJob, rank: int, advice: str = "Raise rank, and max_lora_rank of the engine with it.") -> None:
    limit = job.settings.rank
    if rank > limit:
        raise RankOverflow(rank, limit, advice)


def _put(job: TrainingJob, inputs: Sequence[_Input], weights: Path, config: Mapping[str, Any]) -> None:
    """Put the finished folder in place with one rename."""
    settings = job.settings.model_dump(mode="json", include={"adapters", "combination", "density", "rank", "seed"})
    provenance = {
        "base_fingerprint": job.base_fingerprint,
        "method": job.method,
        "settings": settings,
        "inputs": [
            {
                "digest": one.manifest.digest,
                "weight": one.weight,
                **{key: one.provenance[key] for key in ("method", "dataset_digest") if key in one.provenance},
            }
            for one in inputs
        ],
    }
    rows = [
        f"| `{one.manifest.digest}` | {one.weight:g} | {one.provenance.get('method', '')} "
        f"| {one.provenance.get('dataset_digest', '')} |"
        for one in inputs
    ]
    note = f"Combined by {settings['combination']}. " if "combination" in settings else ""
    card = _CARD.format(
        method=job.method, base=job.base_fingerprint, inputs="\n".join(rows), rank=config["r"], note=note
    )
    put_in_place(
        job.output,
        {WEIGHTS: weights, CONFIG: json_text(config), PROVENANCE: json_text(provenance), "README.md": card},
        # What could not be served must not come into being: the sum of two adapters can cancel out.
        lambda folder: inspect_adapter(folder, base_fingerprint=job.base_fingerprint, max_rank=job.settings.rank),
    )


def _result(
    job: TrainingJob, error: float, began: float, on_progress: Callable[[Progress], None] | None
) -> TrainingResult:
    seconds = time.monotonic() - began
    point = Progress(1, 1, error)
    if on_progress is not None:
        on_progress(point)
    return TrainingResult(
        adapter=job.output,
        steps=1,
        resumed_from=0,
        curve=(point,),
        validation_loss=None,
        rows=0,
        tokens=0,
        seconds=seconds,
        step_seconds=seconds,
    )
