"""What a machine computes fast: bfloat16 where there are instructions for it, float32 elsewhere.

It must not know what is computed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

__all__ = ["has_fast_bfloat16", "products", "resolve_precision"]


def has_fast_bfloat16() -> bool:
    """Return whether this machine multiplies bfloat16 matrices in hardware."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # No public query exists; absent ones mean an older processor or another architecture, where fp32 is right.
    queries = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return any(bool(query()) for name in queries if (query := getattr(torch.cpu, name, None)) is not None)


def resolve_precision(wanted: Literal["auto", "bf16", "fp32"]) -> Literal["bf16", "fp32"]:
    """Return the precision to use: the wanted one, or the machine's best for "auto"."""
    if wanted != "auto":
        return wanted
    return "bf16" if has_fast_bfloat16() else "fp32"


def products(device: str, *, in_bfloat16: bool) -> AbstractContextManager[Any]:
    """Return the context for calls of a model in training: matrix products in bfloat16, or as they are.

    The adapter's own weights are float32, for small updates, beside base weights in bfloat16.

    Args:
        device: Type of the model's device, "cpu" or "cuda".
        in_bfloat16: Whether the training computes in bfloat16.
    """
    import torch

    return torch.autocast(device, torch.bfloat16) if in_bfloat16 else nullcontext()
