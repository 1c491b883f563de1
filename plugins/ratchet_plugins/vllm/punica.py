"""The LoRA kernel for CPU: exact about rows without an adapter, and one pair of GEMMs per adapter and module.

Replaces vLLM's `PunicaWrapperCPU` (vllm 0.32), which has two faults:

* It indexes the stacked weights with each row's slot, and -1 (no adapter) is the *last* slot in Python: base rows
  batched with adapter rows get the last slot's adapter (vllm-project/vllm#48421). Here rows are grouped by slot and
  rows without one are never visited.
* It gathers a copy of the adapter's weights for every token. Here the weights of a slot are packed once, and all rows
  of that slot go through one GEMM for A and one for B.

It also tells the linear layers which rows belong to a folded adapter (`folding/`), and adds nothing to those. It must
not know adapters by name: it sees ids, slots and weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from vllm import _custom_ops as ops
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from ratchet_plugins.vllm.folding.layer import Batch, Fold
from ratchet_plugins.vllm.segments import Segment, segments

__all__ = ["SegmentedPunicaWrapper"]

_ONEDNN_CACHE = 32
_RANK_STEP = 8


@dataclass(frozen=True, slots=True)
class _Packed:
    """The packed weights of one slot of one module.

    Attributes:
        versions: Version counters of the stacked tensors when this was packed; a change means new weights.
        shrink: oneDNN handle of A^T or the tensor itself, [in, r].
        expand: oneDNN handle of B^T or the tensor itself, [r, out].
        empty: The adapter does not touch this module.
    """

    versions: tuple[int, ...]
    shrink: Any
    expand: Any
    empty: bool


class SegmentedPunicaWrapper(PunicaWrapperCPU):  # type: ignore[misc]  # vllm is untyped here
    """LoRA on CPU by segments of rows that share an adapter."""

    def __init__(
        self, max_num_batched_tokens: int, max_batches: int, device: torch.device | str, **kwargs: Any
    ) -> None:
        """Create the kernel; see `PunicaWrapperBase` for the arguments."""
        super().__init__(max_num_batched_tokens, max_batches, device, **kwargs)
        self._packed: dict[tuple[int, int], _Packed] = {}
        self._tokens: tuple[Segment, ...] = ()
        self._samples: tuple[Segment, ...] = ()
        self.folds: dict[int, Fold] = {}
        self.batch = Batch()

    def update_metadata(
        self, mapping: Any, lora_index_to_id: list[int | None], max_loras: int, vocab_size: int, **kwargs: Any
    ) -> None:
        """Take the adapter slot of each row of the next step; called by vLLM when it changes."""
        self._update_base_metadata(mapping, lora_index_to_id, max_loras, vocab_size)
        slots = self.token_lora_indices.tolist()
        self._tokens = segments(slots)
        self._samples = segments(self.sampler_indices.tolist())
        self.batch = Batch()
        if self.folds:
            self._set_folded_aside(slots, lora_index_to_id)
        self.is_prefill = True
        self.no_lora = not self._tokens

    def _set_folded_aside(self, slots: list[int], ids: list[int | None]) -> None:
        folds = {slot: self.folds[found] for slot, found in enumerate(ids) if found in self.folds}
        folded = tuple((folds[found.slot], found) for found in self._tokens if found.slot in folds)
        if not folded:
            return
        rest = segments([-1 if slot in folds else 0 for slot in slots])
        self.batch = Batch(folded, rest[0] if rest else None, len(slots))
        # A fold has no part for the logits: an adapter that changes them is not folded.
        self._tokens, self._samples = (
            tuple(found for found in kept if found.slot not in folds) for kept in (self._tokens, self._samples)
        )

    def add_shrink(
        self,
        y: tuple[torch.Tensor, ...] | torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        scale: float,
        **kwargs: Any,
    ) -> None:
        """Write `y[i] = scale * x @ A_i^T` for rows with an adapter.

        Args:
            y: One buffer per slice, [tokens, r]; other rows are left as they are.
            x: [tokens, in].
            lora_a_stacked: Per slice, [slots, 1, r, in].
            scale: Factor.
            **kwargs: Ignored.
        """
        rows = x.reshape(-1, x.shape[-1])
        for index, stacked in enumerate(lora_a_stacked):
            out = y[index].view(-1, y[index].shape[-1])
            for segment in self._tokens:
                a = _weight(stacked, segment.slot).to(out.dtype)
                out[segment.rows, : a.shape[0]] = scale * (rows[segment.rows].to(out.dtype) @ a.t())

    def add_expand(
        self,
        y: torch.Tensor,
        x: tuple[torch.Tensor, ...] | torch.Tensor,
        lora_b_stacked: tuple[torch.Tensor, ...],
        output_slices: tuple[int, ...],
        offset_start: int = 0,
        add_inputs: bool = True,
        **kwargs: Any,
    ) -> None:
        """Add (or write) `x[i] @ B_i^T` to slice i of y for rows with an adapter.

        Args:
            y: [tokens, out], changed in place.
            x: One buffer per slice, [tokens, r].
            lora_b_stacked: Per slice, [slots, 1, slice, r].
            output_slices: Width of each slice.
            offset_start: Column of the first slice.
            add_inputs: Add to y instead of overwriting it.
            **kwargs: Ignored.
        """
        out = y.view(-1, y.shape[-1])
        offset = offset_start
        for index, stacked in enumerate(lora_b_stacked):
            width = output_slices[index]
            for segment in self._tokens:
                b = _weight(stacked, segment.slot).to(y.dtype)
                delta = x[index][segment.rows].to(y.dtype) @ b.t()
                _put(out[:, offset : offset + width], segment, delta, add_inputs)
            offset += width

    def add_lora_embedding(
        self, y: torch.Tensor, x: torch.Tensor, lora_b_stacked: torch.Tensor, add_inputs: bool = True, **kwargs: Any
    ) -> None:
        """Add `x @ B^T` to the embeddings of rows with an adapter (y: [tokens, hidden], x: [tokens, r])."""
        for segment in self._tokens:
            b = _weight(lora_b_stacked, segment.slot).to(y.dtype)
            _put(y, segment, x[segment.rows].to(y.dtype) @ b.t(), add_inputs)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        add_inputs: bool = True,
        **kwargs: Any,
    ) -> None:
        """Add the adapters' contribution to the output of a linear module, in place.

        Args:
            y: [tokens, out].
            x: [tokens, in].
            lora_a_stacked: Per slice of the module (q, k, v for a packed one), [slots, 1, r, in].
            lora_b_stacked: Per slice, [slots, 1, slice, r].
            scale: Factor; vLLM folds alpha / r into B and passes 1.
            output_slices: Width of each slice.
            buffer: Ignored.
            add_inputs: Add to y instead of overwriting it.
            **kwargs: Ignored.
        """
        self._apply(y, x, lora_a_stacked, lora_b_stacked, scale, self._tokens, add_inputs)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        *,
        buffer: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the adapters' contribution to the logits of sampled rows, in place (y: [samples, vocab])."""
        self._apply(y, x, (lora_a_stacked,), (lora_b_stacked,), scale, self._samples, True)

    def _apply(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        a: tuple[torch.Tensor, ...],
        b: tuple[torch.Tensor, ...],
        scale: float,
        found: tuple[Segment, ...],
        add: bool,
    ) -> None:
        if not found:
            return
        out = y.view(-1, y.shape[-1])
        rows = x.reshape(-1, x.shape[-1])
        for segment in found:
            packed = self._weights(a, b, segment.slot, x.dtype)
            if packed.empty:
                continue
            whole = segment.count == rows.shape[0]
            low = _matmul(rows if whole else rows[segment.rows], packed.shrink)
            if scale != 1.0:
                low *= scale
            if add and isinstance(segment.rows, slice) and isinstance(packed.expand, torch.Tensor):
                out[segment.rows, : packed.expand.shape[1]].addmm_(low, packed.expand)
                continue
            delta = _matmul(low, packed.expand)
            _put(out[:, : delta.shape[1]], segment, delta, add)

    def _weights(
        self, a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...], slot: int, dtype: torch.dtype
    ) -> _Packed:
        # vLLM writes a slot's weights in place, which moves the version counters of the stacked tensors.
        versions = tuple(tensor._version for tensor in (*a, *b))
        key = (a[0].data_ptr(), slot)
        packed = self._packed.get(key)
        if packed is None or packed.versions != versions:
            packed = self._packed[key] = _pack(a, b, slot, dtype, versions)
        return packed


