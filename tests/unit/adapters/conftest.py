"""Adapter folders as PEFT writes them, small and without torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

BASE_FINGERPRINT = "sha256:" + "b" * 64
LAYER = "base_model.model.model.layers.{layer}.self_attn.{name}.lora_{side}.weight"


@pytest.fixture
def base_config() -> dict[str, int]:
    """The shapes of a tiny Llama."""
    return {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
    }


@pytest.fixture
def tensors() -> dict[str, np.ndarray[Any, Any]]:
    """A rank-4 LoRA on q_proj and v_proj of two layers of that model."""
    random = np.random.default_rng(0)
    found = {}
    for layer in range(2):
        for name, outputs in (("q_proj", 16), ("v_proj", 8)):
            for side, shape in (("A", (4, 16)), ("B", (outputs, 4))):
                key = LAYER.format(layer=layer, name=name, side=side)
                found[key] = random.normal(size=shape).astype(np.float32)
    return found


@pytest.fixture
def make_adapter(tmp_path: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> Callable[..., Path]:
    """Writes an adapter folder; keyword arguments change adapter_config.json."""

    def make(weights: dict[str, Any] | None = None, provenance: Any = BASE_FINGERPRINT, **config: Any) -> Path:
        folder = tmp_path / "adapter"
        folder.mkdir(exist_ok=True)
        save_file(tensors if weights is None else weights, folder / "adapter_model.safetensors")
        values = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "bias": "none",
            "target_modules": ["q_proj", "v_proj"], "modules_to_save": None, "use_dora": False,
        }  # fmt: skip
        (folder / "adapter_config.json").write_text(json.dumps({**values, **config}))
        if provenance is not None:
            (folder / "ratchet.json").write_text(json.dumps({"base_fingerprint": provenance}))
        return folder

    return make
