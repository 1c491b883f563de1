"""Sends each row of a batch through the weights of its own adapter.

Stands in for the callable that vLLM's CPU linear layers keep in `cpu_linear`, which stays in here untouched: taking the
fold away is leaving it out, so what the layer computed before is computed again to the bit. It must not know how merged
weights are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from ratchet_plugins.vllm.segments import Segment

__all__ = ["Batch", "Fold", "FoldedLinear", "Merged"]


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged weights of one linear module, packed as vLLM packs its own.

    Attributes:
        linear: What vLLM made of the weights: x, weight, bias to x W^T + bias.
        weight: The second argument of `linear`; empty where vLLM packs into a handle.
    """

    linear: Callable[..., Any]
    weight: Any

    def __call__(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return x W^T + bias, [rows, out]."""
        result: torch.Tensor = self.linear(x, self.weight, bias)
        return result


Fold = Mapping[str, Merged]
"""The merged weights of one adapter by module name; a module the adapter does not touch is not in it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Which rows of the step under way belong to folded adapters.

    Attributes:
        folded: Each folded adapter of the step with its rows; empty in a step without any.
        rest: The rows of no folded adapter; None when there are none.
        rows: Number of all rows.
    """

    folded: tuple[tuple[Fold, Segment], ...] = ()
    rest: Segment | None = None
    rows: int = 0


class HasBatch(Protocol):
    """Whoever is told by vLLM which adapter each row of a step has: the LoRA kernel."""

    batch: Batch


class FoldedLinear:
    """The callable of one linear module while folding is on."""

    def __init__(self, module: str, plain: Callable[..., Any], kernel: HasBatch) -> None:
        """Stand in for one module's callable.

        Args:
            module: Its name.
            plain: What vLLM made of the original weights.
            kernel: Knows the rows.
        """
        self.module = module
        self.plain = plain
        self._kernel = kernel

    def __call__(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Return the module's output, [..., out], each row by its own weights.

        Raises:
            RuntimeError: The step has other rows than vLLM announced, so nobody can say whose they are.
        """
        batch = self._kernel.batch
        found = [(merged, rows) for fold, rows in batch.folded if (merged := fold.get(self.module)) is not None]
        if not found:
            result: torch.Tensor = self.plain(x, weight, bias)
            return result
        inputs = x.reshape(-1, x.shape[-1])
        if inputs.shape[0] != batch.rows:
            raise RuntimeError(f"{self.module}: a step of {batch.rows} rows computes {inputs.shape[0]}")
        if len(found) == 1 and found[0][1].count == batch.rows:
            out = found[0][0](inputs, bias)
        else:
            out = self._split(inputs, weight, bias, found, batch)
        return out.view(*x.shape[:-1], out.shape[-1])

    def _split(
        self,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        found: list[tuple[Merged, Segment]],
        batch: Batch,
    ) -> torch.Tensor:
        # A folded adapter that does not touch this module has its rows here too.
        untouched = [rows for fold, rows in batch.folded if self.module not in fold]
        plain = [] if batch.rest is None else [batch.rest]
        out = None
        for rows in (*plain, *untouched):
            out = _put(out, rows, self.plain(inputs[rows.rows], weight, bias), batch.rows)
        for merged, rows in found:
            out = _put(out, rows, merged(inputs[rows.rows], bias), batch.rows)
        assert out is not None
        return out


def _put(out: torch.Tensor | None, rows: Segment, part: torch.Tensor, total: int) -> torch.Tensor:
    if out is None:
        out = part.new_empty(total, part.shape[-1])
    out[rows.rows] = part
    return out
