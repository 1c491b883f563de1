"""The original weights of linear modules, read again from the checkpoint as vLLM names them.

vLLM packs linear weights for the CPU and drops the dense copy, so there is nothing left in memory to add to. It must
not know adapters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ratchet_plugins.vllm.folding.errors import FoldRefused

__all__ = ["dense_weights"]


def dense_weights(
    model: Any, vllm_config: Any, shapes: Mapping[str, tuple[int, int]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the dense weight [out, in] of each module asked for, in the checkpoint's order.

    Args:
        model: vLLM's model: its packed modules and its renaming of checkpoint names are applied.
        vllm_config: vLLM's configuration.
        shapes: Name of each module as in the model, and the shape its weight must have.

    Raises:
        FoldRefused: The checkpoint lacks a module, or has it in another shape (a quantised or sharded one).
    """
    packed = _packed_names(model)
    parts: dict[str, dict[int, torch.Tensor]] = {}
    missing = set(shapes)
    for name, tensor in _checkpoint(model, vllm_config):
        if not name.endswith(".weight"):
            continue
        module, place, count = _module_of(name.removesuffix(".weight"), packed)
        if module not in missing:
            continue
        held = parts.setdefault(module, {})
        held[place] = tensor
        if len(held) < count:
            continue
        weight = torch.cat([held[index] for index in range(count)]) if count > 1 else tensor
        if tuple(weight.shape) != shapes[module]:
            raise FoldRefused(f"{module} is {shapes[module]} in the engine and {tuple(weight.shape)} in the checkpoint")
        del parts[module]
        missing.discard(module)
        yield module, weight
        if not missing:
            return
    raise FoldRefused(f"the checkpoint has no weight for {len(missing)} modules, {min(missing)} among them")


def _checkpoint(model: Any, vllm_config: Any) -> Iterator[tuple[str, torch.Tensor]]:
    from vllm.model_executor.model_loader import get_model_loader

    loader = get_model_loader(vllm_config.load_config)
    if not hasattr(loader, "get_all_weights"):
        raise FoldRefused(f"weights loaded by {type(loader).__name__} cannot be read again")
    weights: Iterator[tuple[str, torch.Tensor]] = loader.get_all_weights(vllm_config.model_config, model)
    mapper = getattr(model, "hf_to_vllm_mapper", None)
    # Renames only, as for LoRA: the mapper may also stack q, k and v, and would do so part by part.
    return iter(mapper.get_rename_mapper().apply(weights)) if mapper is not None else weights


def _packed_names(model: Any) -> dict[str, tuple[str, int, int]]:
    """Leaf name in the checkpoint to leaf name in the model, its place there and the number of places."""
    found = {}
    for leaf, sources in getattr(model, "packed_modules_mapping", {}).items():
        for place, source in enumerate(sources):
            found[source] = (leaf, place, len(sources))
    return found


def _module_of(name: str, packed: Mapping[str, tuple[str, int, int]]) -> tuple[str, int, int]:
    owner, _, leaf = name.rpartition(".")
    leaf, place, count = packed.get(leaf, (leaf, 0, 1))
    return f"{owner}.{leaf}" if owner else leaf, place, count