def _pack(
    a: tuple[torch.Tensor, ...],
    b: tuple[torch.Tensor, ...],
    slot: int,
    dtype: torch.dtype,
    versions: tuple[int, ...],
) -> _Packed:
    ups = [_weight(stacked, slot) for stacked in b]
    if not any(bool(up.any()) for up in ups):
        return _Packed(versions, None, None, True)
    # The slots are as wide as the largest rank allowed; the columns above this adapter's rank are zeros.
    rank = max(_rank(up) for up in ups)
    shrink = torch.cat([_weight(stacked, slot)[:rank] for stacked in a], 0).to(dtype).contiguous()
    blocks = torch.block_diag(*[up[:, :rank].t() for up in ups])  # type: ignore[no-untyped-call]
    expand = blocks.to(dtype).contiguous()
    return _Packed(versions, _handle(shrink.t()), _handle(expand), False)


def _handle(weight: torch.Tensor) -> Any:
    # In float32 PyTorch's own product of such thin matrices takes a third of the time of oneDNN's.
    if ops._supports_onednn and weight.dtype != torch.float32:
        try:
            return ops.create_onednn_mm(weight, _ONEDNN_CACHE)
        except RuntimeError:
            # oneDNN has no bfloat16 product for a CPU without such instructions; vLLM's own layers fall back too.
            return weight
    return weight


def _rank(up: torch.Tensor) -> int:
    last = int(up.any(0).nonzero().max()) + 1 if bool(up.any()) else 1
    return min(-(-last // _RANK_STEP) * _RANK_STEP, up.shape[1])


def _weight(stacked: torch.Tensor, slot: int) -> torch.Tensor:
    weight = stacked[slot]
    return weight[0] if weight.dim() == 3 else weight


def _matmul(x: torch.Tensor, weight: Any) -> torch.Tensor:
    if isinstance(weight, torch.Tensor):
        return x @ weight
    result: torch.Tensor = ops.onednn_mm(weight, x, None)
    return result


def _put(out: torch.Tensor, segment: Segment, delta: torch.Tensor, add: bool) -> None:
    delta = delta.to(out.dtype)
    if not add:
        out[segment.rows] = delta
    elif isinstance(segment.rows, slice):
        out[segment.rows].add_(delta)
    else:
        out.index_add_(0, segment.rows, delta)
