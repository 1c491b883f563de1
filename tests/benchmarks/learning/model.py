"""The base model as every benchmark loads it: in the precision that this machine computes fast.

It must not know what is measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ratchet_adapters.precision import resolve_precision

__all__ = ["in_bfloat16", "loaded", "precision"]


def in_bfloat16() -> bool:
    """Return whether models are loaded in bfloat16, else in float32."""
    return resolve_precision("auto") == "bf16"


def precision() -> Any:
    """Return the dtype of `loaded` models."""
    import torch

    return torch.bfloat16 if in_bfloat16() else torch.float32


def loaded(base: Path, adapter: Path | str | None = None, *, merged: bool = False) -> Any:
    """Return the model in eval mode.

    Args:
        base: Folder of the base model.
        adapter: Put on it; None: the base model alone.
        merged: Add the adapter to the weights, which makes generation faster.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=precision(), local_files_only=True)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
        model = model.merge_and_unload() if merged else model
    return model.eval()
