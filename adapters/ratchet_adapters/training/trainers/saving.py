"""The folder of a finished training, put in place with one rename.

It must not know how the adapter was trained.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ratchet_adapters.datasets.dataset import Dataset
from ratchet_adapters.training.card import adapter_card
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.recipe import AdapterRecipe

__all__ = ["json_text", "put_in_place", "save_adapter"]

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"


def save_adapter(job: TrainingJob, dataset: Dataset, model: Any) -> None:
    """Write `adapter_config.json`, `adapter_model.safetensors`, `ratchet.json` and `README.md` into `job.output`.

    Args:
        job: Whose output folder; an older one is replaced.
        dataset: What was learnt from.
        model: The PEFT model, outside of any wrapper.
    """
    saved = job.work / "adapter"
    shutil.rmtree(saved, ignore_errors=True)
    model.peft_config["default"].inference_mode = True
    model.save_pretrained(str(saved), safe_serialization=True, selected_adapters=["default"])
    config = json.loads((saved / _CONFIG).read_text(encoding="utf-8"))
    # A folder of this machine means nothing elsewhere, and a set has another order in every process.
    config["base_model_name_or_path"] = job.base_fingerprint
    config["target_modules"] = sorted(config["target_modules"])
    if isinstance(job.settings, AdapterRecipe) and job.settings.strength != 1:
        config["lora_alpha"] *= job.settings.strength
    provenance = {
        "base_fingerprint": job.base_fingerprint,
        "dataset_digest": dataset.digest,
        "method": job.method,
        "settings": job.settings.model_dump(mode="json"),
    }
    card = adapter_card(
        method=job.method,
        base_fingerprint=job.base_fingerprint,
        dataset_digest=dataset.digest,
        counts=dataset.manifest.get("counts", {}),
        settings=job.settings,
    )
    put_in_place(
        job.output,
        {
            _WEIGHTS: saved / _WEIGHTS,
            _CONFIG: json_text(config),
            "ratchet.json": json_text(provenance),
            "README.md": card,
        },
    )


def json_text(value: Any) -> str:
    """Return JSON for a file of an adapter folder: the same value is the same bytes."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def put_in_place(output: Path, files: Mapping[str, str | Path], check: Callable[[Path], object] | None = None) -> None:
    """Make a folder of these files, whole or not at all, in place of an older one.

    Args:
        output: The folder.
        files: Name to text, or to a file that is copied.
        check: Called with the finished folder before it is put in place; whatever it raises leaves the older one.
    """
    ready = output.with_name(f".{output.name}.new")
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir(parents=True)
    for name, content in files.items():
        path = ready / name
        if isinstance(content, Path):
            shutil.copyfile(content, path)
        else:
            path.write_text(content, encoding="utf-8")
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    if check is not None:
        check(ready)
    shutil.rmtree(output, ignore_errors=True)
    ready.replace(output)
