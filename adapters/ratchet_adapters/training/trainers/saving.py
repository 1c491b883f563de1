"""The adapter folder of a finished training, put in place with one rename.

It must not know how the adapter was trained.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from ratchet_adapters.datasets.dataset import Dataset
from ratchet_adapters.training.card import adapter_card
from ratchet_adapters.training.job import TrainingJob

__all__ = ["save_adapter"]

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
    ready = job.output.with_name(f".{job.output.name}.new")
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir(parents=True)
    shutil.copyfile(saved / _WEIGHTS, ready / _WEIGHTS)
    _write(ready / _CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    _write(ready / "ratchet.json", json.dumps(provenance, indent=2, sort_keys=True) + "\n")
    _write(ready / "README.md", card)
    _sync(ready / _WEIGHTS)
    shutil.rmtree(job.output, ignore_errors=True)
    ready.replace(job.output)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
