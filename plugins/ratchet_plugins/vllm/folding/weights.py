"""Merges an adapter's low-rank changes into linear weights, module by module, and says what the result must compute.

It must not know where the changes or the weights come from, nor who uses the result.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ratchet_plugins.vllm.folding.layer import Merged

__all__ = ["Change", "Probe", "merge", "pack"]

_PROBE_ROWS = 2
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 4e-2, torch.float16: 1e-2}


@dataclass(frozen=True, slots=True)
class Change:
    """What an adapter adds to one slice of a module's weight: `weight[offset : offset + len(up)] += up @ down`.

    Attributes:
        down: A, [r, in].
        up: B with its scale, [width, r].
        offset: First row of the slice.
    """

    down: torch.Tensor
    up: torch.Tensor
    offset: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What a module must answer before and after, computed from the dense weights in plain arithmetic.

    Attributes:
        rows: Inputs, [n, in].
        plain: Outputs under the original weights, [n, out], float32.
        change: What the adapter adds to them, [n, out], float32.
    """

    rows: torch.Tensor
    plain: torch.Tensor
    change: torch.Tensor

    def problem(self, live: Callable[[torch.Tensor], torch.Tensor], merged: Merged) -> str:
        """Return what is wrong with a module's live or merged weights, "" when both are right.

        Args:
            live: The module as it serves now, without its bias.
            merged: The merged weights.
        """
        tolerance = _TOLERANCE[self.rows.dtype]
        for what, got, expected in (
            ("the live weights are not the checkpoint's", live(self.rows), self.plain),
            ("the merged weights are not base plus adapter", merged(self.rows, None), self.plain + self.change),
        ):
            worst = float((got.float() - expected).abs().max())
            # NaN compares false with everything.
            if not worst <= tolerance * (1.0 + float(expected.abs().max())):
                return f"{what}: off by {worst:.3g}"
        return ""


def merge(weight: torch.Tensor, changes: Sequence[Change], dtype: torch.dtype) -> tuple[torch.Tensor, Probe]:
    """Return the merged weight [out, in] in `dtype`, summed in float32, and the probe of both."""
    # What the engine computes with, not the checkpoint: the two differ where vLLM converts.
    dense = weight.to(dtype).float()
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_PROBE_ROWS, dense.shape[1], generator=generator).to(dtype)
    exact = rows.float()
    plain = exact @ dense.t()
    added = torch.zeros_like(plain)
    merged = dense.clone()
    for change in changes:
        span = slice(change.offset, change.offset + change.up.shape[0])
        up, down = change.up.float(), change.down.float()
        added[:, span] += exact @ down.t() @ up.t()
        merged[span].addmm_(up, down)
    return merged.to(dtype), Probe(rows, plain, added)


def pack(weight: torch.Tensor) -> Merged:
    """Pack a dense weight [out, in] exactly as vLLM packs its own on this machine, whichever way that is."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    layer: Any = types.SimpleNamespace(weight=torch.nn.Parameter(weight, requires_grad=False), bias=None)
    dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    return Merged(layer.cpu_linear, layer.weight)
